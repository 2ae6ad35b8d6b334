//! A small VGG.

use crate::{BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, MaxPool2d, Relu, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// Three blocks of two 3x3 convolutions, each with batch norm and ReLU, and a 2x2 max pool, in the manner of Simonyan
/// and Zisserman (arXiv:1409.1556); then global average and a linear head, so that any image of at least 8x8 fits.
///
/// Widths 32/64/128 unless said otherwise; convolutions start He-normal. With 3 input channels and 10 classes it has
/// 288,746 parameters.
#[derive(Clone, Debug)]
pub struct SmallVgg {
    in_channels: usize,
    classes: usize,
    widths: [usize; 3],
}

impl SmallVgg {
    /// The network for images of `in_channels` channels.
    pub fn new(in_channels: usize, classes: usize) -> SmallVgg {
        SmallVgg { in_channels, classes, widths: [32, 64, 128] }
    }

    /// Channels of the three blocks.
    pub fn widths(self, widths: [usize; 3]) -> SmallVgg {
        SmallVgg { widths, ..self }
    }
}

impl Layer for SmallVgg {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let [a, b, c] = self.widths;
        let features = (block(self.in_channels, a), block(a, b), block(b, c), GlobalAvgPool);
        let x = s.layer("features", &features, x);
        s.layer("classifier", &Linear::new(c, self.classes), x)
    }
}

fn block(in_channels: usize, channels: usize) -> impl Layer {
    let he_normal = Init::KaimingNormal { gain: std::f32::consts::SQRT_2 };
    let conv = |from| Conv2d::new(from, channels, 3).padding(1).bias(false).init(he_normal);
    let bn = || BatchNorm2d::new(channels);
    (conv(in_channels), bn(), Relu, conv(channels), bn(), Relu, MaxPool2d::new(2))
}
