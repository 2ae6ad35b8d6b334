//! The checkpoints of a run: the newest few, and the newest that is whole.

use super::{Checkpoint, CheckpointError, read, seal};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const PREFIX: &str = "step-";
const SUFFIX: &str = ".safetensors";
/// What temporary files are called that a kill in the middle of a write leaves behind.
const PARTIAL: (&str, &str) = (".wgrad-", ".partial");

/// A folder of checkpoints `step-000000001234.safetensors`, of which the newest `keep` stay.
///
/// A checkpoint is written beside its place, flushed and renamed, so that a kill at any moment leaves whole files and at most one
/// partial one, which [`Checkpoints::prepare`] removes. Each has a hash of all its bytes inside: what a power cut or a bad disk made of
/// it is found when it is read, and the one before it is taken.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

/// What [`Checkpoints::newest`] found.
#[derive(Debug)]
pub struct Newest {
    /// The checkpoint and its file, if there is a whole one.
    pub found: Option<(Checkpoint, PathBuf)>,
    /// Newer files that are not whole, and why.
    pub passed_over: Vec<(PathBuf, CheckpointError)>,
}

impl Newest {
    /// Renames what was passed over to `….broken`: its steps are done again, and must not take it for the newest one later.
    ///
    /// # Errors
    /// A file that cannot be renamed.
    pub fn set_aside(&self) -> Result<(), CheckpointError> {
        for (path, _) in &self.passed_over {
            let mut aside = path.clone().into_os_string();
            aside.push(".broken");
            fs::rename(path, aside).map_err(|source| CheckpointError::Write { path: path.clone(), source })?;
        }
        Ok(())
    }
}

