//! Dynamic loss scaling, decided on the device: small gradients are lifted into the range of f16, a step whose gradients
//! overflow is skipped, and the host never waits to know.

use super::optimizer::gapless_runs;
use super::strips::{Strips, counting_strips};
use super::{Case, CaseInput, Cost, Fill, Lower, OpDef, Tier, View, ViewMut};
use crate::dtype::DType;
use crate::error::UsageError;
use crate::graph::{Graph, Init, ParamDecl, ParamKind, Value, declare_param};
use crate::shape::{Shape, TensorDesc};

/// The rule of PyTorch's `GradScaler`: a step with an infinite or NaN gradient is skipped and the scale multiplied by
/// `backoff`; after `interval` clean steps in a row it is multiplied by `growth`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// Scale of the first step.
    pub initial: f32,
    /// Factor after `interval` clean steps; 1 for a constant scale.
    pub growth: f32,
    /// Factor after an overflow.
    pub backoff: f32,
    /// Clean steps before the scale grows.
    pub interval: u32,
}

impl Default for LossScale {
    /// 65536, doubled after 2000 clean steps, halved on overflow.
    fn default() -> LossScale {
        LossScale { initial: 65536.0, growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// Smallest scale: below it a loss that overflows does so for another reason.
const LEAST_SCALE: f32 = 1.0 / (1 << 24) as f32;
/// Largest scale that growth leads to: far above it even f32 overflows, and an infinite scale would never come back.
const MOST_SCALE: f32 = (1 << 24) as f32;

/// A scale in a graph: multiply the loss's gradient by `scale`, and give [`Graph::gradient_factor`] the rest.
#[derive(Clone, Copy, Debug)]
pub struct ScaledLoss<'g> {
    /// The current scale, `[]`: the seed of the loss's gradient.
    pub scale: Value<'g>,
    clean: Value<'g>,
    skipped: Value<'g>,
    rule: LossScale,
}

/// Number of elements of all operands that are infinite or NaN, as u32 `[]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountNonfinite {
    /// Number of operands.
    pub members: usize,
}

/// One decision of [`LossScale`]. Operands: scale, clean steps, skipped steps (each `[]`) and the count of non-finite
/// gradients; results: the three's new values and the factor on this step's gradients, 0 when the update is to be skipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaleUpdate {
    /// See [`LossScale`].
    pub rule: LossScale,
}

impl OpDef for CountNonfinite {
    fn name(&self) -> &'static str {
        "count_nonfinite"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; self.members])
    }

    fn infer(&self, _: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match self.members {
            0 => Err("wanted at least one tensor, got none".to_string()),
            _ => Ok(vec![TensorDesc::u32([])]),
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
        let counts = runs.iter().map(|&(_, elements)| invocations(elements)).sum();
        let partial = cx.workspace(counts);
        let mut first = 0;
        for (buf, elements) in runs {
            let n = elements.div_ceil(4);
            let kernel = cx.dispatch("count_nonfinite").bind_run("x", buf, 4 * n).bind("partial", partial);
            cut(elements).launch(kernel.args(&[("elements", elements), ("first", first)]), n);
            first += invocations(elements);
        }
        let (y, tree) = (cx.y(0), cx.tier() != Tier::Cpu);
        let kernel = cx.dispatch("sum_u32").part("sum").bind("x", partial).bind("y", y);
        kernel.define_if(tree, "TREE").set("WG", if tree { 256 } else { 1 }).args(&[("n", counts)]).grid(1, 1, 1);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data[0] = x.iter().flat_map(|x| x.data).filter(|x| !x.is_finite()).count() as f64;
    }
}

impl OpDef for LossScaleUpdate {
    fn name(&self) -> &'static str {
        "loss_scale"
    }

    fn output_count(&self) -> usize {
        4
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32, DType::F32, DType::F32, DType::U32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x.iter().find(|x| x.shape.numel() != 1) {
            Some(x) => Err(format!("wanted scalars, got {x}")),
            None => Ok(vec![TensorDesc::f32([]); 4]),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let LossScale { growth, backoff, interval, .. } = self.rule;
        let operands = ["scale", "clean", "skipped", "found"].into_iter().zip((0..4).map(|i| cx.x(i)));
        let results = ["scale_out", "clean_out", "skipped_out", "factor"].into_iter().zip((0..4).map(|i| cx.y(i)));
        let bindings: Vec<_> = operands.chain(results).collect();
        let kernel = bindings.into_iter().fold(cx.dispatch("loss_scale"), |kernel, (name, buf)| kernel.bind(name, buf));
        let kernel =
            kernel.arg("growth", growth).arg("backoff", backoff).arg("least", LEAST_SCALE).arg("most", MOST_SCALE);
        kernel.arg("interval", interval as f32).grid(1, 1, 1);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let LossScale { growth, backoff, interval, .. } = self.rule;
        let [scale, clean, skipped, found] = [0, 1, 2, 3].map(|i| x[i].data[0]);
        let grows = clean + 1.0 >= f64::from(interval);
        let results = match (found > 0.0, grows) {
            (true, _) => [(scale * f64::from(backoff)).max(f64::from(LEAST_SCALE)), 0.0, skipped + 1.0, 0.0],
            (false, true) => {
                let grown = (scale * f64::from(growth)).min(scale.max(f64::from(MOST_SCALE)));
                [grown, 0.0, skipped, 1.0 / scale]
            }
            (false, false) => [scale, clean + 1.0, skipped, 1.0 / scale],
        };
        y.iter_mut().zip(results).for_each(|(y, result)| y.data[0] = result);
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (1, 1), (2, 2)]
    }
}

