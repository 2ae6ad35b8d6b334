//! The settings of a training run: one struct, which is the command line's, the config file's and the run folder's.
//!
//! A field is a key of the file and a flag of the same name (`batch_size`, `--batch-size`); its default stands beside it. What has none
//! there follows from other settings ([`derived`]).

mod check;
mod derived;
mod keys;
pub(crate) mod layers;
mod rules;

pub(crate) use derived::Source;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use wgrad::prelude::Augment;

/// Settings of `wgrad train`.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// cifar10, cifar100, mnist or fashion-mnist, or a path: a folder with train and val in it, or record files
    #[arg(long, value_name = "NAME|PATH", default_value = "fashion-mnist")]
    pub(crate) data: String,
    /// Folder of a data set that has a name [default: for fashion-mnist the embedded images, else where `cargo xtask data` puts it]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_folder: Option<PathBuf>,
    /// Take only every N-th image, in training and in tests
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) every: usize,
    /// Network of the zoo; `wgrad models` lists them [default: resnet20 for CIFAR, resnet8 for grey images, else resnet18]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Height and width to which images of files are brought [default: the network's usual size]
    #[arg(long, value_name = "PX")]
    pub(crate) size: Option<usize>,
    /// Passes over the training set
    #[arg(long, default_value = "10")]
    pub(crate) epochs: u32,
    /// Images in a training step
    #[arg(long, default_value = "64")]
    pub(crate) batch_size: usize,

    /// How the learning rate changes over the run
    #[arg(long, value_enum, default_value_t = ScheduleKind::OneCycle)]
    pub(crate) schedule: ScheduleKind,
    /// Largest learning rate [default: 0.1 for sgd, 0.001 for adam and adamw, 0.01 for rmsprop and adagrad]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) lr: Option<f64>,
    /// Schedule step: epochs between two changes [default: a third of the run]
    #[arg(long, value_name = "EPOCHS", allow_negative_numbers = true)]
    pub(crate) step_every: Option<f64>,
    /// Schedule multi-step: epochs at which the rate changes [default: half and three quarters of the run]
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    pub(crate) milestones: Option<Vec<f64>>,
    /// Schedules step and multi-step: what the rate is multiplied by [default: 0.1]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) gamma: Option<f64>,
    /// Schedule cosine: the last rate [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) min_lr: Option<f64>,
    /// Schedule one-cycle: part of the run in which the rate rises [default: 0.3]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) pct_start: Option<f64>,
    /// Schedule one-cycle: the largest rate over the first [default: 25]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) div_factor: Option<f64>,
    /// Schedule one-cycle: the first rate over the last [default: 10000]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) final_div_factor: Option<f64>,
    /// Epochs in which any schedule rises in a straight line to what it says [default: none]
    #[arg(long, value_name = "EPOCHS", allow_negative_numbers = true)]
    pub(crate) warm_up: Option<f64>,

    /// The rule by which a gradient becomes a new weight
    #[arg(long, value_enum, default_value_t = OptimizerKind::Sgd)]
    pub(crate) optimizer: OptimizerKind,
    /// Momentum of sgd, rmsprop, lars or muon [default: 0.9 for sgd and lars, 0.95 for muon, 0 for rmsprop]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) momentum: Option<f64>,
    /// Whether the momentum of sgd looks ahead [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) nesterov: Option<bool>,
    /// Weight decay [default: 0.0005, for adamw 0.01]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) weight_decay: Option<f64>,
    /// What decays: all parameters, or matrices and filters alone
    #[arg(long, value_enum, default_value_t = DecayKind::All)]
    pub(crate) decay: DecayKind,
    /// Largest norm of all gradients together; what is above it is scaled down [default: none]
    #[arg(long, value_name = "NORM", allow_negative_numbers = true)]
    pub(crate) clip_norm: Option<f64>,
    /// Batches whose gradients are averaged for one update
    #[arg(long, value_name = "BATCHES", default_value = "1")]
    pub(crate) accumulate: u32,
    /// Part of the target that is spread over all classes
    #[arg(long, default_value = "0", allow_negative_numbers = true)]
    pub(crate) label_smoothing: f64,

    /// Mix images pixel by pixel: alpha of the beta distribution [default: none]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(crate) mixup: Option<f64>,
    /// Paste rectangles of other images; with mixup each batch gets one of the two [default: none]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(crate) cutmix: Option<f64>,
    /// Leave crop, flips, translation and cutout to the device; changes no result, and refused where the augmentation has more
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub(crate) device_augment: bool,
    /// Part of the images that may be unreadable
    #[arg(long, value_name = "SHARE", default_value = "0.001", allow_negative_numbers = true)]
    pub(crate) bad_image_share: f64,
    /// Threads that prepare batches ahead; changes no result
    #[arg(long, default_value = "2")]
    pub(crate) threads: usize,

    /// What initial weights, order and augmentation follow from
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: u64,
    /// Checkpoint or model file of the same network to start from [default: fresh weights]
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Numbers to compute with: f32, mixed-f16, mixed-bf16, bf16-sr, … ; docs/precision.md lists them
    #[arg(long, default_value = "f32")]
    pub(crate) precision: String,
    /// Adapter by number or part of its name; `wgrad devices` lists them [default: a discrete GPU before an integrated one, a
    /// software adapter last]
    #[arg(long)]
    pub(crate) adapter: Option<String>,
    /// Family of kernels: base, cpu, subgroup, f16 or coop [default: the adapter's]
    #[arg(long)]
    pub(crate) tier: Option<String>,
    /// Most memory for activations and their gradients in MiB; what does not fit is computed twice, with the same result
    /// [default: as much as it takes]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    /// Time algorithms for at most so long before training, and keep what was found; with 0 the rules choose, or --tune-table
    #[arg(long, value_name = "SECONDS", default_value = "0", allow_negative_numbers = true)]
    pub(crate) tune: f64,
    /// Table of measured algorithms, as `cargo xtask tune` makes it; another table may change the last bits of every result
    /// [default: with --tune tuning.json in ~/.cache/wgrad, else none]
    #[arg(long, value_name = "FILE")]
    pub(crate) tune_table: Option<PathBuf>,

    /// New or empty folder for the results [default: a fresh one in runs/]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Write the first images as the network gets them to this PNG before training begins
    #[arg(long, value_name = "FILE")]
    pub(crate) preview: Option<PathBuf>,
    /// Also save a checkpoint after every so many steps; training does not wait for it [default: at the end of each epoch]
    #[arg(long, value_name = "STEPS")]
    pub(crate) checkpoint_every: Option<u64>,
    /// Checkpoints that are kept, the newest
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) keep: usize,
    /// End when so many epochs in a row bring no better test accuracy [default: never]
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) patience: Option<u32>,

    /// Random changes of the training images, a table as in the config file: '{ flip = true, cutout = 8 }'; {} makes none
    /// [default: crop and flip for CIFAR, flip for fashion-mnist, random resized crops and flip for images of files]
    // Last: in TOML a table ends the keys before it.
    #[arg(long, value_name = "TABLE", value_parser = layers::augment)]
    pub(crate) augment: Option<Augment>,
}

