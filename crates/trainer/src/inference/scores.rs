//! The probabilities of every image, averaged over several views of it.

use crate::augment::{Augment, View};
use crate::data::{Dataset, Kept, Pixels};
use crate::error::TrainError;
use crate::loader::{Batch, LastBatch, Loader, LoaderOptions, OnBadImage};
use crate::step::EvalStep;
use std::ops::Range;
use std::sync::Arc;
use wgrad_tensor::Ticket;

/// Runs `step` over all images of `dataset` once for each of `views` ([`View::ten_crop`] and its like) and averages the
/// probabilities, as Krizhevsky et al. (2012) do. A view that is `None` shows all of an image of the data set's size and the middle of
/// others. Hands each image's index and its probabilities to `each`, in the order of the data set; an image that cannot be read
/// comes with what is wrong with it. `options` are those of an evaluation ([`LoaderOptions::eval`]) with the step's batch size;
/// their
/// order and augmentation are replaced, and their threads shared among the views. An image in a file is decoded once for all of
/// them; each view holds the batches of a loader.
///
/// # Errors
/// A step compiled without [`crate::StepOptions::logits`], no view, a batch that cannot be made, more bad images than
/// `options` forgive, a lost device.
pub fn score_views(
    step: &mut EvalStep,
    dataset: &Arc<Dataset>,
    views: &[Option<View>],
    options: &LoaderOptions,
    mut each: impl FnMut(usize, Result<&[f64], &str>),
) -> Result<(), TrainError> {
    if views.is_empty() {
        return Err(TrainError::setting("views", "at least one", 0));
    }
    let dataset = &match &dataset.images {
        Pixels::Stored(store) => {
            let images = Pixels::Stored(Arc::new(Kept::new(Arc::clone(store), views.len())));
            Arc::new(Dataset { images, ..Dataset::clone(dataset) })
        }
        Pixels::Memory(_) => Arc::clone(dataset),
    };
    let loader = |view: &Option<View>| {
        // The views share the threads.
        let threads = if options.threads == 0 { 0 } else { (options.threads / views.len()).max(1) };
        let (last, on_bad_image) = (LastBatch::Pad, OnBadImage::Skip);
        let mut augment = Augment::none();
        augment.view = *view;
        let options =
            LoaderOptions { shuffle: false, last, mix: None, on_bad_image, augment, threads, ..options.clone() };
        Loader::new(Arc::clone(dataset), options)
    };
    let loaders = views.iter().map(loader).collect::<Result<Vec<_>, _>>()?;
    let mut epochs: Vec<_> = loaders.iter().map(|loader| loader.epoch(0)).collect();
    let (size, len) = (options.batch_size, dataset.len());
    let mut sums = Sums::new(step.classes(), size);
    // The logits of one step are read while the next is under way.
    let mut pending: Option<(Ticket, Batch, usize)> = None;
    let mut first = 0;
    let mut take = |step: &mut EvalStep, (ticket, batch, view): (Ticket, Batch, usize)| -> Result<(), TrainError> {
        sums.add(&step.logits(ticket)?, &batch, first);
        loaders[view].recycle(batch);
        if view + 1 == loaders.len() {
            let rest = size.min(len - first);
            sums.hand_out(first..first + rest, loaders.len(), &loaders, &mut each);
            first += rest;
        }
        Ok(())
    };
    for _ in (0..len).step_by(size) {
        for (view, epoch) in epochs.iter_mut().enumerate() {
            let Some(batch) = epoch.next().transpose()? else { continue };
            let ticket = step.run(&batch.images, &batch.labels)?;
            if let Some(done) = pending.replace((ticket, batch, view)) {
                take(step, done)?;
            }
        }
    }
    pending.map_or(Ok(()), |done| take(step, done))
}

/// Sums of the probabilities of one batch's images.
struct Sums {
    classes: usize,
    /// `[batch, classes]`.
    sums: Vec<f64>,
    /// Views of each image so far.
    seen: Vec<usize>,
}

impl Sums {
    fn new(classes: usize, batch: usize) -> Sums {
        Sums { classes, sums: vec![0.0; classes * batch], seen: vec![0; batch] }
    }

