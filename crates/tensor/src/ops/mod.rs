//! The operations: one file per family, each listed once in `ops!`.
//!
//! To add an operation write `shaders/foo.wgsl` and `ops/foo.rs` (an [`OpDef`] with its shapes, gradient, kernels,
//! reference and cost, a method on [`Value`](crate::graph::Value), and `cases()`), and add `foo` to the list below. From
//! that line on the test suite checks its shapes, its gradient against finite differences in f64, its kernels against its
//! reference in every tier and for every case, and `cargo xtask bench ops` has a row for it. Operations outside this crate implement [`OpDef`] the same way and are applied with [`Graph::apply`](crate::graph::Graph::apply).

mod activation;
mod case;
mod columns;
mod gemm;
mod lower;
mod op_def;
mod pixel_rows;
mod register_tile;
mod strips;
mod tile_product;

pub use activation::Activation;
use case::TIMED_IMAGES;
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
    /// What benchmarks take: its cases of the size that networks have, and of an operation without one the largest.
    pub timed: fn() -> Vec<Case>,
}

/// The cases that tests take.
fn tested(cases: Vec<Case>) -> Vec<Case> {
    cases.into_iter().filter(|case| !case.timed).collect()
}

/// The cases that benchmarks take.
fn timed(cases: Vec<Case>) -> Vec<Case> {
    let mut chosen: Vec<Case> = Vec::new();
    for case in cases {
        let rival = chosen.iter().position(|known| known.op.name() == case.op.name() && !known.timed);
        match rival {
            Some(i) if case.timed || case.elements() > chosen[i].elements() => chosen[i] = case,
            Some(_) => {}
            None if case.timed || chosen.iter().all(|known| known.op.name() != case.op.name()) => chosen.push(case),
            None => {}
        }
    }
    chosen
}

macro_rules! ops {
    ($($family:ident),* $(,)?) => {
        $(pub mod $family;)*

        /// Every family of operations.
        pub const REGISTRY: &[OpEntry] = &[$(OpEntry {
            family: stringify!($family),
            cases: || tested($family::cases()),
            timed: || timed($family::cases()),
        }),*];
    };
}

ops! {
    accuracy,
    adaptive_pool,
    batch_norm,
    batch_norm_backward,
    bias,
    blend,
    chain,
    clip,
    concat,
    conv2d,
    cross_entropy,
    dropout,
    elementwise,
    fill,
    flatten,
    global_pool,
    group_norm,
    hinge,
    image,
    l2_pool,
    local_response_norm,
    loss_scale,
    matmul,
    move_pixels,
    optimizer,
    pool,
    quantize,
    reduce,
    scale_channels,
    sgd,
    soft_cross_entropy,
    stochastic_pool,
    subsample,
    upsample,
}

#[cfg(test)]
mod tests {
    use super::*;
    use elementwise::{Activate, Binary, Scale};

    #[test]
    fn benchmarks_take_the_marked_cases_or_the_largest() {
        let add =
            |n: usize| Case::new(format!("add {n}"), Binary::Add, [CaseInput::normal([n]), CaseInput::normal([n])]);
        let scale = |n: usize| Case::new(format!("scale {n}"), Scale { alpha: 2.0 }, [CaseInput::normal([n])]);
        let relu = |n: usize| {
            let op = Activate { activation: Activation::Relu };
            Case::new(format!("relu {n}"), op, [CaseInput::normal([n])])
        };
        let cases = || {
            vec![
                add(3),
                scale(9),
                relu(7).timed(),
                add(9),
                relu(9),
                scale(2),
                add(5),
                scale(1).timed(),
                scale(4).timed(),
            ]
        };
        let names = |cases: Vec<Case>| cases.into_iter().map(|case| case.name).collect::<Vec<_>>();
        assert_eq!(names(timed(cases())), ["add 9", "scale 1", "relu 7", "scale 4"]);
        assert_eq!(names(tested(cases())), ["add 3", "scale 9", "add 9", "relu 9", "scale 2", "add 5"]);
    }

    #[test]
    fn every_operation_has_a_case_for_benchmarks() {
        for entry in REGISTRY {
            let names = |cases: Vec<Case>| {
                cases.into_iter().map(|case| case.op.name()).collect::<std::collections::BTreeSet<_>>()
            };
            assert!(names((entry.timed)()).is_superset(&names((entry.cases)())), "{}", entry.family);
            assert!((entry.cases)().iter().all(|case| !case.timed), "{}", entry.family);
        }
    }
}
