//! The prefetch threads and their queues.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};

use super::maker::Maker;
use super::{Batch, LoaderError};

/// The threads at work and where they are.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) queues: Vec<Receiver<Result<Batch, LoaderError>>>,
    threads: Vec<JoinHandle<()>>,
    /// Number of the batch that comes next.
    pub(super) next: u64,
}

impl Running {
    pub(super) fn start(maker: &Arc<Maker>, first: u64) -> Result<Self, LoaderError> {
        let threads = maker.options.threads;
        let mut running = Self { queues: Vec::new(), threads: Vec::new(), next: first };
        for t in 0..threads as u64 {
            let (send, receive) = bounded((maker.options.queue / threads).max(1));
            running.queues.push(receive);
            let maker = Arc::clone(maker);
            // The first number at or after `first` that is this thread's.
            let n = threads as u64;
            let mine = first + (t + n - first % n) % n;
            let thread = std::thread::Builder::new()
                .name(format!("wgrad-loader-{t}"))
                .spawn(move || maker.work(mine, n, &send))
                .map_err(|source| LoaderError::NoThread { wanted: threads, source })?;
            running.threads.push(thread);
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without receivers every send fails, which ends the threads, full queue or not.
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A panic was caught and delivered as an error already.
            let _ = thread.join();
        }
    }
}
