//! Where a run stands: what a checkpoint says beside the tensors.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::loader::Cursor;
use crate::metrics::EpochRecord;
use serde::{Deserialize, Serialize};

/// Key of [`RunState`] in a checkpoint's metadata.
const KEY: &str = "run";

/// Sums over some steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    loss: f64,
    correct: u64,
    pub(super) steps: u64,
    /// Steps whose loss was a number.
    finite: u64,
}

impl Sums {
    pub(super) fn add(&mut self, loss: f32, correct: u32) {
        self.steps += 1;
        if loss.is_finite() {
            self.loss += f64::from(loss);
            self.finite += 1;
        }
        self.correct += u64::from(correct);
    }

    /// Mean loss and accuracy.
    pub(super) fn means(&self, batch_size: usize) -> (f64, f64) {
        (self.loss / self.finite.max(1) as f64, self.correct as f64 / (self.steps.max(1) * batch_size as u64) as f64)
    }
}

/// What is known of an epoch of which some steps are done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Over all of its steps so far.
    pub(super) whole: Sums,
    /// Over those since the last record.
    pub(super) window: Sums,
    /// Seconds so far.
    pub(super) elapsed_s: f64,
    /// Of these, seconds spent waiting for data.
    pub(super) wait_s: f64,
}

/// The best epoch so far, by accuracy on the test images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Best {
    pub(super) epoch: u32,
    pub(super) accuracy: f64,
}

/// All that a run needs to go on beside its parameters. Order, augmentation and dropout follow from the seed and the cursor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RunState {
    /// The next batch; behind the last one of an epoch the test comes next.
    pub(super) cursor: Cursor,
    pub(super) part: Part,
    /// Images learned from in the epochs that are over, and seconds that took.
    pub(super) images: u64,
    pub(super) train_s: f64,
    /// Seconds since the beginning, tests included.
    pub(super) elapsed_s: f64,
    pub(super) first_step_s: Option<f64>,
    pub(super) records: Vec<EpochRecord>,
    pub(super) skipped: u64,
    pub(super) best: Option<Best>,
    /// Losses in a row, up to now, that were no numbers.
    pub(super) bad_losses: u32,
}

impl RunState {
    pub(super) fn put(&self, checkpoint: &mut Checkpoint) {
        // Numbers and lists of numbers: nothing of it can fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        checkpoint.metadata.insert(KEY.to_string(), text);
    }

    pub(super) fn of(checkpoint: &Checkpoint, origin: &str) -> Result<RunState, CheckpointError> {
        let broken = |what: String| CheckpointError::Format { origin: origin.to_string(), what };
        let text = checkpoint.metadata.get(KEY);
        let text = text.ok_or_else(|| broken("the metadata do not say where the run stands".to_string()))?;
        serde_json::from_str(text).map_err(|error| broken(format!("the metadata {KEY:?} are wrong: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were() {
        let mut state = RunState { cursor: Cursor { epoch: 3, step: 17 }, train_s: 0.1 + 0.2, ..RunState::default() };
        for i in 1..1000u32 {
            state.part.whole.add(1.0 / i as f32, i);
        }
        state.part.window.add(f32::NAN, 1);
        let mut checkpoint = Checkpoint::default();
        state.put(&mut checkpoint);
        assert_eq!(RunState::of(&checkpoint, "x").expect("good"), state);
        assert!(RunState::of(&Checkpoint::default(), "x").is_err());
        checkpoint.metadata.insert(KEY.to_string(), "{\"cursor\":1}".to_string());
        assert!(RunState::of(&checkpoint, "x").is_err_and(|error| error.to_string().starts_with("x: ")));
    }

    #[test]
    fn what_is_no_number_is_left_out_of_the_mean() {
        let mut sums = Sums::default();
        for loss in [1.0, f32::NAN, 3.0] {
            sums.add(loss, 2);
        }
        assert_eq!(sums.means(4), (2.0, 0.5));
    }
}
