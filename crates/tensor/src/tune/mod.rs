//! Choosing among algorithms by measurement: a budget of seconds, a table to keep the results in.
//!
//! [`Plan::compile`](crate::Plan::compile) takes what the [`Table`] of its options knows and then, within the budget, times
//! the candidates of every operation that the table does not know, the most expensive first. What was not timed keeps its
//! rule. A candidate is compared with f64 on the very shape before it may win; one that is wrong, does not compile or wants
//! too much workspace is skipped and named in the [`TuneReport`]. The default budget is zero: rules and table alone give the
//! same plan, and so the same bits, every time.

mod contest;
mod table;

pub use contest::{Contest, Outcome, Trial};
pub use table::{Entries, Entry, Machine, Table, TableError};

use crate::device::Device;
use crate::error::Result;
use crate::graph::GraphData;
use crate::kernel;
use crate::ops::{Dispatch, Lower, Target};
use crate::passes::select::{Choices, Timing, Why, Work, select, works};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How algorithms are chosen when a plan is compiled.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Time that measuring may take. Zero, the default: rules and table only, no device is asked, and the same plan comes out
    /// every time; with timings, two runs may choose differently and then differ in their last bits.
    pub budget: Duration,
    /// What is known already. Its choices stand; none of them is timed again.
    pub table: Arc<Table>,
}

impl Tuning {
    /// The budget to give where measuring is wanted and no time was named: 20 s on software adapters, 5 s on others.
    pub fn usual_budget(device: &Device) -> Duration {
        Duration::from_secs(if device.info().is_software { 20 } else { 5 })
    }
}

/// What measuring found, for one plan.
#[derive(Clone, Debug, Default)]
pub struct TuneReport {
    /// One for each operation whose candidates were timed, in the order of timing.
    pub contests: Vec<Contest>,
    /// Operations that the table had the choice for.
    pub from_table: usize,
    /// Operations that keep their rule because the budget was used up.
    pub untimed: usize,
    /// Time it took.
    pub seconds: f64,
}

impl TuneReport {
    /// The entries to add to a table.
    pub fn entries(&self) -> impl Iterator<Item = (String, Entry)> + '_ {
        self.contests.iter().filter_map(|contest| Some((contest.key.clone(), contest.entry()?)))
    }

    /// The report as a table of its own, for [`Table::merge`].
    pub fn table(&self, device: &Device) -> Table {
        let mut table = Table::default();
        table.insert(Machine::of(device), self.entries());
        table
    }

    /// What is left of `budget`, for the next plan that shares it.
    pub fn rest(&self, budget: Duration) -> Duration {
        budget.saturating_sub(Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::MAX))
    }

    /// One line of sums.
    pub fn summary(&self) -> String {
        let (count, seconds) = (self.contests.len(), self.seconds);
        let kept = match self.untimed {
            0 => String::new(),
            untimed => format!(", {untimed} keep their rule: the budget was used up"),
        };
        format!("algorithms: {count} operations timed in {seconds:.1} s, {} from the table{kept}", self.from_table)
    }
}

impl fmt::Display for TuneReport {
    /// The contests, and the line of sums.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.contests.iter().try_for_each(|contest| writeln!(f, "{contest}"))?;
        f.write_str(&self.summary())
    }
}

impl Machine {
    /// What measurements on this device are good for.
    pub fn of(device: &Device) -> Machine {
        let (info, target) = (device.info(), device.target());
        Machine {
            adapter: info.name.clone(),
            backend: info.backend.clone(),
            driver: info.driver.clone(),
            tier: target.tier.name().to_string(),
            subgroup_size: target.subgroup_size,
            workspace_bytes: target.workspace_bytes,
            checked: device.is_checked(),
            kernels: format!("{:016x}", fnv1a(kernel::texts())),
        }
    }
}

/// Fixes the algorithm of every operation of a graph.
pub(crate) fn choose(device: &Device, graph: &GraphData, tuning: &Tuning) -> Result<(GraphData, Choices, TuneReport)> {
    let target = device.target();
    let begun = Instant::now();
    let known = tuning.table.entries(&Machine::of(device));
    let known = |work: &Work| {
        let entry = known?.get(&work.key)?;
        (entry.lowering == lowering(work, target)).then(|| entry.clone())
    };
    let mut report = TuneReport::default();
    let mut measured: BTreeMap<String, Entry> = BTreeMap::new();
    for work in works(graph, &target).iter().filter(|work| work.candidates.len() > 1) {
        if known(work).is_some() {
            report.from_table += 1;
        } else if tuning.budget > Duration::ZERO && contest::can_be_timed(work) {
            match contest::hold(device, work, begun + tuning.budget)? {
                Some(contest) => {
                    measured.extend(contest.entry().map(|entry| (work.key.clone(), entry)));
                    report.contests.push(contest);
                }
                None => report.untimed += 1,
            }
        }
    }
    report.seconds = begun.elapsed().as_secs_f64();
    let (graph, choices) = select(graph, &target, |work| {
        let measured = measured.get(&work.key).map(|entry| (entry.algorithm.clone(), Why::Measured(entry.timing())));
        measured.or_else(|| known(work).map(|entry| (entry.algorithm.clone(), Why::Table(entry.timing()))))
    });
    Ok((graph, choices, report))
}

impl Entry {
    /// The time of the chosen algorithm and that of the best of the others.
    pub fn timing(&self) -> Timing {
        let others = self.ms.iter().filter(|(name, _)| **name != self.algorithm);
        let runner_up = others.min_by(|a, b| a.1.total_cmp(b.1)).map(|(name, &ms)| (name.clone(), ms));
        Timing { ms: self.ms.get(&self.algorithm).copied().unwrap_or(f64::NAN), runner_up }
    }
}

/// Hash of the dispatches of all candidates: tiles, grids and variants are decided in Rust, where the hash of the kernels'
/// texts sees no change. A new candidate changes it, too, and so does the text of a kernel that an operation brought along.
fn lowering(work: &Work, target: Target) -> String {
    let mut parts = Vec::new();
    for candidate in &work.candidates {
        let (graph, node) = contest::one_node(candidate.op.clone(), &work.x);
        let flat = HashMap::new();
        let mut lower = Lower::new(&graph, node, target, &flat, 0);
        candidate.op.lower(&mut lower);
        parts.push(candidate.name.to_string());
        for Dispatch { kernel, bindings, args, grid, .. } in &lower.dispatches {
            parts.push(format!("{kernel} {bindings:?} {args:?} {grid:?}"));
            parts.extend(kernel.text().filter(|_| !kernel.is_builtin()).map(str::to_string));
        }
    }
    format!("{:016x}", fnv1a(parts.iter().map(String::as_str)))
}

/// FNV-1a with 64 bits, of texts one behind the other (Fowler, Noll and Vo).
fn fnv1a<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
