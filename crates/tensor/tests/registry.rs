//! Walks the registry: from the line that names an operation on, everything here holds for it.
#![allow(clippy::print_stderr)] // what an adapter cannot run is said, not passed over

use std::collections::{BTreeMap, HashMap, HashSet};
use wgrad_tensor::graph::GraphData;
use wgrad_tensor::ops::elementwise::ActivateBackward;
use wgrad_tensor::ops::{Case, CaseInput, Epilogue, Fill, Prologue, REGISTRY, Target};
use wgrad_tensor::params::layout::StoreLayout;
use wgrad_tensor::passes::differentiate::gradients_seeded;
use wgrad_tensor::reference::{self, Tensors};
use wgrad_tensor::{
    Activation, CompileOptions, DType, Device, DeviceOptions, Feed, Graph, Params, Plan, Rounding, Storage,
    StoragePolicy, TensorDesc, Tier, Value, plan,
};

/// Every case with a number of its own; `WGRAD_OP` restricts to families, operations or cases whose name contains it.
fn cases() -> Vec<Case> {
    let wanted = std::env::var("WGRAD_OP").unwrap_or_default();
    let all = REGISTRY.iter().flat_map(|entry| (entry.cases)().into_iter().map(move |case| (entry.family, case)));
    let names = |family: &str, case: &Case| [family, case.op.name(), &case.name].map(|name| name.contains(&wanted));
    all.filter(|(family, case)| names(family, case).contains(&true)).map(|(_, case)| case).collect()
}

/// How the kernels of a convolution or a matrix product come about.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    op: &'static str,
    /// The algorithm, or what distinguishes the sums where there is only one.
    way: String,
    /// More than two: something is added to the products.
    operands: usize,
}

fn kind_of_product(case: &Case, device: &Device) -> Option<Kind> {
    let op = case.op.name();
    let descs: Vec<TensorDesc> = case.inputs.iter().map(|input| input.desc).collect();
    let way = if op.starts_with("conv2d") {
        case.op.candidates(&descs, &device.target()).first()?.name.to_string()
    } else if op == "matmul" {
        // By the operands that are transposed, which is nothing to what is added behind the sum.
        if descs.len() > 2 { String::new() } else { format!("{:?}", case.op) }
    } else {
        return None;
    };
    Some(Kind { op, way, operands: descs.len() })
}

/// [`cases`] with so many products of each kind at most, spread evenly. For what does not concern the loops over pixels and
/// channels but what surrounds them: the drivers compile every kernel anew for every geometry, some for seconds, and every
/// geometry by every algorithm is tried by `kernels_agree_with_the_reference`.
fn fewer_cases(device: &Device, most: impl Fn(&Kind) -> usize) -> Vec<Case> {
    let all = cases();
    let kinds: Vec<Option<Kind>> = all.iter().map(|case| kind_of_product(case, device)).collect();
    let mut kept = vec![false; all.len()];
    for kind in kinds.iter().collect::<HashSet<_>>() {
        let alike: Vec<usize> = (0..all.len()).filter(|&i| kinds[i] == *kind).collect();
        let count = kind.as_ref().map_or(alike.len(), &most).min(alike.len());
        (0..count).for_each(|i| kept[alike[(2 * i + 1) * alike.len() / (2 * count)]] = true);
    }
    all.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(case, _)| case).collect()
}

fn open(tier: Tier, checked: bool) -> Device {
    let options = DeviceOptions { tier: Some(tier), checked, ..DeviceOptions::default() };
    Device::open(&options).expect("device tests need an adapter; `cargo xtask test` installs the software driver")
}

fn data(case: &Case) -> Vec<Vec<f64>> {
    case.inputs.iter().enumerate().map(|(i, input)| input.generate(1000 + i as u64)).collect()
}

fn feeds_of(case: &Case, data: &[Vec<f64>]) -> Tensors {
    (0..case.inputs.len()).map(|i| (format!("x{i}"), data[i].clone())).collect()
}

