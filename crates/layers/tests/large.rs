//! Weights too large for a binding lie in blocks of rows, and nobody who uses them can tell.

use wgrad_layers::{Layer, Linear, Relu, losses, models};
use wgrad_tensor::ops::Target;
use wgrad_tensor::ops::sgd::{Sgd, SgdGroup};
use wgrad_tensor::params::layout::StoreLayout;
use wgrad_tensor::plan::{lower, optimise};
use wgrad_tensor::{
    Array, CompileOptions, Device, DeviceOptions, Feed, Graph, Mode, ParamKind, Params, Plan, Scope, Shape, TensorDesc,
    gradients, weights,
};

/// Two linear layers, four steps of SGD with momentum: the losses, and the store.
fn train(device: &Device, largest_parameter: Option<u64>) -> (Vec<f32>, Params) {
    let graph = Graph::new();
    if let Some(bytes) = largest_parameter {
        graph.set_largest_parameter(bytes);
    }
    let x = graph.feed("x", TensorDesc::f32([5, 12]));
    let target = graph.feed("target", TensorDesc::f32([5, 6]));
    let scope = Scope::new(&graph, Mode::Train);
    let y = (Linear::new(12, 38), Relu, Linear::new(38, 6)).forward(&scope, x);
    let error = y + target.scale(-1.0);
    let loss = (error * error).sum();
    graph.output("loss", loss);
    let weights = weights(&graph);
    let gradients = gradients(loss, &weights).expect("differentiable");
    let members = weights.into_iter().zip(gradients).filter_map(|(weight, gradient)| Some((weight, gradient?)));
    let group = SgdGroup { lr_scale: 1.0, weight_decay: 1e-3, members: members.collect() };
    let lr = graph.feed("lr", TensorDesc::f32([]));
    graph.sgd(&Sgd { momentum: 0.9, nesterov: false, lr_in_velocity: false }, &[group], lr).expect("valid");
    let mut params = Params::new(device, 7);
    let mut plan = Plan::compile(device, &graph, &mut params, &CompileOptions::default()).expect("compiles");
    let noise = |n: usize, phase: f32| (0..n).map(|i| ((i as f32 + 1.0) * phase).sin()).collect::<Vec<f32>>();
    let (x, target) = (noise(60, 0.7), noise(30, 1.3));
    let mut losses = Vec::new();
    for _ in 0..4 {
        let feeds = [("x", Feed::F32(&x)), ("target", Feed::F32(&target)), ("lr", Feed::F32(&[0.01]))];
        let ticket = plan.run(&feeds).expect("runs");
        losses.push(plan.read(ticket, "loss").expect("reads")[0]);
    }
    (losses, params)
}

fn all(params: &Params) -> Vec<(String, Array)> {
    params.decls().map(|decl| (decl.name.clone(), params.get(&decl.name).expect("declared"))).collect()
}

#[test]
fn a_weight_in_blocks_trains_like_a_whole_one() {
    let device = Device::open(&DeviceOptions::default()).expect("an adapter");
    // Rows of 12 numbers: blocks of 8 rows, the last one of 6; the second weight has rows of 38, blocks of 4 and 2.
    let ((losses, params), (wanted_losses, wanted)) = (train(&device, Some(8 * 12 * 4)), train(&device, None));
    assert!(params.buffer_count() >= wanted.buffer_count());
    assert_eq!(params.decls().count(), wanted.decls().count(), "blocks do not show");
    for (loss, wanted) in losses.iter().zip(&wanted_losses) {
        assert!((loss - wanted).abs() <= 1e-5 * wanted.abs(), "{losses:?} {wanted_losses:?}");
    }
    assert!(losses[3] < 0.9 * losses[0], "it learns: {losses:?}");
    for ((name, got), (wanted_name, wanted)) in all(&params).into_iter().zip(all(&wanted)) {
        assert_eq!((&name, got.shape), (&wanted_name, wanted.shape));
        let largest = wanted.data.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        for (got, wanted) in got.data.iter().zip(&wanted.data) {
            assert!((got - wanted).abs() <= 1e-5 * largest, "{name}: {got} {wanted}");
        }
    }
    // The second linear layer's gradient passes through the blocks of the first one's successor, and momentum has blocks, too.
    assert_eq!(params.of_kind(ParamKind::Optimizer).count(), 4);
}

