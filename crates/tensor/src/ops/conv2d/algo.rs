//! The algorithms a convolution can be computed by, and the rules that choose one.

use super::Geometry;
use super::direct::Direct;
use super::fft::Fft;
use super::winograd::Winograd;
use crate::ops::{Target, Tier};

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
    /// The matrix product reads the windows where they lie; no workspace for the windows.
    Implicit,
    /// Tiles of pixels in registers, filters too: groups of few channels, or some first layers. One launch for all groups.
    Direct,
    /// As [`ConvAlgo::Direct`] for one input channel a group (with any number of filters each).
    Depthwise,
    /// Winograd's minimal filtering with tiles of 2x2 output pixels: 2.25 times fewer products for 3x3 filters.
    WinogradF2,
    /// Tiles of 4x4: 4 times fewer products for 3x3 filters, 6.25 times for 5x5, and ten times the rounding error.
    WinogradF4,
    /// Products of spectra, tile by tile: worth it for large filters with stride 1.
    Fft,
}

impl ConvAlgo {
    /// All algorithms.
    pub const ALL: [ConvAlgo; 8] = [
        ConvAlgo::Pointwise,
        ConvAlgo::Im2col,
        ConvAlgo::Implicit,
        ConvAlgo::Direct,
        ConvAlgo::Depthwise,
        ConvAlgo::WinogradF2,
        ConvAlgo::WinogradF4,
        ConvAlgo::Fft,
    ];

