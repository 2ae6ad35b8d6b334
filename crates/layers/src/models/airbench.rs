//! The network of the airbench94 record for CIFAR-10.

use crate::{BatchNorm2d, Conv2d, Gelu, GlobalMaxPool, Layer, Linear, MaxPool2d, ScopeExt};
use wgrad_tensor::{Array, Init, Scope, Value};

/// The network with which Keller Jordan reached 94 % on CIFAR-10 in 9.9 epochs (arXiv:2404.00498, airbench94):
///
/// 24 frozen whitening filters of 2x2 with a learned bias, GELU · three groups of 64, 256 and 256 channels · 3x3 maximum pool ·
/// linear without bias · times 1/9. A group is a 3x3 convolution, a 2x2 maximum pool, batch norm, GELU, a 3x3 convolution, batch norm,
/// GELU. The norms have no learned scale (eps 1e-12, momentum 0.4).
///
/// Two things of the recipe are done from outside, before the first step: the whitening filters are a buffer, `whiten.weight`,
/// because they come from the training images ([`whitening_filters`](super::whitening_filters)); and the first filters of
/// every 3x3 convolution start as the identity ([`identity_filters`]), the others as PyTorch's do. With 3 input channels and 10 classes it has 1,971,352
/// learned parameters and 288 frozen ones. Images of 25 to 32 pixels leave 3x3 for the last pool, which takes whatever there
/// is; at least 9 are needed.
#[derive(Clone, Debug)]
pub struct AirbenchNet {
    in_channels: usize,
    classes: usize,
    widths: [usize; 3],
}

impl AirbenchNet {
    /// The network for images of `in_channels` channels, widths 64, 256 and 256.
    pub fn new(in_channels: usize, classes: usize) -> AirbenchNet {
        AirbenchNet { in_channels, classes, widths: [64, 256, 256] }
    }

    /// Channels of the three groups.
    pub fn widths(self, widths: [usize; 3]) -> AirbenchNet {
        AirbenchNet { widths, ..self }
    }
}

impl Layer for AirbenchNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let mut channels = 2 * self.in_channels * 4;
        let whiten = Conv2d::new(self.in_channels, channels, 2).frozen(true).bias_init(Init::Constant(0.0));
        let mut x = s.layer("whiten", &whiten, x).gelu();
        for (i, width) in self.widths.into_iter().enumerate() {
            x = s.layer(&format!("group{}", i + 1), &Group { in_channels: channels, width }, x);
            channels = width;
        }
        let x = s.layer("pool", &GlobalMaxPool, x);
        s.layer("head", &Linear::new(channels, self.classes).bias(false), x).scale(1.0 / 9.0)
    }
}

/// Convolution, pool, norm, GELU, convolution, norm, GELU.
#[derive(Clone, Debug)]
struct Group {
    in_channels: usize,
    width: usize,
}

impl Layer for Group {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let conv = |from| Conv2d::new(from, self.width, 3).padding(1).bias(false);
        let norm = || BatchNorm2d::new(self.width).eps(1e-12).momentum(0.4).scale(false);
        let x = s.layer("conv1", &conv(self.in_channels), x);
        let x = s.layer("norm1", &(MaxPool2d::new(2), norm(), Gelu), x);
        let x = s.layer("conv2", &conv(self.width), x);
        s.layer("norm2", &(norm(), Gelu), x)
    }
}

/// Makes the first filters of a convolution's weight `[K, C, R, S]` pass on one input channel each, as far as there are filters
/// and channels: 1 in the middle of filter `k` at channel `k`, 0 elsewhere. What is no weight of a convolution stays as it is.
pub fn identity_filters(weight: &mut Array) {
    let [filters, channels, rows, columns] = [0, 1, 2, 3].map(|i| weight.shape.dim(i));
    let size = channels * rows * columns;
    if weight.shape.rank() != 4 || weight.data.len() != filters * size {
        return;
    }
    for (k, filter) in weight.data.chunks_exact_mut(size.max(1)).enumerate().take(channels) {
        filter.fill(0.0);
        filter[(k * rows + rows / 2) * columns + columns / 2] = 1.0;
    }
}
