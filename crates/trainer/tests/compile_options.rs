//! How a plan is compiled changes its memory and its time, but no bit of what it computes.

mod common;

use common::{bits, device};
use wgrad_layers::{BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, Relu, models};
use wgrad_tensor::{CompileOptions, Device, Params};
use wgrad_trainer::{Precision, SgdConfig, StepOptions, TrainStep};

const BATCH: usize = 16;

fn options(compile: CompileOptions) -> StepOptions {
    StepOptions {
        batch_size: BATCH,
        channels: 3,
        height: 32,
        width: 32,
        mean: [0.5; 3],
        std: [0.25; 3],
        label_smoothing: 0.0,
        soft_targets: false,
        device_moves: false,
        sgd: SgdConfig::default(),
        update: Default::default(),
        logits: false,
        precision: Precision::default(),
        compile,
    }
}

/// Bytes of the temporaries, and everything that twelve steps leave behind.
fn train(device: &Device, net: &dyn Layer, compile: CompileOptions) -> (u64, Vec<(String, Vec<u32>)>) {
    let mut params = Params::new(device, 3);
    let mut step = TrainStep::new(device, &mut params, net, &options(compile)).expect("compiles");
    let desc = step.plan().desc();
    assert_eq!(step.plan().created().0, desc.planned_bytes(), "planned and created bytes differ");
    let temporaries = desc.buffers.iter().filter(|b| b.label.starts_with("slot")).map(|b| b.bytes).sum();
    for number in 0..12u32 {
        let pixels: Vec<u32> =
            (0..BATCH as u32 * 1024).map(|i| (i + 7 * number).wrapping_mul(0x9e37_79b9) >> 8).collect();
        let labels: Vec<u32> = (0..BATCH as u32).map(|i| (i + number) % 10).collect();
        step.run(&pixels, &labels, 0.05).expect("runs");
    }
    (temporaries, bits(&params))
}

fn half_is_bit_equal(net: &dyn Layer) {
    let device = device();
    let (bytes, expected) = train(&device, net, CompileOptions::default());
    let half = CompileOptions { temporary_bytes: Some(bytes / 2), ..CompileOptions::default() };
    let (fewer, got) = train(&device, net, half);
    assert!(fewer <= bytes / 2, "{fewer} of {bytes} bytes");
    assert!(expected.iter().all(|(_, bits)| bits.iter().all(|&bits| f32::from_bits(bits).is_finite())));
    assert!(got == expected, "half the memory gives other bits");
}

#[test]
fn resnet20_with_half_the_memory_has_the_same_bits() {
    half_is_bit_equal(&models::by_name("resnet20", 3, 10).expect("a name of the zoo"));
}

#[test]
fn dropout_and_statistics_are_those_of_the_first_pass() {
    let block = |c: usize| (Conv2d::new(c, 8, 3).padding(1).bias(false), BatchNorm2d::new(8), Relu, Dropout::new(0.2));
    let blocks = (block(3), block(8), block(8), block(8), block(8), block(8));
    half_is_bit_equal(&(blocks, (block(8), block(8)), Flatten, Linear::new(8 * 1024, 10)));
}

#[test]
fn submissions_and_overlap_change_no_bit() {
    let net = models::by_name("resnet8", 3, 10).expect("a name of the zoo");
    let device = device();
    let (_, expected) = train(&device, &net, CompileOptions::default());
    for submissions in [2, 5, 100_000] {
        let (_, got) = train(&device, &net, CompileOptions { submissions, ..CompileOptions::default() });
        assert!(got == expected, "{submissions} submissions");
    }
    let (_, got) = train(&device, &net, CompileOptions { overlap: true, ..CompileOptions::default() });
    assert!(got == expected, "overlap");
}
