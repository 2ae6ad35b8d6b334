//! Takes the expected files out of a `.tar.gz`, and nothing else.
//!
//! Only regular entries whose whole path is the expected one are looked at: no other path, link, device or sparse entry of an
//! archive ever reaches the disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use std::io::Read;
use tar::EntryType;
use wgrad_datasets::File;

use crate::verify;

/// How much an archive may hold besides the expected files.
const SLACK_BYTES: u64 = 16 << 20;

/// Unpacks `files`, which stand below `inner` in the archive, into the existing folder `to`; each is checked.
pub(crate) fn unpack(archive: &Path, inner: &str, files: &[File], to: &Path) -> Result<()> {
    let context = || format!("cannot unpack {}", archive.display());
    let packed = fs::File::open(archive).with_context(context)?;
    let wanted_bytes: u64 = files.iter().map(|file| file.bytes).sum();
    take(GzDecoder::new(packed).take(wanted_bytes + SLACK_BYTES), archive, inner, files, to)
}

/// [`unpack`] from the bytes of the `.tar` itself; `archive` is what they are called.
pub(crate) fn take(tar: impl Read, archive: &Path, inner: &str, files: &[File], to: &Path) -> Result<()> {
    let context = || format!("cannot unpack {}", archive.display());
    let mut tar = tar::Archive::new(tar);
    let mut missing: BTreeSet<&str> = files.iter().map(|file| file.name).collect();
    for entry in tar.entries().with_context(context)? {
        let entry = entry.with_context(context)?;
        let Some(file) = expected(&entry, inner, files) else {
            continue;
        };
        if entry.size() != file.bytes {
            bail!(
                "{}: {} is {} bytes in the archive, expected {}",
                archive.display(),
                file.name,
                entry.size(),
                file.bytes
            );
        }
        let origin = archive.join(inner).join(file.name);
        verify::write(entry, &origin, &to.join(file.name), file)?;
        missing.remove(file.name);
        if missing.is_empty() {
            return Ok(());
        }
    }
    let missing: Vec<_> = missing.into_iter().collect();
    bail!("{} holds no {inner}/{}; is it the right archive?", archive.display(), missing.join(", "))
}

