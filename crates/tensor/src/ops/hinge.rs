//! Multi-class hinge loss and its square.

use super::cross_entropy::{check_labels, launch_rows};
use super::{Backward, Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;

/// `loss[n] = sum over k != t of max(0, margin + z[n, k] - z[n, t])^p / K` from scores `[N, K]` and labels `t` u32 `[N]`; no reduction
/// over the batch. The loss of Weston and Watkins, as PyTorch's `multi_margin_loss(reduction="none")`.
///
/// The label `u32::MAX` marks padding: loss and gradient are 0. Any other label that is no class gives NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hinge {
    /// By how much the right score should be the largest.
    pub margin: f32,
    /// Whether `p` is 2 rather than 1.
    pub is_squared: bool,
}

/// The gradient of [`Hinge`]; operands scores, labels, dloss. At the kink the derivative is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HingeBackward {
    /// The forward operation.
    pub forward: Hinge,
}

const PADDING: f64 = u32::MAX as f64;

impl Hinge {
    fn check(&self, x: &[TensorDesc]) -> Result<(), String> {
        check_labels(x)?;
        if self.margin.is_finite() { Ok(()) } else { Err(format!("the margin must be finite, got {}", self.margin)) }
    }

    /// The summand of class `k` and its derivative.
    fn summand(&self, row: &[f64], label: usize, k: usize) -> (f64, f64) {
        let excess = f64::from(self.margin) + row[k] - row[label];
        let count = row.len() as f64;
        match (k == label || excess <= 0.0, self.is_squared) {
            (true, _) => (0.0, 0.0),
            (false, true) => (excess * excess / count, 2.0 * excess / count),
            (false, false) => (excess / count, 1.0 / count),
        }
    }
}

impl OpDef for Hinge {
    fn name(&self) -> &'static str {
        "hinge"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32, DType::U32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        self.check(x)?;
        Ok(vec![TensorDesc::f32([x[0].shape.dim(0)])])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = HingeBackward { forward: *self };
        Some(vec![Some(cx.graph().apply1(op, &[cx.input(0), cx.input(1), cx.dy()])), None])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [rows, columns, ..] = cx.x_desc(0).shape.nchw();
        let (scores, labels, loss, tier) = (cx.x(0), cx.x(1), cx.y(0), cx.tier());
        let kernel = cx.dispatch("hinge").bind("scores", scores).bind("labels", labels).bind("loss", loss);
        let kernel = kernel.set("POWER", 1 + u32::from(self.is_squared)).arg("margin", self.margin);
        launch_rows(kernel.args(&[("rows", rows), ("columns", columns)]), tier, rows);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let classes = x[0].shape.dim(1);
        for (n, loss) in y[0].data.iter_mut().enumerate() {
            let (row, label) = (&x[0].data[n * classes..(n + 1) * classes], x[1].data[n]);
            *loss = match label {
                label if label < classes as f64 => {
                    (0..classes).map(|k| self.summand(row, label as usize, k).0).sum::<f64>()
                }
                label if label >= PADDING => 0.0,
                _ => f64::NAN,
            };
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(3.0 * x[0].shape.numel() as f64)
    }
}

impl OpDef for HingeBackward {
    fn name(&self) -> &'static str {
        "hinge.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32, DType::U32, DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        self.forward.check(x)?;
        if x[2].shape.dims() != [x[0].shape.dim(0)] {
            return Err(format!("dloss must have shape [{}], got {}", x[0].shape.dim(0), x[2].shape));
        }
        Ok(vec![x[0]])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [rows, columns, ..] = cx.x_desc(0).shape.nchw();
        let (scores, labels, dloss, dscores, tier) = (cx.x(0), cx.x(1), cx.x(2), cx.y(0), cx.tier());
        let kernel = cx.dispatch("hinge").define("BACKWARD").bind("scores", scores).bind("labels", labels);
        let kernel = kernel.bind("dloss", dloss).bind("dscores", dscores);
        let kernel = kernel.set("POWER", 1 + u32::from(self.forward.is_squared)).arg("margin", self.forward.margin);
        launch_rows(kernel.args(&[("rows", rows), ("columns", columns)]), tier, rows);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let classes = x[0].shape.dim(1);
        for (n, d) in y[0].data.chunks_mut(classes).enumerate() {
            let (row, label) = (&x[0].data[n * classes..(n + 1) * classes], x[1].data[n]);
            if label >= classes as f64 {
                d.fill(if label >= PADDING { 0.0 } else { f64::NAN });
                continue;
            }
            let label = label as usize;
            for k in 0..classes {
                let slope = x[2].data[n] * self.forward.summand(row, label, k).1;
                d[k] += slope;
                d[label] -= slope;
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(6.0 * x[0].shape.numel() as f64)
    }
}

impl<'g> Value<'g> {
    /// The multi-class hinge loss of each sample, `[N]`, of scores `[N, K]` against `labels` u32 `[N]`; see [`Hinge`].
    #[track_caller]
    pub fn hinge(self, labels: Value<'g>, margin: f32, is_squared: bool) -> Value<'g> {
        self.graph().apply1(Hinge { margin, is_squared }, &[self, labels])
    }
}

/// One class, one sample, many classes, both powers, padding.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let extents = [(1, 1), (1, 10), (3, 2), (32, 10), (33, 100), (5, 63), (7, 1000), (130, 3), (256, 1000)];
    for (i, (n, k)) in extents.into_iter().enumerate() {
        let forward = Hinge { margin: [1.0, 0.5][i / 2 % 2], is_squared: i % 2 == 1 };
        let scores = CaseInput::f32([n, k], Fill::Distinct);
        let (labels, dloss) = (CaseInput::u32([n], Fill::Below(k as u32)), CaseInput::normal([n]));
        let (name, padding) = (format!("{n}x{k} {forward:?}"), CaseInput::u32([n], Fill::Constant(4_294_967_296.0)));
        let mut group = vec![
            Case::new(&name, forward, [scores, labels]),
            Case::new(&name, HingeBackward { forward }, [scores, labels, dloss]),
        ];
        if n == 3 {
            group.push(Case::new("padding", forward, [scores, padding]));
            group.push(Case::new("padding", HingeBackward { forward }, [scores, padding, dloss]));
        }
        cases.extend(group.into_iter().map(|case| if n == 256 { case.timed() } else { case }));
    }
    cases
}
