//! Training that starts from weights of another task: which ones, what stays frozen, which layers learn faster.

use super::Trainer;
use crate::pattern::Pattern;
use crate::update::{Optimizer, UpdateConfig};
use crate::weights::LoadOptions;
use std::path::PathBuf;

impl Trainer {
    /// Starts from weights of any format that [`Weights::parse`](crate::Weights::parse) reads; a line says what became of them.
    ///
    /// ```no_run
    /// # use wgrad_trainer::{LoadOptions, Trainer};
    /// # fn f(trainer: Trainer) {
    /// // Another set of classes: the body of ResNet-18 at a tenth of the rate, a fresh head.
    /// let options = LoadOptions::new().replace_head();
    /// let trainer = trainer.pretrained("resnet18.pth", options).lr_scale("*", 0.1).lr_scale("fc", 1.0);
    /// # }
    /// ```
    #[must_use]
    pub fn pretrained(mut self, path: impl Into<PathBuf>, options: LoadOptions) -> Trainer {
        self.pretrained = Some((path.into(), options));
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
        self.update = self.update.lr_scale(pattern, lr_scale);
        self
    }

    /// The optimiser; SGD if not given. Weight decay is that of [`Trainer::weight_decay`].
    #[must_use]
    pub fn optimizer(mut self, optimizer: Optimizer) -> Trainer {
        self.update.optimizer = optimizer;
        self
    }

    /// All settings of the update.
    #[must_use]
    pub fn update(mut self, update: UpdateConfig) -> Trainer {
        self.update = update;
        self
    }
}
