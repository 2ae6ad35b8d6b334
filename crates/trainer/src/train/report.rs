//! What a run leaves behind.

use super::Evaluation;
use crate::metrics::{EpochRecord, ResultLine};
use std::path::PathBuf;
use wgrad_tensor::{Device, Params};

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The last evaluation.
    pub test: Evaluation,
    /// Training images per second over all epochs, evaluations and checkpoints not counted.
    pub images_per_s: f64,
    /// Seconds from the start of the program to the end of the first training step.
    pub first_step_s: f64,
    /// Seconds from the first step's start to the end of the run, evaluations included.
    pub train_s: f64,
    /// Device memory of both plans and the parameter store, in bytes: all that training holds, from before the first step on.
    /// Saving takes as much again as the one parameter that it reads back, for that moment; that is not counted.
    pub peak_bytes: u64,
    /// Buffers that this memory consists of.
    pub buffers: usize,
    /// Steps done.
    pub steps: u64,
    /// The seed.
    pub seed: u64,
    /// Name of the adapter.
    pub adapter: String,
    /// One record per epoch.
    pub epochs: Vec<EpochRecord>,
    /// The folder with logs, curves, checkpoint and model, if the run kept files.
    pub folder: Option<PathBuf>,
}

impl Report {
    /// Part of the test images classified rightly at the end, 0 to 1.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.test.accuracy
    }

    /// The line that ends every training command.
    #[must_use]
    pub fn result_line(&self) -> ResultLine {
        ResultLine {
            accuracy: self.test.accuracy,
            loss: self.test.loss,
            images_per_s: self.images_per_s,
            first_step_s: self.first_step_s,
            train_s: self.train_s,
            peak_bytes: self.peak_bytes,
            steps: self.steps,
            seed: self.seed,
            adapter: self.adapter.clone(),
        }
    }
}

/// A trained network: the figures, and the parameters on their device.
#[derive(Debug)]
pub struct Trained {
    /// The figures.
    pub report: Report,
    /// The parameters, to evaluate, save or train further.
    pub params: Params,
    /// The device they lie on.
    pub device: Device,
}
