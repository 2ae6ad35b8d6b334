//! Settings of stochastic gradient descent, and the weight decay of all optimisers.

use crate::error::TrainError;

/// Which parameters weight decay pulls towards zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// All of them, as `torch.optim.SGD(model.parameters(), weight_decay=…)` does.
    #[default]
    All,
    /// Those of rank 2 and above: filters and matrices, but no bias and neither scale nor shift of a batch norm.
    Matrices,
}

/// Stochastic gradient descent as PyTorch has it: `g += weight_decay * w; v = momentum * v + g; w -= lr * v`, and with
/// Nesterov `w -= lr * (g + momentum * v)`. No dampening. In Caffe's form the rate is part of the velocity
/// ([`Sgd`](wgrad_tensor::ops::sgd::Sgd)).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SgdConfig {
    /// In `0..1`; the default is 0.9.
    pub momentum: f32,
    /// Look ahead along the velocity; needs momentum.
    pub nesterov: bool,
    /// Caffe's form: `v = momentum * v + lr * g; w -= v`. The same until the rate changes; false.
    pub lr_in_velocity: bool,
    /// At least 0; the default is 1e-4.
    pub weight_decay: f32,
    /// Which parameters it concerns.
    pub decay: Decay,
}

impl Default for SgdConfig {
    fn default() -> SgdConfig {
        SgdConfig { momentum: 0.9, nesterov: false, lr_in_velocity: false, weight_decay: 1e-4, decay: Decay::All }
    }
}

impl SgdConfig {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), TrainError> {
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(TrainError::setting("momentum", "a number of 0..1", self.momentum));
        }
        if self.nesterov && self.momentum == 0.0 {
            return Err(TrainError::setting("nesterov", "a momentum above 0 with it", self.momentum));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(TrainError::setting("weight decay", "a finite number of at least 0", self.weight_decay));
        }
        Ok(())
    }
}
