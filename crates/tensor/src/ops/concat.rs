//! Moving channels: concatenation, slices and zero padding along dimension 1.

use super::pixel_rows::{launch_lines, splits_in_four};
use super::{Backward, Case, CaseInput, Lower, OpDef, View, ViewMut};
use crate::dtype::DType;
use crate::graph::{Graph, Value};
use crate::shape::{Shape, TensorDesc};

/// `y = [x0, x1, ...]` along dimension 1, any number of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat;

/// `y = x[:, start .. start + count]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceChannels {
    /// First channel.
    pub start: usize,
    /// Number of channels.
    pub count: usize,
}

/// `y` = `before` channels of zeros, the channels of `x`, `after` channels of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PadChannels {
    /// Channels of zeros in front.
    pub before: usize,
    /// Channels of zeros behind.
    pub after: usize,
}

/// A tensor as lines of channels: images have a line per pixel, other ranks one per sample, in which a channel is a run of
/// `run` elements.
#[derive(Clone, Copy)]
struct Lines {
    count: usize,
    run: usize,
}

impl Lines {
    fn of(shape: &Shape) -> Lines {
        match shape.rank() {
            4 => Lines { count: shape.dim(0) * shape.dim(2) * shape.dim(3), run: 1 },
            _ => Lines { count: shape.dim(0), run: shape.dim(2) },
        }
    }
}

fn with_channels(shape: &Shape, channels: usize) -> Shape {
    let mut result = *shape;
    if let (Some(with), true) = (replaced(shape, channels), shape.rank() >= 2) {
        result = with;
    }
    result
}

fn replaced(shape: &Shape, channels: usize) -> Option<Shape> {
    let mut dims = shape.dims().to_vec();
    *dims.get_mut(1)? = channels;
    Shape::try_new(&dims)
}

fn check_operand(x: &TensorDesc) -> Result<(), String> {
    if x.dtype == DType::F32 && x.shape.rank() >= 2 && x.shape.numel() > 0 {
        Ok(())
    } else {
        Err("wanted f32 operands [N, C, ...] of at least two dimensions, none of them empty".to_string())
    }
}

/// A range of channels on its way from one tensor to another; all numbers in channels.
struct Move {
    x_channels: usize,
    x_first: usize,
    x_count: usize,
    y_channels: usize,
    y_first: usize,
    y_count: usize,
    before: usize,
}

impl Move {
    fn launch(&self, cx: &mut Lower<'_>, operand: usize) {
        let target = cx.target();
        let (x, y) = (cx.x(operand), cx.y(0));
        let lines = Lines::of(&cx.y_desc(0).shape);
        let elements =
            [self.x_channels, self.x_first, self.x_count, self.y_channels, self.y_first, self.y_count, self.before]
                .map(|channels| channels * lines.run);
        let vector = splits_in_four(&elements);
        let [x_stride, x_first, x_length, y_stride, y_first, length, before] =
            elements.map(|n| if vector { n / 4 } else { n });
        let kernel = cx.dispatch("channels").define_if(vector, "VEC4").bind("x", x).bind("y", y).args(&[
            ("x_stride", x_stride),
            ("x_first", x_first),
            ("x_length", x_length),
            ("y_stride", y_stride),
            ("y_first", y_first),
            ("before", before),
        ]);
        launch_lines(kernel, target, lines.count, length);
    }
}

/// Copies channels `x_first ..` of `x` to `y_first ..` of `y`, `count` of them, in the host's order.
fn copy_channels(x: &View<'_>, x_first: usize, y: &mut ViewMut<'_>, y_first: usize, count: usize) {
    let [n, _, h, w] = x.shape.nchw();
    for i in 0..n {
        for c in 0..count {
            for p in 0..h {
                for q in 0..w {
                    *y.at(i, y_first + c, p, q) = x.at(i, x_first + c, p, q);
                }
            }
        }
    }
}

impl OpDef for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let first = x.first().ok_or("concat needs at least one operand")?;
        x.iter().try_for_each(check_operand)?;
        if x.iter().any(|other| with_channels(&other.shape, first.shape.dim(1)) != first.shape) {
            return Err("the operands may differ in dimension 1 only".to_string());
        }
        Ok(vec![TensorDesc::f32(with_channels(&first.shape, x.iter().map(|x| x.shape.dim(1)).sum()))])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let mut start = 0;
        let mut gradients = Vec::new();
        for i in 0..cx.inputs.len() {
            let count = cx.input(i).dim(1);
            gradients.push(cx.if_needed(i, || cx.dy().slice_channels(start, count)));
            start += count;
        }
        Some(gradients)
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let y_channels = cx.y_desc(0).shape.dim(1);
        let mut y_first = 0;
        for i in 0..cx.x_count() {
            let count = cx.x_desc(i).shape.dim(1);
            let copy =
                Move { x_channels: count, x_first: 0, x_count: count, y_channels, y_first, y_count: count, before: 0 };
            copy.launch(cx, i);
            y_first += count;
        }
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let mut start = 0;
        for x in x {
            let count = x.shape.dim(1);
            copy_channels(x, 0, &mut y[0], start, count);
            start += count;
        }
    }

    fn view_of(&self, x: &[TensorDesc]) -> Option<usize> {
        (x.len() == 1).then_some(0)
    }
}

