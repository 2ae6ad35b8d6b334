//! Winograd's minimal filtering: the convolution as `ALPHA^2` matrix products over tiles, with transforms around them.
//!
//! A tile is `M x M` target pixels; the source under it has `ALPHA = M + R - 1` pixels a side. All three passes share the
//! transforms: the input gradient is the convolution of `dy` with the turned filter, the filter gradient is the adjoint of
//! the forward pass in its second operand. Lavin and Gray, arXiv:1509.09308. Where the image is no multiple of `M`, narrow
//! tiles make up for it (`winograd_tiles.rs`).

use super::winograd_tiles::{Chunk, Planes, Side, Tiles};
use super::{ConvPass, Geometry};
use crate::ops::gemm::{EpilogueBuffers, Gemm, Matrix};
use crate::ops::{BufId, DispatchBuilder, Lower};

/// Sizes of one algorithm `F(M x M, R x R)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Winograd {
    /// Target pixels of a tile's side.
    pub(super) m: usize,
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

    /// Source pixels of a tile's side.
    pub(super) fn alpha(self) -> usize {
        self.m + self.r - 1
    }

    /// Number of matrix products.
    fn products(self) -> usize {
        self.alpha() * self.alpha()
    }

    /// Elements of the transformed filters.
    pub(super) fn filter_elements(self, g: &Geometry) -> usize {
        self.products() * plane_elements(g.k, g.c)
    }

    /// Fixes the constants of the transforms.
    pub(super) fn constants<'b, 'a>(self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
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

/// Elements of a plane of `rows` by `columns`. Planes whose distance is a multiple of a page all fall on one line of a
/// cache, and a transform writes or reads a line of every plane: large ones lie some lines further apart.
pub(super) fn plane_elements(rows: usize, columns: usize) -> usize {
    let dense = rows * columns;
    if dense < 4096 { dense } else { dense + 32 }
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
    filter_transform(f, g, kernel.define_if(backward, "FLIP"));
    let tiles = Tiles::new(cx, f, g, to);
    let v = cx.workspace(tiles.elements(from.c));
    let m = cx.workspace(tiles.elements(to.c));
    let plane = plane_elements(g.k, g.c);
    for chunk in tiles.chunks() {
        input(cx, &tiles, chunk, from, (source, v));
        for planes in tiles.planes(chunk) {
            let filters = Matrix { offset: planes.first * plane, stride: plane, ..Matrix::dense(u, g.c) };
            let product = Gemm {
                m: planes.rows,
                n: to.c,
                k: from.c,
                batch: planes.count,
                a: member(planes, v, from.c),
                b: Matrix { transposed: !backward, ..filters },
                y: member(planes, m, to.c),
                epilogue: EpilogueBuffers::default(),
                accumulate: false,
                exact: true,
            };
            product.lower(cx, "winograd.gemm");
        }
        for shape in tiles.shapes() {
            let kernel = epilogue.bind(cx.dispatch("winograd_output")).part("winograd.output").define("Y_VECTOR");
            tiles.launch(kernel.bind("m", m).bind("y", target), chunk, shape, to);
        }
    }
}

/// `dw` from `x` and `dy`.
pub(super) fn filter_gradient(f: Winograd, g: &Geometry, cx: &mut Lower<'_>, (x, dy, dw): (BufId, BufId, BufId)) {
    let from = Side { h: g.h, w: g.w, c: g.c, padding: g.config.padding };
    let to = Side { h: g.p, w: g.q, c: g.k, padding: [0, 0] };
    let tiles = Tiles::new(cx, f, g, to);
    let v = cx.workspace(tiles.elements(g.c));
    let d = cx.workspace(tiles.elements(g.k));
    let du = cx.workspace(f.filter_elements(g));
    let plane = plane_elements(g.k, g.c);
    for chunk in tiles.chunks() {
        input(cx, &tiles, chunk, from, (x, v));
        for shape in tiles.shapes() {
            let kernel = cx.dispatch("winograd_output_gradient").part("winograd.output_gradient");
            tiles.launch(kernel.bind("dy", dy).bind("d", d), chunk, shape, to);
        }
        for planes in tiles.planes(chunk) {
            let product = Gemm {
                m: g.k,
                n: g.c,
                k: planes.rows,
                batch: planes.count,
                a: Matrix { transposed: true, ..member(planes, d, g.k) },
                b: member(planes, v, g.c),
                y: Matrix { offset: planes.first * plane, stride: plane, ..Matrix::dense(du, g.c) },
                epilogue: EpilogueBuffers::default(),
                accumulate: chunk.first > 0,
                exact: true,
            };
            product.lower(cx, "winograd.gemm");
        }
    }
    let kernel = cx.dispatch("winograd_filter_gradient").part("winograd.filter_gradient").bind("du", du).bind("dw", dw);
    filter_transform(f, g, kernel);
}

/// Launches a transform of the filters or of their gradient.
fn filter_transform(f: Winograd, g: &Geometry, kernel: DispatchBuilder<'_, '_>) {
    let kernel = f.constants(kernel).args(&[("k", g.k), ("c4", g.c / 4), ("plane", plane_elements(g.k, g.c) / 4)]);
    kernel.invocations(g.k * g.c / 4);
}

fn input(cx: &mut Lower<'_>, tiles: &Tiles, chunk: Chunk, from: Side, (x, v): (BufId, BufId)) {
    for shape in tiles.shapes() {
        let kernel = cx.dispatch("winograd_input").part("winograd.input").bind("x", x).bind("v", v);
        let kernel = kernel.args(&[("pad_h", from.padding[0]), ("pad_w", from.padding[1])]);
        tiles.launch(kernel, chunk, shape, from);
    }
}

/// Transformed tiles as matrices of tiles by channels, one for each plane.
fn member(planes: Planes, buf: BufId, c: usize) -> Matrix {
    Matrix { offset: planes.offset(c), stride: plane_elements(planes.rows, c), ..Matrix::dense(buf, c) }
}
