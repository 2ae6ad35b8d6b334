//! `cargo xtask data pack`, `stats`, `verify` and `preview`: what is done with a folder of images before training.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use wgrad::trainer::augment::preview::contact_sheet;
use wgrad::trainer::augment::{ColourJitter, Erase};
use wgrad::trainer::data::folder::{self, Scan};
use wgrad::trainer::data::record::{self, Access, parse::Meta};
use wgrad::trainer::data::stats::Moments;
use wgrad::trainer::data::{DataError, ImageStore};
use wgrad::trainer::{Augment, Dataset, Loader, LoaderOptions, Pixels, View};

/// Images that are prepared at once before they are written, at most so many bytes of them and one image a thread more: enough
/// for all cores, little enough for memory.
const CHUNK_BYTES: usize = 256 << 20;

#[derive(Subcommand)]
pub(crate) enum Images {
    /// Pack a folder of images into record files
    Pack {
        /// A folder for each class, or `train` and `val` with these in them (or train.txt and val.txt)
        folder: PathBuf,
        /// The record file; of `train` and `val`, FILE.wgr becomes FILE-train.wgr and FILE-val.wgr
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Resize longer ones until the shorter side has so many pixels [default: leave images as they are]
        #[arg(long, value_name = "PIXELS", default_value = "0", hide_default_value = true)]
        size: usize,
        /// Keep pixels instead of JPEG: fast to read, 3 bytes for each
        #[arg(long)]
        raw: bool,
        /// Divide into so many files
        #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        shards: u32,
        /// Leave out at most so many images that cannot be read
        #[arg(long, value_name = "N", default_value = "0")]
        allow_bad: usize,
    },
    /// Measure mean, standard deviation and principal components of the training images' colours
    Stats {
        /// A folder of images, or a record file
        data: PathBuf,
    },
    /// Read every image, and name those that cannot be
    Verify {
        /// A folder of images, or a record file
        data: PathBuf,
    },
    /// Write a contact sheet of augmented training images
    Preview {
        /// A folder of images, or a record file
        data: PathBuf,
        /// The PNG
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Pixels on each side of an image
        #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(1..=4096))]
        size: u32,
        /// Seed of the augmentation
        #[arg(long, default_value = "1")]
        seed: u64,
        /// One of 14 strong changes for each image (TrivialAugment), instead of colour and erasing
        #[arg(long)]
        trivial: bool,
    },
}

pub(crate) fn images(command: &Images) -> Result<()> {
    match command {
        Images::Pack { folder, out, size, raw, shards, allow_bad } => {
            let how = Packing { size: *size, raw: *raw, shards: *shards, allow_bad: *allow_bad };
            let halves = halves(folder, out)?;
            // All names of all halves at once: not after an hour with the first one.
            let paths = halves.iter().map(|(scan, path)| new_files(scan, path, how.shards));
            let paths = paths.collect::<Result<Vec<_>>>()?;
            halves.iter().zip(&paths).try_for_each(|((scan, _), paths)| pack(scan, paths, how))
        }
        Images::Stats { data } => stats(data),
        Images::Verify { data } => verify(data),
        Images::Preview { data, out, size, seed, trivial } => preview(data, out, *size as usize, *seed, *trivial),
    }
}

/// What there is in a folder, with the record file for each part.
fn halves(folder: &Path, out: &Path) -> Result<Vec<(Scan, PathBuf)>> {
    let is_whole = ["train", "train.txt"].iter().any(|name| folder.join(name).exists());
    if !is_whole {
        return Ok(vec![(scan(folder)?, out.to_owned())]);
    }
    let stem = out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let named = |half: &str| out.with_file_name(format!("{stem}-{half}.wgr"));
    let [train, val] = folder::halves(folder)?;
    // What will be refused is refused before hours of packing.
    folder::open(folder, 1)?;
    Ok(vec![(train, named("train")), (val, named("val"))])
}

/// What is in a folder; what was passed over is said.
fn scan(folder: &Path) -> Result<Scan> {
    let scan = folder::scan(folder)?;
    scan.skipped.iter().take(20).for_each(|line| eprintln!("passed over: {line}"));
    if scan.skipped.len() > 20 {
        eprintln!("passed over: {} more", scan.skipped.len() - 20);
    }
    Ok(scan)
}

