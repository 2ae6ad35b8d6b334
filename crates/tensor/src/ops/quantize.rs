//! Fixed-point numbers, emulated: values stay f32 and are put on a grid, so that a run shows what hardware of that width would
//! learn. The grid is either fixed (Gupta et al., arXiv:1502.02551) or moves with the values (Courbariaux et al.,
//! arXiv:1412.7024).

use super::strips::{counting_strips, launch_strips};
use super::{Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::precision::{Rounding, rounding_words};
use crate::shape::{Shape, TensorDesc, from_device_order};

/// The format <IL, FL>: `integer_bits` (the sign among them) before and `fraction_bits` behind the point. It holds the
/// multiples of `2^-FL` from `-2^(IL-1)` to `2^(IL-1) - 2^-FL`; what lies beyond saturates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FixedPoint {
    /// IL, at least 1.
    pub integer_bits: u32,
    /// FL.
    pub fraction_bits: u32,
}

impl FixedPoint {
    /// Distance of neighbours.
    pub fn step(self) -> f64 {
        (-f64::from(self.fraction_bits)).exp2()
    }

    fn grid(self) -> Grid {
        let step = self.step();
        let bound = f64::from(self.integer_bits).exp2() / 2.0;
        Grid { step, low: -bound, high: bound - step }
    }
}

/// Multiples of `step` between `low` and `high`.
#[derive(Clone, Copy)]
struct Grid {
    step: f64,
    low: f64,
    high: f64,
}

impl Grid {
    /// A width of `bits` whose range is `[-2^exponent, 2^exponent)`.
    fn dynamic(bits: u32, exponent: f64) -> Grid {
        let step = (exponent + 1.0 - f64::from(bits)).exp2();
        Grid { step, low: -exponent.exp2(), high: exponent.exp2() - step }
    }

    /// Up where the rest is above `threshold`, a number in `[0, 1)`; `None` rounds to nearest, halves up.
    fn round(self, x: f64, threshold: Option<f64>) -> f64 {
        let below = (x / self.step).floor();
        let rest = x / self.step - below;
        let up = threshold.map_or(rest >= 0.5, |threshold| rest > threshold);
        ((below + f64::from(up)) * self.step).clamp(self.low, self.high)
    }
}

/// `y` = `x` on the grid of a [`FixedPoint`]. Operands: `x`, and with [`Rounding::Stochastic`] the random keys
/// ([`Scope::rng`](crate::Scope::rng)). Nearest rounds halves up. NaN stays NaN. No derivative: it is put in after
/// differentiation ([`crate::passes::quantize`]), where gradients pass straight through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantize {
    /// The grid.
    pub format: FixedPoint,
    /// How a value gets onto it.
    pub rounding: Rounding,
    /// Number of the random stream.
    pub stream: u32,
}

/// When a moving grid moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DynamicRule {
    /// Width, the sign among them.
    pub bits: u32,
    /// Largest share of values beyond the range that is borne.
    pub max_overflow: f32,
    /// Steps over which shares are taken before the grid may move.
    pub interval: u32,
}

/// [`Quantize`] onto `bits` whose range `[-2^e, 2^e)` follows the values. Operands: `x`, the state `[4]` = (e, steps counted,
/// share of values beyond the range, share beyond half of it; both summed over the steps), random keys as [`Quantize`];
/// results: `y` and the new state. After `interval` steps, `e` grows by one if the mean share beyond the range is above
/// `max_overflow`, and shrinks by one if even the share beyond half the range is not, within -24..24.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizeDynamic {
    /// The rule.
    pub rule: DynamicRule,
    /// How a value gets onto the grid.
    pub rounding: Rounding,
    /// Number of the random stream.
    pub stream: u32,
}

/// Largest width: f32 has no more significant bits.
const MAX_BITS: u32 = 24;

fn operands(rounding: Rounding, floats: usize) -> Vec<DType> {
    let mut types = vec![DType::F32; floats];
    types.extend((rounding == Rounding::Stochastic).then_some(DType::U32));
    types
}

/// The thresholds of all elements in PyTorch's order: the device numbers elements as they lie in memory.
fn thresholds(shape: &Shape, stream: u32, rng: Option<&View<'_>>) -> Vec<Option<f64>> {
    let Some(rng) = rng else { return vec![None; shape.numel()] };
    let [low, high, step] = [0, 1, 2].map(|i| rng.data[i] as u64);
    let words = (0..shape.numel() as u32)
        .step_by(4)
        .flat_map(|at| rounding_words(low | high << 32, step as u32, stream, at / 4));
    let words: Vec<u32> = words.take(shape.numel()).collect();
    let unit = |word: u32| Some(f64::from(word >> 8) / f64::from(1 << 24));
    from_device_order(shape, &words).into_iter().map(unit).collect()
}

