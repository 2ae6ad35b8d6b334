//! `cargo xtask data NAME`: puts a data set of the manifest in place, every file checked.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wgrad_datasets::{Archive, DATASETS, Dataset, File};

use crate::{download, unpack, verify};

/// The names that the command takes.
pub(crate) fn names() -> Vec<&'static str> {
    DATASETS.iter().map(|dataset| dataset.name).collect()
}

/// Puts the data set `name` into `to` (default: below `~/.cache/wgrad`), from a local copy or from its official address.
pub(crate) fn data(name: &str, from: Option<&Path>, to: Option<&Path>) -> Result<()> {
    let Some(dataset) = wgrad_datasets::find(name) else {
        bail!("there is no data set {name:?}; there are: {}", names().join(", "));
    };
    let folder = match to {
        Some(folder) => folder.to_owned(),
        None => cache_folder()?.join(dataset.folder),
    };
    put(dataset, from, &folder)
}

/// `~/.cache/wgrad`.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let home = ["HOME", "USERPROFILE"].into_iter().find_map(|name| {
        let value = env::var_os(name)?;
        (!value.is_empty()).then_some(value)
    });
    let home = home.context("no home folder (HOME is not set); say where to with --to FOLDER")?;
    Ok(Path::new(&home).join(".cache").join("wgrad"))
}

/// Brings every file of `dataset` that is missing or broken into `folder`.
fn put(dataset: &Dataset, from: Option<&Path>, folder: &Path) -> Result<()> {
    println!("{}", dataset.title);
    let missing: Vec<File> = missing(dataset, folder);
    if missing.is_empty() {
        println!("complete and checked: {}", folder.display());
        return Ok(());
    }
    println!("terms: {}; {}", dataset.licence, dataset.homepage);
    println!("cite: {}", dataset.citation);
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    match (from, &dataset.archive) {
        (Some(from), archive) => copy(&missing, archive.as_ref(), from, folder)?,
        (None, Some(archive)) => fetch_archive(&missing, archive, folder)?,
        (None, None) => {
            for file in &missing {
                download::fetch(file, &folder.join(file.name))?;
            }
        }
    }
    println!("complete and checked: {}", folder.display());
    Ok(())
}

/// The files that are not there, or not as they should be (which is said).
fn missing(dataset: &Dataset, folder: &Path) -> Vec<File> {
    let mut missing = Vec::new();
    for file in dataset.files {
        let path = folder.join(file.name);
        if let Err(error) = verify::check(&path, file) {
            if path.exists() {
                println!("to be replaced: {error:#}");
            }
            missing.push(*file);
        }
    }
    missing
}

