//! The figures of a step and of an epoch, as they are shown and logged.

use serde::{Deserialize, Deserializer, Serialize};

/// What is known after a training step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Epoch, from 0.
    pub epoch: u32,
    /// Steps done in the whole run.
    pub step: u64,
    /// Mean loss of the batch, or of the steps since the last record.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Part of the images classified rightly, 0 to 1, over the same steps.
    #[serde(deserialize_with = "null_is_nan")]
    pub accuracy: f64,
    /// Learning rate of the step.
    #[serde(deserialize_with = "null_is_nan")]
    pub lr: f64,
    /// Training images per second of wall time.
    #[serde(deserialize_with = "null_is_nan")]
    pub images_per_s: f64,
    /// Part of the wall time spent waiting for data, 0 to 1.
    #[serde(deserialize_with = "null_is_nan")]
    pub data_wait_share: f64,
    /// Device memory held, in bytes.
    pub device_bytes: u64,
}

/// What is known after an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 0.
    pub epoch: u32,
    /// Steps done in the whole run.
    pub step: u64,
    /// Mean training loss over the epoch.
    #[serde(deserialize_with = "null_is_nan")]
    pub train_loss: f64,
    /// Part of the training images classified rightly during the epoch, 0 to 1.
    #[serde(deserialize_with = "null_is_nan")]
    pub train_accuracy: f64,
    /// Mean loss over the test set, if it was run.
    pub test_loss: Option<f64>,
    /// Part of the test images classified rightly, 0 to 1, if the test was run.
    pub test_accuracy: Option<f64>,
    /// Learning rate of the epoch's last step.
    #[serde(deserialize_with = "null_is_nan")]
    pub lr: f64,
    /// Training images per second of wall time, the test not counted.
    #[serde(deserialize_with = "null_is_nan")]
    pub images_per_s: f64,
    /// Part of the training time spent waiting for data, 0 to 1.
    #[serde(deserialize_with = "null_is_nan")]
    pub data_wait_share: f64,
    /// Device memory held, in bytes.
    pub device_bytes: u64,
    /// Training time since the start of the run, in seconds, tests included.
    #[serde(deserialize_with = "null_is_nan")]
    pub elapsed_s: f64,
}

impl StepRecord {
    /// Column names of [`StepRecord::csv`].
    pub const CSV_HEADER: &'static str = "epoch,step,loss,accuracy,lr,images_per_s,data_wait_share,device_bytes";

    /// The record as one line of comma-separated values, without the line's end.
    #[must_use]
    pub fn csv(&self) -> String {
        format!(
            "{},{},{},{},{},{},{},{}",
            self.epoch,
            self.step,
            self.loss,
            self.accuracy,
            self.lr,
            self.images_per_s,
            self.data_wait_share,
            self.device_bytes
        )
    }
}

impl EpochRecord {
    /// Column names of [`EpochRecord::csv`].
    pub const CSV_HEADER: &'static str = "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,lr,images_per_s,data_wait_share,device_bytes,elapsed_s";

    /// The record as one line of comma-separated values, without the line's end; what is not known stays empty.
    #[must_use]
    pub fn csv(&self) -> String {
        let known = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
        format!(
            "{},{},{},{},{},{},{},{},{},{},{}",
            self.epoch,
            self.step,
            self.train_loss,
            self.train_accuracy,
            known(self.test_loss),
            known(self.test_accuracy),
            self.lr,
            self.images_per_s,
            self.data_wait_share,
            self.device_bytes,
            self.elapsed_s
        )
    }
}

/// JSON has no NaN: it is written as null, and a log of a diverged run must read back.
pub(super) fn null_is_nan<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn step(step: u64) -> StepRecord {
        StepRecord {
            epoch: 1,
            step,
            loss: 0.5123,
            accuracy: 0.8231,
            lr: 0.1,
            images_per_s: 1234.4,
            data_wait_share: 0.004,
            device_bytes: 212 << 20,
        }
    }

    pub(in super::super) fn epoch(epoch: u32) -> EpochRecord {
        let e = f64::from(epoch);
        EpochRecord {
            epoch,
            step: u64::from(epoch + 1) * 100,
            train_loss: 2.0 / (e + 1.0),
            train_accuracy: 1.0 - 0.7 / (e + 1.0),
            test_loss: Some(2.1 / (e + 1.0)),
            test_accuracy: Some(1.0 - 0.75 / (e + 1.0)),
            lr: 0.1,
            images_per_s: 1000.0,
            data_wait_share: 0.01,
            device_bytes: 212 << 20,
            elapsed_s: 10.0 * (e + 1.0),
        }
    }

    #[test]
    fn json_there_and_back() {
        let r = epoch(3);
        let json = serde_json::to_string(&r).expect("json");
        assert_eq!(serde_json::from_str::<EpochRecord>(&json).expect("back"), r);
        let nan = StepRecord { loss: f64::NAN, ..step(1) };
        let json = serde_json::to_string(&nan).expect("json");
        assert!(json.contains(r#""loss":null"#));
        assert!(serde_json::from_str::<StepRecord>(&json).expect("back").loss.is_nan());
    }

    #[test]
    fn csv_has_a_value_for_each_column() {
        let columns = |s: &str| s.split(',').count();
        assert_eq!(columns(&step(1).csv()), columns(StepRecord::CSV_HEADER));
        let r = EpochRecord { test_loss: None, test_accuracy: None, ..epoch(0) };
        assert_eq!(columns(&r.csv()), columns(EpochRecord::CSV_HEADER));
        assert!(r.csv().contains(",,,"));
    }
}
