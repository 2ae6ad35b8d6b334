//! Plans as a whole: memory, errors, updates in place, profiles.

use wgrad_tensor::ops::conv2d::{
    Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dConfig, ConvAlgo, ConvPass, Geometry,
};
use wgrad_tensor::ops::{Lower, OpDef, Target, View, ViewMut};
use wgrad_tensor::params::layout::StoreLayout;
use wgrad_tensor::plan::{PlanDesc, lower, optimise};
use wgrad_tensor::{
    Activation, Array, CompileOptions, Device, DeviceError, DeviceOptions, Error, Feed, Graph, Init, Mode, Params,
    Plan, Scope, Shape, TensorDesc, Tier, UsageError, Value, gradients,
};

fn device() -> Device {
    Device::open(&DeviceOptions::default())
        .expect("device tests need an adapter; `cargo xtask test` installs the software driver")
}

/// A small chain of products; `w` holds what it is set to.
fn chain<'g>(graph: &'g Graph, depth: usize) -> Value<'g> {
    let scope = Scope::new(graph, Mode::Train);
    let mut x = graph.feed("x", TensorDesc::f32([16, 16]));
    for i in 0..depth {
        x = x.matmul(scope.weight(&format!("w{i}"), [16, 16], Init::KaimingNormal { gain: 1.0 })).relu();
    }
    x
}

fn compile(graph: &Graph, params: &mut Params) -> Result<Plan, Error> {
    let device = params.device().clone();
    Plan::compile(&device, graph, params, &CompileOptions::default())
}

#[test]
fn planned_bytes_are_the_created_bytes_and_memory_is_shared() {
    let graph = Graph::new();
    graph.output("y", chain(&graph, 12));
    let mut params = Params::new(&device(), 0);
    let plan = compile(&graph, &mut params).expect("compiles");
    let desc: &PlanDesc = plan.desc();
    assert_eq!(plan.created().0, desc.planned_bytes());
    assert!(desc.slot_count() <= 2, "{}", plan.dump());
    assert!(desc.unshared_bytes >= 5 * desc.live_peak_bytes, "{}", plan.dump());
    assert_eq!(desc.dispatches.len(), 12, "activations are fused: {}", plan.dump());
}

#[test]
fn bytes_and_buffers_stay_equal_over_a_thousand_steps() {
    let graph = Graph::new();
    graph.output("y", chain(&graph, 3));
    let device = device();
    let mut params = Params::new(&device, 0);
    let mut plan = compile(&graph, &mut params).expect("compiles");
    let x = vec![0.5f32; 256];
    let mut seen = Vec::new();
    for step in 1..=1000 {
        let ticket = plan.run(&[("x", Feed::F32(&x))]).expect("runs");
        if step == 10 || step == 1000 {
            seen.push((plan.read(ticket, "y").expect("reads"), device.buffers_created()));
        }
    }
    assert_eq!(seen[0], seen[1]);
    let (bytes, count) = device.buffers_created();
    assert!(bytes >= plan.created().0 + params.bytes() && count >= plan.created().1 + params.buffer_count());
}

#[test]
fn parameters_of_another_device_are_refused() {
    let graph = Graph::new();
    graph.output("y", chain(&graph, 1));
    let mut params = Params::new(&device(), 0);
    let error = Plan::compile(&device(), &graph, &mut params, &CompileOptions::default()).expect_err("two devices");
    assert!(error.to_string().contains("another device"), "{error}");
}

#[test]
fn all_mistakes_are_reported_together_with_their_layers() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let x = graph.feed("x", TensorDesc::f32([4, 8]));
    let y = scope.enter("first", |s| x.matmul(s.weight("w", [9, 3], Init::Constant(0.0))));
    let z = scope.enter("second", |_| y.relu() + x); // poisoned: not a mistake of its own
    scope.enter("third", |_| x.sum().matmul(x));
    scope.enter("first", |s| s.weight("w", [1], Init::Constant(0.0)));
    graph.output("z", z);
    let mut params = Params::new(&device(), 0);
    let Err(Error::Shape(errors)) = compile(&graph, &mut params) else { panic!("a shape error was wanted") };
    let paths: Vec<&str> = errors.0.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["first", "third", "first"]);
    let text = errors.to_string();
    assert!(text.contains("3 mistakes") && text.contains("got 8 and 9") && text.contains("plan.rs:"), "{text}");
    assert_eq!(params.decls().count(), 0, "nothing was declared");
}

