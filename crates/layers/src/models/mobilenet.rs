//! MobileNet, the first of its name.

use super::conv_norm::ConvNorm;
use crate::{Conv2d, DepthwiseSeparable, Dropout, GlobalAvgPool, Layer, Linear, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// MobileNet of Howard et al., arXiv:1704.04861: a 3x3 convolution with stride 2 and thirteen [`DepthwiseSeparable`] blocks,
/// global average, dropout, linear.
///
/// All channel counts are multiplied by `width`, rounded down, 8 at the least, as in the authors' code. Dropout is 0.001 there,
/// and none here by default. With 3 input channels, 1000 classes and 224x224 pixels:
///
/// | width | parameters | MACs |
/// |---|---|---|
/// | 1.0 | 4,231,976 | 569 M |
/// | 0.75 | 2,585,560 | 325 M |
/// | 0.5 | 1,331,592 | 149 M |
/// | 0.25 | 470,072 | 41 M |
///
/// Tensor names: `features.0.conv`, `features.0.bn`; `features.1.depthwise`, `.bn1`, `.pointwise`, `.bn2`, …; `classifier`.
/// Any image size fits.
#[derive(Clone, Debug)]
pub struct MobileNetV1 {
    in_channels: usize,
    classes: usize,
    width: f64,
    dropout: f32,
}

impl MobileNetV1 {
    /// The network of this width, 3 input channels, 1000 classes; `None` unless `width` is above 0 and at most 16.
    pub fn with_width(width: f64) -> Option<MobileNetV1> {
        let net = MobileNetV1 { in_channels: 3, classes: 1000, width, dropout: 0.0 };
        (width > 0.0 && width <= 16.0).then_some(net)
    }

    /// Channels of the images.
    pub fn in_channels(self, in_channels: usize) -> MobileNetV1 {
        MobileNetV1 { in_channels, ..self }
    }

    /// Number of logits.
    pub fn classes(self, classes: usize) -> MobileNetV1 {
        MobileNetV1 { classes, ..self }
    }

    /// Probability of dropout before the last layer.
    pub fn dropout(self, dropout: f32) -> MobileNetV1 {
        MobileNetV1 { dropout, ..self }
    }

    fn channels(&self, channels: usize) -> usize {
        ((channels as f64 * self.width) as usize).max(8)
    }
}

/// Output channels and stride of the blocks.
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

impl Layer for MobileNetV1 {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let mut channels = self.channels(32);
        let first = Conv2d::new(self.in_channels, channels, 3).stride(2).padding(1);
        let mut features: Vec<Box<dyn Layer>> = vec![Box::new(ConvNorm::new(first, channels))];
        for (width, stride) in BLOCKS {
            let width = self.channels(width);
            features.push(Box::new(DepthwiseSeparable::new(channels, width, 3).stride(stride)));
            channels = width;
        }
        let x = s.layer("features", &features, x);
        let x = s.layer("dropout", &(GlobalAvgPool, Dropout::new(self.dropout)), x);
        s.layer("classifier", &Linear::new(channels, self.classes), x)
    }
}
