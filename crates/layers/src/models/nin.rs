//! Network in network.

use crate::{AvgPool2d, Conv2d, Dropout, GlobalAvgPool, Layer, MaxPool2d, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// Network in network of Lin, Chen and Yan, arXiv:1312.4400: convolutions each followed by two 1x1 convolutions, no linear
/// layer at the end but one channel a class and their global averages. ReLU behind every convolution, the last included.
///
/// Tensor names are those of the authors' Caffe models: `conv1`, `cccp1`, `cccp2`, …; weights start with deviation 0.05 (CIFAR)
/// or 0.01 (ImageNet), biases with 0.
#[derive(Clone, Debug)]
pub struct NetworkInNetwork {
    in_channels: usize,
    classes: usize,
    is_small: bool,
}

/// A convolution: output channels, filter, stride, padding.
type Step = (usize, usize, usize, usize);

impl NetworkInNetwork {
    /// The network for CIFAR: 192 of 5x5, 160, 96 · maximum pool, dropout · 192 of 5x5, 192, 192 · average pool, dropout · 192
    /// of 3x3, 192, classes. With 3 input channels and 10 classes it has 966,986 parameters and 222 M MACs at 32x32.
    pub fn cifar(in_channels: usize, classes: usize) -> NetworkInNetwork {
        NetworkInNetwork { in_channels, classes, is_small: true }
    }

    /// The network for ImageNet: 96 of 11x11 with stride 4, 96, 96 · pool · 256 of 5x5, 256, 256 · pool · 384 of 3x3, 384, 384 ·
    /// pool, dropout · 1024 of 3x3, 1024, classes. With 3 input channels and 1000 classes it has 7,595,176 parameters and 1,100
    /// M MACs at 224x224. Images of at least 39 pixels fit.
    pub fn imagenet(in_channels: usize, classes: usize) -> NetworkInNetwork {
        NetworkInNetwork { in_channels, classes, is_small: false }
    }

    fn blocks(&self) -> Vec<[Step; 3]> {
        let one = |channels| (channels, 1, 1, 0);
        if self.is_small {
            vec![
                [(192, 5, 1, 2), one(160), one(96)],
                [(192, 5, 1, 2), one(192), one(192)],
                [(192, 3, 1, 1), one(192), one(self.classes)],
            ]
        } else {
            vec![
                [(96, 11, 4, 0), one(96), one(96)],
                [(256, 5, 1, 2), one(256), one(256)],
                [(384, 3, 1, 1), one(384), one(384)],
                [(1024, 3, 1, 1), one(1024), one(self.classes)],
            ]
        }
    }

    /// What stands behind block `i` of `count`.
    fn pool(&self, i: usize, count: usize) -> Box<dyn Layer> {
        let largest = || MaxPool2d::new(3).stride(2).ceil_mode(true);
        match (self.is_small, i) {
            (_, i) if i + 1 == count => Box::new(GlobalAvgPool),
            (true, 0) => Box::new((largest(), Dropout::new(0.5))),
            (true, _) => Box::new((AvgPool2d::new(3).stride(2).ceil_mode(true), Dropout::new(0.5))),
            (false, 2) => Box::new((largest(), Dropout::new(0.5))),
            (false, _) => Box::new(largest()),
        }
    }
}

impl Layer for NetworkInNetwork {
    fn forward<'g>(&self, s: &Scope<'g>, mut x: Value<'g>) -> Value<'g> {
        let std = if self.is_small { 0.05 } else { 0.01 };
        let (mut channels, blocks) = (self.in_channels, self.blocks());
        let count = blocks.len();
        for (i, block) in blocks.into_iter().enumerate() {
            for (j, (width, kernel, stride, padding)) in block.into_iter().enumerate() {
                let conv = Conv2d::new(channels, width, kernel).stride(stride).padding(padding);
                let conv = conv.init(Init::Normal { std }).bias_init(Init::Constant(0.0));
                let name = if j == 0 { format!("conv{}", i + 1) } else { format!("cccp{}", 2 * i + j) };
                x = s.layer(&name, &conv, x).relu();
                channels = width;
            }
            x = s.layer(&format!("pool{}", i + 1), &self.pool(i, count), x);
        }
        x
    }
}
