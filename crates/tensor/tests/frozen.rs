//! What follows from parameters alone is computed once for each version of them.

use wgrad_tensor::ops::conv2d::{Conv2d, Conv2dConfig, ConvAlgo};
use wgrad_tensor::ops::loss_scale::CountNonfinite;
use wgrad_tensor::{
    Array, CompileOptions, Device, DeviceOptions, Feed, Graph, Init, Mode, Params, Plan, Scope, TensorDesc, Tier,
    Value, gradients,
};

const X: [usize; 4] = [2, 8, 9, 10];

fn device() -> Device {
    Device::open(&DeviceOptions { tier: Some(Tier::Cpu), ..DeviceOptions::default() })
        .expect("device tests need an adapter; `cargo xtask test` installs the software driver")
}

fn keeping(frozen_bytes: Option<u64>) -> CompileOptions {
    CompileOptions { frozen_bytes, poison_memory: true, ..CompileOptions::default() }
}

fn pixels() -> Vec<f32> {
    (0..X.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect()
}

/// Two convolutions that transform their filters, `a.w` and `b.w`.
fn net<'g>(graph: &'g Graph, mode: Mode, algorithms: [ConvAlgo; 2]) -> (Value<'g>, [Value<'g>; 2]) {
    let scope = Scope::new(graph, mode);
    let config = Conv2dConfig { padding: [1, 1], ..Conv2dConfig::default() };
    let weight = |name| scope.enter(name, |s| s.weight("w", [8, 8, 3, 3], Init::Normal { std: 0.2 }));
    let w = ["a", "b"].map(weight);
    let mut x = graph.feed("x", TensorDesc::f32(X));
    for (w, algo) in w.into_iter().zip(algorithms) {
        x = graph.apply1(Conv2d { algo: Some(algo), ..Conv2d::new(config) }, &[x, w]).relu();
    }
    (x, w)
}

const ALGORITHMS: [ConvAlgo; 2] = [ConvAlgo::WinogradF4, ConvAlgo::Fft];

fn inference(device: &Device, params: &mut Params, options: &CompileOptions) -> Plan {
    let graph = Graph::new();
    graph.output("y", net(&graph, Mode::Eval, ALGORITHMS).0);
    Plan::compile(device, &graph, params, options).expect("compiles")
}

/// Runs a plan; its output as bits, and how many dispatches there were.
fn run(plan: &mut Plan) -> (Vec<u32>, usize) {
    let ticket = plan.run(&[("x", Feed::F32(&pixels()))]).expect("runs");
    (plan.read_words(ticket, "y").expect("reads"), plan.launched())
}

#[test]
fn later_runs_leave_out_what_has_been_done_and_keep_the_bits() {
    for tier in [Tier::Base, Tier::Cpu] {
        let options = DeviceOptions { tier: Some(tier), ..DeviceOptions::default() };
        let device = Device::open(&options).expect("an adapter");
        let mut params = Params::new(&device, 3);
        let mut whole = inference(&device, &mut params, &keeping(Some(0)));
        let mut plan = inference(&device, &mut params, &keeping(None));
        let (wanted, all) = run(&mut whole);
        assert_eq!(run(&mut whole), (wanted.clone(), all), "nothing is left out where nothing may be kept");
        assert!(wanted.iter().any(|&bits| bits != 0));
        assert_eq!(run(&mut plan), (wanted.clone(), all), "the first run does everything");
        // The filter of the one, and of the other both directions or, in workgroup memory, the whole.
        let frozen = if tier == Tier::Cpu { 3 } else { 2 };
        for _ in 0..4 {
            assert_eq!(run(&mut plan), (wanted.clone(), all - frozen), "{}", plan.dump());
        }
        let profile = plan.profile(&[("x", Feed::F32(&pixels()))]);
        if device.has_timestamps() {
            assert_eq!(profile.expect("runs").rows.len(), all - frozen);
        }
        assert_eq!(plan.broken_guards().expect("reads"), [] as [String; 0]);
        let desc = plan.desc();
        assert_eq!((desc.frozen.dispatches, desc.frozen.params.clone()), (frozen, vec!["a.w".into(), "b.w".into()]));
        assert!(desc.frozen.bytes >= 36 * 64 * 4 && desc.live_peak_bytes >= desc.frozen.bytes);
        let dump = plan.dump();
        assert!(dump.contains(&format!("once per version of the weights: {frozen} dispatches")), "{dump}");
        assert!(dump.contains(&format!("in every run: {} dispatches", all - frozen)), "{dump}");
        assert!(!whole.dump().contains("once per version"));
        let plan = inference(&device, &mut params, &CompileOptions::default());
        assert_eq!(plan.created().0, plan.desc().planned_bytes());
    }
}

