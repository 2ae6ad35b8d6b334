//! Larger images.

use crate::{Layer, Pair, Place};
use wgrad_tensor::{Scope, Value};

/// `[N, C, H, W]` to `[N, C, factor H, factor W]`, PyTorch's `Upsample(scale_factor)` for whole factors: every pixel repeated, or
/// bilinear interpolation with `align_corners=False`.
///
/// ```
/// use wgrad_layers::{Layer, Upsample};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([1, 4, 7, 5]));
/// let y = Upsample::bilinear(2).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape().dims(), [1, 4, 14, 10]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Upsample {
    factor: [usize; 2],
    is_bilinear: bool,
    place: Place,
}

impl Upsample {
    /// Repeats every pixel.
    #[track_caller]
    pub fn nearest(factor: impl Into<Pair>) -> Upsample {
        Upsample { factor: factor.into().0, is_bilinear: false, place: Place::here() }
    }

    /// Interpolates.
    #[track_caller]
    pub fn bilinear(factor: impl Into<Pair>) -> Upsample {
        Upsample { is_bilinear: true, ..Upsample::nearest(factor) }
    }
}

impl Layer for Upsample {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let _place = self.place.enter(s);
        let output = [0, 1].map(|axis| self.factor[axis].saturating_mul(x.dim(2 + axis)));
        // With a whole factor each window of the mean holds one pixel.
        if self.is_bilinear { x.upsample_bilinear2d(output) } else { x.adaptive_avg_pool2d(output) }
    }
}
