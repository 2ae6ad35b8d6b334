//! Sums and means of everything, and their derivative, which spreads a scalar.

use super::strips::launch_strips;
use super::{Backward, BufId, Case, CaseInput, Cost, Lower, OpDef, Tier, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// `y = sum of all elements of x`, or `y = sum / n`; f32, in a fixed tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The sum.
    Sum,
    /// The arithmetic mean.
    Mean,
}

/// `y[..] = factor * x` for a scalar `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expand {
    /// Extents of the result.
    pub shape: Shape,
    /// Factor.
    pub factor: f32,
}

impl Reduce {
    fn scale(self, elements: usize) -> f64 {
        match self {
            Reduce::Sum => 1.0,
            Reduce::Mean => 1.0 / elements.max(1) as f64,
        }
    }
}

/// Vec4s that one workgroup or one lane sums without help.
const ALONE: usize = 1024;

/// Records `y[0] = scale * sum of the first n elements of x`.
pub(super) fn sum_to_scalar(cx: &mut Lower<'_>, x: BufId, n: usize, y: BufId, scale: f32) {
    let vectors = n.div_ceil(4);
    let tier = cx.tier();
    let lanes = match tier {
        Tier::Cpu => cx.target().subgroup_size as usize,
        _ => 256,
    };
    let alone = if tier != Tier::Cpu { 8 * ALONE } else { ALONE };
    if vectors <= alone {
        let lanes = if tier != Tier::Cpu { lanes } else { 1 };
        sum_blocks(cx, x, n, y, scale, (vectors, 1, lanes));
        return;
    }
    let most = if tier != Tier::Cpu { 512 } else { 32 };
    let block = vectors.div_ceil(most).next_multiple_of(4 * lanes);
    let blocks = vectors.div_ceil(block);
    let parts = if tier != Tier::Cpu { blocks } else { blocks * lanes };
    let partial = cx.workspace(parts);
    sum_blocks(cx, x, n, partial, 1.0, (block, blocks, lanes));
    let last = if tier != Tier::Cpu { lanes } else { 1 };
    sum_blocks(cx, partial, parts, y, scale, (parts.div_ceil(4), 1, last));
}

fn sum_blocks(cx: &mut Lower<'_>, x: BufId, n: usize, y: BufId, scale: f32, extents: (usize, usize, usize)) {
    let (block, blocks, lanes) = extents;
    let kernel = cx.dispatch("sum").part(if blocks == 1 { "last" } else { "blocks" });
    kernel
        .bind("x", x)
        .bind("y", y)
        .tree()
        .set("WG", lanes as u32)
        .args(&[("n", n), ("block", block), ("blocks", blocks)])
        .arg("scale", scale)
        .groups(blocks);
}

impl OpDef for Reduce {
    fn name(&self) -> &'static str {
        match self {
            Reduce::Sum => "sum",
            Reduce::Mean => "mean",
        }
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 1])
    }

    fn infer(&self, _: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::f32([])])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let shape = cx.input(0).shape();
        let factor = self.scale(shape.numel()) as f32;
        Some(vec![Some(cx.graph().apply1(Expand { shape, factor }, &[cx.dy()]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (x, y, n) = (cx.x(0), cx.y(0), cx.x_desc(0).shape.numel());
        sum_to_scalar(cx, x, n, y, self.scale(n) as f32);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data[0] = x[0].data.iter().sum::<f64>() * self.scale(x[0].data.len());
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(x[0].shape.numel() as f64)
    }
}

impl OpDef for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 1])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x[0].shape.numel() {
            1 => Ok(vec![TensorDesc::f32(self.shape)]),
            n => Err(format!("only one element can be spread, got {n}")),
        }
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        if cx.input(0).shape().rank() > 0 {
            return None; // Only scalars are spread by gradients.
        }
        Some(vec![Some(cx.dy().sum().scale(self.factor))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let n = self.shape.numel().div_ceil(4);
        let (x, y, target) = (cx.x(0), cx.y(0), cx.target());
        let kernel = cx.dispatch("expand").bind("x", x).bind("y", y).arg("factor", self.factor);
        launch_strips(kernel, &target, n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data.fill(f64::from(self.factor) * x[0].data[0]);
    }
}

impl<'g> Value<'g> {
    /// The sum of all elements, a scalar `[]`.
    #[track_caller]
    pub fn sum(self) -> Value<'g> {
        self.graph().apply1(Reduce::Sum, &[self])
    }

    /// The mean of all elements, a scalar `[]`.
    #[track_caller]
    pub fn mean(self) -> Value<'g> {
        self.graph().apply1(Reduce::Mean, &[self])
    }
}

/// One element, tails of one to three, one and two passes, a scalar, an offset far above the deviation.
pub fn cases() -> Vec<Case> {
    let shapes: [Shape; 10] = [
        [].into(),
        [1].into(),
        [2, 3].into(),
        [7].into(),
        [2, 3, 5, 7].into(),
        [4095].into(),
        [4097].into(),
        [9, 8, 31, 33].into(),
        [32769].into(),
        [3, 100_001].into(),
    ];
    let mut cases = Vec::new();
    for shape in shapes {
        // Positive summands, so that the tolerance is relative to a sum that does not cancel.
        let x = CaseInput::f32(shape, super::Fill::Uniform(0.5, 1.5));
        cases.push(Case::new(format!("{shape}"), Reduce::Sum, [x]));
        cases.push(Case::new(format!("{shape}"), Reduce::Mean, [x]));
        // A short vector factor: numbers that f32 holds exactly.
        let scalar = CaseInput::normal([]);
        if shape.numel() < 100_000 {
            cases.push(Case::new(format!("{shape}"), Expand { shape, factor: -0.375 }, [scalar]));
        }
    }
    let shape = Shape::from(super::TIMED_IMAGES);
    let x = CaseInput::f32(shape, super::Fill::Uniform(0.5, 1.5));
    cases.push(Case::new(format!("{shape}"), Reduce::Sum, [x]).timed());
    cases.push(Case::new(format!("{shape}"), Expand { shape, factor: 0.5 }, [CaseInput::normal([])]).timed());
    cases
}