/// The file that this entry is, if it is a regular one with exactly the expected path.
fn expected<'a>(entry: &tar::Entry<'_, impl Read>, inner: &str, files: &'a [File]) -> Option<&'a File> {
    if entry.header().entry_type() != EntryType::Regular {
        return None;
    }
    let path = entry.path_bytes();
    let path = path.strip_prefix(b"./").unwrap_or(&path);
    let name = path.strip_prefix(inner.as_bytes())?.strip_prefix(b"/")?;
    files.iter().find(|file| file.name.as_bytes() == name)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::verify::tests::entry;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    /// A `.tar.gz` with these entries: path, type, content.
    pub(crate) fn packed(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut tar = Vec::new();
        for &(path, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            // Written by hand, since the builder refuses the very paths to be tested.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.extend_from_slice(header.as_bytes());
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize(tar.len() + 1024, 0);
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&tar).unwrap();
        gz.finish().unwrap()
    }

    fn try_unpack(archive: &[u8], files: &[File]) -> (Result<()>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.tar.gz");
        fs::write(&path, archive).unwrap();
        let to = folder.path().join("to");
        fs::create_dir(&to).unwrap();
        let result = unpack(&path, "set", files, &to);
        let mut beside: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["set.tar.gz", "to"], "something was written beside the folder");
        let names = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        (result, names)
    }

    #[test]
    fn takes_the_expected_files_and_no_others() {
        let files = [entry("a.bin", b"aaa", &[]), entry("b.bin", b"bb", &[])];
        let archive = packed(&[
            ("../a.bin", EntryType::Regular, b"aaa"),
            ("/set/a.bin", EntryType::Regular, b"xxx"),
            ("set/../set/a.bin", EntryType::Regular, b"xxx"),
            ("set/a.bin", EntryType::Symlink, b""),
            ("set/a.bin", EntryType::Link, b""),
            ("set/sub/a.bin", EntryType::Regular, b"xxx"),
            ("set/other.bin", EntryType::Regular, b"other"),
            ("set/a.bin", EntryType::Regular, b"aaa"),
            ("./set/b.bin", EntryType::Regular, b"bb"),
        ]);
        let (result, names) = try_unpack(&archive, &files);
        result.unwrap();
        assert_eq!(names, ["a.bin", "b.bin"]);
    }

    /// A header by hand: type, and the 12 bytes of its size field.
    fn header(path: &str, kind: u8, size: [u8; 12]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        let bytes = header.as_mut_bytes();
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        bytes[124..136].copy_from_slice(&size);
        bytes[156] = kind;
        header.set_mode(0o644);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn octal(size: usize) -> [u8; 12] {
        format!("{size:011o}\0").into_bytes().try_into().unwrap()
    }

    fn blocks(content: &[u8]) -> Vec<u8> {
        let mut blocks = content.to_vec();
        blocks.resize(blocks.len().next_multiple_of(512), 0);
        blocks
    }

    fn gz(tar: &[u8]) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(tar).unwrap();
        gz.finish().unwrap()
    }

    #[test]
    fn long_names_sparse_files_and_impossible_sizes_do_no_harm() {
        let files = [entry("a.bin", b"aaa", &[])];
        let end = [0; 1024];
        let good = [header("set/a.bin", b'0', octal(3)), blocks(b"aaa")].concat();
        // GNU's long name stands for the path of the next entry: here one that leads out, no further than to the folder that
        // `try_unpack` looks into, whether `set/` is taken off or not.
        let long = |start: &str, name: &str| {
            let out = format!("{start}{}../{name}", "./".repeat(60));
            let long = [header("././@LongLink", b'L', octal(out.len())), blocks(out.as_bytes())].concat();
            [long, header("set/a.bin", b'0', octal(3)), blocks(b"aaa")].concat()
        };
        let sparse = [header("set/a.bin", b'S', octal(0)), Vec::new()].concat();
        let out = [long("", "escaped.bin"), long("set/", "escaped.bin"), long("", "a.bin"), long("set/", "a.bin")];
        for before in out.into_iter().chain([sparse.clone()]) {
            let (result, names) = try_unpack(&gz(&[&before[..], &good, &end].concat()), &files);
            assert!(result.is_err() || names == ["a.bin"], "{names:?}");
            assert!(names.iter().all(|name| name == "a.bin"));
        }
        let (result, names) = try_unpack(&gz(&[&sparse[..], &end].concat()), &files);
        assert!(result.is_err() && names.is_empty(), "a sparse entry is no regular file");
        // 2^63 bytes, in the base-256 form: of the file itself, of another one, of a name.
        let mut huge = [0; 12];
        (huge[0], huge[4]) = (0x80, 0x80);
        for (path, kind) in [("set/a.bin", b'0'), ("set/other.bin", b'0'), ("././@LongLink", b'L'), ("x", b'x')] {
            let started = std::time::Instant::now();
            let (result, names) = try_unpack(&gz(&[&header(path, kind, huge)[..], &good, &end].concat()), &files);
            assert!(result.is_err() && names.is_empty(), "{path}: {names:?}");
            assert!(started.elapsed().as_secs() < 5, "{path}");
        }
    }

    /// What `fuzz/fuzz_targets/tar.rs` does with each input.
    #[test]
    fn seeds_of_the_fuzz_target_whole_cut_and_damaged() {
        let files = [entry("a.bin", b"aaa", &[]), entry("b.bin", b"aaa", &[])];
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/tar");
        let mut whole = 0;
        for seed in fs::read_dir(seeds).unwrap() {
            let seed = fs::read(seed.unwrap().path()).unwrap();
            let places = (0..64).map(|place| place * seed.len() / 64);
            let cut = places.clone().map(|at| seed[..at].to_vec());
            let flipped = places.map(|at| {
                let mut damaged = seed.clone();
                damaged[at] ^= 1 << (at % 8);
                damaged
            });
            for bytes in cut.chain(flipped).chain([seed.clone()]) {
                let folder = tempfile::tempdir().unwrap();
                let result = take(&bytes[..], Path::new("archive"), "set", &files, folder.path());
                whole += usize::from(result.is_ok() && bytes == seed);
                for entry in fs::read_dir(folder.path()).unwrap() {
                    let entry = entry.unwrap();
                    assert!(files.iter().any(|file| *file.name == *entry.file_name()), "{entry:?}");
                    assert_eq!(fs::read(entry.path()).unwrap(), b"aaa");
                }
            }
        }
        assert!(whole > 0, "no seed is a good archive");
    }

    #[test]
    fn names_what_is_missing() {
        let files = [entry("a.bin", b"aaa", &[]), entry("b.bin", b"bb", &[])];
        let archive = packed(&[("set/a.bin", EntryType::Regular, b"aaa")]);
        let error = try_unpack(&archive, &files).0.unwrap_err().to_string();
        assert!(error.contains("holds no set/b.bin"), "{error}");
    }

    #[test]
    fn refuses_a_wrong_length_and_a_wrong_sum() {
        let files = [entry("a.bin", b"aaa", &[])];
        let long = packed(&[("set/a.bin", EntryType::Regular, b"aaaa")]);
        let (result, names) = try_unpack(&long, &files);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("is 4 bytes in the archive, expected 3"), "{error}");
        assert!(names.is_empty());
        let wrong = packed(&[("set/a.bin", EntryType::Regular, b"aab")]);
        let (result, names) = try_unpack(&wrong, &files);
        assert!(format!("{:#}", result.unwrap_err()).contains("got      sha256"));
        assert!(names.is_empty());
    }

    #[test]
    fn refuses_a_broken_archive() {
        let files = [entry("a.bin", b"aaa", &[])];
        let archive = packed(&[("set/a.bin", EntryType::Regular, b"aaa")]);
        assert!(try_unpack(&archive[..archive.len() / 2], &files).0.is_err());
        assert!(try_unpack(b"<html>not found</html>", &files).0.is_err());
    }
}
