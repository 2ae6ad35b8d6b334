//! Pooling that draws an element of each window.

use super::pool::{MaxPoolBackward, PoolConfig};
use super::{Backward, Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::philox::{philox4x32_10, purpose};
use crate::shape::{Shape, TensorDesc};

/// `y = one element of the window`, drawn with a probability in proportion to its size, negative ones counting as 0 (Zeiler and Fergus,
/// arXiv:1301.3557); 0 where no element is above 0. Operands: images, and `rng` u32 `[4]` as for
/// [`Dropout`](super::dropout::Dropout).
///
/// The second result, u32 and not differentiable, is the place `r * S + s` in the window, `2^32 - 2` where no element is above 0. The element is the first with which the
/// sum of the window, row by row, exceeds `u` times the whole; `u` is word `c % 4` of the block with counter `(block + 2^28 purpose, stream,
/// step, first sample + n)` times 2^-32, cut to 24 bits, with `block = (p Q + q) ceil(C / 4) + c / 4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StochasticPool {
    /// The windows, without padding and ceil mode.
    pub config: PoolConfig,
    /// Number of the layer, so that layers do not share draws.
    pub stream: u32,
}

/// `y = sum of squares / sum` over what is above 0 in the window, 0 where nothing is: what [`StochasticPool`] gives on average, for
/// evaluation. It has no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StochasticPoolEval {
    /// The windows, without padding and ceil mode.
    pub config: PoolConfig,
}

/// The place where nothing is above 0: far outside every window, so that no gradient flows.
const NOWHERE: f64 = 4_294_967_294.0;

fn infer(config: &PoolConfig, x: &TensorDesc) -> Result<Shape, String> {
    if config.padding != [0; 2] || config.ceil_mode {
        return Err("stochastic pooling has no padding and no ceil mode".to_string());
    }
    config.output_shape(*x)
}

/// Calls `body` with the indices of each output and what is above 0 in its window, in order, else 0.
fn for_each_window(config: &PoolConfig, x: &View<'_>, y: &Shape, mut body: impl FnMut([usize; 4], Vec<f64>)) {
    let ([r, s], [stride_h, stride_w], [n, c, p, q]) = (config.kernel, config.stride, y.nchw());
    for i in 0..n * c * p * q {
        let at @ [n, c, row, column] = [i / (c * p * q), i / (p * q) % c, i / q % p, i % q];
        let value = |k: usize| x.at(n, c, row * stride_h + k / s, column * stride_w + k % s).max(0.0);
        body(at, (0..r * s).map(value).collect());
    }
}

fn launch(cx: &mut Lower<'_>, config: &PoolConfig, stream: Option<u32>) {
    let ([_, c, h, w], [n, _, p, q]) = (cx.x_desc(0).shape.nchw(), cx.y_desc(0).shape.nchw());
    let (x, y, rest) = (cx.x(0), cx.y(0), stream.map(|_| (cx.y(1), cx.x(1))));
    let kernel = cx.dispatch("stochastic_pool").define_if(stream.is_none(), "EVAL").bind("x", x).bind("y", y);
    let kernel = kernel.bind_some("argmax", rest.map(|(places, _)| places)).bind_some("rng", rest.map(|(_, rng)| rng));
    let kernel = kernel.set("R", config.kernel[0] as u32).set("S", config.kernel[1] as u32);
    let kernel = kernel.set("STRIDE_H", config.stride[0] as u32).set("STRIDE_W", config.stride[1] as u32);
    let items = n * p * q * c.div_ceil(4);
    let kernel = kernel.args(&[("n", items), ("blocks", c.div_ceil(4)), ("channels", c), ("h", h), ("w", w)]);
    let kernel = kernel.args(&[("p", p), ("q", q)]).arg("purpose", purpose::DROPOUT);
    kernel.arg("stream", stream.unwrap_or_default()).invocations(items);
}

impl OpDef for StochasticPool {
    fn name(&self) -> &'static str {
        "stochastic_pool2d"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32, DType::U32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let shape = infer(&self.config, &x[0])?;
        if x[1].shape.dims() != [4] {
            return Err("wanted u32 [4] = seed low, seed high, step, first sample".to_string());
        }
        Ok(vec![TensorDesc::f32(shape), TensorDesc::u32(shape)])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = MaxPoolBackward { config: self.config, x_shape: cx.input(0).shape() };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy(), cx.output(1)])), None])
    }

    fn is_differentiable(&self, i: usize) -> bool {
        i == 0
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch(cx, &self.config, Some(self.stream));
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [y, places] = y else { return };
        let [seed_low, seed_high, step, first] = [0, 1, 2, 3].map(|i| x[1].data[i] as u32);
        let shape = y.shape;
        let [_, channels, _, columns] = shape.nchw();
        for_each_window(&self.config, &x[0], &shape, |[n, c, p, q], window| {
            let block = ((p * columns + q) * channels.div_ceil(4) + c / 4) as u32;
            let counter = [block | purpose::DROPOUT << 28, self.stream, step, first.wrapping_add(n as u32)];
            let word = philox4x32_10(counter, [seed_low, seed_high])[c % 4];
            let goal = f64::from(word >> 8) / f64::from(1 << 24) * window.iter().sum::<f64>();
            let (mut chosen, mut so_far) = (None, 0.0);
            for (k, v) in window.iter().enumerate() {
                if *v > 0.0 && so_far <= goal {
                    chosen = Some(k);
                }
                so_far += v;
            }
            *y.at(n, c, p, q) = chosen.map_or(0.0, |k| window[k]);
            *places.at(n, c, p, q) = chosen.map_or(NOWHERE, |k| k as f64);
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(2.0 * x[0].shape.numel() as f64)
    }
}

impl OpDef for StochasticPoolEval {
    fn name(&self) -> &'static str {
        "stochastic_pool2d.eval"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::f32(infer(&self.config, &x[0])?)])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch(cx, &self.config, None);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let shape = y[0].shape;
        for_each_window(&self.config, &x[0], &shape, |[n, c, p, q], window| {
            let (sum, squares) = (window.iter().sum::<f64>(), window.iter().map(|v| v * v).sum::<f64>());
            *y[0].at(n, c, p, q) = if sum > 0.0 { squares / sum } else { 0.0 };
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(3.0 * x[0].shape.numel() as f64)
    }
}

