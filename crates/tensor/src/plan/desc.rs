//! The compiled plan as plain data: printable, and executable by anything that can launch WGSL.

use crate::error::mib;
use crate::graph::GraphData;
use crate::kernel::KernelKey;
use crate::ops::{BufferRef, Target, node_cost};
use crate::passes::select::{Choices, node_key};
use crate::precision::Storage;
use crate::shape::TensorDesc;
use std::collections::HashSet;
use std::fmt;

/// A range of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which buffer.
    pub buffer: BufferRef,
    /// Start.
    pub offset_bytes: u64,
    /// Length, a multiple of 4.
    pub size_bytes: u64,
}

impl Place {
    /// Whether two ranges share a byte.
    pub fn overlaps(&self, other: &Place) -> bool {
        self.buffer == other.buffer
            && self.offset_bytes < other.offset_bytes + other.size_bytes
            && other.offset_bytes < self.offset_bytes + self.size_bytes
    }
}

/// A buffer that the plan makes.
#[derive(Clone, Debug)]
pub struct BufferDesc {
    /// `slot 3`, `gradients 0`, `feeds`, `arguments`.
    pub label: String,
    /// Size.
    pub bytes: u64,
}

/// One launch with everything resolved.
#[derive(Clone, Debug)]
pub struct PlannedDispatch {
    /// `layer path/operation`.
    pub label: String,
    /// Node of [`PlanDesc::graph`] it belongs to.
    pub node: usize,
    /// Source and variant.
    pub kernel: KernelKey,
    /// Storage bindings by name.
    pub bindings: Vec<(&'static str, Place)>,
    /// Offset of its uniform block in the argument buffer, if the kernel has one.
    pub args_offset_bytes: Option<u64>,
    /// Workgroups.
    pub grid: [u32; 3],
}

/// A named tensor that crosses the border of the plan.
#[derive(Clone, Debug)]
pub struct PortDesc {
    /// Name.
    pub name: String,
    /// Shape and type.
    pub desc: TensorDesc,
    /// How it is stored while the plan runs.
    pub storage: Storage,
    /// Where it lies while the plan runs.
    pub place: Place,
    /// Where it starts in the staging (feeds) or read-back (outputs) buffer.
    pub offset_bytes: u64,
}

/// The launches that begin [`PlanDesc::dispatches`] and are left out of a run when no parameter that they read has been
/// written since they ran last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrozenDesc {
    /// How many.
    pub dispatches: usize,
    /// Names of the parameters that they read.
    pub params: Vec<String>,
    /// Bytes of their results that other launches read; counted among the temporaries.
    pub bytes: u64,
}

/// A compiled plan: buffers, dispatches, ports. Plain data.
#[derive(Clone, Debug)]
pub struct PlanDesc {
    /// The device's numbers it was made for.
    pub target: Target,
    /// The graph after all passes.
    pub graph: GraphData,
    /// Algorithms that were chosen, and why.
    pub choices: Choices,
    /// Buffers the plan makes.
    pub buffers: Vec<BufferDesc>,
    /// Copies that begin the step: parameters whose old value is asked for when it has ended.
    pub snapshots: Vec<(Place, Place)>,
    /// Launches in order.
    pub dispatches: Vec<PlannedDispatch>,
    /// Those that run once for each version of the weights.
    pub frozen: FrozenDesc,
    /// Copies that end the step: parameters whose new value could not be computed in place.
    pub copies: Vec<(Place, Place)>,
    /// Contents of the argument buffer.
    pub args: Vec<u8>,
    /// What every run is handed.
    pub feeds: Vec<PortDesc>,
    /// Bytes of one set of feeds.
    pub feed_bytes: u64,
    /// What every run returns.
    pub outputs: Vec<PortDesc>,
    /// Bytes of one set of outputs.
    pub output_bytes: u64,
    /// Bytes of temporaries if nothing shared storage.
    pub unshared_bytes: u64,
    /// Largest number of temporary bytes alive at once: the bound no planner can beat.
    pub live_peak_bytes: u64,
}

/// Sets of staging and read-back buffers: how many steps may be under way.
pub(super) const RING: usize = 3;

impl PlanDesc {
    /// Bytes of all buffers that compiling this plan creates, the rings included, the parameter store not.
    pub fn planned_bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.bytes).sum::<u64>()
            + RING as u64 * (self.feed_bytes.max(4) + self.output_bytes.max(4))
    }

    /// Number of temporaries' buffers.
    pub fn slot_count(&self) -> usize {
        self.buffers.iter().filter(|buffer| buffer.label.starts_with("slot")).count()
    }
}

impl fmt::Display for PlanDesc {
    /// The dump: one line per dispatch with kernel, grid and bindings, an operation's first one also with its cost, its
    /// algorithm and why that was chosen; then the memory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan for tier {}: {} dispatches", self.target.tier.name(), self.dispatches.len())?;
        for (from, to) in &self.snapshots {
            writeln!(f, "  copy {from:?} -> {to:?}")?;
        }
        let mut seen = HashSet::new();
        for (at, dispatch) in self.dispatches.iter().enumerate() {
            if at == 0 && self.frozen.dispatches > 0 {
                let (count, kept) = (self.frozen.dispatches, mib(self.frozen.bytes));
                writeln!(f, "  once per version of the weights: {count} dispatches, {kept} kept")?;
            } else if at == self.frozen.dispatches && at > 0 {
                writeln!(f, "  in every run: {} dispatches", self.dispatches.len() - at)?;
            }
            let [x, y, z] = dispatch.grid;
            write!(f, "  {:<56} {} <{x},{y},{z}>", dispatch.label, dispatch.kernel)?;
            for (name, place) in &dispatch.bindings {
                let (kind, number) = match place.buffer {
                    BufferRef::Owned(i) => ("b", i),
                    BufferRef::Store(i) => ("p", i),
                };
                write!(f, " {name}={kind}{number}")?;
                if place.offset_bytes > 0 {
                    write!(f, "+{}", place.offset_bytes)?;
                }
            }
            if seen.insert(dispatch.node) {
                let cost = node_cost(&self.graph, &self.graph.nodes[dispatch.node]);
                write!(f, "  [{:.2} MFLOP, {:.2} MB]", cost.flops / 1e6, cost.bytes / 1e6)?;
                if let Some(choice) = self.choices.get(&node_key(&self.graph, &self.graph.nodes[dispatch.node])) {
                    write!(f, " {{{choice}}}")?;
                }
            }
            writeln!(f)?;
        }
        for (from, to) in &self.copies {
            writeln!(f, "  copy {from:?} -> {to:?}")?;
        }
        for (i, buffer) in self.buffers.iter().enumerate() {
            writeln!(f, "  b{i} {:<16} {:>12} bytes", buffer.label, buffer.bytes)?;
        }
        write!(
            f,
            "  planned {} ({} bytes); temporaries: {} unshared, {} live at the peak, {} slots",
            mib(self.planned_bytes()),
            self.planned_bytes(),
            mib(self.unshared_bytes),
            mib(self.live_peak_bytes),
            self.slot_count()
        )
    }
}
