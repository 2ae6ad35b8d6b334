//! A factor for each channel, each sample, or each channel of each sample.

use super::bias::{BiasBackward, check_channels};
use super::reduce::Expand;
use super::strips::launch_strips;
use super::{Backward, Case, CaseInput, Cost, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// `y[n, c, ..] = x[n, c, ..] * scale`, with `scale` of shape `[C]`, `[1]`, `[N, C]` or `[N, 1]`. Operands: images or a matrix, and the
/// factors. The gradient of the factors is a sum of `dy * x` over what shares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleChannels;

/// Distances of the factors of neighbouring samples and channels.
fn steps(x: &Shape, scale: &Shape) -> Option<[usize; 2]> {
    let (n, c) = (x.dim(0), x.dim(1));
    match *scale.dims() {
        [count] if count == c => Some([0, 1]),
        [1] => Some([0, 0]),
        [samples, count] if samples == n && count == c => Some([c, 1]),
        [samples, 1] if samples == n => Some([1, 0]),
        _ => None,
    }
}

impl OpDef for ScaleChannels {
    fn name(&self) -> &'static str {
        "scale_channels"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let channels = check_channels(&x[0])?;
        if steps(&x[0].shape, &x[1].shape).is_none() {
            let n = x[0].shape.dim(0);
            let got = x[1].shape;
            return Err(format!("the factors must be [{channels}], [1], [{n}, {channels}] or [{n}, 1], got {got}"));
        }
        Ok(vec![x[0]])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let (dy, x, scale) = (cx.dy(), cx.input(0), cx.input(1));
        let dx = cx.if_needed(0, || dy.scale_channels(scale));
        let dscale = cx.if_needed(1, || {
            let product = dy * x;
            let pixels = (x.dim(2) * x.dim(3)) as f32;
            // Sums over channels are products with ones.
            let ones = |channels: usize| cx.graph().constant([1, channels], 1.0);
            match scale.shape().dims() {
                [1] => cx.graph().apply1(Expand { shape: [1].into(), factor: 1.0 }, &[product.sum()]),
                [_] => cx.graph().apply1(BiasBackward, &[product]),
                [_, count] => {
                    let is_image = x.shape().rank() == 4;
                    let each = if is_image { product.global_avg_pool().scale(pixels) } else { product };
                    if *count == x.dim(1) { each } else { each.matmul_transposed(ones(x.dim(1))) }
                }
                _ => product,
            }
        });
        Some(vec![dx, dscale])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (shape, target) = (cx.x_desc(0).shape, cx.target());
        let [step_n, step_c] = steps(&shape, &cx.x_desc(1).shape).unwrap_or_default();
        let (x, scale, y) = (cx.x(0), cx.x(1), cx.y(0));
        let kernel = cx.dispatch("scale_channels").bind("x", x).bind("scale", scale).bind("y", y);
        let sample = shape.numel() / shape.dim(0).max(1);
        let kernel =
            kernel.args(&[("sample", sample), ("channels", shape.dim(1)), ("step_n", step_n), ("step_c", step_c)]);
        launch_strips(kernel, &target, shape.numel());
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [_, c, h, w] = x[0].shape.nchw();
        let [step_n, step_c] = steps(&x[0].shape, &x[1].shape).unwrap_or_default();
        for (i, y) in y[0].data.iter_mut().enumerate() {
            let (n, channel) = (i / (c * h * w), i / (h * w) % c);
            *y = x[0].data[i] * x[1].data[n * step_n + channel * step_c];
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(y[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl<'g> Value<'g> {
    /// Multiplies by a factor for each channel (`[C]`), each sample (`[N, 1]`), each channel of each sample (`[N, C]`) or all (`[1]`).
    #[track_caller]
    pub fn scale_channels(self, scale: Value<'g>) -> Value<'g> {
        self.graph().apply1(ScaleChannels, &[self, scale])
    }
}

/// Factors of all four shapes for images and matrices, one channel, one sample, broken vec4s.
pub fn cases() -> Vec<Case> {
    let list: [(Shape, Shape); 12] = [
        ([2, 3, 5, 7].into(), [3].into()),
        ([2, 8, 3, 3].into(), [2, 8].into()),
        ([3, 5, 2, 1].into(), [3, 1].into()),
        ([2, 6, 3, 2].into(), [1].into()),
        ([4, 7].into(), [7].into()),
        ([4, 7].into(), [4, 7].into()),
        ([5, 9].into(), [5, 1].into()),
        ([3, 4].into(), [1].into()),
        ([1, 1, 4, 4].into(), [1, 1].into()),
        ([3, 1, 2, 2].into(), [1].into()),
        ([2, 36, 4, 5].into(), [2, 36].into()),
        (super::TIMED_IMAGES.into(), [32, 64].into()),
    ];
    let case = |(shape, scale): (Shape, Shape)| {
        let inputs = [CaseInput::normal(shape), CaseInput::normal(scale)];
        let case = Case::new(format!("{shape} by {scale}"), ScaleChannels, inputs);
        if shape.numel() > 100_000 { case.timed() } else { case }
    };
    list.into_iter().map(case).collect()
}
