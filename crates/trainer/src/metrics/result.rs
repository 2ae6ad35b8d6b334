//! The last line of every training command.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::null_is_nan;
use crate::train::Evaluation;

/// The last line of every training command: `result {…}`, for programs to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultLine {
    /// Part of the test images classified rightly, 0 to 1.
    #[serde(deserialize_with = "null_is_nan")]
    pub accuracy: f64,
    /// Mean loss over the test set.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Training images per second, over all epochs but without tests.
    #[serde(deserialize_with = "null_is_nan")]
    pub images_per_s: f64,
    /// Seconds from the start of the program to the end of the first training step.
    #[serde(deserialize_with = "null_is_nan")]
    pub first_step_s: f64,
    /// Seconds of training, tests included.
    #[serde(deserialize_with = "null_is_nan")]
    pub train_s: f64,
    /// Device memory that training holds, in bytes.
    pub peak_bytes: u64,
    /// Training steps done.
    pub steps: u64,
    /// The seed.
    pub seed: u64,
    /// Name of the adapter.
    pub adapter: String,
}

impl fmt::Display for ResultLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "result {json}")
    }
}

/// The last line of an evaluation: `result {…}`, for programs to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationLine {
    /// Part of the images classified rightly, 0 to 1.
    pub accuracy: f64,
    /// Part of the images whose class is among the five most likely, where there are five classes or more.
    pub accuracy_top5: Option<f64>,
    /// Mean loss of the averaged probabilities.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Images classified rightly.
    pub correct: u64,
    /// Images that count.
    pub images: u64,
    /// Images that could not be read.
    pub left_out: u64,
    /// Views of each image.
    pub views: usize,
    /// Images per second, each with all of its views, from files to counts.
    #[serde(deserialize_with = "null_is_nan")]
    pub images_per_s: f64,
    /// Name of the adapter.
    pub adapter: String,
}

impl EvaluationLine {
    /// The line for an evaluation of so many views that took so long.
    #[must_use]
    pub fn new(evaluation: &Evaluation, views: usize, left_out: u64, seconds: f64, adapter: String) -> EvaluationLine {
        let &Evaluation { loss, accuracy, accuracy_top5, correct, images } = evaluation;
        let images_per_s = images as f64 / seconds;
        EvaluationLine { accuracy, accuracy_top5, loss, correct, images, left_out, views, images_per_s, adapter }
    }
}

impl fmt::Display for EvaluationLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "result {json}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_is_one_line_of_json() {
        let counts = Evaluation { loss: f64::NAN, accuracy: 0.5, accuracy_top5: None, correct: 2, images: 4 };
        let line = EvaluationLine::new(&counts, 10, 1, 2.0, "a\nname".into());
        let text = line.to_string();
        assert_eq!(text.lines().count(), 1);
        let json: serde_json::Value =
            serde_json::from_str(text.strip_prefix("result ").expect("prefix")).expect("json");
        assert_eq!((json["images_per_s"].as_f64(), json["views"].as_u64()), (Some(2.0), Some(10)));
        assert!(json["loss"].is_null() && json["accuracy_top5"].is_null());
    }

    #[test]
    fn one_line_of_json_whatever_the_adapter_is_called() {
        let r = ResultLine {
            accuracy: 0.9,
            loss: f64::NAN,
            images_per_s: 100.0,
            first_step_s: 1.5,
            train_s: 60.0,
            peak_bytes: 1 << 33,
            steps: 100,
            seed: u64::MAX,
            adapter: "a \"quoted\"\nname".into(),
        };
        let line = r.to_string();
        assert_eq!(line.lines().count(), 1);
        let json = line.strip_prefix("result ").expect("prefix");
        let v: serde_json::Value = serde_json::from_str(json).expect("json");
        assert_eq!(v["seed"], u64::MAX);
        assert!(v["loss"].is_null());
        assert_eq!(v["adapter"], r.adapter.as_str());
        let back: ResultLine = serde_json::from_str(json).expect("back");
        assert!(back.loss.is_nan());
        assert_eq!(ResultLine { loss: 0.5, ..back }, ResultLine { loss: 0.5, ..r });
    }
}
