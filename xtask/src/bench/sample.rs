//! A part of a large product that the f64 reference computes in a moment: each of its results depends on a block of each
//! operand only. The last rows, images and channels are taken: the ends are where kernels go wrong.

use std::any::Any;
use std::ops::Range;
use std::rc::Rc;
use wgrad::tensor::Shape;
use wgrad::tensor::ops::conv2d::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dConfig};
use wgrad::tensor::ops::matmul::MatMul;
use wgrad::tensor::ops::{Activation, Case, OpDef};

/// A range of every dimension.
pub(super) type Block = Vec<Range<usize>>;

/// The operation on blocks of its operands, and the block of the result that it gives.
pub(super) struct Part {
    pub(super) op: Rc<dyn OpDef>,
    pub(super) inputs: Vec<Block>,
    pub(super) output: Block,
}

/// Multiply-adds that the reference may take.
const MACS: usize = 10_000_000;

/// A part of a convolution or matrix product without epilogue; `None` where the whole is to be computed.
pub(super) fn part_of(case: &Case) -> Option<Part> {
    let op: &dyn Any = &*case.op;
    let shapes: Vec<&[usize]> = case.inputs.iter().map(|input| input.desc.shape.dims()).collect();
    if let Some(op) = op.downcast_ref::<MatMul>() {
        let plain = !op.bias && !op.residual && op.activation == Activation::Identity;
        return plain.then(|| matmul(*op, shapes[0], shapes[1]));
    }
    if let Some(op) = op.downcast_ref::<Conv2d>() {
        let plain = !op.bias && !op.residual && op.activation == Activation::Identity;
        return plain.then(|| forward(*op, shapes[0], shapes[1]));
    }
    if let Some(op) = op.downcast_ref::<Conv2dBackwardInput>() {
        return (!op.residual).then(|| backward_input(*op, shapes[0], shapes[1]));
    }
    op.downcast_ref::<Conv2dBackwardWeight>().map(|op| backward_weight(*op, shapes[0], shapes[1]))
}

/// The last `count` of those below `end`, at least one and at most `all`.
fn last(end: usize, count: usize, all: usize) -> Range<usize> {
    end - count.clamp(1, all)..end
}

fn matmul(op: MatMul, a: &[usize], b: &[usize]) -> Part {
    let (m, k) = if op.transpose_a { (a[1], a[0]) } else { (a[0], a[1]) };
    let n = if op.transpose_b { b[0] } else { b[1] };
    let columns = last(n, 64, n);
    let rows = last(m, MACS / (k * columns.len()).max(1), m);
    let order = |swap: bool, pair: [Range<usize>; 2]| {
        let [first, second] = pair;
        if swap { vec![second, first] } else { vec![first, second] }
    };
    let a = order(op.transpose_a, [rows.clone(), 0..k]);
    let b = order(op.transpose_b, [0..k, columns.clone()]);
    Part { op: Rc::new(op), inputs: vec![a, b], output: vec![rows, columns] }
}

/// The last group alone is a convolution without groups.
fn ungrouped(config: Conv2dConfig) -> Conv2dConfig {
    Conv2dConfig { groups: 1, ..config }
}

fn forward(op: Conv2d, x: &[usize], w: &[usize]) -> Part {
    let [n, c, k, cg] = [x[0], x[1], w[0], w[1]];
    let filters = last(k, MACS / (x[2] * x[3] * cg * w[2] * w[3]).max(1), k / op.config.groups);
    let image = vec![n - 1..n, c - cg..c, 0..x[2], 0..x[3]];
    let taps = vec![filters.clone(), 0..cg, 0..w[2], 0..w[3]];
    let config = ungrouped(op.config);
    let [p, q] = extents(config, [x[2], x[3]], [w[2], w[3]]);
    let output = vec![n - 1..n, filters, 0..p, 0..q];
    Part { op: Rc::new(Conv2d { config, ..op }), inputs: vec![image, taps], output }
}

fn backward_input(op: Conv2dBackwardInput, dy: &[usize], w: &[usize]) -> Part {
    let [n, k, cg] = [dy[0], dy[1], w[1]];
    let (kg, c) = (k / op.config.groups, cg * op.config.groups);
    let channels = last(c, MACS / (dy[2] * dy[3] * kg * w[2] * w[3]).max(1), cg);
    let image = vec![n - 1..n, k - kg..k, 0..dy[2], 0..dy[3]];
    let taps = vec![k - kg..k, last(cg, channels.len(), cg), 0..w[2], 0..w[3]];
    let output = vec![n - 1..n, channels, 0..op.input[0], 0..op.input[1]];
    let op = Conv2dBackwardInput { config: ungrouped(op.config), ..op };
    Part { op: Rc::new(op), inputs: vec![image, taps], output }
}

