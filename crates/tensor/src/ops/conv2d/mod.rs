//! Two-dimensional convolution (cross-correlation, as everywhere in the field) and its two gradients.
//!
//! `y[n,k,p,q] = sum over c,r,s of x[n, c, p*stride - padding + r*dilation, …] * w[k,c,r,s]`; with groups, output channel
//! `k` sees only the input channels of its own group. Letters as in cuDNN: N,C,H,W input, K,C,R,S filter, N,K,P,Q output.

mod algo;
mod candidates;
mod cases;
mod direct;
mod fft;
mod geometry;
mod implicit;
mod implicit_cpu;
mod lower;
mod transpose;
mod winograd;
mod winograd_tiles;

pub use algo::{ConvAlgo, ConvPass};
pub use cases::cases;
pub(in crate::ops) use geometry::LARGEST_SETTING;
pub use geometry::{Conv2dConfig, Geometry};

use super::{Activation, Backward, Candidate, Cost, Epilogue, Lower, OpDef, Target, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;
use std::rc::Rc;

/// `y = act(conv(x, w) + bias + residual)`. Operands: `x` `[N,C,H,W]`, `w` `[K,C/groups,R,S]`, then `bias` `[K]` and
/// `residual` `[N,K,P,Q]` where they are on. A traced convolution has no epilogue; fusion adds it. Accumulation is f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// Stride, padding, dilation, groups.
    pub config: Conv2dConfig,
    /// A number per output channel is added.
    pub bias: bool,
    /// A tensor like the output is added.
    pub residual: bool,
    /// Applied last.
    pub activation: Activation,
    /// Which algorithm; the rules choose where it is `None` or cannot compute this convolution.
    pub algo: Option<ConvAlgo>,
}

/// `dx` from `dy` `[N,K,P,Q]` and `w`: the transpose of [`Conv2d`] in its first operand, and an operation in its own right
/// ([`Value::conv_transpose2d`]). With `residual` a third operand
/// like `dx` is added: the gradient that arrives over a shortcut. With `derivative` the sum is multiplied by the derivative of an
/// activation, which follows from the last operand: the gradient goes on to what the activation was applied to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dBackwardInput {
    /// Stride, padding, dilation, groups.
    pub config: Conv2dConfig,
    /// Height and width of `x`: the output's extents do not determine them.
    pub input: [usize; 2],
    /// A tensor like the result is added.
    pub residual: bool,
    /// Its derivative is the last factor; that of the identity is none.
    pub derivative: Activation,
    /// Which algorithm; the rules choose where it is `None` or cannot compute this convolution.
    pub algo: Option<ConvAlgo>,
}

/// `dw` from `x` and `dy`: the transpose of [`Conv2d`] in its second operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dBackwardWeight {
    /// Stride, padding, dilation, groups.
    pub config: Conv2dConfig,
    /// Height and width of the filter.
    pub kernel: [usize; 2],
    /// Which algorithm; the rules choose where it is `None` or cannot compute this convolution.
    pub algo: Option<ConvAlgo>,
}

impl Conv2d {
    /// A convolution without epilogue.
    pub fn new(config: Conv2dConfig) -> Conv2d {
        Conv2d { config, bias: false, residual: false, activation: Activation::Identity, algo: None }
    }

    fn residual_index(&self) -> usize {
        2 + usize::from(self.bias)
    }
}

