//! A run from its settings to its report: what is checked, opened and compiled before the first step.

use super::attached::write_attached;
use super::epochs::{Files, Run};
use super::lock::RunLock;
use super::resume::{CHECKPOINTS, SETTINGS};
use super::saver::Saver;
use super::{Output, Show, Trained, Trainer};
use crate::augment::preview::contact_sheet;
use crate::checkpoint::{self, Checkpoints, Contents, Meta, write_whole};
use crate::error::TrainError;
use crate::loader::{Loader, LoaderOptions};
use crate::metrics::{Progress, RunLog};
use crate::model_card::{ModelCard, Preprocessing};
use crate::step::{EvalStep, StepOptions, TrainStep};
use crate::tuning::TuningFile;
use crate::weights::{LoadOptions, Weights};
use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wgrad_tensor::{Device, Graph, Mode, Params, Snapshots};

/// Name of the table of choices that a run began with.
const TUNING: &str = "tuning.json";

impl Trainer {
    /// Trains. Writes into the run's folder, if there is one: `run.json` (the settings), `log.jsonl`, `steps.csv` and
    /// `epochs.csv` as it goes; after every epoch, and as often as [`Trainer::checkpoint_every`] says, a checkpoint in `checkpoints`,
    /// of which the newest few are kept; `best.safetensors` where the test came out better than before, and `curves.svg`; at the end
    /// `model.safetensors` and `result.json`. All files of weights say how they are used ([`ModelCard`]). `run.lock` is held while the
    /// run goes on, so that no other process trains in the folder.
    ///
    /// # Errors
    /// A setting that makes no sense; a model that does not fit together or not to the data or the weights; a device that is
    /// absent, too small or lost; a loss or a parameter that is no number any more (the last good checkpoint stands); a
    /// folder that cannot be written at the start, or a model at the end; the third checkpoint in a row that cannot be written; a
    /// request to stop. Logs, curves and single checkpoints that cannot be written on the way are reported and end nothing.
    pub fn run(mut self) -> Result<Trained, TrainError> {
        let started = self.started.unwrap_or_else(Instant::now);
        self.check()?;
        let card = ModelCard {
            architecture: self.architecture.clone(),
            class_names: self.data.train.class_names.clone(),
            preprocessing: Preprocessing::of_dataset(&self.data.train, self.eval_view),
        };
        card.check(&self.name)?;
        // Before the device takes its time: what cannot be read is told at once.
        let first = if self.resume.is_none() { Some(self.first()?) } else { None };
        let device = match &self.device {
            Some(device) => device.clone(),
            None => Device::open(&self.device_options)?,
        };
        let settings = self.settings(&device);
        let opened = match (self.resume, &self.output) {
            (Some(resume), Output::Folder(folder)) => Some(resume.open(folder, &settings, &self.data.train)?),
            _ => None,
        };
        if let (Some(_), Output::Folder(folder)) = (&opened, &self.output) {
            // The choices that the run began with are part of its bits, and so is that it had none.
            (self.tuning, self.tune) = (TuningFile::open(&folder.join(TUNING))?, Duration::ZERO);
        }
        let from = opened.as_ref().and_then(|opened| opened.from.as_ref());
        let first = match (first, from) {
            (Some(first), _) => Some(first),
            (None, None) => Some(self.first()?),
            (None, Some(_)) => None,
        };
        let mut params = Params::with_weights(&device, self.seed, self.precision.weights);
        let eval_batch = self.eval_batch_size.unwrap_or(self.batch_size).min(self.data.test.len());
        let options = self.step_options(self.batch_size, self.tune);
        let mut train = TrainStep::new(&device, &mut params, &*self.model, &options)?;
        self.tuning.keep(train.plan())?;
        if let Some(reason) = self.stop.requested() {
            return Err(TrainError::Stopped { reason, step: 0, checkpoint: None });
        }
        let rest = train.plan().tuned().rest(self.tune);
        let eval = EvalStep::new(&device, &mut params, &*self.model, &self.step_options(eval_batch, rest))?;
        self.tuning.keep(eval.plan())?;
        let (model, classes) = (train.classes(), self.data.train.classes());
        if model != classes {
            return Err(TrainError::Classes { model, dataset: self.data.train.name.clone(), classes });
        }
        let mut messages = Vec::new();
        if let Some(first) = first {
            messages.extend(first.load(&mut params)?);
            if let Some(change) = self.first_weights.take().filter(|_| first.is_fresh()) {
                change(&mut params, &self.data.train)?;
            }
        }
        if let Some((checkpoint, path, meta, _)) = from {
            checkpoint.apply(&mut params, Contents::All, &path.display().to_string())?;
            train.set_steps_done(meta.step);
        }
        // What a run that had ended says when it is gone on with: no epoch follows that would count them.
        let epochs_done = from.map_or(0, |(_, _, meta, _)| meta.epoch);
        let skips_bad_steps = self.precision.loss_scale.is_some() || options.update.clip_norm.is_some();
        let options = self.loader_options();
        let fingerprint = self.data.train.fingerprint();
        let train_loader = Loader::new(Arc::new(self.data.train), options)?;
        let preview =
            self.preview.take().map(|path| Ok::<_, TrainError>((preview(&train_loader)?, path))).transpose()?;
        // One thread feeds an evaluation: it must not take the cores from a software adapter.
        let mut eval_options = LoaderOptions::eval(eval_batch).threads(self.threads.min(1));
        eval_options.augment.view = self.eval_view;
        eval_options.bad_image_share = self.bad_image_share;
        let eval_loader = Loader::new(Arc::new(self.data.test), eval_options)?;
        let is_resumed = opened.is_some();
        // Before there is a folder: without the memory for it nothing shall be left behind.
        let snapshots = match self.output {
            Output::Nowhere => None,
            _ => Some(Snapshots::new(&params)?),
        };
        let (folder, lock, state) = match (opened, self.output) {
            (Some(opened), Output::Folder(folder)) => {
                messages.extend(opened.messages);
                opened.broken.map_or(Ok(()), |broken| broken.set_aside())?;
                (Some(folder), Some(opened.lock), opened.from.map(|(.., state)| state))
            }
            (_, output) => {
                let folder = output.create(&self.name)?;
                let lock = folder.as_deref().map(RunLock::take).transpose()?;
                if let Some(folder) = &folder {
                    // At once: what has no settings is no run.
                    let path = folder.join(SETTINGS);
                    let written = write_whole(&path, format!("{settings:#}\n").as_bytes());
                    written.map_err(|source| TrainError::Write { path, source })?;
                }
                (folder, lock, None)
            }
        };
        if let Some(folder) = folder.as_deref().filter(|_| !is_resumed) {
            write_attached(folder, &self.attached)?;
        }
        // Only now: the folder must have been new or empty, and the sheet may lie in it.
        if let Some((sheet, path)) = preview {
            write_whole(&path, &sheet).map_err(|source| TrainError::Write { path, source })?;
        }
        let saver = match (&folder, snapshots) {
            (Some(folder), Some(snapshots)) => {
                checkpoint::sweep(folder);
                self.tuning.save_copy(&folder.join(TUNING))?;
                let checkpoints = Checkpoints::new(folder.join(CHECKPOINTS), self.keep);
                Some(Saver::new(snapshots, checkpoints, card.clone(), self.checkpoint_writer.take())?)
            }
            _ => None,
        };
        let plans = [Some(train.plan()), train.update_plan(), train.lookahead_plan(), Some(eval.plan())];
        let created = plans.into_iter().flatten().map(|plan| plan.created()).chain(saver.iter().map(Saver::created));
        let (bytes, buffers) =
            created.fold((params.bytes(), params.buffer_count()), |all, own| (all.0 + own.0, all.1 + own.1));
        let (terminal, writer): (bool, Box<dyn std::io::Write + Send>) = match self.show {
            Show::Auto => (std::io::stderr().is_terminal(), Box::new(std::io::stdout())),
            Show::Lines(writer) => (false, writer),
            Show::Nothing => (false, Box::new(std::io::sink())),
        };
        let mut log = folder.as_deref().map(RunLog::new);
        if let Some(log) = log.as_mut().filter(|_| is_resumed) {
            log.rewind(train.steps_done(), state.as_ref().map_or(0, |state| state.cursor.epoch));
        }
        let mut run = Run {
            schedule: self.schedule,
            log,
            files: folder.map(|folder| Files { folder, title: self.name.clone() }),
            progress: Progress::new(terminal, writer, self.epochs, train_loader.steps_per_epoch()),
            meta: Meta {
                model: self.name,
                step: train.steps_done(),
                epoch: epochs_done,
                seed: self.seed,
                data: Some(fingerprint),
            },
            card,
            log_every: u64::from(self.log_every),
            checkpoint_every: self.checkpoint_every,
            device_bytes: bytes,
            started,
            begun: Instant::now(),
            skips_bad_steps,
            saver,
            state: state.unwrap_or_default(),
            best_before: None,
            steps_per_epoch: u64::from(train_loader.steps_per_epoch()),
            stop: self.stop,
            faults: HashSet::new(),
            saved: Vec::new(),
            _lock: lock,
            train,
            eval,
            params,
        };
        run.welcome(&device, &train_loader, &eval_loader);
        messages.iter().for_each(|message| run.progress.message(message));
        let test = run.epochs(&train_loader, &eval_loader, (self.epochs, self.eval_every), self.patience)?;
        let adapter = device.info().name.clone();
        let (report, params) = run.finish(test, buffers, adapter)?;
        Ok(Trained { report, params, device })
    }

