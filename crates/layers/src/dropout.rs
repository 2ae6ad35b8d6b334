//! Dropout.

use crate::{Layer, Place};
use wgrad_tensor::{Scope, Value};

/// While training, sets each element to 0 with probability `p` and scales the rest by `1 / (1 - p)` (Srivastava et al.,
/// JMLR 15, 2014, in the inverted form); the identity while evaluating.
///
/// What is dropped follows from seed, step, sample and the path of the layer alone ([`Scope::rng`],
/// [`Scope::random_stream`]), so that a run can be repeated, and adding a layer elsewhere changes nothing here.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    p: f32,
    place: Place,
}

impl Dropout {
    /// A dropout with this probability, from 0 to less than 1. PyTorch's default is 0.5.
    #[track_caller]
    pub fn new(p: f32) -> Dropout {
        Dropout { p, place: Place::here() }
    }
}

impl Layer for Dropout {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        if !(0.0..1.0).contains(&self.p) {
            return s.graph().mistake("dropout", format!("p must be at least 0 and less than 1, got {}", self.p));
        }
        if !s.is_training() || self.p == 0.0 {
            return x;
        }
        x.dropout(self.p, s.rng(), s.random_stream())
    }
}
