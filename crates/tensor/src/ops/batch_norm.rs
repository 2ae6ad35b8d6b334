//! Batch normalisation (Ioffe & Szegedy, arXiv:1502.03167): with batch statistics, with given ones, and their moving
//! average. The backward passes stand in `batch_norm_backward`.

use super::batch_norm_backward::BatchNormBackward;
use super::bias::{channel_shapes, check_channels, for_each_channel};
use super::columns::{Columns, rows_and_columns};
use super::{Activation, Backward, BufId, Case, CaseInput, Cost, Epilogue, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::{TensorId, Value};
use crate::shape::{Shape, TensorDesc};
use std::rc::Rc;

/// `y = act((x - mean) / sqrt(var + eps) * weight + bias [+ residual])` with the statistics of the batch, over all but
/// dimension 1 of `[N, C, H, W]` or `[N, C]`.
///
/// Operands `x`, `weight [C]`, `bias [C]` and, if `residual` is on, a tensor like `x`. Results `y`, `mean [C]` and `var
/// [C]`, the biased variance; only `y` is differentiable. Statistics are f32, merged from blocks of rows in a fixed
/// tree, so that a mean far above the deviation costs no accuracy. A traced operation has neither residual nor
/// activation; fusion adds them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// A tensor like `x` is added.
    pub residual: bool,
    /// Applied last.
    pub activation: Activation,
}

/// As [`BatchNorm`] with given statistics: operands `x`, `weight`, `bias`, `mean`, `var` and perhaps `residual`; result
/// `y`. Differentiable in `x`, `weight` and `bias`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchNormEval {
    /// Added to the variance.
    pub eps: f32,
    /// A tensor like `x` is added.
    pub residual: bool,
    /// Applied last.
    pub activation: Activation,
}

/// `running' = (1 - momentum) * running + momentum * correction * batch`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormUpdate {
    /// Share of the batch; PyTorch's default is 0.1.
    pub momentum: f32,
    /// 1 for a mean, `n / (n - 1)` for a variance over `n` values, which makes it unbiased.
    pub correction: f32,
}

/// Checks the image and that `vectors` (named) have one element a channel.
pub(super) fn check_vectors(x: TensorDesc, vectors: &[(&str, TensorDesc)]) -> Result<usize, String> {
    let channels = check_channels(&x)?;
    match vectors.iter().find(|(_, desc)| desc.shape.dims() != [channels]) {
        Some((name, desc)) => Err(format!("{name} must have shape [{channels}], got {}", desc.shape)),
        None => Ok(channels),
    }
}

fn check_residual(residual: bool, x: &[TensorDesc], at: usize) -> Result<(), String> {
    match x.get(at) {
        Some(desc) if residual && desc.shape != x[0].shape => {
            Err(format!("the residual must have shape {}, got {}", x[0].shape, desc.shape))
        }
        None if residual => Err("the residual is missing".to_string()),
        _ => Ok(()),
    }
}

fn check_eps(eps: f32) -> Result<(), String> {
    if eps.is_finite() && eps >= 0.0 { Ok(()) } else { Err(format!("eps must be finite and not negative, got {eps}")) }
}

/// What the last kernel of both forms needs.
struct Apply {
    mean: BufId,
    var: BufId,
    residual: Option<BufId>,
    activation: Activation,
    eps: f32,
}

fn lower_apply(cx: &mut Lower<'_>, apply: &Apply) {
    let layout = Columns::apply(cx, cx.x_desc(0));
    let (x, weight, bias, y) = (cx.x(0), cx.x(1), cx.x(2), cx.y(0));
    let kernel = cx
        .dispatch("batch_norm")
        .part("apply")
        .bind("x", x)
        .bind("weight", weight)
        .bind("bias", bias)
        .bind("mean", apply.mean)
        .bind("variance", apply.var)
        .bind("y", y)
        .bind_some("residual", apply.residual)
        .define_if(apply.residual.is_some(), "RESIDUAL")
        .set("ACT", apply.activation.code())
        .arg("slope", apply.activation.slope())
        .arg("eps", apply.eps);
    layout.launch(kernel);
}

