//! How weights are updated: frozen layers, rates of their own, other optimisers, several batches to an update, averages.

mod common;

use common::{bits, device, net, quiet, splits};
use std::sync::Arc;
use wgrad_layers::{Conv2d, Dropout, Flatten, GlobalAvgPool, Layer, Linear, Relu, ScopeExt};
use wgrad_tensor::ops::optimizer::{Adagrad, AdamW, Lars, Muon, RmsProp};
use wgrad_tensor::{Array, Device, ParamKind, Params, Scope, Value};
use wgrad_trainer::{
    Batch, BodyRates, LoadOptions, Loader, LoaderOptions, Optimizer, Output, Precision, Schedule, Show, StepOptions,
    TrainError, TrainStep, Trained, Trainer, UpdateConfig, Weights, checkpoint,
};

fn batches(size: usize) -> Vec<Batch> {
    let loader = Loader::new(Arc::new(splits().train), LoaderOptions::train(size, 3)).expect("loads");
    loader.epoch(0).map(|batch| batch.expect("batch")).collect()
}

/// Without batch norm and dropout: the gradient of a batch is the mean of those of its halves.
fn plain() -> impl Layer {
    let second = Conv2d::new(8, 12, 3).padding(1).stride(2);
    (Conv2d::new(1, 8, 3).padding(1).stride(2), Relu, second, Relu, Flatten, Linear::new(48, 4))
}

fn compile(device: &Device, model: &dyn Layer, size: usize, update: UpdateConfig) -> (Params, TrainStep) {
    let mut params = Params::new(device, 1);
    let options = StepOptions { update, ..StepOptions::new(&splits().train, size) };
    let step = TrainStep::new(device, &mut params, model, &options).expect("compiles");
    (params, step)
}

fn train(step: &mut TrainStep, batches: &[Batch], lr: f32) {
    for batch in batches {
        step.run(&batch.images, &batch.labels, lr).expect("runs");
    }
}

fn sgd() -> UpdateConfig {
    UpdateConfig::default()
}

#[test]
fn frozen_layers_get_no_gradient_and_keep_their_bits() {
    let device = device();
    let model = plain();
    let (params, mut step) = compile(&device, &model, 20, sgd().freeze("0").freeze("2.weight"));
    let before = bits(&params);
    train(&mut step, &batches(20)[..3], 0.05);
    for ((name, old), (_, new)) in before.iter().zip(bits(&params)) {
        let learns = ["2.bias", "5.weight", "5.bias"].contains(&name.trim_start_matches("optimizer.momentum."));
        assert_eq!(*old != new, learns, "{name}");
    }
    assert_eq!(params.of_kind(ParamKind::Optimizer).count(), 3, "no velocity of a frozen parameter");
    // Forward passes are there, no filter's gradient, and no input's of the second convolution, which only leads to the first.
    let desc = step.plan().desc();
    let count = |part: &str| desc.dispatches.iter().filter(|d| d.label.contains(part)).count();
    assert!(count("0/conv2d") > 0 && count("2/conv2d") > 0);
    assert_eq!((count("conv2d.backward"), count("optimizer/sgd")), (0, 1), "{}", step.plan().dump());
}

#[test]
fn transformed_filters_of_frozen_layers_are_kept() {
    let device = device();
    let body = (Conv2d::new(1, 64, 3).padding(1), Relu, Conv2d::new(64, 64, 3).padding(1), Relu);
    let model = (body, Flatten, Linear::new(4096, 4));
    let (_, mut step) = compile(&device, &model, 4, sgd().freeze("0"));
    train(&mut step, &batches(4)[..2], 0.01);
    let desc = step.plan().desc();
    let (all, kept) = (desc.dispatches.len(), desc.frozen.dispatches);
    // Which algorithm is chosen, and so whether filters are transformed, is the tier's business.
    assert_eq!(kept > 0, desc.dispatches.iter().any(|d| d.label.contains("2/conv2d.") && d.label.contains("filter")));
    assert_eq!(step.plan().launched(), all - kept, "{}", step.plan().dump());
    let (_, mut step) = compile(&device, &model, 4, sgd());
    train(&mut step, &batches(4)[..2], 0.01);
    assert_eq!(step.plan().desc().frozen.dispatches, 0);
}

