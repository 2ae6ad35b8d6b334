//! Dropout whose masks depend on the sample, not on the batch it came in.

use super::pixel_rows::{launch_lines, splits_in_four};
use super::{Backward, Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::graph::Value;
use crate::philox::{philox4x32_10, purpose};
use crate::shape::{TensorDesc, from_device_order};

/// `y = x / (1 - p)` with probability `1 - p`, else 0 (Srivastava et al. 2014, inverted as in PyTorch). Operands: `x`
/// `[N, ...]` and `rng` u32 `[4]` = seed (low, high), step, global index of the first sample.
///
/// Element `e` of a sample, counted in device order, is kept when word `e % 4` of the Philox4x32-10 block with counter
/// `(e / 4 + 2^28 purpose, stream, step, first sample + n)` and the seed as key is at least `p 2^32`. Neither the size of the
/// batch nor the place in it matters, so a batch may be split over workers. The gradient is the same operation on `dy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of a zero, in `[0, 1)`.
    pub p: f32,
    /// Number of the layer, so that layers do not share masks.
    pub stream: u32,
    /// For weights: number of the first row, which takes the place of the first sample, so that the mask depends neither on the batch nor
    /// on the blocks of rows in which a weight lies.
    pub first_row: Option<u32>,
}

impl Dropout {
    fn threshold(&self) -> u32 {
        // Exact: p has 24 significant bits. Below 2^32 because p < 1.
        (f64::from(self.p) * 4_294_967_296.0) as u32
    }

    fn scale(&self) -> f32 {
        1.0 / (1.0 - self.p)
    }
}

