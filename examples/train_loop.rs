//! The training loop written out, with nothing between you and the steps: `cargo run --release --example train_loop`.
//!
//! [`TrainStep`] and [`EvalStep`] are two compiled plans over one parameter store. Handing in a step returns at once; its
//! loss is read two steps later, so that the device never waits for the host.

#[path = "common/args.rs"]
mod args;

use anyhow::Context;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use wgrad::prelude::*;
use wgrad::trainer::{ResultLine, checkpoint::Contents, checkpoint::Meta};

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let args = args::parse(&[("model", "resnet8"), ("epochs", "2"), ("batch_size", "64"), ("lr", "0.1")]);
    args.refuse_trainers()?;
    let schedule = Schedule::one_cycle(args.lr, args.epochs.into())?;
    let splits = match &args.data {
        Some(folder) => data::open::fashion_mnist(folder)?,
        None => data::embedded::fashion_mnist_12k()?,
    };
    let (channels, classes) = (splits.train.channels, splits.train.classes());
    let model = args.network(channels, classes)?;

    // Two traces of one model over one store of parameters.
    let device = args.device.open()?;
    let mut params = Params::with_weights(&device, args.seed, args.precision.weights);
    let mut options = StepOptions {
        label_smoothing: 0.05,
        precision: args.precision,
        compile: args.compile_options(),
        ..StepOptions::new(&splits.train, args.batch_size)
    };
    let mut tuning = args.tuning_file()?;
    let budget = args.tune_budget()?;
    options.compile.tuning = tuning.tuning(budget);
    let mut train = TrainStep::new(&device, &mut params, &model, &options)?;
    tuning.keep(train.plan())?;
    options.compile.tuning = tuning.tuning(train.plan().tuned().rest(budget));
    let mut eval = EvalStep::new(&device, &mut params, &model, &options)?;
    if let Some(path) = &args.weights {
        checkpoint::load_weights(&checkpoint::read(path)?, "", &mut params, &path.display().to_string())?;
    }
    // Before training: a folder that is in use shall not cost a run.
    let folder = args.output().create("train_loop")?;
    let peak_bytes = train.plan().created().0 + eval.plan().created().0 + params.bytes();
    args::say(format_args!("{}, {} dispatches a step", device.info().name, train.plan().desc().dispatches.len()));

    let load = LoaderOptions::train(args.batch_size, args.seed).augment(Augment::none().flip()).threads(args.threads);
    let train_loader = Loader::new(Arc::new(splits.train), load)?;
    let test_loader = Loader::new(Arc::new(splits.test), LoaderOptions::eval(args.batch_size))?;
    let steps = train_loader.steps_per_epoch();

    let begun = Instant::now();
    let (mut first_step_s, mut step_s, mut test) = (None, 0.0, None);
    for epoch in 0..args.epochs {
        let epoch_begun = Instant::now();
        let mut pending = VecDeque::new();
        let (mut loss, mut correct, mut read) = (0.0, 0, 0);
        for batch in train_loader.epoch(epoch) {
            let batch = batch?;
            let lr = schedule.lr(train.steps_done(), steps.into());
            pending.push_back(train.run(&batch.images, &batch.labels, lr)?);
            train_loader.recycle(batch);
            let last = train.steps_done().is_multiple_of(steps.into());
            while pending.len() > if last || first_step_s.is_none() { 0 } else { 2 } {
                let Some(ticket) = pending.pop_front() else { break };
                let result = train.read(ticket)?;
                first_step_s.get_or_insert_with(|| args.started.elapsed().as_secs_f64());
                loss += f64::from(result.loss);
                correct += result.correct;
                read += 1;
                if read % 50 == 0 {
                    args::say(format_args!("epoch {epoch} step {read}/{steps}: loss {:.4}, lr {lr:.4}", result.loss));
                }
            }
        }
        step_s += epoch_begun.elapsed().as_secs_f64();
        let accuracy = f64::from(correct) / train_loader.samples_per_epoch() as f64;
        let result = evaluate(&mut eval, &test_loader, epoch)?;
        args::say(format_args!(
            "epoch {epoch}: train loss {:.4}, accuracy {accuracy:.4}; test loss {:.4}, accuracy {:.4}",
            loss / f64::from(steps),
            result.loss,
            result.accuracy
        ));
        test = Some(result);
    }

    let test = test.context("--epochs must be at least 1")?;
    if let Some(folder) = folder {
        let data = Some(train_loader.dataset().fingerprint());
        let meta = Meta { model: args.model, step: train.steps_done(), epoch: args.epochs, seed: args.seed, data };
        checkpoint::save(&folder.join("checkpoint.safetensors"), &params, &meta, Contents::All)?;
    }
    let images = train.steps_done() as f64 * args.batch_size as f64;
    let result = ResultLine {
        accuracy: test.accuracy,
        loss: test.loss,
        images_per_s: images / step_s,
        first_step_s: first_step_s.unwrap_or(0.0),
        train_s: begun.elapsed().as_secs_f64(),
        peak_bytes,
        steps: train.steps_done(),
        seed: args.seed,
        adapter: device.info().name.clone(),
    };
    args::say(result);
    Ok(())
}
