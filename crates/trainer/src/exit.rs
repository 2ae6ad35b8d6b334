//! What the exit code of a program says about how a run ended.

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::error::TrainError;
use crate::inference::InferenceError;
use crate::loader::LoaderError;
use crate::model_card::CardError;
use crate::train::StopReason;
use crate::tuning::TuningError;
use crate::weights::WeightsError;
use std::error::Error;
use std::process::ExitCode;

/// How a program ended, for scripts and schedulers: all of wgrad's programs end with these codes.
///
/// ```
/// use wgrad_trainer::{Exit, TrainError};
///
/// let error = TrainError::Setting { name: "epochs", wanted: "at least 1".to_string(), got: "0".to_string() };
/// assert_eq!(Exit::of(&error), Exit::Usage);
/// assert_eq!(Exit::of(&error).code(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: all of it was done.
    Done,
    /// 2: arguments, settings or a data set that make no sense together.
    Usage,
    /// 3: data that cannot be read, or more bad images than are allowed.
    Data,
    /// 4: a checkpoint or a file of weights that cannot be read or is of another network.
    Checkpoint,
    /// 5: no GPU, a lost one, or one that is too small.
    Device,
    /// 6: the loss or the weights are no numbers any more.
    Diverged,
    /// 7: another process of the same run failed.
    Peer,
    /// 8: results that cannot be written.
    Disk,
    /// 75: a signal other than the user's stopped it, and what was learned is saved; starting it again goes on from there.
    Terminated,
    /// 130: the user stopped it; what was learned is saved.
    Stopped,
}

impl Exit {
    /// The code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Usage => 2,
            Exit::Data => 3,
            Exit::Checkpoint => 4,
            Exit::Device => 5,
            Exit::Diverged => 6,
            Exit::Peer => 7,
            Exit::Disk => 8,
            Exit::Terminated => 75,
            Exit::Stopped => 130,
        }
    }

    /// What an error comes to: the first of its causes that is one of wgrad's decides, and what is none of them is a matter of usage.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Exit {
        std::iter::successors(Some(error), |&error| error.source()).find_map(known).unwrap_or(Exit::Usage)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<Exit> {
    // Errors that pass another one on hide it from `source`, so that each kind asks the kinds within.
    error
        .downcast_ref()
        .map(train)
        .or_else(|| error.downcast_ref().map(inference))
        .or_else(|| error.downcast_ref().map(loader))
        .or_else(|| error.downcast_ref().map(data))
        .or_else(|| error.downcast_ref().map(checkpoint))
        .or_else(|| error.downcast_ref().map(weights))
        .or_else(|| error.downcast_ref().map(tensor))
        .or_else(|| error.downcast_ref().map(tuning))
        .or_else(|| error.is::<CardError>().then_some(Exit::Checkpoint))
}

fn train(error: &TrainError) -> Exit {
    match error {
        TrainError::Setting { .. } | TrainError::Classes { .. } | TrainError::FolderInUse { .. } => Exit::Usage,
        TrainError::Schedule(_) | TrainError::RunInUse { .. } | TrainError::NoRun { .. } => Exit::Usage,
        TrainError::OtherSettings { .. } => Exit::Checkpoint,
        TrainError::Stopped { reason: StopReason::Interrupted, .. } => Exit::Stopped,
        TrainError::Stopped { reason: StopReason::Terminated, .. } => Exit::Terminated,
        TrainError::Write { .. } => Exit::Disk,
        TrainError::Diverged { .. } => Exit::Diverged,
        TrainError::Tensor(error) => tensor(error),
        TrainError::Loader(error) => loader(error),
        TrainError::Data(error) => data(error),
        TrainError::Checkpoint(error) => checkpoint(error),
        TrainError::Weights(error) => weights(error),
        TrainError::Card(_) => Exit::Checkpoint,
        TrainError::Tuning(error) => tuning(error),
    }
}

fn inference(error: &InferenceError) -> Exit {
    match error {
        InferenceError::Unsaid { .. } | InferenceError::Architecture { .. } => Exit::Usage,
        InferenceError::ClassNames { .. } | InferenceError::Images { .. } => Exit::Usage,
        InferenceError::OtherNetwork { .. } | InferenceError::NotFinite { .. } => Exit::Checkpoint,
        InferenceError::Card(_) => Exit::Checkpoint,
        InferenceError::Data(error) => data(error),
        InferenceError::Weights(error) => weights(error),
        InferenceError::Train(error) => train(error),
    }
}