impl OpDef for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(format!("the probability must be at least 0 and below 1, got {}", self.p));
        }
        match x {
            [x, rng] if *x == TensorDesc::f32(x.shape) && x.shape.rank() >= 1 && *rng == TensorDesc::u32([4]) => {
                Ok(vec![*x])
            }
            _ => Err("dropout wants f32 [N, ...] and u32 [4] = seed low, seed high, step, first sample".to_string()),
        }
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![Some(cx.graph().apply1(*self, &[cx.dy(), cx.input(1)])), None])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let target = cx.target();
        let (x, rng, y) = (cx.x(0), cx.x(1), cx.y(0));
        let shape = cx.x_desc(0).shape;
        let sample = shape.numel() / shape.dim(0).max(1);
        let kernel = cx.dispatch("dropout").define_if(splits_in_four(&[sample]), "VEC4");
        let kernel = kernel.bind("x", x).bind("rng", rng).bind("y", y).arg("sample", sample);
        let kernel = kernel.arg("purpose", purpose::DROPOUT).arg("stream", self.stream);
        let kernel = kernel.define_if(self.first_row.is_some(), "ROWS").arg("first_row", self.first_row.unwrap_or(0));
        let kernel = kernel.arg("threshold", self.threshold()).arg("scale", self.scale());
        launch_lines(kernel, target, shape.dim(0), sample.div_ceil(4));
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [seed_low, seed_high, step, first] = [0, 1, 2, 3].map(|i| x[1].data[i] as u32);
        let first = self.first_row.unwrap_or(first);
        let shape = x[0].shape;
        let sample = shape.numel() / shape.dim(0).max(1);
        let keep = |i: usize| {
            let (n, e) = ((i / sample) as u32, i % sample);
            let counter = [(e / 4) as u32 | purpose::DROPOUT << 28, self.stream, step, first.wrapping_add(n)];
            philox4x32_10(counter, [seed_low, seed_high])[e % 4] >= self.threshold()
        };
        let kept: Vec<bool> = (0..shape.numel()).map(keep).collect();
        let kept = from_device_order(&shape, &kept);
        for ((y, x), keep) in y[0].data.iter_mut().zip(x[0].data).zip(kept) {
            *y = if keep { x * f64::from(self.scale()) } else { 0.0 };
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(y[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }

    fn view_of(&self, _: &[TensorDesc]) -> Option<usize> {
        (self.p == 0.0).then_some(0)
    }
}

impl<'g> Value<'g> {
    /// Zeroes elements with probability `p` and scales the others by `1 / (1 - p)`; see [`Dropout`] for what `rng` and
    /// `stream` are. [`Scope::rng`](crate::graph::Scope::rng) and
    /// [`Scope::random_stream`](crate::graph::Scope::random_stream) provide them.
    #[track_caller]
    pub fn dropout(self, p: f32, rng: Value<'g>, stream: u32) -> Value<'g> {
        self.graph().apply1(Dropout { p, stream, first_row: None }, &[self, rng])
    }

    /// [`Value::dropout`] of a weight, or of its rows from `first_row` on: one mask a step, whatever the batch.
    #[track_caller]
    pub fn dropout_rows(self, p: f32, rng: Value<'g>, stream: u32, first_row: u32) -> Value<'g> {
        self.graph().apply1(Dropout { p, stream, first_row: Some(first_row) }, &[self, rng])
    }
}

/// Samples of whole and broken blocks, images (whose device order differs), the extremes of the probability.
pub fn cases() -> Vec<Case> {
    use crate::shape::Shape;
    let list: [(Shape, f32); 10] = [
        ([1].into(), 0.5),
        ([7].into(), 0.5),
        ([3, 5].into(), 0.3),
        ([4, 64].into(), 0.5),
        ([2, 3, 5, 7].into(), 0.2),
        ([2, 8, 3, 3].into(), 0.9),
        ([3, 4, 5].into(), 0.0),
        ([2, 6, 1, 1].into(), 0.999),
        ([33, 130].into(), 0.5),
        ([2, 2051].into(), 0.1),
    ];
    let case = |(i, (shape, p)): (usize, (Shape, f32))| {
        let rng = CaseInput::u32([4], if i == 3 { Fill::Below(9) } else { Fill::Bits });
        let first_row = (i % 3 == 1).then_some(5 * i as u32);
        Case::new(
            format!("{shape} p {p} rows {first_row:?}"),
            Dropout { p, stream: 0x9000_0001 * i as u32, first_row },
            [CaseInput::normal(shape), rng],
        )
    };
    // What stands before the first linear layer of AlexNet.
    let timed = case((10, ([128, 9216].into(), 0.5))).timed();
    list.into_iter().enumerate().map(case).chain([timed]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(p: f32, n: usize, first: u32, sample: usize) -> Vec<f64> {
        let shape = [n, sample].into();
        let x = vec![1.0; n * sample];
        let rng = [5.0, 6.0, 7.0, f64::from(first)];
        let mut y = vec![0.0; n * sample];
        let inputs = [View { shape, data: &x }, View { shape: [4].into(), data: &rng }];
        Dropout { p, stream: 3, first_row: None }.reference(&inputs, &mut [ViewMut { shape, data: &mut y }]);
        y
    }

    #[test]
    fn the_mask_belongs_to_the_sample() {
        let together = mask(0.5, 4, 100, 10);
        let apart: Vec<f64> = (100..104).flat_map(|first| mask(0.5, 1, first, 10)).collect();
        assert_eq!(together, apart);
        assert_ne!(mask(0.5, 1, 100, 64), mask(0.5, 1, 101, 64));
    }

    #[test]
    fn the_share_of_zeros_is_p_and_the_mean_stays() {
        for p in [0.1, 0.5, 0.8] {
            let y = mask(p, 10, 0, 1000);
            let zeros = y.iter().filter(|v| **v == 0.0).count() as f64 / 1e4;
            assert!((zeros - f64::from(p)).abs() < 0.02, "{zeros}");
            let mean = y.iter().sum::<f64>() / 1e4;
            assert!((mean - 1.0).abs() < 0.1, "{mean}");
        }
    }

    #[test]
    fn impossible_probabilities_are_refused() {
        let x = [TensorDesc::f32([2, 3]), TensorDesc::u32([4])];
        for p in [1.0, -0.1, f32::NAN, f32::INFINITY] {
            assert!(Dropout { p, stream: 0, first_row: None }.infer(&x).is_err_and(|e| e.contains("probability")));
        }
        assert!(Dropout { p: 0.5, stream: 0, first_row: None }.infer(&x[..1]).is_err());
    }
}
