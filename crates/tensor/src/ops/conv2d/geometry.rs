//! Extents of one convolution, checked once.

use crate::shape::Shape;

/// Stride, padding, dilation and groups, PyTorch's meaning and defaults; pairs are (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Distance between windows.
    pub stride: [usize; 2],
    /// Zeros around the image, on each side.
    pub padding: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Blocks of channels that do not see each other.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Conv2dConfig {
        Conv2dConfig { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// Beyond any image; keeps positions within the kernels' 32 bits.
pub(in crate::ops) const LARGEST_SETTING: usize = 1 << 20;

/// Kernels multiply the two strides.
const LARGEST_STRIDE: usize = 1 << 15;

/// All extents of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "cuDNN's letters, explained in the module")]
pub struct Geometry {
    pub n: usize,
    pub c: usize,
    pub h: usize,
    pub w: usize,
    pub k: usize,
    pub r: usize,
    pub s: usize,
    pub p: usize,
    pub q: usize,
    pub config: Conv2dConfig,
}

/// Indices of one product of the convolution's sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) p: usize,
    pub(super) q: usize,
    pub(super) c: usize,
    /// Channel within the group.
    pub(super) cg: usize,
    pub(super) r: usize,
    pub(super) s: usize,
    pub(super) h: usize,
    pub(super) w: usize,
}

impl Geometry {
    /// Checks the operands and computes the output's extents.
    ///
    /// # Errors
    /// What was wanted, what was got.
    pub fn forward(x: Shape, w: Shape, config: Conv2dConfig) -> Result<Geometry, String> {
        if x.rank() != 4 || w.rank() != 4 {
            return Err("wanted images [N, C, H, W] and filters [K, C/groups, R, S]".to_string());
        }
        let Conv2dConfig { stride, padding, dilation, groups } = config;
        if stride.contains(&0) || dilation.contains(&0) || groups == 0 {
            return Err(format!("stride {stride:?}, dilation {dilation:?} and groups {groups} must be at least 1"));
        }
        if stride.into_iter().any(|stride| stride > LARGEST_STRIDE) {
            return Err(format!("stride {stride:?} must be at most {LARGEST_STRIDE}"));
        }
        if padding.into_iter().chain(dilation).any(|value| value > LARGEST_SETTING) {
            return Err(format!("padding {padding:?} and dilation {dilation:?} must be at most {LARGEST_SETTING}"));
        }
        let ([n, c, height, width], [k, cg, r, s]) = (x.nchw(), w.nchw());
        if c != cg * groups || k % groups != 0 {
            return Err(format!(
                "{c} input channels in {groups} groups want filters [K, {}, R, S] with K a multiple of {groups}, got {w}",
                c / groups
            ));
        }
        if x.numel() == 0 || w.numel() == 0 {
            return Err("no extent may be 0".to_string());
        }
        let output = |extent: usize, taps: usize, axis: usize| {
            let window = dilation[axis] * (taps - 1) + 1;
            let padded = extent + 2 * padding[axis];
            padded.checked_sub(window).map(|room| room / stride[axis] + 1).ok_or_else(|| {
                format!("a window of {window} does not fit {extent} pixels with padding {}; pad more", padding[axis])
            })
        };
        let (p, q) = (output(height, r, 0)?, output(width, s, 1)?);
        Ok(Geometry { n, c, h: height, w: width, k, r, s, p, q, config })
    }

    /// Checks that an output gradient has the output's shape.
    pub(super) fn with_output(self, dy: Shape) -> Result<Geometry, String> {
        if dy == self.output_shape() {
            Ok(self)
        } else {
            Err(format!("the output gradient must have shape {}, got {dy}", self.output_shape()))
        }
    }

    /// `[N, C, H, W]`.
    pub fn input_shape(&self) -> Shape {
        [self.n, self.c, self.h, self.w].into()
    }

    /// `[K, C/groups, R, S]`.
    pub fn filter_shape(&self) -> Shape {
        [self.k, self.cg(), self.r, self.s].into()
    }

    /// `[N, K, P, Q]`.
    pub fn output_shape(&self) -> Shape {
        [self.n, self.k, self.p, self.q].into()
    }

    /// Input channels of one group.
    pub fn cg(&self) -> usize {
        self.c / self.config.groups
    }

    /// Output channels of one group.
    pub fn kg(&self) -> usize {
        self.k / self.config.groups
    }

    /// Output pixels of the batch: rows of the matrix product.
    pub fn pixels(&self) -> usize {
        self.n * self.p * self.q
    }

    /// Elements of one filter: the matrix product's inner extent.
    pub fn window(&self) -> usize {
        self.r * self.s * self.cg()
    }

    /// Whether this is a plain matrix product over pixels.
    pub fn is_pointwise(&self) -> bool {
        let Conv2dConfig { stride, padding, .. } = self.config;
        self.r == 1 && self.s == 1 && stride == [1, 1] && padding == [0, 0]
    }

    /// Two operations per product, taps in the padding included: "direct-count" FLOPs, the same for every pass.
    pub fn flops(&self) -> f64 {
        2.0 * self.pixels() as f64 * self.k as f64 * self.window() as f64
    }

    /// Calls `visit` for every product of the sum, taps in the padding left out.
    pub(super) fn for_each_product(&self, mut visit: impl FnMut(Product)) {
        let Conv2dConfig { stride, padding, dilation, .. } = self.config;
        let inside = |out: usize, tap: usize, axis: usize, extent: usize| {
            (out * stride[axis] + tap * dilation[axis]).checked_sub(padding[axis]).filter(|&at| at < extent)
        };
        for n in 0..self.n {
            for k in 0..self.k {
                for p in 0..self.p {
                    for q in 0..self.q {
                        for r in 0..self.r {
                            let Some(h) = inside(p, r, 0, self.h) else { continue };
                            for s in 0..self.s {
                                let Some(w) = inside(q, s, 1, self.w) else { continue };
                                for cg in 0..self.cg() {
                                    let c = k / self.kg() * self.cg() + cg;
                                    visit(Product { n, k, p, q, c, cg, r, s, h, w });
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_follow_pytorch() {
        let config = Conv2dConfig { stride: [2, 3], padding: [1, 0], dilation: [1, 2], groups: 2 };
        let g = Geometry::forward([2, 4, 9, 11].into(), [6, 2, 3, 3].into(), config).expect("fits");
        assert_eq!((g.p, g.q, g.cg(), g.kg()), (5, 3, 2, 3));
    }

    #[test]
    fn mistakes_are_explained() {
        let x = Shape::from([1, 4, 5, 5]);
        let plain = Conv2dConfig::default();
        let refuse = |w: [usize; 4], config: Conv2dConfig| Geometry::forward(x, w.into(), config).expect_err("refused");
        assert!(refuse([8, 3, 3, 3], plain).contains("[K, 4, R, S]"));
        assert!(refuse([8, 4, 7, 3], plain).contains("does not fit"));
        assert!(refuse([8, 4, 3, 3], Conv2dConfig { stride: [0, 1], ..plain }).contains("at least 1"));
        assert!(refuse([7, 2, 3, 3], Conv2dConfig { groups: 2, ..plain }).contains("multiple of 2"));
        assert!(refuse([8, 4, 3, 3], Conv2dConfig { stride: [1, (1 << 15) + 1], ..plain }).contains("at most 32768"));
        assert!(refuse([8, 4, 3, 3], Conv2dConfig { padding: [1 << 63, 0], ..plain }).contains("at most"));
        assert!(Geometry::forward([4, 5].into(), [8, 4, 3, 3].into(), plain).is_err());
    }
}
