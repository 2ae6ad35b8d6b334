//! Convolutions that take channels and pixels apart.

use crate::{BatchNorm2d, Conv2d, Layer, Pair, Place, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// A depthwise convolution, which looks at every channel alone, and a pointwise (1x1) one, which mixes them; a batch norm
/// and a ReLU behind each (MobileNet, arXiv:1704.04861). Children: `depthwise`, `bn1`, `pointwise`, `bn2`; the convolutions
/// have no bias.
///
/// Shapes: `[N, in_channels, H, W]` to `[N, out_channels, P, Q]`. The depthwise convolution pads by half its (odd) filter, and
/// makes `multiplier` channels of each (Sifre 2014; Vanhoucke, ICLR 2014). Defaults: stride 1, multiplier 1.
///
/// With [`DepthwiseSeparable::linear_depthwise`] there is no norm and no ReLU between the two, as in Xception (arXiv:1610.02357): then
/// the block is a convolution whose filters are sums of `multiplier * in_channels` products.
///
/// ```
/// use wgrad_layers::{DepthwiseSeparable, Summary};
/// use wgrad_tensor::TensorDesc;
///
/// let block = DepthwiseSeparable::new(32, 64, 3).stride(2);
/// let summary = Summary::new(&block, TensorDesc::f32([1, 32, 14, 14])).expect("the shapes fit");
/// assert_eq!(summary.parameters(), 32 * 9 + 2 * 32 + 32 * 64 + 2 * 64);
/// ```
#[derive(Clone, Debug)]
pub struct DepthwiseSeparable {
    in_channels: usize,
    out_channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    multiplier: usize,
    linear_depthwise: bool,
    place: Place,
}

impl DepthwiseSeparable {
    /// A block with a depthwise filter of this size.
    #[track_caller]
    pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Pair>) -> DepthwiseSeparable {
        let (kernel, stride, place) = (kernel.into().0, [1; 2], Place::here());
        DepthwiseSeparable { in_channels, out_channels, kernel, stride, multiplier: 1, linear_depthwise: false, place }
    }

    /// Distance of neighbouring windows, in pixels. Default 1.
    pub fn stride(self, stride: impl Into<Pair>) -> DepthwiseSeparable {
        DepthwiseSeparable { stride: stride.into().0, ..self }
    }

    /// Depthwise filters of each channel. Default 1.
    pub fn multiplier(self, multiplier: usize) -> DepthwiseSeparable {
        DepthwiseSeparable { multiplier, ..self }
    }

    /// Whether the pointwise convolution follows the depthwise one at once. Default false.
    pub fn linear_depthwise(self, linear_depthwise: bool) -> DepthwiseSeparable {
        DepthwiseSeparable { linear_depthwise, ..self }
    }
}

impl Layer for DepthwiseSeparable {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        let Some(inner) = self.in_channels.checked_mul(self.multiplier) else {
            let message = format!("{} channels times {} are too many", self.in_channels, self.multiplier);
            return s.graph().mistake("depthwise_separable", message);
        };
        let padding = self.kernel.map(|extent| extent / 2);
        let depthwise = Conv2d::new(self.in_channels, inner, self.kernel).stride(self.stride).padding(padding);
        let mut x = s.layer("depthwise", &depthwise.groups(self.in_channels).bias(false), x);
        if !self.linear_depthwise {
            x = s.layer("bn1", &BatchNorm2d::new(inner), x).relu();
        }
        let x = s.layer("pointwise", &Conv2d::new(inner, self.out_channels, 1).bias(false), x);
        s.layer("bn2", &BatchNorm2d::new(self.out_channels), x).relu()
    }
}
