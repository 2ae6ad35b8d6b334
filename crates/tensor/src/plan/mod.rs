//! Compiled plans: everything a step needs exists before the first one.
//!
//! [`Plan::compile`] takes a traced [`Graph`] through the passes (fusion, scheduling, lowering, memory planning) to a
//! [`PlanDesc`], which is plain data, and then creates its buffers, pipelines and bind groups. [`Plan::run`] re-encodes
//! the list of dispatches, submits once, and creates no wgpu object but its encoder.

mod desc;
mod lower;
mod profile;
mod run;
mod storage;

pub use desc::{BufferDesc, Place, PlanDesc, PlannedDispatch, PortDesc};
pub use lower::lower;
pub use profile::{Profile, ProfileRow};
pub use run::{Feed, Plan, Ticket};

use crate::error::{Error, Result};
use crate::graph::{Graph, GraphData};
use crate::passes::{fuse, schedule};
use crate::precision::StoragePolicy;
use crate::tune::Tuning;

/// How to compile.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Run the fusion pass. Off only for comparison.
    pub fuse: bool,
    /// What is stored in 16 bits, and how it is rounded.
    pub storage: StoragePolicy,
    /// How algorithms are chosen: by rules alone, unless it says otherwise.
    pub tuning: Tuning,
    /// Fill every buffer of temporaries with NaN and put guard words behind it (tests).
    pub poison_memory: bool,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            fuse: true,
            storage: StoragePolicy::default(),
            tuning: Tuning::default(),
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
    if options.fuse { Ok(schedule::schedule(&fuse::fuse(&data)).map_err(Error::Shape)?) } else { Ok(data) }
}
