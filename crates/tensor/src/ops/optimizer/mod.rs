//! Optimisers with memory for each parameter: one kernel over everything that lies side by side, and what all of them share.
//!
//! An optimiser is a rule for one element ([`UpdateRule`]); [`Update`] applies it to a group of parameters, in place, by one
//! dispatch for each run of neighbours in the flat buffers. What is the same for all parameters of a step (learning rate, factor on
//! the gradients, corrections for the first steps) is computed once, by [`Rates`]. SGD, which needs less, has a file of its own.
//! LARS and Muon are no rules for one element: they are traced of norms and products, and close with SGD's kernel.

mod adagrad;
mod adamw;
mod lars;
mod muon;
#[cfg(test)]
mod norm_tests;
mod rates;
mod rmsprop;
mod runs;
#[cfg(test)]
mod tests;

pub use adagrad::Adagrad;
pub use adamw::AdamW;
pub use lars::{Lars, LarsRate};
pub use muon::{Muon, MuonMomentum, MuonScale};
pub use rates::Rates;
pub use rmsprop::RmsProp;
pub(super) use runs::{Member, gapless_runs, runs};

use super::strips::launch_strips;
use super::{Case, CaseInput, Cost, DispatchBuilder, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::error::UsageError;
use crate::graph::{Graph, Origin, ParamDecl, ParamKind, Value, declare_param};
use crate::shape::{Shape, TensorDesc};
use std::fmt::Debug;

/// Parameters that are treated alike.
#[derive(Clone, Debug)]
pub struct ParamGroup<'g> {
    /// Factor on the learning rate.
    pub lr_scale: f32,
    /// PyTorch's `weight_decay`: L2, added to the gradient, in all optimisers but AdamW, where it is taken off the weight.
    pub weight_decay: f32,
    /// Pairs (parameter, its gradient).
    pub members: Vec<(Value<'g>, Value<'g>)>,
}

/// How an optimiser changes one element.
pub trait UpdateRule: Copy + Debug + PartialEq + 'static {
    /// Name of the operation, and stem of its shader.
    const NAME: &'static str;

    /// What it keeps for every element: the state of parameter `w` is called `optimizer.STATE.w` and starts at 0.
    fn states(&self) -> Vec<&'static str>;

    /// Rates of decay of the two moments whose first steps are to be corrected, if the rule has such.
    fn betas(&self) -> Option<[f64; 2]> {
        None
    }

    /// Whether every number is in its range.
    ///
    /// # Errors
    /// The first that is not.
    fn check(&self) -> Result<(), UsageError>;

    /// Sets the kernel's switches and numbers.
    fn configure<'b, 'a>(&self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a>;

    /// The new value of a parameter `p` with gradient `g` (already multiplied by the factor of the step); states are changed in
    /// place. `rates` are [`Rates`]' with `lr_scale` in the first.
    fn step(&self, rates: &[f64], weight_decay: f64, p: f64, g: f64, states: &mut [f64]) -> f64;
}

/// One step of a rule for one group. Operands: the parameters, their gradients, the states one kind after the other, and the
/// [`Rates`]; results: the new parameters and states. A factor of 0 in the rates skips the step: nothing changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update<R> {
    /// What is done.
    pub rule: R,
    /// Number of parameters.
    pub members: usize,
    /// Factor on the learning rate.
    pub lr_scale: f32,
    /// See [`ParamGroup`].
    pub weight_decay: f32,
}

/// Bindings of states in the kernels.
const STATES: [[&str; 2]; 2] = [["s", "s_out"], ["t", "t_out"]];

impl<R: UpdateRule> Update<R> {
    fn member(&self, cx: &Lower<'_>, i: usize) -> Member {
        let n = self.members;
        let mut buffers = vec![cx.x(i), cx.x(n + i), cx.y(i)];
        for state in 0..self.rule.states().len() {
            buffers.extend([cx.x((2 + state) * n + i), cx.y((1 + state) * n + i)]);
        }
        Member::new(cx, buffers, cx.x_desc(i).shape.numel())
    }
}

