//! The operations: one file per family, each listed once in `ops!`.
//!
//! To add an operation write `shaders/foo.wgsl` and `ops/foo.rs` (an [`OpDef`] with its shapes, gradient, kernels,
//! reference and cost, a method on [`Value`](crate::graph::Value), and `cases()`), and add `foo` to the list below. From
//! that line on the test suite checks its shapes, its gradient against finite differences in f64, its kernels against its
//! reference in every tier and for every case. Operations outside this crate implement [`OpDef`] the same way and are applied with [`Graph::apply`](crate::graph::Graph::apply).

mod activation;
mod case;
mod columns;
mod gemm;
mod lower;
mod op_def;
mod pixel_rows;
mod register_tile;
mod strips;

pub use activation::Activation;
pub use case::{Case, CaseInput, Fill};
pub(crate) use lower::node_cost;
pub use lower::{Arg, BufId, BufferRef, Dispatch, DispatchBuilder, FlatPlace, Lower, Target, Tier};
pub use op_def::{Backward, Candidate, Cost, Epilogue, OpDef, Prologue, View, ViewMut};

/// One line of the registry.
#[derive(Clone, Copy, Debug)]
pub struct OpEntry {
    /// Family: the stem of its file.
    pub family: &'static str,
    /// Its test cases.
    pub cases: fn() -> Vec<Case>,
}

macro_rules! ops {
    ($($family:ident),* $(,)?) => {
        $(pub mod $family;)*

        /// Every family of operations.
        pub const REGISTRY: &[OpEntry] = &[$(OpEntry { family: stringify!($family), cases: $family::cases }),*];
    };
}

ops! {
    accuracy,
    batch_norm,
    batch_norm_backward,
    bias,
    chain,
    concat,
    conv2d,
    cross_entropy,
    dropout,
    elementwise,
    fill,
    flatten,
    global_pool,
    image,
    loss_scale,
    matmul,
    pool,
    quantize,
    reduce,
    sgd,
    subsample,
}
