//! LARS: a learning rate for each tensor, from the norms of weight and gradient.

use super::super::clip::SumSquares;
use super::super::sgd::SgdUpdate;
use super::super::{Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use super::{Claimed, ParamGroup, check_groups, check_value};
use crate::dtype::DType;
use crate::error::UsageError;
use crate::graph::{Graph, Value};
use crate::shape::TensorDesc;

/// Layer-wise adaptive rate scaling (You, Gitman and Ginsburg, arXiv:1708.03888, algorithm 1): for the weight `w` of a layer with
/// gradient `g` and weight decay `wd`, `rate = lr trust |w| / (|g| + wd |w|)`, `v' = momentum v + rate (g + wd w)`, `w' = w - v'`; the
/// rate is within the velocity. A weight or gradient of norm 0 has the plain `lr`.
///
/// Biases and the weights of norms (rank below 2) take the plain `lr`, as is usual: their own norms say nothing about how far a
/// step may go. Norms are f32 sums in a fixed order. State: one velocity, `optimizer.momentum.NAME`, of the size of the parameters.
/// A weight that lies in blocks of rows has one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars {
    /// Share of the velocity that is kept, in `(0, 1)`; 0.9.
    pub momentum: f32,
    /// The paper's eta, above 0; 0.001.
    pub trust: f32,
}

impl Default for Lars {
    fn default() -> Lars {
        Lars { momentum: 0.9, trust: 0.001 }
    }
}

impl Lars {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), UsageError> {
        let momentum = self.momentum;
        check_value("momentum", momentum, "above 0 and below 1", momentum > 0.0 && momentum < 1.0)?;
        check_value("trust", self.trust, "above 0", self.trust > 0.0)
    }
}

/// The rate of one tensor, `[]`. Operands, all `[]`: sum of the squares of the weight, of its gradient, the learning rate, and
/// where `scaled` the factor on the gradient; see [`Lars`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LarsRate {
    /// See [`Lars`].
    pub trust: f32,
    /// See [`ParamGroup`].
    pub weight_decay: f32,
    /// Whether there is a factor.
    pub scaled: bool,
}

impl OpDef for LarsRate {
    fn name(&self) -> &'static str {
        "lars_rate"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 3 + usize::from(self.scaled)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x.iter().find(|x| x.shape.numel() != 1) {
            Some(x) => Err(format!("wanted scalars, got {x}")),
            None => Ok(vec![TensorDesc::f32([])]),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (weight, gradient, lr, rate) = (cx.x(0), cx.x(1), cx.x(2), cx.y(0));
        let factor = self.scaled.then(|| cx.x(3));
        let kernel = cx.dispatch("lars_rate").bind("weight", weight).bind("gradient", gradient).bind("lr", lr);
        let kernel = kernel.bind("rate", rate).bind_some("factor", factor).define_if(self.scaled, "SCALED");
        kernel.arg("trust", self.trust).arg("weight_decay", self.weight_decay).grid(1, 1, 1);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let factor = if self.scaled { x[3].data[0] } else { 1.0 };
        let (weight, gradient) = (x[0].data[0].sqrt(), factor * x[1].data[0].sqrt());
        let ratio = match weight > 0.0 && gradient > 0.0 {
            true => f64::from(self.trust) * weight / (gradient + f64::from(self.weight_decay) * weight),
            false => 1.0,
        };
        y[0].data[0] = x[2].data[0] * ratio;
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y)
    }
}

impl Graph {
    /// Appends one step of [`Lars`]; otherwise as [`Graph::optimize`].
    ///
    /// # Errors
    /// As [`Graph::optimize`].
    #[track_caller]
    pub fn lars<'g>(
        &'g self,
        lars: &Lars,
        groups: &[ParamGroup<'g>],
        lr: Value<'g>,
        factor: Option<Value<'g>>,
    ) -> Result<(), UsageError> {
        lars.check()?;
        check_groups(groups)?;
        for (number, group, members) in self.claim_groups("lars", groups) {
            self.at_path("optimizer", || {
                self.place_members(&members, number);
                let is_matrix = |(param, ..): &Claimed<'g>| param.shape().rank() >= 2;
                let (matrices, others): (Vec<_>, Vec<_>) = members.into_iter().partition(is_matrix);
                self.lars_update(lars, group, number, &others, lr, factor);
                // Neighbours by name are the blocks of one weight.
                for blocks in matrices.chunk_by(|(.., a), (.., b)| a.whole_name() == b.whole_name()) {
                    let sum = |values: Vec<Value<'g>>| self.apply1(SumSquares { members: values.len() }, &values);
                    let weight = sum(blocks.iter().map(|(param, ..)| *param).collect());
                    let gradient = sum(blocks.iter().map(|(_, gradient, _)| *gradient).collect());
                    let op = LarsRate { trust: lars.trust, weight_decay: group.weight_decay, scaled: factor.is_some() };
                    let operands: Vec<Value<'g>> =
                        [Some(weight), Some(gradient), Some(lr), factor].into_iter().flatten().collect();
                    let rate = self.apply1(op, &operands);
                    self.lars_update(lars, group, number, blocks, rate, factor);
                }
            });
        }
        Ok(())
    }

    #[track_caller]
    fn lars_update<'g>(
        &'g self,
        lars: &Lars,
        group: &ParamGroup<'g>,
        number: usize,
        members: &[Claimed<'g>],
        rate: Value<'g>,
        factor: Option<Value<'g>>,
    ) {
        if members.is_empty() {
            return;
        }
        let mut updated: Vec<Value<'g>> = members.iter().map(|(param, ..)| *param).collect();
        let mut operands = updated.clone();
        operands.extend(members.iter().map(|(_, gradient, _)| *gradient));
        updated.extend(members.iter().map(|(.., decl)| self.state_of("momentum", decl, number)));
        operands.extend_from_slice(&updated[members.len()..]);
        operands.push(rate);
        operands.extend(factor);
        let op = SgdUpdate {
            members: members.len(),
            lr_scale: group.lr_scale,
            momentum: lars.momentum,
            nesterov: false,
            lr_in_velocity: true,
            weight_decay: group.weight_decay,
            scaled: factor.is_some(),
        };
        for (old, new) in updated.into_iter().zip(self.apply(op, &operands)) {
            self.write_back(old, new);
        }
    }
}

/// Norms of 0 and others, with and without decay and factor.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (weight, gradient) in [(9.0, 0.25), (0.0, 4.0), (4.0, 0.0), (1e-6, 1e6)] {
        for (weight_decay, factor) in [(0.0, None), (0.01, None), (0.01, Some(1.0 / 1024.0)), (0.5, Some(0.0))] {
            let scalar = |value: f32| CaseInput::f32([], Fill::Constant(value));
            let inputs = [Some(scalar(weight)), Some(scalar(gradient)), Some(scalar(0.1)), factor.map(scalar)];
            let op = LarsRate { trust: 0.02, weight_decay, scaled: factor.is_some() };
            let inputs: Vec<CaseInput> = inputs.into_iter().flatten().collect();
            let name = format!("|w|^2 {weight} |g|^2 {gradient} decay {weight_decay} factor {factor:?}");
            cases.push(Case::new(name, op, inputs));
        }
    }
    cases
}
