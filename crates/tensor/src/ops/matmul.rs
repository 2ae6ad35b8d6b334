//! Matrix products, in their transposed forms, with the epilogue that fusion splices in.

use super::gemm::{EpilogueBuffers, Gemm, Matrix};
use super::{Activation, Backward, Case, CaseInput, Cost, Epilogue, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;
use std::rc::Rc;

/// `y[m, n] = act(op(a) op(b) + bias[n] + residual[m, n])` where `op` transposes or not.
///
/// Operands: `a`, `b`, then `bias` and `residual` where they are on. Accumulation is f32. A traced product has no
/// epilogue; fusion adds it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MatMul {
    /// `a` is stored `[k, m]`.
    pub transpose_a: bool,
    /// `b` is stored `[n, k]`.
    pub transpose_b: bool,
    /// A vector of `n` is added to every row.
    pub bias: bool,
    /// A matrix is added.
    pub residual: bool,
    /// Applied last.
    pub activation: Activation,
}

impl MatMul {
    fn extents(&self, x: &[TensorDesc]) -> (usize, usize, usize) {
        let (a, b) = (x[0].shape, x[1].shape);
        let (m, k) = if self.transpose_a { (a.dim(1), a.dim(0)) } else { (a.dim(0), a.dim(1)) };
        (m, if self.transpose_b { b.dim(0) } else { b.dim(1) }, k)
    }
}

impl OpDef for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 2 + usize::from(self.bias) + usize::from(self.residual)])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        if x.iter().take(2).any(|desc| desc.shape.rank() != 2) {
            return Err("both operands must be matrices; flatten images first".to_string());
        }
        let (m, n, k) = self.extents(x);
        let other = if self.transpose_b { x[1].shape.dim(1) } else { x[1].shape.dim(0) };
        if k != other {
            return Err(format!("the inner extents must agree, got {k} and {other}"));
        }
        let y = TensorDesc::f32([m, n]);
        let wanted = [self.bias.then(|| TensorDesc::f32([n])), self.residual.then_some(y)];
        if wanted.into_iter().flatten().ne(x[2..].iter().copied()) {
            return Err(format!("the bias must be f32[{n}] and the residual {y}"));
        }
        Ok(vec![y])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        if self.bias || self.residual || self.activation != Activation::Identity {
            return None; // Epilogues appear after differentiation only.
        }
        let (a, b, dy) = (cx.input(0), cx.input(1), cx.dy());
        let product = |x: Value<'g>, y: Value<'g>, transpose_a, transpose_b| {
            cx.graph().apply1(MatMul { transpose_a, transpose_b, ..MatMul::default() }, &[x, y])
        };
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        let da = cx.if_needed(0, || if ta { product(b, dy, tb, true) } else { product(dy, b, false, !tb) });
        let db = cx.if_needed(1, || if tb { product(dy, a, true, ta) } else { product(a, dy, !ta, false) });
        Some(vec![da, db])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let descs = [cx.x_desc(0), cx.x_desc(1)];
        let (m, n, k) = self.extents(&descs);
        let matrix = |buf, desc: TensorDesc, transposed| Matrix { transposed, ..Matrix::dense(buf, desc.shape.dim(1)) };
        let bias = self.bias.then(|| cx.x(2));
        let residual = self.residual.then(|| cx.x(2 + usize::from(self.bias)));
        let gemm = Gemm {
            m,
            n,
            k,
            batch: 1,
            a: matrix(cx.x(0), descs[0], self.transpose_a),
            b: matrix(cx.x(1), descs[1], self.transpose_b),
            y: Matrix::dense(cx.y(0), n),
            epilogue: EpilogueBuffers { bias, residual, activation: self.activation, known: None },
            accumulate: false,
            exact: false,
        };
        gemm.lower(cx, "gemm");
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let n = y[0].shape.dim(1);
        let k = if self.transpose_a { x[0].shape.dim(0) } else { x[0].shape.dim(1) };
        let (lda, ldb) = (x[0].shape.dim(1), x[1].shape.dim(1));
        for (i, y) in y[0].data.iter_mut().enumerate() {
            let (row, column) = (i / n, i % n);
            for p in 0..k {
                let a = x[0].data[if self.transpose_a { p * lda + row } else { row * lda + p }];
                let b = x[1].data[if self.transpose_b { column * ldb + p } else { p * ldb + column }];
                *y += a * b;
            }
            if self.bias {
                *y += x[2].data[column];
            }
            if self.residual {
                *y += x[2 + usize::from(self.bias)].data[i];
            }
            *y = self.activation.apply(*y);
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        let (m, n, k) = self.extents(x);
        Cost::bytes_of(x, y).with_flops(2.0 * m as f64 * n as f64 * k as f64)
    }

    fn may_overwrite(&self) -> Vec<(usize, usize)> {
        // Each output element's residual is read by the invocation that writes it.
        if self.residual { vec![(2 + usize::from(self.bias), 0)] } else { Vec::new() }
    }

    fn with_epilogue(&self, next: Epilogue) -> Option<Rc<dyn OpDef>> {
        let linear = self.activation == Activation::Identity;
        let op = match next {
            Epilogue::Bias if linear && !self.bias && !self.residual => MatMul { bias: true, ..*self },
            Epilogue::Residual if linear && !self.residual => MatMul { residual: true, ..*self },
            Epilogue::Activation(activation) if linear => MatMul { activation, ..*self },
            _ => return None,
        };
        Some(Rc::new(op))
    }
}

