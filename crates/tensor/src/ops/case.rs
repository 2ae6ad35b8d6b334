//! Named test cases: every operation's file lists some, and the tests walk them.

use super::OpDef;
use super::move_pixels::{MOVE_WORDS, draw_moves};
use crate::dtype::DType;
use crate::philox::Stream;
use crate::shape::{Shape, TensorDesc, from_device_order};
use std::rc::Rc;

/// An operation with operands to try it on.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is odd about it: `stride > filter`.
    pub name: String,
    /// The operation with its settings.
    pub op: Rc<dyn OpDef>,
    /// Operands.
    pub inputs: Vec<CaseInput>,
    /// Allowed difference between kernel and reference, relative to the largest magnitude of the result.
    pub tolerance: f64,
    /// Whether the reference's gradient is checked: another case may have the same reference and only other kernels.
    pub gradient: bool,
    /// Whether it is of the size that networks have: benchmarks take it, tests leave it out.
    pub timed: bool,
}

impl Case {
    /// A case with the tolerance of an f32 sum.
    pub fn new(name: impl Into<String>, op: impl OpDef, inputs: impl Into<Vec<CaseInput>>) -> Case {
        Case {
            name: name.into(),
            op: Rc::new(op),
            inputs: inputs.into(),
            tolerance: 2e-5,
            gradient: true,
            timed: false,
        }
    }

    /// The same case where another one has checked the reference's gradient.
    pub fn kernels_only(self) -> Case {
        Case { gradient: false, ..self }
    }

    /// The same case for benchmarks only.
    pub fn timed(self) -> Case {
        Case { timed: true, ..self }
    }

    /// Elements of all operands.
    pub fn elements(&self) -> usize {
        self.inputs.iter().map(|input| input.desc.shape.numel()).sum()
    }

    /// The same case with another tolerance.
    pub fn within(self, tolerance: f64) -> Case {
        Case { tolerance, ..self }
    }
}

/// The images that cases for benchmarks share: 32 of them as the first stage of ResNet-50 has them.
pub(super) const TIMED_IMAGES: [usize; 4] = [32, 64, 56, 56];

/// One operand of a case.
#[derive(Clone, Copy, Debug)]
pub struct CaseInput {
    /// Shape and type.
    pub desc: TensorDesc,
    /// What it holds.
    pub fill: Fill,
}

/// What an operand of a case holds. All values are exactly representable in f32.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// Normal, mean 0, deviation 1.
    Normal,
    /// Uniform in a range.
    Uniform(f32, f32),
    /// Magnitude between 0.2 and 1.2, both signs: clear of the kink of a ReLU.
    AwayFromZero,
    /// Values that differ from each other by at least 0.05, shuffled: clear of ties in a maximum.
    Distinct,
    /// Whole numbers below a bound.
    Below(u32),
    /// Any 32 bits.
    Bits,
    /// Rows of eight words as [`MovePixels`](super::move_pixels::MovePixels) takes them, of at most this many pixels.
    Moves(u32),
    /// One value everywhere.
    Constant(f32),
}

impl CaseInput {
    /// An f32 operand, normal.
    pub fn normal(shape: impl Into<Shape>) -> CaseInput {
        CaseInput { desc: TensorDesc::f32(shape), fill: Fill::Normal }
    }

    /// An f32 operand.
    pub fn f32(shape: impl Into<Shape>, fill: Fill) -> CaseInput {
        CaseInput { desc: TensorDesc::f32(shape), fill }
    }

    /// A u32 operand.
    pub fn u32(shape: impl Into<Shape>, fill: Fill) -> CaseInput {
        CaseInput { desc: TensorDesc::u32(shape), fill }
    }

    /// The elements in PyTorch's order, as f64; a pure function of `seed`.
    pub fn generate(&self, seed: u64) -> Vec<f64> {
        let count = self.desc.shape.numel();
        let mut stream = Stream::new(seed, 0xca5e, 0, 0);
        let mut normal = || {
            let radius = (-2.0 * (1.0 - f64::from(stream.unit_f32())).ln()).sqrt();
            radius * (std::f64::consts::TAU * f64::from(stream.unit_f32())).cos()
        };
        let values: Vec<f64> = match self.fill {
            Fill::Normal => (0..count).map(|_| normal()).collect(),
            Fill::Uniform(low, high) => {
                (0..count).map(|_| f64::from(low) + f64::from(high - low) * f64::from(stream.unit_f32())).collect()
            }
            Fill::AwayFromZero => (0..count)
                .map(|_| (0.2 + f64::from(stream.unit_f32())) * if stream.next_u32() & 1 == 0 { 1.0 } else { -1.0 })
                .collect(),
            Fill::Distinct => {
                let order = crate::philox::permutation(seed, 0xca5f, 0, count as u32);
                order.iter().map(|&i| f64::from(i) * 0.05 - count as f64 * 0.025).collect()
            }
            Fill::Below(bound) => (0..count).map(|_| f64::from(stream.below(bound))).collect(),
            Fill::Bits => (0..count).map(|_| f64::from(stream.next_u32())).collect(),
            Fill::Moves(most) => {
                let rows = count.div_ceil(MOVE_WORDS);
                (0..rows).flat_map(|_| draw_moves(&mut stream, most)).take(count).map(f64::from).collect()
            }
            Fill::Constant(value) => vec![f64::from(value); count],
        };
        // Drawn in device order so that a case with the same bytes on the device is the same case whatever its rank.
        let values = from_device_order(&self.desc.shape, &values);
        match self.desc.dtype {
            DType::F32 => values.into_iter().map(|v| f64::from(v as f32)).collect(),
            DType::U32 => values,
        }
    }
}
