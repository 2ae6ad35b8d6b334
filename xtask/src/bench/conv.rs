//! `cargo xtask bench conv`: the convolutions of well-known nets by every algorithm that can do them.

use super::measure::Subject;
use super::{Args, Rows, row};
use anyhow::Result;
use wgrad::tensor::ops::conv2d::{
    Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Conv2dConfig, ConvAlgo, ConvPass, Geometry,
};
use wgrad::tensor::{Device, Init, Scope, Value};

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
const LAYERS: [Layer; 18] = [
    Layer { name: "resnet20.conv1",       c:   3, h: 32, k:  16, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer1",      c:  16, h: 32, k:  16, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer2.0",    c:  16, h: 32, k:  32, r: 3, stride: 2, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer2",      c:  32, h: 16, k:  32, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer3.0",    c:  32, h: 16, k:  64, r: 3, stride: 2, padding: 1, groups:  1 },
    Layer { name: "resnet20.layer3",      c:  64, h:  8, k:  64, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv2",        c:  64, h: 27, k: 192, r: 5, stride: 1, padding: 2, groups:  1 },
    Layer { name: "alexnet.conv3",        c: 192, h: 13, k: 384, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv4",        c: 384, h: 13, k: 256, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "alexnet.conv5",        c: 256, h: 13, k: 256, r: 3, stride: 1, padding: 1, groups:  1 },
    Layer { name: "resnet50.layer1.1x1",  c:  64, h: 56, k: 256, r: 1, stride: 1, padding: 0, groups:  1 },
    Layer { name: "resnext50.layer1.3x3", c: 128, h: 56, k: 128, r: 3, stride: 1, padding: 1, groups: 32 },
    Layer { name: "large.7x7.56px",        c:  64, h: 56, k:  64, r: 7, stride: 1, padding: 3, groups:  1 },
    Layer { name: "large.9x9.56px",        c:  64, h: 56, k:  64, r: 9, stride: 1, padding: 4, groups:  1 },
    Layer { name: "large.11x11.56px",        c:  64, h: 56, k:  64, r: 11, stride: 1, padding: 5, groups:  1 },
    Layer { name: "large.7x7.27px",        c:  64, h: 27, k:  64, r: 7, stride: 1, padding: 3, groups:  1 },
    Layer { name: "large.9x9.27px",        c:  64, h: 27, k:  64, r: 9, stride: 1, padding: 4, groups:  1 },
    Layer { name: "large.11x11.27px",        c:  64, h: 27, k:  64, r: 11, stride: 1, padding: 5, groups:  1 },
];

/// The passes, with their names.
pub(super) const PASSES: [(ConvPass, &str); 3] = [
    (ConvPass::Forward, "forward"),
    (ConvPass::BackwardInput, "backward_input"),
    (ConvPass::BackwardWeight, "backward_weight"),
];

/// Times every algorithm on every layer and pass, after comparing it with f64 on one image.
pub(super) fn conv(device: &Device, args: &Args) -> Result<()> {
    let mut rows = Rows::default();
    for layer in &LAYERS {
        let g = layer.geometry(args.batch)?;
        for (pass, part) in PASSES {
            let name = format!("{} batch {} {part}", layer.name, args.batch);
            if !rows.wanted(args, &name) {
                continue;
            }
            let single = layer.geometry(1)?;
            let mut wanted = None;
            for algo in ConvAlgo::ALL.into_iter().filter(|algo| algo.supports(&g, pass, &device.target())) {
                let mut subject = Subject::new(device, |s| trace(s, &single, pass, algo))?;
                let wanted = match &wanted {
                    Some(wanted) => wanted,
                    None => wanted.insert(subject.reference()?),
                };
                let error = subject.error(wanted)?;
                let mut subject = Subject::new(device, |s| trace(s, &g, pass, algo))?;
                row(args, &name, algo.name(), &subject.time()?, g.flops(), &error);
                if args.profile {
                    println!("{}\n", subject.profile()?);
                }
            }
        }
    }
    rows.check(args)
}

/// One pass of the convolution, of uniform values between -1 and 1.
pub(super) fn trace<'g>(s: &Scope<'g>, g: &Geometry, pass: ConvPass, algo: ConvAlgo) -> Value<'g> {
    let param = |name, shape| s.weight(name, shape, Init::Uniform { bound: 1.0 });
    let (config, algo) = (g.config, Some(algo));
    let (x, w, y) = (g.input_shape(), g.filter_shape(), g.output_shape());
    match pass {
        ConvPass::Forward => {
            let op = Conv2d { algo, ..Conv2d::new(config) };
            s.graph().apply1(op, &[param("x", x), param("w", w)])
        }
        ConvPass::BackwardInput => {
            let op = Conv2dBackwardInput { config, input: [g.h, g.w], residual: false, algo };
            s.graph().apply1(op, &[param("dy", y), param("w", w)])
        }
        ConvPass::BackwardWeight => {
            let op = Conv2dBackwardWeight { config, kernel: [g.r, g.s], algo };
            s.graph().apply1(op, &[param("x", x), param("dy", y)])
        }
    }
}