#[test]
fn a_tensor_above_the_binding_limit_is_named() {
    let device = device();
    let rows = device.target().max_binding_bytes as usize / 4 / 1024 + 1;
    let graph = Graph::new();
    let big = graph.feed("big", TensorDesc::f32([rows, 1024]));
    graph.output("y", big.sum());
    let mut params = Params::new(&device, 0);
    let error = compile(&graph, &mut params).expect_err("too large");
    assert!(
        matches!(&error, Error::Device(DeviceError::LimitExceeded { what, .. }) if what.contains("big")),
        "{error}"
    );

    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    graph.output("y", scope.weight("huge", [rows, 1024], Init::Constant(0.0)).sum());
    let error = compile(&graph, &mut params).expect_err("too large");
    assert!(error.to_string().contains("huge"), "{error}");
}

#[test]
fn running_out_of_memory_says_how_much_was_planned() {
    let device = device();
    let side = ((device.target().max_binding_bytes / 4) as f64).sqrt() as usize;
    let graph = Graph::new();
    // Thousands of the largest tensors, all alive at once: more than any machine of today has.
    let mut all = Vec::new();
    for i in 0..6000 {
        all.push(graph.constant([side, side], i as f32));
    }
    let sum = all.into_iter().rev().reduce(|a, b| a + b).expect("not empty");
    graph.output("y", sum.sum());
    let mut params = Params::new(&device, 0);
    let error = compile(&graph, &mut params).expect_err("no machine has that much");
    assert!(
        matches!(error, Error::Device(DeviceError::OutOfMemory { planned_bytes, .. }) if planned_bytes > 1 << 38),
        "{error}"
    );
}

#[test]
fn an_unknown_adapter_is_refused_with_the_known_ones() {
    let options = DeviceOptions { adapter: Some("voodoo 3dfx".to_string()), ..DeviceOptions::default() };
    let error = Device::open(&options).expect_err("no such adapter");
    assert!(error.to_string().contains("voodoo 3dfx") && error.to_string().contains("0: "), "{error}");
}

