//! How weights are updated: which optimiser, which weights at all, at which rate, from how many batches.

use crate::error::TrainError;
use crate::lookahead::Lookahead;
use crate::pattern::Pattern;
use crate::precision::Precision;
use crate::step::{Decay, SgdConfig};
use wgrad_tensor::ops::optimizer::{Adagrad, AdamW, Lars, Muon, ParamGroup, RmsProp, UpdateRule};
use wgrad_tensor::ops::sgd::Sgd;
use wgrad_tensor::{Error, Graph, Rounding, Storage, TensorDesc, UsageError, Value};

/// The rule by which a gradient becomes a new weight. Weight decay and what it concerns stand in [`SgdConfig`] for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Optimizer {
    /// With the momentum of [`SgdConfig`].
    #[default]
    Sgd,
    /// Adam, with weight decay beside the gradient or in it.
    AdamW(AdamW),
    /// RMSProp.
    RmsProp(RmsProp),
    /// Adagrad.
    Adagrad(Adagrad),
    /// LARS: a rate for each tensor, from the norms of weight and gradient; for large batches.
    Lars(Lars),
    /// Muon: filters of convolutions by orthogonalised momentum, everything else by SGD.
    Muon(Muon),
}

/// What holds for the parameters that a pattern matches; what is not given is left to earlier rules.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRule {
    /// Which parameters.
    pub pattern: Pattern,
    /// Factor on the learning rate; 0 freezes them: no gradient is computed for them, nor for what only leads to them.
    pub lr_scale: Option<f32>,
    /// Weight decay of their own.
    pub weight_decay: Option<f32>,
}

/// How weights are updated.
///
/// Frozen batch norms keep following the statistics of the batches, as they do in PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateConfig {
    /// The rule.
    pub optimizer: Optimizer,
    /// Rates and freezing by name. Where several match, the last one that says something of rate or decay holds for that.
    pub rules: Vec<GroupRule>,
    /// Largest norm of all gradients together; those above it are scaled down.
    pub clip_norm: Option<f32>,
    /// Keeps an average of the weights, `ema = d ema + (1 - d) w` after every update, from the first update's weights on. `d` in
    /// `0..1`; read it with [`Weights::averaged`](crate::Weights::averaged).
    pub ema: Option<f32>,
    /// Batches whose gradients are averaged for one update, at least 1. Batch norms see each batch alone.
    pub accumulate: u32,
    /// Pulls weights to a slow average of them every few steps.
    pub lookahead: Option<Lookahead>,
}

impl Default for UpdateConfig {
    /// SGD, everything at the full rate, nothing clipped, no average, an update after every batch.
    fn default() -> UpdateConfig {
        UpdateConfig {
            optimizer: Optimizer::Sgd,
            rules: Vec::new(),
            clip_norm: None,
            ema: None,
            accumulate: 1,
            lookahead: None,
        }
    }
}

impl UpdateConfig {
    /// Keeps the parameters that `pattern` matches as they are.
    #[must_use]
    pub fn freeze(self, pattern: impl Into<Pattern>) -> UpdateConfig {
        self.lr_scale(pattern, 0.0)
    }

    /// Multiplies the learning rate of the parameters that `pattern` matches.
    #[must_use]
    pub fn lr_scale(mut self, pattern: impl Into<Pattern>, lr_scale: f32) -> UpdateConfig {
        self.rules.push(GroupRule { pattern: pattern.into(), lr_scale: Some(lr_scale), weight_decay: None });
        self
    }

