//! A bias for each channel.

use super::columns::{Columns, column_sums, rows_and_columns};
use super::{Backward, Case, CaseInput, Cost, Epilogue, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// `y[n, c, h, w] = x[n, c, h, w] + bias[c]`, or `y[n, c] = x[n, c] + bias[c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddBias;

/// `db[c] = sum over n, h, w of dy[n, c, h, w]`, in a fixed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BiasBackward;

/// Whether a shape is an image or a matrix, with an explanation when it is not.
pub(super) fn check_channels(desc: &TensorDesc) -> Result<usize, String> {
    match desc.shape.rank() {
        2 | 4 => Ok(desc.shape.dim(1)),
        _ => Err(format!("wanted [N, C] or [N, C, H, W], got {}", desc.shape)),
    }
}

/// Calls `body(element, channel)` for every element in PyTorch's order.
pub(super) fn for_each_channel(shape: &Shape, mut body: impl FnMut(usize, usize)) {
    let [_, c, h, w] = shape.nchw();
    (0..shape.numel()).for_each(|i| body(i, i / (h * w) % c));
}

impl OpDef for AddBias {
    fn name(&self) -> &'static str {
        "bias"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let channels = check_channels(&x[0])?;
        if x[1].shape.dims() != [channels] {
            return Err(format!("the bias must have shape [{channels}], got {}", x[1].shape));
        }
        Ok(vec![x[0]])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let dy = cx.dy();
        Some(vec![Some(dy), cx.if_needed(1, || cx.graph().apply1(BiasBackward, &[dy]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let layout = Columns::apply(cx, cx.y_desc(0));
        let (x, bias, y) = (cx.x(0), cx.x(1), cx.y(0));
        layout.launch(cx.dispatch("add_bias").bind("x", x).bind("bias", bias).bind("y", y));
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        for_each_channel(&x[0].shape, |i, c| y[0].data[i] = x[0].data[i] + x[1].data[c]);
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(y[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }

    fn as_epilogue(&self) -> Option<Epilogue> {
        Some(Epilogue::Bias)
    }
}

impl OpDef for BiasBackward {
    fn name(&self) -> &'static str {
        "bias.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 1])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::f32([check_channels(&x[0])?])])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (desc, dy, db) = (cx.x_desc(0), cx.x(0), cx.y(0));
        column_sums(cx, desc, dy, db, None);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        for_each_channel(&x[0].shape, |i, c| y[0].data[c] += x[0].data[i]);
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        let (rows, columns) = rows_and_columns(&x[0].shape);
        Cost::bytes_of(x, y).with_flops((rows * columns) as f64)
    }
}

impl<'g> Value<'g> {
    /// `self[n, c, ..] + bias[c]`: a bias over dimension 1 of an image or matrix.
    #[track_caller]
    pub fn add_bias(self, bias: Value<'g>) -> Value<'g> {
        self.graph().apply1(AddBias, &[self, bias])
    }
}

/// Shapes that try the share-out of [`Columns`]: one channel, three, more than a workgroup takes, one row, many rows.
pub(super) fn channel_shapes() -> Vec<Shape> {
    vec![
        [1, 1].into(),
        [5, 7].into(),
        [33, 10].into(),
        [2, 3, 5, 7].into(),
        [1, 4, 1, 1].into(),
        [3, 16, 8, 8].into(),
        [2, 20, 9, 5].into(),
        [1, 1, 40, 41].into(),
        [4, 6, 33, 31].into(),
        [5, 64, 17, 3].into(),
        [2, 516, 3, 2].into(),
        [3, 70, 2, 5].into(),
        [8, 8, 32, 31].into(),
    ]
}

/// Every shape of `channel_shapes`, there and back.
pub fn cases() -> Vec<Case> {
    let case = |shape: Shape| {
        let x = CaseInput::normal(shape);
        let bias = CaseInput::normal([shape.dim(1)]);
        [Case::new(format!("{shape}"), AddBias, [x, bias]), Case::new(format!("{shape}"), BiasBackward, [x])]
    };
    let timed = case(super::TIMED_IMAGES.into()).map(Case::timed);
    channel_shapes().into_iter().flat_map(case).chain(timed).collect()
}
