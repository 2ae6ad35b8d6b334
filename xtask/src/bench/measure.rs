//! How long a plan takes, and how far its result is from f64.

use anyhow::Result;
use std::time::{Duration, Instant};
use wgrad::tensor::graph::GraphData;
use wgrad::tensor::reference::{self, Tensors};
use wgrad::tensor::{CompileOptions, Device, Feed, Graph, Init, Mode, Params, Plan, Scope, Value};

/// Milliseconds of one run: median, least, most.
pub(super) struct Time {
    pub(super) ms: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

pub(super) fn time(mut run: impl FnMut() -> Result<()>, mut wait: impl FnMut() -> Result<()>) -> Result<Time> {
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

/// A plan that computes one value from parameters, so that nothing is fed or read back.
pub(super) struct Subject {
    graph: GraphData,
    params: Params,
    plan: Plan,
}

impl Subject {
    /// Compiles what `trace` computes. Parameters of one name and shape hold the same in every subject.
    pub(super) fn new(device: &Device, trace: impl for<'g> Fn(&Scope<'g>) -> Value<'g>) -> Result<Subject> {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Eval);
        let value = trace(&scope);
        graph.write_back(scope.buffer(RESULT, value.shape(), Init::Constant(0.0)), value);
        let mut params = Params::new(device, 1);
        let plan = Plan::compile(device, &graph, &mut params, &CompileOptions::default())?;
        Ok(Subject { graph: graph.data(), params, plan })
    }

    /// How long a run takes.
    pub(super) fn time(&mut self) -> Result<Time> {
        let device = self.params.device().clone();
        time(|| Ok(self.plan.run(&[] as &[(&str, Feed<'_>)]).map(|_| ())?), || Ok(device.wait()?))
    }

    /// The time of every dispatch of a run.
    pub(super) fn profile(&mut self) -> Result<wgrad::tensor::plan::Profile> {
        Ok(self.plan.profile(&[] as &[(&str, Feed<'_>)])?)
    }

    /// What a run computes, in PyTorch's order.
    pub(super) fn result(&mut self) -> Result<Vec<f32>> {
        self.plan.run(&[] as &[(&str, Feed<'_>)])?;
        self.param(RESULT)
    }

    /// An operand, in PyTorch's order.
    pub(super) fn param(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.params.get(name)?.data)
    }

    /// What the f64 interpreter computes.
    pub(super) fn reference(&self) -> Result<Vec<f64>> {
        let mut tensors = Tensors::new();
        for decl in self.params.decls() {
            let values = self.params.get(&decl.name)?.data;
            tensors.insert(decl.name.clone(), values.into_iter().map(f64::from).collect());
        }
        reference::run(&self.graph, &Tensors::new(), &mut tensors)?;
        Ok(tensors.remove(RESULT).unwrap_or_default())
    }

    /// How far a run's result is from `wanted`.
    pub(super) fn error(&mut self, wanted: &[f64]) -> Result<RunError> {
        let got = self.result()?;
        let (mut most, mut largest, mut squares, mut norm) = (0f64, 0f64, 0f64, 0f64);
        for (&got, &wanted) in got.iter().zip(wanted) {
            let difference = f64::from(got) - wanted;
            // A NaN counts as the worst of all.
            most = if difference.abs() <= most { most } else { difference.abs() };
            largest = largest.max(wanted.abs());
            squares += difference * difference;
            norm += wanted * wanted;
        }
        Ok(RunError { max: most / largest, rms: (squares / norm).sqrt() })
    }
}

const RESULT: &str = "result";

/// A result's deviation from f64: the largest relative to the largest value, the root of the mean square relative to that of
/// the values.
pub(super) struct RunError {
    pub(super) max: f64,
    pub(super) rms: f64,
}
