//! Batch normalisation.

use crate::{Layer, Place};
use wgrad_tensor::{Init, Scope, Value};

/// Batch normalisation over dimension 1 (Ioffe and Szegedy, arXiv:1502.03167): `y = weight * (x - mean) / sqrt(var +
/// eps) + bias` per channel.
///
/// While training, mean and (biased) variance are the batch's, over `N`, `H` and `W`, and the running statistics
/// follow: `running = (1 - momentum) * running + momentum * batch`, the batch's variance being the unbiased one there
/// (`n / (n - 1)` of the biased), as in PyTorch. While evaluating, the running statistics take their place. Batches
/// with one value per channel have no variance and are refused in training.
///
/// Parameters, each `[num_features]`: `weight` (starts at 1), `bias` (0); buffers `running_mean` (0), `running_var`
/// (1). Defaults: eps 1e-5, momentum 0.1.
///
/// ```
/// use wgrad_layers::{BatchNorm2d, Layer};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([8, 16, 4, 4]));
/// BatchNorm2d::new(16).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(graph.data().write_backs.len(), 2); // the running statistics change with every step
/// ```
#[derive(Clone, Debug)]
pub struct BatchNorm2d {
    num_features: usize,
    eps: f32,
    momentum: f32,
    weight_init: f32,
    scale: bool,
    place: Place,
}

impl BatchNorm2d {
    /// A normalisation of `num_features` channels.
    #[track_caller]
    pub fn new(num_features: usize) -> BatchNorm2d {
        BatchNorm2d { num_features, eps: 1e-5, momentum: 0.1, weight_init: 1.0, scale: true, place: Place::here() }
    }

    /// Added to the variance. Default 1e-5.
    pub fn eps(self, eps: f32) -> BatchNorm2d {
        BatchNorm2d { eps, ..self }
    }

    /// Share of the newest batch in the running statistics. Default 0.1.
    pub fn momentum(self, momentum: f32) -> BatchNorm2d {
        BatchNorm2d { momentum, ..self }
    }

    /// Whether `weight` is learned. Without, it is a buffer and stays what it is. Default true.
    pub fn scale(self, scale: bool) -> BatchNorm2d {
        BatchNorm2d { scale, ..self }
    }

    /// Starts `weight` at 0: for the last normalisation of a residual branch, so that the block starts as the identity
    /// (Goyal et al., arXiv:1706.02677, section 5.1).
    pub fn zero_init(self) -> BatchNorm2d {
        BatchNorm2d { weight_init: 0.0, ..self }
    }
}

impl Layer for BatchNorm2d {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        let shape = [self.num_features];
        let init = Init::Constant(self.weight_init);
        let weight = if self.scale { s.weight("weight", shape, init) } else { s.buffer("weight", shape, init) };
        let bias = s.weight("bias", shape, Init::Constant(0.0));
        let running_mean = s.buffer("running_mean", shape, Init::Constant(0.0));
        let running_var = s.buffer("running_var", shape, Init::Constant(1.0));
        if !s.is_training() {
            return x.batch_norm_eval(weight, bias, running_mean, running_var, self.eps);
        }
        let count = x.dim(0) * x.dim(2) * x.dim(3);
        if count == 1 && !x.is_poison() {
            let message = "training needs more than one value per channel; make the batch or the images larger";
            return s.graph().mistake("batch_norm", message);
        }
        let (y, mean, var) = x.batch_norm(weight, bias, self.eps);
        if !y.is_poison() {
            let unbiased = count as f32 / (count - 1) as f32;
            let update = |running: Value<'g>, batch, correction| {
                s.graph().write_back(running, running.batch_norm_update(batch, self.momentum, correction));
            };
            update(running_mean, mean, 1.0);
            update(running_var, var, unbiased);
        }
        y
    }
}
