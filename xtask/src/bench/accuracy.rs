//! `cargo xtask bench accuracy`: how far every algorithm's result is from f64, on layers of well-known nets.

use super::Args;
use super::conv::{Layer, PASSES, trace};
use super::measure::Subject;
use anyhow::Result;
use wgrad::tensor::ops::conv2d::{ConvAlgo, ConvPass, Geometry};
use wgrad::tensor::{Device, Shape};

#[rustfmt::skip] // A table is read by its columns.
const LAYERS: [Layer; 10] = [
    Layer { name: "alexnet.conv1",       c:   3, h: 67, k:  64, r: 11, stride: 4, padding: 2, groups: 1 },
    Layer { name: "alexnet.conv2",       c:  64, h: 27, k: 192, r:  5, stride: 1, padding: 2, groups: 1 },
    Layer { name: "alexnet.conv3",       c: 192, h: 13, k: 384, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "alexnet.conv5",       c: 256, h: 13, k: 256, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "vgg16.conv2_1, 56px", c:  64, h: 56, k: 128, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "vgg16.conv5_1",       c: 512, h: 14, k: 512, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "resnet50.layer1.1x1", c:  64, h: 56, k: 256, r:  1, stride: 1, padding: 0, groups: 1 },
    Layer { name: "resnet50.layer2.3x3", c: 128, h: 28, k: 128, r:  3, stride: 2, padding: 1, groups: 1 },
    Layer { name: "resnet50.layer4.3x3", c: 512, h:  7, k: 512, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "11x11, 64 channels",  c:  64, h: 27, k:  64, r: 11, stride: 1, padding: 5, groups: 1 },
];

/// Outputs that are computed in f64: the whole result would take minutes.
const SAMPLES: usize = 2000;

/// Deviation relative to the largest value of the result.
struct Deviation {
    max: f64,
    rms: f64,
}

/// Prints a table: layers and algorithms by passes.
pub(super) fn accuracy(device: &Device, args: &Args) -> Result<()> {
    let images = args.batch.min(2);
    println!(
        "Largest error / root of the mean square error, both relative to the largest value of the result; operands uniform in \
         -1..1, {images} images, {SAMPLES} outputs of each result against f64\n"
    );
    let cells = |cells: [&str; 5]| match args.markdown {
        true => println!("| {} |", cells.join(" | ")),
        false => println!("{:<20} {:<12} {:<17} {:<17} {}", cells[0], cells[1], cells[2], cells[3], cells[4]),
    };
    cells(["layer", "algorithm", "forward", "input gradient", "filter gradient"]);
    if args.markdown {
        cells(["---"; 5]);
    }
    let wanted = |layer: &&Layer| args.name.as_deref().is_none_or(|part| layer.name.contains(part));
    for layer in LAYERS.iter().filter(wanted) {
        let g = layer.geometry(images)?;
        let supported = |algo: ConvAlgo| PASSES.map(|(pass, _)| algo.supports(&g, pass, &device.target()));
        for algo in ConvAlgo::ALL.into_iter().filter(|&algo| supported(algo).contains(&true)) {
            let mut row = Vec::new();
            for (pass, _) in PASSES {
                row.push(if algo.supports(&g, pass, &device.target()) {
                    let Deviation { max, rms } = deviation(device, &g, pass, algo)?;
                    format!("{max:.1e} / {rms:.1e}")
                } else {
                    "-".to_string()
                });
            }
            cells([layer.name, algo.name(), &row[0], &row[1], &row[2]]);
        }
    }
    Ok(())
}

