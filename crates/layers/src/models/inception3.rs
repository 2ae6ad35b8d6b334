//! Inception v3.

use super::conv_norm::ConvNorm;
use crate::{AvgPool2d, Conv2d, Dropout, GlobalAvgPool, Layer, Linear, MaxPool2d, Pair, ScopeExt};
use wgrad_tensor::{Init, Scope, Value};

/// Inception v3 of Szegedy et al., arXiv:1512.00567, as torchvision has it, made for 299x299 pixels: a stem of six
/// convolutions and two pools, three blocks at 35x35, five at 17x17 with filters of 1x7 and 7x1, three at 8x8, global average,
/// dropout, linear; batch norm (eps 0.001) and ReLU behind every convolution.
///
/// In training a second classifier looks at the last 17x17 image ([`Scope::auxiliary`] with weight 0.4, as in torchvision's
/// recipe). Its parameters exist in training traces only, where there are 27,161,264; without, 23,834,568 and 5,713 M MACs.
/// Names are torchvision's. Weights start normal with deviation 0.1 (auxiliary classifier 0.01 and 0.001), which torchvision
/// cuts off at two deviations. Images of at least 75 pixels fit; those below 299 are too small for the auxiliary
/// classifier's filter, and train without it (torchvision refuses them).
#[derive(Clone, Debug)]
pub struct InceptionV3 {
    in_channels: usize,
    classes: usize,
    auxiliary: bool,
}

impl InceptionV3 {
    /// The network for images of `in_channels` channels, with an auxiliary classifier in training.
    pub fn new(in_channels: usize, classes: usize) -> InceptionV3 {
        InceptionV3 { in_channels, classes, auxiliary: true }
    }

    /// Whether training has the second classifier.
    pub fn auxiliary(self, auxiliary: bool) -> InceptionV3 {
        InceptionV3 { auxiliary, ..self }
    }
}

/// Loss weight of the auxiliary classifier.
const AUXILIARY_WEIGHT: f32 = 0.4;

impl Layer for InceptionV3 {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        let pool = || MaxPool2d::new(3).stride(2);
        let x = s.layer("Conv2d_1a_3x3", &norm(conv(self.in_channels, 32, 3).stride(2), 32), x);
        let x = s.layer("Conv2d_2a_3x3", &norm(conv(32, 32, 3), 32), x);
        let x = s.layer("Conv2d_2b_3x3", &same(32, 64, 3), x);
        let x = s.layer("maxpool1", &pool(), x);
        let x = s.layer("Conv2d_3b_1x1", &same(64, 80, 1), x);
        let x = s.layer("Conv2d_4a_3x3", &norm(conv(80, 192, 3), 192), x);
        let mut x = s.layer("maxpool2", &pool(), x);
        for (name, pool_features) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
            x = s.enter(name, |s| block_a(s, x, pool_features));
        }
        x = s.enter("Mixed_6a", |s| block_b(s, x));
        for (name, width) in [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)] {
            x = s.enter(name, |s| block_c(s, x, width));
        }
        // 17x17 pixels leave the 5x5 that its filter covers.
        if self.auxiliary && s.is_training() && x.dim(2).min(x.dim(3)) >= 17 {
            let logits = s.enter("AuxLogits", |s| auxiliary(s, x, self.classes));
            s.auxiliary(logits, AUXILIARY_WEIGHT);
        }
        x = s.enter("Mixed_7a", |s| block_d(s, x));
        for name in ["Mixed_7b", "Mixed_7c"] {
            x = s.enter(name, |s| block_e(s, x));
        }
        let x = s.layer("avgpool", &GlobalAvgPool, x);
        let x = s.layer("dropout", &Dropout::new(0.5), x);
        s.layer("fc", &Linear::new(2048, self.classes).init(Init::Normal { std: 0.1 }), x)
    }
}

/// Filters of 1x1, 5x5 and twice 3x3, and an average.
fn block_a<'g>(s: &Scope<'g>, x: Value<'g>, pool_features: usize) -> Value<'g> {
    let from = x.dim(1);
    let ones = s.layer("branch1x1", &same(from, 64, 1), x);
    let fives = s.layer("branch5x5_1", &same(from, 48, 1), x);
    let fives = s.layer("branch5x5_2", &same(48, 64, 5), fives);
    let threes = s.layer("branch3x3dbl_1", &same(from, 64, 1), x);
    let threes = s.layer("branch3x3dbl_2", &same(64, 96, 3), threes);
    let threes = s.layer("branch3x3dbl_3", &same(96, 96, 3), threes);
    let mean = s.layer("branch_pool", &same(from, pool_features, 1), average(s, x));
    s.graph().concat(&[ones, fives, threes, mean])
}

/// To half the rows and columns: 3x3, twice 3x3, and a maximum.
fn block_b<'g>(s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
    let from = x.dim(1);
    let threes = s.layer("branch3x3", &norm(conv(from, 384, 3).stride(2), 384), x);
    let doubles = s.layer("branch3x3dbl_1", &same(from, 64, 1), x);
    let doubles = s.layer("branch3x3dbl_2", &same(64, 96, 3), doubles);
    let doubles = s.layer("branch3x3dbl_3", &norm(conv(96, 96, 3).stride(2), 96), doubles);
    s.graph().concat(&[threes, doubles, s.layer("maxpool", &MaxPool2d::new(3).stride(2), x)])
}

