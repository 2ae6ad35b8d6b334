//! The backward passes of batch normalisation.

use super::batch_norm::check_vectors;
use super::bias::{channel_shapes, for_each_channel};
use super::columns::{Columns, Weighted, column_sums, rows_and_columns};
use super::{Case, CaseInput, Cost, Fill, Lower, OpDef, TIMED_IMAGES, View, ViewMut};
use crate::dtype::DType;
use crate::shape::{Shape, TensorDesc};

/// Gradients of [`BatchNorm`](super::batch_norm::BatchNorm): operands `x`, `weight`, `mean`, `var`, `dy`; results `dx`,
/// `dweight`, `dbias`. With `rstd = 1 / sqrt(var + eps)`, `xhat = (x - mean) * rstd` and `n` values a channel
///
/// * `dbias = sum dy`, `dweight = sum dy * xhat`,
/// * `dx = weight * rstd * (dy - dbias / n - xhat * dweight / n)`; the last two terms vanish when the statistics are
///   constants (`eval`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormBackward {
    /// Added to the variance.
    pub eps: f32,
    /// The statistics did not come from `x`.
    pub eval: bool,
}

impl OpDef for BatchNormBackward {
    fn name(&self) -> &'static str {
        if self.eval { "batch_norm_eval.backward" } else { "batch_norm.backward" }
    }

    fn output_count(&self) -> usize {
        3
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 5])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let channels = check_vectors(x[0], &[("weight", x[1]), ("mean", x[2]), ("var", x[3])])?;
        if x[4].shape != x[0].shape {
            return Err(format!("dy must have shape {}, got {}", x[0].shape, x[4].shape));
        }
        Ok(vec![x[0], TensorDesc::f32([channels]), TensorDesc::f32([channels])])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let desc = cx.x_desc(0);
        let (x, weight, mean, var, dy) = (cx.x(0), cx.x(1), cx.x(2), cx.x(3), cx.x(4));
        let (dx, dweight, dbias) = (cx.y(0), cx.y(1), cx.y(2));
        column_sums(cx, desc, dy, dbias, Some(Weighted { x, mean, var, dweight, eps: self.eps }));
        let layout = Columns::apply(cx, desc);
        let mut kernel = cx.dispatch("batch_norm_backward").part("apply").define_if(self.eval, "EVAL");
        kernel = kernel.bind("weight", weight).bind("variance", var).bind("dy", dy).bind("dx", dx);
        if !self.eval {
            kernel = kernel.bind("x", x).bind("mean", mean).bind("dweight", dweight).bind("dbias", dbias);
        }
        layout.launch(kernel.arg("eps", self.eps));
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let shape = x[0].shape;
        let n = rows_and_columns(&shape).0 as f64;
        let rstd: Vec<f64> = x[3].data.iter().map(|var| 1.0 / (var + f64::from(self.eps)).sqrt()).collect();
        let xhat = |i: usize, c: usize| (x[0].data[i] - x[2].data[c]) * rstd[c];
        for_each_channel(&shape, |i, c| {
            y[1].data[c] += x[4].data[i] * xhat(i, c);
            y[2].data[c] += x[4].data[i];
        });
        for_each_channel(&shape, |i, c| {
            let through_statistics = (y[2].data[c] + xhat(i, c) * y[1].data[c]) / n;
            let d = if self.eval { x[4].data[i] } else { x[4].data[i] - through_statistics };
            y[0].data[i] = x[1].data[c] * rstd[c] * d;
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        // The sums must be known before the first element can be written, so x and dy are read twice.
        let image = x[0].size_bytes() as f64;
        let again = if self.eval { image } else { 2.0 * image };
        Cost { bytes: Cost::bytes_of(x, y).bytes + again, flops: 9.0 * x[0].shape.numel() as f64 }
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        // Only the last kernel writes dx, and it reads the elements it writes.
        vec![(4, 0), (0, 0)]
    }
}

/// The shapes of the forward pass, with and without constant statistics.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let timed = Shape::from(TIMED_IMAGES);
    for shape in channel_shapes().into_iter().chain([timed]) {
        let image = CaseInput::normal(shape);
        let vector = CaseInput::normal([shape.dim(1)]);
        let var = CaseInput::f32([shape.dim(1)], Fill::Uniform(0.3, 2.0));
        for eval in [false, true] {
            let op = BatchNormBackward { eps: 1e-5, eval };
            let case = Case::new(format!("{shape}"), op, [image, vector, vector, var, image]).within(1e-4);
            cases.push(if shape == timed { case.timed() } else { case });
        }
    }
    cases
}
