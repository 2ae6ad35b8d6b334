//! An operation of one's own with a kernel of one's own: the squared ReLU `y = max(x, 0)^2` (So et al., arXiv:2109.08668).
//! `cargo run --release --example custom_kernel`.
//!
//! An operation states its shapes, its gradient, its kernel and an obvious f64 reference, in this order. From then on it is
//! like any other: the graph differentiates through it, the planner finds memory for it, plans run it. The program below
//! checks the kernel against the reference, and the gradient against finite differences of the reference.

#[path = "common/args.rs"]
mod args;

use clap::Parser;
use std::process::ExitCode;
use wgrad::prelude::*;
use wgrad::tensor::ops::{Backward, Lower, OpDef, View, ViewMut};
use wgrad::tensor::reference::{self, Tensors};
use wgrad::tensor::{CompileOptions, Feed, Plan, TensorDesc, gradients};

#[derive(Clone, Copy, Debug)]
struct SquaredRelu;

/// Four elements an invocation. Buffers are bound by name; `args` is a block of numbers, filled by name as well. Every
/// buffer is rounded up to 16 bytes, so the last vec4 may be read and written whole.
const KERNEL: &str = "
override WG: u32 = 64u;

struct Args { n: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.n) { return; }
  let v = max(x[i], vec4f(0.0));
  y[i] = v * v;
}
";

impl OpDef for SquaredRelu {
    fn name(&self) -> &'static str {
        "squared_relu"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x {
            [x] => Ok(vec![*x]),
            _ => Err(format!("wants one operand, got {}", x.len())),
        }
    }

    /// `dx = dy * 2 max(x, 0)`, out of operations that are there.
    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![cx.if_needed(0, || cx.dy() * cx.input(0).relu().scale(2.0))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let n = cx.x_desc(0).shape.numel().div_ceil(4);
        let (x, y) = (cx.x(0), cx.y(0));
        cx.dispatch_source("squared_relu", KERNEL).bind("x", x).bind("y", y).arg("n", n).invocations(n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        for (y, x) in y[0].data.iter_mut().zip(x[0].data) {
            *y = x.max(0.0) * x.max(0.0);
        }
    }

    /// Every invocation reads what it writes, so `y` may take the place of `x`.
    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let device = args::DeviceArgs::parse().open()?;

    // y = squared_relu(x w), loss = sum(y * c): a graph with the new operation in its middle.
    let (rows, inner, columns) = (5, 7, 3);
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([rows, inner]));
    let c = graph.feed("c", TensorDesc::f32([rows, columns]));
    let w = Scope::new(&graph, Mode::Train).weight("w", [inner, columns], Init::KaimingNormal { gain: 1.0 });
    let y = graph.apply1(SquaredRelu, &[x.matmul(w)]);
    let loss = (y * c).sum();
    let gradient = gradients(loss, &[w])?[0].ok_or_else(|| anyhow::anyhow!("the loss does not depend on w"))?;
    graph.output("y", y);
    graph.output("dw", gradient);

    // On the device …
    let wave = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
    let (x_data, c_data) = (wave(rows * inner, 0.7), wave(rows * columns, 1.3));
    let mut params = Params::new(&device, 1);
    let mut plan = Plan::compile(&device, &graph, &mut params, &CompileOptions::default())?;
    let ticket = plan.run(&[("x", Feed::F32(&x_data)), ("c", Feed::F32(&c_data))])?;
    let (device_y, device_dw) = (plan.read(ticket, "y")?, plan.read(ticket, "dw")?);

    // … and in the f64 interpreter, which calls `reference` of every operation.
    let data = graph.data();
    let wide = |data: &[f32]| data.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let feeds: Tensors = [("x".to_string(), wide(&x_data)), ("c".to_string(), wide(&c_data))].into();
    let start = wide(&params.get("w")?.data);
    let run = |w: Vec<f64>| reference::run(&data, &feeds, &mut [("w".to_string(), w)].into());
    let expected = run(start.clone())?;
    let difference = |got: &[f32], wanted: &[f64]| {
        assert_eq!(got.len(), wanted.len(), "the device returned another number of elements");
        let pairs = got.iter().zip(wanted);
        // In the total order a NaN is the largest number of all.
        pairs.map(|(&got, wanted)| (f64::from(got) - wanted).abs()).max_by(f64::total_cmp).unwrap_or(f64::NAN)
    };
    let kernel = difference(&device_y, expected.value(y.id()));

    // The gradient of weight i is (loss(w_i + h) - loss(w_i - h)) / 2h.
    let h = 1e-4;
    let mut finite = Vec::new();
    for i in 0..start.len() {
        let moved = |by: f64| {
            let mut w = start.clone();
            w[i] += by;
            run(w).map(|run| run.value(loss.id())[0])
        };
        finite.push((moved(h)? - moved(-h)?) / (2.0 * h));
    }
    let gradient = difference(&device_dw, &finite);

    args::say(plan.dump());
    args::say(format_args!(
        "largest difference: kernel against reference {kernel:.1e}, gradient against finite differences {gradient:.1e}"
    ));
    anyhow::ensure!(kernel < 1e-5 && gradient < 1e-4, "the kernel or its gradient is wrong");
    Ok(())
}
