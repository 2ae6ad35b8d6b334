//! Why there is no batch.

use crate::data::DataError;

/// Why there is no batch.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// A batch of no image.
    #[error("batch size: wanted at least 1, got 0")]
    EmptyBatch,
    /// More than an index can count or a machine can hold.
    #[error("wanted at most {limit} {what}, got {got}; take fewer")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// The number got.
        got: u64,
    },
    /// Fewer images than one batch, and the rest of an epoch is dropped: no step would ever run.
    #[error(
        "data set {dataset}: wanted at least one batch of {batch_size} images, got {len} images; take a smaller batch, or wrap the last one"
    )]
    NoBatch {
        /// Name of the data set.
        dataset: String,
        /// Images in a batch.
        batch_size: usize,
        /// Images in the data set.
        len: usize,
    },
    /// The data set does not fit together.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A number of the augmentation is out of the range that its documentation states.
    #[error("{name}: wanted numbers within the documented ranges, got {got}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// All options.
        got: String,
    },
    /// The device is to finish the augmentation and cannot: it only moves pixels.
    #[error(
        "moves on the device: wanted crop, flips, translation and cutout alone after the view, got {got}; leave all of it to the host"
    )]
    NotOnDevice {
        /// What the device cannot do.
        got: &'static str,
    },
    /// More images than are forgiven cannot be read.
    #[error(
        "wanted at most {budget} of {len} images that cannot be read, got {count}, the last of them {last}; mend the files, or allow more of them"
    )]
    BadImages {
        /// Bad images so far.
        count: usize,
        /// How many are forgiven.
        budget: usize,
        /// Images in the data set.
        len: u32,
        /// What was wrong with the last one.
        last: Box<DataError>,
    },
    /// The code that prepares a sample panicked.
    #[error(
        "preparing a sample panicked: {message} (epoch {epoch}, step {step}, sample {index}); mend the augmentation or take the sample out"
    )]
    Panicked {
        /// Epoch, from 0.
        epoch: u32,
        /// Batch of the epoch, from 0.
        step: u32,
        /// Index of the sample in the data set.
        index: u32,
        /// What the panic said.
        message: String,
    },
    /// The system gave no thread.
    #[error("wanted {wanted} prefetch threads, got an error from the system: {source}; take fewer, 0 needs none")]
    NoThread {
        /// Threads wanted.
        wanted: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// A prefetch thread is gone without a word: a bug in this crate.
    #[error("a prefetch thread ended before its time (epoch {epoch}, step {step}); please report this")]
    Gone {
        /// Epoch of the batch wanted.
        epoch: u32,
        /// Its number in the epoch.
        step: u32,
    },
}
