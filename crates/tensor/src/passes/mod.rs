//! Passes over the graph: pure functions from graph to graph or to plan data, tested without an adapter.

pub mod differentiate;
pub mod fuse;
pub mod memory;
pub mod quantize;
pub mod recompute;
pub mod schedule;
pub mod select;