/// The images of a folder (of its training half, where there are two) or of a record file.
pub(crate) fn open(data: &Path, size: usize) -> Result<Dataset> {
    if !data.is_dir() {
        return Ok(record::open(data, size, Access::Positions)?);
    }
    match ["train", "train.txt"].iter().any(|name| data.join(name).exists()) {
        true => Ok(folder::open(data, size)?.train),
        false => Ok(scan(data)?.dataset(size)),
    }
}

fn store(set: &Dataset) -> Result<Arc<dyn ImageStore>> {
    match &set.images {
        Pixels::Stored(store) => Ok(Arc::clone(store)),
        Pixels::Memory(_) => bail!("{}: wanted images in files, got images in memory", set.name),
    }
}

fn bar(length: usize, what: &str) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(length as u64).with_style(style).with_prefix(what.to_owned()))
}

#[derive(Clone, Copy)]
struct Packing {
    size: usize,
    raw: bool,
    shards: u32,
    allow_bad: usize,
}

/// The record files for the images of `scan`, none of which is there yet.
fn new_files(scan: &Scan, path: &Path, shards: u32) -> Result<Vec<PathBuf>> {
    if (scan.files.len() as u64) < u64::from(shards) {
        bail!("--shards {shards}: wanted at most as many as there are images, {}", scan.files.len());
    }
    let paths: Vec<PathBuf> = (0..shards).map(|shard| record::shard_name(path, shard, shards)).collect();
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(there) => bail!("{}: there is such a file; remove it, or name another with --out", there.display()),
        None => Ok(paths),
    }
}

type Prepared = Result<record::Payload, DataError>;

/// The first images of `range` as records, on all cores: all of them, or those that had been begun when there were `most` bytes.
fn prepare(
    store: &dyn ImageStore,
    range: Range<usize>,
    how: Packing,
    most: usize,
    tell: impl Fn() + Sync,
) -> Vec<Prepared> {
    let (next, bytes) = (AtomicUsize::new(range.start), AtomicUsize::new(0));
    // What is begun is ended, and indices are given out in order: there is no gap in what comes back.
    let work = |_: rayon::BroadcastContext<'_>| {
        let mut own = Vec::new();
        while bytes.load(Ordering::Relaxed) < most {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= range.end {
                break;
            }
            let payload = record::payload(store, i, how.size, how.raw);
            bytes.fetch_add(payload.as_ref().map_or(0, record::Payload::len), Ordering::Relaxed);
            own.push((i, payload));
            tell();
        }
        own
    };
    let mut all: Vec<(usize, Prepared)> = rayon::broadcast(work).into_iter().flatten().collect();
    all.sort_unstable_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, payload)| payload).collect()
}

/// Writes the images of `scan` to record files, an equal part to each of `paths`. What is prepared on all cores is written in
/// order, so the files do not depend on how many there are.
fn pack(scan: &Scan, paths: &[PathBuf], how: Packing) -> Result<()> {
    let set = scan.dataset(1);
    let store = store(&set)?;
    let progress = bar(scan.files.len(), "packing")?;
    let mut bad = 0;
    let mut packed = 0;
    for (shard, path) in paths.iter().enumerate() {
        let meta = Meta {
            name: set.name.clone(),
            class_names: set.class_names.clone(),
            shard: shard as u32,
            shards: how.shards,
            shorter: how.size,
            features: None,
        };
        let part = |k: usize| (scan.files.len() * k) / how.shards as usize;
        record::write_file::<anyhow::Error>(path, &meta, |writer| {
            let (mut i, end) = (part(shard), part(shard + 1));
            while i < end {
                for payload in prepare(&*store, i..end, how, CHUNK_BYTES, || progress.inc(1)) {
                    match payload {
                        Ok(payload) => {
                            writer.push(&payload, scan.labels[i])?;
                            packed += 1;
                        }
                        Err(error) if bad < how.allow_bad => {
                            progress.suspend(|| eprintln!("left out: {error}"));
                            bad += 1;
                        }
                        Err(error) => bail!("{error}; --allow-bad N leaves out N of them"),
                    }
                    i += 1;
                }
            }
            Ok(())
        })?;
    }
    progress.finish_and_clear();
    if packed == 0 {
        // Files of no records are of no use, and would be in the way of the next try.
        paths.iter().try_for_each(std::fs::remove_file)?;
        bail!("{}: wanted at least one image that can be read, got none", scan.root.display());
    }
    let bytes: u64 = paths.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
    println!("{}: {packed} images of {} classes, {} MiB", paths[0].display(), set.classes(), bytes >> 20);
    Ok(())
}

