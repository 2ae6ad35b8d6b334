//! The loop.

use super::{Evaluation, LAG, Report, Show, Trained, Trainer, evaluate};
use crate::augment::preview::contact_sheet;
use crate::checkpoint::{self, Checkpoint, Contents, Meta, write_whole};
use crate::error::TrainError;
use crate::loader::{Loader, LoaderOptions};
use crate::metrics::{EpochRecord, Progress, RunLog, StepRecord, plot};
use crate::model_card::{ModelCard, Preprocessing};
use crate::schedule::Schedule;
use crate::step::{EvalStep, TrainStep};
use crate::weights::Weights;
use std::collections::{HashSet, VecDeque};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use wgrad_tensor::{Device, Params, Ticket};

const MODEL: &str = "model.safetensors";
const CHECKPOINT: &str = "checkpoint.safetensors";
const CURVES: &str = "curves.svg";
/// The most files of each half that are named as passed over.
const MAX_PASSED_OVER: usize = 10;

impl Trainer {
    /// Trains. Writes into the run's folder, if there is one: `run.json` (the settings), `log.jsonl`, `steps.csv` and
    /// `epochs.csv` as it goes; after every epoch `checkpoint.safetensors` and `curves.svg`; at the end
    /// `model.safetensors` and `result.json`. Both files of weights say how they are used ([`ModelCard`]).
    ///
    /// # Errors
    /// A setting that makes no sense; a model that does not fit together or not to the data or the weights; a device that is
    /// absent, too small or lost; a loss or a parameter that is no number any more (the last good checkpoint stands); a
    /// folder that cannot be written at the start, or a model at the end. Logs, curves and checkpoints that cannot be
    /// written on the way are reported and end nothing.
    pub fn run(mut self) -> Result<Trained, TrainError> {
        let started = self.started.unwrap_or_else(Instant::now);
        self.check()?;
        let card = ModelCard {
            architecture: self.architecture.clone(),
            class_names: self.data.train.class_names.clone(),
            preprocessing: Preprocessing::of_dataset(&self.data.train, self.eval_view),
        };
        card.check(&self.name)?;
        let weights = self.weights.as_deref().map(checkpoint::read).transpose()?;
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
        let device = match &self.device {
            Some(device) => device.clone(),
            None => Device::open(&self.device_options)?,
        };
        let mut params = Params::with_weights(&device, self.seed, self.precision.weights);
        let eval_batch = self.eval_batch_size.unwrap_or(self.batch_size).min(self.data.test.len());
        let options = self.step_options(self.batch_size, self.tune);
        let train = TrainStep::new(&device, &mut params, &*self.model, &options)?;
        self.tuning.keep(train.plan())?;
        let rest = train.plan().tuned().rest(self.tune);
        let eval = EvalStep::new(&device, &mut params, &*self.model, &self.step_options(eval_batch, rest))?;
        self.tuning.keep(eval.plan())?;
        let (model, classes) = (train.classes(), self.data.train.classes());
        if model != classes {
            return Err(TrainError::Classes { model, dataset: self.data.train.name.clone(), classes });
        }
        if let (Some(bytes), Some(path)) = (&weights, &self.weights) {
            checkpoint::load_weights(bytes, "", &mut params, &path.display().to_string())?;
        }
        let report = match &pretrained {
            Some((weights, options, origin)) => Some(weights.load_into(&mut params, options, origin)?),
            None => None,
        };
        let is_fresh = weights.is_none() && pretrained.is_none();
        if let Some(change) = self.first_weights.take().filter(|_| is_fresh) {
            change(&mut params, &self.data.train)?;
        }
        let options = self.loader_options();
        let settings = self.settings(&device);
        let fingerprint = self.data.train.fingerprint();
        let train_loader = Loader::new(Arc::new(self.data.train), options)?;
        let preview =
            self.preview.take().map(|path| Ok::<_, TrainError>((preview(&train_loader)?, path))).transpose()?;
        // One thread feeds an evaluation: it must not take the cores from a software adapter.
        let mut eval_options = LoaderOptions::eval(eval_batch).threads(self.threads.min(1));
        eval_options.augment.view = self.eval_view;
        eval_options.bad_image_share = self.bad_image_share;
        let eval_loader = Loader::new(Arc::new(self.data.test), eval_options)?;
        let folder = self.output.create(&self.name)?;
        // Only now: the folder must have been new or empty, and the sheet may lie in it.
        if let Some((sheet, path)) = preview {
            write_whole(&path, &sheet).map_err(|source| TrainError::Write { path, source })?;
        }
        let plans = [Some(train.plan()), train.update_plan(), train.lookahead_plan(), Some(eval.plan())];
        let created = plans.into_iter().flatten().map(|plan| plan.created());
        let (bytes, buffers) =
            created.fold((params.bytes(), params.buffer_count()), |all, own| (all.0 + own.0, all.1 + own.1));
        let (terminal, writer): (bool, Box<dyn std::io::Write + Send>) = match self.show {
            Show::Auto => (std::io::stderr().is_terminal(), Box::new(std::io::stdout())),
            Show::Lines(writer) => (false, writer),
            Show::Nothing => (false, Box::new(std::io::sink())),
        };
        let progress = Progress::new(terminal, writer, self.epochs, train_loader.steps_per_epoch());
        let mut run = Run {
            train,
            eval,
            params,
            schedule: self.schedule,
            log: folder.as_deref().map(RunLog::new),
            files: folder.map(|folder| Files { folder, title: self.name.clone() }),
            progress,
            meta: Meta { model: self.name, step: 0, epoch: 0, seed: self.seed, data: Some(fingerprint) },
            card,
            log_every: u64::from(self.log_every),
            device_bytes: bytes,
            started,
            first_step_s: None,
            begun: Instant::now(),
            images: 0,
            train_s: 0.0,
            records: Vec::new(),
            skipped: 0,
            faults: HashSet::new(),
            saved: Vec::new(),
        };
        run.welcome(&device, &train_loader, &eval_loader, &settings)?;
        if let (Some(report), Some((.., origin))) = (report, &pretrained) {
            run.progress.message(&format!("{origin}: {report}"));
        }
        let mut test = None;
        for epoch in 0..self.epochs {
            let figures = run.epoch(epoch, &train_loader);
            run.tell_faults(&train_loader);
            let figures = figures?;
            let last = epoch + 1 == self.epochs;
            let due = last || (epoch + 1).is_multiple_of(self.eval_every);
            let evaluation = due.then(|| evaluate(&mut run.eval, &eval_loader, epoch));
            run.tell_faults(&eval_loader);
            let evaluation = evaluation.transpose()?;
            run.end_epoch(epoch, &figures, evaluation, last)?;
            test = evaluation.or(test);
        }
        // `epochs` is at least 1 and the last one is tested, so there is an evaluation.
        let test = test.ok_or_else(|| TrainError::setting("epochs", "at least 1", 0))?;
        let adapter = device.info().name.clone();
        let (report, params) = run.finish(test, buffers, adapter)?;
        Ok(Trained { report, params, device })
    }