impl OpDef for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2 + usize::from(self.bias) + usize::from(self.residual)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let g = Geometry::forward(x[0].shape, x[1].shape, self.config)?;
        let y = TensorDesc::f32(g.output_shape());
        let wanted = [self.bias.then(|| TensorDesc::f32([g.k])), self.residual.then_some(y)];
        if wanted.into_iter().flatten().ne(x[2..].iter().copied()) {
            return Err("bias must be [out_channels], residual like the output".to_string());
        }
        Ok(vec![y])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        if self.bias || self.residual || self.activation != Activation::Identity {
            return None; // Epilogues appear after differentiation only.
        }
        let (x, w, dy, config) = (cx.input(0), cx.input(1), cx.dy(), self.config);
        let input = [x.dim(2), x.dim(3)];
        let kernel = [w.dim(2), w.dim(3)];
        let dw = Conv2dBackwardWeight { config, kernel, algo: None };
        let dx = Conv2dBackwardInput::new(config, input);
        Some(vec![
            cx.if_needed(0, || cx.graph().apply1(dx, &[dy, w])),
            cx.if_needed(1, || cx.graph().apply1(dw, &[x, dy])),
        ])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        lower::forward(self, cx);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let Ok(g) = Geometry::forward(x[0].shape, x[1].shape, self.config) else { return };
        g.for_each_product(|at| {
            *y[0].at(at.n, at.k, at.p, at.q) += x[0].at(at.n, at.c, at.h, at.w) * x[1].at(at.k, at.cg, at.r, at.s);
        });
        for (i, y) in y[0].data.iter_mut().enumerate() {
            if self.bias {
                *y += x[2].data[i / (g.p * g.q) % g.k];
            }
            if self.residual {
                *y += x[self.residual_index()].data[i];
            }
            *y = self.activation.apply(*y);
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        let flops = Geometry::forward(x[0].shape, x[1].shape, self.config).map_or(0.0, |g| g.flops());
        Cost::bytes_of(x, y).with_flops(flops)
    }

    fn candidates(&self, x: &[TensorDesc], target: &Target) -> Vec<Candidate> {
        let Ok(g) = Geometry::forward(x[0].shape, x[1].shape, self.config) else { return Vec::new() };
        candidates::of(&g, ConvPass::Forward, self.algo, target, |algo| Rc::new(Conv2d { algo, ..*self }))
    }

    fn reference_at(&self, x: &[TensorDesc], value: &dyn Fn(usize, usize) -> f64, at: usize) -> Option<f64> {
        let g = Geometry::forward(x[0].shape, x[1].shape, self.config).ok()?;
        let mut y = candidates::sum_at(&g, ConvPass::Forward, value, at);
        if self.bias {
            y += value(2, at / (g.p * g.q) % g.k);
        }
        if self.residual {
            y += value(self.residual_index(), at);
        }
        Some(self.activation.apply(y))
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        // Each output element's residual is read by the invocation that writes it.
        if self.residual { vec![(self.residual_index(), 0)] } else { Vec::new() }
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        let linear = self.activation == Activation::Identity;
        let op = match next {
            Epilogue::Bias if linear && !self.bias && !self.residual => Conv2d { bias: true, ..*self },
            Epilogue::Residual if linear && !self.residual => Conv2d { residual: true, ..*self },
            Epilogue::Activation(activation) if linear => Conv2d { activation, ..*self },
            _ => return None,
        };
        Some(Rc::new(op))
    }
}

impl OpDef for Conv2dBackwardInput {
    fn name(&self) -> &'static str {
        "conv2d.backward_input"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2 + usize::from(self.residual) + usize::from(self.known().is_some())])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let g = self.geometry(x)?;
        let dx = TensorDesc::f32(g.input_shape());
        if x[2..].iter().any(|other| *other != dx) {
            return Err(format!("the residual and what the derivative follows from must be {dx}"));
        }
        Ok(vec![dx])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        if self.residual || self.known().is_some() {
            return None; // They appear after differentiation only.
        }
        // As a transposed convolution: its own transpose is the convolution.
        let (x, w, dy, config) = (cx.input(0), cx.input(1), cx.dy(), self.config);
        let dw = Conv2dBackwardWeight { config, kernel: [w.dim(2), w.dim(3)], algo: None };
        Some(vec![
            cx.if_needed(0, || cx.graph().apply1(Conv2d::new(config), &[dy, w])),
            cx.if_needed(1, || cx.graph().apply1(dw, &[dy, x])),
        ])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        lower::backward_input(self, cx);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let Ok(g) = self.geometry(&[TensorDesc::f32(x[0].shape), TensorDesc::f32(x[1].shape)]) else { return };
        g.for_each_product(|at| {
            *y[0].at(at.n, at.c, at.h, at.w) += x[0].at(at.n, at.k, at.p, at.q) * x[1].at(at.k, at.cg, at.r, at.s);
        });
        let dx = &mut y[0].data;
        if self.residual {
            dx.iter_mut().zip(x[2].data).for_each(|(dx, residual)| *dx += residual);
        }
        if let Some(known) = self.known() {
            dx.iter_mut().zip(x[known].data).for_each(|(dx, &at)| *dx *= self.derivative.derivative(at, at));
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(self.geometry(x).map_or(0.0, |g| g.flops()))
    }

    fn candidates(&self, x: &[TensorDesc], target: &Target) -> Vec<Candidate> {
        let Ok(g) = self.geometry(x) else { return Vec::new() };
        candidates::of(&g, ConvPass::BackwardInput, self.algo, target, |algo| {
            Rc::new(Conv2dBackwardInput { algo, ..*self })
        })
    }

    fn reference_at(&self, x: &[TensorDesc], value: &dyn Fn(usize, usize) -> f64, at: usize) -> Option<f64> {
        let dx = candidates::sum_at(&self.geometry(x).ok()?, ConvPass::BackwardInput, value, at);
        let dx = if self.residual { dx + value(2, at) } else { dx };
        let factor = |known| self.derivative.derivative(value(known, at), value(known, at));
        Some(dx * self.known().map_or(1.0, factor))
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        // Each element's residual is read by the invocation that writes it first. What the derivative follows from is read last,
        // and where the taps come in parts that is after sums of the first parts were written.
        if self.residual { vec![(2, 0)] } else { Vec::new() }
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        let op = match next {
            _ if self.known().is_some() => return None,
            Epilogue::Residual if !self.residual => Conv2dBackwardInput { residual: true, ..*self },
            Epilogue::Derivative(derivative) => Conv2dBackwardInput { derivative, ..*self },
            _ => return None,
        };
        Some(Rc::new(op))
    }
}