    /// What the first weights come from.
    fn first(&self) -> Result<First, TrainError> {
        let read = |path: &PathBuf| Ok::<_, TrainError>((checkpoint::read(path)?, path.display().to_string()));
        let weights = self.weights.as_ref().map(read).transpose()?;
        let pretrained = match &self.pretrained {
            Some((path, options)) => {
                let origin = path.display().to_string();
                let options = match self.replace_head {
                    true => options.clone().replace_head(&self.parts()),
                    false => options.clone(),
                };
                Some((Weights::parse(&checkpoint::read(path)?, &origin)?, options, origin))
            }
            None => None,
        };
        Ok(First { weights, pretrained })
    }

    /// CRC-32 of the network's trace: what its layers compute, whatever they are called.
    fn graph_sum(&self) -> u32 {
        let graph = Graph::new();
        // Who moves the pixels is no matter of the network's.
        let options = StepOptions { device_moves: false, ..self.step_options(self.batch_size, Duration::ZERO) };
        options.trace(&graph, Mode::Train, &*self.model);
        crc32fast::hash(graph.data().to_string().as_bytes())
    }

    /// The settings as they stand in `run.json`.
    fn settings(&self, device: &Device) -> serde_json::Value {
        serde_json::json!({
            "wgrad": env!("CARGO_PKG_VERSION"),
            "name": self.name,
            "architecture": self.architecture,
            "data": self.data.train.name,
            "fingerprint": format!("{:08x}", self.data.train.fingerprint()),
            "graph": format!("{:08x}", self.graph_sum()),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "schedule": self.schedule,
            "sgd": self.sgd,
            "update": format!("{:?}", self.update_config()),
            "label_smoothing": self.label_smoothing,
            "pretrained": self.pretrained.as_ref().map(|(path, _)| path),
            "weights": self.weights,
            "augment": self.augment,
            "augment_on_device": self.augment_on_device,
            "mix": self.mix,
            "eval_view": self.eval_view,
            "bad_image_share": self.bad_image_share,
            "last_batch": self.last,
            "seed": self.seed,
            "adapter": device.info().name,
            "driver": device.info().driver,
            "tier": device.target().tier.name(),
            "precision": self.precision.name(),
            "numbers": format!("{:?}", self.precision),
            "fuse": self.compile.fuse,
            "tune_s": self.tune.as_secs_f64(),
            "temporary_bytes": self.compile.temporary_bytes,
        })
    }
}