/// Records `mean` and biased `var` of every column of operand 0.
fn lower_statistics(cx: &mut Lower<'_>, mean: BufId, var: BufId) {
    let x = cx.x(0);
    let first = Columns::reduce(cx, cx.x_desc(0));
    let parts = first.parts();
    if parts == 1 {
        let kernel = cx.dispatch("batch_norm_statistics").part("statistics").define("FINAL").arg("parts", parts);
        first.launch_reduction(kernel.bind("x", x).bind("mean", mean).bind("variance", var));
        return;
    }
    let partial = cx.workspace(first.partial_elements(2));
    let counts = cx.workspace(parts);
    let kernel = cx.dispatch("batch_norm_statistics").part("statistics").arg("parts", parts);
    first.launch_reduction(kernel.bind("x", x).bind("partial", partial).bind("counts", counts));
    let kernel = cx.dispatch("batch_norm_statistics").part("combine").define("COMBINE").define("FINAL");
    let kernel = kernel.bind("partials", partial).bind("part_counts", counts).arg("parts", parts);
    first.combine().launch_reduction(kernel.bind("mean", mean).bind("variance", var));
}

/// Mean and biased variance of every channel, in f64.
fn statistics(x: &View<'_>) -> (Vec<f64>, Vec<f64>) {
    let (rows, channels) = rows_and_columns(&x.shape);
    let (mut mean, mut var) = (vec![0.0; channels], vec![0.0; channels]);
    for_each_channel(&x.shape, |i, c| mean[c] += x.data[i] / rows as f64);
    for_each_channel(&x.shape, |i, c| var[c] += (x.data[i] - mean[c]).powi(2) / rows as f64);
    (mean, var)
}

/// The formula, in f64.
fn normalise(op: &BatchNorm, x: &[View<'_>], mean: &[f64], var: &[f64], residual: Option<&[f64]>, y: &mut [f64]) {
    for_each_channel(&x[0].shape, |i, c| {
        let rstd = 1.0 / (var[c] + f64::from(op.eps)).sqrt();
        let linear = (x[0].data[i] - mean[c]) * rstd * x[1].data[c] + x[2].data[c];
        y[i] = op.activation.apply(linear + residual.map_or(0.0, |r| r[i]));
    });
}

impl OpDef for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn output_count(&self) -> usize {
        3
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 3 + usize::from(self.residual)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        check_eps(self.eps)?;
        let channels = check_vectors(x[0], &[("weight", x[1]), ("bias", x[2])])?;
        check_residual(self.residual, x, 3)?;
        Ok(vec![x[0], TensorDesc::f32([channels]), TensorDesc::f32([channels])])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        if self.residual || self.activation != Activation::Identity {
            return None; // Epilogues appear after differentiation only.
        }
        let op = BatchNormBackward { eps: self.eps, ..BatchNormBackward::default() };
        let operands = [cx.input(0), cx.input(1), cx.output(1), cx.output(2), cx.dy()];
        Some(cx.graph().apply(op, &operands).into_iter().map(Some).collect())
    }

    fn is_differentiable(&self, i: usize) -> bool {
        i == 0
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (mean, var) = (cx.y(1), cx.y(2));
        let residual = self.residual.then(|| cx.x(3));
        lower_statistics(cx, mean, var);
        lower_apply(cx, &Apply { mean, var, residual, activation: self.activation, eps: self.eps });
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let (mean, var) = statistics(&x[0]);
        let residual = self.residual.then(|| x[3].data);
        normalise(self, x, &mean, &var, residual, y[0].data);
        y[1].data.copy_from_slice(&mean);
        y[2].data.copy_from_slice(&var);
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        // The statistics must be known before the first element can be written, so x is read twice.
        let twice = Cost::bytes_of(x, y).bytes + x[0].size_bytes() as f64;
        Cost { bytes: twice, flops: 8.0 * x[0].shape.numel() as f64 }
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        // Only the last kernel writes y, and it reads the elements it writes.
        if self.residual { vec![(3, 0), (0, 0)] } else { vec![(0, 0)] }
    }

    fn again(&self, x: &[TensorId], y: &[TensorId]) -> Option<(Rc<dyn OpDef>, Vec<TensorId>)> {
        // The last kernel alone, with the statistics that are known.
        let op = BatchNormEval { eps: self.eps, residual: self.residual, activation: self.activation };
        Some((Rc::new(op), [&x[..3], &y[1..], &x[3..]].concat()))
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        let linear = self.activation == Activation::Identity;
        let op = match next {
            Epilogue::Residual if linear && !self.residual => BatchNorm { residual: true, ..*self },
            Epilogue::Activation(activation) if linear => BatchNorm { activation, ..*self },
            _ => return None,
        };
        Some(Rc::new(op))
    }
}

