//! AlexNet as it won in 2012.

use crate::{Conv2d, Dropout, Flatten, Layer, Linear, LocalResponseNorm, MaxPool2d, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// AlexNet of Krizhevsky, Sutskever and Hinton 2012, with the groups of its two GPUs and local response normalisation, as
/// Caffe's `bvlc_alexnet` has it, made for 227x227 pixels:
///
/// 96 of 11x11, stride 4 · norm, pool · 256 of 5x5 in 2 groups · norm, pool · 384 of 3x3 · 384 and 256 in 2 groups · pool · linear 4096,
/// dropout, twice · linear; ReLU behind every layer but the last, before the norm. The norm is over 5 channels with alpha
/// 1e-4 (divided by 5, as in Caffe), beta 0.75 and k 1; pools are 3x3 with stride 2 and
/// round up, as Caffe's do.
///
/// Tensor names are Caffe's: `conv1` to `conv5`, `fc6` to `fc8`. Weights start with deviation 0.01 (`fc6` and `fc7` 0.005),
/// biases with 0.1 in `conv2`, `conv4`, `conv5`, `fc6` and `fc7` and 0 elsewhere. With 3 input channels, 1000 classes and 227x227 pixels it
/// has 60,965,224 parameters and 724 M MACs. Images of at least 55 pixels fit; the first linear layer takes the pixels
/// that the last pool leaves.
#[derive(Clone, Debug)]
pub struct AlexNet2012 {
    in_channels: usize,
    classes: usize,
}

impl AlexNet2012 {
    /// The network for images of `in_channels` channels.
    pub fn new(in_channels: usize, classes: usize) -> AlexNet2012 {
        AlexNet2012 { in_channels, classes }
    }
}

impl Layer for AlexNet2012 {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let norm = || LocalResponseNorm::new(5).alpha(1e-4).beta(0.75).k(1.0);
        let pool = || MaxPool2d::new(3).stride(2).ceil_mode(true);
        let conv = |from, to, kernel, bias| {
            let conv = Conv2d::new(from, to, kernel).padding(kernel / 2);
            conv.init(Init::Normal { std: 0.01 }).bias_init(Init::Constant(bias))
        };
        let linear =
            |from, to, std, bias| Linear::new(from, to).init(Init::Normal { std }).bias_init(Init::Constant(bias));
        let x = s.layer("conv1", &conv(self.in_channels, 96, 11, 0.0).stride(4).padding(0), x).relu();
        let x = s.layer("pool1", &pool(), s.layer("norm1", &norm(), x));
        let x = s.layer("conv2", &conv(96, 256, 5, 0.1).groups(2), x).relu();
        let x = s.layer("pool2", &pool(), s.layer("norm2", &norm(), x));
        let x = s.layer("conv3", &conv(256, 384, 3, 0.0), x).relu();
        let x = s.layer("conv4", &conv(384, 384, 3, 0.1).groups(2), x).relu();
        let x = s.layer("conv5", &conv(384, 256, 3, 0.1).groups(2), x).relu();
        let x = s.layer("flatten", &(pool(), Flatten), x);
        let x = s.layer("fc6", &linear(x.dim(1), 4096, 0.005, 0.1), x).relu();
        let x = s.layer("drop6", &Dropout::new(0.5), x);
        let x = s.layer("fc7", &linear(4096, 4096, 0.005, 0.1), x).relu();
        let x = s.layer("drop7", &Dropout::new(0.5), x);
        s.layer("fc8", &linear(4096, self.classes, 0.01, 0.0), x)
    }
}
