//! Clipping by the global norm: what all gradients of a step are multiplied by, decided on the device.

use super::loss_scale::ScaledLoss;
use super::optimizer::{ParamGroup, check_value, gapless_runs};
use super::reduce::sum_to_scalar;
use super::strips::{Strips, counting_strips};
use super::{Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::error::UsageError;
use crate::graph::{Graph, Init, ParamDecl, ParamKind, Value, declare_param};
use crate::shape::{Shape, TensorDesc};

/// Sum of the squares of all elements of all operands, `[]`; f32, in a fixed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumSquares {
    /// Number of operands.
    pub members: usize,
}

/// The factor on gradients whose sum of squares is the first operand, so that their norm is at most `max_norm`, and that norm. With
/// a third operand `f`, a factor that they have already, `norm = f sqrt(sum)` and `factor = f min(1, max_norm / (norm + 1e-6))`;
/// where `f` is 0, both are 0. PyTorch's `clip_grad_norm_`; Pascanu, Mikolov and Bengio, arXiv:1211.5063.
///
/// Where the sum is infinite or NaN the factor is 0, so that the update is skipped, and the second operand, a number of steps `[]`,
/// grows by one in the third result. A step that `f` skips already is not counted again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipFactor {
    /// Largest norm.
    pub max_norm: f32,
    /// Whether there is a third operand.
    pub scaled: bool,
}

/// Added to the norm, as PyTorch does.
const EPS: f32 = 1e-6;

/// What the gradients of a step are multiplied by; see [`Graph::gradient_factor`].
#[derive(Clone, Copy, Debug)]
pub struct GradientFactor<'g> {
    /// The factor `[]`, if there is one; 0 skips the step.
    pub factor: Option<Value<'g>>,
    /// Norm of all gradients before clipping `[]`, if they are clipped.
    pub norm: Option<Value<'g>>,
}

impl OpDef for SumSquares {
    fn name(&self) -> &'static str {
        "sum_squares"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; self.members])
    }

    fn infer(&self, _: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match self.members {
            0 => Err("wanted at least one tensor, got none".to_string()),
            _ => Ok(vec![TensorDesc::f32([])]),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let target = cx.target();
        let runs = gapless_runs(cx, self.members);
        let cut = |elements: usize| counting_strips(&target, elements.div_ceil(4));
        let invocations = |elements: usize| {
            let Strips { groups, lanes, .. } = cut(elements);
            groups * lanes
        };
        let parts: usize = runs.iter().map(|&(_, elements)| invocations(elements)).sum();
        let partial = cx.workspace(parts);
        let mut first = 0;
        for (buf, elements) in runs {
            let n = elements.div_ceil(4);
            let kernel = cx.dispatch("sum_squares").bind_run("x", buf, 4 * n).bind("partial", partial);
            cut(elements).launch(kernel.args(&[("elements", elements), ("first", first)]), n);
            first += invocations(elements);
        }
        let y = cx.y(0);
        sum_to_scalar(cx, partial, parts, y, 1.0);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data[0] = x.iter().flat_map(|x| x.data).map(|x| x * x).sum();
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(2.0 * x.iter().map(|x| x.shape.numel() as f64).sum::<f64>())
    }
}

impl OpDef for ClipFactor {
    fn name(&self) -> &'static str {
        "clip_factor"
    }

    fn output_count(&self) -> usize {
        3
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2 + usize::from(self.scaled)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x.iter().find(|x| x.shape.numel() != 1) {
            Some(x) => Err(format!("wanted scalars, got {x}")),
            None => Ok(vec![TensorDesc::f32([]); 3]),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (sum, skipped, factor, norm, skipped_out) = (cx.x(0), cx.x(1), cx.y(0), cx.y(1), cx.y(2));
        let before = self.scaled.then(|| cx.x(2));
        let kernel = cx.dispatch("clip_factor").bind("sum", sum).bind("factor", factor).bind("norm", norm);
        let kernel = kernel.bind("skipped", skipped).bind("skipped_out", skipped_out);
        let kernel = kernel.bind_some("before", before).define_if(self.scaled, "SCALED");
        kernel.arg("max_norm", self.max_norm).arg("eps", EPS).grid(1, 1, 1);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let before = if self.scaled { x[2].data[0] } else { 1.0 };
        let (sum, skipped) = (x[0].data[0], x[1].data[0]);
        let norm = before * sum.sqrt();
        let results = match (before == 0.0, sum.is_finite()) {
            (true, _) => [0.0, 0.0, skipped],
            (false, true) => [before * (f64::from(self.max_norm) / (norm + f64::from(EPS))).min(1.0), norm, skipped],
            (false, false) => [0.0, norm, skipped + 1.0],
        };
        y.iter_mut().zip(results).for_each(|(y, result)| y.data[0] = result);
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(1, 2)]
    }
}

