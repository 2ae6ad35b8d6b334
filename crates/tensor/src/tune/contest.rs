//! The candidates of one operation against each other: each is checked, then timed.

use super::{Entry, lowering};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{DeviceError, Error, Result, mib};
use crate::graph::{Graph, GraphData, Init, Mode, Scope, fnv1a};
use crate::ops::fill::FillWith;
use crate::ops::{Candidate, Cost, Lower, OpDef, View, ViewMut};
use crate::params::Params;
use crate::passes::select::Work;
use crate::philox::{Stream, purpose};
use crate::plan::{CompileOptions, Feed, Plan};
use crate::shape::{Shape, TensorDesc};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

/// What was found about one operation.
#[derive(Clone, Debug)]
pub struct Contest {
    /// Operation with its settings and operands: the key of tables.
    pub key: String,
    /// Label of the first node that asks.
    pub label: String,
    /// How many nodes ask.
    pub count: usize,
    /// Cost of one of them.
    pub cost: Cost,
    /// The candidates, the rules' first.
    pub trials: Vec<Trial>,
    /// Which of them is taken; `None` when all were skipped, and the rules stand.
    pub winner: Option<usize>,
    lowering: String,
}

/// One candidate's part in a contest.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Name of the algorithm.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a candidate.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is right, and this fast.
    Timed {
        /// Milliseconds: the median of some rounds.
        ms: f64,
        /// Largest deviation from f64, relative to the largest value, over the elements that were compared.
        error: f64,
    },
    /// It may not win.
    Skipped(String),
}

impl Trial {
    /// Milliseconds, if it was timed.
    pub fn ms(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Timed { ms, .. } => Some(ms),
            Outcome::Skipped(_) => None,
        }
    }
}

impl Contest {
    /// How many times faster the winner is than what the rules take; 1 where that is the rules' own or was skipped.
    pub fn gain(&self) -> f64 {
        let ms = |i: usize| self.trials.get(i).and_then(Trial::ms);
        ms(0).zip(self.winner.and_then(ms)).map_or(1.0, |(rule, winner)| rule / winner)
    }

    pub(super) fn entry(&self) -> Option<Entry> {
        let skipped = |trial: &Trial| match &trial.outcome {
            Outcome::Skipped(why) => Some((trial.name.to_string(), why.clone())),
            Outcome::Timed { .. } => None,
        };
        Some(Entry {
            algorithm: self.trials[self.winner?].name.to_string(),
            ms: self.trials.iter().filter_map(|trial| Some((trial.name.to_string(), trial.ms()?))).collect(),
            skipped: self.trials.iter().filter_map(skipped).collect(),
            lowering: self.lowering.clone(),
        })
    }
}

