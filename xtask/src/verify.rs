//! Is this file the one that the manifest means? Length first, then SHA-256.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use wgrad_datasets::File;

const BLOCK_BYTES: usize = 1 << 16;

/// The SHA-256 sum and the length of everything `source` gives, which is also written to `sink`.
pub(crate) fn copy_summed(mut source: impl Read, mut sink: impl Write) -> io::Result<(String, u64)> {
    let mut sum = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut length_bytes = 0;
    loop {
        let n = match source.read(&mut block) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sum.update(&block[..n]);
        sink.write_all(&block[..n])?;
        length_bytes += n as u64;
    }
    let digits = sum.finalize().into_iter().map(|byte| format!("{byte:02x}"));
    Ok((digits.collect(), length_bytes))
}

/// Fails, naming expected and got, unless the file at `path` is `expected`.
pub(crate) fn check(path: &Path, expected: &File) -> Result<()> {
    let context = || format!("cannot read {}", path.display());
    let metadata = fs::metadata(path).with_context(context)?;
    if !metadata.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    // A wrong length is found without reading the file.
    if metadata.len() != expected.bytes {
        return Err(mismatch(path, expected, None, metadata.len()));
    }
    let file = fs::File::open(path).with_context(context)?;
    let (sum, length_bytes) = copy_summed(file, io::sink()).with_context(context)?;
    if sum != expected.sha256 {
        return Err(mismatch(path, expected, Some(&sum), length_bytes));
    }
    Ok(())
}

/// Writes what `source` gives to `path`, all of it and right, or not at all.
///
/// The bytes go to a temporary file beside `path`, which takes the name only when length and sum are those of `expected`.
/// `origin` is where `source` reads from, for the error.
pub(crate) fn write(source: impl Read, origin: &Path, path: &Path, expected: &File) -> Result<()> {
    let temporary = beside(path, ".tmp");
    let written = write_temporary(source, origin, &temporary, expected).and_then(|()| rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_temporary(source: impl Read, origin: &Path, temporary: &Path, expected: &File) -> Result<()> {
    let context = || format!("cannot write {}", temporary.display());
    let mut file = fs::File::create(temporary).with_context(context)?;
    // One byte more than expected is enough to know that there is too much.
    let (sum, length_bytes) = copy_summed(source.take(expected.bytes + 1), &mut file)
        .with_context(|| format!("cannot copy {} to {}", origin.display(), temporary.display()))?;
    if length_bytes != expected.bytes || sum != expected.sha256 {
        return Err(mismatch(origin, expected, Some(&sum), length_bytes));
    }
    file.sync_all().with_context(context)
}

/// Gives a finished file its name, and lets the folder know on disk.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    if cfg!(unix)
        && let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty())
    {
        let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.with_context(|| format!("cannot sync the folder {}", folder.display()))?;
    }
    Ok(())
}

/// `path` with `suffix` after its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The error for a file that is not the one expected.
pub(crate) fn mismatch(path: &Path, expected: &File, sum: Option<&str>, length_bytes: u64) -> anyhow::Error {
    let got = match sum {
        Some(sum) if length_bytes == expected.bytes => format!("sha256 {sum}"),
        _ if length_bytes > expected.bytes => {
            format!("more than that ({length_bytes} bytes or more)")
        }
        _ => format!("{length_bytes} bytes (truncated?)"),
    };
    anyhow::anyhow!(
        "{} is not the expected {}\n  expected {} bytes, sha256 {}\n  got      {got}",
        path.display(),
        expected.name,
        expected.bytes,
        expected.sha256,
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The manifest entry of these bytes under this name, kept for the whole test run.
    pub(crate) fn entry(name: &str, bytes: &[u8], urls: &[String]) -> File {
        let (sum, length_bytes) = copy_summed(bytes, io::sink()).expect("memory can be read");
        let urls: Vec<&'static str> = urls.iter().map(|url| leak(url)).collect();
        File { name: leak(name), urls: Vec::leak(urls), bytes: length_bytes, sha256: leak(&sum) }
    }

    fn leak(text: &str) -> &'static str {
        String::leak(text.to_owned())
    }

    #[test]
    fn the_sum_of_abc_is_the_published_one() {
        let (sum, length_bytes) = copy_summed(&b"abc"[..], io::sink()).unwrap();
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(length_bytes, 3);
    }

    #[test]
    fn a_right_file_is_written_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let expected = entry("a.bin", b"hello", &[]);
        write(&b"hello"[..], Path::new("origin"), &path, &expected).unwrap();
        check(&path, &expected).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_wrong_file_is_refused_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, b"old").unwrap();
        let expected = entry("a.bin", b"hello", &[]);
        for wrong in [&b"jello"[..], b"hell", b"hello!", b""] {
            let error = write(wrong, Path::new("origin"), &path, &expected).unwrap_err().to_string();
            assert!(error.contains("origin is not the expected a.bin"), "{error}");
            assert!(error.contains("expected 5 bytes, sha256 2cf24d"), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_check_names_expected_and_got() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let expected = entry("a.bin", b"hello", &[]);
        assert!(check(&path, &expected).is_err());
        fs::write(&path, b"jello").unwrap();
        let error = check(&path, &expected).unwrap_err().to_string();
        assert!(error.contains("a.bin is not the expected a.bin"), "{error}");
        assert!(error.contains("got      sha256 "), "{error}");
        fs::write(&path, b"hel").unwrap();
        let error = check(&path, &expected).unwrap_err().to_string();
        assert!(error.contains("got      3 bytes (truncated?)"), "{error}");
    }
}
