//! Runs a trained network up to one of its layers over all images of a folder and keeps what comes out, so that it is computed
//! once: `cargo run --release --example extract_features -- --data FOLDER --weights FILE --out cache.wgr` writes
//! `cache-train.wgr` and `cache-val.wgr`.
//!
//! Files that are there already are left as they are if they hold the same features, and refused if they hold others. The example
//! `finetune --features --cache cache.wgr` fits a linear classifier to them.

#[path = "common/args.rs"]
mod args;
#[path = "common/transfer.rs"]
mod transfer;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use wgrad::trainer::features::ExtractOptions;

/// Keeps the features of all images of a folder in record files.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    transfer: transfer::TransferArgs,
    /// Layer whose result is kept, e.g. features.12 [default: what the last layer works on]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Keep whole feature maps, not their means over height and width
    #[arg(long)]
    maps: bool,
    /// Keep 16 bits of each number
    #[arg(long)]
    half: bool,
    /// Files that each half is divided into
    #[arg(long, default_value = "1")]
    shards: u32,
    /// Images in a step
    #[arg(long, default_value = "32")]
    batch_size: usize,
    /// Name of the files: cache.wgr gives cache-train.wgr and cache-val.wgr
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    let transfer = args.transfer.open()?;
    let model = transfer.network()?;
    let device = args.transfer.device.open()?;
    let (tap, pool, half) = (transfer::tap(args.layer.as_deref()), !args.maps, args.half);
    let (batch_size, shards) = (args.batch_size, args.shards);
    let options = ExtractOptions { tap, pool, half, batch_size, shards, ..ExtractOptions::default() };
    transfer::cache(&args.transfer, &transfer, (&device, &*model), (&args.out, &options), 1)?;
    Ok(())
}