    /// Name in labels and tables.
    pub fn name(self) -> &'static str {
        match self {
            ConvAlgo::Pointwise => "pointwise",
            ConvAlgo::Im2col => "im2col",
            ConvAlgo::Implicit => "implicit",
            ConvAlgo::Direct => "direct",
            ConvAlgo::Depthwise => "depthwise",
            ConvAlgo::WinogradF2 => "winograd-f2",
            ConvAlgo::WinogradF4 => "winograd-f4",
            ConvAlgo::Fft => "fft",
        }
    }

    /// Whether the algorithm can compute this pass of this convolution on this device, within its workspace.
    pub fn supports(self, g: &Geometry, pass: ConvPass, target: &Target) -> bool {
        let channels_by_four = g.cg().is_multiple_of(4);
        let filters_by_four = g.kg().is_multiple_of(4);
        match self {
            ConvAlgo::Pointwise => g.is_pointwise(),
            ConvAlgo::Im2col => true,
            ConvAlgo::Implicit => channels_by_four && (pass == ConvPass::Forward || filters_by_four),
            ConvAlgo::Direct | ConvAlgo::Depthwise => self.direct(g, pass, target).is_some(),
            ConvAlgo::WinogradF2 | ConvAlgo::WinogradF4 => {
                self.winograd(g).is_some_and(|f| 4 * f.filter_elements(g) as u64 <= target.workspace_bytes)
            }
            ConvAlgo::Fft => Fft::new(g, target).is_some(),
        }
    }

    /// The tiles of a direct algorithm that applies to this pass.
    pub(super) fn direct(self, g: &Geometry, pass: ConvPass, target: &Target) -> Option<Direct> {
        match self {
            ConvAlgo::Direct => Direct::new(g, pass, false, target),
            ConvAlgo::Depthwise => Direct::new(g, pass, true, target),
            _ => None,
        }
    }

    /// The sizes of a Winograd algorithm that applies to this convolution.
    pub(super) fn winograd(self, g: &Geometry) -> Option<Winograd> {
        match self {
            ConvAlgo::WinogradF2 => Winograd::new(g, 2),
            ConvAlgo::WinogradF4 => Winograd::new(g, 4),
            _ => None,
        }
    }

    /// The rules: the cheapest that is supported.
    pub fn choose(g: &Geometry, pass: ConvPass, target: &Target) -> ConvAlgo {
        // With fewer channels the transforms cost more than the products they save.
        let wide = target.tier == Tier::Cpu && g.c >= 64 && g.k >= 64;
        let winograd = [ConvAlgo::WinogradF4, ConvAlgo::WinogradF2].into_iter().filter(|_| wide);
        // A matrix product of fewer columns than its narrowest tile wastes most of it. Of first layers of colour images the filter
        // gradient is direct (3x3: direct kernels end there), and the forward pass with few filters: with 64 im2col is faster.
        let plain = g.config.groups == 1 && g.config.stride == [1, 1];
        let first_layer = target.tier == Tier::Cpu && plain && g.c == 3;
        let first_layer = first_layer && (pass == ConvPass::BackwardWeight || g.k < 64);
        let narrow = g.config.groups > 1 && g.kg() < 16 || first_layer;
        let direct = [ConvAlgo::Depthwise, ConvAlgo::Direct].into_iter().filter(|_| narrow);
        let fft = [ConvAlgo::Fft].into_iter().filter(|_| Fft::pays(g, target));
        let order = [ConvAlgo::Pointwise].into_iter().chain(winograd).chain(direct).chain(fft);
        let mut order = order.chain([ConvAlgo::Implicit]);
        order.find(|algo| algo.supports(g, pass, target)).unwrap_or(ConvAlgo::Im2col)
    }

    /// The algorithm that computes a pass: `fixed` where it can, else what the rules choose.
    pub fn resolve(fixed: Option<ConvAlgo>, g: &Geometry, pass: ConvPass, target: &Target) -> ConvAlgo {
        fixed.filter(|algo| algo.supports(g, pass, target)).unwrap_or_else(|| ConvAlgo::choose(g, pass, target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv2d::Conv2dConfig;

    const PASSES: [ConvPass; 3] = [ConvPass::Forward, ConvPass::BackwardInput, ConvPass::BackwardWeight];

    fn choices(x: [usize; 4], w: [usize; 4], config: Conv2dConfig, tier: Tier) -> [ConvAlgo; 3] {
        let g = Geometry::forward(x.into(), w.into(), config).expect("fits");
        PASSES.map(|pass| ConvAlgo::choose(&g, pass, &Target { tier, ..Target::default() }))
    }

    #[test]
    fn the_fourier_transform_takes_large_filters_where_it_was_measured_to_pay() {
        let same = |r: usize| Conv2dConfig { padding: [r / 2; 2], ..Conv2dConfig::default() };
        for (n, c, h, r, wanted) in [
            (2, 64, 56, 7, ConvAlgo::Fft),
            (2, 64, 56, 11, ConvAlgo::Fft),
            (8, 64, 27, 9, ConvAlgo::Fft),
            (2, 64, 27, 11, ConvAlgo::Fft),
            (8, 64, 27, 7, ConvAlgo::Fft),
            (8, 128, 27, 9, ConvAlgo::Fft),
            // It saves less than four times the operations: 585 million for 198; and where it lost, with few tiles to a filter.
            (2, 64, 27, 7, ConvAlgo::Implicit),
            (2, 256, 14, 7, ConvAlgo::Implicit),
            (1, 64, 8, 7, ConvAlgo::Implicit),
            // Few channels, small filters.
            (8, 32, 56, 9, ConvAlgo::Implicit),
            (8, 64, 56, 5, ConvAlgo::WinogradF4),
            (8, 64, 56, 6, ConvAlgo::Implicit),
        ] {
            let got = choices([n, c, h, h], [c, c, r, r], same(r), Tier::Cpu);
            assert_eq!(got, [wanted; 3], "{n} images of {h}, {c} channels, {r}x{r}");
        }
        let base = choices([8, 64, 56, 56], [64, 64, 9, 9], same(9), Tier::Base);
        assert_eq!(base, [ConvAlgo::Implicit; 3], "not measured on a GPU");
        for config in [
            Conv2dConfig { stride: [2, 2], ..same(9) },
            Conv2dConfig { dilation: [1, 2], ..same(9) },
            Conv2dConfig { padding: [9, 4], ..Conv2dConfig::default() },
        ] {
            assert_eq!(choices([8, 64, 56, 56], [64, 64, 9, 9], config, Tier::Cpu), [ConvAlgo::Implicit; 3]);
        }
        let first = choices([32, 3, 32, 32], [16, 3, 3, 3], same(3), Tier::Cpu);
        assert_eq!(first, [ConvAlgo::Direct, ConvAlgo::Im2col, ConvAlgo::Direct]);
        let first = choices([32, 3, 32, 32], [64, 3, 3, 3], same(3), Tier::Cpu);
        assert_eq!(first, [ConvAlgo::Im2col, ConvAlgo::Im2col, ConvAlgo::Direct]);
        let wide = choices([8, 64, 56, 56], [64, 64, 9, 1], same(9), Tier::Cpu);
        assert_eq!(wide, [ConvAlgo::Implicit; 3], "of one column the transform makes a tile");
    }
}
