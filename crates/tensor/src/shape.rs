//! Shapes of up to four dimensions, and the one rule that maps them to device memory.
//!
//! Users see PyTorch's order everywhere: `[N, C, H, W]` for images, `[K, C, R, S]` for filters. On the device **a tensor
//! of rank 4 is stored with dimension 1 innermost**, so images lie as NHWC and filters as KRSC; every other rank is stored
//! row-major. [`to_device_order`], [`from_device_order`] and [`device_index`] are the only places where the orders meet.

use crate::dtype::DType;
use std::fmt;

/// The extents of a tensor, outermost first, at most four of them. A shape of rank 0 is a scalar.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    dims: [usize; 4],
    rank: u8,
}

impl Shape {
    /// A shape from a slice, or `None` when there are more than four dimensions.
    pub fn try_new(dims: &[usize]) -> Option<Shape> {
        let mut shape = Shape { dims: [1; 4], rank: u8::try_from(dims.len()).ok()? };
        shape.dims.get_mut(..dims.len())?.copy_from_slice(dims);
        Some(shape)
    }

    /// The shape `[]` of one element.
    pub const fn scalar() -> Shape {
        Shape { dims: [1; 4], rank: 0 }
    }

    /// Number of dimensions.
    pub const fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank()]
    }

    /// Extent of dimension `i`; 1 where the shape has no such dimension.
    pub fn dim(&self, i: usize) -> usize {
        if i < self.rank() { self.dims[i] } else { 1 }
    }

    /// The same with another extent of dimension 0; a scalar stays one.
    #[must_use]
    pub fn with_rows(mut self, rows: usize) -> Shape {
        if self.rank > 0 {
            self.dims[0] = rows;
        }
        self
    }

    /// Number of elements; the largest number there is for shapes beyond it, which [`TensorDesc::check`] refuses.
    pub fn numel(&self) -> usize {
        self.dims().iter().fold(1, |product: usize, &extent| product.saturating_mul(extent))
    }

    /// The extents as `[N, C, H, W]`, missing trailing ones being 1: how kernels over images see a matrix `[N, C]`.
    pub fn nchw(&self) -> [usize; 4] {
        [self.dim(0), self.dim(1), self.dim(2), self.dim(3)]
    }
}

macro_rules! shape_from_arrays {
    ($($n:literal),*) => {$(
        impl From<[usize; $n]> for Shape {
            fn from(array: [usize; $n]) -> Shape {
                let mut dims = [1; 4];
                dims[..$n].copy_from_slice(&array);
                Shape { dims, rank: $n }
            }
        }
    )*};
}
shape_from_arrays!(0, 1, 2, 3, 4);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shape and element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorDesc {
    /// Extents in PyTorch's order.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl TensorDesc {
    /// An f32 tensor.
    pub fn f32(shape: impl Into<Shape>) -> TensorDesc {
        TensorDesc { shape: shape.into(), dtype: DType::F32 }
    }

    /// A u32 tensor.
    pub fn u32(shape: impl Into<Shape>) -> TensorDesc {
        TensorDesc { shape: shape.into(), dtype: DType::U32 }
    }

    /// Bytes of the elements, without padding.
    pub fn size_bytes(&self) -> u64 {
        (self.shape.numel() as u64).saturating_mul(self.dtype.size_bytes() as u64)
    }

    /// Refuses what no kernel can work on: tensors without elements, or with more than a u32 counts. Every tensor of a
    /// graph is checked when it is made, so that operations need not.
    pub fn check(&self) -> Result<(), String> {
        match self.shape.numel() {
            0 => Err(format!("{self} has no elements; every extent must be at least 1")),
            count if u32::try_from(count).is_err() => {
                Err(format!("{self} has more than {} elements; make the batch or the layer smaller", u32::MAX))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for TensorDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// Reorders elements from PyTorch's order into device order (rank 4: dimension 1 innermost; otherwise unchanged).
pub fn to_device_order<T: Copy>(shape: &Shape, host: &[T]) -> Vec<T> {
    reorder(shape, host, |host_index, device_index| (device_index, host_index))
}

/// Reorders elements from device order into PyTorch's order; the inverse of [`to_device_order`].
pub fn from_device_order<T: Copy>(shape: &Shape, device: &[T]) -> Vec<T> {
    reorder(shape, device, |host_index, device_index| (host_index, device_index))
}

/// Where an element that is number `host_index` in PyTorch's order lies in device order.
pub fn device_index(shape: &Shape, host_index: usize) -> usize {
    let [_, c, h, w] = shape.nchw();
    let pixels = h * w;
    if shape.rank() < 4 {
        return host_index;
    }
    (host_index / (c * pixels) * pixels + host_index % pixels) * c + host_index / pixels % c
}

fn reorder<T: Copy>(shape: &Shape, source: &[T], to_from: impl Fn(usize, usize) -> (usize, usize)) -> Vec<T> {
    let mut out = source.to_vec();
    if shape.rank() == 4 {
        let [n, c, h, w] = shape.nchw();
        for i in 0..n {
            for j in 0..c {
                for p in 0..h * w {
                    let (to, from) = to_from((i * c + j) * h * w + p, (i * h * w + p) * c + j);
                    out[to] = source[from];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_inverse_and_channels_go_innermost() {
        let shape = Shape::from([2, 3, 2, 2]);
        let host: Vec<usize> = (0..shape.numel()).collect();
        let device = to_device_order(&shape, &host);
        assert_eq!(&device[..6], &[0, 4, 8, 1, 5, 9]);
        assert_eq!(from_device_order(&shape, &device), host);
        assert!(host.iter().all(|&i| device[device_index(&shape, i)] == i));
        let matrix = Shape::from([4, 6]);
        assert_eq!(to_device_order(&matrix, &host), host);
    }

    #[test]
    fn empty_and_uncountable_tensors_are_refused() {
        assert!(TensorDesc::f32([3, 0]).check().is_err_and(|e| e.contains("no elements")));
        for shape in [[1 << 40, 1 << 40], [1 << 16, 1 << 16]] {
            assert!(TensorDesc::f32(shape).check().is_err_and(|e| e.contains("more than")), "{shape:?}");
        }
        assert!(TensorDesc::f32([]).check().is_ok());
    }

    #[test]
    fn five_dimensions_are_refused() {
        assert!(Shape::try_new(&[1, 2, 3, 4, 5]).is_none());
        assert_eq!(Shape::try_new(&[7, 8]).map(|s| s.numel()), Some(56));
    }
}
