//! Densely connected networks.

use crate::{AvgPool2d, BatchNorm2d, Conv2d, Layer, Linear, MaxPool2d, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// DenseNet-BC of Huang et al., arXiv:1608.06993, as torchvision has it: a 7x7 convolution with stride 2, a 3x3 maximum pool
/// with stride 2, four blocks whose layers each add `growth` channels to all that came before, with 1x1 convolutions to half
/// the channels and 2x2 average pools between the blocks, global average, linear.
///
/// Names and initialisers are torchvision's (He-normal, bias of the linear layer 0). With 3 input channels, 1000 classes and
/// 224x224 pixels:
///
/// | depth | growth | parameters | MACs |
/// |---|---|---|---|
/// | 121 | 32 | 7,978,856 | 2,834 M |
/// | 161 | 48 | 28,681,000 | 7,728 M |
/// | 169 | 32 | 14,149,480 | 3,360 M |
/// | 201 | 32 | 20,013,928 | 4,291 M |
///
/// Images of at least 29 pixels fit.
#[derive(Clone, Debug)]
pub struct DenseNet {
    in_channels: usize,
    classes: usize,
    growth: usize,
    blocks: [usize; 4],
    stem: usize,
}

impl DenseNet {
    /// The network of this depth, 3 input channels, 1000 classes; `None` unless it is 121, 161, 169 or 201.
    pub fn with_depth(depth: usize) -> Option<DenseNet> {
        let (growth, blocks, stem) = match depth {
            121 => (32, [6, 12, 24, 16], 64),
            161 => (48, [6, 12, 36, 24], 96),
            169 => (32, [6, 12, 32, 32], 64),
            201 => (32, [6, 12, 48, 32], 64),
            _ => return None,
        };
        Some(DenseNet { in_channels: 3, classes: 1000, growth, blocks, stem })
    }

    /// Channels of the images.
    pub fn in_channels(self, in_channels: usize) -> DenseNet {
        DenseNet { in_channels, ..self }
    }

    /// Number of logits.
    pub fn classes(self, classes: usize) -> DenseNet {
        DenseNet { classes, ..self }
    }

    fn features<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let mut channels = self.stem;
        let x = s.layer("conv0", &conv(self.in_channels, channels, 7).stride(2), x);
        let x = s.layer("norm0", &BatchNorm2d::new(channels), x).relu();
        let mut x = s.layer("pool0", &MaxPool2d::new(3).stride(2).padding(1), x);
        for (i, layers) in self.blocks.into_iter().enumerate() {
            x = s.layer(&format!("denseblock{}", i + 1), &DenseBlock { channels, layers, growth: self.growth }, x);
            channels += layers * self.growth;
            if i + 1 < self.blocks.len() {
                x = s.layer(&format!("transition{}", i + 1), &Transition { channels }, x);
                channels /= 2;
            }
        }
        s.layer("norm5", &BatchNorm2d::new(channels), x).relu()
    }
}

impl Layer for DenseNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let x = s.enter("features", |s| self.features(s, x)).global_avg_pool();
        let linear = Linear::new(x.dim(1), self.classes).bias_init(Init::Constant(0.0));
        s.layer("classifier", &linear, x)
    }
}

/// Layers that each see the block's input and the outputs of all layers before.
#[derive(Clone, Debug)]
struct DenseBlock {
    channels: usize,
    layers: usize,
    growth: usize,
}

impl Layer for DenseBlock {
    fn forward<'g>(&self, s: &Scope<'g>, mut x: Value<'g>) -> Value<'g> {
        for i in 0..self.layers {
            let layer = DenseLayer { channels: self.channels + i * self.growth, growth: self.growth };
            let new = s.layer(&format!("denselayer{}", i + 1), &layer, x);
            x = s.graph().concat(&[x, new]);
        }
        x
    }
}

/// `conv2(relu(norm2(conv1(relu(norm1(x))))))`, 1x1 to four times the growth and 3x3 to the growth.
#[derive(Clone, Debug)]
struct DenseLayer {
    channels: usize,
    growth: usize,
}

impl Layer for DenseLayer {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let inner = 4 * self.growth;
        let x = s.layer("norm1", &BatchNorm2d::new(self.channels), x).relu();
        let x = s.layer("conv1", &conv(self.channels, inner, 1), x);
        let x = s.layer("norm2", &BatchNorm2d::new(inner), x).relu();
        s.layer("conv2", &conv(inner, self.growth, 3), x)
    }
}

/// Half the channels, half the rows and columns.
#[derive(Clone, Debug)]
struct Transition {
    channels: usize,
}

impl Layer for Transition {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let x = s.layer("norm", &BatchNorm2d::new(self.channels), x).relu();
        let x = s.layer("conv", &conv(self.channels, self.channels / 2, 1), x);
        s.layer("pool", &AvgPool2d::new(2), x)
    }
}

fn conv(in_channels: usize, out_channels: usize, kernel: usize) -> Conv2d {
    let he_normal = Init::KaimingNormal { gain: std::f32::consts::SQRT_2 };
    Conv2d::new(in_channels, out_channels, kernel).padding(kernel / 2).bias(false).init(he_normal)
}