#[test]
fn wrong_feeds_and_outputs_are_named() {
    let graph = Graph::new();
    graph.output("y", chain(&graph, 1));
    let mut params = Params::new(&device(), 0);
    let mut plan = compile(&graph, &mut params).expect("compiles");
    let good = vec![0.0f32; 256];
    let none: [(&str, Feed<'_>); 0] = [];
    assert!(plan.run(&none).expect_err("missing").to_string().contains("\"x\" wants f32[16, 16]"));
    assert!(plan.run(&[("z", Feed::F32(&good))]).expect_err("unknown").to_string().contains("\"z\""));
    assert!(plan.run(&[("x", Feed::F32(&good[1..]))]).expect_err("short").to_string().contains("255"));
    assert!(plan.run(&[("x", Feed::U32(&[0; 256]))]).expect_err("type").to_string().contains("of u32"));
    let twice = [("x", Feed::F32(&good)), ("x", Feed::F32(&good))];
    assert!(plan.run(&twice).expect_err("twice").to_string().contains("one tensor, got two"));
    let ticket = plan.run(&[("x", Feed::F32(&good))]).expect("runs");
    assert!(plan.read(ticket, "q").expect_err("unknown").to_string().contains("there is y"));
    for _ in 0..3 {
        plan.run(&[("x", Feed::F32(&good))]).expect("runs");
    }
    let late = plan.read(ticket, "y").expect_err("overwritten");
    assert!(matches!(&late, Error::Usage(UsageError::Value { name, .. }) if name == "ticket"), "{late}");
}

#[test]
fn parameters_are_read_and_written_in_pytorch_order() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    graph.output("y", scope.weight("filter", [2, 3, 2, 2], Init::Normal { std: 1.0 }).scale(2.0));
    let mut params = Params::new(&device(), 7);
    let mut plan = compile(&graph, &mut params).expect("compiles");
    let drawn = params.get("filter").expect("declared");
    assert!(drawn.data.iter().any(|v| *v != 0.0));
    let array = Array::new([2, 3, 2, 2], (0..24).map(|v| v as f32).collect()).expect("24 elements");
    params.set("filter", &array).expect("same shape");
    assert_eq!(params.get("filter").expect("declared"), array);
    let none: [(&str, Feed<'_>); 0] = [];
    let ticket = plan.run(&none).expect("runs");
    let doubled: Vec<f32> = array.data.iter().map(|v| 2.0 * v).collect();
    assert_eq!(plan.read(ticket, "y").expect("reads"), doubled);
    let other = Array::new(Shape::from([24]), vec![0.0; 24]).expect("24 elements");
    assert!(params.set("filter", &other).expect_err("another shape").to_string().contains("[2, 3, 2, 2]"));
    assert!(params.get("nothing").is_err());
}

#[test]
fn initial_values_depend_on_name_and_seed_only() {
    let values = |seed: u64, before: bool| {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Train);
        if before {
            graph.output("other", scope.weight("other", [5], Init::Normal { std: 1.0 }));
        }
        graph.output("y", scope.weight("w", [100], Init::Uniform { bound: 0.5 }));
        let mut params = Params::new(&device(), seed);
        compile(&graph, &mut params).expect("compiles");
        params.get("w").expect("declared").data
    };
    assert_eq!(values(1, false), values(1, true));
    assert_ne!(values(1, false), values(2, false));
    assert!(values(1, false).iter().all(|v| v.abs() <= 0.5));
}

#[test]
fn an_update_happens_in_place_and_is_seen_by_the_next_run() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let w = scope.weight("w", [3], Init::Constant(1.0));
    let loss = (w * w).sum();
    let gradient = gradients(loss, &[w]).expect("differentiable")[0].expect("depends on w");
    graph.output("loss", loss);
    graph.write_back(w, w + gradient.scale(-0.25));
    let mut params = Params::new(&device(), 0);
    let mut plan = compile(&graph, &mut params).expect("compiles");
    assert!(plan.desc().copies.is_empty(), "{}", plan.dump());
    let none: [(&str, Feed<'_>); 0] = [];
    let losses: Vec<f32> = (0..3)
        .map(|_| {
            let ticket = plan.run(&none).expect("runs");
            plan.read(ticket, "loss").expect("reads")[0]
        })
        .collect();
    assert_eq!(losses, [3.0, 0.75, 0.1875]);
    assert_eq!(params.get("w").expect("declared").data, [0.125; 3]);
}

#[test]
fn reading_a_parameter_after_its_update_is_refused() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let w = scope.weight("w", [4], Init::Constant(1.0));
    graph.write_back(w, w.scale(0.5));
    graph.output("late", w.relu());
    let mut params = Params::new(&device(), 0);
    let error = compile(&graph, &mut params).expect_err("reads too late");
    assert!(error.to_string().contains("after its update"), "{error}");
}

#[test]
fn a_profile_times_every_dispatch() {
    let device = device();
    let graph = Graph::new();
    graph.output("y", chain(&graph, 4));
    let mut params = Params::new(&device, 0);
    let mut plan = compile(&graph, &mut params).expect("compiles");
    let profile = plan.profile(&[("x", Feed::F32(&[1.0; 256]))]);
    if !device.has_timestamps() {
        let error = profile.expect_err("there is no clock");
        assert!(error.to_string().contains("has no timestamp queries"), "{error}");
        return;
    }
    let profile = profile.expect("runs");
    assert_eq!(profile.rows.len(), plan.desc().dispatches.len());
    assert!(profile.total_ms() > 0.0 && profile.rows.iter().all(|row| row.ms < 1e4));
    assert!(profile.to_string().contains("matmul"));
}

/// Of three channels, so that the windows are copied.
#[test]
fn small_workspaces_are_respected_by_chunking() {
    let mut results = Vec::new();
    for workspace_bytes in [0, 4096] {
        let options = DeviceOptions { tier: Some(Tier::Base), workspace_bytes, ..DeviceOptions::default() };
        let device = Device::open(&options).expect("an adapter");
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Train);
        let x = graph.feed("x", TensorDesc::f32([2, 3, 12, 12]));
        let w = scope.weight("w", [8, 3, 3, 3], Init::Normal { std: 0.1 });
        let y = x.conv2d(w, Default::default());
        let gradient = gradients(y.sum(), &[w, x]).expect("differentiable");
        graph.output("y", y);
        graph.output("dw", gradient[0].expect("depends on w"));
        graph.output("dx", gradient[1].expect("depends on x"));
        let mut params = Params::new(&device, 3);
        let mut plan = Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect("compiles");
        let data: Vec<f32> = (0..864).map(|v| (v as f32 * 0.37).sin()).collect();
        let ticket = plan.run(&[("x", Feed::F32(&data))]).expect("runs");
        let read = |plan: &mut Plan, name: &str| plan.read(ticket, name).expect("reads");
        results.push((plan.desc().dispatches.len(), ["y", "dw", "dx"].map(|name| read(&mut plan, name))));
    }
    assert!(results[1].0 > results[0].0 + 10, "more dispatches: {} against {}", results[1].0, results[0].0);
    for (a, b) in results[0].1.iter().flatten().zip(results[1].1.iter().flatten()) {
        assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} {b}");
    }
}

