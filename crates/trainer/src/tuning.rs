//! The table of measured choices as a file that programs share: read before plans are compiled, added to afterwards.

use crate::checkpoint::write_whole;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wgrad_tensor::Plan;
use wgrad_tensor::tune::{Table, TableError, Tuning};

/// Why a table of choices could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum TuningError {
    /// The file is there and may not be read.
    #[error("{path}: cannot be read: {source}; check its permissions", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else. It stands as it was.
    #[error("{path}: {source}", path = .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// The file could not be written. An earlier one of that name stands as it was.
    #[error("{path}: cannot be written: {source}; check the folder, its permissions and the free space", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where programs keep their common table below the user's `cache` folder.
#[must_use]
pub fn default_file(cache: &Path) -> PathBuf {
    cache.join("wgrad").join("tuning.json")
}

/// A table of choices and the file it is kept in, if there is one.
#[derive(Clone, Debug, Default)]
pub struct TuningFile {
    path: Option<PathBuf>,
    table: Arc<Table>,
}

impl TuningFile {
    /// The table in a file; an empty one where there is none yet.
    ///
    /// # Errors
    /// A file that may not be read, is damaged, or holds something else.
    pub fn open(path: &Path) -> Result<TuningFile, TuningError> {
        Ok(TuningFile { path: Some(path.to_owned()), table: Arc::new(read(path)?) })
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// How to compile: with what the table knows, measuring the rest for at most `budget`.
    #[must_use]
    pub fn tuning(&self, budget: Duration) -> Tuning {
        Tuning { budget, table: Arc::clone(&self.table) }
    }

    /// Adds what was measured when `plan` was compiled, here and in the file. What others have added to the file meanwhile
    /// stays there. Nothing is written where nothing was measured.
    ///
    /// # Errors
    /// A file that was damaged meanwhile, which is left alone, or a disk that takes nothing.
    pub fn keep(&mut self, plan: &Plan) -> Result<(), TuningError> {
        self.add(&plan.tuned().table(plan.device()))
    }

    /// Writes the table to a file of its own, where it holds anything.
    pub(crate) fn save_copy(&self, path: &Path) -> Result<(), TuningError> {
        if self.table.is_empty() {
            return Ok(());
        }
        let failed = |source| TuningError::Write { path: path.to_owned(), source };
        write_whole(path, self.table.to_json().as_bytes()).map_err(failed)
    }

    fn add(&mut self, found: &Table) -> Result<(), TuningError> {
        if found.is_empty() {
            return Ok(());
        }
        Arc::make_mut(&mut self.table).merge(found);
        let Some(path) = &self.path else { return Ok(()) };
        let mut shared = read(path)?;
        shared.merge(found);
        let failed = |source| TuningError::Write { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        write_whole(path, shared.to_json().as_bytes()).map_err(failed)
    }
}

fn read(path: &Path) -> Result<Table, TuningError> {
    match std::fs::read(path) {
        Ok(bytes) => Table::parse(&bytes).map_err(|source| TuningError::Table { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Table::default()),
        Err(source) => Err(TuningError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use wgrad_tensor::tune::{Entry, Machine};

    fn table(op: &str) -> Table {
        let machine = Machine {
            adapter: "a".into(),
            backend: "Vulkan".into(),
            driver: "d".into(),
            tier: "base".into(),
            subgroup_size: 32,
            workspace_bytes: 1 << 20,
            checked: false,
            kernels: "0".into(),
        };
        let ms = BTreeMap::from([("direct".to_string(), 1.0)]);
        let entry = Entry { algorithm: "direct".into(), ms, skipped: BTreeMap::new(), lowering: "0".into() };
        let mut table = Table::default();
        table.insert(machine, [(op.to_string(), entry)]);
        table
    }

    #[test]
    fn two_programs_add_to_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = default_file(folder.path());
        let mut first = TuningFile::open(&path).expect("absent is empty");
        let mut second = TuningFile::open(&path).expect("absent is empty");
        first.add(&Table::default()).expect("nothing to do");
        assert!(!path.exists());
        first.add(&table("x")).expect("written");
        second.add(&table("y")).expect("written");
        assert_eq!(TuningFile::open(&path).expect("reads").table().len(), 2);
        assert_eq!(second.table().len(), 1, "a plan is compiled with what was known when the program began");
        assert_eq!(
            std::fs::read_dir(folder.path().join("wgrad")).expect("the folder").count(),
            1,
            "no file is left over"
        );
    }

    #[test]
    fn a_file_of_something_else_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.json");
        let mut file = TuningFile::open(&path).expect("absent is empty");
        for text in ["my notes", "{\"format\": \"notes\"}"] {
            std::fs::write(&path, text).expect("written");
            let error = TuningFile::open(&path).expect_err("no table");
            assert!(matches!(&error, TuningError::Table { .. }) && error.to_string().contains("notes.json"), "{error}");
            assert!(file.add(&table("x")).is_err());
            assert_eq!(std::fs::read_to_string(&path).expect("still there"), text);
        }
    }
}
