//! The recipe of airbench94 (Jordan, arXiv:2404.00498), which reaches 94 % on CIFAR-10 in ten epochs: `cargo run --release --example
//! airbench94`. Needs the data: `cargo xtask data cifar10`, or `--data FOLDER` with the official binary files. `--lr` is for 1024 images,
//! whatever the batch.

#[path = "common/args.rs"]
mod args;

use std::process::ExitCode;
use std::sync::Arc;
use wgrad::layers::models::AirbenchNet;
use wgrad::prelude::*;
use wgrad::trainer::{Airbench94, evaluate_mirror_translate};

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let args = args::parse(&[("epochs", "10"), ("batch_size", "1024"), ("lr", "1.5")]);
    let splits = data::open::cifar10(&args.data_folder("cifar10"))?;
    let test = Arc::new(splits.test.clone());
    let recipe = Airbench94 { epochs: args.epochs, batch_size: args.batch_size, lr: args.lr, ..Airbench94::default() };
    let mut trained = args.run(recipe.trainer(splits)?)?;

    // The recipe's test: mirror images and shifts by a pixel, their logits averaged.
    let batch = 500.min(test.len());
    let options = StepOptions { logits: true, ..StepOptions::new(&test, batch) };
    let net = AirbenchNet::new(3, test.classes());
    let mut step = EvalStep::new(&trained.device, &mut trained.params, &net, &options)?;
    let averaged = evaluate_mirror_translate(&mut step, &test, &LoaderOptions::eval(batch))?;
    args::say(format_args!("with mirror images and shifts averaged: accuracy {:.4}", averaged.accuracy));
    args::say(trained.report.result_line());
    Ok(())
}
