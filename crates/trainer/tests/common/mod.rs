//! What the tests on a device share: the device, a task that is quickly learned, and a small network.
#![allow(dead_code)] // Each test file compiles its own copy and none uses every part.

use std::io::Write;
use std::sync::{Arc, Mutex};
use wgrad_layers::{BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, Relu};
use wgrad_tensor::{Device, DeviceOptions, ParamKind, Params};
use wgrad_trainer::{Dataset, Output, Show, Splits, Trainer};

/// The default device; a machine without an adapter fails loudly.
pub(crate) fn device() -> Device {
    Device::open(&DeviceOptions::default()).expect("tests on a device need an adapter")
}

/// Images of 8x8 pixels whose class is the brighter quarter; `seed` shifts the noise.
pub(crate) fn quarters(images: usize, seed: u32) -> Dataset {
    let mut noise = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = move || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise >> 24
    };
    let mut pixels = Vec::with_capacity(images * 64);
    let labels: Vec<u32> = (0..images as u32).map(|i| i % 4).collect();
    for &label in &labels {
        for at in 0..64u32 {
            let quarter = (at / 32) * 2 + at % 8 / 4;
            pixels.push((next() / 2 + if quarter == label { 110 } else { 0 }) as u8);
        }
    }
    Dataset {
        name: "quarters".into(),
        images: pixels.into(),
        labels,
        channels: 1,
        height: 8,
        width: 8,
        class_names: ["a", "b", "c", "d"].map(String::from).to_vec(),
        mean: [0.35; 3],
        std: [0.25; 3],
    }
}

pub(crate) fn splits() -> Splits {
    Splits { train: quarters(200, 1), test: quarters(43, 2) }
}

/// Convolution, batch norm, dropout, a linear head: every kind of state a checkpoint has.
pub(crate) fn net() -> impl Layer + Clone + 'static {
    let first = (Conv2d::new(1, 8, 3).padding(1).stride(2).bias(false), BatchNorm2d::new(8), Relu);
    let second = (Conv2d::new(8, 12, 3).padding(1).stride(2).bias(false), BatchNorm2d::new(12), Relu);
    (first, second, Flatten, Dropout::new(0.1), Linear::new(48, 4))
}

/// A run without files and without a word.
pub(crate) fn quiet(device: &Device) -> Trainer {
    let trainer = Trainer::new(net(), splits()).device(device.clone()).batch_size(20).epochs(2);
    trainer.output(Output::Nowhere).show(Show::Nothing)
}

/// All parameters' bits, by name.
pub(crate) fn bits(params: &Params) -> Vec<(String, Vec<u32>)> {
    let names: Vec<String> = params.decls().map(|decl| decl.name.clone()).collect();
    let read = |name: String| {
        let array = params.get(&name).expect("a known name");
        (name, array.data.iter().map(|value| value.to_bits()).collect())
    };
    names.into_iter().map(read).collect()
}

/// Names of one kind.
pub(crate) fn names(params: &Params, kind: ParamKind) -> Vec<String> {
    params.of_kind(kind).map(|decl| decl.name.clone()).collect()
}

/// A writer for lines, and what was written to it.
pub(crate) fn lines() -> (impl Write + Send + 'static, impl Fn() -> String) {
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("whole").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
    let text = Arc::clone(&shown);
    (Lines(shown), move || String::from_utf8(text.lock().expect("whole").clone()).expect("text"))
}
