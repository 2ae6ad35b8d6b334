//! Group and layer normalisation.

use crate::{Layer, Place};
use wgrad_tensor::ops::group_norm::Together;
use wgrad_tensor::{Init, Scope, Value};

/// Group normalisation (Wu and He, arXiv:1803.08494): `y = weight * (x - mean) / sqrt(var + eps) + bias`, mean and biased variance of
/// `num_channels / num_groups` neighbouring channels of each sample, at all its pixels. The same in training and evaluation.
///
/// Images `[N, C, H, W]` and matrices `[N, C]`. Parameters `weight` (starts at 1) and `bias` (0), each `[num_channels]`. Default eps
/// 1e-5. One group normalises whole samples, as many groups as channels is instance normalisation.
///
/// ```
/// use wgrad_layers::{GroupNorm, Layer};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([2, 64, 7, 7]));
/// let y = GroupNorm::new(32, 64).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape(), x.shape());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    num_groups: usize,
    num_channels: usize,
    eps: f32,
    place: Place,
}

/// Layer normalisation over the channels (Ba et al., arXiv:1607.06450): each row of a matrix `[N, C]`, each pixel of images `[N, C, H,
/// W]`, has mean 0 and variance 1 before weight and bias. PyTorch's `LayerNorm(C)` on matrices, torchvision's `LayerNorm2d` on
/// images. (Whole samples together: [`GroupNorm`] of one group.)
///
/// Parameters `weight` (starts at 1) and `bias` (0), each `[features]`. Default eps 1e-5.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    features: usize,
    eps: f32,
    place: Place,
}

impl GroupNorm {
    /// A normalisation of `num_channels` channels in `num_groups` groups.
    #[track_caller]
    pub fn new(num_groups: usize, num_channels: usize) -> GroupNorm {
        GroupNorm { num_groups, num_channels, eps: 1e-5, place: Place::here() }
    }

    /// Added to the variance. Default 1e-5.
    pub fn eps(self, eps: f32) -> GroupNorm {
        GroupNorm { eps, ..self }
    }
}

impl LayerNorm {
    /// A normalisation of `features` channels.
    #[track_caller]
    pub fn new(features: usize) -> LayerNorm {
        LayerNorm { features, eps: 1e-5, place: Place::here() }
    }

    /// Added to the variance. Default 1e-5.
    pub fn eps(self, eps: f32) -> LayerNorm {
        LayerNorm { eps, ..self }
    }
}

impl Layer for GroupNorm {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        affine(s, x.group_norm(Together::Groups(self.num_groups), self.eps), self.num_channels)
    }
}

impl Layer for LayerNorm {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        affine(s, x.group_norm(Together::Pixel, self.eps), self.features)
    }
}

fn affine<'g>(s: &Scope<'g>, x: Value<'g>, channels: usize) -> Value<'g> {
    let weight = s.weight("weight", [channels], Init::Constant(1.0));
    let bias = s.weight("bias", [channels], Init::Constant(0.0));
    x.scale_channels(weight).add_bias(bias)
}
