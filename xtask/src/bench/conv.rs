//! `cargo xtask bench conv`: the convolutions of well-known nets by every algorithm that can do them.

use super::item::Item;
use anyhow::Result;
use wgrad::tensor::Shape;
use wgrad::tensor::ops::conv2d::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dConfig, Geometry};
use wgrad::tensor::ops::{Case, CaseInput, Fill, Target};

/// A convolution that is timed: `[N, c, h, h]` with `k` filters of `r` by `r`.
pub(super) struct Layer {
    pub(super) name: &'static str,
    pub(super) c: usize,
    pub(super) h: usize,
    pub(super) k: usize,
    pub(super) r: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) groups: usize,
}

impl Layer {
    pub(super) fn geometry(&self, batch: usize) -> Result<Geometry> {
        let &Layer { c, h, k, r, stride, padding, groups, .. } = self;
        let config = Conv2dConfig { stride: [stride; 2], padding: [padding; 2], groups, ..Conv2dConfig::default() };
        Geometry::forward([batch, c, h, h].into(), [k, c / groups, r, r].into(), config).map_err(anyhow::Error::msg)
    }
}

#[rustfmt::skip] // A table is read by its columns.
const LAYERS: [Layer; 29] = [
    Layer { name: "resnet20.conv1",       c:   3, h: 32, k:  16, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer1",      c:  16, h: 32, k:  16, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer2.0",    c:  16, h: 32, k:  32, r: 3, stride: 2, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer2",      c:  32, h: 16, k:  32, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer3.0",    c:  32, h: 16, k:  64, r: 3, stride: 2, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer3",      c:  64, h:  8, k:  64, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet9.conv1",        c:   3, h: 32, k:  64, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv2",        c:  64, h: 27, k: 192, r: 5, stride: 1, padding: 2, groups:  1 },
    Layer { name: "alexnet.conv3",        c: 192, h: 13, k: 384, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv4",        c: 384, h: 13, k: 256, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv5",        c: 256, h: 13, k: 256, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv1",        c:   3, h: 224, k: 64, r: 11, stride: 4, padding: 2, groups: 1 },
    Layer { name: "resnet50.conv1",       c:   3, h: 224, k: 64, r: 7, stride: 2, padding: 3, groups:  1 },
    Layer { name: "resnet50.layer1.1x1",  c:  64, h: 56, k: 256, r: 1, stride: 1, padding: 0, groups:  1 },
    Layer { name: "large.7x7.56px",        c:  64, h: 56, k:  64, r: 7, stride: 1, padding: 3, groups:  1 },
    Layer { name: "large.9x9.56px",        c:  64, h: 56, k:  64, r: 9, stride: 1, padding: 4, groups:  1 },
    Layer { name: "large.11x11.56px",      c:  64, h: 56, k:  64, r: 11, stride: 1, padding: 5, groups:  1 },
    Layer { name: "large.7x7.27px",        c:  64, h: 27, k:  64, r: 7, stride: 1, padding: 3, groups:  1 },
    Layer { name: "large.9x9.27px",        c:  64, h: 27, k:  64, r: 9, stride: 1, padding: 4, groups:  1 },
    Layer { name: "large.11x11.27px",      c:  64, h: 27, k:  64, r: 11, stride: 1, padding: 5, groups:  1 },
    Layer { name: "large.7x7.27px.32ch",  c:  32, h: 27, k:  32, r: 7, stride: 1, padding: 3, groups:  1 },
    Layer { name: "large.11x11.27px.32ch", c: 32, h: 27, k:  32, r: 11, stride: 1, padding: 5, groups: 1 },
    Layer { name: "large.7x7.14px.256ch", c: 256, h: 14, k: 256, r: 7, stride: 1, padding: 3, groups:  1 },
    Layer { name: "grouped.dense",        c: 128, h: 28, k: 128, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "grouped.32",           c: 128, h: 28, k: 128, r: 3, stride: 1, padding: 1, groups: 32 },
    Layer { name: "grouped.32.stride2",   c: 128, h: 28, k: 128, r: 3, stride: 2, padding: 1, groups: 32 },
    Layer { name: "grouped.depthwise",    c: 128, h: 28, k: 128, r: 3, stride: 1, padding: 1, groups: 128 },
    Layer { name: "grouped.depthwise.stride2", c: 128, h: 28, k: 128, r: 3, stride: 2, padding: 1, groups: 128 },
    Layer { name: "grouped.depthwise.x2", c: 128, h: 28, k: 256, r: 3, stride: 1, padding: 1, groups: 128 },
];

/// What `bench conv` times.
pub(super) fn items(target: &Target, batch: usize) -> Result<Vec<Item>> {
    items_of(&LAYERS, target, batch)
}

/// Every pass of every layer by every algorithm that can compute it.
pub(super) fn items_of(layers: &[Layer], target: &Target, batch: usize) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for layer in layers {
        let g = layer.geometry(batch)?;
        let uniform = |shape: Shape| CaseInput::f32(shape, Fill::Uniform(-1.0, 1.0));
        let (config, x, w, y) =
            (g.config, uniform(g.input_shape()), uniform(g.filter_shape()), uniform(g.output_shape()));
        let input = Conv2dBackwardInput::new(config, [g.h, g.w]);
        let weight = Conv2dBackwardWeight { config, kernel: [g.r, g.s], algo: None };
        let passes = [
            ("forward", Case::new("", Conv2d::new(config), [x, w])),
            ("backward_input", Case::new("", input, [y, w])),
            ("backward_weight", Case::new("", weight, [x, y])),
        ];
        for (part, case) in passes {
            // Room for the rounding of every algorithm; each row says how much it is.
            items.extend(Item::by_every_algorithm(
                &format!("{} {part}", layer.name),
                Some(batch),
                &case.within(1e-3),
                target,
            ));
        }
    }
    Ok(items)
}
