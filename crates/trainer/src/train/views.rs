//! Accuracy with the scores of several views of each image averaged: ten-crop, several scales, mirror images.

use std::sync::Arc;

use crate::augment::View;
use crate::data::Dataset;
use crate::error::TrainError;
use crate::loader::{Batch, Loader, LoaderOptions};
use crate::step::EvalStep;

use super::Evaluation;

/// Runs `step` over all images of `dataset` once for each of `views` ([`View::ten_crop`] and its like) and averages the
/// probabilities, as Krizhevsky et al. (2012) do. `options` are those of an evaluation ([`LoaderOptions::eval`]) with the step's
/// batch size; their view is replaced. The loss is that of the averaged probabilities. An image that cannot be read counts
/// nowhere.
///
/// # Errors
/// A step compiled without [`crate::StepOptions::logits`], no view, a batch that cannot be made, a lost device.
pub fn evaluate_views(
    step: &mut EvalStep,
    dataset: &Arc<Dataset>,
    views: &[View],
    options: &LoaderOptions,
) -> Result<Evaluation, TrainError> {
    if views.is_empty() {
        return Err(TrainError::setting("views", "at least one", 0));
    }
    let classes = step.classes();
    let mut sums = vec![0.0f64; dataset.len() * classes];
    let mut seen = vec![false; dataset.len()];
    for &view in views {
        let mut options = options.clone();
        options.augment.view = Some(view);
        let loader = Loader::new(Arc::clone(dataset), options)?;
        // The logits of one step are read while the next is under way.
        let mut pending = None;
        let mut batches = loader.epoch(0);
        loop {
            let batch = batches.next().transpose()?;
            let next = match batch {
                Some(batch) => Some((step.run(&batch.images, &batch.labels)?, batch)),
                None => None,
            };
            let done = next.is_none();
            if let Some((ticket, batch)) = std::mem::replace(&mut pending, next) {
                add(&step.logits(ticket)?, &batch, classes, &mut sums, &mut seen);
                loader.recycle(batch);
            }
            if done {
                break;
            }
        }
    }
    Ok(scores(&sums, &seen, &dataset.labels, classes, views.len()))
}

/// Adds each counted image's probabilities to its sums.
fn add(logits: &[f32], batch: &Batch, classes: usize, sums: &mut [f64], seen: &mut [bool]) {
    for (row, &index) in logits.chunks_exact(classes).zip(&batch.indices).take(batch.valid) {
        let index = index as usize;
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let parts: Vec<f64> = row.iter().map(|&v| f64::from(v - most).exp()).collect();
        let total: f64 = parts.iter().sum();
        let into = &mut sums[index * classes..(index + 1) * classes];
        into.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part / total);
        seen[index] = true;
    }
}

pub(super) fn scores(sums: &[f64], seen: &[bool], labels: &[u32], classes: usize, views: usize) -> Evaluation {
    let (mut loss, mut correct, mut top5, mut images) = (0.0, 0u64, 0u64, 0u64);
    for ((row, &label), _) in sums.chunks_exact(classes).zip(labels).zip(seen).filter(|(_, seen)| **seen) {
        let own = row[label as usize];
        loss -= (own / views as f64).ln();
        // Equal scores of earlier classes come first, as on the device.
        let before = row.iter().enumerate();
        // A NaN is before everything, so that a network that has diverged is right nowhere.
        let first = |i: usize, v: f64| v.is_nan() || own.is_nan() || v > own || (v == own && i < label as usize);
        let rank = before.filter(|&(i, &v)| i != label as usize && first(i, v)).count() + usize::from(own.is_nan());
        correct += u64::from(rank == 0);
        top5 += u64::from(rank < 5);
        images += 1;
    }
    let n = images.max(1) as f64;
    Evaluation {
        loss: loss / n,
        accuracy: correct as f64 / n,
        accuracy_top5: (classes >= 5).then_some(top5 as f64 / n),
        correct,
        images,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_rank_and_lose_as_they_should() {
        let batch = Batch { valid: 2, indices: vec![1, 0, 0], labels: vec![0, 2, 9], ..Batch::default() };
        let (mut sums, mut seen) = (vec![0.0; 9], vec![false; 3]);
        let logits = [0.0, 0.0, -1e9, 0.0, 1.0f32.ln(), 2f32.ln(), 7.0, 7.0, 7.0];
        add(&logits, &batch, 3, &mut sums, &mut seen);
        add(&[-1e9, 0.0, 0.0, 0.0, 0.0, 2f32.ln(), 0.0, 0.0, 0.0], &batch, 3, &mut sums, &mut seen);
        assert_eq!(seen, [true, true, false]);
        // Image 1: (1/2, 1/2, 0) and (0, 1/2, 1/2); image 0: (1/4, 1/4, 1/2) twice.
        let got = scores(&sums, &seen, &[2, 0, 0], 3, 2);
        assert_eq!((got.correct, got.images, got.accuracy_top5), (1, 2, None));
        assert!((got.loss - (2f64.ln() + 4f64.ln()) / 2.0).abs() < 1e-6, "{got:?}");
        let nan = scores(&[f64::NAN; 3], &[true], &[1], 3, 1);
        assert_eq!((nan.correct, nan.images), (0, 1), "a network of NaN is right nowhere");
    }
}
