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
    /// With mixing ([`Mix`](super::Mix)): class of the image that each was mixed with. Otherwise none.
    pub partner_labels: Vec<u32>,
    /// With mixing: part of each image that is its own, of 65,536. The rest is its partner's.
    pub share: u32,
    /// With [`LoaderOptions::device_moves`](super::LoaderOptions::device_moves): what the device is to do with the pixels of each
    /// image, shape `[batch_size, 8]`, as [`MovePixels`](wgrad_tensor::ops::move_pixels::MovePixels) takes it. Otherwise none.
    pub moves: Vec<u32>,
    /// How many samples count, from the front; the others are padding.
    pub valid: usize,
}

impl Batch {
    /// The target of each image as probabilities, shape `[batch_size, classes]`: with mixing two classes by their shares,
    /// otherwise one; padding has none. For a loss that takes soft targets.
    #[must_use]
    pub fn soft_targets(&self, classes: usize) -> Vec<f32> {
        let own = if self.partner_labels.is_empty() { 1.0 } else { self.share as f32 / 65_536.0 };
        soft_targets(&self.labels, &self.partner_labels, own, classes)
    }
}

/// Rows of `classes` shares: `own` of an image's label, the rest of its partner's, if it has one.
pub(crate) fn soft_targets(labels: &[u32], partners: &[u32], own: f32, classes: usize) -> Vec<f32> {
    let mut targets = vec![0.0; labels.len() * classes];
    for (i, row) in targets.chunks_exact_mut(classes.max(1)).enumerate() {
        for (label, part) in [(labels.get(i), own), (partners.get(i), 1.0 - own)] {
            // `NO_LABEL` is no class, either.
            if let Some(target) = label.and_then(|&label| row.get_mut(label as usize)) {
                *target += part;
            }
        }
    }
    targets
}
