//! How numbers are stored: 32 bits, or 16 with a rule of rounding. Computation is f32 whatever the storage.
//!
//! Storage is a property of a tensor's memory, not of its values or of kernels. A graph speaks of real numbers, kernels are
//! written in f32, and the text of a kernel is redirected where one of its bindings lies in 16 bits
//! ([`crate::kernel::storage`]). The codes below are the shaders' (`lib/half_storage.wgsl`), bit for bit: rounding is done in
//! integers, since what a driver's own conversion does with ties, subnormals and overflow is its own affair.

use crate::philox::{philox4x32_10, purpose};
use std::fmt;

/// How an element of an f32 tensor is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Storage {
    /// As it is.
    #[default]
    F32,
    /// IEEE 754 half precision: 11 significant bits, largest 65504, steps of 2^-24 below 2^-14.
    F16,
    /// The upper half of an f32: 8 significant bits, the range of f32.
    Bf16,
}

impl Storage {
    /// All of them.
    pub const ALL: [Storage; 3] = [Storage::F32, Storage::F16, Storage::Bf16];

    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::F16 | Storage::Bf16 => 2,
        }
    }

    /// Name in dumps, kernels and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::F16 => "f16",
            Storage::Bf16 => "bf16",
        }
    }

    /// Largest relative difference between a number in the normal range and its nearest code: half a step.
    pub const fn unit_roundoff(self) -> f64 {
        match self {
            Storage::F32 => 1.0 / (1u64 << 24) as f64,
            Storage::F16 => 1.0 / (1u64 << 11) as f64,
            Storage::Bf16 => 1.0 / (1u64 << 8) as f64,
        }
    }

    /// The code of `x` rounded to nearest, ties to even; too large becomes infinite, NaN stays NaN. A 16-bit code lies in the
    /// low half.
    pub fn nearest(self, x: f32) -> u32 {
        let bits = x.to_bits();
        let (sign, a) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
        match self {
            Storage::F32 => bits,
            _ if a > INFINITE => sign | self.nan(),
            Storage::Bf16 => sign | (a + 0x7fff + (a >> 16 & 1)) >> 16,
            Storage::F16 if a < F16_NORMAL => {
                let (mantissa, shift) = subnormal(a, 25);
                sign | (mantissa + (1 << (shift - 1)) - 1 + (mantissa >> shift & 1)) >> shift
            }
            Storage::F16 => {
                let t = a.min(INFINITE) - F16_BIAS;
                sign | ((t + 0xfff + (t >> 13 & 1)) >> 13).min(F16_INFINITE)
            }
        }
    }

    /// The code of `x` rounded up or down so that the expectation is `x`: `word` is a uniform random word. Numbers beyond
    /// the largest one become the largest one; infinities and NaN stay what they are.
    pub fn stochastic(self, x: f32, word: u32) -> u32 {
        let bits = x.to_bits();
        let (sign, a) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
        match self {
            Storage::F32 => bits,
            _ if a > INFINITE => sign | self.nan(),
            Storage::Bf16 if a == INFINITE => sign | INFINITE >> 16,
            Storage::F16 if a == INFINITE => sign | F16_INFINITE,
            Storage::Bf16 => sign | ((a + (word & 0xffff)) >> 16).min(0x7f7f),
            Storage::F16 if a < F16_NORMAL => {
                let (mantissa, shift) = subnormal(a, 31);
                sign | (mantissa + (word & ((1 << shift) - 1))) >> shift
            }
            Storage::F16 => sign | ((a - F16_BIAS + (word & 0x1fff)) >> 13).min(F16_INFINITE - 1),
        }
    }

    /// The number behind a code.
    pub fn decode(self, code: u32) -> f32 {
        match self {
            Storage::F32 => f32::from_bits(code),
            Storage::Bf16 => f32::from_bits(code << 16),
            Storage::F16 => half::f16::from_bits(code as u16).to_f32(),
        }
    }

    const fn nan(self) -> u32 {
        match self {
            Storage::F16 => 0x7e00,
            Storage::Bf16 | Storage::F32 => 0x7fc0,
        }
    }

    /// Codes of `values` as bytes in memory, rounded to nearest, padded to whole words.
    pub fn encode_all(self, values: &[f32]) -> Vec<u8> {
        let code = |&x: &f32| self.nearest(x).to_le_bytes();
        let mut bytes: Vec<u8> = values.iter().flat_map(|x| code(x).into_iter().take(self.size_bytes())).collect();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// The first `count` numbers of a memory.
    pub fn decode_all(self, bytes: &[u8], count: usize) -> Vec<f32> {
        let code = |bytes: &[u8]| bytes.iter().rev().fold(0, |code, &byte| code << 8 | u32::from(byte));
        bytes.chunks_exact(self.size_bytes()).take(count).map(|bytes| self.decode(code(bytes))).collect()
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const INFINITE: u32 = 0x7f80_0000;
/// 2^-14, the smallest normal f16, as f32.
const F16_NORMAL: u32 = 0x3880_0000;
/// What the exponents of f32 and f16 differ by.
const F16_BIAS: u32 = 112 << 23;
const F16_INFINITE: u32 = 0x7c00;

/// A number below 2^-14 as `mantissa / 2^shift` steps of 2^-24; shifts beyond `most` are not told apart.
fn subnormal(a: u32, most: u32) -> (u32, u32) {
    let exponent = (a >> 23).max(1);
    let hidden = if a >> 23 == 0 { 0 } else { 1 << 23 };
    (a & 0x7f_ffff | hidden, (126 - exponent).min(most))
}

/// How a number becomes a code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rounding {
    /// To the nearest code, ties to even.
    #[default]
    Nearest,
    /// Up or down with the probabilities that make the expectation exact. Small updates that nearest rounding cancels survive
    /// on average (Gupta et al., arXiv:1502.02551; Zamirai et al., arXiv:2010.06192).
    Stochastic,
}

impl Rounding {
    /// Name in dumps and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Rounding::Nearest => "nearest",
            Rounding::Stochastic => "stochastic",
        }
    }
}