fn fetch_archive(missing: &[File], archive: &Archive, folder: &Path) -> Result<()> {
    let path = folder.join(archive.file.name);
    if verify::check(&path, &archive.file).is_err() {
        download::fetch(&archive.file, &path)?;
    }
    unpack::unpack(&path, archive.folder, missing, folder)?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Takes the files from a local copy: from the folder itself, from the data set's own folder in it, or from the archive.
fn copy(missing: &[File], archive: Option<&Archive>, from: &Path, folder: &Path) -> Result<()> {
    if !from.is_dir() {
        bail!("--from {}: there is no such folder", from.display());
    }
    let mut places = vec![from.to_owned()];
    places.extend(archive.map(|archive| from.join(archive.folder)));
    let unpacked = |file: &File| places.iter().map(|place| place.join(file.name)).find(|path| path.exists());
    if missing.iter().all(|file| unpacked(file).is_some()) {
        for file in missing {
            let Some(source) = unpacked(file) else {
                continue;
            };
            let reader = fs::File::open(&source).with_context(|| format!("cannot read {}", source.display()))?;
            verify::write(reader, &source, &folder.join(file.name), file)?;
        }
        return Ok(());
    }
    if let Some(archive) = archive {
        let path = from.join(archive.file.name);
        if path.exists() {
            verify::check(&path, &archive.file)?;
            return unpack::unpack(&path, archive.folder, missing, folder);
        }
    }
    let absent = missing.iter().filter(|file| unpacked(file).is_none());
    let absent: Vec<&str> = absent.map(|file| file.name).collect();
    let or_archive = archive.map_or(String::new(), |archive| format!(", nor {}", archive.file.name));
    bail!("--from {} does not hold {}{or_archive}", from.display(), absent.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::download::tests::{Manner, serve};
    use crate::unpack::tests::packed;
    use crate::verify::tests::entry;
    use tar::EntryType;

    const A: &[u8] = b"first file";
    const B: &[u8] = b"second";

    fn archive_bytes() -> Vec<u8> {
        packed(&[("set/a.bin", EntryType::Regular, A), ("set/b.bin", EntryType::Regular, B)])
    }

    fn dataset(with_archive: bool) -> Dataset {
        let archive = Archive { file: entry("set.tar.gz", &archive_bytes(), &[]), folder: "set" };
        Dataset {
            name: "set",
            title: "a set of two files",
            folder: "set",
            archive: with_archive.then_some(archive),
            files: Vec::leak(vec![entry("a.bin", A, &[]), entry("b.bin", B, &[])]),
            homepage: "nowhere",
            licence: "none",
            citation: "nobody",
        }
    }

    /// Runs `put` with a local copy that `fill` makes; returns the result and whether both files arrived.
    fn from(with_archive: bool, fill: impl Fn(&Path)) -> (Result<()>, bool) {
        let source = tempfile::tempdir().unwrap();
        fill(source.path());
        let target = tempfile::tempdir().unwrap();
        let to = target.path().join("deep/set");
        let result = put(&dataset(with_archive), Some(source.path()), &to);
        let arrived = fs::read(to.join("a.bin")).is_ok_and(|bytes| bytes == A)
            && fs::read(to.join("b.bin")).is_ok_and(|bytes| bytes == B);
        (result, arrived)
    }

    #[test]
    fn takes_unpacked_files() {
        for inner in ["", "set"] {
            let (result, arrived) = from(true, |folder| {
                fs::create_dir_all(folder.join(inner)).unwrap();
                fs::write(folder.join(inner).join("a.bin"), A).unwrap();
                fs::write(folder.join(inner).join("b.bin"), B).unwrap();
            });
            result.unwrap();
            assert!(arrived);
        }
    }

    #[test]
    fn takes_an_archive() {
        let (result, arrived) = from(true, |folder| fs::write(folder.join("set.tar.gz"), archive_bytes()).unwrap());
        result.unwrap();
        assert!(arrived);
    }

    #[test]
    fn refuses_a_broken_copy_by_name() {
        let (result, arrived) = from(false, |folder| {
            fs::write(folder.join("a.bin"), A).unwrap();
            fs::write(folder.join("b.bin"), b"sEcond").unwrap();
        });
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains("b.bin is not the expected b.bin"), "{error}");
        assert!(!arrived);
        let (result, _) = from(true, |folder| fs::write(folder.join("set.tar.gz"), b"no").unwrap());
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains("set.tar.gz is not the expected"), "{error}");
    }

    #[test]
    fn names_what_a_copy_lacks() {
        let (result, _) = from(true, |folder| fs::write(folder.join("a.bin"), A).unwrap());
        let error = result.unwrap_err().to_string();
        assert!(error.contains("does not hold b.bin, nor set.tar.gz"), "{error}");
        let target = tempfile::tempdir().unwrap();
        let error = put(&dataset(false), Some(Path::new("/no/such/folder")), target.path());
        assert!(error.unwrap_err().to_string().contains("no such folder"));
    }

    #[test]
    fn does_nothing_when_all_is_there_and_replaces_only_what_is_broken() {
        let target = tempfile::tempdir().unwrap();
        fs::write(target.path().join("a.bin"), A).unwrap();
        fs::write(target.path().join("b.bin"), B).unwrap();
        // No address, no local copy: this succeeds only without looking for either.
        put(&dataset(true), None, target.path()).unwrap();
        fs::write(target.path().join("b.bin"), b"broken").unwrap();
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("b.bin"), B).unwrap();
        put(&dataset(true), Some(source.path()), target.path()).unwrap();
        assert_eq!(fs::read(target.path().join("b.bin")).unwrap(), B);
    }

    #[test]
    fn downloads_an_archive_and_leaves_only_its_files() {
        let bytes: &'static [u8] = archive_bytes().leak();
        let (url, _) = serve(bytes, Manner::Good);
        let mut dataset = dataset(false);
        dataset.archive = Some(Archive { file: entry("set.tar.gz", bytes, &[url]), folder: "set" });
        let target = tempfile::tempdir().unwrap();
        put(&dataset, None, target.path()).unwrap();
        assert!(missing(&dataset, target.path()).is_empty());
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = data("cifar11", None, None).unwrap_err().to_string();
        assert!(error.contains("cifar10, cifar100, mnist, fashion-mnist"), "{error}");
    }
}
