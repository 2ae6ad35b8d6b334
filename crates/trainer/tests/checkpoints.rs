//! Checkpoints on the device: there and back, going on where a run stopped, and refusing another model's.

mod common;

use common::{bits, device, names, net, quiet, splits};
use std::sync::Arc;
use wgrad_layers::{Conv2d, Flatten, Linear};
use wgrad_tensor::{Device, ParamKind, Params};
use wgrad_trainer::checkpoint::{self, Contents};
use wgrad_trainer::{
    Batch, Checkpoint, CheckpointError, Loader, LoaderOptions, Meta, Schedule, Show, StepOptions, TrainError,
    TrainStep, Trainer,
};

fn batches() -> Vec<Batch> {
    let loader = Loader::new(Arc::new(splits().train), LoaderOptions::train(20, 3)).expect("loads");
    loader.epoch(0).map(|batch| batch.expect("batch")).collect()
}

fn start(device: &Device, seed: u64) -> (Params, TrainStep) {
    let mut params = Params::new(device, seed);
    let options = StepOptions::new(&splits().train, 20);
    let step = TrainStep::new(device, &mut params, &net(), &options).expect("compiles");
    (params, step)
}

fn run(step: &mut TrainStep, batches: &[Batch]) {
    for batch in batches {
        step.run(&batch.images, &batch.labels, 0.05).expect("runs");
    }
}

#[test]
fn a_run_goes_on_from_a_checkpoint_bit_by_bit() {
    let device = device();
    let batches = batches();
    let (whole, mut step) = start(&device, 1);
    run(&mut step, &batches);

    let (half, mut step) = start(&device, 1);
    run(&mut step, &batches[..5]);
    let meta = Meta { model: "net".into(), step: 5, epoch: 0, seed: 1, data: Some(0x00c0_ffee) };
    let folder = tempfile::tempdir().expect("tmp");
    let path = folder.path().join("half.safetensors");
    checkpoint::save(&path, &half, &meta, Contents::All).expect("saves");

    // The seed must be the run's: dropout draws from it.
    let (mut resumed, mut step) = start(&device, 1);
    run(&mut step, &batches[7..9]);
    let bytes = checkpoint::read(&path).expect("reads");
    let loaded = checkpoint::load(&bytes, &mut resumed, "half.safetensors").expect("fits");
    assert_eq!(loaded, meta);
    assert_eq!(bits(&resumed), bits(&half));
    step.set_steps_done(loaded.step);
    run(&mut step, &batches[5..]);
    assert_eq!(bits(&resumed), bits(&whole));
    let again = Checkpoint::of(&half, &meta, Contents::All).expect("reads").to_bytes();
    assert_eq!(again, bytes, "the same state gives the same bytes");
}

#[test]
fn a_file_holds_pytorch_s_names_and_the_optimiser_s_state_apart() {
    let device = device();
    let (params, _) = start(&device, 1);
    let all = Checkpoint::of(&params, &Meta::default(), Contents::All).expect("reads");
    let model = Checkpoint::of(&params, &Meta::default(), Contents::Model).expect("reads");
    assert!(model.tensors.contains_key("0.1.running_var") && model.tensors.contains_key("4.weight"));
    assert_eq!(model.tensors["0.0.weight"].shape.dims(), [8, 1, 3, 3]);
    let state: Vec<&String> = all.tensors.keys().filter(|name| name.starts_with("optimizer.")).collect();
    assert_eq!(state.len(), names(&params, ParamKind::Optimizer).len());
    assert_eq!(state.len(), names(&params, ParamKind::Weight).len());
    assert!(state.iter().any(|name| *name == "optimizer.momentum.0.0.weight"), "{state:?}");
    assert_eq!(all.tensors.len(), state.len() + model.tensors.len());
}

