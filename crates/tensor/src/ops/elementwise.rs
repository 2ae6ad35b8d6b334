//! Pointwise operations: sums, products, scaling, activations.

use super::chain::Chain;
use super::strips::launch_strips;
use super::{Activation, Backward, Case, CaseInput, Cost, Epilogue, Fill, Lower, OpDef, Prologue, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;
use std::ops::{Add, Mul};
use std::rc::Rc;

/// `y = a + b` or `y = a * b`, equal shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a * b`.
    Mul,
}

/// `y = alpha * x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Factor.
    pub alpha: f32,
}

/// `y = act(x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activate {
    /// The function.
    pub activation: Activation,
}

/// `dx = dy * act'(x)`. Operands: `dy`, and the output `y` where the derivative follows from it, else the input
/// ([`Activation::derivative_from_output`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivateBackward {
    /// The function.
    pub activation: Activation,
}

pub(super) fn same_shapes(x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
    match x {
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(vec![*first]),
        _ => Err("both operands must have the same shape; this operation does not broadcast".to_string()),
    }
}

fn groups_of_four(desc: TensorDesc) -> usize {
    desc.shape.numel().div_ceil(4)
}

impl OpDef for Binary {
    fn name(&self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Mul => "mul",
        }
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        same_shapes(x)
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let dy = cx.dy();
        Some(match self {
            Binary::Add => vec![Some(dy), Some(dy)],
            Binary::Mul => {
                vec![cx.if_needed(0, || dy * cx.input(1)), cx.if_needed(1, || dy * cx.input(0))]
            }
        })
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (n, target) = (groups_of_four(cx.y_desc(0)), cx.target());
        let (a, b, y) = (cx.x(0), cx.x(1), cx.y(0));
        let kernel = cx.dispatch("binary").bind("a", a).bind("b", b).bind("y", y);
        launch_strips(kernel.define_if(*self == Binary::Mul, "MUL"), &target, n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        for (i, y) in y[0].data.iter_mut().enumerate() {
            *y = match self {
                Binary::Add => x[0].data[i] + x[1].data[i],
                Binary::Mul => x[0].data[i] * x[1].data[i],
            };
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(y[0].shape.numel() as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (1, 0)]
    }

    fn as_epilogue(&self) -> Option<Epilogue> {
        Some(match self {
            Binary::Add => Epilogue::Residual,
            Binary::Mul => Epilogue::Product,
        })
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        Chain::of(self.as_epilogue()?, next)
    }
}

impl OpDef for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 1])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        same_shapes(x)
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![Some(cx.dy().scale(self.alpha))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (n, target) = (groups_of_four(cx.y_desc(0)), cx.target());
        let (x, y) = (cx.x(0), cx.y(0));
        launch_strips(cx.dispatch("scale").bind("x", x).bind("y", y).arg("alpha", self.alpha), &target, n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        for (y, x) in y[0].data.iter_mut().zip(x[0].data) {
            *y = f64::from(self.alpha) * x;
        }
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }

    fn as_epilogue(&self) -> Option<Epilogue> {
        Some(Epilogue::Scale(self.alpha))
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        Chain::of(self.as_epilogue()?, next)
    }
}