impl OpDef for SliceChannels {
    fn name(&self) -> &'static str {
        "slice_channels"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [x] = x else { return Err("slice_channels takes one operand".to_string()) };
        check_operand(x)?;
        let channels = x.shape.dim(1);
        if self.count == 0 || self.start.checked_add(self.count).is_none_or(|end| end > channels) {
            let (start, count) = (self.start, self.count);
            return Err(format!("{count} channels from {start} on were wanted, but there are {channels}"));
        }
        Ok(vec![TensorDesc::f32(with_channels(&x.shape, self.count))])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        let after = cx.input(0).dim(1) - self.start - self.count;
        Some(vec![Some(cx.dy().pad_channels(self.start, after))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let count = self.count;
        let slice = Move {
            x_channels: cx.x_desc(0).shape.dim(1),
            x_first: self.start,
            x_count: count,
            y_channels: count,
            y_first: 0,
            y_count: count,
            before: 0,
        };
        slice.launch(cx, 0);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        copy_channels(&x[0], self.start, &mut y[0], 0, self.count);
    }

    fn view_of(&self, x: &[TensorDesc]) -> Option<usize> {
        (self.count == x[0].shape.dim(1)).then_some(0)
    }
}

impl OpDef for PadChannels {
    fn name(&self) -> &'static str {
        "pad_channels"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [x] = x else { return Err("pad_channels takes one operand".to_string()) };
        check_operand(x)?;
        Ok(vec![TensorDesc::f32(with_channels(&x.shape, self.before + x.shape.dim(1) + self.after))])
    }

    fn backward<'g>(&self, cx: &Backward<'g>) -> Option<Vec<Option<Value<'g>>>> {
        Some(vec![Some(cx.dy().slice_channels(self.before, cx.input(0).dim(1)))])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let (x_channels, y_channels) = (cx.x_desc(0).shape.dim(1), cx.y_desc(0).shape.dim(1));
        let pad = Move {
            x_channels,
            x_first: 0,
            x_count: x_channels,
            y_channels,
            y_first: 0,
            y_count: y_channels,
            before: self.before,
        };
        pad.launch(cx, 0);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        copy_channels(&x[0], 0, &mut y[0], self.before, x[0].shape.dim(1));
    }

    fn view_of(&self, _: &[TensorDesc]) -> Option<usize> {
        (self.before == 0 && self.after == 0).then_some(0)
    }
}

impl Graph {
    /// The values side by side along dimension 1: `[N, C0 + C1 + ..., H, W]`. None at all are a mistake of the trace.
    #[track_caller]
    pub fn concat<'g>(&'g self, values: &[Value<'g>]) -> Value<'g> {
        self.apply1(Concat, values)
    }
}

impl<'g> Value<'g> {
    /// Channels `start .. start + count`.
    #[track_caller]
    pub fn slice_channels(self, start: usize, count: usize) -> Value<'g> {
        self.graph().apply1(SliceChannels { start, count }, &[self])
    }

    /// Channels of zeros in front and behind.
    #[track_caller]
    pub fn pad_channels(self, before: usize, after: usize) -> Value<'g> {
        self.graph().apply1(PadChannels { before, after }, &[self])
    }
}

/// Images, matrices and sequences; whole and broken vec4s, one channel, one pixel, many operands.
pub fn cases() -> Vec<Case> {
    let with = |n: usize, channels: &[usize], rest: &[usize]| -> Vec<CaseInput> {
        let shape = |c: &usize| Shape::try_new(&[&[n, *c], rest].concat()).unwrap_or_default();
        channels.iter().map(|c| CaseInput::normal(shape(c))).collect()
    };
    let concats: [(usize, &[usize], &[usize]); 9] = [
        (2, &[4, 8], &[3, 5]),
        (1, &[3, 5, 1], &[2, 2]),
        (3, &[4, 2], &[1, 1]),
        (1, &[64, 128, 32, 32], &[4, 4]),
        (2, &[1], &[3, 3]),
        (5, &[3, 4], &[]),
        (2, &[2, 3], &[5]),
        (1, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[1, 2]),
        (40, &[8, 4], &[]),
    ];
    let mut cases = Vec::new();
    for (n, channels, rest) in concats {
        cases.push(Case::new(format!("{n} {channels:?} {rest:?}"), Concat, with(n, channels, rest)));
    }
    let ranges: [([usize; 4], usize, usize, usize); 9] = [
        ([2, 8, 3, 3], 4, 4, 4),
        ([1, 7, 2, 5], 1, 2, 3),
        ([3, 4, 1, 1], 1, 1, 0),
        ([1, 16, 5, 4], 8, 8, 8),
        ([2, 5, 2, 2], 0, 5, 0),
        ([1, 1, 6, 7], 0, 1, 2),
        ([2, 12, 1, 9], 3, 4, 2),
        ([4, 32, 8, 8], 0, 4, 12),
        ([1, 65, 3, 1], 64, 1, 7),
    ];
    for (shape, start, count, after) in ranges {
        let x = CaseInput::normal(shape);
        let name = format!("{shape:?} {start} {count} {after}");
        cases.push(Case::new(&name, SliceChannels { start, count }, [x]));
        cases.push(Case::new(&name, PadChannels { before: start, after }, [x]));
    }
    let matrix = CaseInput::normal([5, 7]);
    cases.push(Case::new("matrix", SliceChannels { start: 2, count: 3 }, [matrix]));
    cases.push(Case::new("matrix", PadChannels { before: 2, after: 3 }, [matrix]));
    // The first inception block of GoogLeNet.
    cases.push(Case::new("inception 3a", Concat, with(32, &[64, 128, 32, 32], &[28, 28])).timed());
    let images = CaseInput::normal(super::TIMED_IMAGES);
    cases.push(Case::new("half the channels", SliceChannels { start: 32, count: 32 }, [images]).timed());
    cases.push(Case::new("twice the channels", PadChannels { before: 32, after: 32 }, [images]).timed());
    cases
}