#[test]
fn a_factor_on_the_rate_is_a_factor_on_the_rate() {
    let device = device();
    let (whole, mut step) = compile(&device, &net(), 20, sgd());
    train(&mut step, &batches(20)[..4], 0.05);
    let (half, mut step) = compile(&device, &net(), 20, sgd().lr_scale("*", 0.5));
    train(&mut step, &batches(20)[..4], 0.1);
    assert_eq!(bits(&half), bits(&whole));
}

#[test]
fn three_tiers_are_one_dispatch_each() {
    let device = device();
    let tiers = sgd().freeze("0").lr_scale("1", 0.01).lr_scale("4", 1.0);
    let (params, mut step) = compile(&device, &net(), 20, tiers);
    let updates = step.plan().desc().dispatches.iter().filter(|d| d.label.contains("/sgd")).count();
    assert_eq!(updates, 2, "{}", step.plan().dump());
    let before = Weights::of(&params).expect("reads");
    train(&mut step, &batches(20)[..1], 0.1);
    let after = Weights::of(&params).expect("reads");
    let change = |name: &str| {
        let pairs = before.tensors[name].data.iter().zip(&after.tensors[name].data);
        pairs.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
    };
    assert_eq!(change("0.0.weight"), 0.0);
    assert!(change("1.0.weight") > 0.0 && change("1.0.weight") < 0.1 * change("4.weight"));
}

#[test]
fn several_batches_make_one_update() {
    let device = device();
    let all = UpdateConfig { clip_norm: Some(0.1), ema: Some(0.5), ..sgd() }.lr_scale("2", 0.1);
    for (tiers, update) in [(1, sgd()), (2, all)] {
        let model = plain();
        let (whole, mut step) = compile(&device, &model, 20, update.clone());
        let large = batches(20);
        train(&mut step, &large[..6], 0.05);
        let (parts, mut step) = compile(&device, &model, 10, UpdateConfig { accumulate: 2, ..update });
        let pixels = 10 * 64;
        for batch in &large[..6] {
            for half in 0..2 {
                let (images, labels) = (&batch.images[half * pixels..][..pixels], &batch.labels[half * 10..][..10]);
                step.run(images, labels, 0.05).expect("runs");
            }
        }
        let sums = step.plan().desc().dispatches.iter().filter(|d| d.label.contains("/blend")).count();
        let groups =
            step.update_plan().expect("apart").desc().dispatches.iter().filter(|d| d.label.contains("/sgd")).count();
        assert_eq!((sums, groups), (1, tiers), "sums and parameters lie side by side:\n{}", step.plan().dump());
        for (name, want) in Weights::averaged(&whole).expect("reads").tensors {
            let got = &Weights::averaged(&parts).expect("reads").tensors[&name];
            let most = want.data.iter().zip(&got.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most < 1e-5, "{name} differs by {most}");
        }
    }
}

#[test]
fn an_average_of_the_weights_is_kept_beside_them() {
    let device = device();
    let update = UpdateConfig { ema: Some(0.75), ..sgd() };
    let (params, mut step) = compile(&device, &net(), 20, update);
    let mut want: Vec<f32> = Vec::new();
    for batch in &batches(20)[..4] {
        train(&mut step, std::slice::from_ref(batch), 0.05);
        let new = params.get("4.weight").expect("known").data;
        match want.is_empty() {
            true => want = new,
            false => want.iter_mut().zip(new).for_each(|(want, new)| *want = 0.75 * *want + 0.25 * new),
        }
    }
    let averaged = Weights::averaged(&params).expect("reads");
    let got = &averaged.tensors["4.weight"].data;
    assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-6));
    assert_eq!(averaged.tensors["0.1.running_var"], params.get("0.1.running_var").expect("known"));
    // What was averaged goes into a model like any other weights.
    let (mut other, _) = compile(&device, &net(), 20, sgd());
    averaged.load_into(&mut other, &LoadOptions::new(), "average").expect("fits");
    assert_eq!(other.get("4.weight").expect("known"), averaged.tensors["4.weight"]);
}

