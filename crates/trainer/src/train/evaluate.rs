//! Accuracy and loss over a whole data set.

use crate::error::TrainError;
use crate::loader::Loader;
use crate::step::EvalStep;
use std::collections::VecDeque;

/// How a network does on a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss, without label smoothing.
    pub loss: f64,
    /// Part of the images whose class has the largest logit, 0 to 1.
    pub accuracy: f64,
    /// Part of the images whose class is among the five largest logits, where there are five classes or more.
    pub accuracy_top5: Option<f64>,
    /// Images classified rightly.
    pub correct: u64,
    /// Images looked at; padding is none.
    pub images: u64,
}

impl Evaluation {
    /// Of no image.
    const NONE: Evaluation = Evaluation { loss: 0.0, accuracy: 0.0, accuracy_top5: None, correct: 0, images: 0 };
}

/// Runs `step` over all batches of `loader`, whose last one is padded ([`LoaderOptions::eval`]), so that every image counts
/// once. Pass the training epoch's number: the loader's threads then go on from one evaluation to the next.
///
/// [`LoaderOptions::eval`]: crate::loader::LoaderOptions::eval
///
/// # Errors
/// A batch that cannot be made, a batch size other than the step's, a lost device.
pub fn evaluate(step: &mut EvalStep, loader: &Loader, epoch: u32) -> Result<Evaluation, TrainError> {
    // An evaluation that nobody stops comes to its end.
    Ok(evaluate_unless(step, loader, epoch, || false)?.unwrap_or(Evaluation::NONE))
}

/// [`evaluate`], given up before the next batch where `stopped` says so.
pub(super) fn evaluate_unless(
    step: &mut EvalStep,
    loader: &Loader,
    epoch: u32,
    stopped: impl Fn() -> bool,
) -> Result<Option<Evaluation>, TrainError> {
    let (mut loss, mut correct, mut top5, mut images) = (0.0, 0, None, 0);
    let mut pending = VecDeque::new();
    let mut read = |step: &mut EvalStep, ticket| -> Result<(), TrainError> {
        let result = step.read(ticket)?;
        loss += f64::from(result.loss_sum);
        correct += u64::from(result.correct);
        if let Some(more) = result.correct_top5 {
            top5 = Some(top5.unwrap_or(0) + u64::from(more));
        }
        Ok(())
    };
    for batch in loader.epoch(epoch) {
        let batch = batch?;
        if stopped() {
            return Ok(None);
        }
        pending.push_back(step.run(&batch.images, &batch.labels)?);
        images += batch.valid as u64;
        loader.recycle(batch);
        if pending.len() > super::LAG
            && let Some(ticket) = pending.pop_front()
        {
            read(step, ticket)?;
        }
    }
    for ticket in pending {
        read(step, ticket)?;
    }
    let share = |count: u64| count as f64 / images.max(1) as f64;
    let loss = loss / images.max(1) as f64;
    Ok(Some(Evaluation { loss, accuracy: share(correct), accuracy_top5: top5.map(share), correct, images }))
}
