//! Element types of weight files, and their conversion to f32.

/// What one element is; little-endian in all formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F64,
    F16,
    Bf16,
    /// Whole numbers and truth values, of so many bytes: no weights.
    Whole(usize),
}

impl Element {
    /// Bytes of one element.
    pub(super) fn size_bytes(self) -> usize {
        match self {
            Element::F16 | Element::Bf16 => 2,
            Element::F32 => 4,
            Element::F64 => 8,
            Element::Whole(bytes) => bytes,
        }
    }

    /// Elements as f32 (f64 rounded to nearest, the others exactly), or `None` for whole numbers. Bytes behind the last whole
    /// element are left out.
    pub(super) fn to_f32(self, data: &[u8]) -> Option<Vec<f32>> {
        fn each<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            let chunks = data.chunks_exact(N);
            chunks.map(|chunk| convert(std::array::from_fn(|i| chunk[i]))).collect()
        }
        Some(match self {
            Element::F32 => each(data, f32::from_le_bytes),
            Element::F64 => each(data, |bytes| f64::from_le_bytes(bytes) as f32),
            Element::Bf16 => each(data, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)),
            Element::F16 => each(data, |bytes| half_to_f32(u16::from_le_bytes(bytes))),
            Element::Whole(_) => return None,
        })
    }
}

/// IEEE 754 binary16 to binary32, exactly.
fn half_to_f32(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (half >> 10 & 0x1f, f32::from(half & 0x3ff));
    match exponent {
        0 => sign * fraction * (-24f32).exp2(),
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        _ => sign * (1024.0 + fraction) * f32::from(exponent as i16 - 25).exp2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_exact() {
        for (half, value) in [
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0xc000, -2.0),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half_to_f32(half), value, "{half:#x}");
        }
        assert!(half_to_f32(0x7e00).is_nan() && half_to_f32(0x8000).is_sign_negative());
    }

    #[test]
    fn elements_are_converted_and_remainders_left_out() {
        assert_eq!(Element::F64.to_f32(&0.25f64.to_le_bytes()), Some(vec![0.25]));
        assert_eq!(Element::Bf16.to_f32(&[0x80, 0xbf, 0]), Some(vec![-1.0]));
        assert_eq!(Element::Whole(8).to_f32(&[0; 8]), None);
    }
}
