//! Local response normalisation across channels.

use super::bias::check_channels;
use super::strips::launch_strips;
use super::{Backward, Case, CaseInput, Cost, Fill, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::Value;
use crate::shape::TensorDesc;

/// `y[c] = x[c] * scale[c]^-beta` with `scale[c] = k + alpha / size * sum_j x[j]^2`, `j` over the channels `c - size / 2 .. c + (size + 1) /
/// 2` of the pixel that exist (Krizhevsky, Sutskever and Hinton 2012; alpha divided as in PyTorch and Caffe).
///
/// The second result, not differentiable, is `scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNorm {
    /// Number of channels that are summed, at least 1.
    pub size: usize,
    /// Factor of the mean square, at least 0.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// What is added, above 0.
    pub k: f32,
}

/// `dx[c] = dy[c] * scale[c]^-beta - 2 alpha beta / size * x[c] * sum_j dy[j] y[j] / scale[j]`, `j` over the channels whose neighbour
/// `c` is. Operands: x, y, scale, dy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNormBackward {
    /// The forward operation.
    pub forward: LocalResponseNorm,
}

impl LocalResponseNorm {
    fn check(&self) -> Result<(), String> {
        let LocalResponseNorm { size, alpha, beta, k } = *self;
        let positive = alpha.is_finite() && alpha >= 0.0 && beta.is_finite() && k.is_finite() && k > 0.0;
        if (1..=1 << 16).contains(&size) && positive {
            return Ok(());
        }
        Err(format!(
            "size must be 1 to 65536, alpha at least 0, k above 0, got size {size}, alpha {alpha}, beta {beta}, k {k}"
        ))
    }

    /// The factor of the sum of squares.
    fn alpha_n(&self) -> f64 {
        f64::from(self.alpha) / self.size as f64
    }

    /// The neighbours of channel `c` of `channels`.
    fn neighbours(&self, c: usize, channels: usize) -> std::ops::Range<usize> {
        c.saturating_sub(self.size / 2)..(c + self.size.div_ceil(2)).min(channels)
    }
}

fn launch(cx: &mut Lower<'_>, op: &LocalResponseNorm, bindings: &[(&'static str, super::BufId)], backward: bool) {
    let (shape, target) = (cx.x_desc(0).shape, cx.target());
    let mut kernel = cx.dispatch("local_response_norm").define_if(backward, "BACKWARD");
    for &(name, buf) in bindings {
        kernel = kernel.bind(name, buf);
    }
    let kernel = kernel.set("BEFORE", (op.size / 2) as u32).set("AFTER", (op.size.div_ceil(2) - 1) as u32);
    let kernel = kernel.arg("channels", shape.dim(1)).arg("alpha_n", op.alpha_n() as f32);
    launch_strips(kernel.arg("beta", op.beta).arg("k", op.k), &target, shape.numel());
}

impl OpDef for LocalResponseNorm {
    fn name(&self) -> &'static str {
        "local_response_norm"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        self.check()?;
        check_channels(&x[0])?;
        Ok(vec![x[0]; 2])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let op = LocalResponseNormBackward { forward: *self };
        Some(vec![Some(cx.graph().apply1(op, &[cx.input(0), cx.output(0), cx.output(1), cx.dy()]))])
    }

    fn is_differentiable(&self, i: usize) -> bool {
        i == 0
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let bindings = [("x", cx.x(0)), ("y", cx.y(0)), ("scale", cx.y(1))];
        launch(cx, self, &bindings, false);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [y, scale] = y else { return };
        let [n, channels, h, w] = x[0].shape.nchw();
        for i in 0..n * h * w {
            let at = |c: usize| (i / (h * w) * channels + c) * h * w + i % (h * w);
            for c in 0..channels {
                let sum: f64 = self.neighbours(c, channels).map(|j| x[0].data[at(j)].powi(2)).sum();
                let s = f64::from(self.k) + self.alpha_n() * sum;
                scale.data[at(c)] = s;
                y.data[at(c)] = x[0].data[at(c)] * s.powf(-f64::from(self.beta));
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops((2 * self.size * x[0].shape.numel()) as f64)
    }
}

impl OpDef for LocalResponseNormBackward {
    fn name(&self) -> &'static str {
        "local_response_norm.backward"
    }

    fn operand_types(&self) -> Option<Vec<DType>> {
        Some(vec![DType::F32; 4])
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        self.forward.check()?;
        check_channels(&x[0])?;
        super::elementwise::same_shapes(x)
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let bindings = [("x", cx.x(0)), ("y", cx.x(1)), ("scale", cx.x(2)), ("dy", cx.x(3)), ("dx", cx.y(0))];
        launch(cx, &self.forward, &bindings, true);
    }

    fn reference(&self, x: &[View<'_>], dx: &mut [ViewMut<'_>]) {
        let [n, channels, h, w] = x[0].shape.nchw();
        let (beta, factor) = (f64::from(self.forward.beta), 2.0 * self.forward.alpha_n());
        for i in 0..n * h * w {
            let at = |c: usize| (i / (h * w) * channels + c) * h * w + i % (h * w);
            for j in 0..channels {
                let (y, scale, dy) = (x[1].data[at(j)], x[2].data[at(j)], x[3].data[at(j)]);
                dx[0].data[at(j)] += dy * scale.powf(-beta);
                for c in self.forward.neighbours(j, channels) {
                    dx[0].data[at(c)] -= factor * beta * x[0].data[at(c)] * dy * y / scale;
                }
            }
        }
    }

    fn cost(&self, x: &[TensorDesc], y: &[TensorDesc]) -> Cost {
        Cost::bytes_of(x, y).with_flops((4 * self.forward.size * x[0].shape.numel()) as f64)
    }
}

