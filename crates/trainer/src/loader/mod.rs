//! Batches made ahead of time: order, augmentation and packing on threads of their own.
//!
//! Batch number `k` (counted through all epochs) is a pure function of `(seed, k)`. Thread `t` of `T` makes the batches with
//! `k mod T == t`, in order, into a bounded queue of its own, and the consumer takes from the queues in turn. So delivery is
//! in order by construction, on any number of threads, with nothing to sort and no lock on the way. The threads run on into
//! the next epoch while the consumer evaluates or saves.

mod batch;
mod error;
mod faults;
mod maker;
mod mix;
mod options;
#[cfg(test)]
mod tests;
mod threads;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};

use crate::data::Dataset;
use faults::Faults;
pub(crate) use maker::panic_message;
use maker::{Maker, Order};
use threads::Running;

pub(crate) use batch::soft_targets;
pub use batch::{Batch, Cursor};
pub use error::LoaderError;
pub use faults::Fault;
pub use mix::Mix;
pub use options::{BAD_IMAGE_SHARE, Custom, LastBatch, LoaderOptions, OnBadImage};
pub use wgrad_layers::losses::NO_LABEL;

/// Makes batches of a data set. Threads start with the first batch asked for and end when the loader is dropped.
#[derive(Debug)]
pub struct Loader {
    maker: Arc<Maker>,
    options: LoaderOptions,
    recycled: Sender<Batch>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    /// Without threads, the order of the epoch that the caller is at.
    order: Order,
    wait_s: f64,
}

impl Loader {
    /// A loader of `dataset`.
    ///
    /// # Errors
    /// As [`LoaderOptions::check`]; a data set that is empty or does not fit together, or one smaller than a batch where the
    /// rest is dropped.
    pub fn new(dataset: Arc<Dataset>, options: LoaderOptions) -> Result<Self, LoaderError> {
        options.check()?;
        dataset.check()?;
        let (len, size) = (dataset.len(), options.batch_size);
        // Indices are u32 on the device; a batch is one allocation that must not wrap around.
        let pixels = (dataset.height * dataset.width) as u64;
        let words = (size as u64).saturating_mul(pixels);
        for (what, limit, got) in [
            ("images in a data set", u64::from(u32::MAX - 1), len as u64),
            ("pixels in a batch", u64::from(u32::MAX), words),
        ] {
            at_most(what, limit, got)?;
        }
        let steps = match options.last {
            LastBatch::Drop => len / size,
            LastBatch::Wrap | LastBatch::Pad => len.div_ceil(size),
        };
        if steps == 0 {
            return Err(LoaderError::NoBatch { dataset: dataset.name.clone(), batch_size: size, len });
        }
        // Batches in flight: those queued, one being made by each thread, and a few with the consumer.
        let (recycled, pool) = bounded(options.queue + 2 * options.threads + 4);
        let geometry = dataset.geometry();
        let maker =
            Maker { dataset, geometry, options: options.clone(), steps: steps as u32, pool, faults: Faults::default() };
        Ok(Self { maker: Arc::new(maker), options, recycled, state: Mutex::default() })
    }

    /// Batches in an epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u32 {
        self.maker.steps
    }

    /// Images that count in an epoch (with `Wrap`, those that count twice included).
    #[must_use]
    pub fn samples_per_epoch(&self) -> usize {
        match self.options.last {
            LastBatch::Pad => self.maker.dataset.len(),
            _ => self.maker.steps as usize * self.options.batch_size,
        }
    }

    /// The data set.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.maker.dataset
    }

    /// The same batches with all changes made on the host.
    pub(crate) fn on_host(&self) -> Result<Loader, LoaderError> {
        Loader::new(Arc::clone(&self.maker.dataset), LoaderOptions { device_moves: false, ..self.options.clone() })
    }

    /// How batches are made.
    #[must_use]
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// The batches of an epoch. The threads go on from one epoch to the next; asking for any other starts them anew, so an
    /// evaluation repeated after each epoch should pass that epoch's number.
    pub fn epoch(&self, epoch: u32) -> Epoch<'_> {
        self.epoch_from(Cursor { epoch, step: 0 })
    }

    /// The batches of an epoch from `cursor.step` on, to go on in the middle of a run. None if all of them are done.
    pub fn epoch_from(&self, cursor: Cursor) -> Epoch<'_> {
        Epoch { loader: self, cursor, failed: false, wait_s: 0.0 }
    }

    /// Gives a batch's memory back for a later one.
    pub fn recycle(&self, batch: Batch) {
        // A full pool means more batches were handed in than ever were out: let it go.
        let _ = self.recycled.try_send(batch);
    }

    /// The images that could not be read so far, by index, each once. They were replaced or skipped.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.maker.faults.list()
    }

    /// Seconds for which callers have waited for batches so far. Without threads, all of the making counts.
    #[must_use]
    pub fn wait_s(&self) -> f64 {
        self.state().wait_s
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state stays whole wherever a panic may strike: at worst the threads start anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch at `cursor` and the seconds it took to come.
    fn fetch(&self, cursor: Cursor) -> (Result<Batch, LoaderError>, f64) {
        let started = Instant::now();
        let mut state = self.state();
        let result = if self.options.threads == 0 {
            self.maker.caught(cursor, &mut state.order)
        } else {
            self.receive(&mut state, cursor)
        };
        if result.is_err() {
            *state = State { wait_s: state.wait_s, ..State::default() };
        }
        let wait_s = started.elapsed().as_secs_f64();
        state.wait_s += wait_s;
        (result, wait_s)
    }

    fn receive(&self, state: &mut State, cursor: Cursor) -> Result<Batch, LoaderError> {
        let number = self.maker.number(cursor);
        let running = match &mut state.running {
            Some(running) if running.next == number => running,
            other => {
                // First end the old threads: two sets at once would double the load for nothing.
                *other = None;
                other.insert(Running::start(&self.maker, number)?)
            }
        };
        running.next = number + 1;
        let queue = (number % running.queues.len() as u64) as usize;
        match running.queues[queue].recv() {
            Ok(result) => result,
            Err(_) => Err(LoaderError::Gone { epoch: cursor.epoch, step: cursor.step }),
        }
    }
}

fn at_most(what: &'static str, limit: u64, got: u64) -> Result<(), LoaderError> {
    if got > limit { Err(LoaderError::TooMany { what, limit, got }) } else { Ok(()) }
}

/// The batches of one epoch, in order. Ends after the last, or after the first error.
#[derive(Debug)]
pub struct Epoch<'a> {
    loader: &'a Loader,
    cursor: Cursor,
    failed: bool,
    wait_s: f64,
}

impl Epoch<'_> {
    /// Where the next batch stands; what a checkpoint saves.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Seconds waited for batches in this epoch so far.
    #[must_use]
    pub fn wait_s(&self) -> f64 {
        self.wait_s
    }
}

impl Iterator for Epoch<'_> {
    type Item = Result<Batch, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.cursor.step >= self.loader.steps_per_epoch() {
            return None;
        }
        let (result, wait_s) = self.loader.fetch(self.cursor);
        self.wait_s += wait_s;
        self.failed = result.is_err();
        self.cursor.step += 1;
        Some(result)
    }
}