impl<'g> Value<'g> {
    /// `self @ other` for matrices.
    #[track_caller]
    pub fn matmul(self, other: Value<'g>) -> Value<'g> {
        self.graph().apply1(MatMul::default(), &[self, other])
    }

    /// `self @ other^T`: a linear layer, `other` being `[out_features, in_features]`.
    #[track_caller]
    pub fn matmul_transposed(self, other: Value<'g>) -> Value<'g> {
        self.graph().apply1(MatMul { transpose_b: true, ..MatMul::default() }, &[self, other])
    }
}

/// All four forms, extents of one, not divisible by four, long sums (split), every register tile, every epilogue.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let extents = [
        (1, 1, 1),
        (3, 5, 7),
        (64, 32, 48),
        (17, 10, 64),
        (65, 67, 33),
        (1, 130, 9),
        (8, 10, 5000),
        (130, 16, 144),
        (513, 32, 12),
        (100, 1056, 5),
        (1024, 64, 8),
        (2048, 16, 6),
        // One for each tile of lib/product.wgsl.
        (1450, 1410, 40),
        (16_300, 64, 8),
        (60, 16_388, 8),
        (16_400, 20, 9),
        (24, 16_399, 12),
    ];
    for (i, (m, n, k)) in extents.into_iter().enumerate() {
        for form in (0..4).filter(|form| m.max(n) < 10_000 || form % 4 == i % 4 || form % 4 == (i + 2) % 4) {
            let op = MatMul { transpose_a: form & 1 != 0, transpose_b: form & 2 != 0, ..MatMul::default() };
            let a = CaseInput::normal(if op.transpose_a { [k, m] } else { [m, k] });
            let b = CaseInput::normal(if op.transpose_b { [n, k] } else { [k, n] });
            let name = format!("{m}x{n}x{k} form {form}");
            cases.push(Case::new(&name, op, [a, b]));
            if form == i % 4 {
                let bias = CaseInput::normal([n]);
                let residual = CaseInput::normal([m, n]);
                let full = MatMul { bias: true, residual: true, activation: Activation::Relu, ..op };
                cases.push(Case::new(format!("{name} bias residual relu"), full, [a, b, bias, residual]));
                let biased = MatMul { bias: true, activation: Activation::Sigmoid, ..op };
                cases.push(Case::new(format!("{name} bias sigmoid"), biased, [a, b, bias]));
            }
        }
    }
    // Few rows and a long sum: linear layers of a few images.
    for (rows, columns) in [(1, 1000), (3, 42), (8, 128)] {
        let inputs = [[rows, 516], [columns, 516], [rows, columns]].map(CaseInput::normal);
        let op = MatMul { transpose_b: true, ..MatMul::default() };
        cases.push(Case::new(format!("skinny {rows}x{columns}"), op, [inputs[0], inputs[1]]));
        let op = MatMul { bias: true, residual: true, activation: Activation::Relu, ..op };
        let inputs = [inputs[0], inputs[1], CaseInput::normal([columns]), inputs[2]];
        cases.push(Case::new(format!("skinny {rows}x{columns} bias residual relu"), op, inputs));
    }
    // The sum is cut into 63 parts where 64 were wanted.
    let inputs = [CaseInput::normal([6, 32_832]), CaseInput::normal([32_832, 25])];
    cases.push(Case::new("fewer parts than wanted", MatMul::default(), inputs));
    // The second linear layer of AlexNet and VGG: forward, gradient of x, gradient of the weight.
    let (x, w, y) = ([128, 4096], [4096, 4096], [128, 4096]);
    let forms = [("forward", false, true, x, w), ("dx", false, false, y, w), ("dw", true, false, y, x)];
    for (name, transpose_a, transpose_b, a, b) in forms {
        let op = MatMul { transpose_a, transpose_b, ..MatMul::default() };
        let inputs = [CaseInput::normal(a), CaseInput::normal(b)];
        cases.push(Case::new(format!("fc7 batch 128 {name}"), op, inputs).within(1e-4).timed());
    }
    cases
}
