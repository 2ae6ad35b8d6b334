//! A convolution, a batch norm and a ReLU: what most networks of the zoo are made of.

use crate::{BatchNorm2d, Conv2d, Layer, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// `relu(bn(conv(x)))`, the children called `conv` (without bias) and `bn`: torchvision's `BasicConv2d`. Without a batch norm
/// `relu(conv(x))`, and the convolution has a bias.
#[derive(Clone, Debug)]
pub(super) struct ConvNorm {
    conv: Conv2d,
    bn: Option<BatchNorm2d>,
}

impl ConvNorm {
    /// With a batch norm of `channels` channels, as many as the convolution puts out.
    #[track_caller]
    pub(super) fn new(conv: Conv2d, channels: usize) -> ConvNorm {
        ConvNorm { conv: conv.bias(false), bn: Some(BatchNorm2d::new(channels)) }
    }

    /// Without a batch norm.
    pub(super) fn plain(conv: Conv2d) -> ConvNorm {
        ConvNorm { conv, bn: None }
    }

    /// Added to the variance.
    pub(super) fn eps(self, eps: f32) -> ConvNorm {
        ConvNorm { bn: self.bn.map(|bn| bn.eps(eps)), ..self }
    }
}

impl Layer for ConvNorm {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let x = s.layer("conv", &self.conv, x);
        match &self.bn {
            Some(bn) => s.layer("bn", bn, x).relu(),
            None => x.relu(),
        }
    }
}
