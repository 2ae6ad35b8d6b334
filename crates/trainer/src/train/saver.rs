//! Checkpoints written beside the training: the device copies, a thread encodes, hashes and writes.

use super::state::RunState;
use crate::checkpoint::{Checkpoint, CheckpointError, Checkpoints, Contents, Meta, write_whole};
use crate::error::TrainError;
use crate::loader::panic_message;
use crate::model_card::ModelCard;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use wgrad_tensor::{ParamKind, Params, Snapshot, Snapshots};

/// How the bytes of a file come to its place; the default writes beside it, flushes and renames.
pub type FileWriter = Arc<dyn Fn(&Path, &[u8]) -> io::Result<()> + Send + Sync>;

/// So many failed checkpoints in a row end a run.
const MOST_FAILURES: u32 = 3;

/// What is written from one snapshot.
struct Job {
    snapshot: Snapshot,
    meta: Meta,
    card: ModelCard,
    state: RunState,
    /// Also the file of the best epoch so far.
    best: Option<PathBuf>,
}

/// What became of it.
enum Outcome {
    Saved(PathBuf, u64),
    /// With the file of the best epoch, where that was to be written too.
    Failed(CheckpointError, bool),
    NotFinite(NotFinite),
}

/// A parameter that is no number.
#[derive(Debug)]
pub(super) struct NotFinite {
    pub(super) tensor: String,
    pub(super) value: f32,
    /// After so many steps of the run.
    pub(super) step: u64,
    pub(super) epoch: u32,
}

/// What the training has to know.
#[derive(Debug)]
pub(super) enum Told {
    /// A line for the user.
    Message(String),
    /// The weights of the best epoch could not be written either.
    BestIsLost,
    /// Nothing was written.
    NotFinite(NotFinite),
}

/// Writes checkpoints while steps go on.
pub(super) struct Saver {
    snapshots: Snapshots,
    jobs: Option<Sender<Job>>,
    outcomes: Receiver<Outcome>,
    thread: Option<JoinHandle<()>>,
    under_way: usize,
    failures: u32,
    /// What the snapshot under way is of; the state is complete once the losses up to it were read.
    begun: Option<(Meta, Option<RunState>)>,
    card: ModelCard,
    newest: Option<PathBuf>,
    newest_step: Option<u64>,
    /// Why the last one failed, if it did.
    failure: Option<CheckpointError>,
}

