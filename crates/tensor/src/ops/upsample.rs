//! Larger images by bilinear interpolation.

use super::pixel_rows::Rows;
use super::{Backward, Case, CaseInput, Cost, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// `y[p, q] = sum_ij hat(c(p) - i) hat(c(q) - j) x[i, j]` with `hat(d) = max(0, 1 - |d|)` and `c(p) = (p + 1/2) H / P - 1/2`, held within
/// the image: PyTorch's `interpolate(mode="bilinear", align_corners=False)` to a given size, at least that of the image.
///
/// (Nearest neighbours are [`Value::adaptive_avg_pool2d`] with more windows than pixels.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpsampleBilinear {
    /// Rows and columns of the result.
    pub output: [usize; 2],
}

/// The adjoint of [`UpsampleBilinear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpsampleBilinearBackward {
    /// Shape before.
    pub x_shape: Shape,
}

/// Largest extent of a result.
const LARGEST: usize = 32_768;

fn infer(x: &TensorDesc, output: [usize; 2]) -> Result<Shape, String> {
    let [n, c, h, w] = x.shape.nchw();
    if x.shape.rank() != 4 || x.shape.numel() == 0 {
        return Err("upsampling wants images [N, C, H, W] with at least one pixel".to_string());
    }
    let [p, q] = output;
    if p < h || q < w || p > LARGEST || q > LARGEST {
        return Err(format!(
            "the result must have {h} to {LARGEST} rows and {w} to {LARGEST} columns, got {p} and {q}"
        ));
    }
    Ok([n, c, p, q].into())
}

/// The pixels from which pixel `i` of `large` is made, and their shares.
fn taps(i: usize, large: usize, small: usize) -> [(usize, f64); 2] {
    let place = ((i as f64 + 0.5) * small as f64 / large as f64 - 0.5).clamp(0.0, (small - 1) as f64);
    let first = place as usize;
    [(first, 1.0 - place.fract()), ((first + 1).min(small - 1), place.fract())]
}

/// Calls `body` with the indices in the large and in the small image and the share.
fn for_each_tap(large: &Shape, small: &Shape, mut body: impl FnMut([usize; 4], [usize; 4], f64)) {
    let ([n, c, p, q], [_, _, h, w]) = (large.nchw(), small.nchw());
    for i in 0..n * c * p * q {
        let to @ [n, c, row, column] = [i / (c * p * q), i / (p * q) % c, i / q % p, i % q];
        for (line, height) in taps(row, p, h) {
            for (place, width) in taps(column, q, w) {
                body(to, [n, c, line, place], height * width);
            }
        }
    }
}

fn launch(cx: &mut Lower<'_>, backward: bool) {
    let target = cx.target();
    let (x, y) = (cx.x(0), cx.y(0));
    let [_, _, h, w] = cx.x_desc(0).shape.nchw();
    let extents = cx.y_desc(0).shape.nchw();
    let kernel = cx.dispatch("upsample_bilinear").define_if(backward, "BACKWARD").bind("x", x).bind("y", y);
    Rows::of(extents).launch(kernel.args(&[("h", h), ("w", w), ("p", extents[2])]), target);
}

impl OpDef for UpsampleBilinear {
    fn name(&self) -> &'static str {
        "upsample_bilinear2d"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::f32(infer(&x[0], self.output)?)])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = UpsampleBilinearBackward { x_shape: cx.input(0).shape() };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy()]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch(cx, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let large = y[0].shape;
        for_each_tap(&large, &x[0].shape, |[n, c, p, q], [_, _, i, j], share| {
            *y[0].at(n, c, p, q) += share * x[0].at(n, c, i, j);
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(8.0 * y[0].shape.numel() as f64)
    }
}

impl OpDef for UpsampleBilinearBackward {
    fn name(&self) -> &'static str {
        "upsample_bilinear2d.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let large = infer(&TensorDesc::f32(self.x_shape), [x[0].shape.dim(2), x[0].shape.dim(3)])?;
        if x[0].shape == large { Ok(vec![TensorDesc::f32(self.x_shape)]) } else { Err(format!("wanted {large}")) }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        launch(cx, true);
    }

    fn reference(&self, x: &[View<'_>], dx: &mut [ViewMut<'_>]) {
        for_each_tap(&x[0].shape, &self.x_shape, |[n, c, p, q], [_, _, i, j], share| {
            *dx[0].at(n, c, i, j) += share * x[0].at(n, c, p, q);
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(8.0 * x[0].shape.numel() as f64)
    }
}

impl<'g> Value<'g> {
    /// Bilinear interpolation to so many rows and columns; see [`UpsampleBilinear`].
    #[track_caller]
    pub fn upsample_bilinear2d(self, output: [usize; 2]) -> Value<'g> {
        self.graph().apply1(UpsampleBilinear { output }, &[self])
    }
}

/// Whole and broken factors, one pixel, one row, no change, whole and broken vec4s.
pub fn cases() -> Vec<Case> {
    let list: [([usize; 4], [usize; 2]); 9] = [
        ([2, 4, 3, 3], [6, 6]),
        ([1, 3, 5, 4], [7, 9]),
        ([2, 5, 1, 1], [3, 4]),
        ([1, 8, 1, 6], [2, 6]),
        ([3, 1, 4, 4], [4, 4]),
        ([1, 36, 2, 7], [9, 8]),
        ([1, 2, 3, 2], [19, 17]),
        ([2, 7, 6, 5], [11, 20]),
        ([8, 64, 28, 28], [56, 56]),
    ];
    let mut cases = Vec::new();
    for (shape, output) in list {
        let (x_shape, name) = (Shape::from(shape), format!("{shape:?} to {output:?}"));
        let dy = CaseInput::normal([shape[0], shape[1], output[0], output[1]]);
        let pair = [
            Case::new(&name, UpsampleBilinear { output }, [CaseInput::normal(shape)]),
            Case::new(&name, UpsampleBilinearBackward { x_shape }, [dy]),
        ];
        cases.extend(pair.map(|case| if shape[1] == 64 { case.timed() } else { case }));
    }
    cases
}