    /// Adds the probabilities of each image that counts; the first image of the batch has the index `first`.
    fn add(&mut self, logits: &[f32], batch: &Batch, first: usize) {
        for (row, &index) in logits.chunks_exact(self.classes).zip(&batch.indices).take(batch.valid) {
            let i = index as usize - first;
            let row: Vec<f64> = row.iter().map(|&logit| logit.into()).collect();
            let sums = &mut self.sums[i * self.classes..(i + 1) * self.classes];
            sums.iter_mut().zip(softmax(&row)).for_each(|(sum, share)| *sum += share);
            self.seen[i] += 1;
        }
    }

    /// Hands out the means of these images, and begins anew.
    fn hand_out(
        &mut self,
        images: Range<usize>,
        views: usize,
        loaders: &[Loader],
        each: &mut impl FnMut(usize, Result<&[f64], &str>),
    ) {
        for ((index, sums), seen) in images.zip(self.sums.chunks_exact_mut(self.classes)).zip(&mut self.seen) {
            if *seen == views {
                sums.iter_mut().for_each(|sum| *sum /= views as f64);
                each(index, Ok(sums));
            } else {
                // A file may vanish between two views of it.
                let faults = loaders.iter().flat_map(Loader::faults);
                let fault = faults.into_iter().find(|fault| fault.index as usize == index);
                each(index, Err(fault.as_ref().map_or("it cannot be read", |fault| &fault.message)));
            }
            sums.fill(0.0);
            *seen = 0;
        }
    }
}

/// The probabilities of logits: `e^logit`, divided by their sum.
#[must_use]
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    // Taken off before, so that nothing overflows.
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let parts: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let total: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / total).collect()
}

/// The `k` most likely classes and their probabilities, the most likely first; of equals the first class. What is no number comes
/// last.
#[must_use]
pub fn top(probabilities: &[f64], k: usize) -> Vec<(usize, f64)> {
    let mut classes: Vec<(usize, f64)> = probabilities.iter().copied().enumerate().collect();
    let share = |share: f64| if share.is_nan() { f64::NEG_INFINITY } else { share };
    classes.sort_by(|a, b| share(b.1).total_cmp(&share(a.1)));
    classes.truncate(k);
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_averaged_over_views() {
        let batch = Batch { valid: 2, indices: vec![7, 6, 0], ..Batch::default() };
        let mut sums = Sums::new(3, 3);
        sums.add(&[0.0, 0.0, -1e9, 0.0, 1.0f32.ln(), 2f32.ln(), 7.0, 7.0, 7.0], &batch, 6);
        sums.add(&[-1e9, 0.0, 0.0, 0.0, 0.0, 2f32.ln(), 0.0, 0.0, 0.0], &batch, 6);
        let mut got = Vec::new();
        sums.hand_out(6..9, 2, &[], &mut |index, row| {
            got.push((index, row.map(<[f64]>::to_vec).map_err(str::to_string)))
        });
        assert_eq!(got[1], (7, Ok(vec![0.25, 0.5, 0.25])));
        let near = got[0].1.as_ref().expect("seen").iter().zip([0.25, 0.25, 0.5]).all(|(a, b)| (a - b).abs() < 1e-7);
        assert!(near && got[0].0 == 6, "{got:?}");
        assert!(got[2].0 == 8 && got[2].1.is_err(), "an image that was not seen");
        sums.add(&[0.0, 0.0, 0.0], &Batch { valid: 1, indices: vec![9], ..Batch::default() }, 9);
        let mut third = 0.0;
        sums.hand_out(9..10, 1, &[], &mut |_, row| third = row.expect("seen")[0]);
        assert!((third - 1.0 / 3.0).abs() < 1e-12, "nothing of the last batch is left");
    }

    #[test]
    fn the_most_likely_classes_come_first() {
        assert_eq!(top(&[0.1, 0.4, 0.1, 0.4], 3), [(1, 0.4), (3, 0.4), (0, 0.1)]);
        assert_eq!(top(&[f64::NAN, 0.0], 5)[0], (1, 0.0));
        assert!(top(&[], 5).is_empty());
    }
}
