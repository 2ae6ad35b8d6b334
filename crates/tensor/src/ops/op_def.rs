//! What every operation states about itself.

use super::Activation;
use super::lower::{Lower, Target};
use crate::dtype::DType;
use crate::graph::{Graph, TensorId, Value};
use crate::shape::{Shape, TensorDesc};
use std::any::Any;
use std::fmt::Debug;
use std::rc::Rc;

/// One operation. An implementation lives in one file of `ops/`, states these things in this order, and gives `cases()`.
///
/// The contract between the methods: `lower` computes what `reference` computes, for the shapes that `infer` accepts;
/// `backward` emits nodes whose reference is the derivative of `reference`. The test suite checks each of these for every
/// case of every registered operation.
pub trait OpDef: Debug + Any {
    /// Name with the pass behind a dot: `conv2d`, `conv2d.backward_weight`.
    fn name(&self) -> &'static str;

    /// Number of results.
    fn output_count(&self) -> usize {
        1
    }

    /// Element types of the operands, one for each, which [`Graph::apply`] checks before it asks `infer`; `None` when
    /// `infer` takes any number of operands and checks them all.
    fn operand_types(&self) -> Option<Vec<DType>> {
        None
    }

    /// Shapes and types of the results, or what was wanted, what was got and what to do.
    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String>;

    /// Emits the nodes that compute the gradient with respect to each operand, `None` where there is none (labels) or
    /// where [`Backward::needs`] says that nobody wants it. The outer `None` says that the operation has no derivative.
    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let _ = cx;
        None
    }

    /// Whether a gradient may flow into result `i`. Statistics handed out beside the main result say no; gradients that
    /// arrive there all the same are ignored.
    fn is_differentiable(&self, i: usize) -> bool {
        let _ = i;
        true
    }

    /// Records the dispatches that compute the results on a device.
    fn lower(&self, cx: &mut Lower<'_>);

    /// Computes the results in f64, in the most obvious loops. Whole numbers are stored as f64.
    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]);

    /// Arithmetic operations and bytes of device memory that any implementation must spend.
    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y)
    }

    /// Pairs (operand, result) that may share storage: no kernel of this operation reads an element of the operand after
    /// the same element of the result was written by another invocation.
    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }

    /// The operand that the only result is a mere view of: same bytes in the same order, nothing is dispatched.
    fn view_of(&self, x: &[TensorDesc]) -> Option<usize> {
        let _ = x;
        None
    }

    /// This operation seen as the last touch on another one: what it does to its operand, if that is one of the things
    /// an epilogue can do.
    fn as_epilogue(&self) -> Option<Epilogue> {
        None
    }

    /// This operation with `next` applied to its first result, if its kernels can do that before they store. The operand
    /// that `next` brings along (bias, residual) is appended to the operands.
    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        let _ = next;
        None
    }

    /// The ways in which `lower` can compute this on `target`, the one that the rules take first: what selection chooses from.
    /// Itself alone where the way is fixed already; none where there has never been but one.
    fn candidates(&self, x: &[TensorDesc], target: &Target) -> Vec<Candidate> {
        let _ = (x, target);
        Vec::new()
    }

    /// Element `at` of the only result as `reference` has it, without the others; `value(i, j)` is element `j` of operand `i`.
    /// Candidates for shapes too large for `reference` are checked with it. `None`: there is no shortcut.
    fn reference_at(&self, x: &[TensorDesc], value: &dyn Fn(usize, usize) -> f64, at: usize) -> Option<f64> {
        let _ = (x, value, at);
        None
    }

    /// This operation seen as the first touch of another one: what it does to its first operand, if that is one of the
    /// things a prologue can do. Its other operands are appended to those of the other operation.
    fn as_prologue(&self) -> Option<Prologue> {
        None
    }

    /// This operation with `before` applied to operand `i` whenever a kernel loads it, if its kernels can do that.
    fn with_prologue(&self, i: usize, before: Prologue) -> Option<Rc<dyn OpDef>> {
        let _ = (i, before);
        None
    }

    /// How to compute the first result a second time when the others are still there: the operation and its operands, picked
    /// from the operands `x` and the results `y` of this node. The bits must be the same. `None`: as it was done first.
    fn again(&self, x: &[TensorId], y: &[TensorId]) -> Option<(Rc<dyn OpDef>, Vec<TensorId>)> {
        let _ = (x, y);
        None
    }

    /// Whether the device may give other values than `reference` by design (random fills drawn through `log` and `cos`
    /// of the driver keep their distribution, not their last bits). `None`: the case's own tolerance holds.
    fn tolerance(&self) -> Option<f64> {
        None
    }
}

