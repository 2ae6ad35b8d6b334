//! Running averages and sums of many tensors: averaged weights, gradients of several batches.

use super::optimizer::{Member, runs};
use super::strips::launch_strips;
use super::{Case, CaseInput, Cost, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::{Graph, ParamDecl, ParamKind, Value};
use crate::shape::{Shape, TensorDesc};

/// `y[i] = keep * y[i] + take * x[i]` for each of several pairs of tensors, in place. Operands: the `y`, the `x`, and the two factors
/// `[2] = [keep, take]`; results: the new `y`. Neighbours in flat buffers are one dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blend {
    /// Number of pairs.
    pub members: usize,
}

impl OpDef for Blend {
    fn name(&self) -> &'static str {
        "blend"
    }

    fn output_count(&self) -> usize {
        self.members
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2 * self.members + 1])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let n = self.members;
        if n == 0 {
            return Err("wanted at least one pair, got none".to_string());
        }
        if x[2 * n] != TensorDesc::f32([2]) {
            return Err(format!("the factors must be [2], got {}", x[2 * n]));
        }
        match (0..n).find(|&i| x[i] != x[n + i]) {
            Some(i) => Err(format!("tensors of pair {i} must be alike, got {} and {}", x[i], x[n + i])),
            None => Ok(x[..n].to_vec()),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (n, target) = (self.members, cx.target());
        let member = |i| Member::new(cx, vec![cx.x(i), cx.x(n + i), cx.y(i)], cx.x_desc(i).shape.numel());
        let members = (0..n).map(member).collect();
        let factors = cx.x(2 * n);
        for (buffers, elements) in runs(members, &target) {
            let mut kernel = cx.dispatch("blend").bind("factors", factors);
            for (name, buf) in ["y", "x", "y_out"].into_iter().zip(buffers) {
                kernel = kernel.bind_run(name, buf, elements);
            }
            launch_strips(kernel, &target, elements / 4);
        }
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let n = self.members;
        let (keep, take) = (x[2 * n].data[0], x[2 * n].data[1]);
        for i in 0..n {
            for (j, y) in y[i].data.iter_mut().enumerate() {
                // A sum that begins anew forgets what overflowed.
                let kept = if keep == 0.0 { 0.0 } else { keep * x[i].data[j] };
                *y = kept + take * x[n + i].data[j];
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        let elements: usize = y.iter().map(|desc| desc.shape.numel()).sum();
        Cost::bytes_of(x, y).with_flops(3.0 * elements as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        (0..self.members).map(|i| (i, i)).collect()
    }
}

/// State with sums of gradients.
const ACCUMULATED: &str = "accumulated";

impl Graph {
    /// Keeps a blend of values beside parameters: state `optimizer.STATE.NAME`, 0 at the start, becomes
    /// `factors[0] * state + factors[1] * value` when the step ends. `pairs` are (parameter, value): with a parameter's gradient this
    /// is a sum over batches, with its new value (what [`Graph::optimize`] writes back) an average of weights. Returns the states as
    /// the step finds them; members that are no parameters are mistakes of the trace.
    #[track_caller]
    pub fn blend_states<'g>(
        &'g self,
        state: &str,
        pairs: &[(Value<'g>, Value<'g>)],
        factors: Value<'g>,
    ) -> Vec<Value<'g>> {
        self.blend_kind(ParamKind::Optimizer, state, pairs, factors)
    }

    #[track_caller]
    fn blend_kind<'g>(
        &'g self,
        kind: ParamKind,
        state: &str,
        pairs: &[(Value<'g>, Value<'g>)],
        factors: Value<'g>,
    ) -> Vec<Value<'g>> {
        let mut members: Vec<(Value<'g>, Value<'g>, ParamDecl)> = Vec::new();
        for &(param, value) in pairs {
            match self.with_data(|data| data.param(param.id()).cloned()) {
                Some(decl) => members.push((param, value, decl)),
                None => drop(self.mistake("blend", format!("%{} is no parameter", param.id().0))),
            }
        }
        if members.is_empty() {
            return Vec::new();
        }
        self.at_path("optimizer", || {
            let own = |decl: &ParamDecl| self.state_of_kind(kind, state, decl, decl.group);
            let states: Vec<Value<'g>> = members.iter().map(|(.., decl)| own(decl)).collect();
            let mut operands = states.clone();
            operands.extend(members.iter().map(|(_, value, _)| *value));
            operands.push(factors);
            let results = self.apply(Blend { members: members.len() }, &operands);
            states.iter().zip(results).for_each(|(&state, new)| self.write_back(state, new));
            states
        })
    }

    /// Adds gradients up over several steps: [`Graph::blend_states`] of pairs (parameter, gradient) into the states that
    /// [`Graph::accumulated`] reads.
    #[track_caller]
    pub fn accumulate_gradients<'g>(&'g self, pairs: &[(Value<'g>, Value<'g>)], factors: Value<'g>) {
        pairs.iter().for_each(|&(param, gradient)| self.place_gradient(gradient, param));
        self.blend_kind(ParamKind::Gradient, ACCUMULATED, pairs, factors);
    }

    /// The sum that [`Graph::accumulate_gradients`] keeps for a parameter, for the graph that ends in the optimiser; `group` is the
    /// place of the parameter's group in the list of groups. Compile that graph first, so that groups lie together.
    #[track_caller]
    pub fn accumulated<'g>(&'g self, param: Value<'g>, group: usize) -> Value<'g> {
        match self.with_data(|data| data.param(param.id()).cloned()) {
            Some(decl) => self.state_of_kind(ParamKind::Gradient, ACCUMULATED, &decl, group + 1),
            None => self.mistake("accumulated", format!("%{} is no parameter", param.id().0)),
        }
    }

    /// What a parameter holds when the step ends, if it is updated.
    pub fn new_value<'g>(&'g self, param: Value<'g>) -> Option<Value<'g>> {
        let found = self.with_data(|data| data.write_backs.iter().find(|(id, _)| *id == param.id()).copied());
        found.map(|(_, value)| self.value(value))
    }
}

/// One and several pairs, tails of one to three elements.
pub fn cases() -> Vec<Case> {
    let groups: [Vec<Shape>; 8] = [
        vec![[1].into()],
        vec![[3].into()],
        vec![[3, 5].into(), [7].into(), [4, 2, 3, 3].into()],
        vec![[130].into(), [2, 515].into()],
        vec![[4096].into()],
        vec![[4099].into(), [5].into()],
        vec![[2, 1].into(); 9],
        vec![[40, 33, 3, 3].into(), [5].into()],
    ];
    let case = |shapes: &Vec<Shape>| {
        let mut inputs: Vec<CaseInput> = shapes.iter().chain(shapes).map(|&shape| CaseInput::normal(shape)).collect();
        inputs.push(CaseInput::normal([2]));
        Case::new(format!("{shapes:?}"), Blend { members: shapes.len() }, inputs)
    };
    groups.iter().map(case).collect()
}
