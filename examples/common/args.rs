//! Command-line arguments that the training examples share.
//!
//! An example names its own defaults; everything else is the same everywhere, and `--help` shows the defaults.

// Each example compiles its own copy and none uses every part.
#![allow(dead_code)]

#[path = "device_args.rs"]
mod device_args;
#[path = "signals.rs"]
mod signals;

use device_args::note;
pub(crate) use device_args::{DeviceArgs, finish, say};
pub(crate) use signals::stop;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wgrad::layers::{Layer, models};
use wgrad::tensor::CompileOptions;
use wgrad::trainer::{Output, Precision, Resume, Trained, Trainer, TuningFile, tuning};

/// Trains a network and ends with one line `result {…}` for programs to read.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Args {
    /// Network of the zoo, e.g. resnet20
    #[arg(long, default_value = "resnet20")]
    pub(crate) model: String,
    /// Passes over the training set
    #[arg(long, default_value = "10")]
    pub(crate) epochs: u32,
    /// Images in a training step
    #[arg(long, default_value = "128")]
    pub(crate) batch_size: usize,
    /// Largest learning rate of the schedule
    #[arg(long, default_value = "0.1", allow_negative_numbers = true)]
    pub(crate) lr: f64,
    /// What initial weights, order and augmentation follow from
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    /// Height and width of the images that the network sees, in pixels
    #[arg(long, default_value = "0", value_name = "PX")]
    pub(crate) size: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Folder of the data set [default: for Fashion-MNIST the embedded images, for CIFAR-10 where `cargo xtask data` puts it]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Threads that prepare batches ahead; changes no result
    #[arg(long, default_value = "2")]
    pub(crate) threads: usize,
    /// Leave crop, flips, translation and cutout to the device; changes no result, and refused where the augmentation has more
    #[arg(long)]
    pub(crate) device_augment: bool,
    /// Numbers to compute with: f32, mixed-f16, mixed-bf16, bf16-sr, … ; docs/precision.md lists them
    #[arg(long, default_value = "f32")]
    pub(crate) precision: Precision,
    /// Most memory for activations and their gradients in MiB; what does not fit is computed twice, with the same result
    /// [default: as much as it takes]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    /// Checkpoint or model file of the same network to start from [default: fresh weights]
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Write the first images as the network gets them to this PNG before training begins
    #[arg(long, value_name = "FILE")]
    pub(crate) preview: Option<PathBuf>,
    /// New or empty folder for the results [default: a fresh one in runs/]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with the run in this folder, from its newest checkpoint; the other arguments must be those that it began with
    #[arg(long, value_name = "FOLDER", conflicts_with = "out")]
    pub(crate) resume: Option<PathBuf>,
    /// With --resume: take training images other than those that the run began with
    #[arg(long, requires = "resume")]
    force_data: bool,
    /// Also save a checkpoint after every so many steps; training does not wait for it [default: at the end of each epoch]
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u64>,
    /// Checkpoints that are kept, the newest
    #[arg(long, value_name = "N", default_value = "3")]
    keep: usize,
    /// End when so many epochs in a row bring no better test accuracy
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<u32>,
    /// Time algorithms for at most so long before training, and keep what was found; with 0 the rules choose, or --tune-table
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    tune: f64,
    /// Table of measured algorithms, as `cargo xtask tune` makes it; another table may change the last bits of every result
    /// [default: with --tune tuning.json in ~/.cache/wgrad, else none]
    #[arg(long, value_name = "FILE")]
    tune_table: Option<PathBuf>,
    /// When the program started: the first step's time counts from here.
    #[arg(skip = Instant::now())]
    pub(crate) started: Instant,
}