impl<R: UpdateRule> OpDef for Update<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn output_count(&self) -> usize {
        self.members * (1 + self.rule.states().len())
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; self.members * (2 + self.rule.states().len()) + 1])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let n = self.members;
        let kinds = 2 + self.rule.states().len();
        if n == 0 {
            return Err("wanted at least one parameter, got none".to_string());
        }
        if x[kinds * n].shape != rates::SHAPE.into() {
            return Err(format!("the rates must be {:?}, got {}", rates::SHAPE, x[kinds * n].shape));
        }
        if let Some(i) = (n..kinds * n).find(|&i| x[i] != x[i % n]) {
            let what = if i < 2 * n { "gradient" } else { self.rule.states()[i / n - 2] };
            return Err(format!("the {what} of parameter {} must be {}, got {}", i % n, x[i % n], x[i]));
        }
        Ok(x[..n].iter().cycle().take(self.output_count()).copied().collect())
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let members = (0..self.members).map(|i| self.member(cx, i)).collect();
        let (target, rates) = (cx.target(), cx.x((2 + self.rule.states().len()) * self.members));
        let names: Vec<&str> = ["p", "g", "p_out"].into_iter().chain(STATES.into_iter().flatten()).collect();
        for (buffers, elements) in runs(members, &target) {
            let mut kernel = cx.dispatch(R::NAME).bind("rates", rates);
            for (&name, buf) in names.iter().zip(buffers) {
                kernel = kernel.bind_run(name, buf, elements);
            }
            let kernel = kernel.arg("lr_scale", self.lr_scale).arg("weight_decay", self.weight_decay);
            launch_strips(self.rule.configure(kernel), &target, elements / 4);
        }
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let n = self.members;
        let states = self.rule.states().len();
        let mut rates = x[(2 + states) * n].data.to_vec();
        rates[0] *= f64::from(self.lr_scale);
        let (factor, decay) = (rates[1], f64::from(self.weight_decay));
        for i in 0..n {
            for j in 0..x[i].data.len() {
                let mut own: Vec<f64> = (0..states).map(|state| x[(2 + state) * n + i].data[j]).collect();
                let p = x[i].data[j];
                y[i].data[j] = match factor == 0.0 {
                    true => p,
                    false => self.rule.step(&rates, decay, p, factor * x[n + i].data[j], &mut own),
                };
                own.iter().enumerate().for_each(|(state, value)| y[(1 + state) * n + i].data[j] = *value);
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        let elements: usize = x[..self.members].iter().map(|desc| desc.shape.numel()).sum();
        Cost::bytes_of(x, y).with_flops(10.0 * elements as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        let n = self.members;
        let states = n..n * (1 + self.rule.states().len());
        (0..n).map(|i| (i, i)).chain(states.map(|i| (n + i, i))).collect()
    }
}

pub(super) fn check_value(name: &str, value: f32, wanted: &str, holds: bool) -> Result<(), UsageError> {
    if holds && value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(UsageError::Value { name: name.to_string(), wanted: wanted.to_string(), got: value.to_string() })
}

/// A parameter, its gradient and its declaration.
pub(super) type Claimed<'g> = (Value<'g>, Value<'g>, ParamDecl);

impl Graph {
    /// Appends one optimiser step: declares the states (`optimizer.STATE.NAME`), asks for each group's gradients to lie side by
    /// side, and updates parameters and states in place when the step ends. Call it after the backward pass was traced, once, with
    /// all groups. `lr` is a scalar, normally a feed; `factor`, a scalar too, multiplies the gradients, and 0 skips the step
    /// ([`Graph::gradient_factor`]).
    ///
    /// # Errors
    /// Settings out of their range. Members that are no parameters, stand in two groups or are updated already are mistakes of the
    /// trace.
    #[track_caller]
    pub fn optimize<'g, R: UpdateRule>(
        &'g self,
        rule: &R,
        groups: &[ParamGroup<'g>],
        lr: Value<'g>,
        factor: Option<Value<'g>>,
    ) -> Result<(), UsageError> {
        rule.check()?;
        check_groups(groups)?;
        let claimed = self.claim_groups(R::NAME, groups);
        if claimed.iter().all(|(.., members)| members.is_empty()) {
            return Ok(());
        }
        self.at_path("optimizer", || {
            let rates = self.rates(rule.betas(), lr, factor);
            for (number, group, members) in claimed.iter().filter(|(.., members)| !members.is_empty()) {
                self.update_group(rule, group, *number, members, rates);
            }
        });
        Ok(())
    }

    #[track_caller]
    fn update_group<'g, R: UpdateRule>(
        &'g self,
        rule: &R,
        group: &ParamGroup<'g>,
        number: usize,
        members: &[Claimed<'g>],
        rates: Value<'g>,
    ) {
        let mut updated: Vec<Value<'g>> = members.iter().map(|(param, ..)| *param).collect();
        let mut operands = updated.clone();
        operands.extend(members.iter().map(|(_, gradient, _)| *gradient));
        self.place_members(members, number);
        for state in rule.states() {
            updated.extend(members.iter().map(|(.., decl)| self.state_of(state, decl, number)));
        }
        operands.extend_from_slice(&updated[members.len()..]);
        operands.push(rates);
        let op =
            Update { rule: *rule, members: members.len(), lr_scale: group.lr_scale, weight_decay: group.weight_decay };
        for (old, new) in updated.into_iter().zip(self.apply(op, &operands)) {
            self.write_back(old, new);
        }
    }

    /// The members of each group with their declarations, in order of declaration, and the groups' numbers; what cannot be
    /// updated is a mistake of the trace and left out.
    #[track_caller]
    pub(super) fn claim_groups<'a, 'g>(
        &'g self,
        name: &str,
        groups: &'a [ParamGroup<'g>],
    ) -> Vec<(usize, &'a ParamGroup<'g>, Vec<Claimed<'g>>)> {
        let mut seen = Vec::new();
        let mut claimed = Vec::new();
        for (i, group) in groups.iter().enumerate() {
            let values: Vec<Value<'g>> =
                group.members.iter().flat_map(|&(param, gradient)| [param, gradient]).collect();
            if !self.owns_all(name, &values) {
                continue;
            }
            let mut members = Vec::new();
            for &(param, gradient) in &group.members {
                let decl = self.with_data(|data| data.param(param.id()).cloned());
                match decl {
                    Some(decl) if self.with_data(|data| data.write_backs.iter().any(|(id, _)| *id == param.id())) => {
                        let known = decl.name;
                        self.mistake(name, format!("{known:?} is updated already; call {name} once, with all groups"));
                    }
                    Some(decl) if !seen.contains(&param.id()) => {
                        seen.push(param.id());
                        members.push((param, gradient, decl));
                    }
                    Some(decl) => drop(self.mistake(name, format!("{:?} stands in two groups", decl.name))),
                    None if param.is_poison() => {}
                    None => drop(self.mistake(name, format!("%{} is no parameter", param.id().0))),
                }
            }
            // States are declared in the order of their parameters, so that they lie in the same order.
            members.sort_by_key(|(param, ..)| param.id());
            // Group 0 is for parameters that no optimiser touches.
            claimed.push((i + 1, group, members));
        }
        claimed
    }

    /// Gives the parameters the group's number and their gradients a place beside each other.
    pub(super) fn place_members(&self, members: &[Claimed<'_>], number: usize) {
        for (param, gradient, _) in members {
            self.with_data_mut(|data| {
                if let Origin::Param(known) = &mut data.tensors[param.id().0].origin {
                    known.group = number;
                }
            });
            // A sum over several steps lies in the store and has a place.
            if self.with_data(|data| data.param(gradient.id()).is_none()) {
                self.place_gradient(*gradient, *param);
            }
        }
    }

    /// Declares `optimizer.STATE.NAME`, of the shape of a parameter and 0 at the start.
    pub(super) fn state_of(&self, state: &str, decl: &ParamDecl, number: usize) -> Value<'_> {
        self.state_of_kind(ParamKind::Optimizer, state, decl, number)
    }

    /// [`Graph::state_of`] in buffers of another kind.
    pub(super) fn state_of_kind(&self, kind: ParamKind, state: &str, decl: &ParamDecl, number: usize) -> Value<'_> {
        declare_param(self, decl.state(state, kind, number))
    }
}

