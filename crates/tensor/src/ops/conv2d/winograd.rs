//! Winograd's minimal filtering: the convolution as `ALPHA^2` matrix products over tiles, with transforms around them.
//!
//! A tile is `M x M` target pixels; the source under it has `ALPHA = M + R - 1` pixels a side. All three passes share the
//! transforms: the input gradient is the convolution of `dy` with the turned filter, the filter gradient is the adjoint of
//! the forward pass in its second operand. Lavin and Gray, arXiv:1509.09308.

use super::{ConvPass, Geometry};
use crate::ops::gemm::{EpilogueBuffers, Gemm, Matrix};
use crate::ops::{BufId, DispatchBuilder, Lower};

/// Sizes of one algorithm `F(M x M, R x R)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Winograd {
    m: usize,
    r: usize,
}

impl Winograd {
    /// The algorithm with tiles of `m` for this convolution, if it applies: square filters of 3 or 5 taps, stride and
    /// dilation 1, one group, channels divisible by four, padding that the gradient can turn into padding.
    pub(super) fn new(g: &Geometry, m: usize) -> Option<Winograd> {
        let c = g.config;
        let plain = c.stride == [1, 1] && c.dilation == [1, 1] && c.groups == 1;
        let filter = g.r == g.s && (g.r == 3 || g.r == 5) && c.padding.iter().all(|&padding| padding < g.r);
        let channels = g.c.is_multiple_of(4) && g.k.is_multiple_of(4);
        (plain && filter && channels).then_some(Winograd { m, r: g.r })
    }

    fn alpha(self) -> usize {
        self.m + self.r - 1
    }

    /// Number of matrix products.
    fn products(self) -> usize {
        self.alpha() * self.alpha()
    }

    /// Elements of the transformed filters.
    pub(super) fn filter_elements(self, g: &Geometry) -> usize {
        self.products() * g.k * g.c
    }

    /// Fixes the constants of the transforms.
    fn constants<'b, 'a>(self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        let (sizes, alpha) = match (self.m, self.r) {
            (2, 3) => ("F2X3", "ALPHA4"),
            (4, 3) => ("F4X3", "ALPHA6"),
            (2, _) => ("F2X5", "ALPHA6"),
            _ => ("F4X5", "ALPHA8"),
        };
        let kernel = kernel.define(sizes).define(alpha);
        kernel.set("M", self.m as u32).set("R", self.r as u32).set("ALPHA", self.alpha() as u32)
    }
}

/// An image as the transforms see it: extents, and how far the first tile lies outside.
#[derive(Clone, Copy, Debug)]
struct Side {
    h: usize,
    w: usize,
    c: usize,
    padding: [usize; 2],
}

/// Tiles of the target image, walked in chunks that fit the workspace.
#[derive(Clone, Copy, Debug)]
struct Tiles {
    h: usize,
    w: usize,
    count: usize,
    chunk: usize,
}

impl Tiles {
    fn new(cx: &Lower<'_>, f: Winograd, g: &Geometry, target: Side) -> Tiles {
        let (h, w) = (target.h.div_ceil(f.m), target.w.div_ceil(f.m));
        let count = g.n * h * w;
        let tile_bytes = (4 * f.products() * (g.c + g.k)) as u64;
        let most = ((cx.target().workspace_bytes / tile_bytes) as usize).clamp(1, count);
        Tiles { h, w, count, chunk: count.div_ceil(count.div_ceil(most)) }
    }

    /// First tile and number of tiles of each chunk.
    fn chunks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).step_by(self.chunk).map(move |first| (first, self.chunk.min(self.count - first)))
    }

    fn args<'b, 'a>(
        self,
        kernel: DispatchBuilder<'b, 'a>,
        (first, count): (usize, usize),
        side: Side,
    ) -> DispatchBuilder<'b, 'a> {
        let kernel = kernel.args(&[("tile0", first), ("tiles", count), ("tiles_h", self.h), ("tiles_w", self.w)]);
        kernel.args(&[("h", side.h), ("w", side.w), ("c4", side.c / 4)])
    }
}

