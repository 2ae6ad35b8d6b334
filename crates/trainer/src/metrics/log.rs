//! The log files of a run.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::record::{EpochRecord, StepRecord};
use crate::checkpoint::write_whole;

/// The log files of a run, in one folder: `log.jsonl` (every record, one JSON object to a line, with `"kind"` `"step"` or
/// `"epoch"`), `steps.csv` and `epochs.csv`.
///
/// Records are appended to what is there. Each one is opened for, written and handed to the system
/// on its own: a crash of the program loses none, and a file that was deleted, rotated, or could not grow for a while is simply
/// there again with the next. A record that cannot be written is dropped and counted; logging never ends a run.
#[derive(Debug)]
pub struct RunLog {
    json: PathBuf,
    steps: PathBuf,
    epochs: PathBuf,
    failed: u64,
    warning: Option<String>,
}

/// A record and its kind, as one flat object.
#[derive(Serialize)]
struct Line<'a, T> {
    kind: &'static str,
    #[serde(flatten)]
    record: &'a T,
}

impl RunLog {
    /// Logs in `folder`, which the caller has made. Touches nothing yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            json: folder.join("log.jsonl"),
            steps: folder.join("steps.csv"),
            epochs: folder.join("epochs.csv"),
            failed: 0,
            warning: None,
        }
    }

    /// Logs a step.
    pub fn step(&mut self, record: &StepRecord) {
        self.json("step", record);
        let result = append(&self.steps, Some(StepRecord::CSV_HEADER), &record.csv());
        self.note(self.steps.clone(), result);
    }

    /// Logs an epoch.
    pub fn epoch(&mut self, record: &EpochRecord) {
        self.json("epoch", record);
        let result = append(&self.epochs, Some(EpochRecord::CSV_HEADER), &record.csv());
        self.note(self.epochs.clone(), result);
    }

    /// Takes out what was logged after `steps` steps and `epochs` whole epochs of the run: a run that goes on from there logs that
    /// again.
    pub fn rewind(&mut self, steps: u64, epochs: u32) {
        let json = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            match line["kind"].as_str() {
                Some("epoch") => Some(line["epoch"].as_u64()? < u64::from(epochs)),
                _ => Some(line["step"].as_u64()? <= steps),
            }
        };
        let column = |line: &str, at: usize| line.split(',').nth(at)?.parse::<u64>().ok();
        let step = |line: &str| column(line, 1).map(|step| step <= steps);
        let epoch = |line: &str| column(line, 0).map(|epoch| epoch < u64::from(epochs));
        let kept: [(PathBuf, &IsKept<'_>); 3] =
            [(self.json.clone(), &json), (self.steps.clone(), &step), (self.epochs.clone(), &epoch)];
        for (path, is_kept) in kept {
            let result = rewind(&path, is_kept);
            self.note(path, result);
        }
    }

    /// Lines dropped so far because a file could not be written.
    #[must_use]
    pub fn failed_writes(&self) -> u64 {
        self.failed
    }

    /// What went wrong the first time a line was dropped, to be shown to the user; given out once.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    fn json<T: Serialize>(&mut self, kind: &'static str, record: &T) {
        let result = serde_json::to_string(&Line { kind, record })
            .map_err(io::Error::from)
            .and_then(|line| append(&self.json, None, &line));
        self.note(self.json.clone(), result);
    }

    fn note(&mut self, path: PathBuf, result: io::Result<()>) {
        if let Err(e) = result {
            if self.failed == 0 {
                self.warning = Some(format!(
                    "{}: cannot write the log: {e}; training goes on without these lines",
                    path.display()
                ));
            }
            self.failed += 1;
        }
    }
}

