//! `cargo xtask bench nets`: whole training steps.

use super::measure::{Clock, Time};
use super::output::WRONG;
use super::row::Row;
use super::{Bench, inference};
use crate::setting::Setting;
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::time::Instant;
use wgrad::layers::models;
use wgrad::tensor::{CompileOptions, Device, DeviceOptions, Feed, Params};
use wgrad::trainer::{Precision, TrainStep};

/// What is timed where nobody asks for anything else.
const DEFAULT: [&str; 6] = ["resnet20", "resnet9", "alexnet", "vgg16", "resnet18", "resnet50"];

/// Which networks, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct NetArgs {
    /// Networks of the zoo [default: resnet20 resnet9 alexnet vgg16 resnet18 resnet50]
    #[arg(value_parser = known)]
    pub(super) names: Vec<String>,
    /// Height and width of the images, in pixels [default: what the network was made for; less on software adapters]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) size: Option<u16>,
    /// Steps that are timed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) steps: u32,
    /// Numbers to train with: f32, mixed-f16, bf16-sr, …
    #[arg(long, default_value = "f32")]
    pub(super) precision: Precision,
    /// Time inference in place of training, two plans in turns: one computes everything in every run, the other keeps what
    /// follows from the weights alone
    #[arg(long, conflicts_with_all = ["memory", "precision"])]
    pub(super) inference: bool,
    /// Most MiB that the second plan may keep [default: as much as two workspaces]
    #[arg(long, value_name = "MIB", requires = "inference")]
    pub(super) keep: Option<u64>,
    /// Most MiB for activations, their gradients and workspaces; what does not fit is computed twice
    #[arg(long, value_name = "MIB")]
    pub(super) memory: Option<u64>,
    /// Submissions that a step is cut into, so that the device begins before all of it is encoded
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "inference", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) submissions: u16,
    /// Place branches side by side, without barriers between them; takes more memory
    #[arg(long, conflicts_with = "inference")]
    pub(super) overlap: bool,
}

