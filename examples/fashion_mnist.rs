//! The demo: a ResNet-8 learns the Fashion-MNIST images that are part of the binary (12,000 of them; 2,000 for the test).
//! `cargo run --release --example fashion_mnist`; with `--data FOLDER` it takes the full set of 60,000.

#[path = "common/args.rs"]
mod args;

use std::process::ExitCode;
use wgrad::prelude::*;

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let args = args::parse(&[("model", "resnet8"), ("epochs", "8"), ("batch_size", "64"), ("lr", "0.1")]);
    let splits = match &args.data {
        Some(folder) => data::open::fashion_mnist(folder)?,
        None => data::embedded::fashion_mnist_12k()?,
    };
    let (channels, classes) = (splits.train.channels, splits.train.classes());
    let model = args.network(channels, classes)?;
    args::say(Summary::new(&model, splits.train.input(1))?);
    let trainer = Trainer::new(model, splits)
        .name(format!("fashion-mnist-{}", args.model))
        .architecture(&args.model)
        .epochs(args.epochs)
        .batch_size(args.batch_size)
        .schedule(Schedule::one_cycle(args.lr, args.epochs.into())?)
        .sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 5e-4, ..SgdConfig::default() })
        .augment(Augment::none().flip());
    let trained = args.run(trainer)?;
    args::say(format_args!(
        "{:.2} % of the {} test images are classified rightly",
        100.0 * trained.report.accuracy(),
        trained.report.test.images
    ));
    args::say(trained.report.result_line());
    Ok(())
}