pub(super) fn check_groups(groups: &[ParamGroup<'_>]) -> Result<(), UsageError> {
    for group in groups {
        check_value("lr_scale", group.lr_scale, "finite and not negative", true)?;
        check_value("weight_decay", group.weight_decay, "finite and not negative", true)?;
    }
    Ok(())
}

/// Every rule in several forms, with one and several members and tails of one to three elements.
pub fn cases() -> Vec<Case> {
    let mut cases = rates::cases();
    cases.extend(lars::cases());
    cases.extend(muon::cases());
    let adamw = AdamW::default();
    for rule in [adamw, AdamW { beta1: 0.5, beta2: 0.9, eps: 1e-3, decoupled: false }] {
        cases.extend(rule_cases(rule));
    }
    let rmsprop = RmsProp::default();
    let centered = RmsProp { centered: true, alpha: 0.5, ..rmsprop };
    for rule in [rmsprop, RmsProp { momentum: 0.9, alpha: 0.5, ..rmsprop }, centered] {
        cases.extend(rule_cases(rule));
    }
    for rule in [Adagrad::default(), Adagrad { eps: 0.1 }] {
        cases.extend(rule_cases(rule));
    }
    cases
}

fn rule_cases<R: UpdateRule>(rule: R) -> Vec<Case> {
    let groups: [Vec<Shape>; 4] = [
        vec![[1].into()],
        vec![[3, 5].into(), [7].into(), [4, 2, 3, 3].into()],
        vec![[130].into(), [2, 515].into()],
        vec![[40, 33, 3, 3].into(), [5].into()],
    ];
    let case = |shapes: &[Shape], weight_decay: f32, skip: bool| {
        let op = Update { rule, members: shapes.len(), lr_scale: 0.5, weight_decay };
        let mut inputs: Vec<CaseInput> = shapes.iter().chain(shapes).map(|&shape| CaseInput::normal(shape)).collect();
        for state in rule.states() {
            // Means of squares; as a mean of gradients as good as any, but for one whose square is taken off them.
            let fill = if state == "grad_avg" { Fill::Uniform(-0.3, 0.3) } else { Fill::Uniform(0.2, 1.5) };
            inputs.extend(shapes.iter().map(|&shape| CaseInput::f32(shape, fill)));
        }
        let rates = if skip { Fill::Constant(0.0) } else { Fill::Uniform(0.3, 1.2) };
        inputs.push(CaseInput::f32(rates::SHAPE, rates));
        Case::new(format!("{shapes:?} {rule:?} decay {weight_decay} skip {skip}"), op, inputs)
    };
    let mut cases: Vec<Case> = groups.iter().map(|shapes| case(shapes, 0.0, false)).collect();
    cases.extend(groups[..3].iter().map(|shapes| case(shapes, 0.01, false)));
    cases.push(case(&groups[1], 0.01, true));
    cases
}