impl fmt::Display for Contest {
    /// A line for the operation, one for each candidate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} of them), {:.1} MFLOP: {}", self.label, self.count, self.cost.flops / 1e6, self.key)?;
        for (i, trial) in self.trials.iter().enumerate() {
            let mark = if self.winner == Some(i) { '*' } else { ' ' };
            match &trial.outcome {
                Outcome::Timed { ms, error } => {
                    let rate = self.cost.flops / ms / 1e6;
                    write!(f, " {mark} {:<14} {ms:>9.3} ms {rate:>9.1} GFLOP/s  error {error:.1e}", trial.name)?;
                }
                Outcome::Skipped(why) => write!(f, "   {:<14} skipped: {why}", trial.name)?,
            }
            match (self.winner == Some(i), i) {
                (true, 0) => writeln!(f, "  as the rules")?,
                (true, _) => writeln!(f, "  {:.2} times as fast as the rules", self.gain())?,
                (false, _) => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// A result this far from f64, or from the first candidate's result (root of the mean square), is wrong and not merely
/// rounded: relative to the largest value. The tests of the registry hold every algorithm to 2e-5; one term left out of a sum
/// of a million makes about 4e-4.
const TOLERANCE: f64 = 2e-4;

/// Elements that are compared with f64, and the products that they may take together. Two are compared whatever they take.
const SAMPLES: usize = 64;
const FEWEST_SAMPLES: usize = 2;
const MOST_PRODUCTS: f64 = 4e6;

/// What is to replace the rules' choice, or another that came before, must be this much faster: no choice by noise.
const MARGIN: f64 = 0.98;

/// Beyond this ratio to the best, so many looks are enough. One would not be: a moment in which the machine was busy with
/// something else would drop the best.
const HOPELESS: f64 = 2.0;
const LOOKS: usize = 3;

const ROUNDS: usize = 5;

const SEED: u64 = 0x7e57;

/// Whether operands can be made up: numbers, and one result.
pub(super) fn can_be_timed(work: &Work) -> bool {
    work.y.len() == 1 && work.x.iter().chain(&work.y).all(|desc| desc.dtype == DType::F32)
}

/// Lets the candidates compete. `None` when the deadline passes before all of them were seen.
///
/// # Errors
/// A lost device; what is wrong with one candidate is part of the result.
pub(super) fn hold(device: &Device, work: &Work, deadline: Instant) -> Result<Option<Contest>> {
    let mut ring = Ring { device, work, params: Params::new(device, SEED), samples: None, has_wanted: false };
    let mut trials: Vec<Trial> = Vec::new();
    let mut subjects: Vec<(usize, Subject)> = Vec::new();
    for (i, candidate) in work.candidates.iter().enumerate() {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let look = ring.enter(candidate).and_then(|entered| match entered {
            Ok(subject) => subject.round_ms().map(|ms| Ok((subject, ms))),
            Err(why) => Ok(Err(why)),
        });
        let outcome = match unless_lost(look)?.flatten() {
            Ok((subject, ms)) => {
                let error = subject.error;
                subjects.push((i, subject));
                Outcome::Timed { ms, error }
            }
            Err(why) => Outcome::Skipped(why),
        };
        trials.push(Trial { name: candidate.name, outcome });
    }
    let mut looks: Vec<f64> = subjects.iter().filter_map(|(i, _)| trials[*i].ms()).collect();
    look_again(&mut looks, deadline, |subject| subjects[subject].1.round_ms())?;
    let bound = HOPELESS * looks.iter().copied().fold(f64::INFINITY, f64::min);
    for ((i, subject), &ms) in subjects.iter().zip(&looks) {
        trials[*i].outcome = Outcome::Timed { ms, error: subject.error };
    }
    subjects.retain(|(i, _)| trials[*i].ms().is_some_and(|ms| ms <= bound));
    let times = in_turns(subjects.len(), deadline, |subject| subjects[subject].1.round_ms())?;
    for ((i, subject), median) in subjects.iter().zip(times) {
        trials[*i].outcome = match median {
            Ok(ms) => Outcome::Timed { ms, error: subject.error },
            Err(why) => Outcome::Skipped(why),
        };
    }
    subjects.retain(|(i, _)| trials[*i].ms().is_some());
    let least = |best: Option<usize>, (i, _): &(usize, Subject)| match best.and_then(|best| trials[best].ms()) {
        Some(ms) if trials[*i].ms().is_none_or(|ours| ours >= MARGIN * ms) => best,
        _ => Some(*i),
    };
    Ok(Some(Contest {
        winner: subjects.iter().fold(None, least),
        key: work.key.clone(),
        label: work.label.clone(),
        count: work.nodes.len(),
        cost: work.op.cost(&work.x, &work.y),
        trials,
        lowering: lowering(work, device.target()),
    }))
}

/// What went wrong with one candidate is a reason to skip it; a lost device is the end for all of them.
fn unless_lost<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Err(error @ Error::Device(DeviceError::Lost(_))) => Err(error),
        other => Ok(other.map_err(|error| error.to_string())),
    }
}

/// Looks again at those that look hopeless, and keeps the least of each one's times. What goes wrong here goes wrong again in
/// the rounds that follow, and is told there.
fn look_again(looks: &mut [f64], deadline: Instant, round_ms: impl Fn(usize) -> Result<f64>) -> Result<()> {
    for _ in 1..LOOKS {
        let bound = HOPELESS * looks.iter().copied().fold(f64::INFINITY, f64::min);
        for (subject, look) in looks.iter_mut().enumerate() {
            if *look > bound && Instant::now() < deadline {
                *look = unless_lost(round_ms(subject))?.map_or(*look, |ms| ms.min(*look));
            }
        }
    }
    Ok(())
}

/// Median milliseconds of each of so many subjects, or why it has none. They are timed in turns, so that a busy moment hits
/// all of them; fewer rounds when time is up.
fn in_turns(
    subjects: usize,
    deadline: Instant,
    round_ms: impl Fn(usize) -> Result<f64>,
) -> Result<Vec<Result<f64, String>>> {
    let mut times: Vec<Result<Vec<f64>, String>> = vec![Ok(Vec::new()); subjects];
    for round in 0..ROUNDS {
        if round > 0 && Instant::now() >= deadline {
            break;
        }
        for (subject, times) in times.iter_mut().enumerate() {
            let Ok(rounds) = times else { continue };
            match unless_lost(round_ms(subject))? {
                Ok(ms) => rounds.push(ms),
                Err(why) => *times = Err(why),
            }
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok(times.into_iter().map(|times| times.map(median)).collect())
}

/// A graph of one operation on parameters `x0`, `x1`, …, and the number of its node.
pub(super) fn one_node(op: Rc<dyn OpDef>, x: &[TensorDesc]) -> (GraphData, usize) {
    let graph = Graph::new();
    apply(&Scope::new(&graph, Mode::Eval), op, x);
    (graph.data(), 0)
}

fn apply<'g>(scope: &Scope<'g>, op: Rc<dyn OpDef>, x: &[TensorDesc]) -> crate::graph::Value<'g> {
    let init = Init::Uniform { bound: 1.0 };
    let operands: Vec<_> = x.iter().enumerate().map(|(i, desc)| scope.weight(&name(i), desc.shape, init)).collect();
    scope.graph().apply_rc(op, &operands)[0]
}

fn name(operand: usize) -> String {
    format!("x{operand}")
}

/// Where candidates meet: the operands and results that they share.
struct Ring<'a> {
    device: &'a Device,
    work: &'a Work,
    params: Params,
    /// Elements of the result, and what they are in f64.
    samples: Option<(Vec<usize>, Vec<f64>)>,
    /// Whether `wanted` holds the whole result of a candidate that agreed with the samples.
    has_wanted: bool,
}

