//! How a loader makes batches.

use std::fmt;
use std::sync::Arc;

use super::{LoaderError, Mix, at_most};
use crate::augment::Augment;
use crate::data::Geometry;
use wgrad_tensor::philox::Stream;

/// The most prefetch threads taken.
const MAX_THREADS: u64 = 1024;
/// The most batches that may lie ready.
const MAX_QUEUE: u64 = 4096;

/// What becomes of the samples that do not fill a whole batch at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastBatch {
    /// They are left out of this epoch (another order leaves out others in the next). The rule for training: every batch has
    /// the same size, and batch norm never sees a handful of images.
    Drop,
    /// The batch is filled up with the first samples of the epoch's order, which so count twice.
    Wrap,
    /// The batch is filled up with image 0 under the label [`NO_LABEL`](super::NO_LABEL), and [`Batch::valid`](super::Batch::valid) says how many count. The rule for
    /// evaluation.
    Pad,
}

/// What becomes of an image that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBadImage {
    /// The next image of the data set that can be read stands in for it. The rule for training: batches keep their size.
    Replace,
    /// It is left out, and the batch padded as by [`LastBatch::Pad`]. The rule for evaluation: nothing counts twice.
    Skip,
    /// It is an error.
    Fail,
}

/// Part of the images that may be unreadable where nothing else is said.
pub const BAD_IMAGE_SHARE: f64 = 0.001;

/// A change of one image by the caller, after [`Augment`]: takes the random stream of this sample, the geometry, and the
/// pixels of shape `[height, width, channels]`.
pub type Custom = Arc<dyn Fn(&mut Stream, Geometry, &mut [u8]) + Send + Sync>;

/// How a [`Loader`](super::Loader) makes batches.
#[derive(Clone)]
pub struct LoaderOptions {
    /// Images in a batch; at least 1.
    pub batch_size: usize,
    /// What order and augmentation follow from.
    pub seed: u64,
    /// Prefetch threads. 0 makes each batch when it is asked for, on the caller's thread. The number never changes a batch.
    pub threads: usize,
    /// Batches that may lie ready, over all threads; each thread may hold at least one.
    pub queue: usize,
    /// Whether each epoch has an order of its own; otherwise images come as they stand.
    pub shuffle: bool,
    /// What becomes of the rest at the end of an epoch.
    pub last: LastBatch,
    /// Changes of each image.
    pub augment: Augment,
    /// Mixing the images of a batch with each other, after all other changes.
    pub mix: Option<Mix>,
    /// What becomes of an image that cannot be read; each is named in [`Loader::faults`](super::Loader::faults).
    pub on_bad_image: OnBadImage,
    /// Part of the images that may be unreadable, rounded up to a whole number of them; more are an error.
    pub bad_image_share: f64,
    /// A further change by the caller.
    pub custom: Option<Custom>,
    /// Whether crop, flips, translation and cutout are left to the device, with the same pixels: images come as they are before, and
    /// [`Batch::moves`](super::Batch::moves) says what was drawn. For a training step with
    /// [`StepOptions::device_moves`](crate::StepOptions::device_moves), and nobody else. What else changes pixels is then refused.
    pub device_moves: bool,
}

impl LoaderOptions {
    /// For training: shuffled, the rest dropped, 2 threads, 4 batches ahead, no augmentation yet.
    #[must_use]
    pub fn train(batch_size: usize, seed: u64) -> Self {
        Self {
            batch_size,
            seed,
            threads: 2,
            queue: 4,
            shuffle: true,
            last: LastBatch::Drop,
            augment: Augment::none(),
            mix: None,
            on_bad_image: OnBadImage::Replace,
            bad_image_share: BAD_IMAGE_SHARE,
            custom: None,
            device_moves: false,
        }
    }

    /// For evaluation: in order, the last batch padded, 1 thread, 2 batches ahead, no augmentation.
    #[must_use]
    pub fn eval(batch_size: usize) -> Self {
        let on_bad_image = OnBadImage::Skip;
        let last = LastBatch::Pad;
        Self { threads: 1, queue: 2, shuffle: false, last, on_bad_image, ..Self::train(batch_size, 0) }
    }

    /// With these changes of each image.
    #[must_use]
    pub fn augment(mut self, augment: Augment) -> Self {
        self.augment = augment;
        self
    }

    /// With the images of a batch mixed.
    #[must_use]
    pub fn mix(mut self, mix: Mix) -> Self {
        self.mix = Some(mix);
        self
    }

    /// With this number of prefetch threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// With crop, flips, translation and cutout left to the device.
    #[must_use]
    pub fn device_moves(mut self) -> Self {
        self.device_moves = true;
        self
    }

    /// What of these options a device cannot do after the view.
    pub(crate) fn not_on_device(&self) -> Option<&'static str> {
        let obstacles = [
            (!self.augment.only_moves(), "an augmentation that computes pixels"),
            (self.mix.is_some(), "mixed images"),
            (self.custom.is_some(), "a change of the caller's own"),
        ];
        obstacles.into_iter().find(|(is_there, _)| *is_there).map(|(_, name)| name)
    }

    /// Whether every number is in its range, whatever the data set.
    ///
    /// # Errors
    /// A batch of 0 images, more threads or batches ahead than any machine has use for, a number of the augmentation out of its
    /// range, changes left to the device that it cannot make.
    pub fn check(&self) -> Result<(), LoaderError> {
        if self.batch_size == 0 {
            return Err(LoaderError::EmptyBatch);
        }
        let mix = self.mix.is_some_and(|mix| !mix.is_valid()).then_some("mix");
        let share = !(0.0..=1.0).contains(&self.bad_image_share);
        let wrong = self.augment.wrong_setting().or(mix).or(share.then_some("bad image share"));
        if let Some(name) = wrong {
            return Err(LoaderError::Setting { name, got: format!("{self:?}") });
        }
        if let Some(got) = self.not_on_device().filter(|_| self.device_moves) {
            return Err(LoaderError::NotOnDevice { got });
        }
        at_most("prefetch threads", MAX_THREADS, self.threads as u64)?;
        at_most("batches in the queue", MAX_QUEUE, self.queue as u64)
    }
}

impl fmt::Debug for LoaderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderOptions")
            .field("batch_size", &self.batch_size)
            .field("seed", &self.seed)
            .field("threads", &self.threads)
            .field("queue", &self.queue)
            .field("shuffle", &self.shuffle)
            .field("last", &self.last)
            .field("augment", &self.augment)
            .field("mix", &self.mix)
            .field("on_bad_image", &self.on_bad_image)
            .field("bad_image_share", &self.bad_image_share)
            .field("custom", &self.custom.is_some())
            .field("device_moves", &self.device_moves)
            .finish()
    }
}
