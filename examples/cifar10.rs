//! Trains a network of the zoo on CIFAR-10: `cargo run --release --example cifar10 -- --model resnet20 --epochs 3`.
//! Needs the data: `cargo xtask data cifar10`, or `--data FOLDER` with the official binary files.

#[path = "common/args.rs"]
mod args;

use std::process::ExitCode;
use wgrad::prelude::*;

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let args = args::parse(&[("model", "resnet20"), ("epochs", "10"), ("batch_size", "64"), ("lr", "0.1")]);
    let model = args.network(3, 10)?;
    let trainer = Trainer::new(model, data::open::cifar10(&args.data_folder("cifar10"))?)
        .name(&args.model)
        .architecture(&args.model)
        .epochs(args.epochs)
        .batch_size(args.batch_size)
        .schedule(Schedule::one_cycle(args.lr, args.epochs.into())?)
        .sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 5e-4, ..SgdConfig::default() })
        .augment(Augment::none().pad_crop(4, Border::Zero).flip());
    let trained = args.run(trainer)?;
    args::say(trained.report.result_line());
    Ok(())
}
