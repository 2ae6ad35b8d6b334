//! Group and layer normalisation, without weights.

use super::bias::check_channels;
use super::cross_entropy::launch_rows;
use super::{Backward, BufId, Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// What is normalised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// In each sample, `C / groups` neighbouring channels at all pixels (Wu and He, arXiv:1803.08494). One group is layer
    /// normalisation of whole samples, as many groups as channels instance normalisation.
    Groups(usize),
    /// All channels of each pixel: layer normalisation of a matrix `[N, C]`, and of images channel by channel.
    Pixel,
}

/// `y = (x - mean) / sqrt(var + eps)`, mean and biased variance being those of the elements that are normalised together. f32,
/// the variance around the mean. The second result, not differentiable, is `1 / sqrt(var + eps)` of each set, `[N, groups]` or `[N H
/// W, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// The sets.
    pub together: Together,
    /// Added to the variance, above 0.
    pub eps: f32,
}

/// `dx = rstd * (dy - mean(dy) - y * mean(dy * y))`. Operands: y, rstd, dy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormBackward {
    /// The forward operation.
    pub forward: GroupNorm,
}

/// How the sets lie: sets of a sample, samples, channels in a run, pixels of a sample.
#[derive(Clone, Copy)]
struct Sets {
    samples: usize,
    groups: usize,
    run: usize,
    pixels: usize,
}

impl Sets {
    fn of(together: Together, shape: &Shape) -> Sets {
        let [n, c, h, w] = shape.nchw();
        match together {
            Together::Groups(groups) => Sets { samples: n, groups, run: c / groups.max(1), pixels: h * w },
            Together::Pixel => Sets { samples: n * h * w, groups: 1, run: c, pixels: 1 },
        }
    }

    fn rows(self) -> usize {
        self.samples * self.groups
    }

    fn length(self) -> usize {
        self.run * self.pixels
    }
}

impl GroupNorm {
    fn sets(&self, x: &TensorDesc) -> Result<Sets, String> {
        let channels = check_channels(x)?;
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(format!("eps must be above 0, got {}", self.eps));
        }
        match self.together {
            Together::Groups(groups) if groups == 0 || !channels.is_multiple_of(groups) => {
                Err(format!("the groups must divide the {channels} channels, got {groups}"))
            }
            _ if x.shape.numel() == 0 => Err("wanted at least one element".to_string()),
            together => Ok(Sets::of(together, &x.shape)),
        }
    }

    /// The set of each element, in PyTorch's order.
    fn set_of(&self, shape: &Shape) -> impl Fn(usize) -> usize + use<> {
        let [_, c, h, w] = shape.nchw();
        let together = self.together;
        move |i| match together {
            Together::Groups(groups) => i / (c * h * w) * groups + i / (h * w) % c / (c / groups),
            Together::Pixel => i / (c * h * w) * h * w + i % (h * w),
        }
    }
}

fn launch(cx: &mut Lower<'_>, op: &GroupNorm, bindings: &[(&'static str, BufId)], backward: bool) {
    let (shape, tier) = (cx.x_desc(0).shape, cx.tier());
    let sets = Sets::of(op.together, &shape);
    let mut kernel = cx.dispatch("group_norm").define_if(backward, "BACKWARD");
    for &(name, buf) in bindings {
        kernel = kernel.bind(name, buf);
    }
    let channels = sets.run * sets.groups;
    let kernel = kernel.args(&[("rows", sets.rows()), ("groups", sets.groups), ("length", sets.length())]);
    let kernel = kernel.args(&[("run", sets.run), ("channels", channels), ("sample", channels * sets.pixels)]);
    launch_rows(kernel.arg("eps", op.eps), tier, sets.rows());
}

