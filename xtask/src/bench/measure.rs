//! How long a case takes, and how far its result is from f64.

use super::sample;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};
use wgrad::tensor::ops::{Case, OpDef, View, ViewMut};
use wgrad::tensor::plan::Profile;
use wgrad::tensor::{
    Array, CompileOptions, DType, Device, Feed, Graph, Init, Mode, Params, Plan, Scope, Shape, Storage, StoragePolicy,
    TensorDesc, Ticket, Value,
};

/// Which clock times a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Clock {
    /// Timestamps around every dispatch, summed.
    Device,
    /// The host's, around runs submitted back to back.
    Wall,
}

impl Clock {
    pub(super) fn name(self) -> &'static str {
        match self {
            Clock::Device => "device",
            Clock::Wall => "wall",
        }
    }
}

/// How long to measure, and by which clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) clock: Clock,
    pub(super) rounds: usize,
    /// A round repeats the run until this much time has passed.
    pub(super) round: Duration,
}

impl Effort {
    /// Rounds long enough to even out what else the machine does.
    pub(super) fn full(clock: Clock) -> Effort {
        // Summed timestamps leave out what happens between the runs.
        let round = Duration::from_millis(if clock == Clock::Device { 50 } else { 300 });
        Effort { clock, rounds: 5, round }
    }

    /// For a report in a moment.
    pub(super) fn brief(clock: Clock) -> Effort {
        Effort { round: Duration::from_millis(20), ..Effort::full(clock) }
    }
}

/// Milliseconds of one run: median, least, most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Time {
    pub(super) ms: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Time {
    /// Of some measurements, at least one.
    pub(super) fn of(mut rounds: Vec<f64>) -> Time {
        rounds.sort_by(f64::total_cmp);
        let last = rounds.len() - 1;
        Time { ms: (rounds[last / 2] + rounds[last.div_ceil(2)]) / 2.0, least: rounds[0], most: rounds[last] }
    }
}

/// Times what `sample` does so many times, in milliseconds, after one run to warm up.
fn time(effort: Effort, mut sample: impl FnMut(u32) -> Result<f64>) -> Result<Time> {
    sample(1)?;
    let one = sample(1)?;
    let round_ms = effort.round.as_secs_f64() * 1e3;
    let count = (round_ms / one.max(1e-3)).ceil().clamp(1.0, 1000.0) as u32;
    let rounds: Result<Vec<f64>> = (0..effort.rounds).map(|_| Ok(sample(count)? / f64::from(count))).collect();
    Ok(Time::of(rounds?))
}

/// A plan that computes one case. Float operands and results are parameters, so that nothing but whole numbers is fed.
pub(super) struct Subject {
    case: Case,
    data: Vec<Vec<f64>>,
    feeds: Vec<(String, Vec<u32>)>,
    outputs: Vec<TensorDesc>,
    params: Params,
    plan: Plan,
}