fn backward_weight(op: Conv2dBackwardWeight, x: &[usize], dy: &[usize]) -> Part {
    let [n, c, k] = [x[0], x[1], dy[1]];
    let (cg, kg) = (c / op.config.groups, k / op.config.groups);
    let [r, s] = op.kernel;
    let pairs = MACS / (n * dy[2] * dy[3] * r * s).max(1);
    let filters = last(k, pairs.isqrt(), kg);
    let channels = last(c, pairs / filters.len(), cg);
    let images = vec![0..n, channels.clone(), 0..x[2], 0..x[3]];
    let gradients = vec![0..n, filters.clone(), 0..dy[2], 0..dy[3]];
    let output = vec![filters, last(cg, channels.len(), cg), 0..r, 0..s];
    let op = Conv2dBackwardWeight { config: ungrouped(op.config), ..op };
    Part { op: Rc::new(op), inputs: vec![images, gradients], output }
}

fn extents(config: Conv2dConfig, image: [usize; 2], filter: [usize; 2]) -> [usize; 2] {
    std::array::from_fn(|i| {
        let window = config.dilation[i] * (filter[i] - 1) + 1;
        (image[i] + 2 * config.padding[i] - window) / config.stride[i] + 1
    })
}

/// The extents of a block.
pub(super) fn shape(block: &[Range<usize>]) -> Shape {
    let extents: Vec<usize> = block.iter().map(Range::len).collect();
    Shape::try_new(&extents).unwrap_or_default()
}

/// The elements of a block of a tensor in row-major order.
pub(super) fn cut(data: &[f64], shape: &Shape, block: &[Range<usize>]) -> Vec<f64> {
    let mut starts = vec![0];
    let mut stride = data.len();
    for (&extent, range) in shape.dims().iter().zip(block) {
        stride /= extent.max(1);
        let row = |start: usize| range.clone().map(move |i| start + i * stride);
        starts = starts.into_iter().flat_map(row).collect();
    }
    starts.into_iter().map(|at| data[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::measure::reference;
    use super::*;
    use wgrad::tensor::ops::REGISTRY;

    #[test]
    fn a_block_is_cut_out_in_order() {
        let data: Vec<f64> = (0..24).map(f64::from).collect();
        let shape = Shape::from([2, 3, 4]);
        assert_eq!(cut(&data, &shape, &[1..2, 0..2, 2..4]), [14.0, 15.0, 18.0, 19.0]);
        assert_eq!(cut(&data, &shape, &[0..2, 0..3, 0..4]), data);
    }

    /// The reference of the part is the part of the reference, for every case of every product.
    #[test]
    fn a_part_of_the_operands_gives_that_part_of_the_result() {
        let mut parts = 0;
        for family in ["conv2d", "matmul"] {
            let entry = REGISTRY.iter().find(|entry| entry.family == family).unwrap();
            for case in (entry.cases)() {
                let Some(part) = part_of(&case) else { continue };
                let label = format!("{} {}", case.op.name(), case.name);
                let descs: Vec<_> = case.inputs.iter().map(|input| input.desc).collect();
                let y = case.op.infer(&descs).unwrap()[0].shape;
                let data: Vec<Vec<f64>> = case.inputs.iter().map(|input| input.generate(3)).collect();
                let shapes: Vec<Shape> = descs.iter().map(|desc| desc.shape).collect();
                let whole = reference(&*case.op, &shapes, &data, &[y]).remove(0);
                let blocks: Vec<Vec<f64>> =
                    (0..data.len()).map(|i| cut(&data[i], &shapes[i], &part.inputs[i])).collect();
                let block_shapes: Vec<Shape> = part.inputs.iter().map(|block| shape(block)).collect();
                let got = reference(&*part.op, &block_shapes, &blocks, &[shape(&part.output)]).remove(0);
                assert_eq!(got, cut(&whole, &y, &part.output), "{label}");
                assert!(got.iter().any(|&value| value != 0.0) || whole.iter().all(|&value| value == 0.0), "{label}");
                parts += 1;
            }
        }
        assert!(parts > 100, "{parts} parts");
    }

    #[test]
    fn a_part_of_a_large_case_is_small() {
        for case in REGISTRY.iter().flat_map(|entry| (entry.timed)()) {
            let Some(part) = part_of(&case) else { continue };
            let descs: Vec<_> = part.inputs.iter().map(|block| wgrad::tensor::TensorDesc::f32(shape(block))).collect();
            let y = part.op.infer(&descs).unwrap();
            assert_eq!(y[0].shape, shape(&part.output), "{} {}", case.op.name(), case.name);
            assert!(part.op.cost(&descs, &y).flops <= 3.0 * MACS as f64, "{} {}", case.op.name(), case.name);
        }
    }
}