/// Parses the command line; `defaults` are pairs of argument and value. An example with a network of its own gives `model` no
/// default, and `--help` does not show it; so with `size` where the data set decides.
pub(crate) fn parse(defaults: &[(&'static str, &'static str)]) -> Args {
    let mut command = Args::command();
    for optional in ["model", "size"] {
        let is_given = defaults.iter().any(|(name, _)| *name == optional);
        command = command.mut_arg(optional, |argument| argument.hide(!is_given));
    }
    for &(name, value) in defaults {
        command = command.mut_arg(name, |argument| argument.default_value(value));
    }
    Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// The user's cache folder.
fn cache() -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".cache")
}

impl Args {
    /// Trains with what is the same in all examples: device, threads, seed, first weights, and the folder of the results.
    pub(crate) fn run(&self, trainer: Trainer) -> anyhow::Result<Trained> {
        let trainer = trainer
            .device_options(self.device.options())
            .precision(self.precision)
            .compile_options(self.compile_options())
            .threads(self.threads)
            .augment_on_device(self.device_augment)
            .seed(self.seed)
            .output(self.output())
            .tuning(self.tuning_file()?)
            .tune(self.tune_budget()?)
            .keep(self.keep)
            .stop(stop())
            .started(self.started);
        let trainer = match self.checkpoint_every {
            Some(steps) => trainer.checkpoint_every(steps),
            None => trainer,
        };
        let trainer = match self.patience {
            Some(epochs) => trainer.patience(epochs),
            None => trainer,
        };
        let trainer = match &self.resume {
            Some(folder) => trainer.out(folder).resume(Resume { force_data: self.force_data }),
            None => trainer,
        };
        let trainer = match &self.weights {
            Some(path) => trainer.weights(path),
            None => trainer,
        };
        let trainer = match &self.preview {
            Some(path) => trainer.preview(path),
            None => trainer,
        };
        Ok(trainer.run()?)
    }

    /// How plans are compiled.
    pub(crate) fn compile_options(&self) -> CompileOptions {
        CompileOptions { temporary_bytes: self.memory.map(|mib| mib << 20), ..CompileOptions::default() }
    }

    /// Refuses what only a [`Trainer`] can do.
    pub(crate) fn refuse_trainers(&self) -> anyhow::Result<()> {
        let given = [
            ("--resume", self.resume.is_some()),
            ("--checkpoint-every", self.checkpoint_every.is_some()),
            ("--patience", self.patience.is_some()),
            ("--device-augment", self.device_augment),
            ("--preview", self.preview.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => {
                anyhow::bail!("{name}: wanted an example that uses Trainer, this one writes the loop out")
            }
            None => Ok(()),
        }
    }

    /// The network that was asked for.
    pub(crate) fn network(&self, in_channels: usize, classes: usize) -> anyhow::Result<Box<dyn Layer>> {
        models::by_name(&self.model, in_channels, classes).with_context(|| {
            let known = [models::NAMES, models::IMAGENET_NAMES].concat().join(", ");
            format!("--model: wanted one of {known}, got {:?}", self.model)
        })
    }

    /// The folder of data set `name`: as given, or where `cargo xtask data` puts it.
    pub(crate) fn data_folder(&self, name: &str) -> PathBuf {
        self.data.clone().unwrap_or_else(|| wgrad::trainer::data::open::default_folder(name, &cache()))
    }

    /// The table that was asked for; the user's own where algorithms shall be timed. No other run finds it: equal arguments
    /// give equal bits, whatever was measured on the machine before.
    pub(crate) fn tuning_file(&self) -> anyhow::Result<TuningFile> {
        Ok(match &self.tune_table {
            Some(path) => TuningFile::open(path)?,
            None if self.tune > 0.0 => TuningFile::open(&tuning::default_file(&cache()))?,
            None => TuningFile::default(),
        })
    }

    /// How long algorithms may be timed.
    pub(crate) fn tune_budget(&self) -> anyhow::Result<Duration> {
        Duration::try_from_secs_f64(self.tune).with_context(|| format!("--tune: wanted seconds, got {}", self.tune))
    }

    /// Where the results go.
    pub(crate) fn output(&self) -> Output {
        self.out.clone().map_or(Output::default(), Output::Folder)
    }
}
