//! LeNet-5.

use crate::{Conv2d, Layer, Linear, MaxPool2d, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// LeNet-5 (LeCun et al., Proc. IEEE 86, 1998) as it is taught today, with max pooling and ReLU: conv 6 of 5x5, pool,
/// conv 16 of 5x5, pool, linear 120, 84, classes.
///
/// It wants 32x32 pixels; smaller images are padded to that (odd sizes to 33) by the first convolution, so MNIST's 28x28 fit as
/// well.
/// With 1 input channel and 10 classes it has 61,706 parameters; PyTorch's tensor names `conv1`, `conv2`, `fc1`, `fc2`,
/// `fc3`.
#[derive(Clone, Debug)]
pub struct LeNet {
    in_channels: usize,
    classes: usize,
}

impl LeNet {
    /// The network for images of `in_channels` channels.
    pub fn new(in_channels: usize, classes: usize) -> LeNet {
        LeNet { in_channels, classes }
    }
}

impl Layer for LeNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let padding = [x.dim(2), x.dim(3)].map(|extent| 32_usize.saturating_sub(extent).div_ceil(2));
        let pool = MaxPool2d::new(2);
        let x = s.layer("conv1", &Conv2d::new(self.in_channels, 6, 5).padding(padding), x).relu();
        let x = s.layer("pool1", &pool, x);
        let x = s.layer("conv2", &Conv2d::new(6, 16, 5), x).relu();
        let x = s.layer("pool2", &pool, x).flatten();
        let x = s.layer("fc1", &Linear::new(16 * 5 * 5, 120), x).relu();
        let x = s.layer("fc2", &Linear::new(120, 84), x).relu();
        s.layer("fc3", &Linear::new(84, self.classes), x)
    }
}