/// What of a case lies in memory of its own, rather than in feeds and outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Copied {
    Nothing,
    /// One operand: it may be overwritten.
    Operand(usize),
    /// All operands and results: they may be stored in 16 bits.
    All,
}

/// Feeds the case's operands, those that are `copied` through a scaling by one, so that they are temporaries.
fn trace<'g>(graph: &'g Graph, case: &Case, copied: Copied) -> (Vec<Value<'g>>, Vec<Value<'g>>) {
    let feeds: Vec<Value<'g>> =
        case.inputs.iter().enumerate().map(|(i, input)| graph.feed(&format!("x{i}"), input.desc)).collect();
    let is_float = |value: &Value<'g>| value.dtype() == DType::F32;
    let copy = |(i, value): (usize, &Value<'g>)| {
        let wanted = copied == Copied::Operand(i) || (copied == Copied::All && is_float(value));
        if wanted { value.scale(1.0) } else { *value }
    };
    let operands: Vec<Value<'g>> = feeds.iter().enumerate().map(copy).collect();
    let outputs = graph.apply_rc(case.op.clone(), &operands);
    for (i, output) in outputs.iter().enumerate() {
        let output = if copied == Copied::All && is_float(output) { output.scale(1.0) } else { *output };
        graph.output(&format!("y{i}"), output);
    }
    (feeds, outputs)
}

#[test]
fn every_operation_has_eight_cases_and_infers_their_shapes() {
    for entry in REGISTRY {
        assert!(!(entry.cases)().is_empty(), "{} has no cases", entry.family);
    }
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases() {
        let descs: Vec<_> = case.inputs.iter().map(|input| input.desc).collect();
        if let Some(types) = case.op.operand_types() {
            assert_eq!(types, descs.iter().map(|desc| desc.dtype).collect::<Vec<_>>(), "{}", case.op.name());
        }
        let shapes = case.op.infer(&descs);
        assert_eq!(shapes.as_ref().map(Vec::len), Ok(case.op.output_count()), "{} {}", case.op.name(), case.name);
        let cost = case.op.cost(&descs, &shapes.expect("just checked"));
        assert!(cost.bytes >= 0.0 && cost.flops >= 0.0);
        *count.entry(case.op.name()).or_default() += 1;
    }
    for (op, cases) in count {
        assert!(cases >= 8, "{op} has {cases} cases, wanted 8");
    }
}

/// Operations without a derivative: backward passes that nobody differentiates again, and updates.
const NOT_DIFFERENTIABLE: &str = "activation.backward adagrad adamw adaptive_avg_pool2d.backward avg_pool2d.backward batch_norm.backward \
    batch_norm_eval.backward batch_norm_update bias.backward blend chain clip_factor conv2d.backward_weight \
    count_nonfinite cross_entropy.backward global_avg_pool.backward global_max_pool.backward group_norm.backward \
    hinge.backward l2_pool2d.backward lars_rate local_response_norm.backward loss_scale max_pool2d.backward \
    muon_momentum muon_scale optimizer_rates quantize quantize_dynamic rmsprop sgd soft_cross_entropy.backward \
    stochastic_pool2d.eval sum_squares upsample_bilinear2d.backward";

/// Operands that are constants by definition, as running statistics and soft targets are: (operation, operand).
const CONSTANTS: [(&str, usize); 3] = [("batch_norm_eval", 3), ("batch_norm_eval", 4), ("soft_cross_entropy", 1)];

/// Whether fusion has put something into the operation of a case; that happens after differentiation only.
fn is_fused(case: &Case) -> bool {
    let text = format!("{:?}", case.op);
    let activated = ["activation", "derivative"]
        .iter()
        .any(|name| text.contains(&format!("{name}: ")) && !text.contains(&format!("{name}: Identity")));
    case.op.as_epilogue().is_none() && (activated || text.contains("bias: true") || text.contains("residual: true"))
}