impl NetArgs {
    /// How a step is submitted, where that is not the usual way.
    fn way(&self) -> String {
        let submissions = (self.submissions > 1).then(|| format!("{} submissions", self.submissions));
        let overlap = self.overlap.then(|| "branches side by side".to_string());
        [submissions, overlap].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A name of the zoo, for clap.
fn known(name: &str) -> Result<String, String> {
    match models::by_name(name, 3, 10) {
        Some(_) => Ok(name.to_string()),
        None => Err(format!("there are {}", [models::NAMES, models::IMAGENET_NAMES].concat().join(", "))),
    }
}

/// A network's usual setting; a software adapter gets less of the large ones than they were made for.
fn setting(name: &str, is_software: bool) -> Setting {
    let large = models::IMAGENET_NAMES.contains(&name);
    let (batch, size) = match (large, is_software) {
        (false, true) => (32, 32),
        (false, false) => (128, 32),
        (true, true) => match name {
            "alexnet" | "alexnet2012" | "googlenet_paper" | "inception_v3" => (8, 96),
            _ => (8, 64),
        },
        (true, false) => match name {
            "alexnet" => (128, 224),
            "alexnet2012" => (128, 227),
            "inception_v3" => (32, 299),
            _ => (32, 224),
        },
    };
    Setting { batch, size, classes: if large { 1000 } else { 10 } }
}

/// Times the networks one by one and hands each row over. A network that the device refuses is named, and the next one
/// has its turn.
pub(super) fn run(bench: &Bench, options: &DeviceOptions, batch: Option<usize>, args: &NetArgs) -> Vec<Row> {
    let names: Vec<&str> =
        if args.names.is_empty() { DEFAULT.to_vec() } else { args.names.iter().map(String::as_str).collect() };
    let is_software = bench.device.info().is_software;
    let mut rows = Vec::new();
    for name in names {
        let usual = setting(name, is_software);
        let size = args.size.map_or(usual.size, usize::from);
        let setting = Setting { batch: batch.unwrap_or(usual.batch), size, ..usual };
        let row = Row {
            name: name.to_string(),
            batch: Some(setting.batch),
            size: Some(setting.size),
            memory_mib: args.memory,
            algo: args.way(),
            dtype: args.precision.name().to_string(),
            clock: Clock::Wall.name().to_string(),
            ..bench.row()
        };
        let timed = match args.inference {
            true => inference::rows(bench, name, setting, args, &row),
            false => step(bench, options, name, setting, args, row.clone()).map(|row| vec![row]),
        };
        let timed = timed.unwrap_or_else(|error| vec![Row { error: Some(format!("refused: {error:#}")), ..row }]);
        timed.iter().for_each(|row| bench.show(row));
        rows.extend(timed);
    }
    rows
}

/// One training step: forward, backward, update. The first step's time counts from opening a device of its own, so that
/// every kernel is compiled.
fn step(bench: &Bench, options: &DeviceOptions, name: &str, setting: Setting, args: &NetArgs, row: Row) -> Result<Row> {
    let started = Instant::now();
    let device = Device::open(options)?;
    let model = models::by_name(name, 3, setting.classes).context("no such model")?;
    let mut params = Params::with_weights(&device, 1, args.precision.weights);
    let compile = CompileOptions {
        temporary_bytes: args.memory.map(|mib| mib << 20),
        submissions: usize::from(args.submissions),
        overlap: args.overlap,
        ..CompileOptions::default()
    };
    let options = setting.options(args.precision, compile);
    let mut step = TrainStep::new(&device, &mut params, &model, &options)?;
    let (pixels, labels) = (setting.pixels(), setting.labels());
    let ticket = step.run(&pixels, &labels, 0.001)?;
    let mut loss = step.read(ticket)?.loss;
    let first_step_ms = started.elapsed().as_secs_f64() * 1e3;
    let (rng, lr) = ([0u32; 4], [0.001]);
    let mut feeds = vec![("pixels", Feed::U32(&pixels)), ("labels", Feed::U32(&labels)), ("lr", Feed::F32(&lr))];
    if step.plan().desc().feeds.iter().any(|feed| feed.name == "rng") {
        feeds.push(("rng", Feed::U32(&rng)));
    }
    bench.show_profile(|| step.plan_mut().profile(&feeds))?;
    // As a trainer does it: two steps under way, and the older one's loss is read.
    let (mut tickets, mut ends) = (VecDeque::new(), Vec::new());
    for i in 0..args.steps + 2 {
        if i <= args.steps {
            tickets.push_back(step.run(&pixels, &labels, 0.001)?);
        }
        if i > 0
            && let Some(ticket) = tickets.pop_front()
        {
            loss += step.read(ticket)?.loss;
            ends.push(Instant::now());
        }
    }
    if !loss.is_finite() {
        return Ok(Row { error: Some(format!("{WRONG}the loss is not finite")), ..row });
    }
    let steps = ends.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect::<Vec<f64>>();
    if steps.is_empty() {
        bail!("no step was timed");
    }
    let time = Time::of(steps);
    let graph = &step.plan().desc().graph;
    let cost = graph.nodes.iter().map(|node| node.op.cost(&graph.descs(&node.inputs), &graph.descs(&node.outputs)));
    let gflops = cost.map(|cost| cost.flops).sum::<f64>() / time.ms / 1e6;
    Ok(Row {
        ms: Some(time.ms),
        ms_min: Some(time.least),
        ms_max: Some(time.most),
        images_per_s: Some(setting.batch as f64 / time.ms * 1e3),
        gflops: Some(gflops),
        fma_percent: bench.peaks.map(|peaks| 100.0 * gflops / peaks.fma_gflops),
        first_step_ms: Some(first_step_ms),
        planned_bytes: Some(step.plan().desc().planned_bytes() + params.bytes()),
        ..row
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_zoo_are_known_and_others_are_listed() {
        for name in DEFAULT {
            assert_eq!(known(name).as_deref(), Ok(name));
        }
        let error = known("resnet21").unwrap_err();
        assert!(error.contains("resnet20,") && error.contains("resnet152"), "{error}");
    }

    #[test]
    fn software_adapters_get_smaller_images_of_the_large_networks() {
        assert_eq!(setting("resnet20", true), Setting { batch: 32, size: 32, classes: 10 });
        assert_eq!(setting("vgg16", false), Setting { batch: 32, size: 224, classes: 1000 });
        for name in models::IMAGENET_NAMES {
            let usual = setting(name, true);
            let net = models::by_name(name, 3, usual.classes).unwrap();
            let input = wgrad::tensor::TensorDesc::f32([usual.batch, 3, usual.size, usual.size]);
            wgrad::layers::Summary::new(&net, input).unwrap();
        }
    }
}
