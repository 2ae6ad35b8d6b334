//! Stochastic gradient descent with momentum, in place, one dispatch for each group of parameters.

use super::loss_scale::ScaledLoss;
use super::optimizer::{Claimed, Member, ParamGroup, check_groups, check_value, runs};
use super::strips::launch_strips;
use super::{BufId, Case, CaseInput, Cost, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::error::UsageError;
use crate::graph::{Graph, Value};
use crate::shape::{Shape, TensorDesc};

/// PyTorch's `SGD` with dampening 0: `g' = g + weight_decay * p`, `v' = momentum * v + g'`,
/// `p' = p - lr * lr_scale * (nesterov ? g' + momentum * v' : v')`. The velocity starts at 0, so the first step is a
/// plain one; with momentum 0 there is no velocity. State: one velocity of the size of the parameters.
///
/// With `lr_in_velocity`, Caffe's form (and that of Sutskever et al. 2013): `v' = momentum * v + lr * lr_scale * g'`,
/// `p' = p - (nesterov ? lr * lr_scale * g' + momentum * v' : v')`. The same while the rate stays; where it falls, past gradients keep the
/// rate that they came with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    /// Share of the velocity that is kept, in `[0, 1)`.
    pub momentum: f32,
    /// Look ahead along the new velocity; needs momentum.
    pub nesterov: bool,
    /// The learning rate is part of the velocity, as in Caffe.
    pub lr_in_velocity: bool,
}

impl Sgd {
    fn check(&self) -> Result<(), UsageError> {
        check_value("momentum", self.momentum, "at least 0 and below 1", self.momentum < 1.0)?;
        check_value("momentum", self.momentum, "above 0 for nesterov", !self.nesterov || self.momentum > 0.0)
    }
}

/// Parameters that are treated alike; see [`ParamGroup`].
pub type SgdGroup<'g> = ParamGroup<'g>;

/// One step of [`Sgd`] for one group. Operands: the parameters, their gradients, with momentum their velocities, the
/// learning rate `[]`, and for scaled gradients the factor on them `[]`; results: the new parameters and, with momentum, the
/// new velocities. A factor of 0 skips the step: whatever the gradients hold, nothing changes.
///
/// Members that lie side by side in flat buffers (parameters do, and so do gradients and velocities that were placed
/// beside them) are updated by one dispatch; any other member gets a dispatch of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdUpdate {
    /// Number of parameters.
    pub members: usize,
    /// Factor on the learning rate.
    pub lr_scale: f32,
    /// See [`Sgd`].
    pub momentum: f32,
    /// See [`Sgd`].
    pub nesterov: bool,
    /// See [`Sgd`].
    pub lr_in_velocity: bool,
    /// See [`SgdGroup`].
    pub weight_decay: f32,
    /// Whether the last operand is a factor on the gradients.
    pub scaled: bool,
}

impl SgdUpdate {
    fn has_velocity(&self) -> bool {
        self.momentum > 0.0
    }

    /// Operands of each parameter.
    fn kinds(&self) -> usize {
        if self.has_velocity() { 3 } else { 2 }
    }

    fn member(&self, cx: &Lower<'_>, i: usize) -> Member {
        let n = self.members;
        let mut buffers = vec![cx.x(i), cx.x(n + i), cx.y(i)];
        if self.has_velocity() {
            buffers.extend([cx.x(2 * n + i), cx.y(n + i)]);
        }
        Member::new(cx, buffers, cx.x_desc(i).shape.numel())
    }

