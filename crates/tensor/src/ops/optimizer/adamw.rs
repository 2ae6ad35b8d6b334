//! Adam, with weight decay beside the gradient or in it.

use super::super::DispatchBuilder;
use super::{UpdateRule, check_value};
use crate::error::UsageError;

/// PyTorch's `AdamW`: `m' = b1 m + (1 - b1) g`, `v' = b2 v + (1 - b2) g^2`,
/// `p' = (1 - lr wd) p - lr / c1 * m' / (sqrt(v') / sqrt(c2) + eps)` with `c = 1 - b^t` after `t` steps. Not decoupled it is
/// `Adam`: `g` has `wd p` added instead. Loshchilov and Hutter, arXiv:1711.05101; Kingma and Ba, arXiv:1412.6980.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the mean of gradients, in `[0, 1)`; 0.9.
    pub beta1: f32,
    /// Decay of the mean of their squares, in `[0, 1)`; 0.999.
    pub beta2: f32,
    /// Added to the root, above 0; 1e-8.
    pub eps: f32,
    /// Whether weight decay is taken off the weight (AdamW) or added to the gradient (Adam).
    pub decoupled: bool,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: true }
    }
}

/// The decimal number that was written for an f32: 0.999 and not 0.99900001287, of which 1 is a hundred-thousandth further away.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

impl UpdateRule for AdamW {
    const NAME: &'static str = "adamw";

    fn states(&self) -> Vec<&'static str> {
        vec!["exp_avg", "exp_avg_sq"]
    }

    fn betas(&self) -> Option<[f64; 2]> {
        Some([decimal(self.beta1), decimal(self.beta2)])
    }

    fn check(&self) -> Result<(), UsageError> {
        check_value("beta1", self.beta1, "at least 0 and below 1", self.beta1 < 1.0)?;
        check_value("beta2", self.beta2, "at least 0 and below 1", self.beta2 < 1.0)?;
        check_value("eps", self.eps, "above 0", self.eps > 0.0)
    }

    fn configure<'b, 'a>(&self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        let [beta1, beta2] = [self.beta1, self.beta2].map(decimal);
        let kernel = kernel.define_if(self.decoupled, "DECOUPLED").arg("eps", self.eps);
        let kernel = kernel.arg("beta1", beta1 as f32).arg("beta2", beta2 as f32);
        kernel.arg("rest1", (1.0 - beta1) as f32).arg("rest2", (1.0 - beta2) as f32)
    }

    fn step(&self, rates: &[f64], weight_decay: f64, p: f64, g: f64, states: &mut [f64]) -> f64 {
        let [beta1, beta2] = [self.beta1, self.beta2].map(decimal);
        let g = if self.decoupled { g } else { g + weight_decay * p };
        states[0] = beta1 * states[0] + (1.0 - beta1) * g;
        states[1] = beta2 * states[1] + (1.0 - beta2) * g * g;
        let kept = if self.decoupled { p - rates[0] * weight_decay * p } else { p };
        kept - rates[0] * rates[2] * states[0] / (states[1].sqrt() * rates[3] + f64::from(self.eps))
    }
}