fn stats(data: &Path) -> Result<()> {
    let set = open(data, 1)?;
    let store = store(&set)?;
    let progress = bar(store.count(), "measuring")?;
    let bad = AtomicUsize::new(0);
    let moments = (0..store.count()).into_par_iter().map(|i| {
        let mut moments = Moments::default();
        match store.picture(i) {
            Ok(picture) => moments.add(&picture),
            Err(error) => {
                bad.fetch_add(1, Ordering::Relaxed);
                progress.suspend(|| eprintln!("left out: {error}"));
            }
        }
        progress.inc(1);
        moments
    });
    let moments = moments.reduce(Moments::default, |a, b| a.merged(&b));
    progress.finish_and_clear();
    let Some(stats) = moments.stats() else {
        bail!("{}: wanted at least one image that can be read, got none", data.display());
    };
    println!("{} images, {} left out; pixels run from 0 to 1", store.count(), bad.into_inner());
    println!("mean         {:.4?}", stats.mean);
    println!("std          {:.4?}", stats.std);
    println!("eigenvalues  {:.5?}", stats.eigenvalues);
    for vector in stats.eigenvectors {
        println!("eigenvector  {vector:.4?}");
    }
    Ok(())
}

fn verify(data: &Path) -> Result<()> {
    let mut bad = 0;
    let sets = match data.is_dir() && ["train", "train.txt"].iter().any(|name| data.join(name).exists()) {
        true => {
            let splits = folder::open(data, 1)?;
            vec![splits.train, splits.test]
        }
        false => vec![open(data, 1)?],
    };
    for set in sets {
        let store = store(&set)?;
        let progress = bar(store.count(), "reading")?;
        let check = |i: usize| {
            let result = store.picture(i);
            progress.inc(1);
            result.err()
        };
        let errors: Vec<DataError> = (0..store.count()).into_par_iter().filter_map(check).collect();
        progress.finish_and_clear();
        errors.iter().for_each(|error| println!("{error}"));
        println!("{}: {} images of {} classes, {} bad", set.name, store.count(), set.classes(), errors.len());
        bad += errors.len();
    }
    if bad > 0 { bail!("{bad} images cannot be read") } else { Ok(()) }
}

