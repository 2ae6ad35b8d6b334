//! Activation functions as layers; formulas are those of [`wgrad_tensor::Activation`].

use crate::Layer;
use wgrad_tensor::{Activation, Init, Scope, Value};

/// `max(x, 0)`.
#[derive(Clone, Copy, Debug)]
pub struct Relu;

/// `x` where positive, `slope * x` elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct LeakyRelu {
    /// Factor for negative inputs; the default is 0.01, PyTorch's `negative_slope`.
    pub slope: f32,
}

impl Default for LeakyRelu {
    fn default() -> LeakyRelu {
        LeakyRelu { slope: 0.01 }
    }
}

/// `1 / (1 + exp(-x))`.
#[derive(Clone, Copy, Debug)]
pub struct Sigmoid;

/// Hyperbolic tangent.
#[derive(Clone, Copy, Debug)]
pub struct Tanh;

/// `x * Phi(x)`, the exact form (Hendrycks and Gimpel, arXiv:1606.08415), not the tanh approximation.
#[derive(Clone, Copy, Debug)]
pub struct Gelu;

/// `x * sigmoid(x)` (arXiv:1710.05941).
#[derive(Clone, Copy, Debug)]
pub struct Silu;

/// `x * min(max(x + 3, 0), 6) / 6` (arXiv:1905.02244).
#[derive(Clone, Copy, Debug)]
pub struct HardSwish;

/// `x` where positive, `alpha * (exp(x) - 1)` elsewhere (arXiv:1511.07289).
#[derive(Clone, Copy, Debug)]
pub struct Elu {
    /// Limit for very negative inputs, with its sign turned; the default is 1, PyTorch's.
    pub alpha: f32,
}

impl Default for Elu {
    fn default() -> Elu {
        Elu { alpha: 1.0 }
    }
}

/// `x` where positive, `weight[c] * x` elsewhere, with a learned factor for every channel or one for all (He et al.,
/// arXiv:1502.01852). The derivative at 0 is `weight[c]`, as in PyTorch. Parameter `weight` `[num_parameters]`, 1 or the number of channels, starts at 0.25.
#[derive(Clone, Copy, Debug)]
pub struct PRelu {
    /// Number of factors: 1, PyTorch's default, or the number of channels.
    pub num_parameters: usize,
}

impl Default for PRelu {
    fn default() -> PRelu {
        PRelu { num_parameters: 1 }
    }
}

impl Layer for PRelu {
    #[track_caller]
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let weight = s.weight("weight", [self.num_parameters], Init::Constant(0.25));
        // The negative part as a difference: its derivative at 0 is 1, and so that of all of it is PyTorch's `weight`. An infinite
        // input gives NaN.
        let positive = x.relu();
        positive + (x + positive.scale(-1.0)).scale_channels(weight)
    }
}

impl Layer for Silu {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.silu()
    }
}

impl Layer for HardSwish {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.activate(Activation::HardSwish)
    }
}

impl Layer for Elu {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.activate(Activation::Elu { alpha: self.alpha })
    }
}

impl Layer for Relu {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.relu()
    }
}

impl Layer for LeakyRelu {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.leaky_relu(self.slope)
    }
}

impl Layer for Sigmoid {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.sigmoid()
    }
}

impl Layer for Tanh {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.tanh()
    }
}

impl Layer for Gelu {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.gelu()
    }
}
