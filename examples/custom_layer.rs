//! A layer of one's own: the gated convolution (Dauphin et al., arXiv:1612.08083), in a small network that learns the
//! embedded Fashion-MNIST. `cargo run --release --example custom_layer`.
//!
//! A layer is plain data with one method. It names its parameters through the [`Scope`], calls operations on values, and
//! needs no backward pass: the graph is differentiated as a whole. There is no `?` either: shapes that do not fit are
//! reported together when the network is compiled, with the path of the layer and the line below.

#[path = "common/args.rs"]
mod args;

use std::process::ExitCode;
use wgrad::layers::{BatchNorm2d, Conv2d, GlobalAvgPool, Linear, MaxPool2d};
use wgrad::prelude::*;

/// `conv(x) * sigmoid(conv(x) + shift)`: one convolution computes, another decides how much of it passes.
#[derive(Clone, Debug)]
struct GatedConv {
    value: Conv2d,
    gate: Conv2d,
    channels: usize,
}

impl GatedConv {
    fn new(in_channels: usize, channels: usize) -> GatedConv {
        let conv = Conv2d::new(in_channels, channels, 3).padding(1).bias(false);
        GatedConv { value: conv.clone(), gate: conv, channels }
    }
}

impl Layer for GatedConv {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        // Children get a name, and their parameters with it: `0.value.weight`, `0.gate.weight`.
        let value = s.layer("value", &self.value, x);
        let gate = s.layer("gate", &self.gate, x);
        // A parameter of this layer itself, `0.shift`: gates start half open.
        let shift = s.weight("shift", [self.channels], Init::Constant(0.0));
        value * gate.add_bias(shift).sigmoid()
    }
}

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let args = args::parse(&[("epochs", "3"), ("batch_size", "64"), ("lr", "0.1")]);
    let model = (
        (GatedConv::new(1, 16), BatchNorm2d::new(16), MaxPool2d::new(2)),
        (GatedConv::new(16, 32), BatchNorm2d::new(32), MaxPool2d::new(2)),
        (GatedConv::new(32, 64), BatchNorm2d::new(64), GlobalAvgPool),
        Linear::new(64, 10),
    );
    let splits = match &args.data {
        Some(folder) => data::open::fashion_mnist(folder)?,
        None => data::embedded::fashion_mnist_12k()?,
    };
    args::say(Summary::new(&model, splits.train.input(1))?);
    let trainer = Trainer::new(model, splits)
        .name("gated")
        .epochs(args.epochs)
        .batch_size(args.batch_size)
        .schedule(Schedule::one_cycle(args.lr, args.epochs.into())?);
    let trained = args.run(trainer)?;
    args::say(trained.report.result_line());
    Ok(())
}
