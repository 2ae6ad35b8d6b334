//! Softmax cross-entropy of logits against class numbers, with label smoothing.

use super::{Backward, Case, CaseInput, Cost, DispatchBuilder, Fill, Lower, OpDef, Tier, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;

/// `loss[n] = -sum_k t_k log softmax(z)_k` with `t = (1 - s) onehot(label) + s / K`, from logits `[N, K]` and labels
/// u32 `[N]`; no reduction over the batch. As PyTorch's `cross_entropy(reduction="none", label_smoothing=s)`.
///
/// The label `u32::MAX` marks padding: loss and gradient are 0. Any other label that is no class gives NaN, so that a
/// wrong data set does not train in silence. Logits are shifted by their maximum; everything is f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// `s` in `[0, 1]`.
    pub label_smoothing: f32,
}

/// `dlogits[n, k] = dloss[n] * (softmax(z)_k - t_k)`; operands logits, labels, dloss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyBackward {
    /// `s` in `[0, 1]`.
    pub label_smoothing: f32,
}

/// Checks logits `[N, K]` and labels u32 `[N]`.
pub(super) fn check_labels(x: &[TensorDesc]) -> Result<(), String> {
    let logits = x[0].shape;
    if logits.rank() != 2 {
        return Err(format!("logits must have shape [N, K], got {logits}"));
    }
    if x[1].shape.dims() != [logits.dim(0)] {
        return Err(format!("labels must have shape [{}], got {}", logits.dim(0), x[1].shape));
    }
    Ok(())
}

/// Records a kernel that imports `lib/rows.wgsl`: a workgroup a row where workgroups can reduce, else a lane a row.
pub(super) fn launch_rows(kernel: DispatchBuilder<'_, '_>, tier: Tier, rows: usize) {
    match tier {
        Tier::Cpu => kernel.invocations(rows),
        _ => kernel.tree().set("WG", 64).groups(rows),
    }
}

fn check(smoothing: f32, x: &[TensorDesc]) -> Result<(), String> {
    check_labels(x)?;
    if (0.0..=1.0).contains(&smoothing) {
        Ok(())
    } else {
        Err(format!("label_smoothing must lie between 0 and 1, got {smoothing}"))
    }
}

/// Largest logit of a row and the sum of exponentials above it.
fn log_sum(row: &[f64]) -> (f64, f64) {
    let highest = row.iter().fold(f64::NEG_INFINITY, |m, &z| m.max(z));
    (highest, row.iter().map(|z| (z - highest).exp()).sum())
}

const PADDING: f64 = u32::MAX as f64;

impl OpDef for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32, DType::U32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        check(self.label_smoothing, x)?;
        Ok(vec![TensorDesc::f32([x[0].shape.dim(0)])])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = CrossEntropyBackward { label_smoothing: self.label_smoothing };
        Some(vec![Some(cx.graph().apply1(op, &[cx.input(0), cx.input(1), cx.dy()])), None])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [rows, columns, ..] = cx.x_desc(0).shape.nchw();
        let (logits, labels, loss, tier) = (cx.x(0), cx.x(1), cx.y(0), cx.tier());
        let kernel = cx.dispatch("cross_entropy").bind("logits", logits).bind("labels", labels).bind("loss", loss);
        let kernel = kernel.args(&[("rows", rows), ("columns", columns)]).arg("smoothing", self.label_smoothing);
        launch_rows(kernel, tier, rows);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let s = f64::from(self.label_smoothing);
        let classes = x[0].shape.dim(1);
        for (n, loss) in y[0].data.iter_mut().enumerate() {
            let row = &x[0].data[n * classes..(n + 1) * classes];
            let label = x[1].data[n];
            let (highest, total) = log_sum(row);
            let log_softmax = |z: f64| z - highest - total.ln();
            let uniform = row.iter().map(|&z| log_softmax(z)).sum::<f64>() / classes as f64;
            *loss = match row.get(label as usize) {
                Some(&z) => -(1.0 - s) * log_softmax(z) - s * uniform,
                None if label >= PADDING => 0.0,
                None => f64::NAN,
            };
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(5.0 * x[0].shape.numel() as f64)
    }
}

