//! The model zoo against PyTorch: logits in evaluation and in training, and the gradients of one step; see `golden/README.md`.

use serde_json::Value as Json;
use std::io::Write as _;
use wgrad::layers::{losses, models};
use wgrad::tensor::philox::Stream;
use wgrad::tensor::{
    Array, CompileOptions, Device, DeviceOptions, Feed, Graph, Mode, ParamKind, Params, Plan, Scope, Shape, TensorDesc,
    gradients, weights,
};

const GOLDEN: &str = include_str!("golden/nets.json");
const CLASSES: usize = 10;
const LABELS: [u32; 4] = [3, 1, 4, 1];
const PURPOSE_WEIGHTS: u32 = 0x601d;
const PURPOSE_SIGNS: u32 = 0x601e;

/// FNV-1a, 32 bits.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Numbers of 0..1 in PyTorch's order, keyed by the tensor's name.
fn units(name: &str, count: usize) -> impl Iterator<Item = f32> {
    let mut stream = Stream::new(1, PURPOSE_WEIGHTS, fnv1a(name), 0);
    (0..count).map(move |_| stream.unit_f32())
}

/// What `drawn` of nets.py gives.
fn drawn(name: &str, shape: Shape, is_norm: bool) -> Array {
    let bound = (6.0 / shape.dims().iter().skip(1).product::<usize>() as f64).sqrt() as f32;
    let value = |u: f32| match (name, shape.rank()) {
        (name, _) if name.ends_with("running_var") => (u + 0.5) * 10.0,
        (name, _) if is_norm && name.ends_with("bias") => u + 2.0,
        (_, rank) if rank > 1 => (2.0 * u - 1.0) * bound,
        (name, _) if name.ends_with("weight") => u * 0.5 + 0.5,
        _ => (2.0 * u - 1.0) * 0.1,
    };
    Array::new(shape, units(name, shape.numel()).map(value).collect()).expect("as many as the shape says")
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().expect("an array").iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn worst(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "another number of logits");
    let deviations = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).abs());
    deviations.max_by(f64::total_cmp).expect("something was compared")
}

fn fill(params: &mut Params) {
    let decls: Vec<(String, Shape)> =
        params.decls().filter(|d| d.kind != ParamKind::Optimizer).map(|d| (d.name.clone(), d.shape)).collect();
    let is_norm = |name: &str| {
        let layer = name.rsplit_once('.').map_or("", |(layer, _)| layer);
        decls.iter().any(|(other, _)| other.strip_suffix(".running_var") == Some(layer))
    };
    for (name, shape) in &decls {
        params.set(name, &drawn(name, *shape, is_norm(name))).expect("declared so");
    }
}

/// How far the gradient of one tensor is from PyTorch's, and the norm of that. The sums of all elements with random signs
/// differ by the norm of the difference, on average over the signs; four sums tell it to a third or so.
fn gradient_distance(name: &str, got: &[f32], want: &[f64]) -> (f64, f64) {
    let norm = got.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let mut squares = 0.0;
    for (b, want) in want[1..].iter().enumerate() {
        let mut stream = Stream::new(1, PURPOSE_SIGNS, fnv1a(name), b as u32);
        let signed = |&v: &f32| if stream.next_u32() & 1 == 0 { f64::from(v) } else { -f64::from(v) };
        squares += (got.iter().map(signed).sum::<f64>() - want).powi(2);
    }
    ((squares / 4.0).sqrt().max((norm - want[0]).abs()), want[0])
}

