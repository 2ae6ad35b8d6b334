//! How fast images come from files: decoded, cropped at random, resized, mirrored and packed, without any device.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wgrad::trainer::{Augment, Dataset, Loader, LoaderOptions, View};

use crate::images;

/// Folders and record files of images.
#[derive(clap::Args)]
pub(super) struct DataArgs {
    /// Folders of images and record files, one row for each
    #[arg(required = true)]
    data: Vec<PathBuf>,
    /// Pixels on each side of an image as a network gets it
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(1..=4096))]
    size: u32,
    /// Seconds for each figure
    #[arg(long, default_value = "5")]
    seconds: u32,
    /// Also compare every pixel and label of an epoch with the first row's, and fail where one differs: the same images, packed without
    /// resizing, give the same batches
    #[arg(long)]
    verify: bool,
}

/// One row for each folder or file: images a second on one core and on all, and how many times as fast as the first row.
pub(super) fn run(args: &DataArgs, batch: usize) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = Duration::from_secs(args.seconds.into());
    println!("random resized crop to {0}x{0}, mirror; batches of {batch}; {cores} cores", args.size);
    println!("{:>12} {:>12} {:>9}  data", "1 core", "all cores", "relative");
    let (mut first, mut wanted_batches) = (None, None);
    for path in &args.data {
        let set = Arc::new(images::open(path, args.size as usize)?);
        if args.verify {
            let got = checksum(&set, batch, cores)?;
            let wanted = *wanted_batches.get_or_insert(got);
            ensure!(got == wanted, "{}: wanted an epoch with checksum {wanted:08x}, got {got:08x}", path.display());
            println!("{got:08x} is the checksum of an epoch of {}", shown(path));
        }
        let one = rate(&set, batch, 0, wanted)?;
        let all = rate(&set, batch, cores, wanted)?;
        let relative = one / *first.get_or_insert(one);
        println!("{one:>9.0} /s {all:>9.0} /s {relative:>8.2}x  {} ({} images)", shown(path), set.len());
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// CRC-32 of the images and labels of an epoch, in the order and with the random changes of training.
fn checksum(set: &Arc<Dataset>, batch: usize, threads: usize) -> Result<u32> {
    let loader = loader(set, batch, threads)?;
    let mut sum = crc32fast::Hasher::new();
    for batch in loader.epoch(0) {
        let batch = batch?;
        batch.images.iter().chain(&batch.labels).for_each(|word| sum.update(&word.to_le_bytes()));
        loader.recycle(batch);
    }
    ensure!(loader.faults().is_empty(), "{}: {} images cannot be read", set.name, loader.faults().len());
    Ok(sum.finalize())
}

fn loader(set: &Arc<Dataset>, batch: usize, threads: usize) -> Result<Loader> {
    let augment = Augment::none().view(View::RANDOM_RESIZED).flip();
    let options = LoaderOptions::train(batch.min(set.len()), 1).augment(augment).threads(threads);
    Ok(Loader::new(Arc::clone(set), options)?)
}

/// Images a second, after a warm-up of a fifth of the time; the files are then as far in memory as they fit.
fn rate(set: &Arc<Dataset>, batch: usize, threads: usize, wanted: Duration) -> Result<f64> {
    let loader = loader(set, batch, threads)?;
    let mut batches = (0..).flat_map(|epoch| loader.epoch(epoch));
    let mut run = |time: Duration| -> Result<f64> {
        let (started, mut images) = (Instant::now(), 0);
        while started.elapsed() < time {
            if let Some(batch) = batches.next().transpose()? {
                images += batch.valid;
                loader.recycle(batch);
            }
        }
        Ok(images as f64 / started.elapsed().as_secs_f64())
    };
    run(wanted / 5)?;
    run(wanted)
}