impl Subject {
    /// Float operands lie in `storage`; products may round theirs to it where that is f16.
    pub(super) fn new(device: &Device, case: &Case, storage: Storage) -> Result<Subject> {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Eval);
        let mut data: Vec<Vec<f64>> =
            case.inputs.iter().enumerate().map(|(i, input)| input.generate(1000 + i as u64)).collect();
        let mut feeds = Vec::new();
        let mut operands: Vec<Value<'_>> = Vec::new();
        for (i, input) in case.inputs.iter().enumerate() {
            let name = format!("x{i}");
            operands.push(if input.desc.dtype == DType::F32 {
                scope.weight(&name, input.desc.shape, Init::Constant(0.0))
            } else {
                feeds.push((name.clone(), data[i].iter().map(|&v| v as u32).collect()));
                graph.feed(&name, input.desc)
            });
        }
        let mut outputs = Vec::new();
        for (i, y) in graph.apply_rc(case.op.clone(), &operands).into_iter().enumerate() {
            outputs.push(y.desc());
            if y.dtype() == DType::F32 {
                graph.write_back(scope.buffer(&format!("y{i}"), y.shape(), Init::Constant(0.0)), y);
            } else {
                graph.output(&format!("y{i}"), y);
            }
        }
        let mut params = Params::with_weights(device, 1, storage);
        let storage = StoragePolicy { activations: storage, ..StoragePolicy::default() };
        // The operands stay the same, but what an operation makes of them is a part of it.
        let options = CompileOptions { storage, frozen_bytes: Some(0), ..CompileOptions::default() };
        let plan = Plan::compile(device, &graph, &mut params, &options)?;
        for (i, input) in case.inputs.iter().enumerate().filter(|(_, input)| input.desc.dtype == DType::F32) {
            let values = data[i].iter().map(|&v| v as f32).collect();
            params.set(&format!("x{i}"), &Array { shape: input.desc.shape, data: values })?;
            // What is held against the reference is what the storage has made of it.
            data[i] = params.get(&format!("x{i}"))?.data.into_iter().map(f64::from).collect();
        }
        if plan.desc().dispatches.is_empty() {
            bail!("nothing to run: the result is a view of the operand");
        }
        Ok(Subject { case: case.clone(), data, feeds, outputs, params, plan })
    }

    fn run(&mut self) -> Result<Ticket> {
        Ok(self.plan.run(&feeds(&self.feeds))?)
    }

    /// The time of every dispatch of a run.
    pub(super) fn profile(&mut self) -> wgrad::tensor::Result<Profile> {
        self.plan.profile(&feeds(&self.feeds))
    }

    /// How long a run takes.
    pub(super) fn time(&mut self, effort: Effort) -> Result<Time> {
        let device = self.params.device().clone();
        time(effort, |count| match effort.clock {
            Clock::Device => {
                let mut sum = 0.0;
                for _ in 0..count {
                    sum += self.profile()?.total_ms();
                }
                Ok(sum)
            }
            Clock::Wall => {
                let start = Instant::now();
                for _ in 0..count {
                    self.run()?;
                }
                device.wait()?;
                Ok(start.elapsed().as_secs_f64() * 1e3)
            }
        })
    }

    /// How far a run's results are from the f64 reference: of all of them, or of the part of a product that can be computed
    /// in a moment. Numbers that are not finite count as infinitely far wherever they stand.
    pub(super) fn error(&mut self) -> Result<RunError> {
        let ticket = self.run()?;
        let mut results = Vec::new();
        for (i, desc) in self.outputs.iter().enumerate() {
            let name = format!("y{i}");
            results.push(match desc.dtype {
                DType::F32 => self.params.get(&name)?.data.into_iter().map(f64::from).collect::<Vec<f64>>(),
                DType::U32 => self.plan.read_words(ticket, &name)?.into_iter().map(f64::from).collect(),
            });
        }
        let finite = results.iter().flatten().all(|value| value.is_finite());
        let shapes: Vec<Shape> = self.case.inputs.iter().map(|input| input.desc.shape).collect();
        let mut error = RunError { max: if finite { 0.0 } else { f64::INFINITY }, rms: 0.0 };
        if let Some(part) = sample::part_of(&self.case) {
            let data: Vec<Vec<f64>> = (part.inputs.iter().zip(&shapes).zip(&self.data))
                .map(|((block, shape), data)| sample::cut(data, shape, block))
                .collect();
            let shapes: Vec<Shape> = part.inputs.iter().map(|block| sample::shape(block)).collect();
            let wanted = reference(&*part.op, &shapes, &data, &[sample::shape(&part.output)]);
            error.include(&sample::cut(&results[0], &self.outputs[0].shape, &part.output), &wanted[0]);
        } else {
            let outputs: Vec<Shape> = self.outputs.iter().map(|desc| desc.shape).collect();
            let wanted = reference(&*self.case.op, &shapes, &self.data, &outputs);
            results.iter().zip(&wanted).for_each(|(got, wanted)| error.include(got, wanted));
        }
        Ok(error)
    }
}

