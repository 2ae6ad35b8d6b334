//! Going on with a run that was stopped or killed.

use super::lock::RunLock;
use super::state::RunState;
use super::{Stop, Trainer};
use crate::checkpoint::{Checkpoint, Checkpoints, Meta, Newest};
use crate::data::Dataset;
use crate::data::folder::read_regular;
use crate::error::TrainError;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the folder of checkpoints in a run's folder.
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// Name of the file of settings.
pub(super) const SETTINGS: &str = "run.json";

/// How a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Take training images that are not those which the run began with.
    pub force_data: bool,
}

/// Settings that are not compared: names of files (the data have a fingerprint), where first weights came from, what changes no bit,
/// and what is told instead.
const FREE: [&str; 8] =
    ["wgrad", "adapter", "driver", "tier", "tune_s", "augment_on_device", "bad_image_share", "temporary_bytes"];
/// Settings that a checkpoint has behind it or tells better: where first weights came from, and which images (by a fingerprint).
const BEHIND: [&str; 4] = ["data", "fingerprint", "weights", "pretrained"];
/// Most bytes of a file of settings.
const MOST_BYTES: u64 = 1 << 20;
/// Of these, settings that change the last bits.
const BITS: [&str; 4] = ["wgrad", "adapter", "driver", "tier"];

/// A run's folder, opened to go on.
pub(super) struct Opened {
    pub(super) lock: RunLock,
    /// The checkpoint to go on from, its file and where the run stood; none where it was killed before the first.
    pub(super) from: Option<(Checkpoint, PathBuf, Meta, RunState)>,
    /// Newer ones that are broken, to be set aside when nothing can be refused any more.
    pub(super) broken: Option<Newest>,
    /// Lines for the user.
    pub(super) messages: Vec<String>,
}

impl Resume {
    /// Opens `folder` and looks for the newest checkpoint that is whole. Changes nothing there.
    ///
    /// # Errors
    /// A folder that holds no run, another process in it, other settings, other data, no checkpoint that is whole where there are some.
    pub(super) fn open(self, folder: &Path, settings: &Value, train: &Dataset) -> Result<Opened, TrainError> {
        let path = folder.join(SETTINGS);
        if let Err(source) = std::fs::metadata(&path) {
            return Err(TrainError::NoRun { path: folder.to_owned(), source });
        }
        let text = read_regular(&path, MOST_BYTES)?;
        let lock = RunLock::take(folder)?;
        let begun: Value = serde_json::from_slice(&text)
            .map_err(|error| TrainError::OtherSettings { path: path.clone(), difference: error.to_string() })?;
        // Through a text, as the file's numbers were.
        let own: Value = serde_json::from_str(&settings.to_string()).unwrap_or_default();
        let refused = |difference| Err(TrainError::OtherSettings { path: path.clone(), difference });
        if let Some(difference) = difference(&begun, &own, &BEHIND) {
            return refused(difference);
        }
        let mut messages = changed_bits(&begun, &own);
        let newest = Checkpoints::new(folder.join(CHECKPOINTS), 1).newest()?;
        let Some((checkpoint, path)) = newest.found else {
            return match newest.passed_over.into_iter().next() {
                Some((_, error)) => Err(error.into()),
                None => {
                    let forced: &[&str] = if self.force_data { &["data", "fingerprint"] } else { &["data"] };
                    if let Some(difference) = difference(&begun, &own, forced) {
                        return refused(difference);
                    }
                    messages.push(format!("{}: no checkpoint yet, the run begins anew", folder.display()));
                    Ok(Opened { lock, from: None, broken: None, messages })
                }
            };
        };
        let origin = path.display().to_string();
        let meta = checkpoint.meta(&origin)?;
        meta.check_data(train, self.force_data, &origin)?;
        let state = RunState::of(&checkpoint, &origin)?;
        let told = newest
            .passed_over
            .iter()
            .map(|(_, error)| format!("{error}; it is set aside, and the one before it taken"));
        messages.extend(told);
        messages.push(format!("goes on from {origin}, after {} steps", meta.step));
        let broken = Some(Newest { found: None, passed_over: newest.passed_over });
        Ok(Opened { lock, from: Some((checkpoint, path, meta, state)), broken, messages })
    }
}