    /// The settings as they stand in `run.json`.
    fn settings(&self, device: &Device) -> serde_json::Value {
        serde_json::json!({
            "wgrad": env!("CARGO_PKG_VERSION"),
            "name": self.name,
            "architecture": self.architecture,
            "data": self.data.train.name,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "schedule": self.schedule,
            "sgd": self.sgd,
            "update": format!("{:?}", self.update_config()),
            "label_smoothing": self.label_smoothing,
            "pretrained": self.pretrained.as_ref().map(|(path, _)| path),
            "weights": self.weights,
            "augment": self.augment,
            "mix": self.mix,
            "eval_view": self.eval_view,
            "bad_image_share": self.bad_image_share,
            "last_batch": self.last,
            "seed": self.seed,
            "adapter": device.info().name,
            "driver": device.info().driver,
            "tier": device.target().tier.name(),
            "precision": self.precision.name(),
            "fuse": self.compile.fuse,
            "tune_s": self.tune.as_secs_f64(),
            "temporary_bytes": self.compile.temporary_bytes,
        })
    }
}

/// A sheet of the first images of the first epoch as the network gets them; stops where there are enough.
fn preview(loader: &Loader) -> Result<Vec<u8>, TrainError> {
    let enough = 64usize.div_ceil(loader.options().batch_size);
    let batches = loader.epoch(0).take(enough).collect::<Result<Vec<_>, _>>()?;
    let set = loader.dataset();
    Ok(contact_sheet(&batches, set.channels, set.height, set.width)?)
}

