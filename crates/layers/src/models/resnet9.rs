//! ResNet-9 of the DAWNBench entries for CIFAR-10.

use crate::{BatchNorm2d, Conv2d, Layer, Linear, MaxPool2d, Relu, Residual, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// The network with which David Page reached 94 % on CIFAR-10 in 24 epochs (github.com/davidcpage/cifar10-fast):
///
/// conv-bn-relu 64 · 128, pool, residual (2 x 128) · 256, pool · 512, pool, residual (2 x 512) · global maximum ·
/// linear without bias · times 0.125.
///
/// All convolutions are 3x3 with padding 1; initialisers are PyTorch's. With 3 input channels and 10 classes it has
/// 6,573,120 parameters and 379 M MACs at 32x32.
#[derive(Clone, Debug)]
pub struct ResNet9 {
    in_channels: usize,
    classes: usize,
}

impl ResNet9 {
    /// The network for images of `in_channels` channels.
    pub fn new(in_channels: usize, classes: usize) -> ResNet9 {
        ResNet9 { in_channels, classes }
    }
}

impl Layer for ResNet9 {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let pool = MaxPool2d::new(2);
        let residual = |width| Residual::new((conv_bn_relu(width, width), conv_bn_relu(width, width)));
        let x = s.layer("prep", &conv_bn_relu(self.in_channels, 64), x);
        let x = s.layer("layer1", &(conv_bn_relu(64, 128), pool.clone(), residual(128)), x);
        let x = s.layer("layer2", &(conv_bn_relu(128, 256), pool.clone()), x);
        let x = s.layer("layer3", &(conv_bn_relu(256, 512), pool, residual(512)), x);
        s.layer("linear", &Linear::new(512, self.classes).bias(false), x.global_max_pool()).scale(0.125)
    }
}

fn conv_bn_relu(in_channels: usize, out_channels: usize) -> (Conv2d, BatchNorm2d, Relu) {
    (Conv2d::new(in_channels, out_channels, 3).padding(1).bias(false), BatchNorm2d::new(out_channels), Relu)
}
