//! 16-bit storage on a device: the same codes as on the host, weights without a copy in 32 bits, refusals.

use wgrad_tensor::ops::sgd::{Sgd, SgdGroup};
use wgrad_tensor::precision::rounding_words;
use wgrad_tensor::{
    Array, CompileOptions, Device, DeviceOptions, Feed, Graph, Init, Mode, Params, Plan, Rounding, Scope, Shape,
    Storage, StoragePolicy, TensorDesc, Tier,
};

fn device(tier: Tier) -> Device {
    Device::open(&DeviceOptions { tier: Some(tier), ..DeviceOptions::default() })
        .expect("device tests need an adapter; `cargo xtask test` installs the software driver")
}

const SEED: u64 = 0x0123_4567_89ab_cdef;
const STEP: u32 = 42;
const RNG: [u32; 4] = [SEED as u32, (SEED >> 32) as u32, STEP, 0];

/// Numbers of every size, the borders of f16 among them; no subnormal f32, which drivers may flush.
fn numbers() -> Vec<f32> {
    let borders = [0.0, -0.0, 1.0, 65504.0, 65519.0, 65520.0, -7e4, 3.3e38, f32::INFINITY, f32::NEG_INFINITY];
    let tiny = [6.0e-8, 2.9e-8, 2.98e-8, -3e-8, 5.97e-8, 6.0e-5, 6.1035e-5, 6.1036e-5, 1e-30];
    let walk = (0..4000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)));
    let all = borders.into_iter().chain(tiny).chain(walk);
    all.filter(|x| x.is_normal() || x.is_infinite() || *x == 0.0).collect()
}

#[test]
fn a_device_rounds_as_the_host_does() {
    let numbers = numbers();
    for tier in [Tier::Base, Tier::Cpu] {
        let device = device(tier);
        for activations in [Storage::F16, Storage::Bf16] {
            for rounding in [Rounding::Nearest, Rounding::Stochastic] {
                let graph = Graph::new();
                let x = graph.feed("x", TensorDesc::f32([1, numbers.len()]));
                let stored = x.scale(1.0);
                graph.output("y", stored.scale(1.0));
                let storage = StoragePolicy { activations, activation_rounding: rounding, ..StoragePolicy::default() };
                let options = CompileOptions { fuse: false, storage, ..CompileOptions::default() };
                let mut params = Params::new(&device, 0);
                let mut plan = Plan::compile(&device, &graph, &mut params, &options).expect("compiles");
                let mut feeds = vec![("x", Feed::F32(&numbers))];
                if rounding == Rounding::Stochastic {
                    feeds.push(("rng", Feed::U32(&RNG)));
                }
                let ticket = plan.run(&feeds).expect("runs");
                let got = plan.read(ticket, "y").expect("reads");
                for (i, (&x, got)) in numbers.iter().zip(got).enumerate() {
                    let word = rounding_words(SEED, STEP, stored.id().0 as u32, i as u32 / 4)[i % 4];
                    let code = match rounding {
                        Rounding::Nearest => activations.nearest(x),
                        Rounding::Stochastic => activations.stochastic(x, word),
                    };
                    let want = activations.decode(code);
                    let label = format!("{activations} {} tier {}", rounding.name(), tier.name());
                    assert_eq!(got.to_bits(), want.to_bits(), "{label}: {x:e} became {got:e}, not {want:e}");
                }
            }
        }
    }
}

/// Steps of `w -= lr * 1`, from 1, on 16-bit weights; returns the mean weight.
fn descend(storage: Storage, weight_rounding: Rounding, lr: f32, steps: u32) -> f64 {
    let device = device(Tier::Cpu);
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let shape = Shape::from([64, 33]);
    let w = scope.weight("w", shape, Init::Constant(1.0));
    let gradient = graph.feed("g", TensorDesc::f32(shape)).scale(1.0);
    let group = SgdGroup { lr_scale: 1.0, weight_decay: 0.0, members: vec![(w, gradient)] };
    let rate = graph.feed("lr", TensorDesc::f32([]));
    graph.sgd(&Sgd::default(), &[group], rate).expect("valid");
    let mut params = Params::with_weights(&device, 0, storage);
    let policy = StoragePolicy { weight_rounding, ..StoragePolicy::default() };
    let options = CompileOptions { storage: policy, poison_memory: true, ..CompileOptions::default() };
    let mut plan = Plan::compile(&device, &graph, &mut params, &options).expect("compiles");
    let update = plan.desc().dispatches.iter().filter(|dispatch| dispatch.label.contains("sgd"));
    assert_eq!(update.count(), 1, "in place, in one dispatch\n{}", plan.dump());
    let ones = vec![1.0; shape.numel()];
    for step in 0..steps {
        let rng = [SEED as u32, (SEED >> 32) as u32, step, 0];
        let mut feeds = vec![("g", Feed::F32(&ones)), ("lr", Feed::F32(std::slice::from_ref(&lr)))];
        if weight_rounding == Rounding::Stochastic {
            feeds.push(("rng", Feed::U32(&rng)));
        }
        plan.run(&feeds).expect("runs");
    }
    let weights = params.get("w").expect("declared").data;
    weights.iter().map(|&w| f64::from(w)).sum::<f64>() / weights.len() as f64
}

