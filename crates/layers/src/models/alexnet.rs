//! AlexNet in its one-tower form.

use crate::{AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Relu, ScopeExt};
use wgrad_tensor::{Scope, Value};

/// The one-tower AlexNet of Krizhevsky, arXiv:1404.5997, as torchvision has it: no groups, no local response
/// normalisation.
///
/// conv 64 of 11x11, stride 4 · pool · conv 192 of 5x5 · pool · 384, 256, 256 of 3x3 · pool · average to 6x6 · dropout,
/// linear 4096 · dropout, linear 4096 · linear; ReLU behind every layer but the last, maximum pools 3x3 with stride 2.
///
/// Names and initialisers are PyTorch's. With 3 input channels, 1000 classes and 224x224 pixels it has 61,100,840
/// parameters and 714 M MACs. Images of at least 63 pixels fit. Where the last pool leaves less than 6x6 (below 199
/// pixels) torchvision repeats pixels; here the first linear layer takes what there is, and has fewer weights.
#[derive(Clone, Debug)]
pub struct AlexNet {
    in_channels: usize,
    classes: usize,
}

impl AlexNet {
    /// The network for images of `in_channels` channels.
    pub fn new(in_channels: usize, classes: usize) -> AlexNet {
        AlexNet { in_channels, classes }
    }
}

impl Layer for AlexNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let pool = || MaxPool2d::new(3).stride(2);
        let features: [Box<dyn Layer>; 13] = [
            Box::new(Conv2d::new(self.in_channels, 64, 11).stride(4).padding(2)),
            Box::new(Relu),
            Box::new(pool()),
            Box::new(Conv2d::new(64, 192, 5).padding(2)),
            Box::new(Relu),
            Box::new(pool()),
            Box::new(Conv2d::new(192, 384, 3).padding(1)),
            Box::new(Relu),
            Box::new(Conv2d::new(384, 256, 3).padding(1)),
            Box::new(Relu),
            Box::new(Conv2d::new(256, 256, 3).padding(1)),
            Box::new(Relu),
            Box::new(pool()),
        ];
        let x = s.layer("features", &Vec::from(features), x);
        let x = s.layer("avgpool", &AdaptiveAvgPool2d::at_most(6), x);
        let x = s.layer("flatten", &Flatten, x);
        let classifier = (
            Dropout::new(0.5),
            Linear::new(x.dim(1), 4096),
            Relu,
            Dropout::new(0.5),
            Linear::new(4096, 4096),
            Relu,
            Linear::new(4096, self.classes),
        );
        s.layer("classifier", &classifier, x)
    }
}