/// A step whose loss has not been read yet.
struct Pending {
    ticket: Ticket,
    step: u64,
    lr: f32,
}

/// Sums over some steps.
#[derive(Default)]
struct Sums {
    loss: f64,
    correct: u64,
    steps: u64,
}

impl Sums {
    fn add(&mut self, loss: f32, correct: u32) {
        self.loss += f64::from(loss);
        self.correct += u64::from(correct);
        self.steps += 1;
    }

    fn means(&self, batch_size: usize) -> (f64, f64) {
        let steps = self.steps.max(1) as f64;
        (self.loss / steps, self.correct as f64 / (steps * batch_size as f64))
    }
}

/// What an epoch of training comes to.
struct EpochFigures {
    loss: f64,
    accuracy: f64,
    lr: f32,
    images_per_s: f64,
    data_wait_share: f64,
}

struct Files {
    folder: PathBuf,
    title: String,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), TrainError> {
        let path = self.path(name);
        write_whole(&path, text.as_bytes()).map_err(|source| TrainError::Write { path, source })
    }
}

struct Run {
    train: TrainStep,
    eval: EvalStep,
    params: Params,
    schedule: Schedule,
    log: Option<RunLog>,
    files: Option<Files>,
    progress: Progress,
    meta: Meta,
    card: ModelCard,
    log_every: u64,
    device_bytes: u64,
    started: Instant,
    first_step_s: Option<f64>,
    begun: Instant,
    images: u64,
    train_s: f64,
    records: Vec<EpochRecord>,
    /// Steps that were skipped, as last told.
    skipped: u64,
    /// Messages about bad images that were told.
    faults: HashSet<String>,
    /// Files that hold the last epoch.
    saved: Vec<&'static str>,
}

impl Run {
    fn welcome(
        &mut self,
        device: &Device,
        train: &Loader,
        test: &Loader,
        settings: &serde_json::Value,
    ) -> Result<(), TrainError> {
        let info = device.info();
        let weights: usize = self.params.of_kind(wgrad_tensor::ParamKind::Weight).map(|decl| decl.shape.numel()).sum();
        self.progress.message(&format!(
            "adapter {} ({}, {}), tier {}",
            info.name,
            info.backend,
            info.driver,
            device.target().tier.name()
        ));
        self.progress.message(&format!(
            "{}: {weights} weights; {}: {} training and {} test images; {} of device memory, all of it taken",
            self.meta.model,
            train.dataset().name,
            train.dataset().len(),
            test.dataset().len(),
            wgrad_tensor::error::mib(self.device_bytes)
        ));
        for loader in [train, test] {
            let (name, passed) = (&loader.dataset().name, loader.dataset().passed_over());
            for line in passed.iter().take(MAX_PASSED_OVER) {
                self.progress.message(&format!("{name}: passed over {line}"));
            }
            if passed.len() > MAX_PASSED_OVER {
                self.progress.message(&format!("{name}: passed over {} more", passed.len() - MAX_PASSED_OVER));
            }
        }
        let tuned = self.train.plan().tuned();
        if tuned.from_table + tuned.contests.len() > 0 {
            self.progress.message(&tuned.summary());
        }
        if let Some(files) = &self.files {
            files.write("run.json", &format!("{settings:#}\n"))?;
            self.progress.message(&format!("results in {}", files.folder.display()));
        }
        self.begun = Instant::now();
        Ok(())
    }

