//! What can end a training run, by what the caller can do about it.

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::loader::LoaderError;
use crate::model_card::CardError;
use crate::schedule::ScheduleError;
use crate::train::StopReason;
use crate::tuning::TuningError;
use crate::weights::WeightsError;
use std::io;
use std::path::PathBuf;

/// Why training did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting that makes no sense: batch 0, epochs 0, a learning rate of NaN. Nothing was started.
    #[error("{name}: wanted {wanted}, got {got}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// What would have been right.
        wanted: String,
        /// What was given.
        got: String,
    },
    /// The network's last layer and the data set disagree.
    #[error(
        "the model ends in {model} classes, but data set {dataset} has {classes}; \
         give the last layer {classes} outputs"
    )]
    Classes {
        /// Outputs of the network.
        model: usize,
        /// Name of the data set.
        dataset: String,
        /// Its classes.
        classes: usize,
    },
    /// The folder for the results holds something already. Nothing was overwritten.
    #[error("{path}: wanted a new or an empty folder for the results, got {found}; name another with `out`", path = .path.display())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Another process trains in the folder.
    #[error("{path}: wanted a run that no other process trains, got one that process {process} holds; wait for it, or stop it", path = .path.display())]
    RunInUse {
        /// The run's folder.
        path: PathBuf,
        /// Number of the process.
        process: String,
    },
    /// There is no run to go on with.
    #[error("{path}: wanted the folder of a run that was begun, with run.json in it: {source}; name that folder", path = .path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The run was begun with other settings. Nothing was changed.
    #[error(
        "{path}: the settings are not those that the run began with: {difference}; take those, or begin a new run from its weights",
        path = .path.display()
    )]
    OtherSettings {
        /// The file of its settings.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The run was asked to stop.
    #[error(
        "{reason} after {step} steps{saved}",
        saved = .checkpoint.as_ref().map_or(String::new(), |path| format!("; {} holds them, resume goes on from there", path.display()))
    )]
    Stopped {
        /// By whom.
        reason: StopReason,
        /// Steps done.
        step: u64,
        /// What was saved; none where the run keeps no files.
        checkpoint: Option<PathBuf>,
    },
    /// A file or folder of the results cannot be written.
    #[error("{path}: cannot be written: {source}; check the path, its permissions and the free space", path = .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A loss or a parameter is no number any more. Checkpoints of earlier epochs stand.
    #[error(
        "training diverged: {what} after step {} (epoch {}, learning rate {lr}); \
         take a smaller learning rate or a longer warm-up",
        step + 1,
        epoch + 1
    )]
    Diverged {
        /// The first loss or tensor that is none: `the loss is NaN`.
        what: String,
        /// Epoch, from 0.
        epoch: u32,
        /// Step of the whole run, from 0.
        step: u64,
        /// Learning rate of that step.
        lr: f32,
    },
    /// The model, the device or a call; see [`wgrad_tensor::Error`].
    #[error(transparent)]
    Tensor(#[from] wgrad_tensor::Error),
    /// A learning-rate schedule that cannot be.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// No batch could be made.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The data set does not fit together.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint could not be written or does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Weights of another program could not be read or do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// What the model file would say of its use could not be read again: a random view in tests, names that are too long.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The table of measured choices could not be read or kept.
    #[error(transparent)]
    Tuning(#[from] TuningError),
}

impl TrainError {
    pub(crate) fn setting(name: &'static str, wanted: impl Into<String>, got: impl ToString) -> TrainError {
        TrainError::Setting { name, wanted: wanted.into(), got: got.to_string() }
    }
}
