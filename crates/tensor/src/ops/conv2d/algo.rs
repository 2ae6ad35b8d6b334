//! The algorithms a convolution can be computed by, and the rules that choose one.

use super::Geometry;
use crate::ops::Tier;

/// Which of the three products is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvPass {
    /// `y` from `x` and `w`.
    Forward,
    /// `dx` from `dy` and `w`.
    BackwardInput,
    /// `dw` from `x` and `dy`.
    BackwardWeight,
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvAlgo {
    /// A plain matrix product over pixels: 1x1 filters with stride 1.
    Pointwise,
    /// Windows copied into a matrix, then a matrix product; in chunks that respect the workspace limit.
    Im2col,
    /// The matrix product reads the windows where they lie; no workspace for the windows. Tier `cpu` only.
    Implicit,
}

impl ConvAlgo {
    /// All algorithms.
    pub const ALL: [ConvAlgo; 3] = [ConvAlgo::Pointwise, ConvAlgo::Im2col, ConvAlgo::Implicit];

    /// Name in labels and tables.
    pub fn name(self) -> &'static str {
        match self {
            ConvAlgo::Pointwise => "pointwise",
            ConvAlgo::Im2col => "im2col",
            ConvAlgo::Implicit => "implicit",
        }
    }

    /// Whether the algorithm can compute this pass of this convolution in this tier.
    pub fn supports(self, g: &Geometry, pass: ConvPass, tier: Tier) -> bool {
        let channels_by_four = g.cg().is_multiple_of(4);
        let filters_by_four = g.kg().is_multiple_of(4);
        match self {
            ConvAlgo::Pointwise => g.is_pointwise(),
            ConvAlgo::Im2col => true,
            ConvAlgo::Implicit => {
                tier == Tier::Cpu && channels_by_four && (pass == ConvPass::Forward || filters_by_four)
            }
        }
    }

    /// The rules: the cheapest that is supported.
    pub fn choose(g: &Geometry, pass: ConvPass, tier: Tier) -> ConvAlgo {
        let order = [ConvAlgo::Pointwise, ConvAlgo::Implicit];
        order.into_iter().find(|algo| algo.supports(g, pass, tier)).unwrap_or(ConvAlgo::Im2col)
    }
}