impl OpDef for BatchNormEval {
    fn name(&self) -> &'static str {
        "batch_norm_eval"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 5 + usize::from(self.residual)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        check_eps(self.eps)?;
        check_vectors(x[0], &[("weight", x[1]), ("bias", x[2]), ("mean", x[3]), ("var", x[4])])?;
        check_residual(self.residual, x, 5)?;
        Ok(vec![x[0]])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        if self.residual || self.activation != Activation::Identity {
            return None; // Epilogues appear after differentiation only.
        }
        let op = BatchNormBackward { eps: self.eps, eval: true, ..BatchNormBackward::default() };
        let operands = [cx.input(0), cx.input(1), cx.input(3), cx.input(4), cx.dy()];
        let gradients = cx.graph().apply(op, &operands).into_iter().map(Some);
        // The running statistics are averages, not functions of what is learned.
        Some(gradients.chain([None, None]).collect())
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (mean, var) = (cx.x(3), cx.x(4));
        let residual = self.residual.then(|| cx.x(5));
        lower_apply(cx, &Apply { mean, var, residual, activation: self.activation, eps: self.eps });
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let op = BatchNorm { eps: self.eps, residual: self.residual, activation: self.activation };
        let residual = self.residual.then(|| x[5].data);
        normalise(&op, x, x[3].data, x[4].data, residual, y[0].data);
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(3.0 * x[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        if self.residual { vec![(0, 0), (5, 0)] } else { vec![(0, 0)] }
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        let linear = self.activation == Activation::Identity;
        let op = match next {
            Epilogue::Residual if linear && !self.residual => BatchNormEval { residual: true, ..*self },
            Epilogue::Activation(activation) if linear => BatchNormEval { activation, ..*self },
            _ => return None,
        };
        Some(Rc::new(op))
    }
}

impl OpDef for BatchNormUpdate {
    fn name(&self) -> &'static str {
        "batch_norm_update"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        if x[0] != x[1] {
            return Err("both statistics must have the same shape".to_string());
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(format!("momentum must lie between 0 and 1, got {}", self.momentum));
        }
        if !self.correction.is_finite() {
            return Err("the variance of one value cannot be made unbiased; train with a larger batch".to_string());
        }
        Ok(vec![x[0]])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let n = cx.y_desc(0).shape.numel().div_ceil(4);
        let (running, batch, y) = (cx.x(0), cx.x(1), cx.y(0));
        let kernel = cx.dispatch("batch_norm_update").bind("running", running).bind("batch", batch).bind("y", y);
        let kernel = kernel.arg("keep", 1.0 - self.momentum).arg("take", self.momentum * self.correction);
        kernel.arg("n", n).invocations(n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let (keep, take) = (1.0 - self.momentum, self.momentum * self.correction);
        for (i, y) in y[0].data.iter_mut().enumerate() {
            let new = f64::from(keep) * x[0].data[i] + f64::from(take) * x[1].data[i];
            *y = if new.is_finite() { new } else { x[0].data[i] };
        }
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl<'g> Value<'g> {
    /// Normalises over all but dimension 1 with the statistics of the batch; returns `(y, mean, var)`. See
    /// [`BatchNorm`].
    #[track_caller]
    pub fn batch_norm(self, weight: Value<'g>, bias: Value<'g>, eps: f32) -> (Value<'g>, Value<'g>, Value<'g>) {
        let op = BatchNorm { eps, ..BatchNorm::default() };
        match self.graph().apply(op, &[self, weight, bias])[..] {
            [y, mean, var] => (y, mean, var),
            _ => (self, weight, bias), // `apply` returns as many values as `output_count` says.
        }
    }

    /// Normalises with given statistics. See [`BatchNormEval`].
    #[track_caller]
    pub fn batch_norm_eval(
        self,
        weight: Value<'g>,
        bias: Value<'g>,
        mean: Value<'g>,
        var: Value<'g>,
        eps: f32,
    ) -> Value<'g> {
        let op = BatchNormEval { eps, ..BatchNormEval::default() };
        self.graph().apply1(op, &[self, weight, bias, mean, var])
    }

    /// `self` being a running statistic: `(1 - momentum) * self + momentum * correction * batch`. See
    /// [`BatchNormUpdate`].
    #[track_caller]
    pub fn batch_norm_update(self, batch: Value<'g>, momentum: f32, correction: f32) -> Value<'g> {
        self.graph().apply1(BatchNormUpdate { momentum, correction }, &[self, batch])
    }
}

/// Odd channel counts, one pixel, long columns, all epilogues, a mean far above the deviation.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let epilogues = [
        (false, Activation::Identity),
        (true, Activation::Relu),
        (false, Activation::LeakyRelu { slope: 0.1 }),
        (true, Activation::Identity),
    ];
    for (i, shape) in channel_shapes().into_iter().enumerate() {
        let image = CaseInput::normal(shape);
        let vector = CaseInput::normal([shape.dim(1)]);
        let var = CaseInput::f32([shape.dim(1)], Fill::Uniform(0.3, 2.0));
        for (residual, activation) in [epilogues[0], epilogues[1 + i % 3]] {
            let name = format!("{shape} residual {residual} {activation:?}");
            // A few rows may have a deviation near 0, which magnifies rounding; eps bounds that.
            let batch = BatchNorm { eps: 0.01, residual, activation };
            let mut inputs = vec![image, vector, vector];
            inputs.extend(residual.then_some(image));
            cases.push(Case::new(&name, batch, inputs).within(1e-4));
            let eval = BatchNormEval { eps: 1e-5, residual, activation };
            let mut inputs = vec![image, vector, vector, vector, var];
            inputs.extend(residual.then_some(image));
            cases.push(Case::new(name, eval, inputs));
        }
        let update = BatchNormUpdate { momentum: 0.1, correction: 1.0 + i as f32 / 32.0 };
        cases.push(Case::new(format!("{shape}"), update, [vector, vector]));
    }
    let shape: Shape = [4, 8, 20, 21].into();
    let far = CaseInput::f32(shape, Fill::Uniform(1000.0, 1001.0));
    let vector = CaseInput::normal([8]);
    // x itself is rounded to 6e-5 here, a 5000th of its deviation, and so is the mean on every level of the tree (2.2e-4 was
    // measured with subgroups of 4); what matters is that nothing worse is added.
    let op = BatchNorm { eps: 1e-5, ..BatchNorm::default() };
    cases.push(Case::new("mean far above the deviation", op, [far, vector, vector]).within(3e-4));
    let (images, vector) = (CaseInput::normal(super::TIMED_IMAGES), CaseInput::normal([super::TIMED_IMAGES[1]]));
    let var = CaseInput::f32([super::TIMED_IMAGES[1]], Fill::Uniform(0.3, 2.0));
    let name = format!("{:?}", super::TIMED_IMAGES);
    let timed = [
        Case::new(&name, op, [images, vector, vector]),
        Case::new(format!("{name} + ReLU"), BatchNorm { activation: Activation::Relu, ..op }, [images, vector, vector]),
        Case::new(name, BatchNormEval { eps: 1e-5, ..BatchNormEval::default() }, [images, vector, vector, vector, var]),
    ];
    cases.extend(timed.map(|case| case.within(1e-4).timed()));
    cases
}
