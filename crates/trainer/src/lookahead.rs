//! Weights that are pulled to their own slow average every few steps.

use crate::error::TrainError;
use std::collections::HashSet;
use wgrad_tensor::{CompileOptions, Device, Feed, Graph, Mode, Params, Plan, Scope, Storage, TensorDesc};

/// Lookahead (Zhang et al., arXiv:1907.08610) as airbench94 has it (Jordan, arXiv:2404.00498): every `every` steps the slow average
/// moves, `e = d e + (1 - d) w`, and weights and running statistics become it, `w = e`. With `s` of `steps` steps done, `d = decay^every
/// (s / steps)^3`: nothing at first, strongly at the end. After the last step the weights become the average of the moment. Momentum
/// stays as it is.
///
/// A step is an update of the weights, however many batches it takes. What training does not change (frozen weights, buffers that no
/// step writes) stays as it is to the bit.
///
/// State: `optimizer.lookahead.NAME` for every weight and running statistic that moves. Weights must be stored in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lookahead {
    /// Steps between two moves, at least 1; airbench94 has 5.
    pub every: u32,
    /// Decay a step at the end, in `0..1`; airbench94 has 0.95.
    pub decay: f64,
    /// Steps of the whole run, at least 1.
    pub steps: u64,
}

impl Lookahead {
    pub(crate) fn check(&self, weights: Storage) -> Result<(), TrainError> {
        if self.every == 0 || self.steps == 0 {
            return Err(TrainError::setting("lookahead", "at least 1 step", 0));
        }
        if !(0.0..1.0).contains(&self.decay) {
            return Err(TrainError::setting("lookahead", "a decay of 0..1", self.decay));
        }
        if weights != Storage::F32 {
            return Err(TrainError::setting("lookahead", "weights in f32", weights));
        }
        Ok(())
    }

    /// Factors of the old average and of the weights after `done` steps, none where nothing moves.
    fn factors(&self, done: u64) -> Option<[f32; 2]> {
        let part = done as f64 / self.steps as f64;
        let decay = self.decay.powf(f64::from(self.every)) * part.powi(3);
        match done {
            0 => None,
            // The average of the first moment is the weights of that moment.
            _ if done == u64::from(self.every) => Some([0.0, 1.0]),
            _ => (done.is_multiple_of(self.every.into()) && done <= self.steps)
                .then_some([decay as f32, (1.0 - decay) as f32]),
        }
    }
}

/// The plan that moves the average.
#[derive(Debug)]
pub(crate) struct LookaheadPlan {
    plan: Plan,
    rule: Lookahead,
}

impl LookaheadPlan {
    /// Compiles the move for what `params` holds of the model and `moves` names.
    pub(crate) fn new(
        device: &Device,
        params: &mut Params,
        rule: Lookahead,
        moves: &HashSet<String>,
        options: &CompileOptions,
    ) -> Result<LookaheadPlan, TrainError> {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Train);
        let factors = graph.feed("factors", TensorDesc::f32([2]));
        let of_model: Vec<_> = params.decls().filter(|decl| moves.contains(&decl.name)).collect();
        let pairs: Vec<_> = of_model.into_iter().map(|decl| scope.parameter(decl)).map(|w| (w, w)).collect();
        let states = graph.blend_states("lookahead", &pairs, factors);
        for ((weight, _), state) in pairs.iter().zip(states) {
            if let Some(new) = graph.new_value(state) {
                graph.write_back(*weight, new);
            }
        }
        Ok(LookaheadPlan { plan: Plan::compile(device, &graph, params, options)?, rule })
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What follows update number `done`, counted from 1.
    pub(crate) fn after(&mut self, done: u64) -> Result<(), TrainError> {
        if let Some(factors) = self.rule.factors(done) {
            self.plan.run(&[("factors", Feed::F32(&factors))])?;
        }
        // A run that is shorter than its first average has none.
        if done == self.rule.steps && done >= self.rule.every.into() {
            self.plan.run(&[("factors", Feed::F32(&[1.0, 0.0]))])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_move_as_airbench94_s() {
        let rule = Lookahead { every: 5, decay: 0.95, steps: 100 };
        rule.check(Storage::F32).expect("good");
        assert_eq!((rule.factors(0), rule.factors(4), rule.factors(5)), (None, None, Some([0.0, 1.0])));
        // 0.95^5 = 0.7737809375; an eighth of it at half of the way.
        let [keep, take] = rule.factors(50).expect("moves");
        assert!((keep - 0.096_722_62).abs() < 1e-7 && (keep + take - 1.0).abs() < 1e-6, "{keep} {take}");
        assert!((rule.factors(100).expect("moves")[0] - 0.773_780_94).abs() < 1e-6);
        assert_eq!(rule.factors(105), None);
        for bad in [Lookahead { every: 0, ..rule }, Lookahead { decay: 1.0, ..rule }, Lookahead { steps: 0, ..rule }] {
            assert!(bad.check(Storage::F32).is_err());
        }
        assert!(rule.check(Storage::Bf16).is_err_and(|error| error.to_string().contains("f32")));
    }
}
