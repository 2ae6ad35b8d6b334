//! Files of the caller's own in a run's folder.

use super::Trainer;
use crate::checkpoint::write_whole;
use crate::error::TrainError;
use std::path::Path;

impl Trainer {
    /// Puts a file of the caller's own into the run's folder when that is made: what a program needs to go on with the run later. A run
    /// that is resumed writes none.
    #[must_use]
    pub fn attach(mut self, name: &'static str, contents: impl Into<Vec<u8>>) -> Trainer {
        self.attached.push((name, contents.into()));
        self
    }
}

/// Writes the attached files into a folder that was new or empty.
pub(super) fn write_attached(folder: &Path, attached: &[(&'static str, Vec<u8>)]) -> Result<(), TrainError> {
    attached.iter().try_for_each(|(name, contents)| {
        let path = folder.join(name);
        write_whole(&path, contents).map_err(|source| TrainError::Write { path, source })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attached_files_lie_in_the_folder() {
        let folder = tempfile::tempdir().expect("tmp");
        write_attached(folder.path(), &[("config.toml", b"a = 1".to_vec())]).expect("written");
        assert_eq!(std::fs::read(folder.path().join("config.toml")).expect("there"), b"a = 1");
        let error = write_attached(&folder.path().join("gone"), &[("x", Vec::new())]).expect_err("no folder");
        assert!(matches!(error, TrainError::Write { .. }), "{error}");
    }
}
