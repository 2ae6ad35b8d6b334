//! The residual networks for ImageNet, with and without groups.

use crate::{BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, MaxPool2d, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// The residual networks of He et al., arXiv:1512.03385, in the form called v1.5, as torchvision has them: a 7x7
/// convolution with stride 2, a 3x3 maximum pool with stride 2, four stages with 64, 128, 256 and 512 channels, global
/// average, linear. Depths 18 and 34 have two 3x3 convolutions a block; from 50 on a block is 1x1, 3x3 (which carries the
/// stride), 1x1 to four times the channels. Where a block changes the shape, its shortcut is a strided 1x1 convolution with a
/// batch norm.
///
/// Names and initialisers are PyTorch's (He-normal by fan-out for convolutions). With 3 input channels, 1000 classes and
/// 224x224 pixels:
///
/// | depth | parameters | MACs |
/// |---|---|---|
/// | 18 | 11,689,512 | 1,814 M |
/// | 34 | 21,797,672 | 3,664 M |
/// | 50 | 25,557,032 | 4,089 M |
/// | 101 | 44,549,160 | 7,801 M |
/// | 152 | 60,192,808 | 11,514 M |
///
/// Any image size fits.
///
/// ResNeXt (Xie et al., arXiv:1611.05431) is the same with wider 3x3 convolutions in groups: [`ResNet::resnext`].
#[derive(Clone, Debug)]
pub struct ResNet {
    in_channels: usize,
    classes: usize,
    blocks: [usize; 4],
    bottleneck: bool,
    groups: usize,
    /// Channels of a group in the first stage; 64 in all is ResNet's own width.
    group_width: usize,
}

impl ResNet {
    /// The network of this depth with 3 input channels and 1000 classes; `None` unless it is 18, 34, 50, 101 or 152.
    pub fn with_depth(depth: usize) -> Option<ResNet> {
        let blocks = match depth {
            18 => [2, 2, 2, 2],
            34 | 50 => [3, 4, 6, 3],
            101 => [3, 4, 23, 3],
            152 => [3, 8, 36, 3],
            _ => return None,
        };
        Some(ResNet { in_channels: 3, classes: 1000, blocks, bottleneck: depth >= 50, groups: 1, group_width: 64 })
    }

    /// ResNeXt of this depth, `groups` groups of `group_width` channels in the first stage; `None` unless the depth is 50, 101
    /// or 152 and both are at least 1. torchvision's have, at 224x224 pixels:
    ///
    /// | depth | groups | width | parameters | MACs |
    /// |---|---|---|---|---|
    /// | 50 | 32 | 4 | 25,028,904 | 4,230 M |
    /// | 101 | 32 | 8 | 88,791,336 | 16,414 M |
    pub fn resnext(depth: usize, groups: usize, group_width: usize) -> Option<ResNet> {
        let net = ResNet::with_depth(depth)?;
        let fits = net.bottleneck && groups >= 1 && group_width >= 1;
        fits.then_some(ResNet { groups, group_width, ..net })
    }

    /// Channels of the images.
    pub fn in_channels(self, in_channels: usize) -> ResNet {
        ResNet { in_channels, ..self }
    }

    /// Number of logits.
    pub fn classes(self, classes: usize) -> ResNet {
        ResNet { classes, ..self }
    }
}

impl Layer for ResNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let x = s.layer("conv1", &conv(self.in_channels, 64, 7, 2), x);
        let x = s.layer("bn1", &BatchNorm2d::new(64), x).relu();
        let mut x = s.layer("maxpool", &MaxPool2d::new(3).stride(2).padding(1), x);
        let mut channels = 64;
        for (stage, (blocks, width)) in self.blocks.into_iter().zip([64, 128, 256, 512]).enumerate() {
            let mut layers = Vec::with_capacity(blocks);
            for i in 0..blocks {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let inner = width * self.groups * self.group_width / 64;
                let block = Block {
                    in_channels: channels,
                    width,
                    inner,
                    groups: self.groups,
                    stride,
                    bottleneck: self.bottleneck,
                };
                channels = block.out_channels();
                layers.push(block);
            }
            x = s.layer(&format!("layer{}", stage + 1), &layers, x);
        }
        let x = s.layer("avgpool", &GlobalAvgPool, x);
        s.layer("fc", &Linear::new(channels, self.classes), x)
    }
}

/// `relu(convolutions(x) + shortcut(x))`, a batch norm behind every convolution and a ReLU behind all but the last.
#[derive(Clone, Debug)]
struct Block {
    in_channels: usize,
    width: usize,
    /// Channels of the 3x3 convolution of a bottleneck.
    inner: usize,
    groups: usize,
    stride: usize,
    bottleneck: bool,
}

impl Block {
    fn out_channels(&self) -> usize {
        if self.bottleneck { 4 * self.width } else { self.width }
    }

    /// The convolutions and their output channels, in order.
    fn convolutions(&self) -> Vec<(Conv2d, usize)> {
        let &Block { in_channels, width, inner, groups, stride, bottleneck } = self;
        if bottleneck {
            let middle = conv(inner, inner, 3, stride).groups(groups);
            vec![(conv(in_channels, inner, 1, 1), inner), (middle, inner), (conv(inner, 4 * width, 1, 1), 4 * width)]
        } else {
            vec![(conv(in_channels, width, 3, stride), width), (conv(width, width, 3, 1), width)]
        }
    }
}

impl Layer for Block {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let mut y = x;
        for (i, (conv, channels)) in self.convolutions().into_iter().enumerate() {
            y = if i == 0 { y } else { y.relu() };
            y = s.layer(&format!("conv{}", i + 1), &conv, y);
            y = s.layer(&format!("bn{}", i + 1), &BatchNorm2d::new(channels), y);
        }
        let channels = self.out_channels();
        let x = if self.stride == 1 && self.in_channels == channels {
            x
        } else {
            let shortcut = (conv(self.in_channels, channels, 1, self.stride), BatchNorm2d::new(channels));
            s.layer("downsample", &shortcut, x)
        };
        (y + x).relu()
    }
}

/// A convolution that keeps the image's extents, but for the stride.
fn conv(in_channels: usize, out_channels: usize, kernel: usize, stride: usize) -> Conv2d {
    let he_normal = Init::KaimingNormalFanOut { gain: std::f32::consts::SQRT_2 };
    Conv2d::new(in_channels, out_channels, kernel).stride(stride).padding(kernel / 2).bias(false).init(he_normal)
}