#[test]
fn another_model_s_checkpoint_changes_nothing() {
    let device = device();
    let mut other = Params::new(&device, 1);
    let model = (Conv2d::new(1, 8, 3).padding(1).stride(2).bias(false), Flatten, Linear::new(128, 4));
    TrainStep::new(&device, &mut other, &model, &StepOptions::new(&splits().train, 20)).expect("compiles");
    let meta = Meta { model: "other".into(), ..Meta::default() };
    let bytes = Checkpoint::of(&other, &meta, Contents::All).expect("reads").to_bytes();

    let (mut params, _) = start(&device, 2);
    let before = bits(&params);
    let refusals = [
        checkpoint::load(&bytes, &mut params, "other.safetensors").map(|_| ()),
        checkpoint::load_weights(&bytes, "", &mut params, "other.safetensors"),
        // A model without the optimiser's state is no place to go on from.
        {
            let model = Checkpoint::of(&params, &meta, Contents::Model).expect("reads").to_bytes();
            checkpoint::load(&model, &mut params, "other.safetensors").map(|_| ())
        },
    ];
    assert!(refusals[2].as_ref().is_err_and(|error| error.to_string().contains("with load_weights")));
    for refusal in refusals {
        let error = refusal.expect_err("another model");
        assert!(matches!(error, CheckpointError::OtherModel { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("other.safetensors: tensor ") && text.contains("nothing was changed"), "{text}");
    }
    assert_eq!(bits(&params), before);
}

#[test]
fn weights_are_taken_from_files_with_a_prefix() {
    let device = device();
    let (source, mut step) = start(&device, 1);
    run(&mut step, &batches()[..2]);
    let mut torch = Checkpoint::of(&source, &Meta::default(), Contents::Model).expect("reads");
    torch.tensors = torch.tensors.into_iter().map(|(name, array)| (format!("module.{name}"), array)).collect();
    torch.metadata.clear();

    let (mut params, _) = start(&device, 2);
    let fresh = bits(&params);
    checkpoint::load_weights(&torch.to_bytes(), "module.", &mut params, "torch").expect("fits");
    let source = bits(&source);
    for (i, (name, bits)) in bits(&params).iter().enumerate() {
        // The optimiser's own memory is left alone.
        let wanted = if name.contains("momentum") { &fresh[i] } else { &source[i] };
        assert_eq!((name, bits), (&wanted.0, &wanted.1));
    }
    assert!(checkpoint::load_weights(&torch.to_bytes(), "", &mut params, "torch").is_err());
}

#[test]
fn a_run_starts_from_the_weights_of_another() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let first = folder.path().join("first");
    quiet(&device).epochs(1).out(&first).run().expect("trains");
    // Without an update the test must come out as it did at the end of the first run.
    let still = || quiet(&device).epochs(1).seed(7).schedule(Schedule::constant(0.0).expect("good"));
    for name in ["model.safetensors", "best.safetensors", "checkpoints/step-000000000010.safetensors"] {
        let trained = still().weights(first.join(name)).run().expect("trains");
        let bytes = checkpoint::read(&first.join(name)).expect("reads");
        let saved = Checkpoint::parse(&bytes, name).expect("good");
        assert_eq!(trained.params.get("0.0.weight").expect("there"), saved.tensors["0.0.weight"], "{name}");
    }

    let out = folder.path().join("second");
    let other = (Conv2d::new(1, 8, 3).padding(1).stride(2).bias(false), Flatten, Linear::new(128, 4));
    let other = Trainer::new(other, splits()).device(device.clone()).batch_size(20).show(Show::Nothing).out(&out);
    let error = other.weights(first.join("model.safetensors")).run().expect_err("another model's").to_string();
    assert!(error.contains("tensor \"0.weight\"") && error.contains("model.safetensors"), "{error}");
    let missing = still().out(&out).weights(first.join("none")).run().expect_err("no such file");
    assert!(matches!(missing, TrainError::Checkpoint(CheckpointError::Read { .. })), "{missing}");
    assert!(!out.exists(), "nothing was written");
}
