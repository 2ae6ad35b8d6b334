//! Counting right answers.

use super::cross_entropy::{check_labels, launch_rows};
use super::{Case, CaseInput, Cost, Fill, Lower, OpDef, Tier, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;

/// Number of rows of the logits `[N, K]` whose label is among the `k` best classes, u32 `[]`.
///
/// A class ranks before the label when its logit is strictly greater, or equal with a smaller class number; the row
/// counts when fewer than `k` classes do. Labels that are no class (padding is `u32::MAX`) and labels whose logit is
/// NaN never count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopKCorrect {
    /// How many of the best classes count as right.
    pub k: usize,
}

impl OpDef for TopKCorrect {
    fn name(&self) -> &'static str {
        "top_k_correct"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32, DType::U32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        check_labels(x)?;
        if self.k == 0 {
            return Err("k must be at least 1".to_string());
        }
        Ok(vec![TensorDesc::u32([])])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [rows, columns, ..] = cx.x_desc(0).shape.nchw();
        let (logits, labels, y, tier) = (cx.x(0), cx.x(1), cx.y(0), cx.tier());
        let flags = cx.workspace(rows);
        let kernel = cx.dispatch("top_k_correct").bind("logits", logits).bind("labels", labels).bind("y", flags);
        launch_rows(kernel.args(&[("rows", rows), ("columns", columns), ("k", self.k)]), tier, rows);
        let kernel = cx.dispatch("sum_u32").part("sum").bind("x", flags).bind("y", y).arg("n", rows);
        match tier {
            Tier::Cpu => kernel.set("WG", 1).groups(1),
            _ => kernel.define("TREE").set("WG", 256).groups(1),
        }
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let classes = x[0].shape.dim(1);
        for (n, &label) in x[1].data.iter().enumerate() {
            let row = &x[0].data[n * classes..(n + 1) * classes];
            let Some(&wanted) = row.get(label as usize) else { continue };
            let before = row.iter().enumerate().filter(|&(j, &z)| z > wanted || (z == wanted && j < label as usize));
            if before.count() < self.k && !wanted.is_nan() {
                y[0].data[0] += 1.0;
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(2.0 * x[0].shape.numel() as f64)
    }
}

impl<'g> Value<'g> {
    /// How many rows of these logits have their label among the `k` best classes; see [`TopKCorrect`].
    #[track_caller]
    pub fn top_k_correct(self, labels: Value<'g>, k: usize) -> Value<'g> {
        self.graph().apply1(TopKCorrect { k }, &[self, labels])
    }
}

/// One class, more wanted than there are, ties everywhere, padding, many rows and classes.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, (n, classes): (usize, usize), k: usize, fill: Fill, bound: u32| {
        let inputs = [CaseInput::f32([n, classes], fill), CaseInput::u32([n], Fill::Below(bound))];
        Case::new(format!("{name} {n}x{classes} k {k}"), TopKCorrect { k }, inputs)
    };
    let padding = CaseInput::u32([9], Fill::Constant(4_294_967_296.0));
    vec![
        case("one class", (1, 1), 1, Fill::Normal, 1),
        case("plain", (33, 10), 1, Fill::Normal, 10),
        case("plain", (33, 10), 5, Fill::Normal, 10),
        case("k above the classes", (7, 3), 5, Fill::Normal, 3),
        case("all equal", (64, 6), 2, Fill::Constant(0.5), 6),
        case("all equal", (64, 6), 1, Fill::Constant(-0.5), 6),
        case("thousand", (130, 1000), 5, Fill::Normal, 1000),
        case("thousand rows", (1030, 4), 1, Fill::Normal, 4),
        case("labels outside", (40, 5), 2, Fill::Normal, 9),
        Case::new("padding", TopKCorrect { k: 5 }, [CaseInput::normal([9, 4]), padding]),
        case("thousand classes", (256, 1000), 5, Fill::Normal, 1000).timed(),
    ]
}