    /// Names the images that could not be read, each once.
    fn tell_faults(&mut self, loader: &Loader) {
        for fault in loader.faults() {
            if !self.faults.contains(&fault.message) {
                self.progress.message(&format!("image {} cannot be used: {}", fault.index, fault.message));
                self.faults.insert(fault.message);
            }
        }
    }

    /// Trains for one epoch; returns when its last step is done.
    fn epoch(&mut self, epoch: u32, loader: &Loader) -> Result<EpochFigures, TrainError> {
        let begun = Instant::now();
        let steps_per_epoch = u64::from(loader.steps_per_epoch());
        let batch_size = loader.options().batch_size;
        let mut batches = loader.epoch(epoch);
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let (mut whole, mut window) = (Sums::default(), Sums::default());
        let mut lr = 0.0;
        loop {
            let batch = batches.next().transpose()?;
            if let Some(batch) = &batch {
                let step = self.train.steps_done();
                lr = self.schedule.lr(step, steps_per_epoch);
                let ticket = self.train.run_batch(batch, lr)?;
                pending.push_back(Pending { ticket, step, lr });
            }
            let ended = batch.is_none();
            if let Some(batch) = batch {
                loader.recycle(batch);
            }
            // The very first step is waited for, to time it; after that the loss comes two steps late.
            let keep = if ended || self.first_step_s.is_none() { 0 } else { LAG };
            while pending.len() > keep {
                let Some(done) = pending.pop_front() else { break };
                let result = self.train.read(done.ticket)?;
                self.first_step_s.get_or_insert_with(|| self.started.elapsed().as_secs_f64());
                if !result.loss.is_finite() {
                    return Err(self.diverged(format!("the loss is {}", result.loss), epoch, done.step, done.lr));
                }
                whole.add(result.loss, result.correct);
                window.add(result.loss, result.correct);
                let elapsed = begun.elapsed().as_secs_f64();
                let (loss, accuracy) = whole.means(batch_size);
                let mut record = StepRecord {
                    epoch,
                    step: done.step + 1,
                    loss,
                    accuracy,
                    lr: f64::from(done.lr),
                    images_per_s: whole.steps as f64 * batch_size as f64 / elapsed,
                    data_wait_share: batches.wait_s() / elapsed,
                    device_bytes: self.device_bytes,
                };
                self.progress.step(&record);
                if (done.step + 1).is_multiple_of(self.log_every) || done.step + 1 == self.train.steps_done() {
                    (record.loss, record.accuracy) = window.means(batch_size);
                    window = Sums::default();
                    if let Some(log) = &mut self.log {
                        log.step(&record);
                    }
                }
            }
            if ended {
                break;
            }
        }
        let elapsed = begun.elapsed().as_secs_f64();
        let images = whole.steps * batch_size as u64;
        self.images += images;
        self.train_s += elapsed;
        let (loss, accuracy) = whole.means(batch_size);
        let images_per_s = images as f64 / elapsed;
        Ok(EpochFigures { loss, accuracy, lr, images_per_s, data_wait_share: batches.wait_s() / elapsed })
    }

    fn diverged(&mut self, what: String, epoch: u32, step: u64, lr: f32) -> TrainError {
        self.progress.finish();
        TrainError::Diverged { what, epoch, step, lr }
    }

