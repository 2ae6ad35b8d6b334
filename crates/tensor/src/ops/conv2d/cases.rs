//! Odd convolutions: every pass, every algorithm that can do them.

use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dConfig, ConvAlgo, ConvPass, Geometry};
use crate::ops::{Activation, Case, CaseInput, Target};

fn config(stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2], groups: usize) -> Conv2dConfig {
    Conv2dConfig { stride, padding, dilation, groups }
}

/// Channels not divisible by four, batch 1, images of one pixel, stride above the filter, dilation, groups, depthwise, no
/// padding, padding wider than the filter, rectangular filters, long sums, every register tile.
pub fn cases() -> Vec<Case> {
    let plain = Conv2dConfig::default();
    let same = config([1, 1], [1, 1], [1, 1], 1);
    let geometries: [(&str, [usize; 4], [usize; 4], Conv2dConfig); 29] = [
        ("3x3 same", [2, 4, 6, 5], [8, 4, 3, 3], same),
        ("3 channels to 5", [2, 3, 7, 6], [5, 3, 3, 3], same),
        ("batch 1, one pixel", [1, 4, 1, 1], [4, 4, 3, 3], same),
        ("1x1", [3, 8, 4, 5], [12, 8, 1, 1], plain),
        ("1x1 odd channels", [1, 5, 3, 3], [7, 5, 1, 1], plain),
        ("1x1 grouped", [2, 12, 3, 4], [8, 6, 1, 1], config([1, 1], [0, 0], [1, 1], 2)),
        ("1x1 stride 2", [2, 4, 5, 7], [8, 4, 1, 1], config([2, 2], [0, 0], [1, 1], 1)),
        ("stride 2", [2, 8, 8, 6], [4, 8, 3, 3], config([2, 2], [1, 1], [1, 1], 1)),
        ("stride above the filter", [1, 4, 9, 11], [4, 4, 2, 2], config([3, 4], [0, 0], [1, 1], 1)),
        ("stride above the filter, odd", [1, 3, 9, 11], [5, 3, 2, 2], config([3, 4], [1, 0], [1, 1], 1)),
        ("dilation", [2, 4, 9, 8], [8, 4, 3, 3], config([1, 1], [2, 2], [2, 2], 1)),
        ("dilation and stride", [1, 6, 11, 9], [4, 6, 3, 2], config([2, 1], [2, 1], [2, 3], 1)),
        ("4 groups", [2, 16, 5, 5], [16, 4, 3, 3], config([1, 1], [1, 1], [1, 1], 4)),
        ("3 groups, odd", [2, 6, 4, 5], [9, 2, 3, 3], config([2, 1], [1, 1], [1, 1], 3)),
        ("depthwise", [2, 6, 6, 6], [6, 1, 3, 3], config([1, 1], [1, 1], [1, 1], 6)),
        ("1x7 and wide padding", [1, 4, 5, 9], [4, 4, 1, 7], config([1, 1], [2, 5], [1, 1], 1)),
        ("11x11 stride 4", [1, 3, 23, 23], [4, 3, 11, 11], config([4, 4], [2, 2], [1, 1], 1)),
        ("20 filters", [1, 16, 9, 9], [20, 16, 3, 3], same),
        ("long sum", [4, 4, 24, 24], [4, 4, 3, 3], same),
        ("register tile 2 by 16", [4, 4, 16, 16], [16, 4, 3, 3], same),
        ("register tile 2 by 32", [2, 8, 16, 16], [32, 8, 3, 3], same),
        ("register tile 1 by 64", [3, 8, 16, 22], [64, 8, 3, 3], same),
        ("register tile 2 by 32, input gradient", [2, 64, 12, 12], [8, 64, 3, 3], same),
        ("5x5", [2, 8, 11, 9], [12, 8, 5, 5], config([1, 1], [2, 1], [1, 1], 1)),
        ("no padding, many tiles", [3, 8, 23, 30], [20, 8, 3, 3], plain),
        ("full and narrow tiles", [2, 8, 13, 10], [12, 8, 3, 3], same),
        ("7x9, tiles of 16", [2, 8, 19, 23], [4, 8, 7, 9], config([1, 1], [3, 2], [1, 1], 1)),
        ("11x11, tiles of 32, odd channels", [1, 3, 27, 30], [5, 3, 11, 11], config([1, 1], [5, 5], [1, 1], 1)),
        ("filter as large as the image", [3, 8, 4, 4], [8, 8, 4, 4], plain),
    ];
    let mut cases = Vec::new();
    for (i, (name, x, w, config)) in geometries.into_iter().enumerate() {
        let Ok(g) = Geometry::forward(x.into(), w.into(), config) else { continue };
        let (x, w, y) = (CaseInput::normal(x), CaseInput::normal(w), CaseInput::normal(g.output_shape()));
        let winograd =
            [ConvAlgo::WinogradF2, ConvAlgo::WinogradF4].into_iter().filter(|algo| algo.winograd(&g).is_some());
        let fft = Some(ConvAlgo::Fft).filter(|algo| algo.supports(&g, ConvPass::Forward, &Target::default()));
        for algo in [None, Some(ConvAlgo::Im2col)].into_iter().chain(winograd.chain(fft).map(Some)) {
            let label = format!("{name}{}", algo.map_or(String::new(), |algo| format!(" {}", algo.name())));
            let input = Conv2dBackwardInput { config, input: [g.h, g.w], residual: false, algo };
            let weight = Conv2dBackwardWeight { config, kernel: [g.r, g.s], algo };
            let added = Conv2dBackwardInput { residual: true, ..input };
            let passes = [
                Case::new(&label, Conv2d { algo, ..Conv2d::new(config) }, [x, w]),
                Case::new(&label, input, [y, w]),
                Case::new(format!("{label} plus residual"), added, [y, w, x]),
                Case::new(&label, weight, [x, y]),
            ];
            // What is computed does not depend on the algorithm.
            cases.extend(passes.map(|case| if algo.is_none() { case } else { case.kernels_only() }));
        }
        let bias = CaseInput::normal([g.k]);
        let fused = Conv2d { bias: true, residual: i % 2 == 0, activation: Activation::Relu, ..Conv2d::new(config) };
        let mut operands = vec![x, w, bias];
        operands.extend(fused.residual.then_some(y));
        cases.push(Case::new(format!("{name} with epilogue"), fused, operands));
        let added = Conv2d { residual: true, ..Conv2d::new(config) };
        cases.push(Case::new(format!("{name} plus residual"), added, [x, w, y]));
    }
    cases
}
