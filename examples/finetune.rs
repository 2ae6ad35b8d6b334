//! Teaches a trained network the classes of your own images:
//! `cargo run --release --example finetune -- --data FOLDER --weights FILE`.
//!
//! Without more, the head is new and all layers learn, those below it at a tenth of its rate (`--body`). `--stages two` trains
//! the head alone first. `--features` trains no layer but a linear classifier on what the layer before the head gives, which is
//! computed once and kept; it takes seconds more than one pass over the images, and is the first of two stages with
//! `--stages two`. All of them end in `model.safetensors`, a network of the zoo under torchvision's names.

#[path = "common/args.rs"]
mod args;
#[path = "common/transfer.rs"]
mod transfer;

use anyhow::Context;
use args::say;
use clap::{Parser, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use transfer::{Transfer, VIEW, cache, tap};
use wgrad::prelude::*;
use wgrad::trainer::checkpoint::{Checkpoint, Contents, Meta};
use wgrad::trainer::features::{ExtractOptions, LinearFit, LinearLoss};
use wgrad::trainer::{
    BodyRates, Evaluation, EvaluationLine, LoadOptions, ModelCard, Preprocessing, Resume, Trained, View,
};

/// Teaches a trained network other classes and ends with one line `result {…}` for programs to read.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    transfer: transfer::TransferArgs,
    /// Fit a linear classifier to the features before the head; no layer learns, and what is said of rates, epochs and batches counts
    /// for nothing. With two stages it is the first one
    #[arg(long)]
    features: bool,
    /// With --features: a support vector machine instead of logistic regression
    #[arg(long, requires = "features")]
    svm: bool,
    /// With --features: where features are kept; NAME.wgr stands for NAME-train.wgr and NAME-val.wgr, as extract_features makes
    /// them [default: in the results' folder]
    #[arg(long, value_name = "FILE", requires = "features")]
    cache: Option<PathBuf>,
    /// One stage, or two: the head alone, then all
    #[arg(long, value_enum, default_value = "one")]
    stages: Stages,
    /// How fast layers below the head learn: full, frozen, tiers (0, 1/100, 1/10 by depth) or a factor
    #[arg(long, default_value = "0.1", value_parser = body)]
    body: BodyRates,
    /// Layers that stay as they are, by pattern: features.0, layer1, *.bias; may be repeated
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Passes over the training images, of each stage
    #[arg(long, default_value = "6")]
    epochs: u32,
    /// Images in a training step
    #[arg(long, default_value = "16")]
    batch_size: usize,
    /// Largest learning rate of the head
    #[arg(long, default_value = "0.003")]
    lr: f64,
    /// Least part of an image's area that a training crop shows
    #[arg(long, value_name = "SHARE", default_value = "0.6", value_parser = area)]
    crop_area: f32,
    /// What the head's first weights, order and augmentation follow from
    #[arg(long, default_value = "1")]
    seed: u64,
    /// New or empty folder for the results [default: a fresh one in runs/]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with the run of one stage in this folder; the other arguments must be those that it began with
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["out", "features", "stages"])]
    resume: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stages {
    One,
    Two,
}

/// Learning rate of the second stage, as a part of the first one's.
const SECOND_STAGE: f64 = 1.0 / 3.0;

fn body(text: &str) -> Result<BodyRates, String> {
    Ok(match text {
        "full" => BodyRates::Full,
        "frozen" => BodyRates::Frozen,
        "tiers" => BodyRates::ThreeTiers,
        _ => BodyRates::Scaled(
            text.parse().map_err(|_| format!("wanted full, frozen, tiers or a number, got {text:?}"))?,
        ),
    })
}

fn area(text: &str) -> Result<f32, String> {
    let share = text.parse().map_err(|_| format!("wanted a number, got {text:?}"))?;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err(format!("wanted more than 0 and at most 1, got {share}")) }
}

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let started = Instant::now();
    let args = Args::parse();
    let transfer = args.transfer.open()?;
    let device = args.transfer.device.open()?;
    let output = args.out.clone().map_or(Output::default(), Output::Folder);
    let name = format!("{}-{}", transfer.splits.train.name, transfer.model);
    let trainer = stage(&args, &transfer, &device, args.body, args.lr)?;
    trainer.check()?;
    if !args.features && args.stages == Stages::One {
        // The run makes its folder itself, once nothing can be refused any more.
        let trainer = match &args.resume {
            Some(folder) => trainer.out(folder).resume(Resume::default()),
            None => trainer.output(output),
        };
        let trained = pretrained(trainer.started(started).stop(args::stop()), &transfer, &args).run()?;
        say(trained.report.result_line());
        return Ok(());
    }
    let folder = output.create(&name)?.context("a folder")?;
    match args.stages {
        Stages::One => say(linear(&args, &transfer, &device, &folder)?),
        Stages::Two => say(two_stages(&args, &transfer, &device, &folder, started)?.report.result_line()),
    }
    Ok(())
}

