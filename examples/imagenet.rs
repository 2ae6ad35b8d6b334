//! Trains a network of the zoo on images of your own: a folder with `train` and `val` in it and a sub-folder for each class
//! (ImageNet's layout), or record files made of one by `cargo xtask data pack`:
//! `cargo run --release --example imagenet -- --data FOLDER --model resnet18 --size 128 --epochs 5`.
//!
//! Random resized crops and mirror images in training, the middle of each image in evaluation, one cycle of the learning
//! rate. Crops have at least 35 % of the area: short runs learn more of them than of ImageNet's usual 8 %. `--weights` starts from a
//! file of the same network.

#[path = "common/args.rs"]
mod args;

use anyhow::Context;
use std::process::ExitCode;
use wgrad::prelude::*;
use wgrad::trainer::View;

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let defaults = [("model", "resnet18"), ("epochs", "5"), ("batch_size", "64"), ("lr", "0.1"), ("size", "224")];
    let args = args::parse(&defaults);
    let path = args.data.as_deref().context(
        "--data: wanted a folder with train and val in it and a sub-folder for each class, or the name of record files; got none",
    )?;
    let data = data::open::images(path, args.size)?;
    let model = args.network(data.train.channels, data.train.class_names.len())?;
    let trainer = Trainer::new(model, data)
        .name(&args.model)
        .architecture(&args.model)
        .epochs(args.epochs)
        .batch_size(args.batch_size)
        .schedule(Schedule::one_cycle(args.lr, args.epochs.into())?)
        .sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 5e-5, ..SgdConfig::default() })
        .label_smoothing(0.1)
        .augment(Augment::none().view(View::RandomResized { area: [0.35, 1.0], ratio: [0.75, 4.0 / 3.0] }).flip())
        .eval_view(View::CENTRE);
    let trained = args.run(trainer)?;
    args::say(trained.report.result_line());
    Ok(())
}
