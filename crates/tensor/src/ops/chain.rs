//! A chain of pointwise operations as one: what fusion makes of sums, products, scalings and activations in a row.

use super::strips::launch_strips;
use super::{Activation, Case, CaseInput, Cost, Epilogue, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::shape::{Shape, TensorDesc};
use std::rc::Rc;

/// `y = step_n(... step_1(x))`, element by element. Operands: `x`, and one like it for each step that brings one along, in
/// order. One load of `x` and one store, where separate operations have one each.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    steps: Vec<Epilogue>,
}

/// Steps of the longest chain, and operands of its steps: with `x` and `y` that makes the eight bindings of every device.
const STEPS: usize = 8;
const OPERANDS: usize = 6;

/// What the kernel calls a step: constants, tensor, ifdef and argument.
const NAMES: [(&str, &str, &str, &str, &str); STEPS] = [
    ("KIND0", "ACT0", "b0", "B0", "number0"),
    ("KIND1", "ACT1", "b1", "B1", "number1"),
    ("KIND2", "ACT2", "b2", "B2", "number2"),
    ("KIND3", "ACT3", "b3", "B3", "number3"),
    ("KIND4", "ACT4", "b4", "B4", "number4"),
    ("KIND5", "ACT5", "b5", "B5", "number5"),
    ("KIND6", "ACT6", "b6", "B6", "number6"),
    ("KIND7", "ACT7", "b7", "B7", "number7"),
];

impl Chain {
    /// The steps one after another; `None` where a step is not pointwise on equal shapes (a bias), or there are too many.
    pub fn new(steps: impl Into<Vec<Epilogue>>) -> Option<Chain> {
        let steps = steps.into();
        let operands = steps.iter().filter(|step| step.has_operand()).count();
        let fits = (1..=STEPS).contains(&steps.len()) && operands <= OPERANDS && !steps.contains(&Epilogue::Bias);
        fits.then_some(Chain { steps })
    }

    /// `first` and then `next` as one operation.
    pub(super) fn of(first: Epilogue, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        Chain::new([first, next]).map(|chain| Rc::new(chain) as Rc<dyn OpDef>)
    }

    fn operand_count(&self) -> usize {
        1 + self.steps.iter().filter(|step| step.has_operand()).count()
    }
}

/// The number of a step's kind in the kernel, its activation and its number.
fn parts(step: Epilogue) -> (u32, Activation, f32) {
    match step {
        Epilogue::Bias => (0, Activation::Identity, 0.0),
        Epilogue::Residual => (1, Activation::Identity, 0.0),
        Epilogue::Product => (2, Activation::Identity, 0.0),
        Epilogue::Scale(alpha) => (3, Activation::Identity, alpha),
        Epilogue::Activation(activation) => (4, activation, activation.slope()),
        Epilogue::Derivative(activation) => (5, activation, activation.slope()),
    }
}

impl OpDef for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; self.operand_count()])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        super::elementwise::same_shapes(x)
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (n, target) = (cx.y_desc(0).shape.numel().div_ceil(4), cx.target());
        let operands: Vec<_> = (0..self.operand_count()).map(|i| cx.x(i)).collect();
        let (x, y) = (cx.x(0), cx.y(0));
        let mut kernel = cx.dispatch("chain").bind("x", x).bind("y", y);
        let mut next = operands.into_iter().skip(1);
        for (i, (kind_name, act_name, tensor, bound, number_name)) in NAMES.into_iter().enumerate() {
            let step = self.steps.get(i).copied();
            let (kind, activation, number) = step.map_or((0, Activation::Identity, 0.0), parts);
            kernel = kernel.set(kind_name, kind).set(act_name, activation.code()).arg(number_name, number);
            if step.is_some_and(Epilogue::has_operand) {
                kernel = kernel.bind_some(tensor, next.next()).define(bound);
            }
        }
        launch_strips(kernel, &target, n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        for (i, y) in y[0].data.iter_mut().enumerate() {
            let mut others = x[1..].iter().map(|other| other.data[i]);
            *y = self.steps.iter().fold(x[0].data[i], |v, step| match *step {
                Epilogue::Residual => v + others.next().unwrap_or_default(),
                Epilogue::Product => v * others.next().unwrap_or_default(),
                Epilogue::Scale(alpha) => v * f64::from(alpha),
                Epilogue::Activation(activation) => activation.apply(v),
                Epilogue::Derivative(activation) => {
                    let known = others.next().unwrap_or_default();
                    v * activation.derivative(known, known)
                }
                Epilogue::Bias => v, // `new` refuses it.
            });
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops((self.steps.len() * y[0].shape.numel()) as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        (0..self.operand_count()).map(|i| (i, 0)).collect()
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        let steps: Vec<Epilogue> = self.steps.iter().copied().chain([next]).collect();
        Chain::new(steps).map(|chain| Rc::new(chain) as Rc<dyn OpDef>)
    }
}

/// Every step alone, all in a row, as many operands as fit, tails of one to three elements.
pub fn cases() -> Vec<Case> {
    use Epilogue::{Activation as Act, Derivative, Product, Residual, Scale};
    let (relu, gelu, tanh) = (Activation::Relu, Activation::Gelu, Activation::Tanh);
    let chains: [Vec<Epilogue>; 8] = [
        vec![Residual, Act(relu)],
        vec![Scale(0.5), Residual, Act(gelu)],
        vec![Product, Derivative(relu)],
        vec![Residual, Residual, Residual, Residual, Residual, Residual, Scale(-0.2), Act(tanh)],
        vec![Act(Activation::LeakyRelu { slope: 0.1 }), Scale(3.0), Act(Activation::Sigmoid), Product],
        vec![Derivative(gelu), Derivative(Activation::Sigmoid), Residual],
        vec![Scale(2.0)],
        vec![Act(relu), Scale(0.3), Act(tanh), Residual, Act(gelu), Product, Scale(-1.0), Derivative(tanh)],
    ];
    let shapes: [Shape; 4] = [[5].into(), [2, 7, 3, 5].into(), [17, 129].into(), [3, 4, 2, 2].into()];
    let case = |(i, steps): (usize, Vec<Epilogue>)| {
        let operands = 1 + steps.iter().filter(|step| step.has_operand()).count();
        let shape = shapes[i % shapes.len()];
        let inputs = vec![CaseInput::f32(shape, Fill::AwayFromZero); operands];
        Some(Case::new(format!("{shape} {steps:?}"), Chain::new(steps)?, inputs))
    };
    chains.into_iter().enumerate().filter_map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_where_the_bindings_end() {
        assert!(Chain::new([Epilogue::Residual; OPERANDS]).is_some());
        assert!(Chain::new([Epilogue::Residual; OPERANDS + 1]).is_none());
        assert!(Chain::new([Epilogue::Scale(2.0); STEPS + 1]).is_none());
        assert!(Chain::new([Epilogue::Bias]).is_none() && Chain::new([]).is_none());
    }
}
