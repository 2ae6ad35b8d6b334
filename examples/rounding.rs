//! Does rounding matter? The same small network (two convolutions, two linear layers) learns the embedded Fashion-MNIST with
//! different numbers, several seeds each. Prints the table of docs/precision.md.
//! `cargo run --release --example rounding`

#[path = "common/args.rs"]
mod args;

use args::{DeviceArgs, say};
use clap::Parser;
use std::process::ExitCode;
use wgrad::layers::{Conv2d, Flatten, Linear, MaxPool2d, Relu};
use wgrad::prelude::*;
use wgrad::trainer::{Precision, Show};

/// Trains the same network with different numbers.
#[derive(Debug, Parser)]
struct Args {
    /// Presets to compare
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "f32,mixed-f16,bf16-sr,bf16-nearest,f16-sr,f16-nearest,fixed16-sr,fixed16-nearest,dynamic10-sr"
    )]
    precision: Vec<Precision>,
    /// Runs of each
    #[arg(long, default_value = "3")]
    seeds: u64,
    /// Passes over the training set
    #[arg(long, default_value = "5")]
    epochs: u32,
    /// Learning rate, constant: small enough that late updates are smaller than half a step of a 16-bit weight
    #[arg(long, default_value = "0.005")]
    lr: f64,
    /// Share of the velocity that is kept; without any, updates are smallest
    #[arg(long, default_value = "0")]
    momentum: f32,
    #[command(flatten)]
    device: DeviceArgs,
}

fn network() -> impl Layer + Clone {
    (
        (Conv2d::new(1, 8, 5).padding(2), Relu, MaxPool2d::new(2)),
        (Conv2d::new(8, 16, 5).padding(2), Relu, MaxPool2d::new(2)),
        (Flatten, Linear::new(16 * 7 * 7, 64), Relu),
        Linear::new(64, 10),
    )
}

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = args.device.open()?;
    say("| numbers | test accuracy, % (mean) | least to most | against f32 | loss on the training set |");
    say("|---|---|---|---|---|");
    let mut baseline = None;
    for precision in &args.precision {
        let mut accuracies = Vec::new();
        let mut losses = Vec::new();
        for seed in 1..=args.seeds {
            let trainer = Trainer::new(network(), data::embedded::fashion_mnist_12k()?)
                .name("rounding")
                .epochs(args.epochs)
                .eval_every(args.epochs)
                .batch_size(50)
                .schedule(Schedule::Constant { lr: args.lr })
                .sgd(SgdConfig { momentum: args.momentum, weight_decay: 0.0, ..SgdConfig::default() })
                .precision(*precision)
                .device(device.clone())
                .seed(seed)
                .output(Output::Nowhere)
                .show(Show::Nothing);
            let report = trainer.run()?.report;
            accuracies.push(100.0 * report.accuracy());
            losses.push(report.epochs.last().map_or(f64::NAN, |epoch| epoch.train_loss));
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let accuracy = mean(&accuracies);
        let (least, most) = accuracies.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
        let difference = accuracy - *baseline.get_or_insert(accuracy);
        let (name, loss) = (precision.name(), mean(&losses));
        say(format_args!("| {name} | {accuracy:.2} | {least:.2} to {most:.2} | {difference:+.2} | {loss:.4} |"));
    }
    Ok(())
}
