//! Transposed convolution: the input gradient of a convolution as an operation of its own.

use super::{Conv2dBackwardInput, Conv2dConfig};
use crate::graph::Value;

impl<'g> Value<'g> {
    /// Transposed convolution of images `[N,C,H,W]` with filters `[C,K/groups,R,S]`, PyTorch's `conv_transpose2d`: each pixel
    /// spreads its filter over the output, `y[n, k, h * stride - padding + r * dilation, …] += x[n,c,h,…] * w[c,k,r,…]`.
    ///
    /// The result has `(H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1` rows; `output_padding`, less
    /// than the stride, names one of the heights that a convolution would shrink to `H`. It is [`Conv2dBackwardInput`] with
    /// the roles of the tensors exchanged, by the same kernels and with the same numerics.
    #[track_caller]
    pub fn conv_transpose2d(self, w: Value<'g>, config: Conv2dConfig, output_padding: [usize; 2]) -> Value<'g> {
        if self.shape().rank() != 4 || w.shape().rank() != 4 {
            // What is wrong with the operands is said where they are checked.
            return self.graph().apply1(Conv2dBackwardInput::new(config, [1, 1]), &[self, w]);
        }
        let mut extents = [0; 2];
        for axis in 0..2 {
            let extent = transposed_extent(self.dim(2 + axis), w.dim(2 + axis), &config, axis, output_padding[axis]);
            extents[axis] = match extent {
                Ok(extent) => extent,
                Err(message) => return self.graph().mistake("conv_transpose2d", message),
            };
        }
        self.graph().apply1(Conv2dBackwardInput::new(config, extents), &[self, w])
    }
}

/// Height (axis 0) or width of the result.
fn transposed_extent(
    extent: usize,
    taps: usize,
    config: &Conv2dConfig,
    axis: usize,
    extra: usize,
) -> Result<usize, String> {
    let (stride, padding, dilation) = (config.stride[axis], config.padding[axis], config.dilation[axis]);
    if extra >= stride.max(1) {
        return Err(format!("output_padding {extra} must be less than the stride {stride}"));
    }
    let spread = extent.saturating_sub(1).saturating_mul(stride);
    let window = dilation.saturating_mul(taps.saturating_sub(1));
    let full = spread.saturating_add(window).saturating_add(extra).saturating_add(1);
    let cut = padding.saturating_mul(2);
    full.checked_sub(cut)
        .filter(|&rest| rest > 0)
        .ok_or_else(|| format!("padding {padding} cuts all of {full} pixels away; pad less"))
}
