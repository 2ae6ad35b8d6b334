//! What training steps are timed on: made-up images of a number, a size and classes.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use wgrad::tensor::{CompileOptions, Storage, Tier};
use wgrad::trainer::{Precision, SgdConfig, StepOptions};

/// How a tier is named on the command line.
pub(crate) fn tier_parser() -> impl TypedValueParser<Value = Tier> {
    PossibleValuesParser::new(Tier::NAMES).try_map(|name| name.parse::<Tier>())
}

/// How a storage is named on the command line.
pub(crate) fn storage_parser() -> impl TypedValueParser<Value = Storage> {
    let storages = [Storage::F32, Storage::F16, Storage::Bf16];
    let find = move |name: String| storages.into_iter().find(|storage| storage.name() == name);
    PossibleValuesParser::new(storages.map(Storage::name)).try_map(move |name| find(name).ok_or("no such storage"))
}

/// A batch of made-up colour images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    /// Images of a batch.
    pub(crate) batch: usize,
    /// Height and width of an image.
    pub(crate) size: usize,
    /// Classes that the network tells apart.
    pub(crate) classes: usize,
}

impl Setting {
    /// A step with momentum and weight decay, as such networks are trained.
    pub(crate) fn options(self, precision: Precision, compile: CompileOptions) -> StepOptions {
        StepOptions {
            batch_size: self.batch,
            channels: 3,
            height: self.size,
            width: self.size,
            mean: [0.5; 3],
            std: [0.25; 3],
            label_smoothing: 0.0,
            soft_targets: false,
            device_moves: false,
            sgd: SgdConfig { momentum: 0.9, weight_decay: 1e-4, ..SgdConfig::default() },
            update: Default::default(),
            logits: false,
            precision,
            compile,
        }
    }

    /// Pixels without a pattern, packed as a loader packs them.
    pub(crate) fn pixels(self) -> Vec<u32> {
        (0..(self.batch * self.size * self.size) as u32).map(|i| i.wrapping_mul(0x9e37_79b9) >> 8).collect()
    }

    /// Every class in turn.
    pub(crate) fn labels(self) -> Vec<u32> {
        (0..self.batch).map(|i| (i % self.classes) as u32).collect()
    }
}