    /// Whether every number is in its range and goes with the precision.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self, precision: &Precision) -> Result<(), TrainError> {
        let at_least_0 = |name, value: f32| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(TrainError::setting(name, "a finite number of at least 0", value)),
        };
        for rule in &self.rules {
            at_least_0("learning rate factor", rule.lr_scale.unwrap_or(1.0))?;
            at_least_0("weight decay", rule.weight_decay.unwrap_or(0.0))?;
        }
        match self.optimizer {
            Optimizer::Sgd => Ok(()),
            Optimizer::AdamW(rule) => rule.check(),
            Optimizer::RmsProp(rule) => rule.check(),
            Optimizer::Adagrad(rule) => rule.check(),
            Optimizer::Lars(rule) => rule.check(),
            Optimizer::Muon(rule) => rule.check(),
        }
        .map_err(Error::from)?;
        if let Some(norm) = self.clip_norm.filter(|norm| !(norm.is_finite() && *norm > 0.0)) {
            return Err(TrainError::setting("largest norm of gradients", "a finite number above 0", norm));
        }
        if let Some(decay) = self.ema.filter(|decay| !(0.0..1.0).contains(decay)) {
            return Err(TrainError::setting("decay of the average", "a number of 0..1", decay));
        }
        if self.accumulate == 0 {
            return Err(TrainError::setting("batches of an update", "at least 1", 0));
        }
        if let Some(lookahead) = &self.lookahead {
            lookahead.check(precision.weights)?;
        }
        if self.accumulate > 1 && precision.format.is_some() {
            return Err(TrainError::setting("batches of an update", "1 with emulated numbers", self.accumulate));
        }
        if matches!(self.optimizer, Optimizer::Muon(_)) && precision.storage.activations == Storage::F16 {
            let wanted = "any but Muon where results are kept in f16: its products would lose small gradients";
            return Err(TrainError::setting("optimizer", wanted, "muon"));
        }
        if self.lookahead.is_some() && precision.format.is_some() {
            return Err(TrainError::setting("lookahead", "none with emulated numbers", "one"));
        }
        // The products of the iteration would be put on the gradients' grid.
        if matches!(self.optimizer, Optimizer::Muon(_)) && precision.format.is_some() {
            return Err(TrainError::setting("optimizer", "any but Muon with emulated numbers", "muon"));
        }
        // The random keys of stochastic rounding would be the ninth buffer of a kernel that may bind eight.
        let two_states = match self.optimizer {
            Optimizer::AdamW(_) => true,
            Optimizer::RmsProp(rule) => rule.states().len() > 1,
            Optimizer::Sgd | Optimizer::Adagrad(_) | Optimizer::Lars(_) | Optimizer::Muon(_) => false,
        };
        let stochastic = precision.storage.weight_rounding == Rounding::Stochastic;
        if two_states && precision.weights != Storage::F32 && stochastic {
            let wanted = "SGD, Adagrad, LARS or Muon, or weights that are rounded to nearest or stored in f32";
            return Err(TrainError::setting(
                "optimizer",
                wanted,
                "one with two states and stochastic rounding of weights",
            ));
        }
        Ok(())
    }

    /// Factor on the learning rate, and weight decay, of a parameter.
    #[must_use]
    pub fn of(&self, name: &str, rank: usize, sgd: &SgdConfig) -> (f32, f32) {
        let last = |number: fn(&GroupRule) -> Option<f32>| {
            self.rules.iter().rev().filter(|rule| rule.pattern.matches(name)).find_map(number)
        };
        let decays = sgd.decay == Decay::All || rank >= 2;
        let decay = last(|rule| rule.weight_decay).unwrap_or(if decays { sgd.weight_decay } else { 0.0 });
        (last(|rule| rule.lr_scale).unwrap_or(1.0), decay)
    }

    /// A pattern that matches none of these names: a mistake that would go unseen.
    pub(crate) fn idle<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Option<&Pattern> {
        let idle = |rule: &&GroupRule| !names.clone().any(|name| rule.pattern.matches(name));
        self.rules.iter().find(idle).map(|rule| &rule.pattern)
    }

    /// Parameters in groups of one rate and one weight decay; those that decay first, else in order of appearance.
    pub(crate) fn groups<'g>(
        &self,
        sgd: &SgdConfig,
        members: impl Iterator<Item = (String, Value<'g>, Value<'g>)>,
    ) -> Vec<ParamGroup<'g>> {
        let mut groups: Vec<ParamGroup<'g>> = Vec::new();
        for (name, weight, gradient) in members {
            let (lr_scale, weight_decay) = self.of(&name, weight.shape().rank(), sgd);
            let known =
                groups.iter_mut().find(|group| (group.lr_scale, group.weight_decay) == (lr_scale, weight_decay));
            match known {
                Some(group) => group.members.push((weight, gradient)),
                None => groups.push(ParamGroup { lr_scale, weight_decay, members: vec![(weight, gradient)] }),
            }
        }
        groups.sort_by_key(|group| group.weight_decay == 0.0);
        groups
    }

    /// Traces the update of all groups, and the average of the new weights.
    pub(crate) fn trace<'g>(
        &self,
        graph: &'g Graph,
        sgd: &SgdConfig,
        groups: &[ParamGroup<'g>],
        lr: Value<'g>,
        factor: Option<Value<'g>>,
    ) -> Result<(), UsageError> {
        match &self.optimizer {
            Optimizer::Sgd => {
                let rule = Sgd { momentum: sgd.momentum, nesterov: sgd.nesterov, lr_in_velocity: sgd.lr_in_velocity };
                graph.sgd_with_factor(&rule, groups, lr, factor)?;
            }
            Optimizer::AdamW(rule) => graph.optimize(rule, groups, lr, factor)?,
            Optimizer::RmsProp(rule) => graph.optimize(rule, groups, lr, factor)?,
            Optimizer::Adagrad(rule) => graph.optimize(rule, groups, lr, factor)?,
            Optimizer::Lars(rule) => graph.lars(rule, groups, lr, factor)?,
            Optimizer::Muon(rule) => graph.muon(rule, groups, lr, factor)?,
        }
        if self.ema.is_some() {
            let factors = graph.feed(EMA_FEED, TensorDesc::f32([2]));
            for group in groups {
                let new = |&(param, _): &(Value<'g>, Value<'g>)| Some((param, graph.new_value(param)?));
                graph.blend_states(EMA, &group.members.iter().filter_map(new).collect::<Vec<_>>(), factors);
            }
        }
        Ok(())
    }

    /// What [`EMA_FEED`] is handed in update number `update`, from 0.
    pub(crate) fn ema_factors(&self, update: u64) -> [f32; 2] {
        match self.ema {
            Some(decay) if update > 0 => [decay, 1.0 - decay],
            _ => [0.0, 1.0],
        }
    }
}

