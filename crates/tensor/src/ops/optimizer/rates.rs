//! What all parameters of a step share.

use super::super::{Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::{Graph, Init, ParamDecl, ParamKind, Value, declare_param};
use crate::shape::TensorDesc;

/// `[lr, factor on the gradients, 1 / c1, 1 / sqrt(c2)]`.
pub(super) const SHAPE: [usize; 1] = [4];

/// The rates of a step. Operands: the learning rate `[]`, with betas the state `c` `[2]`, with a factor that `[]`; results: the
/// rates `[4]` and with betas the new state.
///
/// `c` is `1 - beta^t` after `t` steps, by `c' = beta c + (1 - beta)` from 0: unlike a power of `beta` this loses nothing in
/// f32 when `beta` is close to 1. A skipped step (factor 0) does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Rates of decay of two moments that start at 0.
    pub betas: Option<[f64; 2]>,
    /// Whether there is a factor on the gradients.
    pub scaled: bool,
}

/// Name of the state in the store.
const STATE: &str = "optimizer.bias_correction";

impl OpDef for Rates {
    fn name(&self) -> &'static str {
        "optimizer_rates"
    }

    fn output_count(&self) -> usize {
        1 + usize::from(self.betas.is_some())
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; self.output_count() + usize::from(self.scaled)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let state = self.betas.map(|_| TensorDesc::f32([2]));
        let wanted = [Some(TensorDesc::f32([])), state, self.scaled.then(|| TensorDesc::f32([]))];
        if let Some((wanted, got)) = wanted.into_iter().flatten().zip(x).find(|(wanted, got)| wanted != *got) {
            return Err(format!("wanted scalars and a state of 2, got {got} for {wanted}"));
        }
        Ok([TensorDesc::f32(SHAPE)].into_iter().chain(state).collect())
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (lr, rates) = (cx.x(0), cx.y(0));
        let state = self.betas.map(|_| (cx.x(1), cx.y(1)));
        let factor = self.scaled.then(|| cx.x(self.output_count()));
        let kernel = cx.dispatch("optimizer_rates").bind("lr", lr).bind("rates", rates).bind_some("factor", factor);
        let kernel = kernel.bind_some("c", state.map(|(c, _)| c)).bind_some("c_out", state.map(|(_, c)| c));
        let kernel = kernel.define_if(self.scaled, "SCALED").define_if(self.betas.is_some(), "CORRECTED");
        let [beta1, beta2] = self.betas.unwrap_or_default();
        let kernel = kernel.arg("beta1", beta1 as f32).arg("beta2", beta2 as f32);
        kernel.arg("rest1", (1.0 - beta1) as f32).arg("rest2", (1.0 - beta2) as f32).grid(1, 1, 1);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let factor = if self.scaled { x[self.output_count()].data[0] } else { 1.0 };
        let mut rates = [x[0].data[0], factor, 1.0, 1.0];
        if let Some(betas) = self.betas {
            for (i, beta) in betas.into_iter().enumerate() {
                let old = x[1].data[i];
                let new = if factor == 0.0 { old } else { beta * old + (1.0 - beta) };
                y[1].data[i] = new;
                let inverse = if i == 0 { 1.0 / new } else { 1.0 / new.sqrt() };
                rates[2 + i] = if factor == 0.0 { 0.0 } else { inverse };
            }
        }
        y[0].data.copy_from_slice(&rates);
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        if self.betas.is_some() { vec![(1, 1)] } else { Vec::new() }
    }
}

impl Graph {
    /// The rates of this step; the state of the correction is declared if there is one.
    #[track_caller]
    pub(super) fn rates<'g>(&'g self, betas: Option<[f64; 2]>, lr: Value<'g>, factor: Option<Value<'g>>) -> Value<'g> {
        let state = betas.map(|_| {
            let (kind, init) = (ParamKind::Optimizer, Init::Constant(0.0));
            declare_param(
                self,
                ParamDecl { name: STATE.to_string(), shape: [2].into(), kind, init, group: 0, rows: None },
            )
        });
        let operands: Vec<Value<'g>> = [Some(lr), state, factor].into_iter().flatten().collect();
        let results = self.apply(Rates { betas, scaled: factor.is_some() }, &operands);
        if let (Some(state), Some(&new)) = (state, results.get(1)) {
            self.write_back(state, new);
        }
        results[0]
    }
}

/// First steps and late ones, with and without betas and factors.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for betas in [None, Some([0.9, 0.999]), Some([0.0, 0.5])] {
        for (c, factor) in [(0.0, None), (0.75, None), (0.75, Some(0.25)), (0.0, Some(1.0)), (0.5, Some(0.0))] {
            let scalar = |value: f32| CaseInput::f32([], Fill::Constant(value));
            let state = betas.map(|_| CaseInput::f32([2], Fill::Constant(c)));
            let inputs: Vec<CaseInput> = [Some(scalar(0.1)), state, factor.map(scalar)].into_iter().flatten().collect();
            let op = Rates { betas, scaled: factor.is_some() };
            cases.push(Case::new(format!("{betas:?} state {c} factor {factor:?}"), op, inputs));
        }
    }
    cases
}
