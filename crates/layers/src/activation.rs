//! Activation functions as layers; formulas are those of [`wgrad_tensor::Activation`].

use crate::Layer;
use wgrad_tensor::{Scope, Value};

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