impl Conv2dBackwardInput {
    /// The gradient of an input of this height and width.
    pub fn new(config: Conv2dConfig, input: [usize; 2]) -> Conv2dBackwardInput {
        Conv2dBackwardInput { config, input, residual: false, derivative: Activation::Identity, algo: None }
    }

    /// The operand that the derivative follows from.
    pub(super) fn known(&self) -> Option<usize> {
        (self.derivative != Activation::Identity).then_some(2 + usize::from(self.residual))
    }

    fn geometry(&self, x: &[TensorDesc]) -> Result<Geometry, String> {
        let (dy, w) = (x[0].shape, x[1].shape);
        let input = [dy.dim(0), w.dim(1) * self.config.groups, self.input[0], self.input[1]];
        Geometry::forward(input.into(), w, self.config)?.with_output(dy)
    }
}

impl OpDef for Conv2dBackwardWeight {
    fn name(&self) -> &'static str {
        "conv2d.backward_weight"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let g = self.geometry(x)?;
        Ok(vec![TensorDesc::f32(g.filter_shape())])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        lower::backward_weight(self, cx);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let Ok(g) = self.geometry(&[TensorDesc::f32(x[0].shape), TensorDesc::f32(x[1].shape)]) else { return };
        g.for_each_product(|at| {
            *y[0].at(at.k, at.cg, at.r, at.s) += x[0].at(at.n, at.c, at.h, at.w) * x[1].at(at.n, at.k, at.p, at.q);
        });
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops(self.geometry(x).map_or(0.0, |g| g.flops()))
    }

    fn candidates(&self, x: &[TensorDesc], target: &Target) -> Vec<Candidate> {
        let Ok(g) = self.geometry(x) else { return Vec::new() };
        candidates::of(&g, ConvPass::BackwardWeight, self.algo, target, |algo| {
            Rc::new(Conv2dBackwardWeight { algo, ..*self })
        })
    }

    fn reference_at(&self, x: &[TensorDesc], value: &dyn Fn(usize, usize) -> f64, at: usize) -> Option<f64> {
        Some(candidates::sum_at(&self.geometry(x).ok()?, ConvPass::BackwardWeight, value, at))
    }
}

impl Conv2dBackwardWeight {
    fn geometry(&self, x: &[TensorDesc]) -> Result<Geometry, String> {
        let (input, dy) = (x[0].shape, x[1].shape);
        let cg = input.dim(1) / self.config.groups.max(1);
        let w = [dy.dim(1), cg, self.kernel[0], self.kernel[1]];
        Geometry::forward(input, w.into(), self.config)?.with_output(dy)
    }
}

impl<'g> Value<'g> {
    /// Convolves images `[N,C,H,W]` with filters `[K,C/groups,R,S]`.
    #[track_caller]
    pub fn conv2d(self, w: Value<'g>, config: Conv2dConfig) -> Value<'g> {
        self.graph().apply1(Conv2d::new(config), &[self, w])
    }
}