const GOT: &str = "got";
const WANTED: &str = "wanted";

impl Ring<'_> {
    /// Compiles a candidate and checks its result. The inner error says why it may not take part.
    fn enter(&mut self, candidate: &Candidate) -> Result<Result<Subject, String>> {
        let limit = self.device.target().workspace_bytes;
        let workspace = self.largest_workspace(candidate);
        if workspace > limit {
            return Ok(Err(format!("wants a workspace of {}, above the limit of {}", mib(workspace), mib(limit))));
        }
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Eval);
        let y = apply(&scope, candidate.op.clone(), &self.work.x);
        let state = |name| scope.buffer(name, y.shape(), Init::Constant(0.0));
        let (got, wanted) = (state(GOT), state(WANTED));
        graph.write_back(got, y);
        if self.has_wanted {
            let difference = y + wanted.scale(-1.0);
            graph.output("difference", (difference * difference).sum());
            graph.output("norm", (wanted * wanted).sum());
        } else {
            graph.write_back(wanted, y);
        }
        let data = graph.data();
        data.check()?;
        let decls: Vec<_> = data.params().map(|(_, decl)| decl.clone()).collect();
        self.params.declare(&decls)?;
        let all_of_it = CompileOptions { frozen_bytes: Some(0), ..CompileOptions::default() };
        let mut plan = Plan::compile_chosen(self.device, data, &self.params, &all_of_it)?;
        // What an earlier candidate computed must not pass for what this one left out.
        self.params.clear(GOT)?;
        let ticket = plan.run(&[] as &[(&str, Feed<'_>)])?;
        let (at, exact) = self.samples.get_or_insert_with(|| samples(self.work));
        let found = self.params.elements(GOT, at)?;
        let largest = exact.iter().fold(f64::MIN_POSITIVE, |most, value| value.abs().max(most));
        let mut error = 0.0;
        for ((&at, &exact), &found) in at.iter().zip(exact.iter()).zip(&found) {
            let deviation = (f64::from(found) - exact).abs() / largest;
            // A NaN is no agreement.
            if deviation.is_nan() || deviation > TOLERANCE {
                return Ok(Err(format!("wrong: element {at} is {found}, not {exact:.6}")));
            }
            error = deviation.max(error);
        }
        if self.has_wanted {
            let mut sum = |name| -> Result<f64> { Ok(f64::from(plan.read(ticket, name)?[0])) };
            let apart = (sum("difference")? / sum("norm")?.max(f64::MIN_POSITIVE)).sqrt();
            if apart.is_nan() || apart > TOLERANCE {
                return Ok(Err(format!("wrong: its result as a whole is {apart:.1e} away from the others'")));
            }
        }
        self.has_wanted = true;
        let floor_ms = if self.device.has_timestamps() { 1.0 } else { 10.0 };
        let mut subject = Subject { plan, error, repeats: 1, floor_ms };
        subject.warm_up()?;
        Ok(Ok(subject))
    }

    fn largest_workspace(&self, candidate: &Candidate) -> u64 {
        let (graph, node) = one_node(candidate.op.clone(), &self.work.x);
        let flat = HashMap::new();
        let mut lower = Lower::new(&graph, node, self.device.target(), &flat, 0);
        candidate.op.lower(&mut lower);
        lower.workspaces.iter().map(|&elements| elements as u64 * 4).max().unwrap_or(0)
    }
}

/// Elements of a result to compare, each of which takes so many products: its corners, where borders and last chunks show, the
/// first and the last element before the others, and more at random where they are cheap.
fn sampled(shape: Shape, products: f64) -> Vec<usize> {
    let wanted = ((MOST_PRODUCTS / products.max(1.0)) as usize).clamp(FEWEST_SAMPLES, SAMPLES);
    let corners = 1usize << shape.rank();
    let mut at: BTreeSet<usize> = BTreeSet::new();
    for i in 0..corners.min(wanted) {
        // Opposite corners follow each other.
        let corner = if i % 2 == 0 { i / 2 } else { corners - 1 - i / 2 };
        let ends = shape.dims().iter().enumerate();
        at.insert(ends.fold(0, |at, (i, &extent)| at * extent + (corner >> i & 1) * (extent - 1)));
    }
    let mut random = Stream::new(SEED, purpose::INIT, 0, u32::MAX);
    for _ in at.len()..wanted {
        at.insert(random.below(shape.numel() as u32) as usize);
    }
    at.into_iter().collect()
}

/// Elements of the result to compare, with their values in f64.
fn samples(work: &Work) -> (Vec<usize>, Vec<f64>) {
    let (shape, count) = (work.y[0].shape, work.y[0].shape.numel());
    let at = sampled(shape, work.op.cost(&work.x, &work.y).flops / 2.0 / count as f64);
    let init = Init::Uniform { bound: 1.0 };
    let fill = |(i, desc): (usize, &TensorDesc)| FillWith {
        shape: desc.shape,
        init,
        seed: SEED,
        stream: fnv1a(&name(i)),
        first: 0,
    };
    let fills: Vec<FillWith> = work.x.iter().enumerate().map(fill).collect();
    let value = |operand: usize, element: usize| fills[operand].at(element);
    let shortcut = |&at: &usize| work.op.reference_at(&work.x, &value, at);
    let exact = at.iter().map(shortcut).collect::<Option<Vec<f64>>>().unwrap_or_else(|| {
        let operands: Vec<Vec<f64>> =
            fills.iter().map(|fill| (0..fill.shape.numel()).map(|i| fill.at(i)).collect()).collect();
        let views: Vec<View<'_>> =
            operands.iter().zip(&work.x).map(|(data, desc)| View { shape: desc.shape, data }).collect();
        let mut whole = vec![0.0; count];
        work.op.reference(&views, &mut [ViewMut { shape, data: &mut whole }]);
        at.iter().map(|&at| whole[at]).collect()
    });
    (at, exact)
}

/// A candidate that is right, ready to be timed.
struct Subject {
    plan: Plan,
    error: f64,
    repeats: u32,
    floor_ms: f64,
}

impl Subject {
    /// How often it has to run for a round that the clock can tell.
    fn warm_up(&mut self) -> Result<()> {
        let once = self.plan.node_ms(0, 1)?;
        self.repeats = (self.floor_ms / once.max(1e-4)).ceil().clamp(1.0, 1000.0) as u32;
        Ok(())
    }

    fn round_ms(&self) -> Result<f64> {
        self.plan.node_ms(0, self.repeats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn fewer_corners_are_compared_where_they_are_dear() {
        let shape = Shape::from([64, 32, 3, 3]);
        let last = shape.numel() - 1;
        // The filter gradient of 3x3 filters for 256 images of 56x56 and of 112x112 pixels.
        for (products, count) in [(256.0 * 56.0 * 56.0, 4), (256.0 * 112.0 * 112.0, 2), (1e12, 2)] {
            let at = sampled(shape, products);
            assert_eq!((at.len(), at[0], at[at.len() - 1]), (count, 0, last), "{products}");
        }
        let cheap = sampled(shape, 10.0);
        assert!(cheap.len() > 16 && cheap.len() <= SAMPLES, "{}", cheap.len());
        for corner in [0, 2, 8, 31 * 9, 31 * 9 + 8, 63 * 32 * 9, last] {
            assert!(cheap.contains(&corner), "{corner}");
        }
        assert_eq!(sampled(Shape::from([1]), 1e12), [0]);
    }

    #[test]
    fn one_busy_moment_makes_no_candidate_hopeless() {
        let deadline = Instant::now() + Duration::from_secs(60);
        // The first was timed in a busy moment, and so was the second look at it; the last is slow indeed.
        let second = std::cell::Cell::new(true);
        let round_ms = |subject| Ok(if subject == 0 && !second.replace(false) { 1.0 } else { 30.0 });
        let mut looks = [30.0, 10.0, 40.0];
        look_again(&mut looks, deadline, round_ms).expect("the device is there");
        assert_eq!(looks, [1.0, 10.0, 30.0]);
        let mut looks = [30.0, 10.0];
        look_again(&mut looks, Instant::now(), |_| panic!("time is up")).expect("nothing is run");
        let lost = |_| Err(DeviceError::Lost("unplugged".to_string()).into());
        assert!(look_again(&mut looks, deadline, lost).is_err());
    }

    #[test]
    fn a_candidate_that_fails_between_rounds_is_skipped_and_a_lost_device_ends_all() {
        let deadline = Instant::now() + Duration::from_secs(60);
        let refused =
            || DeviceError::Refused { what: "a submission".to_string(), message: "out of memory".to_string() };
        let one_fails = |subject| if subject == 1 { Err(refused().into()) } else { Ok(subject as f64 + 1.0) };
        let times = in_turns(3, deadline, one_fails).expect("the others go on");
        assert_eq!((&times[0], &times[2]), (&Ok(1.0), &Ok(3.0)));
        assert!(times[1].as_ref().is_err_and(|why| why.contains("out of memory")), "{times:?}");
        let lost = |_| Err(DeviceError::Lost("unplugged".to_string()).into());
        assert!(matches!(in_turns(3, deadline, lost), Err(Error::Device(DeviceError::Lost(_)))));
    }
}
