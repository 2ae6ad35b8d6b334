//! What selection needs to know of a convolution: the algorithms there are, and single elements of its result in f64.

use super::geometry::Product;
use super::{Conv2dConfig, ConvAlgo, ConvPass, Geometry};
use crate::ops::op_def::index4;
use crate::ops::{Candidate, OpDef, Target};
use crate::shape::Shape;
use std::rc::Rc;

/// The candidates of one pass, the rules' choice first. `with` makes the operation with an algorithm.
pub(super) fn of(
    g: &Geometry,
    pass: ConvPass,
    fixed: Option<ConvAlgo>,
    target: &Target,
    with: impl Fn(Option<ConvAlgo>) -> Rc<dyn OpDef>,
) -> Vec<Candidate> {
    let first = ConvAlgo::resolve(fixed, g, pass, target);
    let others = ConvAlgo::ALL.into_iter().filter(|&algo| algo != first && algo.supports(g, pass, target));
    let others = others.filter(|_| fixed != Some(first));
    std::iter::once(first).chain(others).map(|algo| Candidate { name: algo.name(), op: with(Some(algo)) }).collect()
}

/// The sum of products that makes element `at` of a pass's result, where `value(i, j)` is element `j` of operand `i`.
pub(super) fn sum_at(g: &Geometry, pass: ConvPass, value: &dyn Fn(usize, usize) -> f64, at: usize) -> f64 {
    let (x, w, y) = (g.input_shape(), g.filter_shape(), g.output_shape());
    let mut sum = 0.0;
    g.for_each_product_of(pass, at, |at| {
        let x = index4(&x, at.n, at.c, at.h, at.w);
        let w = index4(&w, at.k, at.cg, at.r, at.s);
        let y = index4(&y, at.n, at.k, at.p, at.q);
        let operands = match pass {
            ConvPass::Forward => [x, w],
            ConvPass::BackwardInput => [y, w],
            ConvPass::BackwardWeight => [x, y],
        };
        sum += value(0, operands[0]) * value(1, operands[1]);
    });
    sum
}

impl Geometry {
    /// Calls `visit` for every product that goes into element `at` of a pass's result.
    fn for_each_product_of(&self, pass: ConvPass, at: usize, mut visit: impl FnMut(Product)) {
        let Conv2dConfig { stride, padding, dilation, .. } = self.config;
        // Where a tap lies under an output, and which output has a tap over an input.
        let under = |out: usize, tap: usize, axis: usize, extent: usize| {
            (out * stride[axis] + tap * dilation[axis]).checked_sub(padding[axis]).filter(|&at| at < extent)
        };
        let over = |at: usize, tap: usize, axis: usize, extent: usize| {
            let distance = (at + padding[axis]).checked_sub(tap * dilation[axis])?;
            Some(distance / stride[axis]).filter(|&out| distance % stride[axis] == 0 && out < extent)
        };
        match pass {
            ConvPass::Forward => {
                let [n, k, p, q] = position(&self.output_shape(), at);
                for (r, s) in pairs(self.r, self.s) {
                    let (Some(h), Some(w)) = (under(p, r, 0, self.h), under(q, s, 1, self.w)) else { continue };
                    for cg in 0..self.cg() {
                        let c = k / self.kg() * self.cg() + cg;
                        visit(Product { n, k, p, q, c, cg, r, s, h, w });
                    }
                }
            }
            ConvPass::BackwardInput => {
                let [n, c, h, w] = position(&self.input_shape(), at);
                let (group, cg) = (c / self.cg(), c % self.cg());
                for (r, s) in pairs(self.r, self.s) {
                    let (Some(p), Some(q)) = (over(h, r, 0, self.p), over(w, s, 1, self.q)) else { continue };
                    for k in group * self.kg()..(group + 1) * self.kg() {
                        visit(Product { n, k, p, q, c, cg, r, s, h, w });
                    }
                }
            }
            ConvPass::BackwardWeight => {
                let [k, cg, r, s] = position(&self.filter_shape(), at);
                let c = k / self.kg() * self.cg() + cg;
                for (p, q) in pairs(self.p, self.q) {
                    let (Some(h), Some(w)) = (under(p, r, 0, self.h), under(q, s, 1, self.w)) else { continue };
                    (0..self.n).for_each(|n| visit(Product { n, k, p, q, c, cg, r, s, h, w }));
                }
            }
        }
    }
}

fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
}

/// The four indices of element `at` in PyTorch's order.
fn position(shape: &Shape, at: usize) -> [usize; 4] {
    let [_, c, h, w] = shape.nchw();
    [at / (c * h * w), at / (h * w) % c, at / w % h, at % w]
}
