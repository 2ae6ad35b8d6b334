//! The last line of every training command.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::null_is_nan;

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

#[cfg(test)]
mod tests {
    use super::*;

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
