//! Training that starts from weights of another task: which ones, what stays frozen, which layers learn faster.

use super::Trainer;
use crate::parts::Parts;
use crate::pattern::Pattern;
use crate::update::{GroupRule, Optimizer, UpdateConfig};
use crate::weights::LoadOptions;
use std::path::PathBuf;

/// How fast the layers below the head learn, as factors on the learning rate; the head ([`Parts::heads`]) has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum BodyRates {
    /// As the head.
    #[default]
    Full,
    /// Not at all: the first of two stages, in which a fresh head must not tear at layers that are good.
    Frozen,
    /// At this factor, e.g. 0.1: the second stage.
    Scaled(f32),
    /// By depth in three equal parts: 0, 1/100, 1/10 from the images up. What the first layers see is the same in all
    /// photographs; the last ones are about the old classes.
    ThreeTiers,
}

/// Factors of [`BodyRates::ThreeTiers`], from the images up.
const TIERS: [f32; 3] = [0.0, 0.01, 0.1];

impl BodyRates {
    /// The rules that give the layers of `parts` these rates, one for each layer.
    #[must_use]
    pub fn rules(self, parts: &Parts) -> Vec<GroupRule> {
        let rule = |layer: &String, lr_scale| GroupRule {
            pattern: layer.into(),
            lr_scale: Some(lr_scale),
            weight_decay: None,
        };
        let filters = parts.depth.last().map_or(0, |last| last + 1);
        let layers = parts.body.iter().zip(&parts.depth);
        let factor = |depth: usize| match self {
            BodyRates::Full => 1.0,
            BodyRates::Frozen => 0.0,
            BodyRates::Scaled(factor) => factor,
            BodyRates::ThreeTiers => TIERS[(3 * depth / filters.max(1)).min(2)],
        };
        match self {
            BodyRates::Full => Vec::new(),
            _ => layers.map(|(layer, &depth)| rule(layer, factor(depth))).collect(),
        }
    }
}

impl Trainer {
    /// Starts from weights of any format that [`Weights::parse`](crate::Weights::parse) reads; a line says what became of them.
    ///
    /// ```no_run
    /// # use wgrad_trainer::{BodyRates, LoadOptions, Trainer};
    /// # fn f(trainer: Trainer) {
    /// // Another set of classes: the body of ResNet-18 at a tenth of the rate, a fresh head.
    /// let trainer = trainer.pretrained("resnet18.pth", LoadOptions::new()).replace_head().body(BodyRates::Scaled(0.1));
    /// # }
    /// ```
    #[must_use]
    pub fn pretrained(mut self, path: impl Into<PathBuf>, options: LoadOptions) -> Trainer {
        self.pretrained = Some((path.into(), options));
        self
    }

    /// Leaves the heads of the model fresh, whatever [`Trainer::pretrained`]'s file has for them: for another set of classes.
    #[must_use]
    pub fn replace_head(mut self) -> Trainer {
        self.replace_head = true;
        self
    }

    /// How fast the layers below the head learn. What [`Trainer::freeze`] and [`Trainer::lr_scale`] say of a layer holds over it.
    ///
    /// Two stages are two runs, the second of which starts from the first one's model, with momentum at zero:
    ///
    /// ```no_run
    /// # use wgrad_trainer::{BodyRates, LoadOptions, TrainError, Trainer};
    /// # fn two_stages(trainer: impl Fn() -> Trainer) -> Result<(), TrainError> {
    /// let head = trainer().pretrained("resnet18.pth", LoadOptions::new()).replace_head().body(BodyRates::Frozen);
    /// head.epochs(5).out("run/head").run()?;
    /// trainer().weights("run/head/model.safetensors").body(BodyRates::Scaled(0.1)).epochs(10).out("run/all").run()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn body(mut self, rates: BodyRates) -> Trainer {
        self.body = rates;
        self
    }

    /// Keeps the parameters that `pattern` matches as they are; see [`UpdateConfig::freeze`].
    #[must_use]
    pub fn freeze(self, pattern: impl Into<Pattern>) -> Trainer {
        self.lr_scale(pattern, 0.0)
    }

    /// Multiplies the learning rate of the parameters that `pattern` matches; where several match, the last one holds.
    #[must_use]
    pub fn lr_scale(mut self, pattern: impl Into<Pattern>, lr_scale: f32) -> Trainer {
        self.rules.push(GroupRule { pattern: pattern.into(), lr_scale: Some(lr_scale), weight_decay: None });
        self
    }

    /// The optimiser; SGD if not given. Weight decay is that of [`Trainer::weight_decay`].
    #[must_use]
    pub fn optimizer(mut self, optimizer: Optimizer) -> Trainer {
        self.optimizer = Some(optimizer);
        self
    }

    /// All settings of the update. [`Trainer::optimizer`], [`Trainer::freeze`] and [`Trainer::lr_scale`] hold over it, whether
    /// they are called before or after.
    #[must_use]
    pub fn update(mut self, update: UpdateConfig) -> Trainer {
        self.update = update;
        self
    }

    /// The parts of the model on images of the data set.
    pub(super) fn parts(&self) -> Parts {
        Parts::of(&*self.model, self.data.train.input(1))
    }

    /// Everything that was said of the update. The last rule that matches a parameter holds.
    pub(super) fn update_config(&self) -> UpdateConfig {
        let mut update = self.update.clone();
        update.optimizer = self.optimizer.unwrap_or(update.optimizer);
        if self.body != BodyRates::Full {
            update.rules.splice(0..0, self.body.rules(&self.parts()));
        }
        update.rules.extend(self.rules.iter().cloned());
        update
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_tiers_go_by_depth() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let body = names(&["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "conv4"]);
        let parts = Parts { heads: names(&["fc"]), body, depth: vec![0, 0, 1, 1, 2, 2, 3] };
        let factors =
            |rates: BodyRates| rates.rules(&parts).iter().filter_map(|rule| rule.lr_scale).collect::<Vec<_>>();
        // A norm lies behind its filters, at their rate.
        assert_eq!(factors(BodyRates::ThreeTiers), [0.0, 0.0, 0.0, 0.0, 0.01, 0.01, 0.1]);
        assert_eq!(factors(BodyRates::Scaled(0.5)), [0.5; 7]);
        assert_eq!(factors(BodyRates::Frozen), [0.0; 7]);
        assert!(BodyRates::Full.rules(&parts).is_empty() && BodyRates::Frozen.rules(&Parts::default()).is_empty());
    }
}