/// Taps in parts are summed in the result, which must not lie where the derivative is read from at the end.
#[test]
fn a_derivative_behind_taps_in_parts_reads_what_nothing_has_overwritten() {
    let mut results = Vec::new();
    for workspace_bytes in [0, 4096] {
        let options = DeviceOptions { tier: Some(Tier::Base), workspace_bytes, ..DeviceOptions::default() };
        let device = Device::open(&options).expect("an adapter");
        let graph = Graph::new();
        let dy = graph.feed("dy", TensorDesc::f32([1, 4, 10, 10]));
        let w = graph.feed("w", TensorDesc::f32([4, 3, 3, 3]));
        // A temporary that nothing else reads.
        let known = graph.feed("known", TensorDesc::f32([1, 3, 12, 12])).scale(1.0);
        let op = Conv2dBackwardInput {
            derivative: Activation::Gelu,
            algo: Some(ConvAlgo::Im2col),
            ..Conv2dBackwardInput::new(Conv2dConfig::default(), [12, 12])
        };
        graph.output("dx", graph.apply1(op, &[dy, w, known]).scale(1.0));
        let mut params = Params::new(&device, 0);
        let options = CompileOptions { fuse: false, ..CompileOptions::default() };
        let mut plan = Plan::compile(&device, &graph, &mut params, &options).expect("compiles");
        let data: Vec<f32> = (0..432).map(|v| (v as f32 * 0.37).sin()).collect();
        let feeds = [("dy", &data[..400]), ("w", &data[..108]), ("known", &data[..])];
        let ticket = plan.run(&feeds.map(|(name, data)| (name, Feed::F32(data)))).expect("runs");
        results.push((plan.desc().dispatches.len(), plan.read(ticket, "dx").expect("reads")));
    }
    assert!(results[1].0 > results[0].0, "the taps come in parts");
    for (a, b) in results[0].1.iter().zip(&results[1].1) {
        assert!((a - b).abs() <= 1e-5, "{a} {b}");
    }
}

