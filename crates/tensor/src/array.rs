//! Arrays in host memory, in PyTorch's element order.

use crate::shape::Shape;

/// A dense f32 array on the host, row-major over [`Shape`] in PyTorch's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents.
    pub shape: Shape,
    /// Elements, `shape.numel()` of them.
    pub data: Vec<f32>,
}

impl Array {
    /// An array from its elements, or `None` when their number is not `shape.numel()`.
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> Option<Array> {
        let shape = shape.into();
        (shape.numel() == data.len()).then_some(Array { shape, data })
    }
}