#[test]
fn small_updates_are_cancelled_by_nearest_and_kept_by_stochastic_rounding() {
    // A tenth of the distance to the next smaller code of 1.
    for (storage, lr) in [(Storage::Bf16, 0.1 / 256.0), (Storage::F16, 0.1 / 2048.0)] {
        assert_eq!(descend(storage, Rounding::Nearest, lr, 20), 1.0, "{storage}");
        let got = descend(storage, Rounding::Stochastic, lr, 20);
        let want = 1.0 - 20.0 * f64::from(lr);
        // 2112 weights, each the sum of 20 steps of a coin with p = 0.1 and the size 10 lr.
        let deviation = 10.0 * f64::from(lr) * (20.0f64 * 0.09 / 2112.0).sqrt();
        assert!((got - want).abs() <= 5.0 * deviation, "{storage}: {got}, wanted {want}");
    }
    assert!((descend(Storage::F32, Rounding::Nearest, 0.01, 20) - 0.8).abs() < 1e-5);
}

#[test]
fn a_store_of_half_the_bytes_gives_back_what_it_was_given() {
    let device = device(Tier::Cpu);
    let declare = |storage: Storage| {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Eval);
        let w = scope.weight("w", [40, 7, 3, 3], Init::Uniform { bound: 1.0 });
        let b = scope.weight("b", [5], Init::Constant(0.1));
        graph.output("y", w.sum() + b.sum());
        graph.output("w", w);
        let mut params = Params::with_weights(&device, 3, storage);
        let plan = Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect("compiles");
        (params, plan)
    };
    let (full, _) = declare(Storage::F32);
    for storage in [Storage::F16, Storage::Bf16] {
        let (mut half, mut plan) = declare(storage);
        assert_eq!(2 * half.bytes(), full.bytes());
        let start = half.get("w").expect("declared");
        for (half, full) in start.data.iter().zip(full.get("w").expect("declared").data) {
            assert_eq!(half.to_bits(), storage.decode(storage.nearest(full)).to_bits(), "initialised to nearest");
        }
        let values: Vec<f32> = (0..5).map(|i| 0.3 * i as f32).collect();
        half.set("b", &Array::new([5], values.clone()).expect("five")).expect("fits");
        let rounded: Vec<f32> = values.iter().map(|&x| storage.decode(storage.nearest(x))).collect();
        assert_eq!(half.get("b").expect("declared").data, rounded);
        assert_eq!(half.get("w").expect("declared"), start, "its neighbour is untouched");
        let ticket = plan.run(&[] as &[(&str, Feed<'_>)]).expect("runs");
        assert_eq!(plan.read(ticket, "w").expect("reads"), start.data, "as an output");
        let sum: f32 = start.data.iter().sum::<f32>() + rounded.iter().sum::<f32>();
        assert!((plan.read(ticket, "y").expect("reads")[0] - sum).abs() < 1e-2);
    }
}

#[test]
fn a_weight_whose_new_value_is_written_by_single_elements_is_refused() {
    let device = device(Tier::Cpu);
    let graph = Graph::new();
    let w = Scope::new(&graph, Mode::Train).weight("w", [3, 3], Init::Constant(1.0));
    graph.write_back(w, w.matmul(w));
    let mut params = Params::with_weights(&device, 0, Storage::Bf16);
    let error =
        Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect_err("refused").to_string();
    assert!(error.contains("\"w\"") && error.contains("bf16") && error.contains("single elements"), "{error}");
}