fn deviation(device: &Device, g: &Geometry, pass: ConvPass, algo: ConvAlgo) -> Result<Deviation> {
    let mut subject = Subject::new(device, |s| trace(s, g, pass, algo))?;
    let got = subject.result()?;
    let load = |name: &str, wanted: bool| if wanted { subject.param(name) } else { Ok(Vec::new()) };
    let x = load("x", pass != ConvPass::BackwardInput)?;
    let w = load("w", pass != ConvPass::BackwardWeight)?;
    let dy = load("dy", pass != ConvPass::Forward)?;
    let samples = SAMPLES.min(got.len());
    let (mut max, mut squares) = (0f64, 0f64);
    for sample in 0..samples {
        let at = sample * got.len() / samples;
        let difference = (f64::from(got[at]) - element(g, pass, at, [&x, &w, &dy])).abs();
        // A NaN is the worst of all.
        max = max.max(if difference.is_nan() { f64::INFINITY } else { difference });
        squares += difference * difference;
    }
    let largest = got.iter().fold(0f64, |most, value| most.max(f64::from(value.abs())));
    Ok(Deviation { max: max / largest, rms: (squares / samples as f64).sqrt() / largest })
}

/// Element `at` of the pass's result, in f64.
fn element(g: &Geometry, pass: ConvPass, at: usize, [x, w, dy]: [&[f32]; 3]) -> f64 {
    let read = |data: &[f32], shape: Shape, [a, b, c, d]: [usize; 4]| {
        let [_, extent_b, extent_c, extent_d] = shape.nchw();
        f64::from(data[((a * extent_b + b) * extent_c + c) * extent_d + d])
    };
    let x = |n, c, h, w| read(x, g.input_shape(), [n, c, h, w]);
    let dy = |n, k, p, q| read(dy, g.output_shape(), [n, k, p, q]);
    let w = |k, c, r, s| read(w, g.filter_shape(), [k, c, r, s]);
    let place = |shape: Shape| {
        let [_, b, c, d] = shape.nchw();
        [at / (b * c * d), at / (c * d) % b, at / d % c, at % d]
    };
    let ([stride_h, stride_w], [pad_h, pad_w]) = (g.config.stride, g.config.padding);
    // The source pixel of an output and a tap, and the output of a source pixel and a tap.
    let source = |out: usize, tap: usize, stride: usize, pad: usize, extent: usize| {
        (out * stride + tap).checked_sub(pad).filter(|&position| position < extent)
    };
    let target = |position: usize, tap: usize, stride: usize, pad: usize, extent: usize| {
        let shifted = (position + pad).checked_sub(tap).filter(|shifted| shifted.is_multiple_of(stride));
        shifted.map(|shifted| shifted / stride).filter(|&out| out < extent)
    };
    let taps = || (0..g.r).flat_map(|r| (0..g.s).map(move |s| (r, s)));
    let pixels = || (0..g.n).flat_map(|n| (0..g.p).flat_map(move |p| (0..g.q).map(move |q| (n, p, q))));
    match pass {
        ConvPass::Forward => {
            let [n, k, p, q] = place(g.output_shape());
            let products = taps().filter_map(|(r, s)| {
                let (h, v) = (source(p, r, stride_h, pad_h, g.h)?, source(q, s, stride_w, pad_w, g.w)?);
                Some((0..g.c).map(|c| x(n, c, h, v) * w(k, c, r, s)).sum::<f64>())
            });
            products.sum()
        }
        ConvPass::BackwardInput => {
            let [n, c, h, v] = place(g.input_shape());
            let products = taps().filter_map(|(r, s)| {
                let (p, q) = (target(h, r, stride_h, pad_h, g.p)?, target(v, s, stride_w, pad_w, g.q)?);
                Some((0..g.k).map(|k| dy(n, k, p, q) * w(k, c, r, s)).sum::<f64>())
            });
            products.sum()
        }
        ConvPass::BackwardWeight => {
            let [k, c, r, s] = place(g.filter_shape());
            let products = pixels().filter_map(|(n, p, q)| {
                let (h, v) = (source(p, r, stride_h, pad_h, g.h)?, source(q, s, stride_w, pad_w, g.w)?);
                Some(x(n, c, h, v) * dy(n, k, p, q))
            });
            products.sum()
        }
    }
}
