//! `cargo xtask tune`: times the algorithms of a model's operations on this adapter and keeps what it found in a table.

use crate::setting::{Setting, tier_parser};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wgrad::layers::{Layer, models};
use wgrad::tensor::{CompileOptions, Device, DeviceOptions, Params, Plan, Tier, Tuning};
use wgrad::trainer::{EvalStep, Precision, StepOptions, TrainStep, TuningFile};

/// What to tune.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Network of the zoo
    #[arg(default_value = "resnet20")]
    model: String,
    /// Images of a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Rows and columns of an image
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// Classes that the network tells apart
    #[arg(long, default_value_t = 10)]
    classes: usize,
    /// Seconds that timing may take; 0 reports what the table knows [default: 20 on a software adapter, 5 on a GPU]
    #[arg(long, value_name = "SECONDS")]
    budget: Option<f64>,
    /// Table to read and to add to [default: tuning.json in ~/.cache/wgrad]
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Mebibytes that one workspace may take [default: 64]
    #[arg(long, value_name = "MIB")]
    workspace: Option<u64>,
    /// Adapter by number or part of its name
    #[arg(long)]
    adapter: Option<String>,
    /// Family of kernels [default: as the adapter suggests]
    #[arg(long, value_parser = tier_parser())]
    tier: Option<Tier>,
    /// Time by the wall's clock, as on adapters without timestamp queries
    #[arg(long)]
    wall_clock: bool,
}

impl Args {
    fn setting(&self) -> Setting {
        Setting { batch: self.batch, size: self.size, classes: self.classes }
    }
}

/// Tunes a training step and an evaluation step, prints what was found, and times the step both ways.
pub(crate) fn tune(args: &Args) -> Result<()> {
    let Some(model) = models::by_name(&args.model, 3, args.classes) else {
        bail!("no model {:?}; there are: {}", args.model, models::NAMES.join(", "));
    };
    let device = Device::open(&DeviceOptions {
        adapter: args.adapter.clone(),
        tier: args.tier,
        workspace_bytes: args.workspace.unwrap_or(0) << 20,
        no_timestamps: args.wall_clock,
        ..DeviceOptions::default()
    })?;
    let budget = match args.budget {
        Some(seconds) => Duration::try_from_secs_f64(seconds).with_context(|| format!("--budget {seconds}"))?,
        None => Tuning::usual_budget(&device),
    };
    let path = match &args.table {
        Some(path) => path.clone(),
        None => crate::data::cache_folder()?.join("tuning.json"),
    };
    let mut file = TuningFile::open(&path)?;
    let clock = if device.has_timestamps() { "the device's clock" } else { "the wall's clock" };
    println!(
        "{} ({}), tier {}, by {clock}; {} batch {}, at most {:.0} s",
        device.info().name,
        device.info().driver,
        device.target().tier.name(),
        args.model,
        args.batch,
        budget.as_secs_f64()
    );
    let mut params = Params::new(&device, 1);
    let train = TrainStep::new(&device, &mut params, &*model, &options(args, file.tuning(budget)))?;
    println!("\n{}", train.plan().tuned());
    file.keep(train.plan())?;
    let rest = train.plan().tuned().rest(budget);
    let eval = EvalStep::new(&device, &mut params, &*model, &options(args, file.tuning(rest)))?;
    if !eval.plan().tuned().contests.is_empty() {
        println!("\nevaluation\n{}", eval.plan().tuned());
        file.keep(eval.plan())?;
    }
    drop((train, eval));
    compare(&device, args, &*model, &file)?;
    println!("{}: {} entries", path.display(), file.table().len());
    Ok(())
}

fn options(args: &Args, tuning: Tuning) -> StepOptions {
    args.setting().options(Precision::default(), CompileOptions { tuning, ..CompileOptions::default() })
}

/// Times the training step by rules and as tuned, in turns.
fn compare(device: &Device, args: &Args, model: &dyn Layer, file: &TuningFile) -> Result<()> {
    const ROUNDS: usize = 7;
    let (pixels, labels) = (args.setting().pixels(), args.setting().labels());
    let mut stores = [Params::new(device, 1), Params::new(device, 1)];
    let [by_rules, tuned] = &mut stores;
    let mut steps = [
        TrainStep::new(device, by_rules, model, &options(args, Tuning::default()))?,
        TrainStep::new(device, tuned, model, &options(args, file.tuning(Duration::ZERO)))?,
    ];
    if kernels(steps[0].plan()) == kernels(steps[1].plan()) {
        println!("\nthe measured choices are those of the rules");
        return Ok(());
    }
    let mut ms = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (step, ms) in steps.iter_mut().zip(&mut ms) {
            let begun = Instant::now();
            step.run(&pixels, &labels, 0.01)?;
            device.wait()?;
            // The first round warms up.
            ms.extend((round > 0).then(|| begun.elapsed().as_secs_f64() * 1e3));
        }
    }
    ms.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let [by_rules, tuned] = ms.map(|times| (times[ROUNDS / 2], times[0], times[ROUNDS - 1]));
    println!(
        "\na step, median of {ROUNDS} in turns: {:.1} ms by rules ({:.1} to {:.1}), {:.1} ms as tuned ({:.1} to {:.1})",
        by_rules.0, by_rules.1, by_rules.2, tuned.0, tuned.1, tuned.2
    );
    Ok(())
}

fn kernels(plan: &Plan) -> Vec<String> {
    plan.desc().dispatches.iter().map(|dispatch| dispatch.kernel.to_string()).collect()
}