    fn lower_run(&self, cx: &mut Lower<'_>, buffers: &[BufId], elements: usize) {
        let target = cx.target();
        let scalars = self.kinds() * self.members;
        let (lr, factor) = (cx.x(scalars), self.scaled.then(|| cx.x(scalars + 1)));
        let mut kernel = cx.dispatch("sgd").bind("lr", lr).bind_some("factor", factor);
        for (name, &buf) in ["p", "g", "p_out", "v", "v_out"].into_iter().zip(buffers) {
            kernel = kernel.bind_run(name, buf, elements);
        }
        kernel = kernel.define_if(self.scaled, "SCALED");
        kernel = kernel.define_if(self.has_velocity(), "MOMENTUM").define_if(self.nesterov, "NESTEROV");
        kernel = kernel.define_if(self.lr_in_velocity && self.has_velocity(), "LR_IN_VELOCITY");
        kernel = kernel.arg("lr_scale", self.lr_scale).arg("momentum", self.momentum);
        launch_strips(kernel.arg("weight_decay", self.weight_decay), &target, elements / 4);
    }
}

impl OpDef for SgdUpdate {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn output_count(&self) -> usize {
        self.members * if self.has_velocity() { 2 } else { 1 }
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; self.members * self.kinds() + 1 + usize::from(self.scaled)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let n = self.members;
        let kinds = self.kinds();
        if n == 0 {
            return Err("wanted at least one parameter, got none".to_string());
        }
        if let Some(scalar) = x[kinds * n..].iter().find(|x| x.shape.numel() != 1) {
            return Err(format!("the learning rate and the factor must be scalars, got {}", scalar.shape));
        }
        if let Some(i) = (n..kinds * n).find(|&i| x[i] != x[i % n]) {
            let what = if i < 2 * n { "gradient" } else { "velocity" };
            return Err(format!("the {what} of parameter {} must be {}, got {}", i % n, x[i % n], x[i]));
        }
        Ok(x[..n].iter().cycle().take(self.output_count()).copied().collect())
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let members = (0..self.members).map(|i| self.member(cx, i)).collect();
        for (buffers, elements) in runs(members, &cx.target()) {
            self.lower_run(cx, &buffers, elements);
        }
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let n = self.members;
        let (momentum, decay) = (f64::from(self.momentum), f64::from(self.weight_decay));
        let scalars = &x[self.kinds() * n..];
        let rate = scalars[0].data[0] * f64::from(self.lr_scale);
        let factor = scalars.get(1).map_or(1.0, |factor| factor.data[0]);
        if factor == 0.0 {
            y.iter_mut().enumerate().for_each(|(i, y)| y.data.copy_from_slice(x[if i < n { i } else { n + i }].data));
            return;
        }
        for i in 0..n {
            for j in 0..x[i].data.len() {
                let p = x[i].data[j];
                let g = factor * x[n + i].data[j] + decay * p;
                let (gain, last) = if self.lr_in_velocity { (rate, 1.0) } else { (1.0, rate) };
                let mut step = gain * g;
                if self.has_velocity() {
                    let v = momentum * x[2 * n + i].data[j] + gain * g;
                    y[n + i].data[j] = v;
                    step = if self.nesterov { gain * g + momentum * v } else { v };
                }
                y[i].data[j] = p - last * step;
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        let elements: usize = x[..self.members].iter().map(|desc| desc.shape.numel()).sum();
        Cost::bytes_of(x, y).with_flops(6.0 * elements as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        let n = self.members;
        let velocities = if self.has_velocity() { n } else { 0 };
        (0..n).map(|i| (i, i)).chain((0..velocities).map(|i| (2 * n + i, n + i))).collect()
    }
}

impl Graph {
    /// Appends one optimiser step: declares the velocities (`optimizer.momentum.NAME`), asks for each group's gradients
    /// to lie side by side, and updates parameters and velocities in place when the step ends. Call it after the
    /// backward pass was traced, once. `lr` is a scalar, normally a feed.
    ///
    /// # Errors
    /// A momentum, learning-rate factor or weight decay that is negative, not finite or too large, or Nesterov without
    /// momentum. Members that are no parameters, stand in two groups or are updated already are mistakes of the trace.
    #[track_caller]
    pub fn sgd<'g>(&'g self, sgd: &Sgd, groups: &[SgdGroup<'g>], lr: Value<'g>) -> Result<(), UsageError> {
        self.sgd_scaled(sgd, groups, lr, None)
    }

    /// [`Graph::sgd`] with gradients of a scaled loss: they are divided by the scale again, and where one of them is infinite or
    /// NaN the whole update is skipped, as [`LossScale`](super::loss_scale::LossScale) says.
    ///
    /// # Errors
    /// As [`Graph::sgd`].
    #[track_caller]
    pub fn sgd_scaled<'g>(
        &'g self,
        sgd: &Sgd,
        groups: &[SgdGroup<'g>],
        lr: Value<'g>,
        scaled: Option<&ScaledLoss<'g>>,
    ) -> Result<(), UsageError> {
        sgd.check()?;
        check_groups(groups)?;
        let factor = self.gradient_factor(groups, scaled, None)?.factor;
        self.sgd_with_factor(sgd, groups, lr, factor)
    }

    /// [`Graph::sgd`] with a factor `[]` on the gradients ([`Graph::gradient_factor`]); 0 skips the step.
    ///
    /// # Errors
    /// As [`Graph::sgd`].
    #[track_caller]
    pub fn sgd_with_factor<'g>(
        &'g self,
        sgd: &Sgd,
        groups: &[SgdGroup<'g>],
        lr: Value<'g>,
        factor: Option<Value<'g>>,
    ) -> Result<(), UsageError> {
        sgd.check()?;
        check_groups(groups)?;
        for (number, group, members) in self.claim_groups("sgd", groups) {
            if !members.is_empty() {
                self.at_path("optimizer", || self.sgd_group(sgd, group, number, &members, lr, factor));
            }
        }
        Ok(())
    }

    #[track_caller]
    pub(super) fn sgd_group<'g>(
        &'g self,
        sgd: &Sgd,
        group: &SgdGroup<'g>,
        number: usize,
        members: &[Claimed<'g>],
        lr: Value<'g>,
        factor: Option<Value<'g>>,
    ) {
        let mut updated: Vec<Value<'g>> = members.iter().map(|(param, ..)| *param).collect();
        let mut operands = updated.clone();
        operands.extend(members.iter().map(|(_, gradient, _)| *gradient));
        self.place_members(members, number);
        if sgd.momentum > 0.0 {
            updated.extend(members.iter().map(|(.., decl)| self.state_of("momentum", decl, number)));
        }
        operands.extend_from_slice(&updated[members.len()..]);
        operands.push(lr);
        operands.extend(factor);
        let op = SgdUpdate {
            members: members.len(),
            lr_scale: group.lr_scale,
            momentum: sgd.momentum,
            nesterov: sgd.nesterov,
            lr_in_velocity: sgd.lr_in_velocity,
            weight_decay: group.weight_decay,
            scaled: factor.is_some(),
        };
        for (old, new) in updated.into_iter().zip(self.apply(op, &operands)) {
            self.write_back(old, new);
        }
    }
}

/// One and several members, tails of one to three elements, every form of the rule.
pub fn cases() -> Vec<Case> {
    let groups: [Vec<Shape>; 4] = [
        vec![[1].into()],
        vec![[3, 5].into(), [7].into(), [4, 2, 3, 3].into()],
        vec![[130].into(), [2, 515].into()],
        vec![[40, 33, 3, 3].into(), [5].into()],
    ];
    let rules = [(0.0, false, 0.0), (0.0, false, 0.01), (0.9, false, 5e-4), (0.9, true, 5e-4), (0.5, true, 0.0)];
    let factors = [None, Some(1.0 / 1024.0), Some(0.0)];
    let mut cases = Vec::new();
    for shapes in &groups {
        for (momentum, nesterov, weight_decay) in rules {
            let factor = factors[cases.len() % factors.len()];
            let scaled = factor.is_some();
            // Of either form both with and without Nesterov.
            let lr_in_velocity = (cases.len() / rules.len()) % 2 == 1;
            let members = shapes.len();
            let op = SgdUpdate { members, lr_scale: 2.0, momentum, nesterov, lr_in_velocity, weight_decay, scaled };
            let kinds = if momentum > 0.0 { 3 } else { 2 };
            let mut inputs: Vec<CaseInput> = Vec::new();
            (0..kinds).for_each(|_| inputs.extend(shapes.iter().map(|&shape| CaseInput::normal(shape))));
            inputs.push(CaseInput::f32([], super::Fill::Uniform(0.05, 0.2)));
            inputs.extend(factor.map(|factor| CaseInput::f32([], super::Fill::Constant(factor))));
            cases.push(Case::new(
                format!("{shapes:?} momentum {momentum} nesterov {nesterov} caffe {lr_in_velocity} factor {factor:?}"),
                op,
                inputs,
            ));
        }
    }
    // As many numbers as four of the widest 3x3 layers of ResNet-50 have.
    let shapes = [Shape::from([512, 512, 3, 3]); 4];
    let op = SgdUpdate {
        members: shapes.len(),
        lr_scale: 1.0,
        momentum: 0.9,
        nesterov: false,
        lr_in_velocity: false,
        weight_decay: 1e-4,
        scaled: false,
    };
    let mut inputs = vec![CaseInput::normal(shapes[0]); 3 * shapes.len()];
    inputs.push(CaseInput::f32([], super::Fill::Constant(0.1)));
    cases.push(Case::new("4 filters of 512x512x3x3", op, inputs).timed());
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Init, ParamKind};
    use crate::{CompileOptions, Device, DeviceOptions, Feed, Mode, Params, Plan, Scope, Tier};

    const SHAPES: [&[usize]; 6] = [&[3, 5], &[7], &[4, 2, 3, 3], &[70], &[1], &[2, 33]];

    fn noise(n: usize, phase: f32) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 + 1.0) * phase).sin()).collect()
    }

    /// Five steps with gradients `g = p * x`, against the rule written out in f64.
    fn train(tier: Tier, sgd: Sgd) {
        let device = Device::open(&DeviceOptions { tier: Some(tier), ..DeviceOptions::default() }).expect("adapter");
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Train);
        let shapes: Vec<Shape> = SHAPES.iter().filter_map(|dims| Shape::try_new(dims)).collect();
        let mut pairs = Vec::new();
        for (i, &shape) in shapes.iter().enumerate() {
            let p = scope.weight(&format!("w{i}"), shape, Init::Uniform { bound: 0.5 });
            // Not optimised, and declared between those that are.
            let frozen = scope.weight(&format!("frozen{i}"), shape, Init::Constant(1.0));
            let x = graph.feed(&format!("x{i}"), TensorDesc::f32(shape));
            pairs.push((p, p * x * frozen));
        }
        let lr = graph.feed("lr", TensorDesc::f32([]));
        let settings = [(1.0f32, 5e-4f32), (0.5, 0.0)];
        // Groups interleave in order of declaration, and the second lists its members backwards.
        let members = |rest: usize| pairs.iter().skip(rest).step_by(2).copied().collect::<Vec<_>>();
        let mut lists = [members(0), members(1)];
        lists[1].reverse();
        let groups: Vec<SgdGroup<'_>> = settings
            .into_iter()
            .zip(lists)
            .map(|((lr_scale, weight_decay), members)| SgdGroup { lr_scale, weight_decay, members })
            .collect();
        graph.sgd(&sgd, &groups, lr).expect("valid");
        let mut params = Params::new(&device, 3);
        let options = CompileOptions { poison_memory: true, ..CompileOptions::default() };
        let mut plan = Plan::compile(&device, &graph, &mut params, &options).expect("compiles");
        let updates = plan.desc().dispatches.iter().filter(|d| d.label.contains("sgd")).count();
        assert_eq!(updates, 2, "one dispatch a group:\n{}", plan.dump());
        assert!(plan.desc().copies.is_empty());

        let mut p: Vec<Vec<f64>> = (0..shapes.len())
            .map(|i| params.get(&format!("w{i}")).expect("known").data.into_iter().map(f64::from).collect())
            .collect();
        let mut v: Vec<Vec<f64>> = p.iter().map(|p| vec![0.0; p.len()]).collect();
        for step in 0..5 {
            let rate = [0.1f32 / (step + 1) as f32];
            let x: Vec<Vec<f32>> =
                shapes.iter().enumerate().map(|(i, s)| noise(s.numel(), 0.3 + (i + step) as f32)).collect();
            let mut feeds = vec![("lr".to_string(), Feed::F32(&rate))];
            feeds.extend(x.iter().enumerate().map(|(i, x)| (format!("x{i}"), Feed::F32(x))));
            plan.run(&feeds).expect("runs");
            for i in 0..shapes.len() {
                let (scale, decay) = settings[i % 2];
                for j in 0..p[i].len() {
                    let g = p[i][j] * f64::from(x[i][j]) + f64::from(decay) * p[i][j];
                    let rate = f64::from(rate[0]) * f64::from(scale);
                    let (gain, last) = if sgd.lr_in_velocity { (rate, 1.0) } else { (1.0, rate) };
                    v[i][j] = f64::from(sgd.momentum) * v[i][j] + gain * g;
                    let ahead = gain * g + f64::from(sgd.momentum) * v[i][j];
                    let direction = if sgd.nesterov { ahead } else { v[i][j] };
                    p[i][j] -= last * direction;
                }
            }
        }
        let close = |name: &str, want: &[f64]| {
            let got = params.get(name).expect("known").data;
            for (got, want) in got.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "{name}: got {got} want {want}");
            }
        };
        for i in 0..shapes.len() {
            close(&format!("w{i}"), &p[i]);
            close(&format!("frozen{i}"), &vec![1.0; p[i].len()]);
            if sgd.momentum > 0.0 {
                close(&format!("optimizer.momentum.w{i}"), &v[i]);
            }
        }
        assert_eq!(params.of_kind(ParamKind::Optimizer).count(), if sgd.momentum > 0.0 { 6 } else { 0 });
    }

    #[test]
    fn five_steps_follow_the_rule_with_one_dispatch_a_group() {
        for tier in [Tier::Base, Tier::Cpu] {
            train(tier, Sgd { momentum: 0.9, nesterov: false, lr_in_velocity: true });
            train(tier, Sgd { momentum: 0.9, nesterov: true, lr_in_velocity: true });
            train(tier, Sgd { momentum: 0.9, nesterov: false, lr_in_velocity: false });
            train(tier, Sgd { momentum: 0.9, nesterov: true, lr_in_velocity: false });
            train(tier, Sgd::default());
        }
    }

    #[test]
    fn senseless_settings_are_refused() {
        let graph = Graph::new();
        let lr = graph.feed("lr", TensorDesc::f32([]));
        let group = |lr_scale, weight_decay| [SgdGroup { lr_scale, weight_decay, members: Vec::new() }];
        let fine = Sgd { momentum: 0.9, nesterov: true, lr_in_velocity: false };
        assert!(graph.sgd(&fine, &group(1.0, 0.0), lr).is_ok());
        for momentum in [1.0, -0.1, f32::NAN] {
            assert!(graph.sgd(&Sgd { momentum, nesterov: false, lr_in_velocity: false }, &[], lr).is_err());
        }
        assert!(graph.sgd(&Sgd { momentum: 0.0, nesterov: true, lr_in_velocity: false }, &[], lr).is_err());
        assert!(graph.sgd(&fine, &group(f32::INFINITY, 0.0), lr).is_err());
        assert!(graph.sgd(&fine, &group(1.0, -1.0), lr).is_err());
    }

    #[test]
    fn a_member_must_be_a_parameter_of_one_group() {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Train);
        let lr = graph.feed("lr", TensorDesc::f32([]));
        let p = scope.weight("w", [3], Init::Constant(0.0));
        let g = graph.constant([3], 1.0);
        let members = vec![(p, g), (p, g), (g, p)];
        let group = SgdGroup { lr_scale: 1.0, weight_decay: 0.0, members };
        graph.sgd(&Sgd::default(), &[group], lr).expect("settings are fine");
        let errors = graph.data().errors;
        assert_eq!(errors.len(), 2, "{errors:?}");
    }
}
