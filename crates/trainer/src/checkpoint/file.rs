//! The one place of checkpoints that touches files.

use super::CheckpointError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The bytes of a file that must be a regular one: a pipe or a device could hang or never end.
///
/// # Errors
/// A file that is not there, is something else, or may not be read.
pub fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let failed = |source| CheckpointError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    fs::read(path).map_err(failed)
}

/// Writes a whole file or none: into a temporary file of the same folder, flushed to the disk, then renamed.
///
/// # Errors
/// A folder or disk that does not take it; the temporary file is removed and an earlier file stands.
pub fn save_bytes(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    write_whole(path, bytes).map_err(|source| CheckpointError::Write { path: path.to_owned(), source })
}

/// [`save_bytes`] for a file of any kind: the error is the system's.
///
/// # Errors
/// As [`save_bytes`].
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".wgrad-").suffix(".partial");
    #[cfg(unix)]
    {
        // A temporary file is private by default; a checkpoint follows the user's umask like any file.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut temporary = builder.tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    // The rename is on the disk when the folder is. Some systems cannot sync a folder, and the content is safe anyway.
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}
