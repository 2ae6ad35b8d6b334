//! Odd convolutions: every pass, every algorithm that can do them.

use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dConfig, ConvAlgo, ConvPass, Geometry};
use crate::ops::{Activation, Case, CaseInput, Target, Tier};

fn config(stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2], groups: usize) -> Conv2dConfig {
    Conv2dConfig { stride, padding, dilation, groups }
}

/// Whether the algorithm can compute this pass in some tier. Direct kernels are tried where they are meant for, on groups and
/// few channels: a kernel for each geometry takes the driver long to compile.
fn is_possible(algo: ConvAlgo, g: &Geometry, pass: ConvPass) -> bool {
    if algo == ConvAlgo::Direct && g.config.groups == 1 && g.c > 4 {
        return false;
    }
    [Tier::Base, Tier::Cpu].iter().any(|&tier| algo.supports(g, pass, &Target { tier, ..Target::default() }))
}

/// Channels not divisible by four, batch 1, images of one pixel, stride above the filter, dilation, groups, depthwise, no
/// padding, padding wider than the filter, rectangular filters, long sums, every register tile.
pub fn cases() -> Vec<Case> {
    let plain = Conv2dConfig::default();
    let same = config([1, 1], [1, 1], [1, 1], 1);
    let geometries: [(&str, [usize; 4], [usize; 4], Conv2dConfig); 40] = [
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
        ("depthwise, 2 filters a channel", [2, 6, 7, 5], [12, 1, 3, 3], config([2, 1], [1, 1], [1, 1], 6)),
        ("depthwise by four, stride 2", [2, 8, 9, 10], [8, 1, 5, 5], config([2, 2], [2, 1], [1, 1], 8)),
        ("depthwise, dilation 2, many tiles", [3, 4, 17, 13], [4, 1, 3, 3], config([1, 1], [2, 2], [2, 2], 4)),
        ("2 groups of 8, stride 2", [2, 16, 9, 8], [16, 8, 3, 3], config([2, 2], [1, 1], [1, 1], 2)),
        ("3 groups, 4 channels to 8, 3x1", [2, 12, 9, 8], [24, 4, 3, 1], config([1, 2], [1, 0], [1, 1], 3)),
        ("2 groups, dilation 2", [1, 8, 11, 9], [8, 4, 3, 3], config([1, 1], [2, 2], [2, 2], 2)),
        ("1 channel, 5x5", [2, 1, 13, 12], [6, 1, 5, 5], config([1, 1], [2, 2], [1, 1], 1)),
        ("1x3, stride 2 by 1", [2, 8, 7, 6], [8, 8, 1, 3], config([2, 1], [0, 1], [1, 1], 1)),
        ("3x1, stride 1 by 2", [2, 8, 7, 6], [8, 8, 3, 1], config([1, 2], [1, 0], [1, 1], 1)),
        ("7x1, dilation 2", [1, 8, 15, 4], [4, 8, 7, 1], config([1, 1], [6, 0], [2, 1], 1)),
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
        ("3x2, stride 2 by 1, rows of taps", [2, 8, 9, 12], [8, 8, 3, 2], config([2, 1], [1, 0], [1, 1], 1)),
        ("full and narrow tiles", [2, 8, 13, 10], [12, 8, 3, 3], same),
        ("7x9, tiles of 16", [2, 8, 19, 23], [4, 8, 7, 9], config([1, 1], [3, 2], [1, 1], 1)),
        ("11x11, tiles of 32, odd channels", [1, 3, 27, 30], [5, 3, 11, 11], config([1, 1], [5, 5], [1, 1], 1)),
        ("filter as large as the image", [3, 8, 4, 4], [8, 8, 4, 4], plain),
    ];
    let mut cases = Vec::new();
    for (i, (name, x, w, config)) in geometries.into_iter().enumerate() {
        let Ok(g) = Geometry::forward(x.into(), w.into(), config) else { continue };
        let (x, w, y) = (CaseInput::normal(x), CaseInput::normal(w), CaseInput::normal(g.output_shape()));
        for algo in std::iter::once(None).chain(ConvAlgo::ALL.map(Some)) {
            let label = format!("{name}{}", algo.map_or(String::new(), |algo| format!(" {}", algo.name())));
            let input = Conv2dBackwardInput { algo, ..Conv2dBackwardInput::new(config, [g.h, g.w]) };
            let weight = Conv2dBackwardWeight { config, kernel: [g.r, g.s], algo };
            // The gradient of a shortcut is added, and of every other one an activation follows.
            let derivative = if i % 2 == 0 { Activation::Relu } else { Activation::Identity };
            let added = Conv2dBackwardInput { residual: true, derivative, ..input };
            let others = if i % 2 == 0 { vec![y, w, x, x] } else { vec![y, w, x] };
            let passes = [
                (ConvPass::Forward, Case::new(&label, Conv2d { algo, ..Conv2d::new(config) }, [x, w])),
                (ConvPass::BackwardInput, Case::new(&label, input, [y, w])),
                (ConvPass::BackwardInput, Case::new(format!("{label} plus residual"), added, others)),
                (ConvPass::BackwardWeight, Case::new(&label, weight, [x, y])),
            ];
            // What is computed does not depend on the algorithm, so the rules' own choice is enough to check gradients.
            cases.extend(passes.into_iter().filter_map(|(pass, case)| match algo {
                None => Some(case),
                Some(algo) => is_possible(algo, &g, pass).then(|| case.kernels_only()),
            }));
        }
        let bias = CaseInput::normal([g.k]);
        let fused = Conv2d { bias: true, residual: i % 2 == 0, activation: Activation::Relu, ..Conv2d::new(config) };
        let mut operands = vec![x, w, bias];
        operands.extend(fused.residual.then_some(y));
        cases.push(Case::new(format!("{name} with epilogue"), fused, operands));
        let added = Conv2d { residual: true, ..Conv2d::new(config) };
        cases.push(Case::new(format!("{name} plus residual"), added, [x, w, y]));
    }
    // Layers of ResNet-50 and ResNeXt-50.
    let timed: [(&str, [usize; 4], [usize; 4], Conv2dConfig); 6] = [
        ("64 channels 56x56", [8, 64, 56, 56], [64, 64, 3, 3], same),
        ("128 channels 56x56 stride 2", [8, 128, 56, 56], [128, 128, 3, 3], config([2, 2], [1, 1], [1, 1], 1)),
        ("1x1 64 to 256 channels 56x56", [8, 64, 56, 56], [256, 64, 1, 1], plain),
        ("32 groups of 4 channels 56x56", [8, 128, 56, 56], [128, 4, 3, 3], config([1, 1], [1, 1], [1, 1], 32)),
        ("depthwise 128 channels 56x56", [8, 128, 56, 56], [128, 1, 3, 3], config([1, 1], [1, 1], [1, 1], 128)),
        ("11x11 64 channels 27x27", [8, 64, 27, 27], [64, 64, 11, 11], config([1, 1], [5, 5], [1, 1], 1)),
    ];
    for (name, x, w, config) in timed {
        let Ok(g) = Geometry::forward(x.into(), w.into(), config) else { continue };
        let (x, w, y) = (CaseInput::normal(x), CaseInput::normal(w), CaseInput::normal(g.output_shape()));
        let input = Conv2dBackwardInput::new(config, [g.h, g.w]);
        let weight = Conv2dBackwardWeight { config, kernel: [g.r, g.s], algo: None };
        let passes = [
            Case::new(name, Conv2d::new(config), [x, w]),
            Case::new(name, input, [y, w]),
            Case::new(name, weight, [x, y]),
        ];
        // Room for the rounding of every algorithm.
        cases.extend(passes.map(|case| case.within(1e-3).timed()));
    }
    cases
}
