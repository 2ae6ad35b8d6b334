//! Every convolution algorithm within its own distance from f64: bounds tight enough that a wrong digit in a transform's
//! matrix, or a sum kept in too few bits, fails.
#![allow(clippy::print_stderr)] // what an adapter cannot run is said, not passed over

use wgrad_tensor::ops::conv2d::{
    Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dConfig, ConvAlgo, ConvPass, Geometry,
};
use wgrad_tensor::reference::{self, Tensors};
use wgrad_tensor::{
    CompileOptions, Device, DeviceOptions, Feed, Graph, Init, Mode, Params, Plan, Scope, Storage, StoragePolicy, Tier,
    Value,
};

const PASSES: [ConvPass; 3] = [ConvPass::Forward, ConvPass::BackwardInput, ConvPass::BackwardWeight];

/// Largest error relative to the largest value of the result: about three times what is measured
/// (docs/performance.md), so that another driver's order of operations passes.
fn bound(algo: ConvAlgo, taps: usize) -> f64 {
    match algo {
        // As many points as F(4x4) of three taps.
        ConvAlgo::WinogradF2 if taps == 5 => 2e-5,
        ConvAlgo::WinogradF4 => 3e-5,
        _ => 2e-6,
    }
}

fn trace<'g>(s: &Scope<'g>, g: &Geometry, pass: ConvPass, algo: ConvAlgo) -> Value<'g> {
    let param = |name, shape| s.weight(name, shape, Init::Uniform { bound: 1.0 });
    let (config, algo) = (g.config, Some(algo));
    let (x, w, dy) = (g.input_shape(), g.filter_shape(), g.output_shape());
    match pass {
        ConvPass::Forward => s.graph().apply1(Conv2d { algo, ..Conv2d::new(config) }, &[param("x", x), param("w", w)]),
        ConvPass::BackwardInput => {
            let op = Conv2dBackwardInput { algo, ..Conv2dBackwardInput::new(config, [g.h, g.w]) };
            s.graph().apply1(op, &[param("dy", dy), param("w", w)])
        }
        ConvPass::BackwardWeight => {
            let op = Conv2dBackwardWeight { config, kernel: [g.r, g.s], algo };
            s.graph().apply1(op, &[param("x", x), param("dy", dy)])
        }
    }
}

/// What the device and what f64 computes.
fn results(
    device: &Device,
    g: &Geometry,
    pass: ConvPass,
    algo: ConvAlgo,
    activations: Storage,
) -> (Vec<f32>, Vec<f64>) {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Eval);
    graph.output("result", trace(&scope, g, pass, algo));
    let mut params = Params::with_weights(device, 1, activations);
    let storage = StoragePolicy { activations, ..StoragePolicy::default() };
    let options = CompileOptions { storage, ..CompileOptions::default() };
    let mut plan = Plan::compile(device, &graph, &mut params, &options).expect("compiles");
    let ticket = plan.run(&[] as &[(&str, Feed<'_>)]).expect("runs");
    let got = plan.read(ticket, "result").expect("reads");
    let mut tensors = Tensors::new();
    for decl in params.decls() {
        let values = params.get(&decl.name).expect("declared").data;
        tensors.insert(decl.name.clone(), values.into_iter().map(f64::from).collect());
    }
    let data = graph.data();
    let run = reference::run(&data, &Tensors::new(), &mut tensors).expect("runs");
    (got, run.output(&data, "result").expect("an output").to_vec())
}

#[test]
fn every_algorithm_keeps_its_distance_from_f64() {
    let mut failures = Vec::new();
    // In 16 bits the operands are what the storage has made of them, and exact from there on: only sums may err.
    let tiers =
        [(Tier::Base, Storage::F32), (Tier::Cpu, Storage::F32), (Tier::F16, Storage::F16), (Tier::Coop, Storage::F16)];
    for (tier, storage) in tiers {
        let options = DeviceOptions { tier: Some(tier), ..DeviceOptions::default() };
        let device = match Device::open(&options) {
            Ok(device) => device,
            // Few software drivers have f16, fewer cooperative matrices.
            Err(error) if storage == Storage::F16 => {
                eprintln!("not tested: {error}");
                continue;
            }
            Err(error) => panic!("device tests need an adapter: {error}"),
        };
        for (c, h, k, r, groups) in [
            (64, 13, 32, 3, 1),
            (32, 40, 48, 3, 1),
            (32, 11, 16, 5, 1),
            (16, 20, 16, 9, 1),
            (32, 9, 64, 1, 1),
            (32, 13, 32, 3, 8),
            (16, 13, 32, 3, 16),
        ] {
            let config = Conv2dConfig { padding: [r / 2; 2], groups, ..Conv2dConfig::default() };
            let g = Geometry::forward([2, c, h, h].into(), [k, c / groups, r, r].into(), config).expect("fits");
            for pass in PASSES {
                for algo in ConvAlgo::ALL.into_iter().filter(|algo| algo.supports(&g, pass, &device.target())) {
                    let (got, wanted) = results(&device, &g, pass, algo, storage);
                    let largest = wanted.iter().fold(0f64, |most, value| most.max(value.abs()));
                    let errors =
                        got.iter().zip(&wanted).map(|(&got, wanted)| (f64::from(got) - wanted).abs() / largest);
                    // A NaN is the worst of all.
                    let worst =
                        errors.map(|error| if error.is_nan() { f64::INFINITY } else { error }).fold(0.0, f64::max);
                    if worst > bound(algo, r) {
                        let (tier, name) = (tier.name(), algo.name());
                        failures.push(format!(
                            "{tier} {name} {r}x{r} {pass:?}: {worst:.1e}, allowed {:.1e}",
                            bound(algo, r)
                        ));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