/// Central differences of the f64 reference against the reference of the emitted backward nodes; an operand that gets no
/// gradient must have none.
#[test]
fn every_gradient_agrees_with_finite_differences() {
    let mut checked = 0;
    for case in cases().into_iter().filter(|case| case.gradient) {
        let label = format!("{} {}", case.op.name(), case.name);
        let graph = Graph::new();
        let (feeds, outputs) = trace(&graph, &case, Copied::Nothing);
        // The loss needs no gradients.
        let forward = graph.data();
        let floats: Vec<Value<'_>> = feeds.iter().copied().filter(|value| value.dtype() == DType::F32).collect();
        let differentiable: Vec<Value<'_>> = outputs
            .iter()
            .copied()
            .enumerate()
            .filter(|(i, y)| y.dtype() == DType::F32 && case.op.is_differentiable(*i))
            .map(|(_, y)| y)
            .collect();
        let seeds: Vec<(Value<'_>, Value<'_>)> = differentiable
            .iter()
            .enumerate()
            .map(|(i, value)| (*value, graph.feed(&format!("seed{i}"), value.desc())))
            .collect();
        let gradients = gradients_seeded(&seeds, &floats);
        let name = case.op.name();
        let has_derivative = NOT_DIFFERENTIABLE.split_whitespace().all(|other| other != name);
        let expected = has_derivative && !is_fused(&case);
        assert_eq!(gradients.is_ok(), expected, "{label}: differentiable");
        let Ok(gradients) = gradients else { continue };
        let mut tensors = feeds_of(&case, &data(&case));
        for (i, value) in differentiable.iter().enumerate() {
            let input = CaseInput::normal(value.shape());
            tensors.insert(format!("seed{i}"), input.generate(77 + i as u64));
        }
        let ir = graph.data();
        let run = |ir: &GraphData, tensors: &Tensors| {
            reference::run(ir, tensors, &mut HashMap::new()).expect("reference runs")
        };
        let loss = |tensors: &Tensors| -> f64 {
            let run = run(&forward, tensors);
            let dot = |(i, y): (usize, &Value<'_>)| -> f64 {
                run.value(y.id()).iter().zip(&tensors[&format!("seed{i}")]).map(|(a, b)| a * b).sum()
            };
            differentiable.iter().enumerate().map(dot).sum()
        };
        let analytic = run(&ir, &tensors);
        // Each element shifted takes two passes over the operation. The large ones are there for the tiles of kernels; what
        // their gradient is made of is tried by the small ones.
        let descs: Vec<TensorDesc> = feeds.iter().map(|x| x.desc()).collect();
        let outputs: Vec<TensorDesc> = outputs.iter().map(|y| y.desc()).collect();
        let probes = if case.op.cost(&descs, &outputs).flops > 3e5 { 6 } else { 24 };
        for (i, (input, gradient)) in feeds.iter().filter(|v| v.dtype() == DType::F32).zip(&gradients).enumerate() {
            let operand = feeds.iter().position(|f| f.id() == input.id()).expect("it is a feed");
            let name = format!("x{operand}");
            if gradient.is_none() && CONSTANTS.contains(&(case.op.name(), operand)) {
                continue;
            }
            let got = gradient.map_or(vec![0.0; tensors[&name].len()], |g| analytic.value(g.id()).to_vec());
            let scale = got.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
            let step = (got.len() / probes).max(1);
            for at in (0..got.len()).step_by(step) {
                let original = tensors[&name][at];
                let h = 1e-5;
                let mut shifted = |delta: f64| {
                    tensors.get_mut(&name).expect("known")[at] = original + delta;
                    loss(&tensors)
                };
                let (up, down) = (shifted(h), shifted(-h));
                shifted(0.0);
                let numeric = (up - down) / (2.0 * h);
                assert!(
                    (numeric - got[at]).abs() <= 1e-5 * scale + 1e-7,
                    "{label}: gradient {i} element {at}: analytic {} numeric {numeric}",
                    got[at]
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 0 || std::env::var("WGRAD_OP").is_ok(), "no gradient was checked");
}

struct Outcome {
    words: Vec<Vec<u32>>,
    /// Whether the operation's own kernels stored a result in 16 bits.
    stored: bool,
}

/// How kernels name a result that lies in 16 bits.
const STORES: [&str; 4] = [" y:", " dx:", "[y:", "[dx:"];

fn run_case(device: &Device, case: &Case, data: &[Vec<f64>], copied: Copied, storage: StoragePolicy) -> Outcome {
    let label = format!("{} {} (copied {copied:?})", case.op.name(), case.name);
    let graph = Graph::new();
    let (_, outputs) = trace(&graph, case, copied);
    let mut params = Params::new(device, 0);
    let options = CompileOptions { fuse: false, poison_memory: true, storage, ..CompileOptions::default() };
    let mut plan = Plan::compile(device, &graph, &mut params, &options).unwrap_or_else(|e| panic!("{label}: {e}"));
    if matches!(copied, Copied::Operand(_)) {
        // The copy is the first dispatch; a result must lie where it lay.
        let copy = &plan.desc().dispatches[0].bindings;
        let in_place = plan.desc().outputs.iter().any(|port| copy.contains(&("y", port.place)));
        assert!(in_place, "{label}: runs in place\n{}", plan.dump());
    }
    let floats: Vec<Vec<f32>> = data.iter().map(|x| x.iter().map(|&v| v as f32).collect()).collect();
    let whole: Vec<Vec<u32>> = data.iter().map(|x| x.iter().map(|&v| v as u32).collect()).collect();
    let mut feeds: Vec<(String, Feed<'_>)> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(i, input)| {
            let feed = if input.desc.dtype == DType::F32 { Feed::F32(&floats[i]) } else { Feed::U32(&whole[i]) };
            (format!("x{i}"), feed)
        })
        .collect();
    let rng = [1, 2, 3, 4];
    let has_rng = plan.desc().feeds.iter().any(|feed| feed.name == "rng");
    feeds.extend(has_rng.then(|| ("rng".to_string(), Feed::U32(&rng))));
    let mut runs = Vec::new();
    for _ in 0..2 {
        let ticket = plan.run(&feeds).unwrap_or_else(|e| panic!("{label}: {e}"));
        let words: Vec<Vec<u32>> = (0..outputs.len())
            .map(|i| plan.read_words(ticket, &format!("y{i}")).unwrap_or_else(|e| panic!("{label}: {e}")))
            .collect();
        runs.push(words);
    }
    assert_eq!(runs[0], runs[1], "{label}: two runs differ");
    let broken = plan.broken_guards().unwrap_or_else(|e| panic!("{label}: {e}"));
    assert!(broken.is_empty(), "{label}: wrote behind {broken:?}");
    let own = plan.desc().dispatches.iter().filter(|dispatch| dispatch.label.contains(case.op.name()));
    let stored =
        own.map(|dispatch| dispatch.kernel.to_string()).any(|key| STORES.iter().any(|store| key.contains(store)));
    Outcome { words: runs.swap_remove(0), stored }
}

/// What is wrong with a result: whole numbers must be equal, others within `tolerance` times the largest.
fn compare(label: &str, dtype: DType, got: &[u32], want: &[f64], tolerance: f64) -> Option<String> {
    if dtype == DType::U32 {
        let got: Vec<f64> = got.iter().map(|&word| f64::from(word)).collect();
        return (got != want).then(|| format!("{label}: got {got:?} want {want:?}"));
    }
    let allowed = tolerance * want.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    let got = got.iter().map(|&word| f32::from_bits(word));
    let differences =
        got.zip(want).enumerate().map(|(at, (got, &want))| ((f64::from(got) - want).abs(), at, got, want));
    let worst = differences.max_by(|a, b| if a.0.is_nan() { std::cmp::Ordering::Greater } else { a.0.total_cmp(&b.0) });
    let (difference, at, got, want) = worst?;
    (difference.is_nan() || difference > allowed)
        .then(|| format!("{label} element {at}: got {got} want {want}, differs by {difference:e}, allowed {allowed:e}"))
}

/// Cases from feeds, which nothing may overwrite, then those that are `in_place` once for every pair that may share storage.
fn agree_with_the_reference(device: &Device, cases: &[Case], in_place: impl Fn(&Case) -> bool) {
    let mut failures = Vec::new();
    for case in cases {
        let label = format!("{} {}", case.op.name(), case.name);
        let graph = Graph::new();
        let (_, outputs) = trace(&graph, case, Copied::Nothing);
        let ir = graph.data();
        let data = data(case);
        let expected =
            reference::run(&ir, &feeds_of(case, &data), &mut HashMap::new()).unwrap_or_else(|e| panic!("{label}: {e}"));
        let descs: Vec<_> = case.inputs.iter().map(|input| input.desc).collect();
        let shares = case.op.view_of(&descs).is_none() && in_place(case);
        let pairs = if shares { case.op.may_overwrite() } else { Vec::new() };
        for copied in
            std::iter::once(Copied::Nothing).chain(pairs.into_iter().map(|(operand, _)| Copied::Operand(operand)))
        {
            let outcome = run_case(device, case, &data, copied, StoragePolicy::default());
            for (i, output) in outputs.iter().enumerate() {
                let label = format!("{label} (copied {copied:?}) output {i}");
                let tolerance = case.op.tolerance().unwrap_or(case.tolerance);
                failures.extend(compare(
                    &label,
                    output.dtype(),
                    &outcome.words[i],
                    expected.value(output.id()),
                    tolerance,
                ));
            }
        }
    }
    let tier = device.target().tier.name();
    assert!(failures.is_empty(), "{} failures in tier {tier}:\n{}", failures.len(), failures.join("\n"));
}

/// Every geometry by every algorithm; what is added to the products with six of each kind, and in place with three.
fn kernels_agree_with_the_reference(tier: Tier) {
    let device = open(tier, false);
    // How `cargo xtask test` gives Mesa's software driver subgroups of another size. There, every kernel once or twice: what
    // depends on the size is how lanes are told apart and asked, which is the same for every geometry and storage.
    if std::env::var_os("LP_NATIVE_VECTOR_WIDTH").is_some() {
        let cases = fewer_cases(&device, |kind| if kind.operands > 2 { 1 } else { 2 });
        return agree_with_the_reference(&device, &cases, |_| false);
    }
    let cases = fewer_cases(&device, |kind| if kind.operands > 2 { 6 } else { usize::MAX });
    let names = |case: &Case| (case.op.name(), case.name.clone());
    let in_place: HashSet<_> = fewer_cases(&device, |_| 3).iter().map(names).collect();
    agree_with_the_reference(&device, &cases, |case| in_place.contains(&names(case)));
}

/// The same text as without checks, in which the driver must find nothing to correct.
fn checked_kernels_agree_with_the_reference(tier: Tier) {
    let device = open(tier, true);
    agree_with_the_reference(&device, &fewer_cases(&device, |_| 3), |_| true);
}

/// Every operation that takes an epilogue, with each that it takes: fused against separate, and the fusion must happen.
fn fused_agrees_with_unfused(tier: Tier) {
    let device = open(tier, false);
    for case in fewer_cases(&device, |_| 3) {
        let relu = Activation::Relu;
        let pointwise = [Epilogue::Product, Epilogue::Scale(-0.7), Epilogue::Derivative(relu)];
        for epilogue in [Epilogue::Bias, Epilogue::Residual, Epilogue::Activation(relu)].into_iter().chain(pointwise) {
            fused_case(&device, &case, epilogue);
        }
    }
}

/// Every operation that takes a prologue, on each operand that takes it.
fn a_prologue_agrees_with_the_node_before(tier: Tier) {
    let activation = Activation::Relu;
    let prologue = Prologue::Derivative(activation);
    let device = open(tier, false);
    for case in cases() {
        for i in (0..case.inputs.len()).filter(|&i| case.op.with_prologue(i, prologue).is_some()) {
            let graph = Graph::new();
            let feed = |(i, input): (usize, &CaseInput)| graph.feed(&format!("x{i}"), input.desc);
            let mut operands: Vec<Value<'_>> = case.inputs.iter().enumerate().map(feed).collect();
            let known = graph.feed("known", operands[i].desc());
            operands[i] = graph.apply1(ActivateBackward { activation }, &[operands[i], known]);
            for (number, y) in graph.apply_rc(case.op.clone(), &operands).into_iter().enumerate() {
                graph.output(&format!("y{number}"), y);
            }
            let mut feeds = feeds_of(&case, &data(&case));
            feeds.insert("known".to_string(), CaseInput::f32(known.shape(), Fill::AwayFromZero).generate(5));
            let label = format!("{} {} with {prologue:?} on operand {i}", case.op.name(), case.name);
            same_with_fusion(&device, &graph, &feeds, 1, &label);
        }
    }
}

/// Compiles with and without fusion, which must leave this many nodes, and compares all outputs.
fn same_with_fusion(device: &Device, graph: &Graph, feeds: &Tensors, left: usize, label: &str) {
    let feeds: Vec<(&String, Vec<f32>)> =
        feeds.iter().map(|(name, data)| (name, data.iter().map(|&v| v as f32).collect())).collect();
    let feeds: Vec<(&String, Feed<'_>)> = feeds.iter().map(|(name, data)| (*name, Feed::F32(data))).collect();
    let names: Vec<String> = graph.data().outputs.into_iter().map(|(name, _)| name).collect();
    let run = |fuse: bool| -> Vec<Vec<f32>> {
        let options = CompileOptions { fuse, poison_memory: true, ..CompileOptions::default() };
        let mut plan = Plan::compile(device, graph, &mut Params::new(device, 0), &options)
            .unwrap_or_else(|e| panic!("{label}: {e}"));
        let nodes = plan.desc().graph.nodes.len();
        assert!(if fuse { nodes == left } else { nodes > left }, "{label}: {nodes} nodes, fusion {fuse}");
        let ticket = plan.run(&feeds).unwrap_or_else(|e| panic!("{label}: {e}"));
        names.iter().map(|name| plan.read(ticket, name).unwrap_or_else(|e| panic!("{label}: {e}"))).collect()
    };
    for (separate, fused) in run(false).iter().zip(run(true)) {
        let scale = separate.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        for (a, b) in separate.iter().zip(&fused) {
            assert!((a - b).abs() <= 1e-5 * scale, "{label}: separate {a} fused {b}");
        }
    }
}

fn fused_case(device: &Device, case: &Case, epilogue: Epilogue) {
    let Some(fused) = case.op.with_epilogue(epilogue) else { return };
    let label = format!("{} {} with {epilogue:?}", case.op.name(), case.name);
    let graph = Graph::new();
    let operands: Vec<Value<'_>> =
        case.inputs.iter().enumerate().map(|(i, input)| graph.feed(&format!("x{i}"), input.desc)).collect();
    let y = graph.apply_rc(case.op.clone(), &operands)[0];
    let other_shape = if epilogue == Epilogue::Bias { [y.dim(1)].into() } else { y.shape() };
    let other = graph.feed("other", TensorDesc::f32(other_shape));
    let (result, left) = match epilogue {
        Epilogue::Bias => (y.add_bias(other), 1),
        Epilogue::Residual => (other + y, 1),
        Epilogue::Product => (other * y, 1),
        Epilogue::Scale(alpha) => (y.scale(alpha), 1),
        Epilogue::Derivative(activation) => (graph.apply1(ActivateBackward { activation }, &[y, other]), 1),
        // The product keeps the activation from being the last node, which would be no test of what follows it.
        Epilogue::Activation(activation) => {
            (y.activate(activation) * other, if fused.with_epilogue(Epilogue::Product).is_some() { 1 } else { 2 })
        }
    };
    graph.output("y", result);
    let mut feeds = feeds_of(case, &data(case));
    if graph.data().feeds().any(|(id, _)| id == other.id()) {
        feeds.insert("other".to_string(), CaseInput::f32(other_shape, Fill::AwayFromZero).generate(5));
    }
    same_with_fusion(device, &graph, &feeds, left, &label);
}

/// The tests of every tier, each a test of its own so that they run beside each other.
macro_rules! tiers {
    ($($name:ident: $tier:expr,)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn kernels_agree_with_the_reference() {
                super::kernels_agree_with_the_reference($tier);
            }

            #[test]
            fn checked_kernels_agree_with_the_reference() {
                super::checked_kernels_agree_with_the_reference($tier);
            }

            #[test]
            fn fused_agrees_with_unfused() {
                super::fused_agrees_with_unfused($tier);
            }

            #[test]
            fn a_prologue_agrees_with_the_node_before() {
                super::a_prologue_agrees_with_the_node_before($tier);
            }
        }
    )*};
}

// `cargo xtask test` names `cpu::kernels`.
tiers! {
    base: Tier::Base,
    cpu: Tier::Cpu,
}

/// The kernels of a case in a tier, without an adapter.
fn kernels_of(case: &Case, tier: Tier, storage: StoragePolicy) -> Vec<String> {
    let graph = Graph::new();
    trace(&graph, case, Copied::All);
    let options = CompileOptions { fuse: false, storage, ..CompileOptions::default() };
    let cooperative = if tier == Tier::Coop { 8 } else { 0 };
    let target = Target { tier, cooperative, ..Target::default() };
    let data = plan::optimise(&graph, &options).expect("optimises");
    let desc = plan::lower(data, &StoreLayout::default(), target, "no adapter", &options).expect("lowers");
    desc.dispatches.into_iter().map(|dispatch| dispatch.kernel.to_string()).collect()
}

/// Tier `subgroup` where it has kernels of its own.
#[test]
fn subgroup_kernels_agree_with_the_reference() {
    let (device, storage) = (open(Tier::Subgroup, false), StoragePolicy::default());
    let is_own = |case: &Case| kernels_of(case, Tier::Subgroup, storage) != kernels_of(case, Tier::Base, storage);
    let own: Vec<Case> = cases().into_iter().filter(is_own).collect();
    agree_with_the_reference(&device, &own, |_| true);
}

/// Tiers `f16` and `coop` where feature maps lie in f16 and they have kernels of their own: what they read is exact in 16 bits,
/// so that rounding the operands of a product changes nothing.
fn products_agree_in_f16(tier: Tier, less: Tier) {
    let storage = StoragePolicy { activations: Storage::F16, ..StoragePolicy::default() };
    let is_own = |case: &Case| kernels_of(case, tier, storage) != kernels_of(case, less, storage);
    let mut own: Vec<Case> = cases().into_iter().filter(is_own).collect();
    // Of convolutions by all ways but one, the last part is a product like any other.
    let is_product = |case: &Case| case.op.name() == "matmul" || case.name.contains("implicit") || case.gradient;
    own.retain(is_product);
    agree_in_storage(&open(tier, false), Storage::F16, Rounding::Nearest, &own);
}

#[test]
fn f16_products_agree_with_the_reference() {
    products_agree_in_f16(Tier::F16, Tier::Subgroup);
}

/// Cooperative matrices, where the adapter has them (Mesa's software driver from version 26 on).
#[test]
fn cooperative_products_agree_with_the_reference() {
    match Device::open(&DeviceOptions { tier: Some(Tier::Coop), ..DeviceOptions::default() }) {
        Ok(_) => products_agree_in_f16(Tier::Coop, Tier::F16),
        Err(error) => eprintln!("not tested: {error}"),
    }
}

/// Every kernel with all operands and results in 16 bits, as far as it can: what it reads is exact, so only the rounding of
/// its results may be added to its own error.
fn agree_in_storage(device: &Device, activations: Storage, rounding: Rounding, cases: &[Case]) {
    let policy = StoragePolicy { activations, activation_rounding: rounding, ..StoragePolicy::default() };
    let mut failures = Vec::new();
    let mut stored: BTreeMap<&str, bool> = BTreeMap::new();
    for case in cases {
        let label = format!("{} {} in {activations}", case.op.name(), case.name);
        let graph = Graph::new();
        let (_, outputs) = trace(&graph, case, Copied::Nothing);
        let ir = graph.data();
        let round = |x: f64| f64::from(activations.decode(activations.nearest(x as f32)));
        let mut data = data(case);
        for (x, input) in data.iter_mut().zip(&case.inputs).filter(|(_, input)| input.desc.dtype == DType::F32) {
            if input.desc.shape.rank() >= 2 {
                x.iter_mut().for_each(|x| *x = round(*x));
            }
        }
        let expected =
            reference::run(&ir, &feeds_of(case, &data), &mut HashMap::new()).unwrap_or_else(|e| panic!("{label}: {e}"));
        let outcome = run_case(device, case, &data, Copied::All, policy);
        *stored.entry(case.op.name()).or_default() |= outcome.stored;
        // Half a step for nearest, a whole one for stochastic rounding.
        let steps = if rounding == Rounding::Nearest { 1.0 } else { 2.0 };
        let rounding = steps * activations.unit_roundoff();
        for (i, output) in outputs.iter().enumerate() {
            let tolerance = case.op.tolerance().unwrap_or(case.tolerance) + 1.01 * rounding;
            let label = format!("{label} output {i}");
            failures.extend(compare(&label, output.dtype(), &outcome.words[i], expected.value(output.id()), tolerance));
        }
    }
    let tier = device.target().tier;
    assert!(!cases.is_empty() || std::env::var("WGRAD_OP").is_ok(), "no case for tier {}", tier.name());
    assert!(failures.is_empty(), "{} failures in tier {}:\n{}", failures.len(), tier.name(), failures.join("\n"));
    let never: Vec<&str> = stored.iter().filter(|(_, stored)| !**stored).map(|(op, _)| *op).collect();
    let always = ["activation", "add", "avg_pool2d", "batch_norm", "conv2d", "conv2d.backward_input", "max_pool2d"];
    let missed: Vec<&&str> = never.iter().filter(|op| always.contains(op)).collect();
    assert!(missed.is_empty(), "tier {} stored no result of {missed:?} in 16 bits", tier.name());
}

#[test]
fn kernels_work_in_f16_storage() {
    let device = open(Tier::Base, false);
    agree_in_storage(&device, Storage::F16, Rounding::Nearest, &fewer_cases(&device, |_| 3));
}

#[test]
fn kernels_work_in_bf16_storage() {
    let device = open(Tier::Cpu, false);
    let mut cases = fewer_cases(&device, |_| 3);
    agree_in_storage(&device, Storage::Bf16, Rounding::Nearest, &cases);
    // Random words make convolutions slow to compile, and are the same for every store.
    cases.retain(|case| !case.op.name().starts_with("conv2d"));
    agree_in_storage(&device, Storage::Bf16, Rounding::Stochastic, &cases);
}
