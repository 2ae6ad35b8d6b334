//! The loop.

use super::evaluate::evaluate_unless;
use super::lock::RunLock;
use super::saver::{NotFinite, Saver, Told, not_finite};
use super::state::{Best, Part, RunState, Sums};
use super::stop::{Stop, StopReason};
use super::{Evaluation, LAG, Report};
use crate::checkpoint::{self, Checkpoint, Contents, Meta, write_whole};
use crate::error::TrainError;
use crate::loader::{Cursor, Loader};
use crate::metrics::{EpochRecord, Progress, RunLog, StepRecord, plot};
use crate::model_card::ModelCard;
use crate::schedule::Schedule;
use crate::step::{EvalStep, TrainStep};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Instant;
use wgrad_tensor::{Device, Params, Snapshot, Snapshots, Ticket};

const MODEL: &str = "model.safetensors";
const BEST: &str = "best.safetensors";
const CURVES: &str = "curves.svg";
/// The most files of each half that are named as passed over.
const MAX_PASSED_OVER: usize = 10;
/// So many losses in a row that are no numbers end a run whose steps are skipped when that happens. The dynamic loss scale needs 16
/// to come down from its beginning.
const MOST_BAD_LOSSES: u32 = 32;

/// A step whose loss has not been read yet.
struct Pending {
    ticket: Ticket,
    step: u64,
    lr: f32,
    /// Where the next batch stands.
    next: Cursor,
}

/// What an epoch of training comes to.
struct EpochFigures {
    loss: f64,
    accuracy: f64,
    lr: f32,
    images: u64,
    images_per_s: f64,
    data_wait_share: f64,
}

pub(super) struct Files {
    pub(super) folder: PathBuf,
    pub(super) title: String,
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

/// A run with everything opened and compiled.
pub(super) struct Run {
    pub(super) train: TrainStep,
    pub(super) eval: EvalStep,
    pub(super) params: Params,
    pub(super) schedule: Schedule,
    pub(super) log: Option<RunLog>,
    pub(super) files: Option<Files>,
    pub(super) progress: Progress,
    /// Of the last checkpoint.
    pub(super) meta: Meta,
    pub(super) card: ModelCard,
    pub(super) log_every: u64,
    pub(super) checkpoint_every: Option<u64>,
    pub(super) device_bytes: u64,
    pub(super) started: Instant,
    pub(super) begun: Instant,
    /// Whether the device leaves the weights alone where a step's gradients are no numbers.
    pub(super) skips_bad_steps: bool,
    pub(super) saver: Option<Saver>,
    /// Where the run stands; with a checkpoint's in it when it goes on.
    pub(super) state: RunState,
    /// The best epoch before the last one that was.
    pub(super) best_before: Option<Best>,
    pub(super) steps_per_epoch: u64,
    pub(super) stop: Stop,
    /// Messages about bad images that were told.
    pub(super) faults: HashSet<String>,
    /// Files that hold the last epoch.
    pub(super) saved: Vec<PathBuf>,
    pub(super) _lock: Option<RunLock>,
}

impl Run {
    pub(super) fn welcome(&mut self, device: &Device, train: &Loader, test: &Loader) {
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
            self.progress.message(&format!("results in {}", files.folder.display()));
        }
        self.begun = Instant::now();
    }

    /// Trains and tests until all epochs are done, or `patience` is over. Returns the last evaluation.
    pub(super) fn epochs(
        &mut self,
        train: &Loader,
        test: &Loader,
        (epochs, eval_every): (u32, u32),
        patience: Option<u32>,
    ) -> Result<Evaluation, TrainError> {
        let mut last_test = None;
        while self.state.cursor.epoch < epochs && !self.is_out_of(patience) {
            let epoch = self.state.cursor.epoch;
            let figures = self.epoch(epoch, train);
            self.tell_faults(train);
            let figures = figures?;
            let last = epoch + 1 == epochs;
            let due = last || patience.is_some() || (epoch + 1).is_multiple_of(eval_every);
            let stop = self.stop.clone();
            let stopped = || stop.requested().is_some();
            let evaluation = due.then(|| evaluate_unless(&mut self.eval, test, epoch, stopped)).transpose();
            self.tell_faults(test);
            let evaluation = match evaluation? {
                // Asked to stop before the test came to its end: it is repeated when the run goes on.
                Some(None) => return Err(self.stopped(StopReason::Interrupted)?),
                Some(done) => done,
                None => None,
            };
            self.end_epoch(epoch, &figures, evaluation, last)?;
            last_test = evaluation.or(last_test);
        }
        match last_test {
            Some(test) => Ok(test),
            // A run that goes on where it had ended.
            None => super::evaluate(&mut self.eval, test, self.state.cursor.epoch),
        }
    }