impl OpDef for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 1])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        self.activation.check()?;
        same_shapes(x)
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = ActivateBackward { activation: self.activation };
        let known = if self.activation.derivative_from_output() { cx.output(0) } else { cx.input(0) };
        Some(vec![Some(cx.graph().apply1(op, &[cx.dy(), known]))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (n, target) = (groups_of_four(cx.y_desc(0)), cx.target());
        let (x, y) = (cx.x(0), cx.y(0));
        let kernel = cx.dispatch("activation").bind("x", x).bind("y", y);
        launch_strips(kernel.arg("slope", self.activation.slope()).set("ACT", self.activation.code()), &target, n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        for (y, x) in y[0].data.iter_mut().zip(x[0].data) {
            *y = self.activation.apply(*x);
        }
    }

    fn as_epilogue(&self) -> Option<Epilogue> {
        Some(Epilogue::Activation(self.activation))
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        Chain::of(self.as_epilogue()?, next)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl OpDef for ActivateBackward {
    fn name(&self) -> &'static str {
        "activation.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        same_shapes(x)
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (n, target) = (groups_of_four(cx.y_desc(0)), cx.target());
        let (dy, known, dx) = (cx.x(0), cx.x(1), cx.y(0));
        let kernel = cx.dispatch("activation_backward").bind("xy", known).bind("dy", dy).bind("dx", dx);
        launch_strips(kernel.arg("slope", self.activation.slope()).set("ACT", self.activation.code()), &target, n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        for (i, dx) in y[0].data.iter_mut().enumerate() {
            let known = x[1].data[i];
            *dx = x[0].data[i] * self.activation.derivative(known, known);
        }
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (1, 0)]
    }

    fn as_epilogue(&self) -> Option<Epilogue> {
        Some(Epilogue::Derivative(self.activation))
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        Chain::of(self.as_epilogue()?, next)
    }

    fn as_prologue(&self) -> Option<Prologue> {
        Some(Prologue::Derivative(self.activation))
    }
}

impl<'g> Add for Value<'g> {
    type Output = Value<'g>;

    #[track_caller]
    fn add(self, other: Value<'g>) -> Value<'g> {
        self.graph().apply1(Binary::Add, &[self, other])
    }
}

impl<'g> Mul for Value<'g> {
    type Output = Value<'g>;

    #[track_caller]
    fn mul(self, other: Value<'g>) -> Value<'g> {
        self.graph().apply1(Binary::Mul, &[self, other])
    }
}

impl<'g> Value<'g> {
    /// `alpha * self`.
    #[track_caller]
    pub fn scale(self, alpha: f32) -> Value<'g> {
        self.graph().apply1(Scale { alpha }, &[self])
    }

    /// `act(self)`, element by element.
    #[track_caller]
    pub fn activate(self, activation: Activation) -> Value<'g> {
        self.graph().apply1(Activate { activation }, &[self])
    }

    /// `max(self, 0)`; a NaN stays one.
    #[track_caller]
    pub fn relu(self) -> Value<'g> {
        self.activate(Activation::Relu)
    }

    /// [`Activation::LeakyRelu`].
    #[track_caller]
    pub fn leaky_relu(self, slope: f32) -> Value<'g> {
        self.activate(Activation::LeakyRelu { slope })
    }

    /// [`Activation::Sigmoid`].
    #[track_caller]
    pub fn sigmoid(self) -> Value<'g> {
        self.activate(Activation::Sigmoid)
    }

    /// [`Activation::Tanh`].
    #[track_caller]
    pub fn tanh(self) -> Value<'g> {
        self.activate(Activation::Tanh)
    }

    /// [`Activation::Gelu`].
    #[track_caller]
    pub fn gelu(self) -> Value<'g> {
        self.activate(Activation::Gelu)
    }

    /// [`Activation::Silu`].
    #[track_caller]
    pub fn silu(self) -> Value<'g> {
        self.activate(Activation::Silu)
    }

    /// [`Activation::Softplus`].
    #[track_caller]
    pub fn softplus(self) -> Value<'g> {
        self.activate(Activation::Softplus)
    }

    /// [`Activation::Sqrt`].
    #[track_caller]
    pub fn sqrt(self) -> Value<'g> {
        self.activate(Activation::Sqrt)
    }
}

/// Odd sizes: one element, tails of one, two and three, images of one pixel, more than one row of workgroups.
pub fn cases() -> Vec<Case> {
    use crate::shape::Shape;
    let shapes: [Shape; 8] = [
        [1].into(),
        [2, 3].into(),
        [5].into(),
        [1, 3, 1, 1].into(),
        [2, 7, 3, 5].into(),
        [3, 4, 2, 2].into(),
        [1, 1, 1, 7].into(),
        [17, 129].into(),
    ];
    let activations = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Gelu,
        Activation::Silu,
        Activation::HardSwish,
        Activation::Elu { alpha: 0.7 },
        Activation::Softplus,
        Activation::Sqrt,
    ];
    let mut cases = Vec::new();
    for (i, shape) in shapes.into_iter().enumerate() {
        let normal = CaseInput::normal(shape);
        let away = CaseInput::f32(shape, Fill::AwayFromZero);
        cases.push(Case::new(format!("add {shape}"), Binary::Add, [normal, normal]));
        cases.push(Case::new(format!("mul {shape}"), Binary::Mul, [normal, normal]));
        cases.push(Case::new(format!("scale {shape}"), Scale { alpha: -1.7 }, [normal]));
        for activation in activations.into_iter().skip(i % 2) {
            let name = format!("{activation:?} {shape}");
            // The derivative of the root is infinite at 0, and it is told by a positive result.
            let away = match activation {
                Activation::Sqrt => CaseInput::f32(shape, Fill::Uniform(0.1, 4.0)),
                Activation::HardSwish => CaseInput::f32(shape, Fill::Uniform(-5.0, 5.0)),
                _ => away,
            };
            cases.push(Case::new(&name, Activate { activation }, [away]));
            cases.push(Case::new(name, ActivateBackward { activation }, [normal, away]));
        }
    }
    let shape = Shape::from(super::TIMED_IMAGES);
    let (normal, relu) = (CaseInput::normal(shape), Activation::Relu);
    let timed = [
        Case::new(format!("{shape}"), Binary::Add, [normal, normal]),
        Case::new(format!("{shape}"), Scale { alpha: -1.7 }, [normal]),
        Case::new(format!("{shape} relu"), Activate { activation: relu }, [normal]),
        Case::new(format!("{shape} relu"), ActivateBackward { activation: relu }, [normal, normal]),
    ];
    cases.extend(timed.map(Case::timed));
    cases
}
