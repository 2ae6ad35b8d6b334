//! `cargo xtask bench gemm|conv|step|accuracy`: how fast the kernels and whole training steps are on this adapter.

mod accuracy;
mod conv;
mod measure;

use anyhow::{Result, bail};
use measure::{RunError, Subject, Time, time};
use serde_json::json;
use std::time::Instant;
use wgrad::layers::models;
use wgrad::tensor::{CompileOptions, Device, DeviceOptions, Feed, Init, Params, Tier};
use wgrad::trainer::{Precision, SgdConfig, StepOptions, TrainStep};

const METHOD: &str = "wall clock around runs submitted back to back, each round at least 0.3 s after a warm-up; \
                      median of 5 rounds (min to max); errors against f64, of convolutions on one image";

/// What to time.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// gemm, conv, step or accuracy (of every convolution algorithm, against f64)
    #[arg(value_parser = ["gemm", "conv", "step", "accuracy"])]
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
    /// With `step` and `conv`: also print the time of every dispatch
    #[arg(long)]
    profile: bool,
    /// With `accuracy`: a table in Markdown
    #[arg(long)]
    markdown: bool,
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
        "conv" => conv::conv(&device, args),
        "accuracy" => accuracy::accuracy(&device, args),
        _ => step(&device, args, started),
    }
}

fn row(args: &Args, name: &str, algo: &str, time: &Time, flops: f64, error: &RunError) {
    let gflops = flops / time.ms / 1e6;
    if args.json {
        let line = json!({"name": name, "algo": algo, "ms": time.ms, "ms_min": time.least, "ms_max": time.most,
                          "gflops": gflops, "max_err": error.max, "rms_err": error.rms, "method": METHOD});
        println!("{line}");
    } else {
        println!(
            "{name:<44} {algo:<11} {:>9.3} ms  ({:.3} to {:.3})  {gflops:>8.1} GFLOP/s  error {:.1e} max, {:.1e} rms",
            time.ms, time.least, time.most, error.max, error.rms
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
            let mut subject = Subject::new(device, |s| {
                let init = Init::Uniform { bound: 1.0 };
                let a = s.weight("a", [m, k], init);
                let b = s.weight("b", if transposed { [n, k] } else { [k, n] }, init);
                if transposed { a.matmul_transposed(b) } else { a.matmul(b) }
            })?;
            let error = subject.error(&subject.reference()?)?;
            row(args, &name, "gemm", &subject.time()?, 2.0 * (m * n * k) as f64, &error);
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
        precision: Precision::default(),
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
