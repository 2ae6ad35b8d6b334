//! Softmax cross-entropy of logits against shares of the classes.

use super::cross_entropy::launch_rows;
use super::{Backward, Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;

/// `loss[n] = -sum_k t[n, k] log softmax(z[n])_k` from logits and targets f32 `[N, K]`; no reduction over the batch. As PyTorch's
/// `cross_entropy(reduction="none")` with class probabilities: what mixup, cutmix and distillation train with.
///
/// Targets need not sum to 1; a row of zeros is padding. They get no gradient. Logits are shifted by their maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftCrossEntropy;

/// `dlogits[n, k] = dloss[n] * (softmax(z[n])_k * sum_j t[n, j] - t[n, k])`; operands logits, targets, dloss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftCrossEntropyBackward;

fn check(x: &[TensorDesc]) -> Result<(), String> {
    match x[0].shape.rank() {
        2 if x[0] == x[1] && x[0].shape.numel() > 0 => Ok(()),
        _ => Err(format!("logits and targets must have one shape [N, K], got {} and {}", x[0].shape, x[1].shape)),
    }
}

fn log_sum(row: &[f64]) -> f64 {
    let highest = row.iter().fold(f64::NEG_INFINITY, |m, &z| m.max(z));
    highest + row.iter().map(|z| (z - highest).exp()).sum::<f64>().ln()
}

impl OpDef for SoftCrossEntropy {
    fn name(&self) -> &'static str {
        "soft_cross_entropy"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        check(x)?;
        Ok(vec![TensorDesc::f32([x[0].shape.dim(0)])])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let operands = [cx.input(0), cx.input(1), cx.dy()];
        Some(vec![Some(cx.graph().apply1(SoftCrossEntropyBackward, &operands)), None])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [rows, columns, ..] = cx.x_desc(0).shape.nchw();
        let (logits, targets, loss, tier) = (cx.x(0), cx.x(1), cx.y(0), cx.tier());
        let kernel = cx.dispatch("soft_cross_entropy").bind("logits", logits).bind("targets", targets);
        launch_rows(kernel.bind("loss", loss).args(&[("rows", rows), ("columns", columns)]), tier, rows);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let classes = x[0].shape.dim(1);
        for (n, loss) in y[0].data.iter_mut().enumerate() {
            let row = &x[0].data[n * classes..(n + 1) * classes];
            let total = log_sum(row);
            *loss = row.iter().zip(&x[1].data[n * classes..]).map(|(z, t)| t * (total - z)).sum();
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(6.0 * x[0].shape.numel() as f64)
    }
}

impl OpDef for SoftCrossEntropyBackward {
    fn name(&self) -> &'static str {
        "soft_cross_entropy.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 3])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        check(x)?;
        if x[2].shape.dims() != [x[0].shape.dim(0)] {
            return Err(format!("dloss must have shape [{}], got {}", x[0].shape.dim(0), x[2].shape));
        }
        Ok(vec![x[0]])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [rows, columns, ..] = cx.x_desc(0).shape.nchw();
        let (logits, targets, dloss, dlogits, tier) = (cx.x(0), cx.x(1), cx.x(2), cx.y(0), cx.tier());
        let kernel = cx.dispatch("soft_cross_entropy").define("BACKWARD").bind("logits", logits);
        let kernel = kernel.bind("targets", targets).bind("dloss", dloss).bind("dlogits", dlogits);
        launch_rows(kernel.args(&[("rows", rows), ("columns", columns)]), tier, rows);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let classes = x[0].shape.dim(1);
        for (n, d) in y[0].data.chunks_mut(classes).enumerate() {
            let at = n * classes..(n + 1) * classes;
            let (row, targets) = (&x[0].data[at.clone()], &x[1].data[at]);
            let (total, sum) = (log_sum(row), targets.iter().sum::<f64>());
            for (k, d) in d.iter_mut().enumerate() {
                *d = x[2].data[n] * ((row[k] - total).exp() * sum - targets[k]);
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(9.0 * x[0].shape.numel() as f64)
    }
}

impl<'g> Value<'g> {
    /// The loss of each sample, `[N]`, of logits `[N, K]` against `targets` f32 `[N, K]`; see [`SoftCrossEntropy`].
    #[track_caller]
    pub fn soft_cross_entropy(self, targets: Value<'g>) -> Value<'g> {
        self.graph().apply1(SoftCrossEntropy, &[self, targets])
    }
}

/// One class, one sample, many classes, far from zero, no target at all.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let extents = [(1, 1), (1, 10), (3, 2), (32, 10), (33, 100), (5, 63), (7, 1000), (130, 3), (4, 12), (256, 1000)];
    for (n, k) in extents {
        let (low, high) = if (n, k) == (4, 12) { (490.0, 500.0) } else { (-9.0, 9.0) };
        let logits = CaseInput::f32([n, k], Fill::Uniform(low, high));
        let targets = if n == 33 { Fill::Constant(0.0) } else { Fill::Uniform(0.0, 1.0) };
        let (targets, dloss) = (CaseInput::f32([n, k], targets), CaseInput::normal([n]));
        let pair = [
            Case::new(format!("{n}x{k}"), SoftCrossEntropy, [logits, targets]),
            Case::new(format!("{n}x{k}"), SoftCrossEntropyBackward, [logits, targets, dloss]),
        ];
        cases.extend(pair.map(|case| if n == 256 { case.timed() } else { case }));
    }
    cases
}
