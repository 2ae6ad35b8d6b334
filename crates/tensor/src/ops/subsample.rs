//! Leaving out pixels: the identity shortcut of a residual network where the stride is above 1.

use super::pixel_rows::Rows;
use super::{Backward, Case, CaseInput, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// `y = x[:, :, ::stride[0], ::stride[1]]`: `[N, C, H, W] -> [N, C, ceil(H / stride[0]), ceil(W / stride[1])]`.
///
/// With [`Value::pad_channels`] this is option A of He et al., arXiv:1512.03385.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subsample {
    /// Rows and columns from one kept pixel to the next.
    pub stride: [usize; 2],
}

/// The gradient of [`Subsample`]: dy at the kept pixels, 0 elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubsampleBackward {
    /// Rows and columns from one kept pixel to the next.
    pub stride: [usize; 2],
    /// Shape before subsampling.
    pub x_shape: Shape,
}

fn infer_forward(stride: [usize; 2], x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
    match x {
        _ if stride.contains(&0) => Err(format!("the stride {stride:?} must be at least 1")),
        [x] if x.dtype == DType::F32 && x.shape.rank() == 4 && x.shape.numel() > 0 => {
            let [n, c, h, w] = x.shape.nchw();
            Ok(vec![TensorDesc::f32([n, c, h.div_ceil(stride[0]), w.div_ceil(stride[1])])])
        }
        _ => Err("subsample wants f32 images [N, C, H, W] with at least one pixel".to_string()),
    }
}

fn launch(cx: &mut Lower<'_>, stride: [usize; 2], backward: bool) {
    let target = cx.target();
    let (x, y) = (cx.x(0), cx.y(0));
    let [_, _, h, w] = cx.x_desc(0).shape.nchw();
    let y_extents = cx.y_desc(0).shape.nchw();
    let kernel = cx.dispatch("subsample").define_if(backward, "BACKWARD").bind("x", x).bind("y", y);
    let kernel = kernel.set("STRIDE_H", stride[0] as u32).set("STRIDE_W", stride[1] as u32);
    Rows::of(y_extents).launch(kernel.args(&[("h", h), ("w", w), ("p", y_extents[2])]), target);
}

/// Calls `body` with the numbers of a kept pixel: sample, channel, its row and column among the kept ones.
fn for_each_kept(shape: &Shape, mut body: impl FnMut(usize, usize, usize, usize)) {
    let [n, c, p, q] = shape.nchw();
    for i in 0..n * c * p * q {
        body(i / (c * p * q), i / (p * q) % c, i / q % p, i % q);
    }
}

impl OpDef for Subsample {
    fn name(&self) -> &'static str {
        "subsample"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        infer_forward(self.stride, x)
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = SubsampleBackward { stride: self.stride, x_shape: cx.input(0).shape() };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy()]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch(cx, self.stride, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [sh, sw] = self.stride;
        for_each_kept(&y[0].shape.clone(), |n, c, p, q| *y[0].at(n, c, p, q) = x[0].at(n, c, p * sh, q * sw));
    }

    fn view_of(&self, _: &[TensorDesc]) -> Option<usize> {
        (self.stride == [1, 1]).then_some(0)
    }
}

impl OpDef for SubsampleBackward {
    fn name(&self) -> &'static str {
        "subsample.backward"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let small = infer_forward(self.stride, &[TensorDesc::f32(self.x_shape)])?;
        if x == small { Ok(vec![TensorDesc::f32(self.x_shape)]) } else { Err(format!("wanted {}", small[0])) }
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![Some(cx.dy().subsample(self.stride))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch(cx, self.stride, true);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [sh, sw] = self.stride;
        for_each_kept(&x[0].shape, |n, c, p, q| *y[0].at(n, c, p * sh, q * sw) = x[0].at(n, c, p, q));
    }

    fn view_of(&self, _: &[TensorDesc]) -> Option<usize> {
        (self.stride == [1, 1]).then_some(0)
    }
}

impl<'g> Value<'g> {
    /// Every `stride[0]`-th row and `stride[1]`-th column, from the first on.
    #[track_caller]
    pub fn subsample(self, stride: [usize; 2]) -> Value<'g> {
        self.graph().apply1(Subsample { stride }, &[self])
    }
}

/// Extents that the stride divides and does not, strides above the image, unequal strides, whole and broken vec4s.
pub fn cases() -> Vec<Case> {
    let list: [([usize; 4], [usize; 2]); 10] = [
        ([2, 4, 6, 6], [2, 2]),
        ([1, 3, 7, 5], [2, 2]),
        ([3, 16, 1, 1], [2, 2]),
        ([2, 5, 4, 9], [3, 2]),
        ([1, 8, 5, 5], [7, 4]),
        ([1, 1, 9, 1], [4, 1]),
        ([2, 64, 8, 8], [2, 2]),
        ([1, 6, 3, 4], [1, 1]),
        ([2, 36, 5, 6], [1, 3]),
        (super::TIMED_IMAGES, [2, 2]),
    ];
    let mut cases = Vec::new();
    for (shape, stride) in list {
        let name = format!("{shape:?} by {stride:?}");
        let (x_shape, [sh, sw], [n, c, h, w]) = (Shape::from(shape), stride, shape);
        let dy = CaseInput::normal([n, c, h.div_ceil(sh), w.div_ceil(sw)]);
        let pair = [
            Case::new(&name, Subsample { stride }, [CaseInput::normal(shape)]),
            Case::new(&name, SubsampleBackward { stride, x_shape }, [dy]),
        ];
        cases.extend(pair.map(|case| if shape == super::TIMED_IMAGES { case.timed() } else { case }));
    }
    cases
}
