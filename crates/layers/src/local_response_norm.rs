//! Local response normalisation.

use crate::{Layer, Place};
use wgrad_tensor::ops::local_response_norm::LocalResponseNorm as Settings;
use wgrad_tensor::{Scope, Value};

/// Divides by the power of the neighbouring channels (Krizhevsky, Sutskever and Hinton 2012, section 3.3): `y[c] = x[c] * (k + alpha /
/// size * sum_j x[j]^2)^-beta` with `j` over the `size` channels around `c`, from `c - size / 2` on, at each pixel alone.
///
/// alpha is divided by `size`, as in PyTorch and Caffe; the paper has it undivided, and `k` 2. Defaults as in PyTorch: alpha
/// 1e-4, beta 0.75, k 1. Images `[N, C, H, W]` and matrices `[N, C]`, shapes stay.
///
/// ```
/// use wgrad_layers::{Layer, LocalResponseNorm};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([2, 96, 27, 27]));
/// let y = LocalResponseNorm::new(5).k(2.0).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape(), x.shape());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LocalResponseNorm {
    settings: Settings,
    place: Place,
}

impl LocalResponseNorm {
    /// A normalisation over this many neighbouring channels.
    #[track_caller]
    pub fn new(size: usize) -> LocalResponseNorm {
        LocalResponseNorm { settings: Settings { size, alpha: 1e-4, beta: 0.75, k: 1.0 }, place: Place::here() }
    }

    /// Factor of the mean square. Default 1e-4.
    pub fn alpha(mut self, alpha: f32) -> LocalResponseNorm {
        self.settings.alpha = alpha;
        self
    }

    /// Exponent. Default 0.75.
    pub fn beta(mut self, beta: f32) -> LocalResponseNorm {
        self.settings.beta = beta;
        self
    }

    /// What is added to the mean square, above 0. Default 1.
    pub fn k(mut self, k: f32) -> LocalResponseNorm {
        self.settings.k = k;
        self
    }
}

impl Layer for LocalResponseNorm {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let _place = self.place.enter(s);
        x.local_response_norm(self.settings)
    }
}
