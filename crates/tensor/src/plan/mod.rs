//! Compiled plans: everything a step needs exists before the first one.
//!
//! [`Plan::compile`] takes a traced [`Graph`] through the passes (fusion, scheduling, lowering, memory planning) to a
//! [`PlanDesc`], which is plain data, and then creates its buffers, pipelines and bind groups. [`Plan::run`] re-encodes
//! the list of dispatches, submits it, and creates no wgpu object but its encoders.

mod desc;
mod frozen;
mod lower;
mod profile;
mod run;
mod storage;

pub use desc::{BufferDesc, FrozenDesc, Place, PlanDesc, PlannedDispatch, PortDesc};
pub use lower::lower;
pub use profile::{Profile, ProfileRow};
pub use run::{Feed, Plan, Ticket};

use crate::error::{Error, Result, UsageError};
use crate::graph::{Graph, GraphData};
use crate::ops::Target;
use crate::params::layout::StoreLayout;
use crate::passes::{fuse, recompute, schedule};
use crate::precision::StoragePolicy;
use crate::tune::Tuning;
use std::cell::RefCell;

/// How to compile.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Run the fusion pass. Off only for comparison.
    pub fuse: bool,
    /// What is stored in 16 bits, and how it is rounded.
    pub storage: StoragePolicy,
    /// How algorithms are chosen: by rules alone, unless it says otherwise.
    pub tuning: Tuning,
    /// Most bytes that temporaries may take: activations, their gradients, workspaces. What does not fit is computed again
    /// in the backward pass, with the same bits; see [`crate::passes::recompute`]. `None`: nothing is computed twice.
    pub temporary_bytes: Option<u64>,
    /// Most bytes that may be taken to keep what follows from parameters alone (transformed filters) from run to run, where this
    /// plan does not change the parameters. What does not fit is computed in every run. `None`: as much as two workspaces may
    /// take ([`Target::workspace_bytes`]), or nothing where `temporary_bytes` is given; `Some(0)`: nothing.
    pub frozen_bytes: Option<u64>,
    /// Order independent branches side by side and give them no buffer in common, so that no barrier stands between them.
    /// Takes more memory; see [`crate::passes::memory`].
    pub overlap: bool,
    /// Parts in which a step is submitted, at least 1. More let the device start while the host still encodes; a step
    /// that is handed in ahead overlaps with its predecessor anyway. Whether it pays has not been measured.
    pub submissions: usize,
    /// Fill every buffer of temporaries with NaN and put guard words behind it (tests).
    pub poison_memory: bool,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            fuse: true,
            storage: StoragePolicy::default(),
            tuning: Tuning::default(),
            temporary_bytes: None,
            frozen_bytes: None,
            overlap: false,
            submissions: 1,
            poison_memory: false,
        }
    }
}

/// Checks a trace and runs the graph passes.
///
/// # Errors
/// All shape mistakes of the trace together.
pub fn optimise(graph: &Graph, options: &CompileOptions) -> Result<GraphData> {
    let mut data = graph.data();
    data.check()?;
    if options.storage.is_stochastic() {
        data.ensure_rng();
    }
    let data = schedule::schedule(&data).map_err(Error::Shape)?;
    let data = if options.fuse { schedule::schedule(&fuse::fuse(&data)).map_err(Error::Shape)? } else { data };
    Ok(if options.overlap { schedule::side_by_side(&data) } else { data })
}

/// Makes the temporaries of an optimised graph fit [`CompileOptions::temporary_bytes`] by computing some of them again.
///
/// # Errors
/// [`UsageError::Budget`] with the least bytes that were found, if they do not fit; as [`lower`].
pub fn fit(data: GraphData, store: &StoreLayout, target: Target, options: &CompileOptions) -> Result<GraphData> {
    let Some(budget_bytes) = options.temporary_bytes else { return Ok(data) };
    let kernels = RefCell::default();
    let plan =
        |graph: &GraphData| lower::temporary_bytes(graph.clone(), store, target, options, &mut kernels.borrow_mut());
    plan(&data)?;
    let found = recompute::recompute(&data, budget_bytes, &|graph| plan(graph).unwrap_or(u64::MAX));
    if found.bytes > budget_bytes {
        return Err(Error::Usage(UsageError::Budget { budget_bytes, least_bytes: found.bytes }));
    }
    schedule::schedule(&found.graph).map_err(Error::Shape)
}