/// State with averages of weights: parameter `w` has its in `optimizer.ema.w`.
pub(crate) const EMA: &str = "ema";
/// Feed with the factors of old averages and new weights.
pub(crate) const EMA_FEED: &str = "ema";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_holds() {
        let config = UpdateConfig::default().freeze("*").lr_scale("layer4", 0.1).lr_scale("fc", 1.0);
        let sgd = SgdConfig { weight_decay: 0.5, decay: Decay::Matrices, ..SgdConfig::default() };
        assert_eq!(config.of("layer1.0.conv1.weight", 4, &sgd), (0.0, 0.5));
        assert_eq!(config.of("layer4.0.bn1.weight", 1, &sgd), (0.1, 0.0));
        assert_eq!(config.of("fc.weight", 2, &sgd), (1.0, 0.5));
        assert_eq!(config.idle(["layer1.w", "fc.w"].into_iter()).map(ToString::to_string).as_deref(), Some("layer4"));
        let rule = GroupRule { pattern: "*.bias".into(), lr_scale: Some(2.0), weight_decay: Some(0.25) };
        let caffe = UpdateConfig { rules: vec![rule], ..UpdateConfig::default() };
        assert_eq!(caffe.of("conv1.bias", 1, &sgd), (2.0, 0.25));
        assert_eq!(caffe.clone().freeze("conv1").of("conv1.bias", 1, &sgd), (0.0, 0.25), "its decay stays");
        let decay = GroupRule { pattern: "*.bias".into(), lr_scale: None, weight_decay: Some(0.5) };
        let frozen = UpdateConfig::default().freeze("conv1");
        let frozen = UpdateConfig { rules: [frozen.rules, vec![decay]].concat(), ..frozen };
        assert_eq!(frozen.of("conv1.bias", 1, &sgd), (0.0, 0.5), "a decay unfreezes nothing");
    }

    #[test]
    fn bad_settings_are_named() {
        let config = UpdateConfig::default;
        let says = |config: UpdateConfig, precision: &str, part: &str| {
            let precision = Precision::by_name(precision).expect("known");
            let error = config.check(&precision).expect_err("bad").to_string();
            assert!(error.contains(part), "{error}");
        };
        config().check(&Precision::default()).expect("good");
        says(config().lr_scale("*", -1.0), "f32", "learning rate factor");
        says(config().lr_scale("*", f32::NAN), "f32", "learning rate factor");
        says(UpdateConfig { clip_norm: Some(0.0), ..config() }, "f32", "largest norm");
        says(UpdateConfig { ema: Some(1.0), ..config() }, "f32", "average");
        says(UpdateConfig { accumulate: 0, ..config() }, "f32", "batches of an update");
        says(UpdateConfig { accumulate: 2, ..config() }, "fixed16-sr", "emulated");
        let adamw = Optimizer::AdamW(AdamW { beta1: 1.0, ..AdamW::default() });
        says(UpdateConfig { optimizer: adamw, ..config() }, "f32", "beta1");
        let adamw = UpdateConfig { optimizer: Optimizer::AdamW(AdamW::default()), ..config() };
        adamw.check(&Precision::by_name("bf16-nearest").expect("known")).expect("good");
        says(adamw, "bf16-sr", "two states");
    }
}
