//! Accuracy with the scores of several views of each image averaged: ten-crop, several scales, mirror images.

use std::sync::Arc;

use crate::augment::View;
use crate::data::Dataset;
use crate::error::TrainError;
use crate::inference::{Tally, score_views};
use crate::loader::LoaderOptions;
use crate::step::EvalStep;

use super::Evaluation;

/// Runs `step` over all images of `dataset` once for each of `views` ([`View::ten_crop`] and its like), averages the
/// probabilities ([`score_views`]) and counts. The loss is that of the averaged probabilities. An image that cannot be read counts
/// nowhere.
///
/// # Errors
/// As [`score_views`].
pub fn evaluate_views(
    step: &mut EvalStep,
    dataset: &Arc<Dataset>,
    views: &[View],
    options: &LoaderOptions,
) -> Result<Evaluation, TrainError> {
    let mut tally = Tally::new(step.classes());
    let views: Vec<Option<View>> = views.iter().copied().map(Some).collect();
    score_views(step, dataset, &views, options, |index, probabilities| {
        if let Ok(probabilities) = probabilities {
            tally.add(dataset.labels[index], probabilities);
        }
    })?;
    Ok(tally.evaluation())
}