/// Kinds of learning-rate schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScheduleKind {
    /// Up and down again, half a cosine each
    OneCycle,
    /// Multiplied by gamma every so many epochs
    Step,
    /// Multiplied by gamma at milestones
    MultiStep,
    /// Down to min-lr along half a cosine
    Cosine,
    /// The same throughout
    Constant,
}

/// Kinds of optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OptimizerKind {
    /// Stochastic gradient descent with momentum
    Sgd,
    /// Adam, weight decay in the gradient
    Adam,
    /// Adam, weight decay beside the gradient
    Adamw,
    /// RMSProp
    Rmsprop,
    /// Adagrad
    Adagrad,
    /// A rate for each tensor; for large batches
    Lars,
    /// Filters by orthogonalised momentum, the rest by SGD
    Muon,
}

/// Which parameters weight decay pulls towards zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DecayKind {
    /// All of them
    All,
    /// Filters and matrices, but no bias and no norm
    Matrices,
}

impl Settings {
    /// The settings as a config file.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// The settings for the run's own folder: its files are found from everywhere, and a second run does not ask for the same folder.
    pub(crate) fn for_run_folder(&self) -> anyhow::Result<Settings> {
        let mut settings = Settings { out: None, preview: None, ..self.clone() };
        for path in [&mut settings.data_folder, &mut settings.weights, &mut settings.tune_table].into_iter().flatten() {
            *path = std::path::absolute(&*path)?;
        }
        if Source::of(&settings.data) == Source::Files {
            let path = std::path::absolute(&settings.data)?;
            // A path that is no text stays as it was given, which is text.
            settings.data = path.to_str().map_or(settings.data, str::to_owned);
        }
        Ok(settings)
    }
}
