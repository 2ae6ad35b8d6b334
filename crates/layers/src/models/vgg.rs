//! VGG for ImageNet.

use crate::{AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Relu, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// The networks of Simonyan and Zisserman, arXiv:1409.1556, as torchvision has them: five blocks of 3x3 convolutions with
/// 64, 128, 256, 512 and 512 channels, each closed by a 2x2 maximum pool; average to 7x7; linear 4096, dropout, linear 4096,
/// dropout, linear; ReLU behind every layer but the last, batch norm before it on demand.
///
/// Names and initialisers are PyTorch's (He-normal by fan-out for convolutions, deviation 0.01 for linear layers, biases 0).
/// With 3 input channels, 1000 classes and 224x224 pixels:
///
/// | depth | parameters | with batch norm | MACs |
/// |---|---|---|---|
/// | 11 | 132,863,336 | 132,868,840 | 7,609 M |
/// | 13 | 133,047,848 | 133,053,736 | 11,308 M |
/// | 16 | 138,357,544 | 138,365,992 | 15,470 M |
/// | 19 | 143,667,240 | 143,678,248 | 19,632 M |
///
/// Images of at least 32 pixels fit. Where the last pool leaves less than 7x7 (below 224 pixels) torchvision repeats
/// pixels; here the first linear layer takes what there is, and has fewer weights.
#[derive(Clone, Debug)]
pub struct Vgg {
    in_channels: usize,
    classes: usize,
    blocks: [usize; 5],
    batch_norm: bool,
}

/// Channels of the five blocks.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

impl Vgg {
    /// The network of this depth without batch norm, 3 input channels, 1000 classes; `None` unless it is 11, 13, 16 or 19.
    pub fn with_depth(depth: usize) -> Option<Vgg> {
        let blocks = match depth {
            11 => [1, 1, 2, 2, 2],
            13 => [2, 2, 2, 2, 2],
            16 => [2, 2, 3, 3, 3],
            19 => [2, 2, 4, 4, 4],
            _ => return None,
        };
        Some(Vgg { in_channels: 3, classes: 1000, blocks, batch_norm: false })
    }

    /// Channels of the images.
    pub fn in_channels(self, in_channels: usize) -> Vgg {
        Vgg { in_channels, ..self }
    }

    /// Number of logits.
    pub fn classes(self, classes: usize) -> Vgg {
        Vgg { classes, ..self }
    }

    /// Whether a batch norm follows every convolution.
    pub fn batch_norm(self, batch_norm: bool) -> Vgg {
        Vgg { batch_norm, ..self }
    }
}

impl Layer for Vgg {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let he_normal = Init::KaimingNormalFanOut { gain: std::f32::consts::SQRT_2 };
        let zero = Init::Constant(0.0);
        let mut features: Vec<Box<dyn Layer>> = Vec::new();
        let mut channels = self.in_channels;
        for (layers, width) in self.blocks.into_iter().zip(WIDTHS) {
            for _ in 0..layers {
                features.push(Box::new(Conv2d::new(channels, width, 3).padding(1).init(he_normal).bias_init(zero)));
                if self.batch_norm {
                    features.push(Box::new(BatchNorm2d::new(width)));
                }
                features.push(Box::new(Relu));
                channels = width;
            }
            features.push(Box::new(MaxPool2d::new(2)));
        }
        let x = s.layer("features", &features, x);
        let x = s.layer("avgpool", &AdaptiveAvgPool2d::at_most(7), x);
        let x = s.layer("flatten", &Flatten, x);
        let linear = |from, to| Linear::new(from, to).init(Init::Normal { std: 0.01 }).bias_init(zero);
        let hidden = |from| (linear(from, 4096), Relu, Dropout::new(0.5));
        let ((fc6, relu6, drop6), (fc7, relu7, drop7)) = (hidden(x.dim(1)), hidden(4096));
        s.layer("classifier", &(fc6, relu6, drop6, fc7, relu7, drop7, linear(4096, self.classes)), x)
    }
}
