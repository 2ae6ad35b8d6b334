//! L2 pooling and stochastic pooling.

use crate::{Layer, Pair, Place};
use wgrad_tensor::ops::pool::PoolConfig;
use wgrad_tensor::{Scope, Value};

/// Euclidean norm of each window, `sqrt(sum x^2)`, PyTorch's `LPPool2d(2)`: `[N, C, H, W]` to `[N, C, P, Q]` with `P = floor((H - kernel) /
/// stride) + 1`. The gradient of a window of zeros is 0. Default stride: the kernel.
#[derive(Clone, Copy, Debug)]
pub struct L2Pool2d {
    config: PoolConfig,
    place: Place,
}

/// While training one element of each window, drawn with a probability in proportion to its size; while evaluating the mean of that,
/// `sum x^2 / sum x` (Zeiler and Fergus, arXiv:1301.3557). Negative elements count as 0: it belongs behind a ReLU. Shapes and
/// defaults of [`L2Pool2d`].
#[derive(Clone, Copy, Debug)]
pub struct StochasticPool2d {
    config: PoolConfig,
    place: Place,
}

fn config(kernel: Pair) -> PoolConfig {
    PoolConfig { kernel: kernel.0, stride: kernel.0, padding: [0; 2], ceil_mode: false }
}

impl L2Pool2d {
    /// Windows of this size, side by side.
    #[track_caller]
    pub fn new(kernel: impl Into<Pair>) -> L2Pool2d {
        L2Pool2d { config: config(kernel.into()), place: Place::here() }
    }

    /// Distance of neighbouring windows, in pixels. Default: the kernel.
    pub fn stride(mut self, stride: impl Into<Pair>) -> L2Pool2d {
        self.config.stride = stride.into().0;
        self
    }
}

impl StochasticPool2d {
    /// Windows of this size, side by side.
    #[track_caller]
    pub fn new(kernel: impl Into<Pair>) -> StochasticPool2d {
        StochasticPool2d { config: config(kernel.into()), place: Place::here() }
    }

    /// Distance of neighbouring windows, in pixels. Default: the kernel.
    pub fn stride(mut self, stride: impl Into<Pair>) -> StochasticPool2d {
        self.config.stride = stride.into().0;
        self
    }
}

impl Layer for L2Pool2d {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let _place = self.place.enter(s);
        x.l2_pool2d(self.config)
    }
}

impl Layer for StochasticPool2d {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        if s.is_training() {
            x.stochastic_pool2d(self.config, s.rng(), s.random_stream())
        } else {
            x.stochastic_pool2d_eval(self.config)
        }
    }
}
