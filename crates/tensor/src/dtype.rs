//! Element types a tensor can have on the device.

use std::fmt;

/// The type of one element. Both types take four bytes on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 single precision: activations, weights, gradients, losses.
    F32,
    /// Unsigned integers: class labels, counts, random-number keys, and packed pixels (channel `c` in byte `c`).
    U32,
}

impl DType {
    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        4
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::U32 => "u32",
        })
    }
}
