//! GoogLeNet, in the form of its paper and in torchvision's.

use super::conv_norm::ConvNorm;
use crate::{
    AdaptiveAvgPool2d, AvgPool2d, Conv2d, Dropout, Flatten, GlobalAvgPool, Layer, Linear, LocalResponseNorm, MaxPool2d,
    Relu, ScopeExt,
};
use wgrad_tensor::{Init, Scope, Value};

/// GoogLeNet of Szegedy et al., arXiv:1409.4842: a stem of three convolutions and nine inception modules, each 1x1, 3x3 and
/// 5x5 filters and a maximum side by side, global average, dropout, linear.
///
/// [`GoogLeNet::paper`] has local response normalisation in the stem and no batch norm, as Caffe's `bvlc_googlenet`.
/// [`GoogLeNet::new`] is torchvision's: batch norm (eps 0.001) behind every convolution, 3x3 where the paper has 5x5, a last pool of
/// 2x2, and dropout 0.2 instead of 0.4.
///
/// In training two auxiliary classifiers look at the modules 4a and 4d ([`Scope::auxiliary`] with weight 0.3). Their
/// parameters exist in training traces only. Their pools leave 4x4 pixels: torchvision's whatever the image's size, the paper's
/// (5x5, stride 3) of 224x224 pixels. With 3 input channels and 1000 classes at 224x224:
///
/// | form | parameters | with auxiliary classifiers | MACs |
/// |---|---|---|---|
/// | torchvision | 6,624,904 | 13,004,888 | 1,498 M |
/// | paper | 6,998,552 | 13,378,280 | 1,583 M |
///
/// Names of both are torchvision's. torchvision's weights start with deviation 0.01, which it cuts off at two deviations; the paper's
/// start as Caffe's "xavier", uniform within `sqrt(3 / fan_in)`, with biases of 0.2. Images of at least 15 pixels fit, and of
/// at least 79 pixels in training in the paper's form.
#[derive(Clone, Debug)]
pub struct GoogLeNet {
    in_channels: usize,
    classes: usize,
    is_paper: bool,
    auxiliary: bool,
}

/// Channels of a module: 1x1; 3x3 and what reduces to it; 5x5 and what reduces to it; behind the pool.
type Widths = (usize, [usize; 2], [usize; 2], usize);

/// The modules, and whether a maximum pool follows.
const MODULES: [(&str, Widths, bool); 9] = [
    ("inception3a", (64, [96, 128], [16, 32], 32), false),
    ("inception3b", (128, [128, 192], [32, 96], 64), true),
    ("inception4a", (192, [96, 208], [16, 48], 64), false),
    ("inception4b", (160, [112, 224], [24, 64], 64), false),
    ("inception4c", (128, [128, 256], [24, 64], 64), false),
    ("inception4d", (112, [144, 288], [32, 64], 64), false),
    ("inception4e", (256, [160, 320], [32, 128], 128), true),
    ("inception5a", (256, [160, 320], [32, 128], 128), false),
    ("inception5b", (384, [192, 384], [48, 128], 128), false),
];

/// Modules behind which auxiliary classifiers stand.
const AUXILIARY: [(&str, &str); 2] = [("inception4a", "aux1"), ("inception4d", "aux2")];
const AUXILIARY_WEIGHT: f32 = 0.3;

impl GoogLeNet {
    /// torchvision's form, with auxiliary classifiers in training.
    pub fn new(in_channels: usize, classes: usize) -> GoogLeNet {
        GoogLeNet { in_channels, classes, is_paper: false, auxiliary: true }
    }

    /// The paper's form, with auxiliary classifiers in training.
    pub fn paper(in_channels: usize, classes: usize) -> GoogLeNet {
        GoogLeNet { is_paper: true, ..GoogLeNet::new(in_channels, classes) }
    }

    /// Whether training has the auxiliary classifiers.
    pub fn auxiliary(self, auxiliary: bool) -> GoogLeNet {
        GoogLeNet { auxiliary, ..self }
    }

    fn conv(&self, in_channels: usize, out_channels: usize, kernel: usize) -> Conv2d {
        let conv = Conv2d::new(in_channels, out_channels, kernel).padding(kernel / 2);
        if self.is_paper {
            conv.init(Init::KaimingUniform { gain: 1.0 }).bias_init(Init::Constant(0.2))
        } else {
            conv.init(Init::Normal { std: 0.01 })
        }
    }