/// `y`, or with [`ConvPass::BackwardInput`] `dx`, from `source` and the filters.
pub(super) fn product(
    f: Winograd,
    g: &Geometry,
    cx: &mut Lower<'_>,
    pass: ConvPass,
    (source, w, target): (BufId, BufId, BufId),
    epilogue: EpilogueBuffers,
) {
    let backward = pass == ConvPass::BackwardInput;
    let x = Side { h: g.h, w: g.w, c: g.c, padding: g.config.padding };
    let y = Side { h: g.p, w: g.q, c: g.k, padding: g.config.padding.map(|padding| g.r - 1 - padding) };
    let (from, to) = if backward { (y, x) } else { (x, y) };
    let u = cx.workspace(f.filter_elements(g));
    let kernel = cx.dispatch("winograd_filter").part("winograd.filter").bind("w", w).bind("u", u);
    let kernel = f.constants(kernel.define_if(backward, "FLIP")).args(&[("k", g.k), ("c4", g.c / 4)]);
    kernel.invocations(g.k * g.c / 4);
    let tiles = Tiles::new(cx, f, g, to);
    let v = cx.workspace(f.products() * tiles.chunk * from.c);
    let m = cx.workspace(f.products() * tiles.chunk * to.c);
    for chunk in tiles.chunks() {
        input(f, cx, tiles, chunk, from, (source, v));
        let filters = Matrix { stride: g.k * g.c, transposed: !backward, ..Matrix::dense(u, g.c) };
        multiply(f, cx, chunk.1, (v, from.c), filters, (m, to.c));
        let kernel = epilogue.bind(cx.dispatch("winograd_output")).part("winograd.output").define("Y_VECTOR");
        let kernel = tiles.args(f.constants(kernel.bind("m", m).bind("y", target)), chunk, to);
        kernel.invocations(chunk.1 * to.c / 4);
    }
}

/// `dw` from `x` and `dy`.
pub(super) fn filter_gradient(f: Winograd, g: &Geometry, cx: &mut Lower<'_>, (x, dy, dw): (BufId, BufId, BufId)) {
    let from = Side { h: g.h, w: g.w, c: g.c, padding: g.config.padding };
    let to = Side { h: g.p, w: g.q, c: g.k, padding: [0, 0] };
    let tiles = Tiles::new(cx, f, g, to);
    let v = cx.workspace(f.products() * tiles.chunk * g.c);
    let d = cx.workspace(f.products() * tiles.chunk * g.k);
    let du = cx.workspace(f.filter_elements(g));
    for chunk in tiles.chunks() {
        input(f, cx, tiles, chunk, from, (x, v));
        let kernel = cx.dispatch("winograd_output_gradient").part("winograd.output_gradient");
        let kernel = kernel.bind("dy", dy).bind("d", d);
        tiles.args(f.constants(kernel), chunk, to).invocations(chunk.1 * g.k / 4);
        let product = Gemm {
            m: g.k,
            n: g.c,
            k: chunk.1,
            batch: f.products(),
            a: Matrix { stride: chunk.1 * g.k, transposed: true, ..Matrix::dense(d, g.k) },
            b: Matrix { stride: chunk.1 * g.c, ..Matrix::dense(v, g.c) },
            y: Matrix { stride: g.k * g.c, ..Matrix::dense(du, g.c) },
            epilogue: EpilogueBuffers::default(),
            accumulate: chunk.0 > 0,
        };
        product.lower(cx, "winograd.gemm");
    }
    let kernel = cx.dispatch("winograd_filter_gradient").part("winograd.filter_gradient").bind("du", du).bind("dw", dw);
    f.constants(kernel).args(&[("k", g.k), ("c4", g.c / 4)]).invocations(g.k * g.c / 4);
}

fn input(f: Winograd, cx: &mut Lower<'_>, tiles: Tiles, chunk: (usize, usize), from: Side, (x, v): (BufId, BufId)) {
    let kernel = cx.dispatch("winograd_input").part("winograd.input").bind("x", x).bind("v", v);
    let kernel = tiles.args(f.constants(kernel), chunk, from);
    kernel.args(&[("pad_h", from.padding[0]), ("pad_w", from.padding[1])]).invocations(chunk.1 * from.c / 4);
}

/// `m = v * filters`, one product for each of the `ALPHA^2` places of a tile.
fn multiply(
    f: Winograd,
    cx: &mut Lower<'_>,
    tiles: usize,
    (v, k): (BufId, usize),
    filters: Matrix,
    (m, n): (BufId, usize),
) {
    let product = Gemm {
        m: tiles,
        n,
        k,
        batch: f.products(),
        a: Matrix { stride: tiles * k, ..Matrix::dense(v, k) },
        b: filters,
        y: Matrix { stride: tiles * n, ..Matrix::dense(m, n) },
        epilogue: EpilogueBuffers::default(),
        accumulate: false,
    };
    product.lower(cx, "winograd.gemm");
}