/// Name under which the number of steps that clipping skipped lies in the store, in f32.
pub const CLIP_SKIPPED_STEPS: &str = "optimizer.clip.skipped_steps";

impl Graph {
    /// What the gradients of all groups are multiplied by before an optimiser uses them: one over the loss scale (0 where one of
    /// them is infinite or NaN, as [`LossScale`](super::loss_scale::LossScale) says), and what brings their norm, taken over all
    /// parameters together, to at most `max_norm`. A norm that is no number skips the step and is counted
    /// ([`CLIP_SKIPPED_STEPS`]). Hand the factor to [`Graph::optimize`] or [`Graph::sgd_with_factor`].
    ///
    /// # Errors
    /// A norm that is not above 0.
    #[track_caller]
    pub fn gradient_factor<'g>(
        &'g self,
        groups: &[ParamGroup<'g>],
        scaled: Option<&ScaledLoss<'g>>,
        max_norm: Option<f32>,
    ) -> Result<GradientFactor<'g>, UsageError> {
        let members = groups.iter().flat_map(|group| &group.members);
        let gradients: Vec<Value<'g>> = members.map(|(_, gradient)| *gradient).collect();
        let factor = scaled.map(|loss| self.decide_scale(loss, &gradients));
        let Some(max_norm) = max_norm else { return Ok(GradientFactor { factor, norm: None }) };
        check_value("max_norm", max_norm, "above 0", max_norm > 0.0)?;
        Ok(self.at_path("optimizer", || {
            let sum = self.apply1(SumSquares { members: gradients.len() }, &gradients);
            let (name, kind, init) = (CLIP_SKIPPED_STEPS.to_string(), ParamKind::Optimizer, Init::Constant(0.0));
            let skipped =
                declare_param(self, ParamDecl { name, shape: Shape::scalar(), kind, init, group: 0, rows: None });
            let operands: Vec<Value<'g>> = [Some(sum), Some(skipped), factor].into_iter().flatten().collect();
            let results = self.apply(ClipFactor { max_norm, scaled: factor.is_some() }, &operands);
            self.write_back(skipped, results[2]);
            GradientFactor { factor: Some(results[0]), norm: Some(results[1]) }
        }))
    }
}

/// One and several tensors, tails of one to three elements; norms below and above the bound, with and without a factor.
pub fn cases() -> Vec<Case> {
    let groups: [Vec<Shape>; 8] = [
        vec![[1].into()],
        vec![[3].into()],
        vec![[3, 5].into(), [7].into(), [4, 2, 3, 3].into()],
        vec![[130, 515].into()],
        vec![[4096].into()],
        vec![[4099].into(), [5].into()],
        vec![[2, 1].into(); 9],
        vec![[40, 33, 3, 3].into(), [64, 64].into()],
    ];
    let squares = |shapes: &Vec<Shape>| {
        let inputs: Vec<CaseInput> = shapes.iter().map(|&shape| CaseInput::normal(shape)).collect();
        Case::new(format!("{shapes:?}"), SumSquares { members: shapes.len() }, inputs)
    };
    let mut cases: Vec<Case> = groups.iter().map(squares).collect();
    for sum in [0.0, 0.81, 1.0, 400.0] {
        for before in [None, Some(0.0), Some(1.0 / 1024.0), Some(1.0)] {
            let scalar = |value: f32| CaseInput::f32([], Fill::Constant(value));
            let inputs = [Some(scalar(sum)), Some(scalar(3.0)), before.map(scalar)];
            let inputs: Vec<CaseInput> = inputs.into_iter().flatten().collect();
            let op = ClipFactor { max_norm: 0.95, scaled: before.is_some() };
            cases.push(Case::new(format!("sum {sum} factor {before:?}"), op, inputs));
        }
    }
    cases
}
