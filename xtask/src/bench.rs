//! `cargo xtask bench gemm|conv|step`: how fast the kernels and whole training steps are on this adapter.

use anyhow::{Result, bail};
use serde_json::json;
use std::time::{Duration, Instant};
use wgrad::layers::models;
use wgrad::tensor::ops::conv2d::{
    Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dConfig, ConvAlgo, ConvPass, Geometry,
};
use wgrad::tensor::{CompileOptions, Device, DeviceOptions, Feed, Graph, Init, Mode, Params, Plan, Scope, Tier, Value};
use wgrad::trainer::{SgdConfig, StepOptions, TrainStep};

const METHOD: &str = "wall clock around runs submitted back to back, each round at least 0.3 s after a warm-up; \
                      median of 5 rounds (min to max)";

/// What to time.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// gemm, conv or step
    #[arg(value_parser = ["gemm", "conv", "step"])]
    what: String,
    /// Only rows whose name contains this; for `step`, the model
    name: Option<String>,
    /// Images of a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    /// Adapter by number or part of its name
    #[arg(long)]
    adapter: Option<String>,
    /// Kernels: base or cpu [default: as the adapter suggests]
    #[arg(long, value_parser = ["base", "cpu"])]
    tier: Option<String>,
    /// With `step`: also print the time of every dispatch
    #[arg(long)]
    profile: bool,
}

/// Times one of the three.
pub(crate) fn bench(args: &Args) -> Result<()> {
    let started = Instant::now();
    let tier = args.tier.as_deref().map(|tier| if tier == "cpu" { Tier::Cpu } else { Tier::Base });
    let options = DeviceOptions { adapter: args.adapter.clone(), tier, ..DeviceOptions::default() };
    let device = Device::open(&options)?;
    if !args.json {
        println!("{} ({}), tier {}", device.info().name, device.info().driver, device.target().tier.name());
        println!("{METHOD}\n");
    }
    match args.what.as_str() {
        "gemm" => gemm(&device, args),
        "conv" => conv(&device, args),
        _ => step(&device, args, started),
    }
}

/// Milliseconds of one run: median, least, most.
struct Time {
    ms: f64,
    least: f64,
    most: f64,
}

fn time(mut run: impl FnMut() -> Result<()>, mut wait: impl FnMut() -> Result<()>) -> Result<Time> {
    let mut batch = |count: u32| -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..count {
            run()?;
        }
        wait()?;
        Ok(start.elapsed())
    };
    batch(1)?;
    let one = batch(1)?;
    let count = (0.3 / one.as_secs_f64().max(1e-6)).ceil().clamp(1.0, 10_000.0) as u32;
    let mut rounds = Vec::new();
    for _ in 0..5 {
        rounds.push(batch(count)?.as_secs_f64() * 1e3 / f64::from(count));
    }
    rounds.sort_by(f64::total_cmp);
    Ok(Time { ms: rounds[2], least: rounds[0], most: rounds[4] })
}