/// Filters of 1x1, 7x7 and twice 7x7 as pairs of 1x7 and 7x1, and an average.
fn block_c<'g>(s: &Scope<'g>, x: Value<'g>, width: usize) -> Value<'g> {
    let from = x.dim(1);
    let (row, column) = ([1, 7], [7, 1]);
    let ones = s.layer("branch1x1", &same(from, 192, 1), x);
    let sevens = s.layer("branch7x7_1", &same(from, width, 1), x);
    let sevens = s.layer("branch7x7_2", &same(width, width, row), sevens);
    let sevens = s.layer("branch7x7_3", &same(width, 192, column), sevens);
    let doubles = s.layer("branch7x7dbl_1", &same(from, width, 1), x);
    let doubles = s.layer("branch7x7dbl_2", &same(width, width, column), doubles);
    let doubles = s.layer("branch7x7dbl_3", &same(width, width, row), doubles);
    let doubles = s.layer("branch7x7dbl_4", &same(width, width, column), doubles);
    let doubles = s.layer("branch7x7dbl_5", &same(width, 192, row), doubles);
    let mean = s.layer("branch_pool", &same(from, 192, 1), average(s, x));
    s.graph().concat(&[ones, sevens, doubles, mean])
}

/// To half the rows and columns: 3x3, 7x7 and 3x3, and a maximum.
fn block_d<'g>(s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
    let from = x.dim(1);
    let threes = s.layer("branch3x3_1", &same(from, 192, 1), x);
    let threes = s.layer("branch3x3_2", &norm(conv(192, 320, 3).stride(2), 320), threes);
    let sevens = s.layer("branch7x7x3_1", &same(from, 192, 1), x);
    let sevens = s.layer("branch7x7x3_2", &same(192, 192, [1, 7]), sevens);
    let sevens = s.layer("branch7x7x3_3", &same(192, 192, [7, 1]), sevens);
    let sevens = s.layer("branch7x7x3_4", &norm(conv(192, 192, 3).stride(2), 192), sevens);
    s.graph().concat(&[threes, sevens, s.layer("maxpool", &MaxPool2d::new(3).stride(2), x)])
}

/// Filters of 1x1, 3x3 and twice 3x3, whose last are 1x3 and 3x1 side by side, and an average.
fn block_e<'g>(s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
    let from = x.dim(1);
    let ones = s.layer("branch1x1", &same(from, 320, 1), x);
    let threes = s.layer("branch3x3_1", &same(from, 384, 1), x);
    let threes_a = s.layer("branch3x3_2a", &same(384, 384, [1, 3]), threes);
    let threes_b = s.layer("branch3x3_2b", &same(384, 384, [3, 1]), threes);
    let doubles = s.layer("branch3x3dbl_1", &same(from, 448, 1), x);
    let doubles = s.layer("branch3x3dbl_2", &same(448, 384, 3), doubles);
    let doubles_a = s.layer("branch3x3dbl_3a", &same(384, 384, [1, 3]), doubles);
    let doubles_b = s.layer("branch3x3dbl_3b", &same(384, 384, [3, 1]), doubles);
    let mean = s.layer("branch_pool", &same(from, 192, 1), average(s, x));
    s.graph().concat(&[ones, threes_a, threes_b, doubles_a, doubles_b, mean])
}

/// The second classifier.
fn auxiliary<'g>(s: &Scope<'g>, x: Value<'g>, classes: usize) -> Value<'g> {
    let x = s.layer("pool", &AvgPool2d::new(5).stride(3), x);
    let x = s.layer("conv0", &same(768, 128, 1), x);
    let last = conv(128, 768, 5).init(Init::Normal { std: 0.01 });
    let x = s.layer("conv1", &norm(last, 768), x);
    s.layer("fc", &Linear::new(768, classes).init(Init::Normal { std: 0.001 }), x.global_avg_pool())
}

/// 3x3 averages around every pixel, the padding counting as zeros.
fn average<'g>(s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
    s.layer("average", &AvgPool2d::new(3).stride(1).padding(1), x)
}

fn conv(in_channels: usize, out_channels: usize, kernel: impl Into<Pair>) -> Conv2d {
    Conv2d::new(in_channels, out_channels, kernel.into().0).init(Init::Normal { std: 0.1 })
}

fn norm(conv: Conv2d, channels: usize) -> ConvNorm {
    ConvNorm::new(conv, channels).eps(0.001)
}

/// With a padding that keeps the image's extents.
fn same(in_channels: usize, out_channels: usize, kernel: impl Into<Pair>) -> ConvNorm {
    let kernel = kernel.into().0;
    norm(conv(in_channels, out_channels, kernel).padding(kernel.map(|extent| extent / 2)), out_channels)
}
