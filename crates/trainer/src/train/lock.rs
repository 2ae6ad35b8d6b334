//! One process at a time in a run's folder.

use crate::error::TrainError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Name of the file that is locked.
pub(super) const LOCK: &str = "run.lock";

/// The lock on a run's folder. It belongs to the process, not to the file: when the process ends, however it does, the lock is gone,
/// and a file that an earlier one left locks nothing.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock.
    pub(super) fn take(folder: &Path) -> Result<RunLock, TrainError> {
        let path = folder.join(LOCK);
        let failed = |source| TrainError::Write { path: path.clone(), source };
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // Some systems let nobody read a locked file: the number is for the message alone.
                let _ = file.take(20).read_to_string(&mut process);
                let process = Some(process.trim()).filter(|number| !number.is_empty()).unwrap_or("unknown").to_string();
                return Err(TrainError::RunInUse { path: folder.to_owned(), process });
            }
            // Some network file systems have no locks: better a run without than none at all.
            Err(TryLockError::Error(source)) if has_no_locks(&source) => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let number = std::process::id().to_string();
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(number.as_bytes()));
        written.map_err(failed)?;
        Ok(RunLock { _file: file })
    }
}

fn has_no_locks(error: &std::io::Error) -> bool {
    // ENOLCK, ENOSYS, EOPNOTSUPP.
    error.kind() == std::io::ErrorKind::Unsupported
        || cfg!(target_os = "linux") && matches!(error.raw_os_error(), Some(37 | 38 | 95))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_in_one_folder_is_refused_and_a_file_left_behind_locks_nothing() {
        let folder = tempfile::tempdir().expect("tmp");
        std::fs::write(folder.path().join(LOCK), "123456789").expect("writes");
        let first = RunLock::take(folder.path()).expect("nobody holds it");
        let error = RunLock::take(folder.path()).expect_err("held").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        RunLock::take(folder.path()).expect("free again");
    }
}