/// Adds a line, behind `header` where the file is new.
fn append(path: &Path, header: Option<&str>, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let mut text = String::with_capacity(line.len() + 200);
    if file.seek(SeekFrom::End(0))? == 0 {
        if let Some(header) = header {
            text.push_str(header);
            text.push('\n');
        }
    } else {
        // A process killed while it wrote leaves half a line; it must not swallow this one.
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(line);
    text.push('\n');
    file.write_all(text.as_bytes())
}

/// Whether a line stays; none where that cannot be told.
type IsKept<'a> = dyn Fn(&str) -> Option<bool> + 'a;

/// Keeps the lines of `path` that `is_kept` says; of a header, or a line that is none, it knows nothing, and it stays. A last line
/// without an end was cut by a kill.
fn rewind(path: &Path, is_kept: &IsKept<'_>) -> io::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let kept: String = whole.filter(|line| is_kept(line.trim()) != Some(false)).collect();
    if kept == text { Ok(()) } else { write_whole(path, kept.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{epoch, step};
    use super::*;
    use std::fs;

    #[test]
    fn three_files_that_go_on_after_a_restart() {
        let dir = tempfile::tempdir().expect("tmp");
        for run in 0..2 {
            let mut log = RunLog::new(dir.path());
            log.step(&step(run));
            log.epoch(&epoch(run as u32));
            assert_eq!(log.failed_writes(), 0);
        }
        let read = |f: &str| fs::read_to_string(dir.path().join(f)).expect("file");
        let json = read("log.jsonl");
        assert_eq!(json.lines().count(), 4);
        let first: serde_json::Value = serde_json::from_str(json.lines().next().expect("line")).expect("json");
        assert_eq!((first["kind"].as_str(), first["loss"].as_f64()), (Some("step"), Some(0.5123)));
        let back: EpochRecord = serde_json::from_str(json.lines().last().expect("line")).expect("json");
        assert_eq!(back, epoch(1));
        let csv = read("epochs.csv");
        assert_eq!(csv.lines().count(), 3);
        assert_eq!(csv.lines().next(), Some(EpochRecord::CSV_HEADER));
        assert_eq!(read("steps.csv").lines().count(), 3);
    }

    #[test]
    fn what_came_after_a_checkpoint_is_taken_out() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut log = RunLog::new(dir.path());
        log.rewind(5, 0);
        // Epochs end after 100, 200, … steps.
        (1..=3).for_each(|i| log.step(&step(i * 60)));
        (0..2).for_each(|i| log.epoch(&epoch(i)));
        fs::write(
            dir.path().join("steps.csv"),
            fs::read_to_string(dir.path().join("steps.csv")).expect("file") + "1,9",
        )
        .expect("cut");
        log.rewind(120, 1);
        let lines = |f: &str| fs::read_to_string(dir.path().join(f)).expect("file").lines().count();
        assert_eq!((lines("log.jsonl"), lines("steps.csv"), lines("epochs.csv"), log.failed_writes()), (3, 3, 2, 0));
        log.rewind(0, 0);
        assert_eq!((lines("log.jsonl"), lines("steps.csv")), (0, 1), "the header stays");
    }

    #[test]
    fn half_a_line_does_not_swallow_the_next() {
        let dir = tempfile::tempdir().expect("tmp");
        fs::write(dir.path().join("log.jsonl"), "{\"kind\":\"st").expect("write");
        RunLog::new(dir.path()).step(&step(1));
        let json = fs::read_to_string(dir.path().join("log.jsonl")).expect("file");
        assert!(json.lines().nth(1).expect("line").starts_with("{\"kind\":\"step\""));
    }

    #[test]
    fn a_deleted_file_or_folder_never_stops_the_run() {
        let dir = tempfile::tempdir().expect("tmp");
        let folder = dir.path().join("run");
        fs::create_dir(&folder).expect("mkdir");
        let mut log = RunLog::new(&folder);
        log.step(&step(1));
        fs::remove_file(folder.join("log.jsonl")).expect("rm");
        log.step(&step(2));
        assert!(folder.join("log.jsonl").exists());
        fs::remove_dir_all(&folder).expect("rm");
        log.step(&step(3));
        log.epoch(&epoch(0));
        assert_eq!(log.failed_writes(), 4);
        let warning = log.take_warning().expect("once");
        assert!(warning.contains("log.jsonl") && warning.contains("training goes on"), "{warning}");
        log.step(&step(4));
        assert_eq!(log.take_warning(), None);
        fs::create_dir(&folder).expect("mkdir");
        log.step(&step(5));
        assert_eq!((log.failed_writes(), folder.join("steps.csv").exists()), (6, true));
    }
}
