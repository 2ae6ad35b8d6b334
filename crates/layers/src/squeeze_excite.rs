//! Squeeze and excitation.

use crate::{Conv2d, Layer, Place, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// `y = x * sigmoid(fc2(relu(fc1(mean of x))))`: each channel of each sample times a factor that follows from the means of all of them
/// (Hu et al., arXiv:1709.01507). Children `fc1` and `fc2` are 1x1 convolutions with bias, as in torchvision's
/// `SqueezeExcitation`. Images `[N, channels, H, W]`; shapes stay.
///
/// ```
/// use wgrad_layers::{SqueezeExcite, Summary};
/// use wgrad_tensor::TensorDesc;
///
/// let summary = Summary::new(&SqueezeExcite::new(64, 4), TensorDesc::f32([1, 64, 7, 7])).expect("the shapes fit");
/// assert_eq!(summary.parameters(), 64 * 4 + 4 + 4 * 64 + 64);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SqueezeExcite {
    channels: usize,
    squeezed: usize,
    place: Place,
}

impl SqueezeExcite {
    /// From `channels` channels through `squeezed` numbers, a sixteenth of them in the paper.
    #[track_caller]
    pub fn new(channels: usize, squeezed: usize) -> SqueezeExcite {
        SqueezeExcite { channels, squeezed, place: Place::here() }
    }
}

impl Layer for SqueezeExcite {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let s = &self.place.enter(s);
        let y = s.layer("fc1", &Conv2d::new(self.channels, self.squeezed, 1), x.adaptive_avg_pool2d([1, 1])).relu();
        let y = s.layer("fc2", &Conv2d::new(self.squeezed, self.channels, 1), y);
        // One pixel: the same numbers as a matrix.
        x.scale_channels(y.flatten().sigmoid())
    }
}