impl OpDef for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(operands(self.rounding, 1))
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let FixedPoint { integer_bits, fraction_bits } = self.format;
        match integer_bits >= 1 && integer_bits.saturating_add(fraction_bits) <= MAX_BITS {
            true => Ok(vec![x[0]]),
            false => {
                Err(format!("<{integer_bits},{fraction_bits}>: wanted IL of at least 1, IL + FL of at most {MAX_BITS}"))
            }
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let grid = self.format.grid();
        let (target, n) = (cx.target(), cx.x_desc(0).shape.numel().div_ceil(4));
        let rng = (self.rounding == Rounding::Stochastic).then(|| cx.x(1));
        let (x, y) = (cx.x(0), cx.y(0));
        let kernel = cx.dispatch("quantize").bind("x", x).bind("y", y).bind_some("rng", rng);
        let kernel = kernel.define_if(rng.is_some(), "STOCHASTIC").arg("stream", self.stream);
        let kernel =
            kernel.arg("low", grid.low as f32).arg("high", grid.high as f32).arg("grid_step", grid.step as f32);
        launch_strips(kernel, &target, n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let grid = self.format.grid();
        for ((y, &x), threshold) in
            y[0].data.iter_mut().zip(x[0].data).zip(thresholds(&x[0].shape, self.stream, x.get(1)))
        {
            *y = grid.round(x, threshold);
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(&x[..1], y).with_flops(5.0 * x[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

/// A range never leaves `2^-24 ..= 2^24`: a tensor that was all zeros for long comes back within so many moves.
const MAX_EXPONENT: f64 = 24.0;

impl OpDef for QuantizeDynamic {
    fn name(&self) -> &'static str {
        "quantize_dynamic"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(operands(self.rounding, 2))
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let DynamicRule { bits, max_overflow, interval } = self.rule;
        if !(2..=MAX_BITS).contains(&bits) || interval == 0 || !(0.0..1.0).contains(&max_overflow) {
            return Err(format!(
                "wanted 2 to {MAX_BITS} bits, an overflow in 0..1 and an interval of at least 1, got {:?}",
                self.rule
            ));
        }
        match x[1].shape == Shape::from([4]) {
            true => Ok(vec![x[0], x[1]]),
            false => Err(format!("the state must be [4], got {}", x[1].shape)),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let elements = cx.x_desc(0).shape.numel();
        let n = elements.div_ceil(4);
        let strips = counting_strips(&cx.target(), n);
        let counters = strips.groups * strips.lanes;
        let counts = cx.workspace(2 * counters);
        let rng = (self.rounding == Rounding::Stochastic).then(|| cx.x(2));
        let (x, y, state, state_out) = (cx.x(0), cx.y(0), cx.x(1), cx.y(1));
        let kernel = cx.dispatch("quantize").bind("x", x).bind("y", y).bind_some("rng", rng);
        let kernel = kernel.bind("state", state).bind("counts", counts).define("DYNAMIC");
        let kernel = kernel.define_if(rng.is_some(), "STOCHASTIC").arg("stream", self.stream);
        let kernel = kernel.args(&[("elements", elements), ("bits", self.rule.bits as usize)]);
        strips.launch(kernel, n);
        let kernel = cx.dispatch("quantize_range").part("range").bind("counts", counts).bind("state", state);
        let kernel = kernel.bind("state_out", state_out).args(&[("n", counters), ("elements", elements)]);
        let kernel = kernel.arg("max_overflow", self.rule.max_overflow).arg("interval", self.rule.interval as f32);
        kernel.grid(1, 1, 1);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let DynamicRule { bits, max_overflow, interval } = self.rule;
        let [exponent, steps, beyond, beyond_half] = [0, 1, 2, 3].map(|i| x[1].data[i]);
        let grid = Grid::dynamic(bits, exponent);
        for ((y, &x), threshold) in
            y[0].data.iter_mut().zip(x[0].data).zip(thresholds(&x[0].shape, self.stream, x.get(2)))
        {
            *y = grid.round(x, threshold);
        }
        let share = |bound: f64| x[0].data.iter().filter(|x| x.abs() >= bound).count() as f64 / x[0].data.len() as f64;
        let (steps, beyond) = (steps + 1.0, beyond + share(exponent.exp2()));
        let beyond_half = beyond_half + share(exponent.exp2() / 2.0);
        let most = f64::from(max_overflow) * steps;
        let move_by = if beyond > most {
            1.0
        } else if beyond_half <= most {
            -1.0
        } else {
            0.0
        };
        let state = match steps >= f64::from(interval) {
            true => [(exponent + move_by).clamp(-MAX_EXPONENT, MAX_EXPONENT), 0.0, 0.0, 0.0],
            false => [exponent, steps, beyond, beyond_half],
        };
        y[1].data.copy_from_slice(&state);
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(&x[..1], y).with_flops(9.0 * x[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (1, 1)]
    }
}

/// Formats of the papers, both roundings, tails, values beyond the range; ranges that grow, shrink and stay.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let rng = CaseInput::u32([4], Fill::Bits);
    let shapes: [Shape; 4] = [[5].into(), [3, 7].into(), [2, 3, 5, 4].into(), [33, 515].into()];
    for (i, &shape) in shapes.iter().enumerate() {
        for rounding in [Rounding::Nearest, Rounding::Stochastic] {
            let formats = [(2, 14), (6, 10), (1, 3), (8, 8)];
            let (integer_bits, fraction_bits) = formats[i];
            let op = Quantize { format: FixedPoint { integer_bits, fraction_bits }, rounding, stream: 5 };
            let mut inputs = vec![CaseInput::normal(shape)];
            inputs.extend((rounding == Rounding::Stochastic).then_some(rng));
            let name = format!("{shape} <{integer_bits},{fraction_bits}> {}", rounding.name());
            cases.push(Case::new(name, op, inputs).within(1e-7).kernels_only());
            for (bits, interval, scale) in [(10, 1, 0.2), (12, 1, 3.0), (10, 3, 0.4)] {
                let rule = DynamicRule { bits, max_overflow: 1e-4, interval };
                let op = QuantizeDynamic { rule, rounding, stream: 9 };
                // The state's four numbers are equal: exponent 0, nothing counted yet.
                let mut inputs =
                    vec![CaseInput::f32(shape, Fill::Uniform(-scale, scale)), CaseInput::f32([4], Fill::Constant(0.0))];
                inputs.extend((rounding == Rounding::Stochastic).then_some(rng));
                let name = format!("{shape} {bits} bits of {scale} every {interval} {}", rounding.name());
                cases.push(Case::new(name, op, inputs).within(1e-6).kernels_only());
            }
        }
    }
    cases
}