/// Runs one pass of a small convolution and returns the number of dispatches and the result.
fn convolve(device: &Device, pass: ConvPass, algo: ConvAlgo) -> (usize, Vec<f32>) {
    let (x, w, dy) = ([2, 4, 13, 10], [8, 4, 3, 3], [2, 8, 13, 10]);
    let config = Conv2dConfig { padding: [1, 1], ..Conv2dConfig::default() };
    let algo = Some(algo);
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let param = |name, shape: [usize; 4]| scope.weight(name, shape, Init::Normal { std: 1.0 });
    let result = match pass {
        ConvPass::Forward => graph.apply1(Conv2d { algo, ..Conv2d::new(config) }, &[param("x", x), param("w", w)]),
        ConvPass::BackwardInput => {
            let op = Conv2dBackwardInput { algo, ..Conv2dBackwardInput::new(config, [13, 10]) };
            graph.apply1(op, &[param("dy", dy), param("w", w)])
        }
        ConvPass::BackwardWeight => {
            let op = Conv2dBackwardWeight { config, kernel: [3, 3], algo };
            graph.apply1(op, &[param("x", x), param("dy", dy)])
        }
    };
    graph.output("result", result);
    let mut params = Params::new(device, 5);
    let mut plan = compile_on(device, &graph, &mut params);
    let ticket = plan.run(&[] as &[(&str, Feed<'_>)]).expect("runs");
    (plan.desc().dispatches.len(), plan.read(ticket, "result").expect("reads"))
}

fn compile_on(device: &Device, graph: &Graph, params: &mut Params) -> Plan {
    Plan::compile(device, graph, params, &CompileOptions::default()).expect("compiles")
}

#[test]
fn chunks_of_every_algorithm_add_up() {
    for tier in [Tier::Base, Tier::Cpu] {
        let open = |workspace_bytes| {
            let options = DeviceOptions { tier: Some(tier), workspace_bytes, ..DeviceOptions::default() };
            Device::open(&options).expect("an adapter")
        };
        let whole = open(0);
        // Room for the transformed filters and some single tiles, or some rows of windows; or for one image with narrow tiles,
        // and for some tiles of spectra.
        for (chunked, algos) in [
            (open(8192), &[ConvAlgo::Im2col, ConvAlgo::WinogradF2, ConvAlgo::WinogradF4][..]),
            (open(24 << 10), &[ConvAlgo::WinogradF4, ConvAlgo::Fft][..]),
        ] {
            for pass in [ConvPass::Forward, ConvPass::BackwardInput, ConvPass::BackwardWeight] {
                for &algo in algos {
                    let ((few, want), (many, got)) = (convolve(&whole, pass, algo), convolve(&chunked, pass, algo));
                    assert!(many > few, "{pass:?} {algo:?}: {many} dispatches with a small workspace, {few} without");
                    let scale = want.iter().fold(0f32, |most, value| most.max(value.abs()));
                    for (got, want) in got.iter().zip(&want) {
                        let difference = (got - want).abs();
                        assert!(difference <= 2e-5 * scale, "{pass:?} {algo:?}: {got} {want}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_winograd_filter_above_the_workspace_is_left_to_another_algorithm() {
    let target = Target { tier: Tier::Cpu, ..Target::default() };
    let choose = |channels: usize| {
        let g =
            Geometry::forward([1, channels, 8, 8].into(), [channels, channels, 3, 3].into(), Conv2dConfig::default());
        ConvAlgo::choose(&g.expect("fits"), ConvPass::Forward, &target)
    };
    assert_eq!(choose(512), ConvAlgo::WinogradF4);
    assert_eq!(choose(768), ConvAlgo::WinogradF2);
    assert_eq!(choose(960), ConvAlgo::WinogradF2);
    assert_eq!(choose(2048), ConvAlgo::Implicit);
}

#[test]
fn fusion_moves_no_update_before_a_reader() {
    let device = device();
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let (w, v) = (scope.weight("w", [8, 8], Init::Constant(2.0)), scope.weight("v", [8, 8], Init::Constant(0.5)));
    let product = graph.feed("x", TensorDesc::f32([8, 8])).matmul(v);
    graph.output("read", w.relu());
    graph.write_back(w, product + w);
    let mut params = Params::new(&device, 0);
    let mut plan = compile_on(&device, &graph, &mut params);
    let ticket = plan.run(&[("x", Feed::F32(&[1.0; 64]))]).expect("runs");
    assert_eq!(plan.read(ticket, "read").expect("reads"), [2.0; 64]);
    assert_eq!(params.get("w").expect("a parameter").data, [6.0; 64]);
}

#[test]
fn workspaces_stay_within_their_limit() {
    const LIMIT: u64 = 4096;
    let options = DeviceOptions { tier: Some(Tier::Base), workspace_bytes: LIMIT, ..DeviceOptions::default() };
    let device = Device::open(&options).expect("an adapter");
    let config = Conv2dConfig::default();
    for pass in [ConvPass::Forward, ConvPass::BackwardInput, ConvPass::BackwardWeight] {
        let graph = Graph::new();
        let x = || graph.feed("x", TensorDesc::f32([2, 3, 12, 12]));
        let w = || graph.feed("w", TensorDesc::f32([8, 3, 3, 3]));
        let dy = || graph.feed("dy", TensorDesc::f32([2, 8, 10, 10]));
        let input = Conv2dBackwardInput::new(config, [12, 12]);
        let weight = Conv2dBackwardWeight { config, kernel: [3, 3], algo: None };
        let result = match pass {
            ConvPass::Forward => x().conv2d(w(), config),
            ConvPass::BackwardInput => graph.apply1(input, &[dy(), w()]),
            ConvPass::BackwardWeight => graph.apply1(weight, &[x(), dy()]),
        };
        graph.output("result", result);
        let mut params = Params::new(&device, 0);
        let plan = compile(&graph, &mut params).expect("compiles");
        // Feeds are no temporaries, so all but the result is workspace.
        let workspace_bytes = plan.desc().unshared_bytes - result.desc().size_bytes();
        assert!((1..=LIMIT).contains(&workspace_bytes), "{workspace_bytes} bytes\n{}", plan.dump());
    }
}

/// Compiles to data for a device that does not exist.
fn plan_for(graph: &Graph, target: Target) -> Result<PlanDesc, Error> {
    lower(
        optimise(graph, &CompileOptions::default())?,
        &StoreLayout::default(),
        target,
        "a small adapter",
        &CompileOptions::default(),
    )
}

#[test]
fn a_grid_above_the_limit_is_named() {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([1, 16, 4, 4]));
    let config = Conv2dConfig { groups: 16, ..Conv2dConfig::default() };
    graph.output("y", x.conv2d(graph.feed("w", TensorDesc::f32([16, 1, 1, 1])), config));
    let error = plan_for(&graph, Target { max_groups: 15, ..Target::default() }).expect_err("16 groups");
    let text = error.to_string();
    assert!(text.contains("conv2d") && text.contains("16]") && text.contains("offers 15"), "{text}");
    assert!(plan_for(&graph, Target { max_groups: 16, ..Target::default() }).is_ok());
}

#[test]
fn what_nobody_uses_may_be_too_large() {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([4096, 1]));
    graph.output("y", x.sum());
    x.matmul_transposed(x);
    assert!(plan_for(&graph, Target { max_binding_bytes: 1 << 16, ..Target::default() }).is_ok());
}

/// Copies its operand, and writes one vec4 more than there is.
#[derive(Clone, Copy, Debug)]
struct TooFar;

impl OpDef for TooFar {
    fn name(&self) -> &'static str {
        "too_far"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(x.to_vec())
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        const KERNEL: &str = "
            struct Args { n: u32 }
            @group(0) @binding(0) var<uniform> args: Args;
            @group(0) @binding(1) var<storage, read> x: array<vec4f>;
            @group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
            @compute @workgroup_size(1) fn main() {
              for (var i = 0u; i <= args.n; i++) { y[i] = x[min(i, args.n - 1u)]; }
            }";
        let (x, y, n) = (cx.x(0), cx.y(0), cx.x_desc(0).shape.numel() / 4);
        cx.dispatch_source("too_far", KERNEL).bind("x", x).bind("y", y).arg("n", n).groups(1);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data.copy_from_slice(x[0].data);
    }
}

#[test]
fn a_kernel_that_writes_too_far_is_found() {
    let device = device();
    let graph = Graph::new();
    graph.output("y", graph.apply1(TooFar, &[graph.feed("x", TensorDesc::f32([64]))]));
    let mut params = Params::new(&device, 0);
    let options = CompileOptions { poison_memory: true, ..CompileOptions::default() };
    let mut plan = Plan::compile(&device, &graph, &mut params, &options).expect("compiles");
    plan.run(&[("x", Feed::F32(&[1.0; 64]))]).expect("runs");
    assert_eq!(plan.broken_guards().expect("reads"), ["slot 0"]);
}

#[test]
fn a_nan_passes_through_a_relu() {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([4]));
    graph.output("y", x.relu());
    let mut params = Params::new(&device(), 0);
    let mut plan = compile(&graph, &mut params).expect("compiles");
    let ticket = plan.run(&[("x", Feed::F32(&[f32::NAN, -1.0, 2.0, f32::NEG_INFINITY]))]).expect("runs");
    let y = plan.read(ticket, "y").expect("reads");
    assert!(y[0].is_nan() && y[1..] == [0.0, 2.0, 0.0], "{y:?}");
}