fn feeds(named: &[(String, Vec<u32>)]) -> Vec<(&str, Feed<'_>)> {
    named.iter().map(|(name, words)| (name.as_str(), Feed::U32(words))).collect()
}

/// What an operation's f64 reference computes.
pub(super) fn reference(op: &dyn OpDef, shapes: &[Shape], data: &[Vec<f64>], outputs: &[Shape]) -> Vec<Vec<f64>> {
    let mut results: Vec<Vec<f64>> = outputs.iter().map(|shape| vec![0.0; shape.numel()]).collect();
    let x: Vec<View<'_>> = shapes.iter().zip(data).map(|(&shape, data)| View { shape, data }).collect();
    let mut y: Vec<ViewMut<'_>> =
        outputs.iter().zip(&mut results).map(|(&shape, data)| ViewMut { shape, data }).collect();
    op.reference(&x, &mut y);
    results
}

/// A result's deviation from f64: the largest relative to the largest value, the root of the mean square relative to that of
/// the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RunError {
    pub(super) max: f64,
    pub(super) rms: f64,
}

impl RunError {
    /// The worse of what is known and of the deviation of `got` from `wanted`.
    fn include(&mut self, got: &[f64], wanted: &[f64]) {
        let (mut most, mut largest, mut squares, mut norm) = (0f64, 0f64, 0f64, 0f64);
        for (got, wanted) in got.iter().zip(wanted) {
            let difference = got - wanted;
            // A NaN counts as the worst of all, and nothing behind it takes its place.
            if difference.is_nan() || difference.abs() > most {
                most = difference.abs();
            }
            largest = largest.max(wanted.abs());
            squares += difference * difference;
            norm += wanted * wanted;
        }
        let relative = |difference: f64, scale: f64| if difference == 0.0 { 0.0 } else { difference / scale };
        self.max = self.max.max(relative(if most.is_nan() { f64::INFINITY } else { most }, largest));
        self.rms = self.rms.max(relative(squares.sqrt(), norm.sqrt()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_repeat_and_the_median_counts() {
        let effort = Effort { clock: Clock::Wall, rounds: 3, round: Duration::from_millis(10) };
        let mut counts = Vec::new();
        let mut cost = [9.0, 4.0, 5.0, 3.0, 4.0].into_iter();
        let time = time(effort, |count| {
            counts.push(count);
            Ok(f64::from(count) * cost.next().unwrap())
        });
        assert_eq!(time.unwrap(), Time { ms: 4.0, least: 3.0, most: 5.0 });
        assert_eq!(counts, [1, 1, 3, 3, 3]);
    }

    #[test]
    fn of_an_even_number_the_median_lies_between_two() {
        assert_eq!(Time::of(vec![4.0, 1.0, 2.0, 9.0]), Time { ms: 3.0, least: 1.0, most: 9.0 });
        assert_eq!(Time::of(vec![2.5]), Time { ms: 2.5, least: 2.5, most: 2.5 });
    }

    #[test]
    fn errors_are_relative_and_nan_is_the_worst() {
        let mut error = RunError { max: 0.0, rms: 0.0 };
        error.include(&[1.0, -4.0], &[1.0, -4.0]);
        assert_eq!((error.max, error.rms), (0.0, 0.0));
        error.include(&[1.0, -3.0], &[1.0, -4.0]);
        assert_eq!((error.max, error.rms), (0.25, 1.0 / 17f64.sqrt()));
        error.include(&[f64::NAN, 2.0], &[0.0, 2.0]);
        assert!(error.max.is_infinite());
        let mut nothing_wanted = RunError { max: 0.0, rms: 0.0 };
        nothing_wanted.include(&[0.0], &[0.0]);
        assert_eq!(nothing_wanted.max, 0.0);
        nothing_wanted.include(&[1.0], &[0.0]);
        assert!(nothing_wanted.max.is_infinite());
    }
}
