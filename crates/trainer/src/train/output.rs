//! Where a run keeps its files: a folder of its own, never one that holds something.

use super::lock::LOCK;
use super::resume::CHECKPOINTS;
use crate::error::TrainError;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where the results of a run go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A fresh folder `NAME-001`, `NAME-002` … in this one, which is made if need be.
    Numbered(PathBuf),
    /// This folder, which must be new or empty.
    Folder(PathBuf),
    /// No files at all.
    Nowhere,
}

impl Default for Output {
    fn default() -> Output {
        Output::Numbered(PathBuf::from("runs"))
    }
}

/// The most runs of one name in one folder.
const MAX_RUNS: u32 = 9999;

impl Output {
    /// Whether the results may go there, without making anything.
    ///
    /// # Errors
    /// A folder that holds something, or a file in its place.
    pub fn check(&self) -> Result<(), TrainError> {
        let path = match self {
            Output::Nowhere => return Ok(()),
            Output::Numbered(path) | Output::Folder(path) => path,
        };
        let in_use = |found: &str| TrainError::FolderInUse { path: path.clone(), found: found.to_string() };
        let unwritable = |source| TrainError::Write { path: path.clone(), source };
        match fs::read_dir(path) {
            Ok(_) if matches!(self, Output::Numbered(_)) => Ok(()),
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(unwritable)?;
                    if !is_left_behind(&entry) {
                        return Err(in_use(&format!("one that holds {:?}", entry.file_name())));
                    }
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(in_use("a file")),
            Err(source) => Err(unwritable(source)),
        }
    }

    /// Makes the folder for a run called `name`.
    ///
    /// # Errors
    /// As [`Output::check`]; a folder that cannot be made.
    pub fn create(&self, name: &str) -> Result<Option<PathBuf>, TrainError> {
        self.check()?;
        let make = |path: &Path| {
            fs::create_dir_all(path).map_err(|source| TrainError::Write { path: path.to_owned(), source })
        };
        match self {
            Output::Nowhere => Ok(None),
            Output::Folder(path) => make(path).map(|()| Some(path.clone())),
            Output::Numbered(parent) => {
                make(parent)?;
                numbered(parent, &file_stem(name)).map(Some)
            }
        }
    }
}

/// Whether this is what a run leaves that was killed before it had begun: its lock, and an empty folder for checkpoints.
fn is_left_behind(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let is_empty = |path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    name == LOCK || name == CHECKPOINTS && is_empty(entry.path())
}

/// Makes the first folder `stem-NNN` that is not there yet; two runs that start at once get two folders.
fn numbered(parent: &Path, stem: &str) -> Result<PathBuf, TrainError> {
    for number in 1..=MAX_RUNS {
        let path = parent.join(format!("{stem}-{number:03}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(TrainError::Write { path, source }),
        }
    }
    let found = format!("{MAX_RUNS} runs of {stem:?}");
    Err(TrainError::FolderInUse { path: parent.to_owned(), found })
}

/// The name with everything that a path could trip over replaced.
fn file_stem(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let stem: String = name.chars().take(64).map(safe).collect();
    if stem.is_empty() { "run".to_string() } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_gets_a_folder_of_its_own() {
        let folder = tempfile::tempdir().expect("tmp");
        let output = Output::Numbered(folder.path().join("runs"));
        let names: Vec<PathBuf> =
            ["a/../b", "a/../b", ""].iter().map(|name| output.create(name).expect("made").expect("a folder")).collect();
        let made = |name: &str| folder.path().join("runs").join(name);
        assert_eq!(names, [made("a----b-001"), made("a----b-002"), made("run-001")]);
    }

    #[test]
    fn a_folder_in_use_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("tmp");
        let path = folder.path().join("mine");
        let output = Output::Folder(path.clone());
        output.check().expect("new");
        assert!(!path.exists());
        assert_eq!(output.create("x").expect("made"), Some(path.clone()));
        output.check().expect("empty");
        std::fs::write(path.join("model.safetensors"), "precious").expect("written");
        for result in [output.check(), output.create("x").map(|_| ())] {
            let error = result.expect_err("in use").to_string();
            assert!(error.contains("model.safetensors"), "{error}");
        }
        let file = path.join("model.safetensors");
        for output in [Output::Folder(file.clone()), Output::Numbered(file)] {
            assert!(matches!(output.check(), Err(TrainError::FolderInUse { .. })));
        }
        assert_eq!(Output::Nowhere.create("x").expect("nothing"), None);
    }
}