#[test]
fn every_optimiser_learns() {
    let device = device();
    let schedule = |lr| wgrad_trainer::Schedule::constant(lr).expect("good");
    for (optimizer, lr) in [
        (Optimizer::AdamW(AdamW::default()), 3e-3),
        (Optimizer::RmsProp(RmsProp { momentum: 0.5, ..RmsProp::default() }), 1e-3),
        (Optimizer::Adagrad(Adagrad::default()), 2e-2),
        (Optimizer::RmsProp(RmsProp { centered: true, ..RmsProp::default() }), 1e-3),
        (Optimizer::Lars(Lars { trust: 0.1, ..Lars::default() }), 0.1),
        (Optimizer::Muon(Muon { momentum: 0.6, ..Muon::default() }), 2e-2),
    ] {
        let trained = quiet(&device).epochs(4).optimizer(optimizer).schedule(schedule(lr)).run().expect("trains");
        let accuracy = trained.report.accuracy();
        assert!(accuracy > 0.9, "{optimizer:?}: {accuracy}");
    }
}

#[test]
fn loss_scales_go_with_all_of_it() {
    let device = device();
    let precision = Precision::by_name("mixed-f16").expect("known");
    for accumulate in [1, 2] {
        let optimizer = Optimizer::AdamW(AdamW::default());
        let update = UpdateConfig { optimizer, clip_norm: Some(1.0), accumulate, ..sgd() };
        let mut params = Params::with_weights(&device, 1, precision.weights);
        let options = StepOptions { update, precision, ..StepOptions::new(&splits().train, 20) };
        let mut step = TrainStep::new(&device, &mut params, &net(), &options).expect("compiles");
        let mut losses = Vec::new();
        for batch in batches(20).iter().cycle().take(40) {
            let ticket = step.run(&batch.images, &batch.labels, 3e-3).expect("runs");
            losses.push(step.read(ticket).expect("reads").loss);
        }
        assert!(losses[39] < 0.5 * losses[0], "{losses:?}");
    }
}

#[test]
fn sums_of_gradients_forget_an_overflow() {
    let device = device();
    let (mut params, mut step) = compile(&device, &plain(), 10, UpdateConfig { accumulate: 2, ..sgd() });
    let batches = batches(10);
    train(&mut step, &batches[..2], 0.05);
    let sums: Vec<_> = params.of_kind(ParamKind::Gradient).collect();
    assert!(!sums.is_empty());
    for sum in sums {
        let data = vec![f32::INFINITY; sum.shape.numel()];
        params.set(&sum.name, &Array { shape: sum.shape, data }).expect("known");
    }
    let before = params.get("0.weight").expect("known");
    train(&mut step, &batches[2..4], 0.05);
    let after = params.get("0.weight").expect("known");
    assert!(after != before && after.data.iter().all(|value| value.is_finite()), "{after:?}");
}

#[test]
fn a_run_starts_from_weights_of_another_task() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let path = folder.path().join("weights.safetensors");
    let (params, mut step) = compile(&device, &net(), 20, sgd());
    train(&mut step, &batches(20), 0.05);
    let mut weights = Weights::of(&params).expect("reads");
    weights.tensors.remove("4.bias");
    checkpoint::save_bytes(&path, &weights.to_bytes()).expect("writes");

    let strict = quiet(&device).pretrained(&path, LoadOptions::new()).run().expect_err("a tensor is missing");
    assert!(matches!(strict, TrainError::Weights(_)) && strict.to_string().contains("4.bias"), "{strict}");
    let trained =
        quiet(&device).epochs(1).pretrained(&path, LoadOptions::new()).replace_head().freeze("*").lr_scale("4", 1.0);
    let trained = trained.run().expect("trains");
    for name in ["0.0.weight", "1.0.weight", "0.1.bias"] {
        assert_eq!(trained.params.get(name).expect("known"), weights.tensors[name], "{name}");
    }
    assert_ne!(trained.params.get("4.weight").expect("known"), weights.tensors["4.weight"]);
}

/// An auxiliary classifier on the way, as GoogLeNet has them, and a last convolution in the place of a matrix.
#[derive(Clone, Debug)]
struct TwoHeads;

impl Layer for TwoHeads {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let x = s.layer("body", &(Conv2d::new(1, 8, 3).stride(2), Relu), x);
        if s.is_training() {
            s.auxiliary(s.layer("aux", &(GlobalAvgPool, Linear::new(8, 4)), x), 0.3);
        }
        s.layer("top", &(Dropout::new(0.1), Conv2d::new(8, 4, 1), Relu, GlobalAvgPool), x)
    }
}

