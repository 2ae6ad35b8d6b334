//! The backward passes of batch normalisation.

use super::batch_norm::check_vectors;
use super::bias::{channel_shapes, for_each_channel};
use super::columns::{Activated, Columns, Weighted, column_sums, rows_and_columns};
use super::{Activation, Case, CaseInput, Cost, Fill, Lower, OpDef, Prologue, TIMED_IMAGES, View, ViewMut};
use crate::dtype::DType;
use crate::shape::{Shape, TensorDesc};
use std::rc::Rc;

/// Gradients of [`BatchNorm`](super::batch_norm::BatchNorm): operands `x`, `weight`, `mean`, `var`, `dy`; results `dx`,
/// `dweight`, `dbias`. With `rstd = 1 / sqrt(var + eps)`, `xhat = (x - mean) * rstd` and `n` values a channel
///
/// * `dbias = sum dy`, `dweight = sum dy * xhat`,
/// * `dx = weight * rstd * (dy - dbias / n - xhat * dweight / n)`; the last two terms vanish when the statistics are
///   constants (`eval`).
///
/// With an `activation` there is a sixth operand `known` like `x`, the activation's output (its input for GELU), and `dy`
/// stands for `dy * act'(known)` above. A traced operation has none; fusion adds it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchNormBackward {
    /// Added to the variance.
    pub eps: f32,
    /// The statistics did not come from `x`.
    pub eval: bool,
    /// Came behind the normalisation.
    pub activation: Activation,
}

impl BatchNormBackward {
    fn is_activated(&self) -> bool {
        self.activation != Activation::Identity
    }

    /// `dy` behind the activation, in f64.
    fn gradient(&self, x: &[View<'_>], i: usize) -> f64 {
        let known = x.get(5).map_or(0.0, |known| known.data[i]);
        x[4].data[i] * self.activation.derivative(known, known)
    }
}

impl OpDef for BatchNormBackward {
    fn name(&self) -> &'static str {
        if self.eval { "batch_norm_eval.backward" } else { "batch_norm.backward" }
    }

    fn output_count(&self) -> usize {
        3
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 5 + usize::from(self.is_activated())])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let channels = check_vectors(x[0], &[("weight", x[1]), ("mean", x[2]), ("var", x[3])])?;
        if let Some(other) = x[4..].iter().find(|other| other.shape != x[0].shape) {
            return Err(format!("dy must have shape {}, got {}", x[0].shape, other.shape));
        }
        Ok(vec![x[0], TensorDesc::f32([channels]), TensorDesc::f32([channels])])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let desc = cx.x_desc(0);
        let (x, weight, mean, var, dy) = (cx.x(0), cx.x(1), cx.x(2), cx.x(3), cx.x(4));
        let (dx, dweight, dbias) = (cx.y(0), cx.y(1), cx.y(2));
        let known = self.is_activated().then(|| cx.x(5));
        let through = Activated { known, activation: self.activation };
        // One binding for two vectors: eight is the least that every device offers.
        let channels = cx.y_desc(1).shape.numel();
        let sums = (!self.eval).then(|| cx.workspace(2 * channels));
        column_sums(cx, desc, dy, dbias, Some(Weighted { x, mean, var, dweight, eps: self.eps, through, sums }));
        let layout = Columns::apply(cx, desc);
        let mut kernel = cx.dispatch("batch_norm_backward").part("apply").define_if(self.eval, "EVAL");
        kernel = through.bind(kernel.bind("weight", weight).bind("variance", var).bind("dy", dy).bind("dx", dx));
        if !self.eval {
            kernel = kernel.bind("x", x).bind("mean", mean).bind_some("sums", sums);
        }
        layout.launch(kernel.arg("eps", self.eps).arg("slope", self.activation.slope()));
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let shape = x[0].shape;
        let n = rows_and_columns(&shape).0 as f64;
        let rstd: Vec<f64> = x[3].data.iter().map(|var| 1.0 / (var + f64::from(self.eps)).sqrt()).collect();
        let xhat = |i: usize, c: usize| (x[0].data[i] - x[2].data[c]) * rstd[c];
        for_each_channel(&shape, |i, c| {
            y[1].data[c] += self.gradient(x, i) * xhat(i, c);
            y[2].data[c] += self.gradient(x, i);
        });
        for_each_channel(&shape, |i, c| {
            let through_statistics = (y[2].data[c] + xhat(i, c) * y[1].data[c]) / n;
            let d = self.gradient(x, i) - if self.eval { 0.0 } else { through_statistics };
            y[0].data[i] = x[1].data[c] * rstd[c] * d;
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        // The sums must be known before the first element can be written, so x, dy and known are read twice.
        let image = x[0].size_bytes() as f64;
        let again = image * (x.len() - if self.eval { 4 } else { 3 }) as f64;
        Cost { bytes: Cost::bytes_of(x, y).bytes + again, flops: 9.0 * x[0].shape.numel() as f64 }
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        // Only the last kernel writes dx, and it reads the elements it writes.
        let known = self.is_activated().then_some((5, 0));
        [(4, 0), (0, 0)].into_iter().chain(known).collect()
    }

    fn with_prologue(&self, i: usize, before: Prologue) -> Option<Rc<dyn OpDef>> {
        let Prologue::Derivative(activation) = before;
        let free = i == 4 && !self.is_activated() && activation != Activation::Identity;
        free.then(|| Rc::new(BatchNormBackward { activation, ..*self }) as Rc<dyn OpDef>)
    }
}

/// The shapes of the forward pass, with and without constant statistics.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let activations = [Activation::Relu, Activation::LeakyRelu { slope: 0.1 }, Activation::Gelu];
    let timed = Shape::from(TIMED_IMAGES);
    for (i, shape) in channel_shapes().into_iter().chain([timed]).enumerate() {
        let image = CaseInput::normal(shape);
        let vector = CaseInput::normal([shape.dim(1)]);
        let var = CaseInput::f32([shape.dim(1)], Fill::Uniform(0.3, 2.0));
        for eval in [false, true] {
            let add = |cases: &mut Vec<Case>, case: Case| {
                cases.push(if shape == timed { case.within(1e-4).timed() } else { case.within(1e-4) });
            };
            let op = BatchNormBackward { eps: 1e-5, eval, activation: Activation::Identity };
            let inputs = vec![image, vector, vector, var, image];
            add(&mut cases, Case::new(format!("{shape}"), op, inputs.clone()));
            let op = BatchNormBackward { activation: activations[i % 3], ..op };
            let known = CaseInput::f32(shape, Fill::AwayFromZero);
            let inputs: Vec<CaseInput> = inputs.into_iter().chain([known]).collect();
            add(&mut cases, Case::new(format!("{shape} {:?}", op.activation), op, inputs));
        }
    }
    cases
}
