//! The residual networks for CIFAR of He et al., arXiv:1512.03385, section 4.2.

use crate::{BatchNorm2d, Conv2d, Layer, Linear, OptionA, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// He's initialiser for ReLU, `gain = sqrt(2)`.
const HE_NORMAL: Init = Init::KaimingNormal { gain: std::f32::consts::SQRT_2 };

/// How a block whose shape changes passes its input on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Every second pixel and channels of zeros; no parameters ([`OptionA`]).
    A,
    /// A strided 1x1 convolution and a batch norm.
    B,
}

/// ResNet of depth `6n + 2` for small images: a 3x3 convolution, three stages of `n` [`BasicBlock`]s with 16, 32 and 64
/// channels at full, half and quarter resolution, global average, linear.
///
/// Tensor names and initialisers are those of github.com/akamaster/pytorch_resnet_cifar10 (He-normal for convolutions
/// and the linear weight), so its weights load by name. With option A, 3 input channels and 10 classes:
///
/// | depth | parameters | MACs at 32x32 | CIFAR-10, 200 epochs |
/// |---|---|---|---|
/// | 20 | 269,722 | 40.6 M | 91.7 % |
/// | 32 | 464,154 | 68.9 M | 92.6 % |
/// | 44 | 658,586 | 97.2 M | 93.1 % |
/// | 56 | 853,018 | 125.5 M | 93.4 % |
/// | 110 | 1,727,962 | 252.9 M | 93.7 % |
///
/// ```
/// use wgrad_layers::models::{CifarResNet, Shortcut};
///
/// let resnet8 = CifarResNet::with_blocks([1, 1, 1]).in_channels(1);
/// let wide = CifarResNet::with_blocks([2, 2, 2]).widths([64, 128, 256]).shortcut(Shortcut::B).classes(100);
/// # drop((resnet8, wide));
/// ```
#[derive(Clone, Debug)]
pub struct CifarResNet {
    in_channels: usize,
    classes: usize,
    blocks: [usize; 3],
    widths: [usize; 3],
    shortcut: Shortcut,
}

impl CifarResNet {
    /// So many blocks per stage; 3 input channels, 10 classes, widths 16/32/64, option A.
    pub fn with_blocks(blocks: [usize; 3]) -> CifarResNet {
        CifarResNet { in_channels: 3, classes: 10, blocks, widths: [16, 32, 64], shortcut: Shortcut::A }
    }

    /// The network of this depth, `None` unless it is `6n + 2` with `n >= 1`: 8, 14, 20, …
    pub fn with_depth(depth: usize) -> Option<CifarResNet> {
        (depth >= 8 && depth % 6 == 2).then(|| CifarResNet::with_blocks([(depth - 2) / 6; 3]))
    }

    /// Channels of the images: 3 for CIFAR, 1 for MNIST.
    pub fn in_channels(self, in_channels: usize) -> CifarResNet {
        CifarResNet { in_channels, ..self }
    }

    /// Number of logits.
    pub fn classes(self, classes: usize) -> CifarResNet {
        CifarResNet { classes, ..self }
    }

    /// Channels of the three stages.
    pub fn widths(self, widths: [usize; 3]) -> CifarResNet {
        CifarResNet { widths, ..self }
    }

    /// Option A or B.
    pub fn shortcut(self, shortcut: Shortcut) -> CifarResNet {
        CifarResNet { shortcut, ..self }
    }
}

impl Layer for CifarResNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let mut channels = self.widths[0];
        let x = s.layer("conv1", &conv3x3(self.in_channels, channels, 1), x);
        let mut x = s.layer("bn1", &BatchNorm2d::new(channels), x).relu();
        for (stage, (&blocks, &width)) in self.blocks.iter().zip(&self.widths).enumerate() {
            let mut layers = Vec::with_capacity(blocks);
            for i in 0..blocks {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                layers.push(BasicBlock { in_channels: channels, channels: width, stride, shortcut: self.shortcut });
                channels = width;
            }
            x = s.layer(&format!("layer{}", stage + 1), &layers, x);
        }
        s.layer("linear", &Linear::new(channels, self.classes).init(HE_NORMAL), x.global_avg_pool())
    }
}

/// `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))` with 3x3 convolutions, the first of them strided.
#[derive(Clone, Debug)]
pub struct BasicBlock {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub channels: usize,
    /// Stride of the first convolution and of the shortcut.
    pub stride: usize,
    /// The shortcut, where the shape changes; the identity elsewhere.
    pub shortcut: Shortcut,
}

impl Layer for BasicBlock {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let BasicBlock { in_channels, channels, stride, shortcut } = *self;
        let y = s.layer("conv1", &conv3x3(in_channels, channels, stride), x);
        let y = s.layer("bn1", &BatchNorm2d::new(channels), y).relu();
        let y = s.layer("conv2", &conv3x3(channels, channels, 1), y);
        let y = s.layer("bn2", &BatchNorm2d::new(channels), y);
        let x = if stride == 1 && in_channels == channels {
            x
        } else if shortcut == Shortcut::A {
            s.layer("shortcut", &OptionA::new(in_channels, channels, stride), x)
        } else {
            let conv = Conv2d::new(in_channels, channels, 1).stride(stride).bias(false).init(HE_NORMAL);
            s.layer("shortcut", &(conv, BatchNorm2d::new(channels)), x)
        };
        (y + x).relu()
    }
}

fn conv3x3(in_channels: usize, out_channels: usize, stride: usize) -> Conv2d {
    Conv2d::new(in_channels, out_channels, 3).stride(stride).padding(1).bias(false).init(HE_NORMAL)
}
