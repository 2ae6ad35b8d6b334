//! Accuracy with the logits of an image, its mirror image and shifted ones averaged.

use std::sync::Arc;

use crate::augment::reflect;
use crate::data::{Dataset, Geometry};
use crate::error::TrainError;
use crate::inference::{Tally, softmax};
use crate::loader::{Loader, LoaderOptions};
use crate::step::EvalStep;

use super::Evaluation;

/// (Shift down and right in pixels, whether mirrored, part of the average.)
const LOOKS: [(isize, bool, f64); 6] =
    [(0, false, 0.25), (0, true, 0.25), (-1, false, 0.125), (-1, true, 0.125), (1, false, 0.125), (1, true, 0.125)];

/// Runs `step` over all images of `dataset` six times: as they are, shifted by a pixel towards the upper left and the lower right
/// (mirrored at the rim), and the mirror images of these three. Half of the averaged **logits** is that of the unshifted ones: what
/// airbench94 (Jordan, arXiv:2404.00498) calls its test-time augmentation of level 2. `options` are those of an evaluation with the
/// step's batch size.
///
/// # Errors
/// A step compiled without [`crate::StepOptions::logits`], a batch that cannot be made, a lost device.
pub fn evaluate_mirror_translate(
    step: &mut EvalStep,
    dataset: &Arc<Dataset>,
    options: &LoaderOptions,
) -> Result<Evaluation, TrainError> {
    let (classes, geometry) = (step.classes(), dataset.geometry());
    let mut tally = Tally::new(classes);
    let loader = Loader::new(Arc::clone(dataset), options.clone())?;
    let (mut changed, mut sums) = (Vec::new(), Vec::new());
    for batch in loader.epoch(0) {
        let batch = batch?;
        sums.clear();
        sums.resize(batch.valid * classes, 0.0f64);
        for (shift, mirrored, part) in LOOKS {
            look(&batch.images, geometry, shift, mirrored, &mut changed);
            let ticket = step.run(&changed, &batch.labels)?;
            let logits = step.logits(ticket)?;
            sums.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += part * f64::from(logit));
        }
        for (row, &label) in sums.chunks_exact(classes).zip(&batch.labels) {
            tally.add(label, &softmax(row));
        }
        loader.recycle(batch);
    }
    Ok(tally.evaluation())
}

/// Packed images shifted by `shift` rows and columns (`out[y][x] = image[y + shift][x + shift]`), then mirrored left and right.
fn look(images: &[u32], g: Geometry, shift: isize, mirrored: bool, out: &mut Vec<u32>) {
    out.clear();
    out.reserve(images.len());
    for image in images.chunks_exact(g.height * g.width) {
        for y in 0..g.height {
            let row = reflect(y as isize + shift, g.height) * g.width;
            out.extend((0..g.width).map(|x| {
                let x = if mirrored { g.width - 1 - x } else { x };
                image[row + reflect(x as isize + shift, g.width)]
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_shifted_reflected_and_mirrored() {
        let g = Geometry { channels: 1, height: 2, width: 3, mean_colour: [0; 3] };
        let mut out = Vec::new();
        let mut show = |shift, mirrored| {
            look(&[1, 2, 3, 4, 5, 6], g, shift, mirrored, &mut out);
            out.clone()
        };
        assert_eq!(show(0, false), [1, 2, 3, 4, 5, 6]);
        assert_eq!(show(0, true), [3, 2, 1, 6, 5, 4]);
        assert_eq!(show(1, false), [5, 6, 5, 2, 3, 2]);
        assert_eq!(show(-1, false), [5, 4, 5, 2, 1, 2]);
        assert_eq!(show(-1, true), [5, 4, 5, 2, 1, 2]);
        assert!((LOOKS.iter().map(|(.., part)| part).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