impl Checkpoints {
    /// The checkpoints in `folder`, which need not be there yet; at least one is kept.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, keep: usize) -> Checkpoints {
        Checkpoints { folder: folder.into(), keep: keep.max(1) }
    }

    /// Makes the folder, removes what a killed write left, and makes sure that a file can be written.
    ///
    /// # Errors
    /// A folder that cannot be made or written.
    pub fn prepare(&self) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::Write { path: self.folder.clone(), source };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        sweep(&self.folder);
        tempfile::Builder::new().prefix(PARTIAL.0).suffix(PARTIAL.1).tempfile_in(&self.folder).map(drop).map_err(failed)
    }

    /// The file of the checkpoint after so many steps.
    #[must_use]
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{step:012}{SUFFIX}"))
    }

    /// Step and file of every checkpoint, the newest first.
    ///
    /// # Errors
    /// A folder that cannot be read; one that is not there holds none.
    pub fn list(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let step = path
                .file_name()
                .and_then(OsStr::to_str)
                .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
            if let Some(step) = step.and_then(|digits| digits.parse().ok()) {
                found.push((step, path));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// The newest checkpoint that is whole, and what is wrong with newer ones.
    ///
    /// # Errors
    /// A folder or a file that cannot be read: it may be whole, and is passed over by nobody.
    pub fn newest(&self) -> Result<Newest, CheckpointError> {
        let listed = self.list().map_err(|source| CheckpointError::Read { path: self.folder.clone(), source })?;
        let mut passed_over = Vec::new();
        for (_, path) in listed {
            match open(&path) {
                Ok(checkpoint) => return Ok(Newest { found: Some((checkpoint, path)), passed_over }),
                Err(error @ CheckpointError::Read { .. }) => return Err(error),
                Err(error) => passed_over.push((path, error)),
            }
        }
        Ok(Newest { found: None, passed_over })
    }

    /// Removes all but the newest of those up to `step`, the one just written. A file that cannot be removed stays: it costs room and
    /// nothing else.
    pub fn prune(&self, step: u64) {
        let listed = self.list().unwrap_or_default().into_iter().filter(|(at, _)| *at <= step);
        for (_, path) in listed.skip(self.keep) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes the partial files that killed writes left in `folder`. Only the process that holds the run's lock may do so.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PARTIAL.0) && name.ends_with(PARTIAL.1) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A checkpoint that holds a seal and is whole.
///
/// # Errors
/// A file that cannot be read, was not sealed, or is not what was sealed.
pub(crate) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let bytes = read(path)?;
    let origin = path.display().to_string();
    let broken = |what: &str| CheckpointError::Format { origin: origin.clone(), what: what.to_string() };
    match seal::is_whole(&bytes) {
        Some(true) => Checkpoint::parse(&bytes, &origin),
        Some(false) => Err(broken("its bytes are not those that were written: another hash")),
        // Cut short, or no checkpoint of a run: what the parser says is more to the point, if it says anything.
        None => Checkpoint::parse(&bytes, &origin).and_then(|_| Err(broken("the metadata hold no hash"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::save_bytes;

    fn write(checkpoints: &Checkpoints, step: u64) -> PathBuf {
        let mut checkpoint = Checkpoint::default();
        checkpoint.metadata.insert("step".to_string(), step.to_string());
        save_bytes(&checkpoints.path(step), &checkpoint.to_sealed_bytes()).expect("writes");
        checkpoints.path(step)
    }

    fn step(newest: &Newest) -> Option<&str> {
        newest.found.as_ref().map(|(checkpoint, _)| checkpoint.metadata["step"].as_str())
    }

    #[test]
    fn the_newest_whole_one_is_taken_and_the_broken_ones_named() {
        let folder = tempfile::tempdir().expect("tmp");
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), 3);
        assert!(checkpoints.newest().expect("no folder is no checkpoint").found.is_none());
        checkpoints.prepare().expect("makes it");
        let [one, two, three] = [90, 100, 1000].map(|step| write(&checkpoints, step));
        assert_eq!(step(&checkpoints.newest().expect("reads")), Some("1000"), "by number, not by name");

        let bytes = fs::read(&three).expect("there");
        fs::write(&three, &bytes[..bytes.len() / 2]).expect("cuts");
        let mut flipped = fs::read(&two).expect("there");
        let last = flipped.len() - 1;
        flipped[last] ^= 4;
        fs::write(&two, flipped).expect("flips");
        let newest = checkpoints.newest().expect("reads");
        assert_eq!(step(&newest), Some("90"));
        let said: Vec<String> = newest.passed_over.iter().map(|(_, error)| error.to_string()).collect();
        assert!(said[0].contains("000001000") && said[1].contains("000100"), "{said:?}");
        newest.set_aside().expect("renames");
        assert_eq!(checkpoints.list().expect("reads").len(), 1);
        fs::write(&one, "").expect("empties");
        let newest = checkpoints.newest().expect("reads");
        assert!(newest.found.is_none() && newest.passed_over.len() == 1);
        fs::remove_file(&one).expect("removes");
        fs::create_dir(&one).expect("what cannot be read is no broken file");
        assert!(matches!(checkpoints.newest(), Err(CheckpointError::Read { .. })));
    }

    #[test]
    fn the_newest_few_stay_and_strangers_are_left_alone() {
        let folder = tempfile::tempdir().expect("tmp");
        let checkpoints = Checkpoints::new(folder.path(), 2);
        for step in [1, 2, 3, 4] {
            write(&checkpoints, step);
        }
        for name in ["notes.txt", "step-x.safetensors", ".wgrad-abc.partial"] {
            fs::write(folder.path().join(name), "").expect("writes");
        }
        checkpoints.prune(3);
        assert_eq!(checkpoints.list().expect("reads").len(), 3, "4 is not of this life");
        checkpoints.prune(4);
        assert_eq!(checkpoints.list().expect("reads").iter().map(|(step, _)| *step).collect::<Vec<_>>(), [4, 3]);
        checkpoints.prepare().expect("good");
        let there = |name: &str| folder.path().join(name).exists();
        assert!(there("notes.txt") && there("step-x.safetensors") && !there(".wgrad-abc.partial"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("tmp");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("writes");
        let error = Checkpoints::new(file.join("checkpoints"), 2).prepare().expect_err("a file is no folder");
        assert!(error.to_string().contains("checkpoints"), "{error}");
    }
}