    fn norm(&self, conv: Conv2d, channels: usize) -> ConvNorm {
        if self.is_paper { ConvNorm::plain(conv) } else { ConvNorm::new(conv, channels).eps(0.001) }
    }

    fn linear(&self, in_features: usize, out_features: usize, bias: f32) -> Linear {
        let linear = Linear::new(in_features, out_features);
        if self.is_paper {
            linear.init(Init::KaimingUniform { gain: 1.0 }).bias_init(Init::Constant(bias))
        } else {
            linear.init(Init::Normal { std: 0.01 })
        }
    }

    fn local_norm<'g>(&self, s: &Scope<'g>, name: &str, x: Value<'g>) -> Value<'g> {
        if self.is_paper { s.layer(name, &LocalResponseNorm::new(5).alpha(1e-4).beta(0.75).k(1.0), x) } else { x }
    }

    fn inception<'g>(&self, s: &Scope<'g>, x: Value<'g>, (ones, threes, fives, pooled): Widths) -> Value<'g> {
        let from = x.dim(1);
        let unit = |from, to, kernel| self.norm(self.conv(from, to, kernel), to);
        let pair = |[reduced, to]: [usize; 2], kernel| (unit(from, reduced, 1), unit(reduced, to, kernel));
        let five = if self.is_paper { 5 } else { 3 };
        let branches = [
            s.layer("branch1", &unit(from, ones, 1), x),
            s.layer("branch2", &pair(threes, 3), x),
            s.layer("branch3", &pair(fives, five), x),
            s.layer("branch4", &(MaxPool2d::new(3).stride(1).padding(1), unit(from, pooled, 1)), x),
        ];
        s.graph().concat(&branches)
    }

    fn classifier<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let x = match self.is_paper {
            true => s.layer("pool", &AvgPool2d::new(5).stride(3), x),
            false => s.layer("pool", &AdaptiveAvgPool2d::new(4), x),
        };
        let x = s.layer("conv", &self.norm(self.conv(x.dim(1), 128, 1), 128), x);
        let x = s.layer("flatten", &Flatten, x);
        let x = s.layer("fc1", &self.linear(x.dim(1), 1024, 0.2), x);
        let x = s.layer("dropout", &(Relu, Dropout::new(0.7)), x);
        s.layer("fc2", &self.linear(1024, self.classes, 0.0), x)
    }
}

impl Layer for GoogLeNet {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let pool = |kernel| MaxPool2d::new(kernel).stride(2).ceil_mode(true);
        let x = s.layer("conv1", &self.norm(self.conv(self.in_channels, 64, 7).stride(2), 64), x);
        let x = s.layer("maxpool1", &pool(3), x);
        let x = self.local_norm(s, "norm1", x);
        let x = s.layer("conv2", &self.norm(self.conv(64, 64, 1), 64), x);
        let x = s.layer("conv3", &self.norm(self.conv(64, 192, 3), 192), x);
        let x = self.local_norm(s, "norm2", x);
        let mut x = s.layer("maxpool2", &pool(3), x);
        for (i, (name, widths, is_last)) in MODULES.into_iter().enumerate() {
            x = s.enter(name, |s| self.inception(s, x, widths));
            let auxiliary = AUXILIARY.iter().find(|(module, _)| *module == name && self.auxiliary && s.is_training());
            if let Some((_, classifier)) = auxiliary {
                let logits = s.enter(classifier, |s| self.classifier(s, x));
                s.auxiliary(logits, AUXILIARY_WEIGHT);
            }
            if is_last {
                // torchvision has a smaller window before the last two modules.
                let kernel = if i > 2 && !self.is_paper { 2 } else { 3 };
                x = s.layer(if i > 2 { "maxpool4" } else { "maxpool3" }, &pool(kernel), x);
            }
        }
        let x = s.layer("avgpool", &GlobalAvgPool, x);
        let x = s.layer("dropout", &Dropout::new(if self.is_paper { 0.4 } else { 0.2 }), x);
        s.layer("fc", &self.linear(1024, self.classes, 0.0), x)
    }
}
