//! Images to vectors, in PyTorch's order.

use super::pixel_rows::launch_lines;
use super::{Backward, Case, CaseInput, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::{Shape, TensorDesc};

/// `[N, ...] -> [N, product of the rest]`, elements in PyTorch's order.
///
/// Images lie channels-last on the device, so this moves elements, unless there is one channel or one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten;

/// The inverse of [`Flatten`]: `[N, F] -> x_shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unflatten {
    /// Shape before flattening.
    pub x_shape: Shape,
}

fn is_view(shape: &Shape) -> bool {
    shape.rank() != 4 || shape.dim(1) == 1 || shape.dim(2) * shape.dim(3) == 1
}

/// Transposes a batch of matrices `[length, lines]`.
fn transpose(cx: &mut Lower<'_>, batch: usize, lines: usize, length: usize) {
    let target = cx.target();
    let (x, y) = (cx.x(0), cx.y(0));
    let kernel = cx.dispatch("flatten").bind("x", x).bind("y", y).args(&[("lines", lines)]);
    launch_lines(kernel, target, batch * lines, length);
}

impl OpDef for Flatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x {
            [x] if x.dtype == DType::F32 && x.shape.rank() >= 2 && x.shape.numel() > 0 => {
                let n = x.shape.dim(0);
                Ok(vec![TensorDesc::f32([n, x.shape.numel() / n])])
            }
            _ => Err("flatten wants f32 [N, ...] of at least two dimensions, none of them empty".to_string()),
        }
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![Some(cx.graph().apply1(Unflatten { x_shape: cx.input(0).shape() }, &[cx.dy()]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [n, c, h, w] = cx.x_desc(0).shape.nchw();
        transpose(cx, n, c, h * w);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data.copy_from_slice(x[0].data);
    }

    fn view_of(&self, x: &[TensorDesc]) -> Option<usize> {
        is_view(&x[0].shape).then_some(0)
    }
}

impl OpDef for Unflatten {
    fn name(&self) -> &'static str {
        "flatten.backward"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let flat = Flatten.infer(&[TensorDesc::f32(self.x_shape)])?;
        if x == flat { Ok(vec![TensorDesc::f32(self.x_shape)]) } else { Err(format!("wanted {}", flat[0])) }
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![Some(cx.dy().flatten())])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [n, c, h, w] = self.x_shape.nchw();
        transpose(cx, n, h * w, c);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data.copy_from_slice(x[0].data);
    }

    fn view_of(&self, _: &[TensorDesc]) -> Option<usize> {
        is_view(&self.x_shape).then_some(0)
    }
}

impl<'g> Value<'g> {
    /// `[N, C, H, W] -> [N, C H W]` in PyTorch's order, so that weights of a following linear layer fit.
    #[track_caller]
    pub fn flatten(self) -> Value<'g> {
        self.graph().apply1(Flatten, &[self])
    }
}

/// Views (one channel, one pixel, other ranks) and permutations of odd extents.
pub fn cases() -> Vec<Case> {
    let shapes: [Shape; 11] = [
        [1, 1, 1, 1].into(),
        [3, 1, 4, 5].into(),
        [2, 7, 1, 1].into(),
        [2, 3, 4, 5].into(),
        [1, 2, 1, 3].into(),
        [5, 3, 1, 2].into(),
        [2, 16, 7, 7].into(),
        [40, 2, 2, 1].into(),
        [1, 130, 3, 3].into(),
        [4, 6].into(),
        [2, 3, 5].into(),
    ];
    let mut cases = Vec::new();
    for shape in shapes {
        let flat = CaseInput::normal([shape.dim(0), shape.numel() / shape.dim(0)]);
        cases.push(Case::new(shape.to_string(), Flatten, [CaseInput::normal(shape)]));
        cases.push(Case::new(shape.to_string(), Unflatten { x_shape: shape }, [flat]));
    }
    // Before the first linear layer of VGG.
    let (shape, flat) = (Shape::from([64, 512, 7, 7]), CaseInput::normal([64, 512 * 7 * 7]));
    cases.push(Case::new(shape.to_string(), Flatten, [CaseInput::normal(shape)]).timed());
    cases.push(Case::new(shape.to_string(), Unflatten { x_shape: shape }, [flat]).timed());
    cases
}
