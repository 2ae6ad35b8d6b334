//! A request to stop, from a signal or from another thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why a run was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// By the user: Ctrl-C (SIGINT). Programs end with code 130.
    Interrupted,
    /// By the system or a scheduler: SIGTERM, SIGHUP. Programs end with code 75, which asks to be started again.
    Terminated,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopReason::Interrupted => "interrupted",
            StopReason::Terminated => "terminated",
        })
    }
}

/// Asks a run to stop: it finishes the step, saves a checkpoint that a resumed run goes on from bit by bit, and ends with
/// [`TrainError::Stopped`](crate::TrainError::Stopped). Clones are one request. A library installs no signal handlers: programs do, and
/// call [`Stop::request`] from theirs.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Asks. The first reason stays.
    pub fn request(&self, reason: StopReason) {
        let code = match reason {
            StopReason::Interrupted => 1,
            StopReason::Terminated => 2,
        };
        // Another request came first where this fails.
        let _ = self.0.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether a run shall stop, and why.
    #[must_use]
    pub fn requested(&self) -> Option<StopReason> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(StopReason::Interrupted),
            _ => Some(StopReason::Terminated),
        }
    }
}