    fn is_out_of(&self, patience: Option<u32>) -> bool {
        let since = self.state.best.map(|best| self.state.cursor.epoch.saturating_sub(best.epoch + 1));
        patience.zip(since).is_some_and(|(patience, since)| since >= patience)
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

    /// Trains for one epoch, or for what is left of it; returns when its last step is done.
    fn epoch(&mut self, epoch: u32, loader: &Loader) -> Result<EpochFigures, TrainError> {
        let begun = Instant::now();
        let (before_s, waited_s) = (self.state.part.elapsed_s, self.state.part.wait_s);
        let steps_per_epoch = u64::from(loader.steps_per_epoch());
        let batch_size = loader.options().batch_size;
        let mut batches = loader.epoch_from(self.state.cursor);
        let mut pending: VecDeque<Pending> = VecDeque::new();
        loop {
            let reason = self.stop.requested();
            let batch = if reason.is_some() { None } else { batches.next() };
            // What was learned until then is saved before images that cannot be read end the run.
            let (batch, failed) = match batch {
                Some(Err(error)) => (None, Some(error)),
                Some(Ok(batch)) => (Some(batch), None),
                None => (None, None),
            };
            if let Some(batch) = &batch {
                let step = self.train.steps_done();
                let lr = self.schedule.lr(step, steps_per_epoch);
                let ticket = self.train.run_batch(batch, lr)?;
                pending.push_back(Pending { ticket, step, lr, next: batches.cursor() });
                self.begin_checkpoint(batches.cursor().step < loader.steps_per_epoch())?;
            }
            let ended = batch.is_none();
            if let Some(batch) = batch {
                loader.recycle(batch);
            }
            // The very first step is waited for, to time it; after that the loss comes two steps late.
            let keep = if ended || self.state.first_step_s.is_none() { 0 } else { LAG };
            while pending.len() > keep {
                let Some(done) = pending.pop_front() else { break };
                let result = self.train.read(done.ticket)?;
                self.state.first_step_s.get_or_insert_with(|| self.started.elapsed().as_secs_f64());
                self.guard(result.loss, &done)?;
                let part = &mut self.state.part;
                part.whole.add(result.loss, result.correct);
                part.window.add(result.loss, result.correct);
                part.elapsed_s = before_s + begun.elapsed().as_secs_f64();
                part.wait_s = waited_s + batches.wait_s();
                let (loss, accuracy) = part.whole.means(batch_size);
                let mut record = StepRecord {
                    epoch,
                    step: done.step + 1,
                    loss,
                    accuracy,
                    lr: f64::from(done.lr),
                    images_per_s: part.whole.steps as f64 * batch_size as f64 / part.elapsed_s,
                    data_wait_share: part.wait_s / part.elapsed_s,
                    device_bytes: self.device_bytes,
                };
                self.progress.step(&record);
                let is_last = done.next.step == loader.steps_per_epoch();
                if (done.step + 1).is_multiple_of(self.log_every) || is_last {
                    (record.loss, record.accuracy) = part.window.means(batch_size);
                    part.window = Sums::default();
                    if let Some(log) = &mut self.log {
                        log.step(&record);
                    }
                }
                self.state.cursor = done.next;
                self.advance_checkpoint(done.step + 1)?;
            }
            if let Some(error) = failed {
                self.save_where_it_stands()?;
                return Err(error.into());
            }
            if let Some(reason) = reason.filter(|_| ended) {
                return Err(self.stopped(reason)?);
            }
            if ended {
                break;
            }
        }
        let Part { whole, elapsed_s, wait_s, .. } = &self.state.part;
        let images_per_s = whole.steps as f64 * batch_size as f64 / elapsed_s.max(f64::MIN_POSITIVE);
        let (loss, accuracy) = whole.means(batch_size);
        let lr = self.schedule.lr(self.train.steps_done().saturating_sub(1), steps_per_epoch);
        let data_wait_share = wait_s / elapsed_s.max(f64::MIN_POSITIVE);
        let images = whole.steps * batch_size as u64;
        Ok(EpochFigures { loss, accuracy, lr, images, images_per_s, data_wait_share })
    }

    /// A loss that is no number ends the run at once, where nothing kept the step from the weights; else the step was skipped, and
    /// only too many in a row end it.
    fn guard(&mut self, loss: f32, done: &Pending) -> Result<(), TrainError> {
        if loss.is_finite() {
            self.state.bad_losses = 0;
            return Ok(());
        }
        self.state.bad_losses += 1;
        let epoch = self.state.cursor.epoch;
        let what = match self.skips_bad_steps {
            false => format!("the loss is {loss}"),
            true if self.state.bad_losses >= MOST_BAD_LOSSES => {
                format!("{MOST_BAD_LOSSES} losses in a row were no numbers, the last of them {loss}")
            }
            true => return Ok(()),
        };
        Err(self.diverged(what, epoch, done.step, done.lr))
    }

    /// Begins a checkpoint where one is due and the last one is on its way to the disk; the end of an epoch has one of its own.
    fn begin_checkpoint(&mut self, within_epoch: bool) -> Result<(), TrainError> {
        let done = self.train.steps_done();
        let is_due = self.checkpoint_every.is_some_and(|every| done.is_multiple_of(every));
        if let Some(saver) = self.saver.as_mut().filter(|saver| is_due && within_epoch && saver.is_free()) {
            saver.begin(&self.params, Meta { step: done, epoch: self.state.cursor.epoch, ..self.meta.clone() })?;
        }
        Ok(())
    }

    /// Sends a checkpoint on its way when the losses up to its step are known.
    fn advance_checkpoint(&mut self, step: u64) -> Result<(), TrainError> {
        let state = (self.saver.as_ref().and_then(Saver::wants_state_of) == Some(step)).then(|| self.state_now());
        let Some(saver) = &mut self.saver else { return Ok(()) };
        if let Some(state) = state {
            saver.state(state);
        }
        saver.advance()?;
        self.tell_saved(false)
    }

    /// Where the run stands, with the time so far.
    fn state_now(&self) -> RunState {
        RunState { elapsed_s: self.elapsed_s(), ..self.state.clone() }
    }

    fn elapsed_s(&self) -> f64 {
        self.state.elapsed_s + self.begun.elapsed().as_secs_f64()
    }

    /// Tells what became of checkpoints.
    fn tell_saved(&mut self, wait: bool) -> Result<(), TrainError> {
        let Some(saver) = &mut self.saver else { return Ok(()) };
        for told in saver.told(wait)? {
            match told {
                Told::Message(text) => self.progress.message(&text),
                Told::BestIsLost => self.state.best = self.best_before,
                Told::NotFinite(NotFinite { tensor, value, step, epoch }) => {
                    let what = format!("tensor {tensor:?} holds {value}");
                    let last = step.saturating_sub(1);
                    let lr = self.schedule.lr(last, self.steps_per_epoch);
                    // The epoch behind a last step counts as done.
                    let epoch = if last / self.steps_per_epoch < u64::from(epoch) { epoch - 1 } else { epoch };
                    return Err(self.diverged(what, epoch, last, lr));
                }
            }
        }
        Ok(())
    }

    /// Saves a checkpoint of this very moment, between two steps. Returns its file; none where the run keeps no files.
    fn save_where_it_stands(&mut self) -> Result<Option<PathBuf>, TrainError> {
        let step = self.train.steps_done();
        // A second try: a disk that was full for a moment must not cost what was learned.
        for _ in 0..2 {
            let state = self.state_now();
            let meta = Meta { step, epoch: state.cursor.epoch, ..self.meta.clone() };
            let Some(saver) = &mut self.saver else { return Ok(None) };
            let snapshot = saver.snapshot(&self.params)?;
            saver.save(snapshot, meta, state, None);
            self.tell_saved(true)?;
            if let Some(path) = self.saver.as_ref().and_then(|saver| saver.written(step)) {
                return Ok(Some(path));
            }
        }
        let failure = self.saver.as_mut().and_then(Saver::take_failure);
        failure.map_or(Ok(None), |error| Err(error.into()))
    }

    /// Saves what was learned, and says so in an error.
    fn stopped(&mut self, reason: StopReason) -> Result<TrainError, TrainError> {
        let reason = self.stop.requested().unwrap_or(reason);
        let checkpoint = self.save_where_it_stands()?;
        self.progress.finish();
        Ok(TrainError::Stopped { reason, step: self.train.steps_done(), checkpoint })
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
            elapsed_s: self.elapsed_s(),
        };
        self.progress.epoch(&record);
        if let Some(log) = &mut self.log {
            log.epoch(&record);
            if let Some(warning) = log.take_warning() {
                self.progress.message(&warning);
            }
        }
        let skipped = self.train.skipped_steps(&self.params)?;
        if skipped > self.state.skipped {
            let steps = self.train.steps_done() / u64::from(self.train.accumulate());
            self.progress
                .message(&format!("{skipped} of {steps} updates were skipped: their gradients were not finite"));
            self.state.skipped = skipped;
        }
        self.state.records.push(record);
        self.state.images += figures.images;
        self.state.train_s += self.state.part.elapsed_s;
        self.state.part = Part::default();
        self.state.cursor = Cursor { epoch: epoch + 1, step: 0 };
        self.meta.step = self.train.steps_done();
        self.meta.epoch = epoch + 1;
        if let Some(loss) = test.map(|test| test.loss).filter(|loss| !loss.is_finite()) {
            return Err(self.diverged(format!("the test loss is {loss}"), epoch, self.meta.step - 1, figures.lr));
        }
        let is_best = match (test, self.state.best) {
            (Some(test), Some(best)) => test.accuracy > best.accuracy,
            (test, _) => test.is_some(),
        };
        self.best_before = self.state.best;
        if let Some(test) = test.filter(|_| is_best) {
            self.state.best = Some(Best { epoch, accuracy: test.accuracy });
        }
        // Read back even where no file is kept: no run ends well with a weight that is no number.
        let (snapshot, bad) = match &mut self.saver {
            Some(saver) => {
                let snapshot = saver.snapshot(&self.params)?;
                let bad = not_finite(&snapshot);
                (Some(snapshot), bad)
            }
            None => {
                let mut snapshots = Snapshots::new(&self.params)?;
                snapshots.begin(&self.params)?;
                (None, not_finite(&snapshots.take()?))
            }
        };
        if let Some((tensor, value)) = bad {
            let what = format!("tensor {tensor:?} holds {value}");
            return Err(self.diverged(what, epoch, self.meta.step - 1, figures.lr));
        }
        if let Some(snapshot) = snapshot {
            self.save_epoch(snapshot, is_best, last)?;
        }
        Ok(())
    }