/// Names under which the state lies in the store; counts are whole numbers in f32.
pub const LOSS_SCALE: &str = "optimizer.loss_scale";
/// Steps since the scale changed.
pub const CLEAN_STEPS: &str = "optimizer.loss_scale.clean_steps";
/// Steps whose update was skipped, since the beginning.
pub const SKIPPED_STEPS: &str = "optimizer.loss_scale.skipped_steps";

impl Graph {
    /// Declares the state of a dynamic loss scale. Seed the loss's gradient with [`ScaledLoss::scale`].
    ///
    /// # Errors
    /// A rule that is no rule: a scale or factor that is not positive, a growth below 1, a backoff not below 1.
    pub fn loss_scale(&self, rule: LossScale) -> Result<ScaledLoss<'_>, UsageError> {
        let LossScale { initial, growth, backoff, .. } = rule;
        let check = |name: &str, value: f32, wanted: &str, holds: bool| match holds && value.is_finite() {
            true => Ok(()),
            false => Err(UsageError::Value { name: name.into(), wanted: wanted.into(), got: value.to_string() }),
        };
        check("loss scale", initial, "above 0", initial > 0.0)?;
        check("growth of the loss scale", growth, "at least 1", growth >= 1.0)?;
        check("backoff of the loss scale", backoff, "above 0 and below 1", backoff > 0.0 && backoff < 1.0)?;
        check("interval of the loss scale", rule.interval as f32, "at least 1 step", rule.interval >= 1)?;
        let scalar = |name: &str, start: f32| {
            let (name, kind, init) = (name.to_string(), ParamKind::Optimizer, Init::Constant(start));
            declare_param(self, ParamDecl { name, shape: Shape::scalar(), kind, init, group: 0, rows: None })
        };
        let scale = scalar(LOSS_SCALE, initial);
        Ok(ScaledLoss { scale, clean: scalar(CLEAN_STEPS, 0.0), skipped: scalar(SKIPPED_STEPS, 0.0), rule })
    }

    /// Decides about this step's gradients; returns the factor on them, 0 for a step to skip.
    #[track_caller]
    pub(super) fn decide_scale<'g>(&'g self, loss: &ScaledLoss<'g>, gradients: &[Value<'g>]) -> Value<'g> {
        self.at_path("optimizer", || {
            let found = self.apply1(CountNonfinite { members: gradients.len() }, gradients);
            let update = LossScaleUpdate { rule: loss.rule };
            let state = [loss.scale, loss.clean, loss.skipped];
            let results = self.apply(update, &[state[0], state[1], state[2], found]);
            state.into_iter().zip(&results).for_each(|(old, &new)| self.write_back(old, new));
            results[3]
        })
    }
}

/// Tensors with and without infinities; every branch of the rule.
pub fn cases() -> Vec<Case> {
    let finite = [vec![[1].into()], vec![[3, 5].into(), [7].into(), [4, 2, 3, 3].into()], vec![[130, 515].into()]];
    let count = |name: &str, shapes: &[Shape], fill: Fill| {
        let inputs: Vec<CaseInput> = shapes.iter().map(|&shape| CaseInput::f32(shape, fill)).collect();
        Case::new(format!("{shapes:?} {name}"), CountNonfinite { members: shapes.len() }, inputs).kernels_only()
    };
    let mut cases: Vec<Case> = finite.iter().map(|shapes: &Vec<Shape>| count("finite", shapes, Fill::Normal)).collect();
    cases.extend(finite.iter().map(|shapes| count("infinite", shapes, Fill::Constant(f32::NEG_INFINITY))));
    cases.extend(finite[1..].iter().map(|shapes| count("nan", shapes, Fill::Constant(f32::NAN))));
    for (scale, clean, found) in [
        (65536.0, 0.0, 0),
        (65536.0, 1998.0, 0),
        (65536.0, 1999.0, 0),
        (65536.0, 7.0, 3),
        (1.0, 0.0, 1),
        (0.5, 2500.0, 0),
        (1024.0, 1999.0, 9),
        (LEAST_SCALE, 1.0, 2),
        (MOST_SCALE, 1999.0, 0),
    ] {
        let scalar = |value: f32| CaseInput::f32([], Fill::Constant(value));
        let found_input = CaseInput::u32([], Fill::Constant(found as f32));
        let inputs = [scalar(scale), scalar(clean), scalar(4.0), found_input];
        let op = LossScaleUpdate { rule: LossScale::default() };
        cases.push(Case::new(format!("scale {scale} clean {clean} found {found}"), op, inputs).kernels_only());
    }
    cases
}