impl<'g> Value<'g> {
    /// Divides by the power of the neighbouring channels; see [`LocalResponseNorm`].
    #[track_caller]
    pub fn local_response_norm(self, settings: LocalResponseNorm) -> Value<'g> {
        let outputs = self.graph().apply(settings, &[self]);
        outputs.into_iter().next().unwrap_or(self)
    }
}

/// Windows of odd and even size, wider than the channels, of one channel; matrices; a strong and a weak normalisation.
pub fn cases() -> Vec<Case> {
    use crate::shape::Shape;
    let list: [(Shape, usize, f32, f32, f32); 10] = [
        ([2, 8, 3, 5].into(), 5, 1e-4, 0.75, 1.0),
        ([1, 7, 4, 3].into(), 3, 0.5, 0.75, 2.0),
        ([3, 5].into(), 5, 1.0, 0.5, 1.0),
        ([1, 1, 5, 5].into(), 5, 2.0, 0.75, 1.0),
        ([2, 6, 2, 2].into(), 4, 0.7, 0.75, 1.0),
        ([1, 9, 3, 1].into(), 1, 0.3, 1.0, 0.5),
        ([1, 3, 2, 2].into(), 9, 5.0, 0.75, 1.0),
        ([2, 64, 7, 5].into(), 5, 1.0, 0.75, 1.0),
        ([1, 2, 1, 1].into(), 2, 1.0, -0.5, 1.0),
        (super::TIMED_IMAGES.into(), 5, 1e-4, 0.75, 1.0),
    ];
    let mut cases = Vec::new();
    for (shape, size, alpha, beta, k) in list {
        let (forward, name) =
            (LocalResponseNorm { size, alpha, beta, k }, format!("{shape} size {size} alpha {alpha}"));
        let (normal, scale) = (CaseInput::normal(shape), CaseInput::f32(shape, Fill::Uniform(1.0, 3.0)));
        let backward = LocalResponseNormBackward { forward };
        let pair = [
            // `pow` is exp2 of log2 in drivers, each with some ulps.
            Case::new(&name, forward, [normal]).within(5e-5),
            Case::new(&name, backward, [normal, normal, scale, normal]).within(5e-5),
        ];
        cases.extend(pair.map(|case| if shape.numel() > 100_000 { case.timed() } else { case }));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbours_are_pytorchs() {
        let op = |size| LocalResponseNorm { size, alpha: 1.0, beta: 0.75, k: 1.0 };
        assert_eq!([op(5).neighbours(3, 8), op(5).neighbours(0, 8), op(5).neighbours(7, 8)], [1..6, 0..3, 5..8]);
        // An even window reaches further back: PyTorch pads by size / 2 in front and by (size - 1) / 2 behind.
        assert_eq!([op(4).neighbours(3, 8), op(1).neighbours(3, 8)], [1..5, 3..4]);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let x = [TensorDesc::f32([2, 3])];
        let good = LocalResponseNorm { size: 5, alpha: 1.0, beta: 0.75, k: 1.0 };
        assert!(good.infer(&x).is_ok());
        for bad in [
            LocalResponseNorm { size: 0, ..good },
            LocalResponseNorm { k: 0.0, ..good },
            LocalResponseNorm { alpha: -1.0, ..good },
            LocalResponseNorm { beta: f32::NAN, ..good },
        ] {
            assert!(bad.infer(&x).is_err_and(|e| e.contains("k above 0")), "{bad:?}");
        }
        assert!(good.infer(&[TensorDesc::f32([2, 3, 4])]).is_err());
    }
}
