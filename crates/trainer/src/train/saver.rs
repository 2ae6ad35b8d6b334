//! Checkpoints written beside the training: the device copies, a thread encodes, hashes and writes.

use super::state::RunState;
use crate::checkpoint::{Checkpoint, CheckpointError, Checkpoints, Contents, Meta, write_whole};
use crate::error::TrainError;
use crate::model_card::ModelCard;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use wgrad_tensor::{Params, Snapshot, Snapshots};

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
    Saved(PathBuf),
    Failed(CheckpointError),
    NotFinite { tensor: String, value: f32 },
}

/// What the training has to know.
#[derive(Debug)]
pub(super) enum Told {
    /// A line for the user.
    Message(String),
    /// A parameter was no number; nothing was written.
    NotFinite { tensor: String, value: f32 },
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
}

impl Saver {
    pub(super) fn new(
        params: &Params,
        checkpoints: Checkpoints,
        card: ModelCard,
        writer: Option<FileWriter>,
    ) -> Result<Saver, TrainError> {
        checkpoints.prepare()?;
        let writer = writer.unwrap_or_else(|| Arc::new(write_whole));
        // One lies ready while another is written; a third waits for room.
        let (jobs, incoming) = bounded(1);
        let (outgoing, outcomes) = bounded(16);
        let work = move || {
            for job in incoming {
                if outgoing.send(write(job, &checkpoints, &*writer)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("checkpoints".to_string()).spawn(work);
        let thread = thread.map_err(|source| crate::loader::LoaderError::NoThread { wanted: 1, source })?;
        let snapshots = Snapshots::new(params)?;
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
        if self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok()) {
            self.under_way += 1;
        }
    }

    /// What became of checkpoints since the last call; with `wait` all that are under way are waited for.
    ///
    /// # Errors
    /// The third checkpoint in a row that could not be written.
    pub(super) fn told(&mut self, wait: bool) -> Result<Vec<Told>, TrainError> {
        let mut told = Vec::new();
        while self.under_way > 0 {
            let outcome = if wait { self.outcomes.recv().ok() } else { self.outcomes.try_recv().ok() };
            let Some(outcome) = outcome else {
                // Nothing yet; or the thread is gone, and all that it had with it.
                if wait {
                    self.under_way = 0;
                    told.push(Told::Message(
                        "the thread that writes checkpoints is gone; please report this".to_string(),
                    ));
                }
                break;
            };
            self.under_way -= 1;
            match outcome {
                Outcome::Saved(path) => {
                    self.failures = 0;
                    self.newest = Some(path);
                }
                Outcome::Failed(error) => {
                    self.failures += 1;
                    if self.failures >= MOST_FAILURES {
                        return Err(error.into());
                    }
                    told.push(Told::Message(format!("{error}; training goes on, and the earlier checkpoint stands")));
                }
                Outcome::NotFinite { tensor, value } => told.push(Told::NotFinite { tensor, value }),
            }
        }
        Ok(told)
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
    let mut checkpoint = Checkpoint::of_snapshot(&job.snapshot, &job.meta, Contents::All);
    if let Some((tensor, value)) = checkpoint.not_finite() {
        return Outcome::NotFinite { tensor: tensor.to_string(), value };
    }
    job.card.put(&mut checkpoint.metadata);
    job.state.put(&mut checkpoint);
    let to = |path: PathBuf, checkpoint: &Checkpoint| match writer(&path, &checkpoint.to_sealed_bytes()) {
        Ok(()) => Ok(path),
        Err(source) => Err(CheckpointError::Write { path, source }),
    };
    let path = match to(checkpoints.path(job.meta.step), &checkpoint) {
        Ok(path) => path,
        Err(error) => return Outcome::Failed(error),
    };
    checkpoints.prune();
    if let Some(best) = job.best {
        let mut model = Checkpoint::of_snapshot(&job.snapshot, &job.meta, Contents::Model);
        job.card.put(&mut model.metadata);
        if let Err(error) = to(best, &model) {
            return Outcome::Failed(error);
        }
    }
    Outcome::Saved(path)
}
