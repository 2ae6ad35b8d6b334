//! Muon: the momentum of a convolution's filters, made orthogonal.

use super::super::clip::SumSquares;
use super::super::flatten::Unflatten;
use super::super::matmul::MatMul;
use super::super::sgd::{Sgd, SgdUpdate};
use super::super::strips::launch_strips;
use super::super::{Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use super::{Claimed, Member, ParamGroup, check_groups, check_value, runs};
use crate::dtype::DType;
use crate::error::UsageError;
use crate::graph::{Graph, Value};
use crate::shape::{Shape, TensorDesc};

/// Momentum orthogonalised by Newton-Schulz (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks").
///
/// For filters `[K, C, R, S]` as a matrix `[K, C R S]` with gradient `g`: `v' = momentum v + g`, `u = g + momentum v'` (Nesterov),
/// `X = u / (|u| + 1e-7)`, then `steps` times `A = X X^T`, `X = a X + (b A + c A A) X` with (a, b, c) = (3.4445, -4.7750, 2.0315), which
/// brings all singular values near 1; `w' = w - lr lr_scale (sqrt(max(1, K / (C R S))) X + weight_decay w)`. A matrix of more rows than
/// columns is worked on transposed. Everything else (biases, norms, linear layers) takes SGD with the same momentum, Nesterov and a rate
/// of its own.
///
/// State: one velocity, `optimizer.momentum.NAME`, of the size of the parameters. A step takes `steps` times three products a filter, of
/// `2 m^2 (2 n + m)` operations for a matrix of m by n, m the smaller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Share of the velocity that is kept, in `(0, 1)`; 0.95.
    pub momentum: f32,
    /// Newton-Schulz iterations, 1 to 20; 5.
    pub steps: u32,
    /// Factor on the learning rate of all that is no filter, at least 0; 1.
    pub others_lr: f32,
}

impl Default for Muon {
    fn default() -> Muon {
        Muon { momentum: 0.95, steps: 5, others_lr: 1.0 }
    }
}

/// Coefficients of the quintic iteration.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Added to the norm.
const EPS: f32 = 1e-7;

impl Muon {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), UsageError> {
        let momentum = self.momentum;
        check_value("momentum", momentum, "above 0 and below 1", momentum > 0.0 && momentum < 1.0)?;
        check_value("steps", self.steps as f32, "1 to 20", (1..=20).contains(&self.steps))?;
        check_value("others_lr", self.others_lr, "at least 0", true)
    }
}

/// `v' = momentum v + f g` and `u = f g + momentum v'`. Operands: g, v, and where `scaled` the factor `f` `[]`; results: v' and u. Where
/// `f` is 0, `v' = v` and `u = 0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonMomentum {
    /// See [`Muon`].
    pub momentum: f32,
    /// Whether there is a factor.
    pub scaled: bool,
}

/// `1 / (sqrt(sum) + 1e-7)` `[1]`, and whether the step is taken `[]`: 0 where the factor is 0, otherwise 1. Operands, all `[]`: a sum of
/// squares, and where `scaled` the factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuonScale {
    /// Whether there is a factor.
    pub scaled: bool,
}

impl OpDef for MuonMomentum {
    fn name(&self) -> &'static str {
        "muon_momentum"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2 + usize::from(self.scaled)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x[2..].iter().find(|x| x.shape.numel() != 1) {
            Some(factor) => Err(format!("the factor must be a scalar, got {factor}")),
            None if x[0] != x[1] => Err(format!("the velocity must be {}, got {}", x[0], x[1])),
            None => Ok(vec![x[0]; 2]),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (target, elements) = (cx.target(), cx.x_desc(0).shape.numel());
        let member = Member::new(cx, vec![cx.x(0), cx.x(1), cx.y(0), cx.y(1)], elements);
        let factor = self.scaled.then(|| cx.x(2));
        for (buffers, elements) in runs(vec![member], &target) {
            let mut kernel = cx.dispatch("muon_momentum").bind_some("factor", factor).define_if(self.scaled, "SCALED");
            for (name, buf) in ["g", "v", "v_out", "u"].into_iter().zip(buffers) {
                kernel = kernel.bind_run(name, buf, elements);
            }
            launch_strips(kernel.arg("momentum", self.momentum), &target, elements / 4);
        }
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let (factor, momentum) = (if self.scaled { x[2].data[0] } else { 1.0 }, f64::from(self.momentum));
        let [velocity, update] = y else { return };
        for (i, (g, v)) in x[0].data.iter().zip(x[1].data).enumerate() {
            let new = if factor == 0.0 { *v } else { momentum * v + factor * g };
            velocity.data[i] = new;
            update.data[i] = if factor == 0.0 { 0.0 } else { factor * g + momentum * new };
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(4.0 * x[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(1, 0)]
    }
}

impl OpDef for MuonScale {
    fn name(&self) -> &'static str {
        "muon_scale"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 1 + usize::from(self.scaled)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x.iter().find(|x| x.shape.numel() != 1) {
            Some(x) => Err(format!("wanted scalars, got {x}")),
            None => Ok(vec![TensorDesc::f32([1]), TensorDesc::f32([])]),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (sum, inverse, taken) = (cx.x(0), cx.y(0), cx.y(1));
        let factor = self.scaled.then(|| cx.x(1));
        let kernel = cx.dispatch("muon_scale").bind("sum", sum).bind("inverse", inverse).bind("taken", taken);
        let kernel = kernel.bind_some("factor", factor).define_if(self.scaled, "SCALED");
        kernel.arg("eps", EPS).grid(1, 1, 1);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data[0] = 1.0 / (x[0].data[0].sqrt() + f64::from(EPS));
        y[1].data[0] = f64::from(u8::from(!self.scaled || x[1].data[0] != 0.0));
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y)
    }
}

impl Graph {
    /// Appends one step of [`Muon`]; otherwise as [`Graph::optimize`].
    ///
    /// # Errors
    /// As [`Graph::optimize`].
    #[track_caller]
    pub fn muon<'g>(
        &'g self,
        muon: &Muon,
        groups: &[ParamGroup<'g>],
        lr: Value<'g>,
        factor: Option<Value<'g>>,
    ) -> Result<(), UsageError> {
        muon.check()?;
        check_groups(groups)?;
        let sgd = Sgd { momentum: muon.momentum, nesterov: true, lr_in_velocity: false };
        for (number, group, members) in self.claim_groups("muon", groups) {
            self.at_path("optimizer", || {
                let is_filter = |(param, ..): &Claimed<'g>| param.shape().rank() == 4;
                let (filters, others): (Vec<_>, Vec<_>) = members.into_iter().partition(is_filter);
                if !others.is_empty() {
                    let lr_scale = group.lr_scale * muon.others_lr;
                    let group = ParamGroup { lr_scale, members: Vec::new(), ..*group };
                    self.sgd_group(&sgd, &group, number, &others, lr, factor);
                }
                self.place_members(&filters, number);
                for filter in &filters {
                    self.muon_update(muon, group, number, filter, lr, factor);
                }
            });
        }
        Ok(())
    }

