//! Adagrad.

use super::super::DispatchBuilder;
use super::{UpdateRule, check_value};
use crate::error::UsageError;

/// PyTorch's `Adagrad`: with `g' = g + wd p`, `s' = s + g'^2`, `p' = p - lr g' / (sqrt(s') + eps)`. The learning rate does not
/// decay by itself and the sum starts at 0. Duchi, Hazan and Singer 2011.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// Added to the root, above 0; 1e-10.
    pub eps: f32,
}

impl Default for Adagrad {
    fn default() -> Adagrad {
        Adagrad { eps: 1e-10 }
    }
}

impl UpdateRule for Adagrad {
    const NAME: &'static str = "adagrad";

    fn states(&self) -> Vec<&'static str> {
        vec!["sum"]
    }

    fn check(&self) -> Result<(), UsageError> {
        check_value("eps", self.eps, "above 0", self.eps > 0.0)
    }

    fn configure<'b, 'a>(&self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        kernel.arg("eps", self.eps)
    }

    fn step(&self, rates: &[f64], weight_decay: f64, p: f64, g: f64, states: &mut [f64]) -> f64 {
        let g = g + weight_decay * p;
        states[0] += g * g;
        p - rates[0] * g / (states[0].sqrt() + f64::from(self.eps))
    }
}