/// A sheet of the first images of the first epoch as the network gets them; stops where there are enough.
fn preview(loader: &Loader) -> Result<Vec<u8>, TrainError> {
    let changed = loader.options().device_moves.then(|| loader.on_host()).transpose()?;
    let loader = changed.as_ref().unwrap_or(loader);
    let enough = 64usize.div_ceil(loader.options().batch_size);
    let batches = loader.epoch(0).take(enough).collect::<Result<Vec<_>, _>>()?;
    let set = loader.dataset();
    Ok(contact_sheet(&batches, set.channels, set.height, set.width)?)
}

/// Weights that a run starts with, read and not yet loaded.
struct First {
    /// Bytes of a file of this very model, and its name.
    weights: Option<(Vec<u8>, String)>,
    /// Weights of any program, how they are loaded, and their name.
    pretrained: Option<(Weights, LoadOptions, String)>,
}

impl First {
    fn is_fresh(&self) -> bool {
        self.weights.is_none() && self.pretrained.is_none()
    }

    /// Returns a line on what became of them.
    fn load(&self, params: &mut Params) -> Result<Option<String>, TrainError> {
        if let Some((bytes, origin)) = &self.weights {
            checkpoint::load_weights(bytes, "", params, origin)?;
        }
        let Some((weights, options, origin)) = &self.pretrained else { return Ok(None) };
        let report = weights.load_into(params, options, origin)?;
        Ok(Some(format!("{origin}: {report}")))
    }
}