fn loader(error: &LoaderError) -> Exit {
    match error {
        LoaderError::EmptyBatch | LoaderError::TooMany { .. } | LoaderError::NoBatch { .. } => Exit::Usage,
        LoaderError::Setting { .. } | LoaderError::NotOnDevice { .. } | LoaderError::NoThread { .. } => Exit::Usage,
        LoaderError::Data(error) => data(error),
        LoaderError::BadImages { .. } | LoaderError::Panicked { .. } | LoaderError::Gone { .. } => Exit::Data,
    }
}

/// What is not there or is another data set than was meant is for the command line to mend, what is damaged for the files.
fn data(error: &DataError) -> Exit {
    match error {
        DataError::Missing { .. } | DataError::NotAFile { .. } | DataError::Empty { .. } => Exit::Usage,
        DataError::Layout { .. } | DataError::Mismatch { .. } => Exit::Usage,
        DataError::Unwritable { .. } => Exit::Disk,
        DataError::Unreadable { .. } | DataError::Truncated { .. } | DataError::TrailingBytes { .. } => Exit::Data,
        DataError::WrongMagic { .. } | DataError::WrongLabel { .. } | DataError::Checksum { .. } => Exit::Data,
        DataError::Gzip { .. } | DataError::TooLarge { .. } | DataError::Undecodable { .. } => Exit::Data,
        DataError::TooManyPixels { .. } | DataError::Version { .. } => Exit::Data,
    }
}

fn checkpoint(error: &CheckpointError) -> Exit {
    match error {
        CheckpointError::Write { .. } => Exit::Disk,
        CheckpointError::Tensor(error) => tensor(error),
        CheckpointError::Read { .. } | CheckpointError::Format { .. } | CheckpointError::Foreign { .. } => {
            Exit::Checkpoint
        }
        CheckpointError::OtherModel { .. } | CheckpointError::OtherData { .. } => Exit::Checkpoint,
    }
}

fn weights(error: &WeightsError) -> Exit {
    match error {
        WeightsError::Tensor(error) => tensor(error),
        _ => Exit::Checkpoint,
    }
}

fn tensor(error: &wgrad_tensor::Error) -> Exit {
    match error {
        wgrad_tensor::Error::Device(_) => Exit::Device,
        wgrad_tensor::Error::Shape(_) | wgrad_tensor::Error::Usage(_) => Exit::Usage,
    }
}

fn tuning(error: &TuningError) -> Exit {
    match error {
        TuningError::Write { .. } => Exit::Disk,
        TuningError::Read { .. } | TuningError::Table { .. } => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::path::PathBuf;
    use wgrad_tensor::error::DeviceError;

    fn full_disk() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    #[test]
    fn errors_end_programs_with_the_documented_codes() {
        let path = PathBuf::from("x");
        let bad = DataError::Undecodable { origin: "x".to_string(), message: "a web page".to_string() };
        let lost = || wgrad_tensor::Error::from(DeviceError::Lost("unplugged".to_string()));
        let cases: [(Box<dyn Error>, u8); 12] = [
            (Box::new(TrainError::setting("epochs", "at least 1", 0)), 2),
            (Box::new(TrainError::FolderInUse { path: path.clone(), found: "a file".to_string() }), 2),
            (Box::new(LoaderError::BadImages { count: 2, budget: 1, len: 9, last: Box::new(bad) }), 3),
            (
                Box::new(TrainError::Loader(LoaderError::Panicked {
                    epoch: 0,
                    step: 1,
                    index: 2,
                    message: "index out of bounds".to_string(),
                })),
                3,
            ),
            (Box::new(TrainError::Checkpoint(CheckpointError::Read { path: path.clone(), source: full_disk() })), 4),
            (Box::new(InferenceError::NotFinite { origin: "x".to_string(), tensor: "w".to_string(), value: 1.0 }), 4),
            (Box::new(InferenceError::Train(TrainError::Tensor(lost()))), 5),
            (Box::new(CheckpointError::Tensor(lost())), 5),
            (Box::new(TrainError::Diverged { what: "the loss".to_string(), epoch: 0, step: 0, lr: 1.0 }), 6),
            (Box::new(TrainError::Write { path: path.clone(), source: full_disk() }), 8),
            (Box::new(CheckpointError::Write { path, source: full_disk() }), 8),
            (Box::new(full_disk()), 2),
        ];
        for (error, code) in cases {
            assert_eq!(Exit::of(&*error).code(), code, "{error}");
        }
    }

    /// What a program says around an error does not hide it.
    #[test]
    fn a_cause_counts_behind_what_is_said_around_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("while training")]
        struct Around(#[source] TrainError);
        let error = Around(TrainError::Diverged { what: "the loss".to_string(), epoch: 0, step: 0, lr: 1.0 });
        assert_eq!(Exit::of(&error), Exit::Diverged);
    }
}