/// Times a plan that computes one value from parameters, so that nothing is fed or read back.
fn time_value(device: &Device, trace: impl for<'g> Fn(&Scope<'g>) -> Value<'g>) -> Result<Time> {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Eval);
    let value = trace(&scope);
    graph.write_back(scope.buffer("result", value.shape(), Init::Constant(0.0)), value);
    let mut params = Params::new(device, 1);
    let mut plan = Plan::compile(device, &graph, &mut params, &CompileOptions::default())?;
    let run = || Ok(plan.run(&[] as &[(&str, Feed<'_>)]).map(|_| ())?);
    time(run, || Ok(device.wait()?))
}

fn row(args: &Args, name: &str, algo: &str, time: &Time, flops: f64) {
    let gflops = flops / time.ms / 1e6;
    if args.json {
        let line = json!({"name": name, "algo": algo, "ms": time.ms, "ms_min": time.least, "ms_max": time.most,
                          "gflops": gflops, "method": METHOD});
        println!("{line}");
    } else {
        println!(
            "{name:<44} {algo:<10} {:>9.3} ms  ({:.3} to {:.3})  {gflops:>8.1} GFLOP/s",
            time.ms, time.least, time.most
        );
    }
}

/// The rows there are, and whether one was asked for.
#[derive(Default)]
struct Rows {
    known: Vec<String>,
    any: bool,
}

impl Rows {
    fn wanted(&mut self, args: &Args, name: &str) -> bool {
        let wanted = args.name.as_deref().is_none_or(|part| name.contains(part));
        self.known.push(name.to_owned());
        self.any |= wanted;
        wanted
    }

    /// Fails where no row was asked for: a slip of the keyboard shall not pass for a measurement.
    fn check(&self, args: &Args) -> Result<()> {
        if self.any {
            return Ok(());
        }
        let part = args.name.as_deref().unwrap_or_default();
        bail!("no row's name contains {part:?}; there are:\n  {}", self.known.join("\n  "))
    }
}

fn gemm(device: &Device, args: &Args) -> Result<()> {
    let mut rows = Rows::default();
    for (m, n, k) in [(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (32_768, 16, 144), (2048, 64, 576)] {
        for transposed in [false, true] {
            let name = format!("{m}x{n}x{k} {}", if transposed { "a b^T" } else { "a b" });
            if !rows.wanted(args, &name) {
                continue;
            }
            let time = time_value(device, |s| {
                let init = Init::Uniform { bound: 1.0 };
                let a = s.weight("a", [m, k], init);
                let b = s.weight("b", if transposed { [n, k] } else { [k, n] }, init);
                if transposed { a.matmul_transposed(b) } else { a.matmul(b) }
            })?;
            row(args, &name, "gemm", &time, 2.0 * (m * n * k) as f64);
        }
    }
    rows.check(args)
}

/// A convolution that is timed: `[N, c, h, h]` with `k` filters of `r` by `r`.
struct Layer {
    name: &'static str,
    c: usize,
    h: usize,
    k: usize,
    r: usize,
    stride: usize,
    padding: usize,
    groups: usize,
}

#[rustfmt::skip] // A table is read by its columns.
const LAYERS: [Layer; 12] = [
    Layer { name: "resnet20.conv1",       c:   3, h: 32, k:  16, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer1",      c:  16, h: 32, k:  16, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer2.0",    c:  16, h: 32, k:  32, r: 3, stride: 2, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer2",      c:  32, h: 16, k:  32, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer3.0",    c:  32, h: 16, k:  64, r: 3, stride: 2, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer3",      c:  64, h:  8, k:  64, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv2",        c:  64, h: 27, k: 192, r: 5, stride: 1, padding: 2, groups:  1 },
    Layer { name: "alexnet.conv3",        c: 192, h: 13, k: 384, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv4",        c: 384, h: 13, k: 256, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv5",        c: 256, h: 13, k: 256, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet50.layer1.1x1",  c:  64, h: 56, k: 256, r: 1, stride: 1, padding: 0, groups:  1 },
    Layer { name: "resnext50.layer1.3x3", c: 128, h: 56, k: 128, r: 3, stride: 1, padding: 1, groups: 32 },
];

fn conv(device: &Device, args: &Args) -> Result<()> {
    let mut rows = Rows::default();
    for Layer { name: layer, c, h, k, r, stride, padding, groups } in LAYERS {
        let config = Conv2dConfig { stride: [stride; 2], padding: [padding; 2], groups, ..Conv2dConfig::default() };
        let (x, w) = ([args.batch, c, h, h], [k, c / groups, r, r]);
        let g = Geometry::forward(x.into(), w.into(), config).map_err(anyhow::Error::msg)?;
        let y = g.output_shape();
        for (pass, part) in [
            (ConvPass::Forward, "forward"),
            (ConvPass::BackwardInput, "backward_input"),
            (ConvPass::BackwardWeight, "backward_weight"),
        ] {
            let name = format!("{layer} batch {} {part}", args.batch);
            if !rows.wanted(args, &name) {
                continue;
            }
            let tier = device.target().tier;
            for algo in ConvAlgo::ALL.into_iter().filter(|algo| algo.supports(&g, pass, tier)) {
                let time = time_value(device, |s| {
                    let init = Init::Uniform { bound: 1.0 };
                    let algo = Some(algo);
                    match pass {
                        ConvPass::Forward => {
                            let op = Conv2d { algo, ..Conv2d::new(config) };
                            s.graph().apply1(op, &[s.weight("x", x, init), s.weight("w", w, init)])
                        }
                        ConvPass::BackwardInput => {
                            let op = Conv2dBackwardInput { config, input: [h, h], residual: false, algo };
                            s.graph().apply1(op, &[s.weight("dy", y, init), s.weight("w", w, init)])
                        }
                        ConvPass::BackwardWeight => {
                            let op = Conv2dBackwardWeight { config, kernel: [r, r], algo };
                            s.graph().apply1(op, &[s.weight("x", x, init), s.weight("dy", y, init)])
                        }
                    }
                })?;
                row(args, &name, algo.name(), &time, g.flops());
            }
        }
    }
    rows.check(args)
}

/// A whole training step: forward, backward, update. The first step's time counts from the start of this program.
fn step(device: &Device, args: &Args, started: Instant) -> Result<()> {
    let name = args.name.as_deref().unwrap_or("resnet20");
    let Some(model) = models::by_name(name, 3, 10) else {
        bail!("no model {name:?}; there are: {}", models::NAMES.join(", "));
    };
    let mut params = Params::new(device, 1);
    let options = StepOptions {
        batch_size: args.batch,
        channels: 3,
        height: 32,
        width: 32,
        mean: [0.5; 3],
        std: [0.25; 3],
        label_smoothing: 0.0,
        sgd: SgdConfig { momentum: 0.9, weight_decay: 1e-4, ..SgdConfig::default() },
        logits: false,
        compile: CompileOptions::default(),
    };
    let mut step = TrainStep::new(device, &mut params, &model, &options)?;
    let pixels: Vec<u32> = (0..args.batch as u32 * 1024).map(|i| i.wrapping_mul(0x9e37_79b9) >> 8).collect();
    let labels: Vec<u32> = (0..args.batch as u32).map(|i| i % 10).collect();
    step.run(&pixels, &labels, 0.01)?;
    device.wait()?;
    let first_step_s = started.elapsed().as_secs_f64();
    if args.profile {
        let feeds = [("pixels", Feed::U32(&pixels)), ("labels", Feed::U32(&labels)), ("lr", Feed::F32(&[0.01]))];
        println!("{}", step.plan_mut().profile(&feeds)?);
    }
    let time = time(|| Ok(step.run(&pixels, &labels, 0.01).map(|_| ())?), || Ok(device.wait()?))?;
    let images_per_s = args.batch as f64 / time.ms * 1e3;
    if args.json {
        let line = json!({"name": name, "batch": args.batch, "ms": time.ms, "ms_min": time.least, "ms_max": time.most,
                          "images_per_s": images_per_s, "first_step_s": first_step_s, "method": METHOD});
        println!("{line}");
    } else {
        println!(
            "{name} batch {}: {:.1} ms a step ({:.1} to {:.1}), {images_per_s:.1} images/s; first step after {first_step_s:.2} s",
            args.batch, time.ms, time.least, time.most
        );
    }
    Ok(())
}