fn preview(data: &Path, out: &Path, size: usize, seed: u64, trivial: bool) -> Result<()> {
    let set = Arc::new(open(data, size)?);
    let augment = Augment::none().view(View::RANDOM_RESIZED).flip();
    let jitter = ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.0 };
    let augment = if trivial { augment.trivial() } else { augment.colour(jitter).erase(Erase::DEFAULT) };
    let options = LoaderOptions::train(64.min(set.len()), seed).augment(augment);
    let loader = Loader::new(Arc::clone(&set), options)?;
    let batches = loader.epoch(0).take(1).collect::<Result<Vec<_>, _>>()?;
    std::fs::write(out, contact_sheet(&batches, 3, size, size)?)?;
    println!("{}", out.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNM image: a header and pixels.
    fn image(width: usize, height: usize, shade: u8) -> Vec<u8> {
        let mut bytes = format!("P6 {width} {height} 255\n").into_bytes();
        bytes.extend((0..width * height * 3).map(|i| shade.wrapping_add(i as u8 % 31)));
        bytes
    }

    fn tree(root: &Path, each: u8) {
        for half in ["train", "val"] {
            for class in ["a", "b"] {
                let folder = root.join(half).join(class);
                std::fs::create_dir_all(&folder).unwrap();
                for i in 0..each {
                    std::fs::write(folder.join(format!("{i}.ppm")), image(12, 10, i * 9)).unwrap();
                }
            }
        }
    }

    fn packing(raw: bool, shards: u32) -> Packing {
        Packing { size: 8, raw, shards, allow_bad: 0 }
    }

    #[test]
    fn a_folder_is_packed_verified_and_measured() {
        let dir = tempfile::tempdir().unwrap();
        tree(dir.path(), 4);
        let out = dir.path().join("set.wgr");
        let command =
            Images::Pack { folder: dir.path().into(), out: out.clone(), size: 8, raw: true, shards: 1, allow_bad: 0 };
        // The second half is in the way: the first is not begun.
        std::fs::write(dir.path().join("set-val.wgr"), b"precious").unwrap();
        let error = images(&command).unwrap_err().to_string();
        assert!(error.contains("set-val.wgr: there is such a file"), "{error}");
        assert!(!dir.path().join("set-train.wgr").exists());
        std::fs::remove_file(dir.path().join("set-val.wgr")).unwrap();
        images(&command).unwrap();
        let again = images(&command).unwrap_err().to_string();
        assert!(again.contains("set-train.wgr: there is such a file"), "{again}");
        let splits = record::open_splits(&out, 8, Access::Memory).unwrap();
        assert_eq!((splits.train.len(), splits.test.len(), splits.train.classes()), (8, 8, 2));
        assert_eq!(store(&splits.train).unwrap().picture(0).unwrap().height, 8);
        verify(&dir.path().join("set-train.wgr")).unwrap();
        stats(&dir.path().join("set-val.wgr")).unwrap();
        let sheet = dir.path().join("sheet.png");
        preview(dir.path(), &sheet, 16, 1, true).unwrap();
        assert!(std::fs::read(sheet).unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn bad_images_are_named_and_left_out_only_when_allowed() {
        let dir = tempfile::tempdir().unwrap();
        tree(dir.path(), 3);
        std::fs::write(dir.path().join("train/a/1.ppm"), b"no image").unwrap();
        let error = verify(dir.path()).unwrap_err().to_string();
        assert!(error.contains("1 images"), "{error}");
        let scan = scan(&dir.path().join("train")).unwrap();
        let path = dir.path().join("x.wgr");
        let pack = |how: Packing| pack(&scan, &new_files(&scan, &path, how.shards)?, how);
        let error = pack(packing(false, 1)).unwrap_err().to_string();
        assert!(error.contains("1.ppm") && error.contains("--allow-bad"), "{error}");
        assert!(!path.exists());
        pack(Packing { allow_bad: 1, ..packing(false, 2) }).unwrap();
        let set = record::open(&record::shard_name(&path, 0, 2), 8, Access::Positions).unwrap();
        assert_eq!(set.labels, [0, 0, 1, 1, 1]);
        // Shards with an image each: the one whose image is bad is empty, and the set is none the worse for it.
        let path = dir.path().join("y.wgr");
        let pack = |how: Packing| super::pack(&scan, &new_files(&scan, &path, how.shards)?, how);
        assert!(pack(packing(false, 7)).unwrap_err().to_string().contains("at most as many as there are images, 6"));
        pack(Packing { allow_bad: 1, ..packing(false, 6) }).unwrap();
        let set = record::open(&record::shard_name(&path, 3, 6), 8, Access::Positions).unwrap();
        assert_eq!(set.labels, [0, 0, 1, 1, 1]);
        assert!((0..5).all(|i| store(&set).unwrap().picture(i).is_ok()));
        // Of nothing but bad images, nothing stays behind.
        for class in ["a", "b"] {
            (0..3)
                .for_each(|i| std::fs::write(dir.path().join(format!("train/{class}/{i}.ppm")), b"no image").unwrap());
        }
        let path = dir.path().join("z.wgr");
        let paths = new_files(&scan, &path, 2).unwrap();
        let error = super::pack(&scan, &paths, Packing { allow_bad: 6, ..packing(false, 2) }).unwrap_err().to_string();
        assert!(error.contains("wanted at least one image that can be read"), "{error}");
        assert!(paths.iter().all(|path| !path.exists()));
    }

    #[test]
    fn what_is_prepared_at_once_is_bounded_by_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        tree(dir.path(), 12);
        let set = scan(&dir.path().join("train")).unwrap().dataset(1);
        let store = store(&set).unwrap();
        let threads = rayon::current_num_threads();
        // A raw image is 12 times 10 pixels.
        let raw = Packing { size: 0, ..packing(true, 1) };
        for (most, least) in [(1, 1), (3 * 360, 3), (usize::MAX, 22)] {
            let all = prepare(&*store, 2..24, raw, most, || ());
            assert!(all.len() >= least && all.len() <= (least - 1 + threads).max(least), "{} for {most}", all.len());
            for (i, payload) in (2..).zip(all) {
                let wanted = record::payload(&*store, i, 0, true).unwrap();
                assert!(payload.unwrap() == wanted, "image {i}");
            }
        }
    }
}
