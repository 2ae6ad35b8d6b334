//! Euclidean norms of windows.

use super::pixel_rows::Rows;
use super::pool::{PoolConfig, for_each_output, window_flops};
use super::{Backward, Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;

/// `y = sqrt(sum of x^2 over the window)`, the padding being zero; PyTorch's `lp_pool2d` with a norm of 2, but for windows
/// over the rim with `ceil_mode`, which PyTorch scales up. Squares and sums are f32 in registers, so that feature maps in f16 may hold all that f16 can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2Pool {
    /// The windows.
    pub config: PoolConfig,
}

/// `dx = x * sum over the windows that cover the element of dy / y`, a window of zeros giving 0. Operands: dy, x, y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2PoolBackward {
    /// The windows.
    pub config: PoolConfig,
}

impl OpDef for L2Pool {
    fn name(&self) -> &'static str {
        "l2_pool2d"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::f32(self.config.output_shape(x[0])?)])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = L2PoolBackward { config: self.config };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy(), cx.input(0), cx.output(0)]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (target, x, y) = (cx.target(), cx.x(0), cx.y(0));
        let [_, _, h, w] = cx.x_desc(0).shape.nchw();
        let extents = cx.y_desc(0).shape.nchw();
        let kernel = self.config.constants(cx.dispatch("pool")).define("ROOT").bind("x", x).bind("y", y);
        Rows::of(extents).launch(kernel.args(&[("h", h), ("w", w), ("p", extents[2])]), target);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [_, _, h, w] = x[0].shape.nchw();
        for_each_output(&y[0].shape.clone(), |[n, c, p, q]| {
            let (rows, columns) = (self.config.window(0, p, h).inside, self.config.window(1, q, w).inside);
            let squares = rows.flat_map(|i| columns.clone().map(move |j| (i, j)));
            let sum: f64 = squares.map(|(i, j)| x[0].at(n, c, i, j).powi(2)).sum();
            *y[0].at(n, c, p, q) = sum.sqrt();
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(2.0 * window_flops(&self.config, y[0]))
    }
}

impl OpDef for L2PoolBackward {
    fn name(&self) -> &'static str {
        "l2_pool2d.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 3])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let pooled = TensorDesc::f32(self.config.output_shape(x[1])?);
        if x[0] == pooled && x[2] == pooled { Ok(vec![x[1]]) } else { Err(format!("dy and y must be {pooled}")) }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (target, dy, x, y, dx) = (cx.target(), cx.x(0), cx.x(1), cx.x(2), cx.y(0));
        let [_, _, p, q] = cx.x_desc(0).shape.nchw();
        let extents = cx.y_desc(0).shape.nchw();
        let kernel = self.config.constants(cx.dispatch("pool_backward")).define("ROOT");
        let kernel = kernel.set("COVER", self.config.kernel[1].div_ceil(self.config.stride[1]) as u32);
        let kernel = kernel.bind("dy", dy).bind("x", x).bind("y", y).bind("dx", dx);
        Rows::of(extents).launch(kernel.args(&[("h", extents[2]), ("p", p), ("q", q)]), target);
    }

    fn reference(&self, x: &[View<'_>], dx: &mut [ViewMut<'_>]) {
        let [_, _, h, w] = dx[0].shape.nchw();
        for_each_output(&x[0].shape, |[n, c, p, q]| {
            let norm = x[2].at(n, c, p, q);
            if norm == 0.0 {
                return;
            }
            for i in self.config.window(0, p, h).inside {
                for j in self.config.window(1, q, w).inside {
                    *dx[0].at(n, c, i, j) += x[1].at(n, c, i, j) * x[0].at(n, c, p, q) / norm;
                }
            }
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(2.0 * window_flops(&self.config, x[0]))
    }
}

impl<'g> Value<'g> {
    /// Euclidean norms of windows of images `[N, C, H, W]`; see [`L2Pool`].
    #[track_caller]
    pub fn l2_pool2d(self, config: PoolConfig) -> Value<'g> {
        self.graph().apply1(L2Pool { config }, &[self])
    }
}

/// Whole and broken vec4s, overlap, gaps, padding, numbers whose squares are beyond f16; windows of zeros.
pub fn cases() -> Vec<Case> {
    let list: [([usize; 4], PoolConfig, f32); 9] = [
        ([1, 4, 7, 8], PoolConfig::square(3, 2).ceil(), 1.0),
        ([1, 36, 4, 11], PoolConfig::square(2, 2).padded(1), 1.0),
        ([2, 7, 4, 10], PoolConfig { kernel: [3, 2], stride: [1, 3], padding: [1, 0], ceil_mode: false }, 0.01),
        ([2, 4, 6, 6], PoolConfig::square(2, 2), 1.0),
        ([1, 3, 7, 5], PoolConfig::square(3, 2).padded(1), 1.0),
        ([2, 8, 5, 7], PoolConfig::square(3, 1), 1000.0),
        ([3, 5, 1, 1], PoolConfig::square(1, 1), 1.0),
        ([2, 12, 9, 8], PoolConfig::square(2, 3), 1.0),
        (super::TIMED_IMAGES, PoolConfig::square(3, 2), 1.0),
    ];
    let mut cases = Vec::new();
    for (shape, config, size) in list {
        let Ok(pooled) = config.output_shape(TensorDesc::f32(shape)) else { continue };
        let name = format!("{shape:?} {config:?} to {size}");
        let x = CaseInput::f32(shape, Fill::Uniform(0.1 * size, size));
        let y = CaseInput::f32(pooled, Fill::Uniform(0.5, 2.0));
        let inputs = [CaseInput::normal(pooled), CaseInput::normal(shape), y];
        let group = [Case::new(&name, L2Pool { config }, [x]), Case::new(&name, L2PoolBackward { config }, inputs)];
        cases.extend(group.map(|case| if shape == super::TIMED_IMAGES { case.timed() } else { case }));
    }
    let (config, zeros) = (PoolConfig::square(2, 2), |shape: [usize; 4]| CaseInput::f32(shape, Fill::Constant(0.0)));
    let inputs = [CaseInput::normal([1, 2, 2, 2]), zeros([1, 2, 4, 4]), zeros([1, 2, 2, 2])];
    cases.push(Case::new("zeros", L2PoolBackward { config }, inputs));
    cases
}