#[test]
fn a_weight_in_blocks_starts_and_is_written_like_a_whole_one() {
    let device = Device::open(&DeviceOptions::default()).expect("an adapter");
    let declared = |largest: Option<u64>| {
        let graph = Graph::new();
        if let Some(bytes) = largest {
            graph.set_largest_parameter(bytes);
        }
        let x = graph.feed("x", TensorDesc::f32([2, 10]));
        graph.output("y", Linear::new(10, 33).forward(&Scope::new(&graph, Mode::Eval), x));
        let mut params = Params::new(&device, 3);
        let mut plan = Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect("compiles");
        let x: Vec<f32> = (0..20).map(|i| i as f32 / 10.0 - 1.0).collect();
        let ticket = plan.run(&[("x", Feed::F32(&x))]).expect("runs");
        let y = plan.read(ticket, "y").expect("reads").to_vec();
        (params, y)
    };
    let ((mut blocks, y), (whole, wanted)) = (declared(Some(500)), declared(None));
    assert_eq!(y, wanted);
    assert_eq!(
        blocks.get("weight").expect("declared"),
        whole.get("weight").expect("declared"),
        "the same first numbers"
    );
    let shape = Shape::from([33, 10]);
    let array = Array { shape, data: (0..330).map(|i| i as f32).collect() };
    blocks.set("weight", &array).expect("fits");
    assert_eq!(blocks.get("weight").expect("declared"), array);
    assert_eq!(blocks.get("weight[12..24]").expect("a block").data, array.data[120..240]);
    let wrong = Array { shape: [12, 10].into(), data: vec![0.0; 120] };
    let error = blocks.set("weight", &wrong).expect_err("other extents").to_string();
    assert!(error.contains("[33, 10]") && error.contains("[12, 10]"), "{error}");
    let error = blocks.get("heavy").expect_err("unknown").to_string();
    assert!(error.contains("weight, bias"), "{error}");
}

#[test]
fn training_alexnet_and_vgg_fits_bindings_of_128_mib() {
    const LIMIT: u64 = 128 << 20;
    for (name, parameters) in [("alexnet", 61_100_840), ("alexnet2012", 60_965_224), ("vgg16", 138_357_544)] {
        let net = models::by_name(name, 3, 1000).expect("a name of the zoo");
        let graph = Graph::new();
        let pixels = if name == "alexnet2012" { 227 } else { 224 };
        let x = graph.feed("x", TensorDesc::f32([2, 3, pixels, pixels]));
        let y = net.forward(&Scope::new(&graph, Mode::Train), x);
        let loss = losses::cross_entropy(y, graph.feed("labels", TensorDesc::u32([2])), 0.0);
        let weights = weights(&graph);
        let gradients = gradients(loss, &weights).expect("differentiable");
        let members = weights.into_iter().zip(gradients).filter_map(|(weight, gradient)| Some((weight, gradient?)));
        let group = SgdGroup { lr_scale: 1.0, weight_decay: 1e-3, members: members.collect() };
        let lr = graph.feed("lr", TensorDesc::f32([]));
        graph.sgd(&Sgd { momentum: 0.9, nesterov: false, lr_in_velocity: false }, &[group], lr).expect("valid");
        let target = Target { max_binding_bytes: LIMIT, ..Target::default() };
        let mut store = StoreLayout::default();
        store.declare(graph.data().params().map(|(_, decl)| decl), &target).expect("no parameter is too large");
        let options = CompileOptions::default();
        let desc = lower(optimise(&graph, &options).expect("no mistakes"), &store, target, "no adapter", &options);
        let desc = desc.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(desc.buffers.iter().all(|buffer| buffer.bytes <= LIMIT), "{name}");
        assert!(store.buffer_bytes().iter().all(|&bytes| bytes <= LIMIT), "{name}");
        let learned = store.tensors().filter(|decl| decl.kind == ParamKind::Weight);
        assert_eq!(learned.map(|decl| decl.shape.numel()).sum::<usize>(), parameters, "{name}");
        let fc6 = store.tensors().find(|decl| decl.shape.dim(0) == 4096 && decl.shape.dim(1) > 9000);
        assert!(fc6.is_some_and(|decl| store.blocks(&decl.name).len() >= 2), "{name}: in blocks");
    }
}
