//! RMSProp, with or without momentum, centred or not.

use super::super::DispatchBuilder;
use super::{UpdateRule, check_value};
use crate::error::UsageError;

/// PyTorch's `RMSprop`: with `g' = g + wd p`, `v' = a v + (1 - a) g'^2` and `u = g' / (sqrt(v') + eps)`:
/// `p' = p - lr u`, or with momentum `b' = momentum b + u`, `p' = p - lr b'`. Tieleman and Hinton 2012, lecture 6.5.
///
/// Centred (Graves, arXiv:1308.0850), the mean of gradients `m' = a m + (1 - a) g'` is kept too and `u = g' / (sqrt(v' - m'^2) + eps)`; a
/// difference below 0, which only rounding leads to, counts as 0. One state of the size of the parameters, two with momentum or
/// centred. Both together are refused: three states would be ten buffers of a kernel that may bind eight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Decay of the mean of squares, in `[0, 1)`; 0.99.
    pub alpha: f32,
    /// Added to the root, above 0; 1e-8.
    pub eps: f32,
    /// Share of the last update that is kept, in `[0, 1)`; 0.
    pub momentum: f32,
    /// Whether squares are taken around the mean of the gradients; false.
    pub centered: bool,
}

impl Default for RmsProp {
    fn default() -> RmsProp {
        RmsProp { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false }
    }
}

impl UpdateRule for RmsProp {
    const NAME: &'static str = "rmsprop";

    fn states(&self) -> Vec<&'static str> {
        match (self.centered, self.momentum > 0.0) {
            (true, _) => vec!["square_avg", "grad_avg"],
            (false, true) => vec!["square_avg", "momentum_buffer"],
            (false, false) => vec!["square_avg"],
        }
    }

    fn check(&self) -> Result<(), UsageError> {
        check_value("alpha", self.alpha, "at least 0 and below 1", self.alpha < 1.0)?;
        check_value("eps", self.eps, "above 0", self.eps > 0.0)?;
        check_value("momentum", self.momentum, "at least 0 and below 1", self.momentum < 1.0)?;
        check_value("momentum", self.momentum, "0 where centred", !self.centered || self.momentum == 0.0)
    }

    fn configure<'b, 'a>(&self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        let kernel = kernel.define_if(self.momentum > 0.0, "MOMENTUM").define_if(self.centered, "CENTERED");
        let kernel = kernel.define_if(self.states().len() == 2, "TWO");
        let kernel = kernel.arg("momentum", self.momentum);
        let rest = (1.0 - f64::from(self.alpha)) as f32;
        kernel.arg("alpha", self.alpha).arg("rest", rest).arg("eps", self.eps)
    }

    fn step(&self, rates: &[f64], weight_decay: f64, p: f64, g: f64, states: &mut [f64]) -> f64 {
        let g = g + weight_decay * p;
        let alpha = f64::from(self.alpha);
        states[0] = alpha * states[0] + (1.0 - alpha) * g * g;
        let mut square = states[0];
        if self.centered {
            states[1] = alpha * states[1] + (1.0 - alpha) * g;
            square = (square - states[1] * states[1]).max(0.0);
        }
        let mut update = g / (square.sqrt() + f64::from(self.eps));
        if self.momentum > 0.0 {
            states[1] = f64::from(self.momentum) * states[1] + update;
            update = states[1];
        }
        p - rates[0] * update
    }
}