/// With the weights that were given, but for the head.
fn pretrained(trainer: Trainer, transfer: &Transfer, args: &Args) -> Trainer {
    trainer.pretrained(&args.transfer.weights, transfer.loading.clone()).replace_head()
}

/// Training by gradient descent, with layers below the head at these rates; where results go is the caller's to say.
fn stage(args: &Args, transfer: &Transfer, device: &Device, body: BodyRates, lr: f64) -> anyhow::Result<Trainer> {
    let trainer = Trainer::new(transfer.network()?, transfer.splits.clone())
        .name(&transfer.model)
        .architecture(&transfer.model)
        .device(device.clone())
        .epochs(args.epochs)
        .batch_size(args.batch_size)
        .schedule(Schedule::one_cycle(lr, args.epochs.into())?)
        .sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 1e-4, ..SgdConfig::default() })
        .augment(
            Augment::none().view(View::RandomResized { area: [args.crop_area, 1.0], ratio: [0.75, 4.0 / 3.0] }).flip(),
        )
        .eval_view(VIEW)
        .body(body)
        .threads(args.transfer.threads)
        .seed(args.seed);
    Ok(args.freeze.iter().fold(trainer, |trainer, pattern| trainer.freeze(pattern)))
}

/// Trains the head alone, then all; the first stage's results are in `head`, the second one's in `all`.
fn two_stages(
    args: &Args,
    transfer: &Transfer,
    device: &Device,
    folder: &Path,
    started: Instant,
) -> anyhow::Result<Trained> {
    let stop = args::stop();
    let stage = |body: BodyRates, lr: f64, folder: &Path| -> anyhow::Result<Trainer> {
        Ok(stage(args, transfer, device, body, lr)?.out(folder).started(started).stop(stop.clone()))
    };
    let head = folder.join("head");
    if args.features {
        std::fs::create_dir(&head)?;
        say(linear(args, transfer, device, &head)?);
    } else {
        pretrained(stage(BodyRates::Frozen, args.lr, &head)?, transfer, args).run()?;
    }
    // The head is good by now: what was its rate would take it away again.
    let all = stage(args.body, args.lr * SECOND_STAGE, &folder.join("all"))?;
    // A network without its auxiliary classifiers is whole in evaluation: in training these begin anew.
    Ok(all.pretrained(head.join("model.safetensors"), LoadOptions::new().lenient()).run()?)
}

/// Fits a linear classifier to features and puts it in the head's place.
fn linear(args: &Args, transfer: &Transfer, device: &Device, folder: &Path) -> anyhow::Result<EvaluationLine> {
    let splits = &transfer.splits;
    let model = transfer.network()?;
    let path = args.cache.clone().unwrap_or_else(|| folder.join("features.wgr"));
    let options = ExtractOptions::default();
    let mut params = cache(&args.transfer, transfer, (device, &*model), (&path, &options), args.seed)?;
    let begun = Instant::now();
    let (train, test) = data::features::open_splits(&path)?;
    let loss = if args.svm { LinearLoss::Svm } else { LinearLoss::Softmax };
    let fit = LinearFit { seed: args.seed, ..LinearFit::new(loss) };
    let classifier = fit.run(device, &train)?;
    let share = |of: &Evaluation| format!("{} of {} ({:.1} %)", of.correct, of.images, 100.0 * of.accuracy);
    say(format!(
        "{loss:?} on features, {:.1} s: training images {} right, test images {}",
        begun.elapsed().as_secs_f64(),
        share(&classifier.evaluate(&train)?),
        share(&classifier.evaluate(&test)?)
    ));
    // The whole network, as anyone will use it.
    let step = StepOptions::new(&splits.test, options.batch_size);
    let mut step = EvalStep::new(device, &mut params, &*model, &step)?;
    classifier.into_head(&mut params, &*model, &splits.test, &tap(None))?;
    let mut loading = LoaderOptions::eval(options.batch_size).threads(args.transfer.threads.min(1));
    loading.augment.view = Some(VIEW);
    let begun = Instant::now();
    let whole = evaluate(&mut step, &Loader::new(Arc::new(splits.test.clone()), loading)?, 0)?;
    let seconds = begun.elapsed().as_secs_f64();
    say(format!("the network with this head: test images {} right", share(&whole)));
    let data = Some(splits.train.fingerprint());
    let meta = Meta { model: transfer.model.clone(), step: 0, epoch: 0, seed: args.seed, data };
    let card = ModelCard {
        architecture: Some(transfer.model.clone()),
        class_names: splits.train.class_names.clone(),
        preprocessing: Preprocessing::of_dataset(&splits.train, Some(VIEW)),
    };
    let mut saved = Checkpoint::of(&params, &meta, Contents::Model)?;
    card.put(&mut saved.metadata);
    let file = folder.join("model.safetensors");
    checkpoint::save_bytes(&file, &saved.to_bytes())?;
    say(format!("saved {}", file.display()));
    let left_out = (splits.test.len() as u64).saturating_sub(whole.images);
    Ok(EvaluationLine::new(&whole, 1, left_out, seconds, device.info().name.clone()))
}
