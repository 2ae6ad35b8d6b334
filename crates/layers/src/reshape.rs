//! Layers that compute next to nothing.

use crate::Layer;
use wgrad_tensor::{Scope, Value};

/// `[N, C, H, W]` to `[N, C * H * W]`, in PyTorch's order whatever the order on the device.
#[derive(Clone, Copy, Debug)]
pub struct Flatten;

/// `y = x`.
#[derive(Clone, Copy, Debug)]
pub struct Identity;

/// `y = alpha * x`, `alpha` being a constant.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Factor.
    pub alpha: f32,
}

impl Layer for Flatten {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.flatten()
    }
}

impl Layer for Identity {
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x
    }
}

impl Layer for Scale {
    #[track_caller]
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.scale(self.alpha)
    }
}
