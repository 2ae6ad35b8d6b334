//! Means over as many windows as are wanted, whatever the size of the image.

use super::pixel_rows::Rows;
use super::{Backward, Case, CaseInput, Cost, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};
use std::ops::Range;

/// `y[p, q] = mean of x` over rows `floor(p H / P) .. ceil((p + 1) H / P)` and columns likewise: windows of sizes that differ by one
/// at the most and may overlap, as PyTorch's `adaptive_avg_pool2d`. With more windows than pixels, pixels are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool {
    /// Rows and columns of the result.
    pub output: [usize; 2],
}

/// `dx = sum over the windows that hold the element of dy / number of their elements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPoolBackward {
    /// Shape of the images that were pooled.
    pub x_shape: Shape,
}

/// Largest extent of an image or a result: the kernel multiplies two of them in 32 bits.
const LARGEST: usize = 32_768;

/// Pixels of window `i` of `windows` over `size`; also the windows that hold pixel `i`, with the other two exchanged.
fn window(i: usize, windows: usize, size: usize) -> Range<usize> {
    i * size / windows..((i + 1) * size).div_ceil(windows)
}

fn check(image: &TensorDesc) -> Result<[usize; 4], String> {
    let extents = image.shape.nchw();
    let fits = image.dtype == DType::F32 && image.shape.rank() == 4 && image.shape.numel() > 0;
    if fits && extents[2].max(extents[3]) <= LARGEST {
        return Ok(extents);
    }
    Err(format!("adaptive pooling wants f32 images [N, C, H, W] of 1 to {LARGEST} rows and columns"))
}

/// Calls `body` for every window with sample, channel, row and column of the result and the window's pixels.
fn for_each_window(x: &Shape, y: &Shape, mut body: impl FnMut([usize; 4], Range<usize>, Range<usize>)) {
    let ([n, c, h, w], [_, _, p, q]) = (x.nchw(), y.nchw());
    for i in 0..n * c * p * q {
        let at = [i / (c * p * q), i / (p * q) % c, i / q % p, i % q];
        body(at, window(at[2], p, h), window(at[3], q, w));
    }
}

fn launch(cx: &mut Lower<'_>, backward: bool) {
    let target = cx.target();
    let (x, y) = (cx.x(0), cx.y(0));
    let [_, _, h, w] = cx.x_desc(0).shape.nchw();
    let extents = cx.y_desc(0).shape.nchw();
    let kernel = cx.dispatch("adaptive_avg_pool").define_if(backward, "BACKWARD").bind("x", x).bind("y", y);
    Rows::of(extents).launch(kernel.args(&[("h", h), ("w", w), ("p", extents[2])]), target);
}

impl OpDef for AdaptiveAvgPool {
    fn name(&self) -> &'static str {
        "adaptive_avg_pool2d"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [n, c, _, _] = check(&x[0])?;
        let [p, q] = self.output;
        if !(1..=LARGEST).contains(&p) || !(1..=LARGEST).contains(&q) {
            return Err(format!("the result must have 1 to {LARGEST} rows and columns, got {p} and {q}"));
        }
        Ok(vec![TensorDesc::f32([n, c, p, q])])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = AdaptiveAvgPoolBackward { x_shape: cx.input(0).shape() };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy()]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch(cx, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let shape = y[0].shape;
        for_each_window(&x[0].shape, &shape, |[n, c, p, q], rows, columns| {
            let count = (rows.len() * columns.len()) as f64;
            let line = |i: usize| columns.clone().map(|j| x[0].at(n, c, i, j)).sum::<f64>();
            *y[0].at(n, c, p, q) = rows.map(line).sum::<f64>() / count;
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(x[0].shape.numel() as f64)
    }

    fn view_of(&self, x: &[TensorDesc]) -> Option<usize> {
        (self.output == [x[0].shape.dim(2), x[0].shape.dim(3)]).then_some(0)
    }
}

impl OpDef for AdaptiveAvgPoolBackward {
    fn name(&self) -> &'static str {
        "adaptive_avg_pool2d.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [n, c, _, _] = check(&TensorDesc::f32(self.x_shape))?;
        let dy = check(&x[0])?;
        if dy[..2] != [n, c] {
            return Err(format!("the gradient of the result must be [{n}, {c}, ...], got {}", x[0].shape));
        }
        Ok(vec![TensorDesc::f32(self.x_shape)])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch(cx, true);
    }

    fn reference(&self, x: &[View<'_>], dx: &mut [ViewMut<'_>]) {
        for_each_window(&self.x_shape, &x[0].shape, |[n, c, p, q], rows, columns| {
            let share = x[0].at(n, c, p, q) / (rows.len() * columns.len()) as f64;
            for i in rows {
                for j in columns.clone() {
                    *dx[0].at(n, c, i, j) += share;
                }
            }
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(y[0].shape.numel() as f64)
    }

    fn view_of(&self, x: &[TensorDesc]) -> Option<usize> {
        (x[0].shape == self.x_shape).then_some(0)
    }
}

impl<'g> Value<'g> {
    /// Means that leave so many rows and columns; see [`AdaptiveAvgPool`].
    #[track_caller]
    pub fn adaptive_avg_pool2d(self, output: [usize; 2]) -> Value<'g> {
        self.graph().apply1(AdaptiveAvgPool { output }, &[self])
    }
}

/// Windows that divide the image and that do not, that overlap, more windows than pixels, none to do, one window.
pub fn cases() -> Vec<Case> {
    let list: [([usize; 4], [usize; 2]); 11] = [
        ([2, 4, 6, 6], [3, 3]),
        ([1, 3, 7, 5], [3, 2]),
        ([2, 8, 14, 14], [4, 4]),
        ([1, 5, 2, 3], [7, 7]),
        ([3, 6, 1, 1], [1, 1]),
        ([1, 1, 9, 4], [9, 3]),
        ([2, 12, 13, 11], [6, 6]),
        ([1, 36, 3, 10], [1, 1]),
        ([2, 7, 5, 5], [5, 5]),
        ([1, 40, 4, 9], [5, 2]),
        ([32, 512, 14, 14], [4, 4]),
    ];
    let mut cases = Vec::new();
    for (shape, output) in list {
        let (x_shape, name) = (Shape::from(shape), format!("{shape:?} to {output:?}"));
        let dy = CaseInput::normal([shape[0], shape[1], output[0], output[1]]);
        let pair = [
            Case::new(&name, AdaptiveAvgPool { output }, [CaseInput::normal(shape)]),
            Case::new(&name, AdaptiveAvgPoolBackward { x_shape }, [dy]),
        ];
        cases.extend(pair.map(|case| if shape[1] == 512 { case.timed() } else { case }));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_pytorchs() {
        let windows = |windows, size| (0..windows).map(|i| window(i, windows, size)).collect::<Vec<_>>();
        assert_eq!(windows(4, 14), [0..4, 3..7, 7..11, 10..14]);
        assert_eq!(windows(3, 2), [0..1, 0..2, 1..2]);
        // The windows that hold pixel 3 of 14.
        assert_eq!(window(3, 14, 4), 0..2);
    }

    #[test]
    fn impossible_extents_are_refused() {
        let x = [TensorDesc::f32([1, 2, 3, 3])];
        assert!(AdaptiveAvgPool { output: [0, 1] }.infer(&x).is_err_and(|e| e.contains("got 0 and 1")));
        assert!(AdaptiveAvgPool { output: [1, 1 << 40] }.infer(&x).is_err());
        assert!(AdaptiveAvgPool { output: [1, 1] }.infer(&[TensorDesc::f32([4, 4])]).is_err());
    }
}