/// What can be done to a value before it is stored; see [`OpDef::with_epilogue`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Epilogue {
    /// Adds the second operand to every position of dimension 1.
    Bias,
    /// Adds a tensor of the same shape; the sum is symmetric.
    Residual,
    /// Multiplies by a tensor of the same shape; the product is symmetric.
    Product,
    /// Multiplies by a number.
    Scale(f32),
    /// Applies a function.
    Activation(Activation),
    /// Multiplies by the derivative of a function, which follows from the second operand.
    Derivative(Activation),
}

impl Epilogue {
    /// Whether it brings an operand along.
    pub fn has_operand(self) -> bool {
        !matches!(self, Epilogue::Scale(_) | Epilogue::Activation(_))
    }

    /// Whether it is the same with its two operands swapped.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Epilogue::Residual | Epilogue::Product)
    }
}

/// What can be done to an operand while it is loaded; see [`OpDef::with_prologue`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prologue {
    /// Multiplies by the derivative of a function, which follows from the operand that comes along.
    Derivative(Activation),
}

/// One way to compute an operation; see [`OpDef::candidates`].
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Name of the algorithm, as in tables and dumps.
    pub name: &'static str,
    /// The operation with this algorithm fixed.
    pub op: Rc<dyn OpDef>,
}

/// What an operation costs at the least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two.
    pub flops: f64,
    /// Bytes read and written once each.
    pub bytes: f64,
}

impl Cost {
    /// Each operand read and each result written once.
    pub fn bytes_of(x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost { flops: 0.0, bytes: x.iter().chain(y).map(|desc| desc.size_bytes() as f64).sum() }
    }

    /// The same bytes with this many operations.
    pub fn with_flops(self, flops: f64) -> Cost {
        Cost { flops, ..self }
    }
}

/// What [`OpDef::backward`] is given.
#[derive(Debug)]
pub struct Backward<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) inputs: Vec<Value<'g>>,
    pub(crate) outputs: Vec<Value<'g>>,
    pub(crate) gradients: Vec<Option<Value<'g>>>,
    pub(crate) needs: Vec<bool>,
}

impl<'g> Backward<'g> {
    /// The graph to emit into.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Operand `i` of the forward node.
    pub fn input(&self, i: usize) -> Value<'g> {
        self.inputs[i]
    }

    /// Result `i` of the forward node.
    pub fn output(&self, i: usize) -> Value<'g> {
        self.outputs[i]
    }

    /// Gradient of result `i`, `None` when the loss does not depend on it.
    pub fn gradient(&self, i: usize) -> Option<Value<'g>> {
        self.gradients[i]
    }

    /// Gradient of the first result of an operation whose other results are not differentiable.
    pub fn dy(&self) -> Value<'g> {
        self.gradients[0].unwrap_or_else(|| {
            self.graph
                .mistake("differentiate", "the loss depends on a result that has no gradient; this is a bug in wgrad")
        })
    }

    /// Whether anybody wants the gradient of operand `i`.
    pub fn needs(&self, i: usize) -> bool {
        self.needs[i]
    }

    /// `Some(emit())` when the gradient of operand `i` is wanted.
    pub fn if_needed(&self, i: usize, emit: impl FnOnce() -> Value<'g>) -> Option<Value<'g>> {
        self.needs(i).then(emit)
    }
}

/// A tensor as the reference reads it: f64, row-major in PyTorch's order.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Extents.
    pub shape: Shape,
    /// Elements.
    pub data: &'a [f64],
}

/// A tensor as the reference writes it.
#[derive(Debug)]
pub struct ViewMut<'a> {
    /// Extents.
    pub shape: Shape,
    /// Elements, zero at the start.
    pub data: &'a mut [f64],
}

/// Row-major index of `[n, c, h, w]` in a tensor of rank 4 (or of lower rank, with the missing indices 0).
pub(super) fn index4(shape: &Shape, n: usize, c: usize, h: usize, w: usize) -> usize {
    ((n * shape.dim(1) + c) * shape.dim(2) + h) * shape.dim(3) + w
}

impl View<'_> {
    /// Element `[n, c, h, w]`.
    pub fn at(&self, n: usize, c: usize, h: usize, w: usize) -> f64 {
        self.data[index4(&self.shape, n, c, h, w)]
    }
}

impl ViewMut<'_> {
    /// Element `[n, c, h, w]`, to write.
    pub fn at(&mut self, n: usize, c: usize, h: usize, w: usize) -> &mut f64 {
        &mut self.data[index4(&self.shape, n, c, h, w)]
    }
}