impl OpDef for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let sets = self.sets(&x[0])?;
        Ok(vec![x[0], TensorDesc::f32([sets.samples, sets.groups])])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = GroupNormBackward { forward: *self };
        Some(vec![Some(cx.graph().apply1(op, &[cx.output(0), cx.output(1), cx.dy()]))])
    }

    fn is_differentiable(&self, i: usize) -> bool {
        i == 0
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let bindings = [("x", cx.x(0)), ("y", cx.y(0)), ("rstd", cx.y(1))];
        launch(cx, self, &bindings, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [y, rstd] = y else { return };
        let (sets, set_of) = (Sets::of(self.together, &x[0].shape), self.set_of(&x[0].shape));
        let count = sets.length() as f64;
        let mut mean = vec![0.0; sets.rows()];
        x[0].data.iter().enumerate().for_each(|(i, v)| mean[set_of(i)] += v / count);
        let mut var = vec![0.0; sets.rows()];
        x[0].data.iter().enumerate().for_each(|(i, v)| var[set_of(i)] += (v - mean[set_of(i)]).powi(2) / count);
        for (rstd, var) in rstd.data.iter_mut().zip(var) {
            *rstd = 1.0 / (var + f64::from(self.eps)).sqrt();
        }
        for (i, y) in y.data.iter_mut().enumerate() {
            *y = (x[0].data[i] - mean[set_of(i)]) * rstd.data[set_of(i)];
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(6.0 * x[0].shape.numel() as f64)
    }
}

impl OpDef for GroupNormBackward {
    fn name(&self) -> &'static str {
        "group_norm.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 3])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let sets = self.forward.sets(&x[0])?;
        if x[1].shape.numel() != sets.rows() || x[2] != x[0] {
            return Err(format!("dy must be {} and rstd have {} elements", x[0], sets.rows()));
        }
        Ok(vec![x[0]])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let bindings = [("y", cx.x(0)), ("rstd", cx.x(1)), ("dy", cx.x(2)), ("dx", cx.y(0))];
        launch(cx, &self.forward, &bindings, true);
    }

    fn reference(&self, x: &[View<'_>], dx: &mut [ViewMut<'_>]) {
        let (sets, set_of) = (Sets::of(self.forward.together, &x[0].shape), self.forward.set_of(&x[0].shape));
        let count = sets.length() as f64;
        let (mut mean, mut dot) = (vec![0.0; sets.rows()], vec![0.0; sets.rows()]);
        for (i, dy) in x[2].data.iter().enumerate() {
            mean[set_of(i)] += dy / count;
            dot[set_of(i)] += dy * x[0].data[i] / count;
        }
        for (i, dx) in dx[0].data.iter_mut().enumerate() {
            let set = set_of(i);
            *dx = x[1].data[set] * (x[2].data[i] - mean[set] - x[0].data[i] * dot[set]);
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(8.0 * x[0].shape.numel() as f64)
    }
}

impl<'g> Value<'g> {
    /// Mean 0 and variance 1 for every set of elements; see [`GroupNorm`].
    #[track_caller]
    pub fn group_norm(self, together: Together, eps: f32) -> Value<'g> {
        let outputs = self.graph().apply(GroupNorm { together, eps }, &[self]);
        outputs.into_iter().next().unwrap_or(self)
    }
}

/// One group, as many as channels, something between; pixels; matrices; a mean far above the deviation.
pub fn cases() -> Vec<Case> {
    use Together::{Groups, Pixel};
    let list: [(Shape, Together); 10] = [
        ([2, 6, 5, 7].into(), Groups(3)),
        ([3, 8, 4, 4].into(), Groups(1)),
        ([1, 5, 3, 9].into(), Groups(5)),
        ([2, 7, 3, 2].into(), Pixel),
        ([5, 12].into(), Groups(4)),
        ([33, 130].into(), Pixel),
        ([4, 10].into(), Groups(1)),
        ([2, 32, 9, 9].into(), Groups(2)),
        ([70, 3, 2, 1].into(), Groups(1)),
        (super::TIMED_IMAGES.into(), Groups(32)),
    ];
    let mut cases = Vec::new();
    for (i, (shape, together)) in list.into_iter().enumerate() {
        let (forward, name) = (GroupNorm { together, eps: 1e-5 }, format!("{shape} {together:?}"));
        let offset = [0.0, 3.0][i % 2];
        let x = CaseInput::f32(shape, Fill::Uniform(offset - 1.0, offset + 1.5));
        let Ok(sets) = forward.sets(&TensorDesc::f32(shape)) else { continue };
        let rstd = CaseInput::f32([sets.samples, sets.groups], Fill::Uniform(0.5, 2.0));
        let inputs = [CaseInput::normal(shape), rstd, CaseInput::normal(shape)];
        let pair = [Case::new(&name, forward, [x]), Case::new(&name, GroupNormBackward { forward }, inputs)];
        cases.extend(pair.map(|case| if shape.numel() > 100_000 { case.timed() } else { case }));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_groups_are_refused() {
        let x = [TensorDesc::f32([2, 6, 3, 3])];
        let infer = |groups, eps| GroupNorm { together: Together::Groups(groups), eps }.infer(&x);
        assert!(infer(3, 1e-5).is_ok());
        assert!([0, 4].into_iter().all(|groups| infer(groups, 1e-5).is_err_and(|e| e.contains("divide the 6"))));
        assert!([0.0, f32::NAN].into_iter().all(|eps| infer(3, eps).is_err_and(|e| e.contains("eps"))));
    }
}
