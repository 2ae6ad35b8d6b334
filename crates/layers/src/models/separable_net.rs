//! A network of separable convolutions with a depth multiplier.

use crate::{DepthwiseSeparable, GlobalAvgPool, Layer, Linear, MaxPool2d, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// A network of separable convolutions in which each channel has eight depthwise filters, after Vanhoucke's talk "Learning
/// visual representations at scale" (ICLR 2014; the experiments are Sifre's). The talk names the layer and the
/// multiplier and gives no table of layers; this one was chosen here:
///
/// 7x7 with stride 2 to 64 channels · pool · 128 · pool · 256, 256 · pool · 512, 512 · global average · linear, all filters
/// but the first 3x3, pools 3x3 with stride 2, eight depthwise filters for each input channel, one batch norm and one ReLU
/// behind each pointwise convolution and none before it.
///
/// With 3 input channels, 1000 classes and 224x224 pixels it has 4,604,416 parameters and 1,520 M MACs. Any image size fits.
#[derive(Clone, Debug)]
pub struct SeparableNet {
    in_channels: usize,
    classes: usize,
    multiplier: usize,
}

impl SeparableNet {
    /// The network for images of `in_channels` channels, multiplier 8.
    pub fn new(in_channels: usize, classes: usize) -> SeparableNet {
        SeparableNet { in_channels, classes, multiplier: 8 }
    }

    /// Depthwise filters of each channel.
    pub fn multiplier(self, multiplier: usize) -> SeparableNet {
        SeparableNet { multiplier, ..self }
    }
}

impl Layer for SeparableNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let block = |from, to, kernel| {
            DepthwiseSeparable::new(from, to, kernel).multiplier(self.multiplier).linear_depthwise(true)
        };
        let pool = || MaxPool2d::new(3).stride(2).padding(1);
        let stem = (block(self.in_channels, 64, 7).stride(2), pool(), block(64, 128, 3), pool());
        let body = (block(128, 256, 3), block(256, 256, 3), pool(), block(256, 512, 3), block(512, 512, 3));
        let x = s.layer("stem", &stem, x);
        let x = s.layer("body", &body, x);
        let x = s.layer("avgpool", &GlobalAvgPool, x);
        s.layer("classifier", &Linear::new(512, self.classes), x)
    }
}
