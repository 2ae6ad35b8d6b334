//! SqueezeNet.

use crate::{Conv2d, Dropout, GlobalAvgPool, Layer, MaxPool2d, Relu, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// SqueezeNet of Iandola et al., arXiv:1602.07360, as torchvision has it: a strided convolution, eight fire modules with
/// maximum pools (3x3, stride 2, ceil mode) between them, dropout, a 1x1 convolution to the classes, ReLU, global average.
///
/// Names and initialisers are torchvision's (He-uniform, deviation 0.01 for the last convolution, biases 0). With 3 input
/// channels, 1000 classes and 224x224 pixels:
///
/// | version | first convolution | parameters | MACs |
/// |---|---|---|---|
/// | 1.0 | 96 of 7x7, stride 2 | 1,248,424 | 819 M |
/// | 1.1 | 64 of 3x3, stride 2; pools earlier | 1,235,496 | 349 M |
///
/// Images of at least 21 pixels fit (1.1: 17).
#[derive(Clone, Debug)]
pub struct SqueezeNet {
    in_channels: usize,
    classes: usize,
    is_small: bool,
    classifier_padding: usize,
}

impl SqueezeNet {
    /// Version 1.0, 3 input channels, 1000 classes.
    pub fn v1_0() -> SqueezeNet {
        SqueezeNet { in_channels: 3, classes: 1000, is_small: false, classifier_padding: 0 }
    }

    /// Version 1.1, 3 input channels, 1000 classes.
    pub fn v1_1() -> SqueezeNet {
        SqueezeNet { is_small: true, ..SqueezeNet::v1_0() }
    }

    /// Channels of the images.
    pub fn in_channels(self, in_channels: usize) -> SqueezeNet {
        SqueezeNet { in_channels, ..self }
    }

    /// Number of logits.
    pub fn classes(self, classes: usize) -> SqueezeNet {
        SqueezeNet { classes, ..self }
    }

    /// Zeros around the input of the last convolution. Default 0; the authors' Caffe model has 1, so that the ReLU of its bias
    /// counts in the average.
    pub fn classifier_padding(self, classifier_padding: usize) -> SqueezeNet {
        SqueezeNet { classifier_padding, ..self }
    }
}

/// Channels of the fire modules: squeeze, and each of the two expand convolutions.
const FIRES: [(usize, usize); 8] =
    [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)];

impl Layer for SqueezeNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let pool = || Box::new(MaxPool2d::new(3).stride(2).ceil_mode(true));
        let (width, kernel) = if self.is_small { (64, 3) } else { (96, 7) };
        let first = he(Conv2d::new(self.in_channels, width, kernel).stride(2));
        let mut features: Vec<Box<dyn Layer>> = vec![Box::new(first), Box::new(Relu), pool()];
        // Behind how many fire modules there is a pool.
        let pools = if self.is_small { [2, 4] } else { [3, 7] };
        let mut channels = width;
        for (i, (squeeze, expand)) in FIRES.into_iter().enumerate() {
            if pools.contains(&i) {
                features.push(pool());
            }
            features.push(Box::new(Fire { in_channels: channels, squeeze, expand }));
            channels = 2 * expand;
        }
        let x = s.layer("features", &features, x);
        let last = Conv2d::new(channels, self.classes, 1).padding(self.classifier_padding);
        let last = last.init(Init::Normal { std: 0.01 }).bias_init(Init::Constant(0.0));
        s.layer("classifier", &(Dropout::new(0.5), last, Relu, GlobalAvgPool), x)
    }
}

/// A 1x1 convolution to few channels, and a 1x1 and a 3x3 convolution side by side back to many; ReLU behind each.
#[derive(Clone, Debug)]
struct Fire {
    in_channels: usize,
    squeeze: usize,
    expand: usize,
}

impl Layer for Fire {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let &Fire { in_channels, squeeze, expand } = self;
        let x = s.layer("squeeze", &he(Conv2d::new(in_channels, squeeze, 1)), x).relu();
        let ones = s.layer("expand1x1", &he(Conv2d::new(squeeze, expand, 1)), x).relu();
        let threes = s.layer("expand3x3", &he(Conv2d::new(squeeze, expand, 3).padding(1)), x).relu();
        s.graph().concat(&[ones, threes])
    }
}

fn he(conv: Conv2d) -> Conv2d {
    conv.init(Init::KaimingUniform { gain: std::f32::consts::SQRT_2 }).bias_init(Init::Constant(0.0))
}
