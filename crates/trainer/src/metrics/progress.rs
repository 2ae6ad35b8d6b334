//! What a run shows while it goes: a bar on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::record::{EpochRecord, StepRecord};
use wgrad_tensor::error::mib;

/// Time between two lines of steps where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how a run goes: a bar on a terminal, plain lines otherwise.
///
/// Bars go to the terminal's standard error, lines to the writer given. A writer that fails (a closed pipe, a full disk) never
/// stops the run: what cannot be written is counted and dropped.
pub struct Progress {
    out: Box<dyn Write + Send>,
    terminal: bool,
    bar: Option<ProgressBar>,
    epochs: u32,
    steps_per_epoch: u32,
    every: Duration,
    last_line: Option<Instant>,
    failed_writes: u64,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("terminal", &self.terminal)
            .field("epochs", &self.epochs)
            .field("steps_per_epoch", &self.steps_per_epoch)
            .field("failed_writes", &self.failed_writes)
            .finish_non_exhaustive()
    }
}

impl Progress {
    /// Progress of a run of `epochs` epochs of `steps_per_epoch` steps. `is_terminal` says whether to draw
    /// bars: whether standard error is a terminal, unless the user wants lines.
    #[must_use]
    pub fn new(is_terminal: bool, out: Box<dyn Write + Send>, epochs: u32, steps_per_epoch: u32) -> Self {
        Self {
            out,
            terminal: is_terminal,
            bar: None,
            epochs,
            steps_per_epoch,
            every: LINE_EVERY,
            last_line: None,
            failed_writes: 0,
        }
    }

    /// Without a terminal, a line of steps at most this often (10 s by default).
    #[must_use]
    pub fn line_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// A step is done.
    pub fn step(&mut self, r: &StepRecord) {
        let in_epoch = r.step.saturating_sub(u64::from(r.epoch) * u64::from(self.steps_per_epoch));
        if self.terminal {
            let (epochs, steps) = (self.epochs, self.steps_per_epoch);
            let bar = self.bar.get_or_insert_with(|| new_bar(r.epoch, epochs, steps));
            bar.set_message(step_text(r));
            bar.set_position(in_epoch);
            return;
        }
        let due = self.last_line.is_none_or(|t| t.elapsed() >= self.every);
        if due {
            self.last_line = Some(Instant::now());
            let head = format!("epoch {}/{} step {in_epoch}/{}", r.epoch + 1, self.epochs, self.steps_per_epoch);
            self.line(&format!("{head}  {}", step_text(r)));
        }
    }

    /// An epoch is done, its test included.
    pub fn epoch(&mut self, r: &EpochRecord) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let mut s = format!("epoch {}/{}  train ", r.epoch + 1, self.epochs);
        figures(&mut s, r.train_loss, r.train_accuracy);
        if let (Some(loss), Some(accuracy)) = (r.test_loss, r.test_accuracy) {
            s.push_str("  test ");
            figures(&mut s, loss, accuracy);
        }
        tail(&mut s, r.images_per_s, r.data_wait_share, r.device_bytes);
        let _ = write!(s, "  {:.1} s", r.elapsed_s);
        self.last_line = Some(Instant::now());
        self.line(&s);
    }

    /// A line of its own, above the bar if there is one.
    pub fn message(&mut self, text: &str) {
        self.line(text);
    }

    /// Takes the bar away; what was written stays.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.out.flush().is_err() {
            self.failed_writes += 1;
        }
    }

    /// Lines that could not be written.
    #[must_use]
    pub fn failed_writes(&self) -> u64 {
        self.failed_writes
    }

    fn line(&mut self, text: &str) {
        let out = &mut self.out;
        // One write for the whole line: several processes may share the terminal.
        let text = format!("{text}\n");
        let mut write = || out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let result = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        if result.is_err() {
            self.failed_writes += 1;
        }
    }
}

fn new_bar(epoch: u32, epochs: u32, steps: u32) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(u64::from(steps)), ProgressDrawTarget::stderr());
    // The template is a constant; should it ever be wrong, the plain style is better than no run.
    let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {msg}  eta {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_prefix(format!("epoch {}/{epochs}", epoch + 1));
    bar
}

fn step_text(r: &StepRecord) -> String {
    let mut s = String::new();
    figures(&mut s, r.loss, r.accuracy);
    tail(&mut s, r.images_per_s, r.data_wait_share, r.device_bytes);
    let _ = write!(s, "  lr {:.4}", r.lr);
    s
}

fn figures(s: &mut String, loss: f64, accuracy: f64) {
    let _ = write!(s, "loss {loss:.4}  acc {:.2} %", 100.0 * accuracy);
}

fn tail(s: &mut String, images_per_s: f64, wait: f64, bytes: u64) {
    let speed = if images_per_s < 100.0 { format!("{images_per_s:.1}") } else { format!("{images_per_s:.0}") };
    let _ = write!(s, "  {speed} images/s  data wait {:.1} %  memory {}", 100.0 * wait, mib(bytes));
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{epoch, step};
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("lock").clone()).expect("utf-8")
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn plain_lines_say_all_five() {
        let out = Shared::default();
        let mut p = Progress::new(false, Box::new(out.clone()), 8, 100).line_every(Duration::ZERO);
        p.step(&step(120));
        p.epoch(&epoch(1));
        p.message("saved");
        p.finish();
        let text = out.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "epoch 2/8 step 20/100  loss 0.5123  acc 82.31 %  1234 images/s  data wait 0.4 %  memory 212.0 MiB  lr 0.1000",
                "epoch 2/8  train loss 1.0000  acc 65.00 %  test loss 1.0500  acc 62.50 %  1000 images/s  data wait 1.0 %  memory 212.0 MiB  20.0 s",
                "saved",
            ]
        );
    }

    #[test]
    fn lines_of_steps_are_not_too_many() {
        let out = Shared::default();
        let mut p = Progress::new(false, Box::new(out.clone()), 8, 100);
        for i in 100..150 {
            p.step(&step(i));
        }
        assert_eq!(out.text().lines().count(), 1);
    }

    #[test]
    fn a_closed_pipe_is_counted_and_no_panic() {
        for terminal in [false, true] {
            let mut p = Progress::new(terminal, Box::new(Closed), 8, 100).line_every(Duration::ZERO);
            p.step(&step(120));
            p.epoch(&epoch(1));
            p.message("saved");
            assert!(p.failed_writes() >= 2);
        }
    }

    #[test]
    fn a_bar_leaves_only_epoch_lines() {
        let out = Shared::default();
        let mut p = Progress::new(true, Box::new(out.clone()), 8, 100);
        for i in 100..150 {
            p.step(&step(i));
        }
        p.epoch(&epoch(1));
        p.finish();
        assert_eq!(out.text().lines().count(), 1);
    }
}