    /// Shows and logs an epoch, and writes what it leaves behind, if all of it is numbers: the training losses were taken
    /// before each update and do not tell what the last ones did.
    fn end_epoch(
        &mut self,
        epoch: u32,
        figures: &EpochFigures,
        test: Option<Evaluation>,
        last: bool,
    ) -> Result<(), TrainError> {
        let record = EpochRecord {
            epoch,
            step: self.train.steps_done(),
            train_loss: figures.loss,
            train_accuracy: figures.accuracy,
            test_loss: test.map(|test| test.loss),
            test_accuracy: test.map(|test| test.accuracy),
            lr: f64::from(figures.lr),
            images_per_s: figures.images_per_s,
            data_wait_share: figures.data_wait_share,
            device_bytes: self.device_bytes,
            elapsed_s: self.begun.elapsed().as_secs_f64(),
        };
        self.progress.epoch(&record);
        if let Some(log) = &mut self.log {
            log.epoch(&record);
            if let Some(warning) = log.take_warning() {
                self.progress.message(&warning);
            }
        }
        let skipped = self.train.skipped_steps(&self.params)?;
        if skipped > self.skipped {
            let steps = self.train.steps_done() / u64::from(self.train.accumulate());
            self.progress
                .message(&format!("{skipped} of {steps} updates were skipped: their gradients were not finite"));
            self.skipped = skipped;
        }
        self.records.push(record);
        self.meta.step = self.train.steps_done();
        self.meta.epoch = epoch + 1;
        // Read back even where no file is kept: no run ends well with a weight that is no number.
        let checkpoint = self.checkpoint(Contents::All)?;
        let test_loss = test.map(|test| test.loss).filter(|loss| !loss.is_finite());
        let what = match (test_loss, checkpoint.not_finite()) {
            (Some(loss), _) => format!("the test loss is {loss}"),
            (None, Some((tensor, number))) => format!("tensor {tensor:?} holds {number}"),
            (None, None) => {
                self.save_epoch(&checkpoint, last);
                return Ok(());
            }
        };
        Err(self.diverged(what, epoch, self.meta.step - 1, figures.lr))
    }

    /// The parameters as they are, with what their use takes.
    fn checkpoint(&self, contents: Contents) -> Result<Checkpoint, TrainError> {
        let mut checkpoint = Checkpoint::of(&self.params, &self.meta, contents)?;
        self.card.put(&mut checkpoint.metadata);
        Ok(checkpoint)
    }

    /// Checkpoint and curves so far. A disk that is full for a while must not end a run: the earlier files stand, and the
    /// user is told.
    fn save_epoch(&mut self, checkpoint: &Checkpoint, last: bool) {
        let Some(files) = &self.files else { return };
        let path = files.path(CHECKPOINT);
        let saved = checkpoint::save_bytes(&path, &checkpoint.to_bytes()).map_err(|error| error.to_string());
        let drawn = plot::curves_svg(&files.title, &self.records).map_err(|error| error.to_string());
        let drawn = drawn.and_then(|svg| files.write(CURVES, &svg).map_err(|error| error.to_string()));
        self.saved.clear();
        for (name, result) in [(CHECKPOINT, saved), (CURVES, drawn)] {
            match result {
                Ok(()) => self.saved.push(name),
                Err(error) if last => self.progress.message(&error),
                Err(error) => self.progress.message(&format!("{error}; training goes on")),
            }
        }
    }

    fn finish(mut self, test: Evaluation, buffers: usize, adapter: String) -> Result<(Report, Params), TrainError> {
        let model = self.files.is_some().then(|| self.checkpoint(Contents::Model)).transpose()?;
        let report = Report {
            test,
            images_per_s: self.images as f64 / self.train_s,
            first_step_s: self.first_step_s.unwrap_or(0.0),
            train_s: self.begun.elapsed().as_secs_f64(),
            peak_bytes: self.device_bytes,
            buffers,
            steps: self.train.steps_done(),
            seed: self.meta.seed,
            adapter,
            epochs: self.records,
            folder: self.files.as_ref().map(|files| files.folder.clone()),
        };
        if let (Some(files), Some(model)) = (&self.files, model) {
            checkpoint::save_bytes(&files.path(MODEL), &model.to_bytes())?;
            let result = serde_json::to_string_pretty(&report.result_line()).unwrap_or_default();
            files.write("result.json", &format!("{result}\n"))?;
            let saved = [MODEL].iter().chain(&self.saved).map(|name| files.path(name).display().to_string());
            self.progress.message(&format!("saved {}", saved.collect::<Vec<_>>().join(", ")));
        }
        self.progress.finish();
        Ok((report, self.params))
    }
}