impl Saver {
    /// Writes into `checkpoints` what is read back through `snapshots`, which are made before: where there is no memory for them,
    /// nothing shall lie on the disk.
    pub(super) fn new(
        snapshots: Snapshots,
        checkpoints: Checkpoints,
        card: ModelCard,
        writer: Option<FileWriter>,
    ) -> Result<Saver, TrainError> {
        checkpoints.prepare()?;
        let writer = writer.unwrap_or_else(|| Arc::new(write_whole));
        // One lies ready while another is written; a third waits for room.
        let (jobs, incoming) = bounded::<Job>(1);
        let (outgoing, outcomes) = bounded(16);
        let work = move || {
            for job in incoming {
                let (path, is_best) = (checkpoints.path(job.meta.step), job.best.is_some());
                // The writer may be anybody's: what it breaks is its own, and a failed write to us.
                let outcome = catch_unwind(AssertUnwindSafe(|| write(job, &checkpoints, &*writer)));
                let outcome = outcome.unwrap_or_else(|panic| {
                    let source = io::Error::other(format!("a panic: {}", panic_message(&*panic)));
                    Outcome::Failed(CheckpointError::Write { path, source }, is_best)
                });
                if outgoing.send(outcome).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("checkpoints".to_string()).spawn(work);
        let thread = thread.map_err(|source| crate::loader::LoaderError::NoThread { wanted: 1, source })?;
        Ok(Saver {
            snapshots,
            jobs: Some(jobs),
            outcomes,
            thread: Some(thread),
            under_way: 0,
            failures: 0,
            begun: None,
            card,
            newest: None,
            newest_step: None,
            failure: None,
        })
    }

    /// Bytes and number of its buffers.
    pub(super) fn created(&self) -> (u64, usize) {
        self.snapshots.created()
    }

    /// Whether a checkpoint may be begun without waiting.
    pub(super) fn is_free(&self) -> bool {
        self.under_way == 0 && self.begun.is_none()
    }

    /// Begins a checkpoint of the parameters as the steps so far leave them. The state follows by [`Saver::state`].
    pub(super) fn begin(&mut self, params: &Params, meta: Meta) -> Result<(), TrainError> {
        self.snapshots.begin(params)?;
        self.begun = Some((meta, None));
        Ok(())
    }

    /// The step of the checkpoint whose state is wanted, if one is.
    pub(super) fn wants_state_of(&self) -> Option<u64> {
        self.begun.as_ref().filter(|(_, state)| state.is_none()).map(|(meta, _)| meta.step)
    }

    /// Where the run stood when the checkpoint was begun.
    pub(super) fn state(&mut self, state: RunState) {
        if let Some((_, wanted)) = &mut self.begun {
            *wanted = Some(state);
        }
    }

    /// Hands a checkpoint that was read back to the thread, where one is ready and its state known.
    pub(super) fn advance(&mut self) -> Result<(), TrainError> {
        if self.snapshots.is_ready() && self.begun.as_ref().is_some_and(|(_, state)| state.is_some()) {
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), TrainError> {
        let Some((meta, Some(state))) = self.begun.take() else { return Ok(()) };
        let snapshot = self.snapshots.take()?;
        self.send(Job { snapshot, meta, card: self.card.clone(), state, best: None });
        Ok(())
    }

    /// The parameters as they are now, read back at once; one that was begun before is handed over first.
    pub(super) fn snapshot(&mut self, params: &Params) -> Result<Snapshot, TrainError> {
        match self.begun.is_some() {
            true if self.wants_state_of().is_none() => self.hand_over()?,
            // Its losses will never be read: a run that stops saves a newer one.
            true => {
                self.begun = None;
                self.snapshots.take()?;
            }
            false => {}
        }
        self.snapshots.begin(params)?;
        Ok(self.snapshots.take()?)
    }

    /// Writes a checkpoint of this snapshot; with `best` also that file.
    pub(super) fn save(&mut self, snapshot: Snapshot, meta: Meta, state: RunState, best: Option<PathBuf>) {
        self.send(Job { snapshot, meta, card: self.card.clone(), state, best });
    }

    fn send(&mut self, job: Job) {
        // Where the thread is gone, whoever asks what became of it is told so.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
        self.under_way += 1;
    }

    /// What became of checkpoints since the last call; with `wait` all that are under way are waited for.
    ///
    /// # Errors
    /// The third checkpoint in a row that could not be written.
    pub(super) fn told(&mut self, wait: bool) -> Result<Vec<Told>, TrainError> {
        let mut told = Vec::new();
        while self.under_way > 0 {
            let outcome = match wait {
                true => self.outcomes.recv().map_err(|_| TryRecvError::Disconnected),
                false => self.outcomes.try_recv(),
            };
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.under_way = 0;
                    let source = io::Error::other("the thread that writes checkpoints is gone");
                    return Err(CheckpointError::Write { path: self.newest.clone().unwrap_or_default(), source }.into());
                }
            };
            self.under_way -= 1;
            match outcome {
                Outcome::Saved(path, step) => {
                    self.failures = 0;
                    self.failure = None;
                    (self.newest, self.newest_step) = (Some(path), Some(step));
                }
                Outcome::Failed(error, is_best) => {
                    self.failures += 1;
                    if self.failures >= MOST_FAILURES {
                        return Err(error.into());
                    }
                    told.push(Told::Message(format!("{error}; training goes on, and the earlier checkpoint stands")));
                    if is_best {
                        told.push(Told::BestIsLost);
                    }
                    self.failure = Some(error);
                }
                Outcome::NotFinite(what) => told.push(Told::NotFinite(what)),
            }
        }
        Ok(told)
    }

    /// Why the last checkpoint was not written, if it was not.
    pub(super) fn take_failure(&mut self) -> Option<CheckpointError> {
        self.failure.take()
    }

    /// The file of the checkpoint after so many steps, if that is the newest one.
    pub(super) fn written(&self, step: u64) -> Option<PathBuf> {
        self.newest.clone().filter(|_| self.newest_step == Some(step))
    }

    /// The newest checkpoint that was written.
    pub(super) fn newest(&self) -> Option<&Path> {
        self.newest.as_deref()
    }
}

impl Drop for Saver {
    /// Lets the thread finish what it has begun.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(
    job: Job,
    checkpoints: &Checkpoints,
    writer: &(dyn Fn(&Path, &[u8]) -> io::Result<()> + Send + Sync),
) -> Outcome {
    if let Some((tensor, value)) = not_finite(&job.snapshot) {
        let Meta { step, epoch, .. } = job.meta;
        return Outcome::NotFinite(NotFinite { tensor, value, step, epoch });
    }
    let to = |path: PathBuf, checkpoint: &Checkpoint| match writer(&path, &checkpoint.to_sealed_bytes()) {
        Ok(()) => Ok(path),
        Err(source) => Err(CheckpointError::Write { path, source }),
    };
    let is_best = job.best.is_some();
    // First the best one: a run that is killed in between goes on from before, and comes by here again.
    if let Some(best) = job.best {
        let mut model = Checkpoint::of_snapshot(&job.snapshot, &job.meta, Contents::Model);
        job.card.put(&mut model.metadata);
        if let Err(error) = to(best, &model) {
            return Outcome::Failed(error, is_best);
        }
    }
    let mut checkpoint = Checkpoint::of_snapshot(&job.snapshot, &job.meta, Contents::All);
    job.card.put(&mut checkpoint.metadata);
    job.state.put(&mut checkpoint);
    match to(checkpoints.path(job.meta.step), &checkpoint) {
        Ok(path) => {
            checkpoints.prune(job.meta.step);
            Outcome::Saved(path, job.meta.step)
        }
        Err(error) => Outcome::Failed(error, false),
    }
}

/// The first parameter that holds a NaN or an infinity, and that number. Sums of gradients may: a step that was skipped leaves them.
pub(super) fn not_finite(snapshot: &Snapshot) -> Option<(String, f32)> {
    snapshot.decls().filter(|decl| decl.kind != ParamKind::Gradient).find_map(|decl| {
        let value = snapshot.get(&decl).data.into_iter().find(|value| !value.is_finite())?;
        Some((decl.name, value))
    })
}