    /// Checkpoint and curves so far. A disk that is full for a while must not end a run: the earlier files stand, and the
    /// user is told.
    fn save_epoch(&mut self, snapshot: Snapshot, is_best: bool, last: bool) -> Result<(), TrainError> {
        let state = self.state_now();
        let (Some(files), Some(saver)) = (&self.files, &mut self.saver) else { return Ok(()) };
        saver.save(snapshot, self.meta.clone(), state, is_best.then(|| files.path(BEST)));
        let drawn = plot::curves_svg(&files.title, &self.state.records).map_err(|error| error.to_string());
        let drawn = drawn.and_then(|svg| files.write(CURVES, &svg).map_err(|error| error.to_string()));
        self.saved.clear();
        match drawn {
            Ok(()) => self.saved.push(files.path(CURVES)),
            Err(error) if last => self.progress.message(&error),
            Err(error) => self.progress.message(&format!("{error}; training goes on")),
        }
        self.tell_saved(last)
    }

    pub(super) fn finish(
        mut self,
        test: Evaluation,
        buffers: usize,
        adapter: String,
    ) -> Result<(Report, Params), TrainError> {
        self.tell_saved(true)?;
        let model = match &self.files {
            Some(_) => {
                let mut model = Checkpoint::of(&self.params, &self.meta, Contents::Model)?;
                self.card.put(&mut model.metadata);
                Some(model)
            }
            None => None,
        };
        let report = Report {
            test,
            images_per_s: self.state.images as f64 / self.state.train_s.max(f64::MIN_POSITIVE),
            first_step_s: self.state.first_step_s.unwrap_or(0.0),
            train_s: self.elapsed_s(),
            peak_bytes: self.device_bytes,
            buffers,
            steps: self.train.steps_done(),
            seed: self.meta.seed,
            adapter,
            epochs: self.state.records,
            folder: self.files.as_ref().map(|files| files.folder.clone()),
        };
        if let (Some(files), Some(model)) = (&self.files, model) {
            checkpoint::save_bytes(&files.path(MODEL), &model.to_bytes())?;
            let result = serde_json::to_string_pretty(&report.result_line()).unwrap_or_default();
            files.write("result.json", &format!("{result}\n"))?;
            let newest = self.saver.as_ref().and_then(|saver| saver.newest()).map(PathBuf::from);
            let saved = [files.path(MODEL)].into_iter().chain(newest).chain(self.saved);
            let saved: Vec<String> = saved.map(|path| path.display().to_string()).collect();
            self.progress.message(&format!("saved {}", saved.join(", ")));
        }
        self.progress.finish();
        Ok((report, self.params))
    }
}