impl<'g> Value<'g> {
    /// Draws an element of each window, for training; see [`StochasticPool`].
    #[track_caller]
    pub fn stochastic_pool2d(self, config: PoolConfig, rng: Value<'g>, stream: u32) -> Value<'g> {
        let outputs = self.graph().apply(StochasticPool { config, stream }, &[self, rng]);
        outputs.into_iter().next().unwrap_or(self)
    }

    /// The mean of what [`Value::stochastic_pool2d`] draws, for evaluation; see [`StochasticPoolEval`].
    #[track_caller]
    pub fn stochastic_pool2d_eval(self, config: PoolConfig) -> Value<'g> {
        self.graph().apply1(StochasticPoolEval { config }, &[self])
    }
}

/// Overlap, gaps, oblong windows, broken blocks of channels, nothing above 0, one pixel.
pub fn cases() -> Vec<Case> {
    let oblong = PoolConfig { kernel: [3, 2], stride: [1, 3], padding: [0, 0], ceil_mode: false };
    let list: [([usize; 4], PoolConfig, Fill); 9] = [
        ([2, 4, 6, 6], PoolConfig::square(2, 2), Fill::AwayFromZero),
        ([1, 3, 7, 5], PoolConfig::square(3, 2), Fill::AwayFromZero),
        ([2, 9, 5, 7], PoolConfig::square(3, 1), Fill::AwayFromZero),
        ([1, 1, 1, 1], PoolConfig::square(1, 1), Fill::AwayFromZero),
        ([2, 6, 8, 7], PoolConfig::square(2, 3), Fill::Uniform(0.1, 1.0)),
        ([2, 7, 4, 10], oblong, Fill::AwayFromZero),
        ([1, 5, 4, 4], PoolConfig::square(2, 2), Fill::Uniform(-2.0, -0.1)),
        ([3, 36, 4, 4], PoolConfig::square(4, 4), Fill::AwayFromZero),
        (super::TIMED_IMAGES, PoolConfig::square(3, 2), Fill::AwayFromZero),
    ];
    let mut cases = Vec::new();
    for (i, (shape, config, fill)) in list.into_iter().enumerate() {
        let (x, rng) = (CaseInput::f32(shape, fill), CaseInput::u32([4], Fill::Bits));
        let name = format!("{shape:?} {:?} by {:?}", config.kernel, config.stride);
        let pair = [
            Case::new(&name, StochasticPool { config, stream: 77 * i as u32 }, [x, rng]),
            Case::new(&name, StochasticPoolEval { config }, [x]),
        ];
        cases.extend(pair.map(|case| if shape == super::TIMED_IMAGES { case.timed() } else { case }));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws over many samples come to the mean that evaluation takes.
    #[test]
    fn draws_come_to_their_mean() {
        let config = PoolConfig::square(2, 2);
        let window = [0.2, -3.0, 1.0, 0.5];
        let n = 4000;
        let x: Vec<f64> = window.repeat(n);
        let (x_shape, y_shape) = (Shape::from([n, 1, 2, 2]), Shape::from([n, 1, 1, 1]));
        let view = View { shape: x_shape, data: &x };
        let rng = View { shape: [4].into(), data: &[1.0, 2.0, 3.0, 4.0] };
        let (mut y, mut places, mut mean) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        StochasticPool { config, stream: 5 }.reference(
            &[view, rng],
            &mut [ViewMut { shape: y_shape, data: &mut y }, ViewMut { shape: y_shape, data: &mut places }],
        );
        StochasticPoolEval { config }.reference(&[view], &mut [ViewMut { shape: y_shape, data: &mut mean }]);
        let share = |place: f64| places.iter().filter(|&&p| p == place).count() as f64 / n as f64;
        for (place, wanted) in [0.2 / 1.7, 0.0, 1.0 / 1.7, 0.5 / 1.7].into_iter().enumerate() {
            assert!((share(place as f64) - wanted).abs() < 0.03, "{place} {}", share(place as f64));
        }
        assert!((y.iter().sum::<f64>() / n as f64 - mean[0]).abs() < 0.02);
    }
}