/// The random words of four neighbouring elements `4 * quad ..` of the tensor that rounds with `stream`, in a step.
pub fn rounding_words(seed: u64, step: u32, stream: u32, quad: u32) -> [u32; 4] {
    philox4x32_10([quad | purpose::ROUND << 28, stream, step, 0], [seed as u32, (seed >> 32) as u32])
}

/// What a plan stores in fewer than 32 bits. The storage of parameters is the store's
/// ([`Params::with_weights`](crate::Params::with_weights)), since all plans share it; how they are rounded is the plan's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoragePolicy {
    /// Storage of feature maps and of their gradients: temporaries of rank 2 and above. Those that a kernel writes in other
    /// units than whole vec4s stay f32, as do sums, statistics, losses, outputs and parameter gradients.
    pub activations: Storage,
    /// How they are rounded.
    pub activation_rounding: Rounding,
    /// How parameters in 16 bits are rounded when they are updated.
    pub weight_rounding: Rounding,
}

impl StoragePolicy {
    /// Whether a step needs random numbers to round.
    pub fn is_stochastic(&self) -> bool {
        self.weight_rounding == Rounding::Stochastic
            || (self.activations != Storage::F32 && self.activation_rounding == Rounding::Stochastic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> impl Iterator<Item = f32> {
        let special = [0.0, -0.0, 1.0, 65504.0, 65519.99, 65520.0, 1e9, f32::MAX, f32::INFINITY, f32::NEG_INFINITY];
        let tiny = [6e-8, 2.9e-8, 2.98e-8, 3e-8, 5.96e-8, 8.9e-8, 6.0e-5, 6.1035e-5, 6.1036e-5, 1e-40, 1e-45];
        let walk = (0..200_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)));
        special.into_iter().chain(tiny).chain(walk)
    }

    #[test]
    fn nearest_is_ieee() {
        for x in samples() {
            let (f16, bf16) = (half::f16::from_f32(x), half::bf16::from_f32(x));
            if x.is_nan() {
                assert!(Storage::F16.decode(Storage::F16.nearest(x)).is_nan());
                assert!(Storage::Bf16.decode(Storage::Bf16.nearest(x)).is_nan());
            } else {
                assert_eq!(Storage::F16.nearest(x), u32::from(f16.to_bits()), "{x:e}");
                assert_eq!(Storage::Bf16.nearest(x), u32::from(bf16.to_bits()), "{x:e}");
            }
        }
    }

    #[test]
    fn stochastic_takes_a_neighbour_and_never_leaves_the_range() {
        for x in samples().filter(|x| x.is_finite()) {
            for storage in [Storage::F16, Storage::Bf16] {
                let low = storage.decode(storage.stochastic(x, 0));
                let high = storage.decode(storage.stochastic(x, u32::MAX));
                assert!(low.is_finite() && high.is_finite(), "{x:e}");
                assert!(low.abs() <= x.abs(), "{x:e}: {low:e}");
                let largest = storage.decode(if storage == Storage::F16 { 0x7bff } else { 0x7f7f });
                assert!(high.abs() >= x.abs().min(largest), "{x:e}: {high:e}");
                let exact = storage.decode(storage.nearest(x)) == x;
                assert!(!exact || (low == x && high == x), "{x:e} has a code and keeps it");
            }
        }
        assert_eq!(Storage::F16.decode(Storage::F16.stochastic(f32::INFINITY, 7)), f32::INFINITY);
        assert!(Storage::Bf16.decode(Storage::Bf16.stochastic(f32::NAN, 7)).is_nan());
    }

    #[test]
    fn stochastic_is_right_on_average() {
        let n = 1 << 16;
        for storage in [Storage::F16, Storage::Bf16] {
            for x in [1.001f32, -0.337, 3.1e-6, 1.7e-7, 123.4] {
                let words = (0..n / 4).flat_map(|quad| rounding_words(9, 3, 1, quad));
                let sum: f64 = words.map(|word| f64::from(storage.decode(storage.stochastic(x, word)))).sum();
                let (low, high) = (storage.stochastic(x, 0), storage.stochastic(x, u32::MAX));
                let step = f64::from((storage.decode(high) - storage.decode(low)).abs());
                // Standard deviation of the mean of n numbers that differ by at most a step.
                let allowed = 4.0 * 0.5 * step / f64::from(n).sqrt();
                assert!((sum / f64::from(n) - f64::from(x)).abs() <= allowed, "{storage} {x}: {}", sum / f64::from(n));
            }
        }
    }

    #[test]
    fn memory_is_read_as_it_was_written() {
        let values = [1.0, -2.5, 0.0, 65504.0, 0.25];
        for storage in Storage::ALL {
            let bytes = storage.encode_all(&values);
            assert_eq!(bytes.len(), (5 * storage.size_bytes()).next_multiple_of(4));
            let wanted: Vec<f32> = values.iter().map(|&x| storage.decode(storage.nearest(x))).collect();
            assert_eq!(storage.decode_all(&bytes, 5), wanted);
        }
    }
}