/// The first setting that is another one.
fn difference(begun: &Value, own: &Value, free: &[&str]) -> Option<String> {
    let empty = serde_json::Map::new();
    let (begun, own) = (begun.as_object().unwrap_or(&empty), own.as_object().unwrap_or(&empty));
    let is_free = |key: &str| FREE.contains(&key) || free.contains(&key);
    let mut keys: Vec<&String> = begun.keys().chain(own.keys()).filter(|key| !is_free(key)).collect();
    keys.sort();
    keys.dedup();
    let key = keys.into_iter().find(|key| begun.get(*key) != own.get(*key))?;
    let text = |value: Option<&Value>| value.map_or("nothing".to_string(), Value::to_string);
    Some(format!("{key}: wanted {}, got {}", text(begun.get(key)), text(own.get(key))))
}

fn changed_bits(begun: &Value, own: &Value) -> Vec<String> {
    let changed = BITS.iter().filter(|key| begun[**key] != own[**key]);
    changed
        .map(|key| {
            format!("{key} was {}, is {}: results will not be bit for bit those of one machine", begun[*key], own[*key])
        })
        .collect()
}

impl Trainer {
    /// Goes on with the run in the folder given by [`Trainer::out`], from its newest checkpoint that is whole: on the same machine every
    /// bit of the final weights is that of a run which nothing disturbed. The settings must be those that the run began with.
    #[must_use]
    pub fn resume(mut self, resume: Resume) -> Trainer {
        self.resume = Some(resume);
        self
    }

    /// Saves a checkpoint after every so many steps, besides that at the end of each epoch. The training does not wait for it: one that
    /// is due while the last is still being written is left out.
    #[must_use]
    pub fn checkpoint_every(mut self, steps: u64) -> Trainer {
        self.checkpoint_every = Some(steps);
        self
    }

    /// How many of the newest checkpoints are kept, 3 if not given.
    #[must_use]
    pub fn keep(mut self, checkpoints: usize) -> Trainer {
        self.keep = checkpoints;
        self
    }

    /// Ends the run when so many epochs in a row bring no better accuracy on the test images (early stopping). `best.safetensors` holds
    /// the weights of the best epoch with this and without.
    #[must_use]
    pub fn patience(mut self, epochs: u32) -> Trainer {
        self.patience = Some(epochs);
        self
    }

    /// Lets the run be stopped from a signal handler or another thread.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Trainer {
        self.stop = stop;
        self
    }

    /// Writes checkpoints through this function in place of the file system alone: to a store of one's own, or to a failing one in tests. It
    /// has to leave a whole file at that path or none.
    #[must_use]
    pub fn checkpoint_writer(
        mut self,
        writer: impl Fn(&Path, &[u8]) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Trainer {
        self.checkpoint_writer = Some(Arc::new(writer));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_setting_that_differs_is_named() {
        let begun = json!({ "epochs": 3, "seed": 1, "adapter": "a", "sgd": { "momentum": 0.9f32 } });
        assert_eq!(difference(&begun, &begun, &[]), None);
        let mut own = begun.clone();
        own["adapter"] = json!("b");
        assert_eq!(difference(&begun, &own, &[]), None);
        assert!(changed_bits(&begun, &own)[0].contains("adapter was \"a\", is \"b\""));
        own["sgd"]["momentum"] = json!(0.8f32);
        assert!(difference(&begun, &own, &[]).is_some_and(|text| text.starts_with("sgd: wanted {\"momentum\":0.8")));
        assert!(difference(&begun, &own, &["sgd"]).is_none());
        own["epochs"] = json!(4);
        assert_eq!(difference(&begun, &own, &[]).as_deref(), Some("epochs: wanted 3, got 4"));
        assert_eq!(difference(&json!({}), &json!({ "seed": 1 }), &[]).as_deref(), Some("seed: wanted nothing, got 1"));
    }
}