#[test]
fn every_write_to_a_parameter_that_is_read_is_seen_by_all_plans_of_the_store() {
    let device = device();
    let mut params = Params::new(&device, 3);
    let mut plans = [0, 1].map(|_| inference(&device, &mut params, &keeping(None)));
    let mut whole = inference(&device, &mut params, &keeping(Some(0)));

    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let other = scope.weight("other", [4], Init::Constant(1.0));
    graph.write_back(other, other.scale(0.5));
    let mut stranger = Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect("compiles");

    let graph = Graph::new();
    let (y, w) = net(&graph, Mode::Train, ALGORITHMS);
    let found = gradients(y.sum(), &w).expect("differentiable");
    for (w, gradient) in w.into_iter().zip(found) {
        graph.write_back(w, w + gradient.expect("depends on w").scale(-1e-3));
    }
    graph.output("y", y);
    let mut training = Plan::compile(&device, &graph, &mut params, &keeping(None)).expect("compiles");
    assert_eq!(training.desc().frozen.dispatches, 0, "what a plan updates is not frozen in it: {}", training.dump());

    let (first, all) = run(&mut whole);
    let mut check = |wanted: &[u32], count: usize| {
        for plan in &mut plans {
            assert_eq!(run(plan), (wanted.to_vec(), count));
            assert_eq!(run(plan), (wanted.to_vec(), all - 3));
        }
    };
    check(&first, all);
    stranger.run(&[] as &[(&str, Feed<'_>)]).expect("runs");
    assert_eq!(params.get("other").expect("declared").data, [0.5; 4]);
    check(&first, all - 3);
    // Steps and runs in turns, without waiting in between.
    let mut seen = vec![first];
    for _ in 0..3 {
        run(&mut training);
        let (after, _) = run(&mut whole);
        assert!(!seen.contains(&after), "the step changed something");
        check(&after, all);
        seen.push(after);
    }
    let version = params.version();
    let w = Array::new([8, 8, 3, 3], (0..576).map(|i| (i as f32).cos()).collect()).expect("576 elements");
    params.set("b.w", &w).expect("same shape");
    assert_eq!(params.version(), version + 1);
    let (after, _) = run(&mut whole);
    assert!(!seen.contains(&after));
    check(&after, all);
}

#[test]
fn layers_that_are_not_trained_are_transformed_once() {
    let train = |frozen_bytes| {
        let device = device();
        let mut params = Params::new(&device, 3);
        let graph = Graph::new();
        let (y, [_, b]) = net(&graph, Mode::Train, [ConvAlgo::WinogradF4; 2]);
        let gradient = gradients((y * y).sum(), &[b]).expect("differentiable")[0].expect("depends on b");
        graph.write_back(b, b + gradient.scale(-1e-4));
        graph.output("y", y);
        let mut plan = Plan::compile(&device, &graph, &mut params, &keeping(frozen_bytes)).expect("compiles");
        let results: Vec<(Vec<u32>, usize)> = (0..4).map(|_| run(&mut plan)).collect();
        assert_eq!(plan.broken_guards().expect("reads"), [] as [String; 0]);
        let (results, counts): (Vec<_>, Vec<_>) = results.into_iter().unzip();
        (results, counts, params.get("b.w").expect("declared").data, plan.desc().frozen.params.clone())
    };
    let (wanted, all, weights, _) = train(Some(0));
    let (got, counts, trained, params) = train(None);
    assert_eq!((got, trained), (wanted.clone(), weights));
    assert!(wanted[0] != wanted[1]);
    assert_eq!(counts, [all[0], all[0] - 1, all[0] - 1, all[0] - 1]);
    assert_eq!(params, ["a.w"]);
}

#[test]
fn what_may_be_kept_is_bounded() {
    let device = device();
    let mut params = Params::new(&device, 3);
    let frozen = |params: &mut Params, options: CompileOptions| {
        let plan = inference(&device, params, &options);
        (plan.desc().frozen.dispatches, plan.desc().frozen.bytes, plan.desc().frozen.params.clone())
    };
    let (_, bytes, _) = frozen(&mut params, keeping(None));
    let winograd_bytes = 36 * 64 * 4;
    assert_eq!(frozen(&mut params, keeping(Some(bytes))).0, 3);
    assert_eq!(frozen(&mut params, keeping(Some(winograd_bytes))), (1, winograd_bytes, vec!["a.w".to_string()]));
    // The rows' transform of the other one is smaller than both directions together.
    let (count, less, _) = frozen(&mut params, keeping(Some(bytes - 1)));
    assert!(count == 2 && less < bytes, "{count} {less} {bytes}");
    assert_eq!(frozen(&mut params, keeping(Some(15))), (0, 0, vec![]));
    let budget = CompileOptions { temporary_bytes: Some(1 << 30), ..CompileOptions::default() };
    assert_eq!(frozen(&mut params, budget), (0, 0, vec![]));
}

#[test]
fn whole_tensors_are_kept_too_and_fills_are_not() {
    let compile = |frozen_bytes| {
        let device = device();
        let mut params = Params::new(&device, 1);
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Eval);
        let w = scope.weight("w", [16, 16], Init::Normal { std: 1.0 });
        let x = graph.feed("x", TensorDesc::f32([16, 90]));
        let square = w.matmul(w);
        let cube = square.matmul(w).relu();
        graph.output("kept", square);
        graph.output("y", cube.matmul(x) + square.matmul(x) + graph.constant([16, 90], 3.0));
        (Plan::compile(&device, &graph, &mut params, &keeping(frozen_bytes)).expect("compiles"), params)
    };
    let (mut plan, mut params) = compile(None);
    let (mut whole, mut same) = compile(Some(0));
    let both = |plan: &mut Plan| {
        let ticket = plan.run(&[("x", Feed::F32(&pixels()))]).expect("runs");
        (plan.read_words(ticket, "y").expect("reads"), plan.read_words(ticket, "kept").expect("reads"))
    };
    assert_eq!(plan.desc().frozen.dispatches, 2, "{}", plan.dump());
    assert!(plan.desc().frozen.bytes == 2 * 16 * 16 * 4, "{}", plan.dump());
    for round in 0..2 {
        let w = Array::new([16, 16], (0..256).map(|i| ((i + round) as f32).sin()).collect()).expect("256 elements");
        params.set("w", &w).expect("same shape");
        same.set("w", &w).expect("same shape");
        let wanted = both(&mut whole);
        for _ in 0..3 {
            assert_eq!(both(&mut plan), wanted, "{}", plan.dump());
        }
    }
}

/// Also where one binding reads several of them and names the first.
#[test]
fn a_run_of_parameters_is_read_again_when_any_of_them_changes() {
    let device = device();
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Eval);
    let w = ["a", "b"].map(|name| scope.weight(name, [64], Init::Constant(1.0)));
    graph.output("count", graph.apply1(CountNonfinite { members: 2 }, &w));
    let mut params = Params::new(&device, 3);
    let mut plan = Plan::compile(&device, &graph, &mut params, &keeping(None)).expect("compiles");
    let mut count = || {
        let ticket = plan.run(&[] as &[(&str, Feed<'_>)]).expect("runs");
        plan.read_words(ticket, "count").expect("reads")[0]
    };
    assert_eq!(count(), 0);
    params.set("b", &Array { shape: [64].into(), data: vec![f32::NAN; 64] }).expect("a parameter");
    assert_eq!(count(), 64);
}
