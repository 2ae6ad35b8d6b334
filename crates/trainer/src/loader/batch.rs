//! A batch, and a place in the stream of batches.

/// A place in a run: the next batch to train on. A checkpoint needs no more than this to go on with the same samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// Epoch, from 0.
    pub epoch: u32,
    /// Batch of the epoch, from 0.
    pub step: u32,
}

/// Samples to run at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Epoch, from 0.
    pub epoch: u32,
    /// Number of this batch in its epoch, from 0.
    pub step_in_epoch: u32,
    /// One pixel in each word, shape `[batch_size, height, width]`; channel c in byte c (bits 8c to 8c+7), unused bytes 0.
    pub images: Vec<u32>,
    /// Class of each image; [`NO_LABEL`](super::NO_LABEL) for padding.
    pub labels: Vec<u32>,
    /// Index of each image in the data set; 0 for padding.
    pub indices: Vec<u32>,
    /// How many samples count, from the front; the others are padding.
    pub valid: usize,
}