fn agrees(name: &str) {
    let golden: Json = serde_json::from_str(GOLDEN).expect("JSON");
    let golden = &golden[name];
    let size = golden["size"].as_u64().expect("listed") as usize;
    let net = models::by_name(name, 3, CLASSES).expect("a name of the zoo");
    let device = Device::open(&DeviceOptions::default())
        .expect("device tests need an adapter; `cargo xtask test` installs the software driver");
    let mut params = Params::new(&device, 0);
    let shape = Shape::from([LABELS.len(), 3, size, size]);
    let images: Vec<f32> = units("images", shape.numel()).map(|u| (2.0 * u - 1.0) * 3f64.sqrt() as f32).collect();

    let graph = Graph::new();
    let x = graph.feed("images", TensorDesc::f32(shape));
    let labels = graph.feed("labels", TensorDesc::u32([LABELS.len()]));
    let logits = net.forward(&Scope::new(&graph, Mode::Train), x);
    graph.output("logits", logits);
    let loss = losses::with_auxiliary(logits, |logits| losses::cross_entropy(logits, labels, 0.0));
    graph.output("loss", loss);
    let learned = weights(&graph);
    let found = gradients(loss, &learned).expect("differentiable");
    let mut names = Vec::new();
    for (weight, gradient) in learned.iter().zip(found) {
        let name = graph.data().param(weight.id()).expect("a parameter").name.clone();
        graph.output(&format!("grad.{name}"), gradient.expect("every weight counts"));
        names.push(name);
    }
    let mut train = Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect("compiles");
    fill(&mut params);

    // Before the step, which changes the running statistics.
    let graph = Graph::new();
    let x = graph.feed("images", TensorDesc::f32(shape));
    graph.output("logits", net.forward(&Scope::new(&graph, Mode::Eval), x));
    let mut eval = Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect("compiles");
    let ticket = eval.run(&[("images", Feed::F32(&images))]).expect("runs");
    let eval_logits = worst(&eval.read(ticket, "logits").expect("an output"), &numbers(&golden["logits"]));

    let rng = [1, 0, 0, 0];
    let mut feeds = vec![("images", Feed::F32(&images)), ("labels", Feed::U32(&LABELS))];
    if train.desc().feeds.iter().any(|feed| feed.name == "rng") {
        feeds.push(("rng", Feed::U32(&rng)));
    }
    let ticket = train.run(&feeds).expect("runs");
    let logits = worst(&train.read(ticket, "logits").expect("an output"), &numbers(&golden["train_logits"]));
    let want = golden["loss"].as_f64().expect("a number");
    let loss = (f64::from(train.read(ticket, "loss").expect("an output")[0]) - want).abs();

    let wanted = golden["gradients"].as_object().expect("by name");
    assert_eq!(wanted.len(), names.len(), "{name}: another number of learned tensors");
    let distances: Vec<(f64, f64)> = names
        .iter()
        .map(|name| {
            let got = train.read(ticket, &format!("grad.{name}")).expect("an output");
            gradient_distance(name, &got, &numbers(wanted.get(name).unwrap_or_else(|| panic!("no {name} in PyTorch"))))
        })
        .collect();
    // A bias before a batch norm has no gradient but rounding errors: tensors are measured at a thousandth of all at least.
    let whole = distances.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt();
    let all = distances.iter().map(|(distance, _)| distance * distance).sum::<f64>().sqrt() / whole;
    let relative = |(distance, norm): &(f64, f64)| distance / norm.max(1e-3 * whole);
    let (at, gradient) = distances.iter().map(relative).enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).expect("some");
    let text = format!(
        "{name} at {size}: logits {eval_logits:.1e}, in training {logits:.1e}, loss {loss:.1e} (absolute), gradients {all:.1e}, \
         {gradient:.1e} of {} (relative)",
        names[at]
    );
    // To the terminal, past the test harness's capture: what was measured is always seen.
    let _ = writeln!(std::io::stderr(), "{text}");
    assert!(eval_logits <= 1e-3 && logits <= 1e-3 && loss <= 1e-3 && gradient <= 1e-2, "{text}");
}

macro_rules! nets {
    (always: { $($test:ident $name:literal),* $(,)? }, asked: { $($slow:ident $slow_name:literal),* $(,)? }) => {
        $(#[test]
        fn $test() {
            agrees($name);
        })*

        $(#[test]
        #[ignore = "drivers compile hundreds of kernels for it: --ignored"]
        fn $slow() {
            agrees($slow_name);
        })*

        #[test]
        fn every_golden_net_is_tested() {
            let golden: Json = serde_json::from_str(GOLDEN).expect("JSON");
            let names: Vec<&String> = golden.as_object().expect("by name").keys().collect();
            let tested = [$($name,)* $($slow_name),*];
            assert!(names.iter().all(|name| tested.contains(&name.as_str())), "{names:?}");
        }
    };
}

nets! {
    always: {
        airbench94 "airbench94",
        resnet9 "resnet9",
        alexnet "alexnet",
        alexnet2012 "alexnet2012",
        vgg11 "vgg11",
        resnet18 "resnet18",
        squeezenet1_1 "squeezenet1_1",
        mobilenet_v1 "mobilenet_v1_0.5",
        separable "separable",
    },
    asked: {
        nin "nin",
        vgg13_bn "vgg13_bn",
        resnet50 "resnet50",
        resnext50 "resnext50_32x4d",
        squeezenet1_0 "squeezenet1_0",
        densenet121 "densenet121",
        googlenet "googlenet",
        googlenet_paper "googlenet_paper",
        inception_v3 "inception_v3",
    }
}