#[test]
fn all_heads_are_replaced_and_nothing_said_of_the_update_is_lost() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let path = folder.path().join("weights.safetensors");
    // The file's heads have other classes.
    let mut weights = Weights::of(&compile(&device, &TwoHeads, 20, sgd()).0).expect("reads");
    for head in ["aux.1", "top.1"] {
        for part in ["weight", "bias"] {
            weights.tensors.insert(format!("{head}.{part}"), Array::new([1], vec![7.0]).expect("one"));
        }
    }
    let body = vec![0.25; 72];
    weights.tensors.insert("body.0.weight".to_string(), Array::new([8, 1, 3, 3], body.clone()).expect("72"));
    checkpoint::save_bytes(&path, &weights.to_bytes()).expect("writes");
    let trainer = || {
        let trainer = Trainer::new(TwoHeads, splits()).device(device.clone()).batch_size(20).epochs(1);
        trainer.output(Output::Nowhere).show(Show::Nothing).pretrained(&path, LoadOptions::new()).replace_head()
    };
    // The settings of the update come last, and more than one batch makes one.
    let update = UpdateConfig { accumulate: 2, ..sgd() };
    let bias = |trained: &Trained| trained.params.get("body.0.bias").expect("known");
    let trained = trainer().freeze("body.0.weight").update(update.clone()).run().expect("trains");
    assert_eq!(trained.params.get("body.0.weight").expect("known").data, body);
    assert_ne!(bias(&trained), weights.tensors["body.0.bias"]);
    let trained = trainer().body(BodyRates::Frozen).update(update).run().expect("trains");
    assert_eq!(bias(&trained), weights.tensors["body.0.bias"]);
    for head in ["aux.1.weight", "top.1.weight"] {
        assert_eq!(trained.params.get(head).expect("known").shape.dims()[0], 4);
    }
    let adamw = Optimizer::AdamW(AdamW::default());
    let trained = trainer().optimizer(adamw).update(sgd()).schedule(Schedule::constant(1e-3).expect("good"));
    let trained = trained.run().expect("trains");
    assert!(trained.params.of_kind(ParamKind::Optimizer).count() > 2 * 6, "two states of every weight");
}

#[test]
fn two_stages_are_two_runs_beside_each_other() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let path = |name: &str| folder.path().join(name);
    let weights = Weights::of(&compile(&device, &net(), 20, sgd()).0).expect("reads");
    checkpoint::save_bytes(&path("file"), &weights.to_bytes()).expect("writes");
    let stage = |body: BodyRates, out: &str| quiet(&device).epochs(1).body(body).out(path(out));
    let head = stage(BodyRates::Frozen, "head").pretrained(path("file"), LoadOptions::new()).replace_head();
    let head = head.run().expect("trains");
    let of = |trained: &Trained, name: &str| trained.params.get(name).expect("known");
    for (name, is_body) in [("0.0.weight", true), ("1.1.bias", true), ("4.weight", false)] {
        assert_eq!(of(&head, name) == weights.tensors[name], is_body, "{name}");
    }
    let all = stage(BodyRates::Scaled(0.1), "all").weights(path("head/model.safetensors")).run().expect("trains");
    assert_ne!(of(&all, "0.0.weight"), of(&head, "0.0.weight"));
    // The second stage has a velocity for every weight, the first one for the head's alone.
    let velocities = |trained: &Trained| trained.params.of_kind(ParamKind::Optimizer).count();
    assert_eq!((velocities(&head), velocities(&all)), (2, 8));
    assert!(["head", "all"].iter().all(|stage| path(stage).join("result.json").exists()));
}

#[test]
fn patterns_that_match_nothing_and_settings_out_of_range_are_refused() {
    let device = device();
    let mut params = Params::new(&device, 1);
    let mut says = |update: UpdateConfig, part: &str| {
        let options = StepOptions { update, ..StepOptions::new(&splits().train, 20) };
        let error = TrainStep::new(&device, &mut params, &net(), &options).expect_err("bad").to_string();
        assert!(error.contains(part), "{error}");
    };
    says(sgd().freeze("layer1"), "got layer1");
    says(sgd().freeze("*"), "nothing to learn");
    says(UpdateConfig { accumulate: 0, ..sgd() }, "at least 1");
}
