//! Pooling over whole images.

use super::pixel_rows::{Rows, splits_in_four};
use super::{Backward, Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// `y[n, c] = mean over h, w of x[n, c, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAvgPool;

/// `dx[n, c, h, w] = dy[n, c] / (H W)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAvgPoolBackward {
    /// Shape of the images that were pooled.
    pub x_shape: Shape,
}

/// `y[n, c] = max over h, w of x[n, c, h, w]`; a NaN wins.
///
/// The second result, u32 and not differentiable, is the place `h * W + w` of the first maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalMaxPool;

/// `dx = dy[n, c]` at the place of the maximum, 0 elsewhere. Operands: dy and the places from [`GlobalMaxPool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalMaxPoolBackward {
    /// Shape of the images that were pooled.
    pub x_shape: Shape,
}

fn pooled(x: &[TensorDesc]) -> Result<Shape, String> {
    match x {
        [x] if x.dtype == DType::F32 && x.shape.rank() == 4 && x.shape.numel() > 0 => {
            Ok([x.shape.dim(0), x.shape.dim(1)].into())
        }
        _ => Err("global pooling wants f32 images [N, C, H, W] with at least one pixel".to_string()),
    }
}

fn infer_backward(x_shape: Shape, x: &[TensorDesc], with_places: bool) -> Result<Vec<TensorDesc>, String> {
    let y_shape = pooled(&[TensorDesc::f32(x_shape)])?;
    let fits = match x {
        [dy] => !with_places && *dy == TensorDesc::f32(y_shape),
        [dy, places] => with_places && *dy == TensorDesc::f32(y_shape) && *places == TensorDesc::u32(y_shape),
        _ => false,
    };
    if fits { Ok(vec![TensorDesc::f32(x_shape)]) } else { Err(format!("the gradient of the result must be {y_shape}")) }
}

fn launch_forward(cx: &mut Lower<'_>, is_max: bool) {
    let [n, c, h, w] = cx.x_desc(0).shape.nchw();
    let vector = splits_in_four(&[c]);
    let channels = if vector { c / 4 } else { c };
    let (x, y, places) = (cx.x(0), cx.y(0), is_max.then(|| cx.y(1)));
    let kernel = cx.dispatch("global_pool").define_if(vector, "VEC4").define_if(is_max, "MAX");
    let kernel = kernel.bind("x", x).bind("y", y).bind_some("argmax", places);
    kernel.args(&[("n", n * channels), ("channels", channels), ("h", h), ("w", w)]).invocations(n * channels);
}

fn launch_backward(cx: &mut Lower<'_>, is_max: bool) {
    let target = cx.target();
    let extents = cx.y_desc(0).shape.nchw();
    let (dy, dx, places) = (cx.x(0), cx.y(0), is_max.then(|| cx.x(1)));
    let kernel = cx.dispatch("global_pool_backward").define_if(is_max, "MAX");
    let kernel = kernel.bind("dy", dy).bind("dx", dx).bind_some("argmax", places);
    Rows::of(extents).launch(kernel.args(&[("h", extents[2])]), target);
}

impl OpDef for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::f32(pooled(x)?)])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = GlobalAvgPoolBackward { x_shape: cx.input(0).shape() };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy()]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch_forward(cx, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let area = x[0].shape.dim(2) * x[0].shape.dim(3);
        for (y, image) in y[0].data.iter_mut().zip(x[0].data.chunks(area)) {
            *y = image.iter().sum::<f64>() / area as f64;
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(x[0].shape.numel() as f64)
    }
}

impl OpDef for GlobalAvgPoolBackward {
    fn name(&self) -> &'static str {
        "global_avg_pool.backward"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        infer_backward(self.x_shape, x, false)
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch_backward(cx, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let area = y[0].shape.dim(2) * y[0].shape.dim(3);
        for (image, dy) in y[0].data.chunks_mut(area).zip(x[0].data) {
            image.fill(dy / area as f64);
        }
    }
}

impl OpDef for GlobalMaxPool {
    fn name(&self) -> &'static str {
        "global_max_pool"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let shape = pooled(x)?;
        Ok(vec![TensorDesc::f32(shape), TensorDesc::u32(shape)])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = GlobalMaxPoolBackward { x_shape: cx.input(0).shape() };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy(), cx.output(1)]))])
    }

    fn is_differentiable(&self, i: usize) -> bool {
        i == 0
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch_forward(cx, true);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let area = x[0].shape.dim(2) * x[0].shape.dim(3);
        for (i, image) in x[0].data.chunks(area).enumerate() {
            let mut best = 0;
            for (at, v) in image.iter().enumerate() {
                if v.is_nan() || *v > image[best] {
                    best = at;
                }
            }
            y[0].data[i] = image[best];
            y[1].data[i] = best as f64;
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(x[0].shape.numel() as f64)
    }
}

impl OpDef for GlobalMaxPoolBackward {
    fn name(&self) -> &'static str {
        "global_max_pool.backward"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        infer_backward(self.x_shape, x, true)
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch_backward(cx, true);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let area = y[0].shape.dim(2) * y[0].shape.dim(3);
        for (i, image) in y[0].data.chunks_mut(area).enumerate() {
            image[x[1].data[i] as usize] = x[0].data[i];
        }
    }
}

impl<'g> Value<'g> {
    /// Mean over each image and channel: `[N, C, H, W] -> [N, C]`.
    #[track_caller]
    pub fn global_avg_pool(self) -> Value<'g> {
        self.graph().apply1(GlobalAvgPool, &[self])
    }

    /// Maximum over each image and channel: `[N, C, H, W] -> [N, C]`.
    #[track_caller]
    pub fn global_max_pool(self) -> Value<'g> {
        self.graph().apply1(GlobalMaxPool, &[self])
    }
}

/// One pixel, one channel, channel counts with and without whole vec4s, long sums.
pub fn cases() -> Vec<Case> {
    let shapes: [[usize; 4]; 10] = [
        [1, 1, 1, 1],
        [3, 4, 1, 1],
        [2, 3, 5, 7],
        [1, 64, 8, 8],
        [5, 10, 2, 2],
        [2, 12, 13, 1],
        [1, 5, 1, 9],
        [1, 3, 100, 100],
        [7, 36, 3, 4],
        // The end of ResNet-50.
        [32, 2048, 7, 7],
    ];
    let mut cases = Vec::new();
    for shape in shapes {
        let [n, c, h, w] = shape;
        let x_shape = Shape::from(shape);
        let name = x_shape.to_string();
        let dy = CaseInput::normal([n, c]);
        let places = CaseInput::u32([n, c], Fill::Below((h * w) as u32));
        let group = [
            Case::new(&name, GlobalAvgPool, [CaseInput::f32(shape, Fill::Uniform(-1.0, 2.0))]),
            Case::new(&name, GlobalAvgPoolBackward { x_shape }, [dy]),
            Case::new(&name, GlobalMaxPool, [CaseInput::f32(shape, Fill::Distinct)]),
            Case::new(&name, GlobalMaxPoolBackward { x_shape }, [dy, places]),
        ];
        cases.extend(group.map(|case| if c == 2048 { case.timed() } else { case }));
    }
    cases
}
