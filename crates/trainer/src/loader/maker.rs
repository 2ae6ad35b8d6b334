//! One batch as a pure function of its number.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::faults::Faults;
use super::{Batch, Cursor, LastBatch, LoaderError, LoaderOptions, NO_LABEL, OnBadImage};
use crate::augment::{Moves, Room, Sample, luma, mirror_image};
use crate::data::{DataError, Dataset, Geometry, Pixels};
use wgrad_tensor::ops::move_pixels::MOVE_WORDS;
use wgrad_tensor::philox::{Stream, permutation, purpose};

/// Order of the samples in the epoch that a thread is at.
#[derive(Debug, Default)]
pub(super) struct Order {
    epoch: u32,
    samples: Vec<u32>,
}

/// What all threads share: everything that a batch follows from, and a pool of used ones.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) dataset: Arc<Dataset>,
    pub(super) geometry: Geometry,
    pub(super) options: LoaderOptions,
    pub(super) steps: u32,
    pub(super) pool: Receiver<Batch>,
    pub(super) faults: Faults,
}

impl Maker {
    pub(super) fn number(&self, cursor: Cursor) -> u64 {
        u64::from(cursor.epoch) * u64::from(self.steps) + u64::from(cursor.step)
    }

    /// Makes the batches `first`, `first + stride`, … until nobody takes them, one fails, or epochs run out.
    pub(super) fn work(&self, first: u64, stride: u64, send: &Sender<Result<Batch, LoaderError>>) {
        let mut order = Order::default();
        let mut number = first;
        loop {
            let Ok(epoch) = u32::try_from(number / u64::from(self.steps)) else {
                return;
            };
            let step = (number % u64::from(self.steps)) as u32;
            let result = self.caught(Cursor { epoch, step }, &mut order);
            let failed = result.is_err();
            if send.send(result).is_err() || failed {
                return;
            }
            number += stride;
        }
    }

    /// The batch at `cursor`, or what a panic said.
    pub(super) fn caught(&self, cursor: Cursor, order: &mut Order) -> Result<Batch, LoaderError> {
        let index = Cell::new(0);
        // What a panic can leave half done is the batch and the order, and neither is used after one.
        catch_unwind(AssertUnwindSafe(|| self.make(cursor, order, &index))).unwrap_or_else(|panic| {
            Err(LoaderError::Panicked {
                epoch: cursor.epoch,
                step: cursor.step,
                index: index.get(),
                message: panic_message(&*panic),
            })
        })
    }

    /// The batch at `cursor`; `at` tells a panic's catcher which sample it was.
    fn make(&self, cursor: Cursor, order: &mut Order, at: &Cell<u32>) -> Result<Batch, LoaderError> {
        let Cursor { epoch, step } = cursor;
        let (len, size) = (self.dataset.len(), self.options.batch_size);
        if self.options.shuffle && (order.epoch != epoch || order.samples.is_empty()) {
            order.samples = permutation(self.options.seed, purpose::SHUFFLE, epoch, len as u32);
            order.epoch = epoch;
        }
        let first = step as usize * size;
        let there = size.min(len - first);
        let wanted = if self.options.last == LastBatch::Pad { there } else { size };

        let mut batch = self.pool.try_recv().unwrap_or_default();
        let pixels = self.geometry.height * self.geometry.width;
        batch.images.clear();
        batch.images.reserve_exact(size * pixels);
        batch.labels.clear();
        batch.indices.clear();
        batch.moves.clear();
        (batch.epoch, batch.step_in_epoch) = (epoch, step);

        let mut bytes = vec![0; self.geometry.image_bytes()];
        let mut room = Room::default();
        for i in first..first + wanted {
            // Only `Wrap` goes past the end, and a data set may be smaller than a batch.
            let i = i % len;
            let index = if self.options.shuffle { order.samples[i] } else { i as u32 };
            let Some((index, moves)) = self.good(index, epoch, at, &mut room, &mut bytes)? else {
                continue;
            };
            if self.options.device_moves {
                batch.moves.extend(moves.words(self.geometry));
            }
            pack(&bytes, self.geometry.channels, &mut batch.images);
            batch.labels.push(self.dataset.labels[index as usize]);
            batch.indices.push(index);
        }
        batch.valid = batch.labels.len();
        batch.partner_labels.clear();
        batch.share = 0;
        for _ in batch.valid..size {
            match &self.dataset.images {
                Pixels::Memory(_) => pack(self.dataset.image(0), self.geometry.channels, &mut batch.images),
                // Image 0 of a store would have to be read for it, and may be the one that cannot be.
                Pixels::Stored(_) => {
                    let [r, g, b] = self.geometry.mean_colour;
                    batch.images.extend(std::iter::repeat_n(u32::from_le_bytes([r, g, b, 0]), pixels));
                }
            }
            batch.labels.push(NO_LABEL);
            batch.indices.push(0);
        }
        if self.options.device_moves {
            batch.moves.resize(size * MOVE_WORDS, 0);
        }
        if let Some(mix) = self.options.mix {
            mix.apply(self.geometry, self.options.seed, &mut batch);
        }
        Ok(batch)
    }

