//! `cargo xtask bench nets --inference`: networks without training, by a plan that computes everything in every run and by one
//! that keeps what follows from the weights alone.

use super::Bench;
use super::measure::Time;
use super::nets::NetArgs;
use super::output::WRONG;
use super::row::Row;
use crate::setting::Setting;
use anyhow::{Context, Result};
use std::time::Instant;
use wgrad::layers::models;
use wgrad::tensor::{CompileOptions, Params};
use wgrad::trainer::EvalStep;

/// Both plans over one store, in turns, so that a busy moment of the machine hits both. Their results are compared first.
pub(super) fn rows(bench: &Bench, name: &str, setting: Setting, args: &NetArgs, row: &Row) -> Result<Vec<Row>> {
    let model = models::by_name(name, 3, setting.classes).context("no such model")?;
    let mut params = Params::new(&bench.device, 1);
    let mut compile = |frozen_bytes| {
        let compile = CompileOptions { frozen_bytes, ..CompileOptions::default() };
        EvalStep::new(&bench.device, &mut params, &model, &setting.options(args.precision, compile))
    };
    let mut steps = [compile(Some(0))?, compile(args.keep.map(|mib| mib << 20))?];
    let (pixels, labels) = (setting.pixels(), setting.labels());
    let run = |step: &mut EvalStep| -> Result<(f64, u32)> {
        let begun = Instant::now();
        let ticket = step.run(&pixels, &labels)?;
        let loss = step.read(ticket)?.loss_sum;
        Ok((begun.elapsed().as_secs_f64() * 1e3, loss.to_bits()))
    };
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..=args.steps {
        let mut losses = [0; 2];
        for (i, step) in steps.iter_mut().enumerate() {
            let (ms, loss) = run(step)?;
            losses[i] = loss;
            rounds[i].extend((round > 0).then_some(ms)); // The first run compiles and transforms.
        }
        if losses[0] != losses[1] || !f32::from_bits(losses[0]).is_finite() {
            let message = format!("{WRONG}the plans' losses have the bits {:x} and {:x}", losses[0], losses[1]);
            return Ok(vec![Row { error: Some(message), ..row.clone() }]);
        }
    }
    let row = |(i, rounds): (usize, Vec<f64>)| {
        let (plan, time) = (steps[i].plan(), Time::of(rounds));
        Row {
            algo: ["inference", "inference, weights kept"][i].to_string(),
            ms: Some(time.ms),
            ms_min: Some(time.least),
            ms_max: Some(time.most),
            images_per_s: Some(setting.batch as f64 / time.ms * 1e3),
            planned_bytes: Some(plan.desc().planned_bytes() + params.bytes()),
            ..row.clone()
        }
    };
    Ok(rounds.into_iter().enumerate().map(row).collect())
}
