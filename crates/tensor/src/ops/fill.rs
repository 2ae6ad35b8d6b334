//! Constants and random fills: how parameters start and how gradients are seeded.

use super::strips::launch_strips;
use super::{Backward, Case, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::{Graph, Init, Value};
use crate::philox::{philox4x32_10, purpose};
use crate::shape::{Shape, TensorDesc, device_index, from_device_order};

/// A tensor of constants, or of numbers drawn from Philox4x32-10 (Salmon et al. 2011).
///
/// Element `i` **in device order** (counted from `first`) comes from word `i % 4` of the block with counter `(i / 4 + 2^28 purpose, stream, 0, 0)`
/// and key `(seed low, seed high)`. Uniform: `u = (word >> 8) * 2^-24`, value `(2u - 1) * bound`. Normal: Box–Muller on the pairs
/// of words (0, 1) and (2, 3). The driver's `log`, `cos` and `sin` decide the last bits of normals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FillWith {
    /// Extents.
    pub shape: Shape,
    /// A constant, `Normal` or `Uniform`; other initialisers must be resolved first.
    pub init: Init,
    /// Key.
    pub seed: u64,
    /// Second counter word.
    pub stream: u32,
    /// Number of the first element, a multiple of four: rows of a larger tensor get the numbers that it would have there.
    pub first: usize,
}

impl FillWith {
    fn kind_and_scale(&self) -> (u32, f32) {
        match self.init.resolve(&self.shape) {
            Init::Uniform { bound } => (1, bound),
            Init::Normal { std } => (2, std),
            Init::Constant(value) => (0, value),
            _ => (0, 0.0),
        }
    }

    /// Elements `4 * block` and the three behind it, in device order.
    fn block(&self, block: u32) -> [f64; 4] {
        let (kind, scale) = self.kind_and_scale();
        let scale = f64::from(scale);
        let counter = [(block + (self.first / 4) as u32) | purpose::INIT << 28, self.stream, 0, 0];
        let words = philox4x32_10(counter, [self.seed as u32, (self.seed >> 32) as u32]);
        let unit = words.map(|word| f64::from(word >> 8) / f64::from(1 << 24));
        let pair = |u: f64, v: f64| {
            let (radius, angle) = ((-2.0 * (1.0 - u).ln()).sqrt() * scale, std::f64::consts::TAU * v);
            [radius * angle.cos(), radius * angle.sin()]
        };
        match kind {
            1 => unit.map(|u| (2.0 * u - 1.0) * scale),
            2 => {
                let ([a, b], [c, d]) = (pair(unit[0], unit[1]), pair(unit[2], unit[3]));
                [a, b, c, d]
            }
            _ => [scale; 4],
        }
    }

    /// One element, numbered in PyTorch's order.
    pub(crate) fn at(&self, element: usize) -> f64 {
        let index = device_index(&self.shape, element);
        self.block((index / 4) as u32)[index % 4]
    }
}

impl OpDef for FillWith {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(Vec::new())
    }

    fn infer(&self, _: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let last = self.first.saturating_add(self.shape.numel());
        if self.first > 0 && (!self.first.is_multiple_of(4) || last / 4 >= 1 << 28) {
            return Err(format!("first element {} must be a multiple of 4, and the last one below 2^30", self.first));
        }
        Ok(vec![TensorDesc::f32(self.shape)])
    }

    fn backward<'g>(&self, _: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(Vec::new())
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let n = self.shape.numel().div_ceil(4);
        let (kind, scale) = self.kind_and_scale();
        let (y, target) = (cx.y(0), cx.target());
        let kernel = cx.dispatch("fill").set("KIND", kind).bind("y", y).arg("scale", scale);
        let kernel = kernel.arg("seed_low", self.seed as u32).arg("seed_high", (self.seed >> 32) as u32);
        let kernel = kernel.arg("purpose", purpose::INIT).arg("first", (self.first / 4) as u32);
        launch_strips(kernel.arg("stream", self.stream), &target, n);
    }

    fn reference(&self, _: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let count = self.shape.numel();
        let mut device: Vec<f64> = (0..count.div_ceil(4) as u32).flat_map(|block| self.block(block)).collect();
        device.truncate(count);
        y[0].data.copy_from_slice(&from_device_order(&self.shape, &device));
    }
}

impl Graph {
    /// A tensor of one value.
    #[track_caller]
    pub fn constant(&self, shape: impl Into<Shape>, value: f32) -> Value<'_> {
        self.fill(shape, Init::Constant(value), 0, 0)
    }

    /// A tensor filled by an initialiser, keyed by seed and stream.
    #[track_caller]
    pub fn fill(&self, shape: impl Into<Shape>, init: Init, seed: u64, stream: u32) -> Value<'_> {
        let shape = shape.into();
        self.apply1(FillWith { shape, init: init.resolve(&shape), seed, stream, first: 0 }, &[])
    }
}

/// Odd sizes, every distribution, filters (whose device order differs from PyTorch's).
pub fn cases() -> Vec<Case> {
    let inits = [
        Init::Constant(-2.5),
        Init::Uniform { bound: 0.3 },
        Init::Normal { std: 1.5 },
        Init::KaimingNormal { gain: std::f32::consts::SQRT_2 },
        Init::KaimingNormalFanOut { gain: 1.0 },
        Init::KaimingUniform { gain: 0.577 },
        Init::XavierNormal { gain: 1.0 },
        Init::XavierUniform { gain: 1.0 },
    ];
    let shapes: [Shape; 4] = [[1].into(), [3, 7].into(), [5, 3, 3, 3].into(), [1030].into()];
    let mut cases = Vec::new();
    for init in inits {
        for (i, shape) in shapes.into_iter().enumerate() {
            let op =
                FillWith { shape, init: init.resolve(&shape), seed: 0x1234_5678_9abc_def0, stream: i as u32, first: 0 };
            cases.push(Case::new(format!("{init:?} {shape}"), op, []).within(1e-4));
        }
    }
    let (shape, init) = (Shape::from([5, 7]), Init::Uniform { bound: 0.3 });
    cases.push(
        Case::new("rows of a larger tensor", FillWith { shape, init, seed: 3, stream: 1, first: 28 }, []).within(1e-4),
    );
    // The weight of the second linear layer of AlexNet and VGG.
    let shape = Shape::from([4096, 4096]);
    let op = FillWith { shape, init: Init::Normal { std: 0.01 }, seed: 1, stream: 0, first: 0 };
    cases.push(Case::new(format!("normal {shape}"), op, []).within(1e-4).timed());
    cases
}