    #[track_caller]
    fn muon_update<'g>(
        &'g self,
        muon: &Muon,
        group: &ParamGroup<'g>,
        number: usize,
        (param, gradient, decl): &Claimed<'g>,
        lr: Value<'g>,
        factor: Option<Value<'g>>,
    ) {
        let scaled = factor.is_some();
        let velocity = self.state_of("momentum", decl, number);
        let operands: Vec<Value<'g>> = [Some(*gradient), Some(velocity), factor].into_iter().flatten().collect();
        let results = self.apply(MuonMomentum { momentum: muon.momentum, scaled }, &operands);
        self.write_back(velocity, results[0]);
        let matrix = results[1].flatten();
        let sum = self.apply1(SumSquares { members: 1 }, &[matrix]);
        let operands: Vec<Value<'g>> = [Some(sum), factor].into_iter().flatten().collect();
        let scale = self.apply(MuonScale { scaled }, &operands);
        let direction = self.orthogonal(matrix.scale_channels(scale[0]), muon.steps);
        let direction = self.apply1(Unflatten { x_shape: param.shape() }, &[direction]);
        let (rows, columns) = (param.dim(0) as f64, (param.shape().numel() / param.dim(0).max(1)) as f64);
        let longer = (rows / columns).max(1.0).sqrt() as f32;
        let op = SgdUpdate {
            members: 1,
            lr_scale: group.lr_scale * longer,
            momentum: 0.0,
            nesterov: false,
            lr_in_velocity: false,
            weight_decay: group.weight_decay / longer,
            scaled,
        };
        let mut operands = vec![*param, direction, lr];
        operands.extend(factor.map(|_| scale[1]));
        let new = self.apply1(op, &operands);
        self.write_back(*param, new);
    }

    /// `x` with its singular values, all of 0 to 1, brought near 1; see [`Muon`].
    #[track_caller]
    fn orthogonal<'g>(&'g self, mut x: Value<'g>, steps: u32) -> Value<'g> {
        let is_tall = x.dim(0) > x.dim(1);
        let product = |a, b, transpose_a, transpose_b| {
            self.apply1(MatMul { transpose_a, transpose_b, ..MatMul::default() }, &[a, b])
        };
        let [a, b, c] = QUINTIC;
        for _ in 0..steps {
            // Of the smaller side, and symmetric.
            let gram = product(x, x, is_tall, !is_tall);
            let polynomial = product(gram, gram.scale(c), false, false) + gram.scale(b);
            let moved = if is_tall { x.matmul(polynomial) } else { polynomial.matmul(x) };
            x = moved + x.scale(a);
        }
        x
    }
}

/// Tails of one to three elements, with and without a factor.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes: [Shape; 4] = [[1, 1, 1, 1].into(), [3, 2, 3, 3].into(), [5, 7].into(), [40, 33, 3, 3].into()];
    for shape in shapes {
        for factor in [None, Some(0.25), Some(0.0)] {
            let operands = [Some(CaseInput::normal(shape)), Some(CaseInput::normal(shape))];
            let factor_input = factor.map(|factor| CaseInput::f32([], Fill::Constant(factor)));
            let inputs: Vec<CaseInput> = operands.into_iter().chain([factor_input]).flatten().collect();
            let op = MuonMomentum { momentum: 0.75, scaled: factor.is_some() };
            cases.push(Case::new(format!("{shape} factor {factor:?}"), op, inputs));
        }
    }
    for sum in [0.0, 4.0, 1e10] {
        for factor in [None, Some(0.0), Some(0.5)] {
            let scalar = |value: f32| CaseInput::f32([], Fill::Constant(value));
            let inputs: Vec<CaseInput> = [Some(scalar(sum)), factor.map(scalar)].into_iter().flatten().collect();
            cases.push(Case::new(
                format!("sum {sum} factor {factor:?}"),
                MuonScale { scaled: factor.is_some() },
                inputs,
            ));
        }
    }
    cases
}