impl OpDef for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "cross_entropy.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32, DType::U32, DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        check(self.label_smoothing, x)?;
        if x[2].shape.dims() != [x[0].shape.dim(0)] {
            return Err(format!("dloss must have shape [{}], got {}", x[0].shape.dim(0), x[2].shape));
        }
        Ok(vec![x[0]])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [rows, columns, ..] = cx.x_desc(0).shape.nchw();
        let (logits, labels, dloss, dlogits, tier) = (cx.x(0), cx.x(1), cx.x(2), cx.y(0), cx.tier());
        let kernel = cx.dispatch("cross_entropy_backward").bind("logits", logits).bind("labels", labels);
        let kernel = kernel.bind("dloss", dloss).bind("dlogits", dlogits);
        let kernel = kernel.args(&[("rows", rows), ("columns", columns)]).arg("smoothing", self.label_smoothing);
        launch_rows(kernel, tier, rows);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let s = f64::from(self.label_smoothing);
        let classes = x[0].shape.dim(1);
        for (i, d) in y[0].data.iter_mut().enumerate() {
            let (n, k) = (i / classes, i % classes);
            let (highest, total) = log_sum(&x[0].data[n * classes..(n + 1) * classes]);
            let label = x[1].data[n];
            let target = s / classes as f64 + if label == k as f64 { 1.0 - s } else { 0.0 };
            let softmax = (x[0].data[i] - highest).exp() / total;
            *d = if label < classes as f64 {
                x[2].data[n] * (softmax - target)
            } else if label >= PADDING {
                0.0
            } else {
                f64::NAN
            };
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(8.0 * x[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        // A row's sums are complete before its lanes write, and each lane then rereads its own logits only.
        vec![(0, 0)]
    }
}

impl<'g> Value<'g> {
    /// The loss of each sample, `[N]`, of logits `[N, K]` against `labels` u32 `[N]`; see [`CrossEntropy`].
    #[track_caller]
    pub fn cross_entropy(self, labels: Value<'g>, label_smoothing: f32) -> Value<'g> {
        self.graph().apply1(CrossEntropy { label_smoothing }, &[self, labels])
    }
}

/// One class, one sample, 1000 classes, far from zero, padding.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let extents = [(1, 1), (1, 10), (3, 2), (32, 10), (33, 100), (5, 63), (7, 1000), (130, 3), (2, 65)];
    for (i, (n, k)) in extents.into_iter().enumerate() {
        let wide = CaseInput::f32([n, k], Fill::Uniform(-9.0, 9.0));
        let labels = CaseInput::u32([n], Fill::Below(k as u32));
        let label_smoothing = [0.0, 0.1, 0.2][i % 3];
        let forward = CrossEntropy { label_smoothing };
        let backward = CrossEntropyBackward { label_smoothing };
        let dloss = CaseInput::normal([n]);
        cases.push(Case::new(format!("{n}x{k} smoothing {label_smoothing}"), forward, [wide, labels]));
        cases.push(Case::new(format!("{n}x{k} smoothing {label_smoothing}"), backward, [wide, labels, dloss]));
    }
    // exp(500) overflows without the shift; 2^32 saturates to the label of padding.
    let high = CaseInput::f32([4, 12], Fill::Uniform(490.0, 500.0));
    let (labels, dloss) = (CaseInput::u32([4], Fill::Below(12)), CaseInput::normal([4]));
    let padding = CaseInput::u32([4], Fill::Constant(4_294_967_296.0));
    let (forward, backward) = (CrossEntropy { label_smoothing: 0.1 }, CrossEntropyBackward { label_smoothing: 0.1 });
    cases.push(Case::new("far from zero", forward, [high, labels]));
    cases.push(Case::new("far from zero", backward, [high, labels, dloss]));
    cases.push(Case::new("padding", forward, [high, padding]));
    cases.push(Case::new("padding", backward, [high, padding, dloss]));
    let logits = CaseInput::f32([256, 1000], Fill::Uniform(-9.0, 9.0));
    let (labels, dloss) = (CaseInput::u32([256], Fill::Below(1000)), CaseInput::normal([256]));
    cases.push(Case::new("256x1000", forward, [logits, labels]).timed());
    cases.push(Case::new("256x1000", backward, [logits, labels, dloss]).timed());
    cases
}

#[cfg(test)]
mod tests {
    use crate::{CompileOptions, Device, DeviceOptions, Feed, Graph, Params, Plan, TensorDesc, Tier, gradients};

    /// Padding in the same batch as classes, and a label that is neither.
    #[test]
    fn padding_costs_nothing_and_a_wrong_label_shows() {
        for tier in [Tier::Base, Tier::Cpu] {
            let device =
                Device::open(&DeviceOptions { tier: Some(tier), ..DeviceOptions::default() }).expect("adapter");
            let graph = Graph::new();
            let logits = graph.feed("logits", TensorDesc::f32([4, 3]));
            let labels = graph.feed("labels", TensorDesc::u32([4]));
            let loss = logits.cross_entropy(labels, 0.1);
            let found = gradients(loss.sum(), &[logits]).expect("differentiable");
            graph.output("loss", loss);
            graph.output("gradient", found[0].expect("depends"));
            graph.output("right", logits.top_k_correct(labels, 3));
            let mut params = Params::new(&device, 0);
            let mut plan = Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect("compiles");
            let values: Vec<f32> = (0..12).map(|i| (i * 5 % 7) as f32).collect();
            let numbers = [2, u32::MAX, 3, 0];
            let feeds = [("logits", Feed::F32(&values)), ("labels", Feed::U32(&numbers))];
            let ticket = plan.run(&feeds).expect("runs");
            let loss = plan.read(ticket, "loss").expect("reads");
            let gradient = plan.read(ticket, "gradient").expect("reads");
            assert!(loss[0] > 0.0 && loss[1] == 0.0 && loss[2].is_nan() && loss[3] > 0.0, "{loss:?}");
            assert!(gradient[3..6].iter().all(|&d| d == 0.0), "{gradient:?}");
            assert!(gradient[6..9].iter().all(|d| d.is_nan()), "{gradient:?}");
            assert!(gradient[..3].iter().chain(&gradient[9..]).all(|&d| d.is_finite() && d != 0.0), "{gradient:?}");
            assert_eq!(plan.read_words(ticket, "right").expect("reads"), [2]);
        }
    }
}
