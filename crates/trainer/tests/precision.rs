//! Training with other numbers than f32.

use wgrad_layers::{BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, Relu};
use wgrad_tensor::ops::loss_scale::{LOSS_SCALE, LossScale};
use wgrad_tensor::{Device, DeviceOptions, Params, Storage};
use wgrad_trainer::{Precision, SgdConfig, StepOptions, TrainError, TrainStep, precision};

fn model() -> impl Layer {
    (
        (Conv2d::new(3, 8, 3).padding(1), BatchNorm2d::new(8), Relu),
        (Conv2d::new(8, 16, 3).padding(1).stride(2), BatchNorm2d::new(16), Relu),
        GlobalAvgPool,
        Linear::new(16, 4),
    )
}

fn options(precision: Precision) -> StepOptions {
    StepOptions {
        batch_size: 8,
        channels: 3,
        height: 12,
        width: 12,
        mean: [0.5; 3],
        std: [0.25; 3],
        label_smoothing: 0.0,
        soft_targets: false,
        device_moves: false,
        sgd: SgdConfig::default(),
        update: Default::default(),
        logits: false,
        precision,
        compile: Default::default(),
    }
}

struct Run {
    losses: Vec<f32>,
    skipped: u64,
    scale: Option<f32>,
    /// All weights, in order.
    weights: Vec<Vec<f32>>,
    temporary_bytes: u64,
}

fn train(precision: Precision, steps: u64) -> Run {
    let device = Device::open(&DeviceOptions::default())
        .expect("device tests need an adapter; `cargo xtask test` installs the software driver");
    let mut params = Params::with_weights(&device, 5, precision.weights);
    let mut step = TrainStep::new(&device, &mut params, &model(), &options(precision)).expect("compiles");
    let pixels: Vec<u32> = (0..8 * 144u32).map(|i| i.wrapping_mul(0x9e37_79b9) >> 8).collect();
    let labels: Vec<u32> = (0..8).map(|i| i % 4).collect();
    let mut losses = Vec::new();
    for _ in 0..steps {
        let ticket = step.run(&pixels, &labels, 0.05).expect("runs");
        losses.push(step.read(ticket).expect("reads").loss);
    }
    let names: Vec<String> = params.of_kind(wgrad_tensor::ParamKind::Weight).map(|decl| decl.name.clone()).collect();
    Run {
        losses,
        skipped: step.skipped_steps(&params).expect("reads"),
        scale: params.get(LOSS_SCALE).ok().map(|scale| scale.data[0]),
        weights: names.iter().map(|name| params.get(name).expect("declared").data).collect(),
        temporary_bytes: step.plan().desc().live_peak_bytes,
    }
}

#[test]
fn every_preset_learns_the_same_batch() {
    let f32 = train(Precision::default(), 12);
    assert!(f32.losses[11] < 0.93 * f32.losses[0], "{:?}", f32.losses);
    for name in precision::NAMES {
        let preset: Precision = name.parse().expect("a preset");
        let run = train(preset, 12);
        assert!((run.losses[0] - f32.losses[0]).abs() < 0.02, "{name}: {:?} against {:?}", run.losses, f32.losses);
        assert!(run.losses[11] < 0.95 * run.losses[0], "{name}: {:?}", run.losses);
        if preset.storage.activations != Storage::F32 {
            assert!(run.temporary_bytes < f32.temporary_bytes, "{name}: {} bytes", run.temporary_bytes);
        }
    }
}

#[test]
fn stochastic_rounding_gives_the_same_bits_twice() {
    let preset: Precision = "bf16-sr".parse().expect("a preset");
    let (first, second) = (train(preset, 4), train(preset, 4));
    assert_eq!(first.weights, second.weights);
    for weight in first.weights.iter().flatten() {
        assert_eq!(weight.to_bits() & 0xffff, 0, "{weight} is no bf16");
    }
}

#[test]
fn a_scaled_loss_changes_no_bit_and_an_overflow_skips_the_step() {
    let scaled = |initial: f32, interval: u32| Precision {
        loss_scale: Some(LossScale { initial, interval, ..LossScale::default() }),
        ..Precision::default()
    };
    let plain = train(Precision::default(), 4);
    let run = train(scaled(1024.0, 2000), 4);
    // Powers of two move exponents only.
    assert_eq!(run.weights, plain.weights);
    assert_eq!((run.skipped, run.scale), (0, Some(1024.0)));
    assert_eq!(train(scaled(1024.0, 2), 4).scale, Some(4096.0), "doubled twice");

    // In f16 gradients of feature maps overflow long before those of f32 do.
    let half =
        |initial: f32| Precision { loss_scale: scaled(initial, 2000).loss_scale, ..Precision::mixed(Storage::F16) };
    let start = train(half(1.0), 0);
    let run = train(half(2f32.powi(36)), 1);
    assert_eq!(run.weights, start.weights, "a skipped step changes nothing");
    assert_eq!((run.skipped, run.scale), (1, Some(2f32.powi(35))));
    let run = train(half(2f32.powi(36)), 24);
    assert!(run.skipped > 1 && run.skipped < 24, "{}", run.skipped);
    assert_ne!(run.weights, start.weights, "it finds a scale that works");
}

#[test]
fn a_store_of_other_weights_is_refused() {
    let device = Device::open(&DeviceOptions::default()).expect("an adapter");
    let mut params = Params::new(&device, 0);
    let preset: Precision = "bf16-sr".parse().expect("a preset");
    match TrainStep::new(&device, &mut params, &model(), &options(preset)) {
        Err(TrainError::Setting { name: "precision", wanted, got }) => {
            assert!(wanted.contains("with_weights") && got.contains("f32"), "{wanted} {got}");
        }
        other => panic!("wanted a refusal, got {other:?}"),
    }
}