    /// Prepares sample `index`, or what stands in for it, in `bytes`; returns which one it was and what is left to the
    /// device, none where a bad one is skipped. A stand-in is the next image that can be read, so it depends on the files alone.
    fn good(
        &self,
        index: u32,
        epoch: u32,
        at: &Cell<u32>,
        room: &mut Room,
        bytes: &mut [u8],
    ) -> Result<Option<(u32, Moves)>, LoaderError> {
        let len = self.dataset.len() as u32;
        // The budget ends this long before every image has been tried, unless it is that large.
        for step in 0..len {
            let index = (index + step) % len;
            at.set(index);
            let error = match self.prepare(index, epoch, room, bytes) {
                Ok(moves) => return Ok(Some((index, moves))),
                Err(error) => error,
            };
            self.faults.add(index, error, &self.options, len)?;
            if self.options.on_bad_image == OnBadImage::Skip {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn prepare(&self, index: u32, epoch: u32, room: &mut Room, bytes: &mut [u8]) -> Result<Moves, DataError> {
        let i = index as usize;
        let mut rng = Stream::new(self.options.seed, purpose::AUGMENT, epoch, index);
        let mut moves = match &self.dataset.images {
            Pixels::Memory(_) => {
                let Geometry { height, width, .. } = self.geometry;
                let sample = Sample { pixels: self.dataset.image(i), height, width };
                self.change(sample, &mut rng, room, bytes)?
            }
            Pixels::Stored(store) => {
                let mut picture = store.picture(i)?;
                if self.geometry.channels == 1 {
                    picture.pixels = luma(&picture.pixels);
                }
                let sample = Sample { pixels: &picture.pixels, height: picture.height, width: picture.width };
                self.change(sample, &mut rng, room, bytes)?
            }
        };
        if self.options.augment.mirrors(self.options.seed, epoch, index) {
            match self.options.device_moves {
                true => moves.mirror = true,
                false => mirror_image(bytes, self.geometry),
            }
        }
        if let Some(custom) = &self.options.custom {
            custom(&mut rng, self.geometry, bytes);
        }
        Ok(moves)
    }

    /// Writes the changed sample to `bytes`, and returns what is left to the device.
    fn change(
        &self,
        sample: Sample<'_>,
        rng: &mut Stream,
        room: &mut Room,
        bytes: &mut [u8],
    ) -> Result<Moves, DataError> {
        let augment = &self.options.augment;
        match self.options.device_moves {
            true => augment.see(sample, self.geometry, rng, room, bytes),
            false => augment.apply(sample, self.geometry, rng, room, bytes).map(|()| Moves::default()),
        }
    }
}

/// One word for each pixel, channel c in byte c.
fn pack(image: &[u8], channels: usize, words: &mut Vec<u32>) {
    if channels == 3 {
        let (pixels, _) = image.as_chunks::<3>();
        words.extend(pixels.iter().map(|&[r, g, b]| u32::from_le_bytes([r, g, b, 0])));
    } else {
        words.extend(image.iter().map(|&v| u32::from(v)));
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
