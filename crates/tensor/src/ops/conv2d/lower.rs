//! The dispatches of each algorithm and pass.

use super::fft::{self, Fft};
use super::winograd;
use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, ConvAlgo, ConvPass, Geometry};
use crate::ops::gemm::{EpilogueBuffers, Gemm, Matrix, fold};
use crate::ops::register_tile::RegisterTile;
use crate::ops::{BufId, DispatchBuilder, Lower, Tier};

/// Longest sum of products in one register: beyond it f32 loses digits that the optimiser would keep.
pub(super) const PART_PIXELS: usize = 512;

pub(super) fn forward(op: &Conv2d, cx: &mut Lower<'_>) {
    let Ok(g) = Geometry::forward(cx.x_desc(0).shape, cx.x_desc(1).shape, op.config) else { return };
    let epilogue = EpilogueBuffers {
        bias: op.bias.then(|| cx.x(2)),
        residual: op.residual.then(|| cx.x(op.residual_index())),
        activation: op.activation,
    };
    let (x, w, y) = (cx.x(0), cx.x(1), cx.y(0));
    match ConvAlgo::resolve(op.algo, &g, ConvPass::Forward, &cx.target()) {
        ConvAlgo::Pointwise => {
            windows_product(&g, pixels_of(&g, x), w, y, (0, g.pixels()), epilogue).lower(cx, "pointwise")
        }
        ConvAlgo::Im2col => {
            let rows = chunk_rows(&g, cx);
            let cols = cx.workspace(g.config.groups * rows * g.window());
            for m0 in (0..g.pixels()).step_by(rows) {
                let count = rows.min(g.pixels() - m0);
                im2col(&g, cx, x, cols, m0, count);
                windows_product(&g, windows(&g, cols, count), w, y, (m0, count), epilogue).lower(cx, "gemm");
            }
        }
        ConvAlgo::Implicit => implicit(&g, cx, ConvPass::Forward, (x, w, y), epilogue),
        algo @ (ConvAlgo::Direct | ConvAlgo::Depthwise) => {
            if let Some(direct) = algo.direct(&g, ConvPass::Forward, &cx.target()) {
                direct.product(&g, cx, ConvPass::Forward, (x, w, y), epilogue);
            }
        }
        algo @ (ConvAlgo::WinogradF2 | ConvAlgo::WinogradF4) => {
            if let Some(f) = algo.winograd(&g) {
                winograd::product(f, &g, cx, ConvPass::Forward, (x, w, y), epilogue);
            }
        }
        ConvAlgo::Fft => {
            if let Some(f) = Fft::new(&g, &cx.target()) {
                fft::product(f, &g, cx, ConvPass::Forward, (x, w, y), epilogue);
            }
        }
    }
}

pub(super) fn backward_input(op: &Conv2dBackwardInput, cx: &mut Lower<'_>) {
    let Ok(g) = op.geometry(&[cx.x_desc(0), cx.x_desc(1)]) else { return };
    let (dy, w, dx) = (cx.x(0), cx.x(1), cx.y(0));
    let residual = op.residual.then(|| cx.x(2));
    match ConvAlgo::resolve(op.algo, &g, ConvPass::BackwardInput, &cx.target()) {
        ConvAlgo::Pointwise => {
            let product = gradient_windows(&g, dy, w, pixels_of(&g, dx), (0, g.pixels()), (0, 1));
            Gemm { epilogue: EpilogueBuffers { residual, ..Default::default() }, ..product }.lower(cx, "pointwise");
        }
        ConvAlgo::Im2col => {
            // Whole images at a time, so that every pixel's gradient is complete within its chunk; of a single image that is
            // too large, some taps at a time.
            let image = g.p * g.q;
            let image_bytes = (4 * g.config.groups * image * g.window()) as u64;
            let images = ((cx.target().workspace_bytes / image_bytes) as usize).clamp(1, g.n);
            let tap_bytes = (4 * g.config.groups * images * image * g.cg()) as u64;
            let taps = ((cx.target().workspace_bytes / tap_bytes) as usize).clamp(1, g.r * g.s);
            let cols = cx.workspace(g.config.groups * images * image * taps * g.cg());
            for n0 in (0..g.n).step_by(images) {
                let count = images.min(g.n - n0);
                for tap0 in (0..g.r * g.s).step_by(taps) {
                    let taps = taps.min(g.r * g.s - tap0);
                    let pixels = (n0 * image, count * image);
                    gradient_windows(&g, dy, w, tap_columns(&g, cols, pixels.1, taps), pixels, (tap0, taps))
                        .lower(cx, "gemm");
                    let (vector, first) = (g.cg().is_multiple_of(4), tap0 == 0);
                    let kernel = cx.dispatch("col2im").part("col2im").bind("cols", cols).bind("dx", dx);
                    let kernel =
                        kernel.bind_some("residual", residual.filter(|_| first)).define_if(!first, "ACCUMULATE");
                    let kernel = kernel.define_if(op.residual && first, "RESIDUAL").define_if(vector, "VECTOR");
                    let kernel = kernel.args(&[("n0", n0), ("images", count), ("tap0", tap0), ("taps", taps)]);
                    spatial(kernel, &g, vector).invocations_batched(count * g.h * g.w, g.config.groups);
                }
            }
        }
        ConvAlgo::Implicit => {
            let epilogue = EpilogueBuffers { residual, ..Default::default() };
            implicit(&g, cx, ConvPass::BackwardInput, (dy, w, dx), epilogue);
        }
        algo @ (ConvAlgo::Direct | ConvAlgo::Depthwise) => {
            let epilogue = EpilogueBuffers { residual, ..Default::default() };
            if let Some(direct) = algo.direct(&g, ConvPass::BackwardInput, &cx.target()) {
                direct.product(&g, cx, ConvPass::BackwardInput, (dy, w, dx), epilogue);
            }
        }
        algo @ (ConvAlgo::WinogradF2 | ConvAlgo::WinogradF4) => {
            let epilogue = EpilogueBuffers { residual, ..Default::default() };
            if let Some(f) = algo.winograd(&g) {
                winograd::product(f, &g, cx, ConvPass::BackwardInput, (dy, w, dx), epilogue);
            }
        }
        ConvAlgo::Fft => {
            let epilogue = EpilogueBuffers { residual, ..Default::default() };
            if let Some(f) = Fft::new(&g, &cx.target()) {
                fft::product(f, &g, cx, ConvPass::BackwardInput, (dy, w, dx), epilogue);
            }
        }
    }
}

pub(super) fn backward_weight(op: &Conv2dBackwardWeight, cx: &mut Lower<'_>) {
    let Ok(g) = op.geometry(&[cx.x_desc(0), cx.x_desc(1)]) else { return };
    let (x, dy, dw) = (cx.x(0), cx.x(1), cx.y(0));
    match ConvAlgo::resolve(op.algo, &g, ConvPass::BackwardWeight, &cx.target()) {
        ConvAlgo::Pointwise => {
            gradient_filters(&g, dy, pixels_of(&g, x), dw, (0, g.pixels())).lower(cx, "pointwise");
        }
        ConvAlgo::Im2col => {
            let rows = chunk_rows(&g, cx);
            let cols = cx.workspace(g.config.groups * rows * g.window());
            for m0 in (0..g.pixels()).step_by(rows) {
                let count = rows.min(g.pixels() - m0);
                im2col(&g, cx, x, cols, m0, count);
                gradient_filters(&g, dy, windows(&g, cols, count), dw, (m0, count)).lower(cx, "gemm");
            }
        }
        ConvAlgo::Implicit => implicit_weight(&g, cx, (x, dy, dw)),
        algo @ (ConvAlgo::Direct | ConvAlgo::Depthwise) => {
            if let Some(direct) = algo.direct(&g, ConvPass::BackwardWeight, &cx.target()) {
                direct.filter_gradient(&g, cx, (x, dy, dw));
            }
        }
        algo @ (ConvAlgo::WinogradF2 | ConvAlgo::WinogradF4) => {
            if let Some(f) = algo.winograd(&g) {
                winograd::filter_gradient(f, &g, cx, (x, dy, dw));
            }
        }
        ConvAlgo::Fft => {
            if let Some(f) = Fft::new(&g, &cx.target()) {
                fft::filter_gradient(f, &g, cx, (x, dy, dw));
            }
        }
    }
}

/// Rows of the window matrix that fit the workspace: at least one, at most all, in equal chunks.
fn chunk_rows(g: &Geometry, cx: &Lower<'_>) -> usize {
    let row_bytes = (4 * g.config.groups * g.window()) as u64;
    let most = ((cx.target().workspace_bytes / row_bytes) as usize).clamp(1, g.pixels());
    g.pixels().div_ceil(g.pixels().div_ceil(most))
}

/// Images as a matrix of pixels by channels, one member per group.
fn pixels_of(g: &Geometry, buf: BufId) -> Matrix {
    Matrix { stride: g.cg(), ..Matrix::dense(buf, g.c) }
}

/// The window matrix, one member per group.
fn windows(g: &Geometry, cols: BufId, rows: usize) -> Matrix {
    Matrix { stride: rows * g.window(), ..Matrix::dense(cols, g.window()) }
}

/// The filters of each group as a matrix `[Kg, window]`.
fn filters(g: &Geometry, buf: BufId) -> Matrix {
    Matrix { stride: g.kg() * g.window(), ..Matrix::dense(buf, g.window()) }
}

/// Rows `m0..m0+count` of the output pixels as a matrix by channels, one member per group.
fn outputs(g: &Geometry, buf: BufId, m0: usize) -> Matrix {
    Matrix { offset: m0 * g.k, stride: g.kg(), ..Matrix::dense(buf, g.k) }
}

/// `y = windows * filters^T`.
fn windows_product(
    g: &Geometry,
    a: Matrix,
    w: BufId,
    y: BufId,
    (m0, count): (usize, usize),
    epilogue: EpilogueBuffers,
) -> Gemm {
    let b = Matrix { transposed: true, ..filters(g, w) };
    let (n, k, batch) = (g.kg(), g.window(), g.config.groups);
    Gemm { m: count, n, k, batch, a, b, y: outputs(g, y, m0), epilogue, accumulate: false }
}

/// `taps` columns of the window matrix, one member per group.
fn tap_columns(g: &Geometry, cols: BufId, rows: usize, taps: usize) -> Matrix {
    Matrix { stride: rows * taps * g.cg(), ..Matrix::dense(cols, taps * g.cg()) }
}

/// `d windows = dy * filters`, for pixels `m0..m0+count` and taps `tap0..tap0+taps`.
fn gradient_windows(
    g: &Geometry,
    dy: BufId,
    w: BufId,
    y: Matrix,
    (m0, count): (usize, usize),
    (tap0, taps): (usize, usize),
) -> Gemm {
    let (n, k, batch) = (taps * g.cg(), g.kg(), g.config.groups);
    let b = Matrix { offset: tap0 * g.cg(), ..filters(g, w) };
    let epilogue = EpilogueBuffers::default();
    Gemm { m: count, n, k, batch, a: outputs(g, dy, m0), b, y, epilogue, accumulate: false }
}

/// `d filters += dy^T * windows`.
fn gradient_filters(g: &Geometry, dy: BufId, b: Matrix, dw: BufId, (m0, count): (usize, usize)) -> Gemm {
    let a = Matrix { transposed: true, ..outputs(g, dy, m0) };
    let (n, k, batch) = (g.window(), count, g.config.groups);
    let epilogue = EpilogueBuffers::default();
    Gemm { m: g.kg(), n, k, batch, a, b, y: filters(g, dw), epilogue, accumulate: m0 > 0 }
}

fn im2col(g: &Geometry, cx: &mut Lower<'_>, x: BufId, cols: BufId, m0: usize, rows: usize) {
    let vector = g.cg().is_multiple_of(4);
    let tier = cx.tier();
    let kernel = cx.dispatch("im2col").part("im2col").bind("x", x).bind("cols", cols);
    let kernel = kernel.define_if(vector, "VECTOR").args(&[("m0", m0), ("rows", rows)]);
    // A GPU wants neighbouring invocations on neighbouring taps; a CPU wants the pixel's position divided out once.
    let taps = if tier == Tier::Cpu { g.r * g.s } else { 1 };
    let invocations = rows * (g.r * g.s).div_ceil(taps);
    spatial(kernel, g, vector).set("TAPS", taps as u32).invocations_batched(invocations, g.config.groups);
}

/// The arguments that im2col and col2im share; channels are counted in vec4s when `vector`.
fn spatial<'b, 'a>(kernel: DispatchBuilder<'b, 'a>, g: &Geometry, vector: bool) -> DispatchBuilder<'b, 'a> {
    let unit = if vector { 4 } else { 1 };
    let kernel =
        kernel.args(&[("c", g.c / unit), ("cg", g.cg() / unit), ("h", g.h), ("w", g.w), ("p", g.p), ("q", g.q)]);
    taps(kernel, g)
}

/// The filter's extents and the configuration.
fn taps<'b, 'a>(kernel: DispatchBuilder<'b, 'a>, g: &Geometry) -> DispatchBuilder<'b, 'a> {
    window(kernel, g).args(&[("stride_h", g.config.stride[0]), ("stride_w", g.config.stride[1])])
}

/// As [`taps`] for kernels that have the stride as a constant.
fn window<'b, 'a>(kernel: DispatchBuilder<'b, 'a>, g: &Geometry) -> DispatchBuilder<'b, 'a> {
    let c = g.config;
    kernel
        .args(&[("r", g.r), ("s", g.s), ("pad_h", c.padding[0]), ("pad_w", c.padding[1])])
        .args(&[("dil_h", c.dilation[0]), ("dil_w", c.dilation[1])])
}

/// Whether the taps of a filter row lie over neighbouring pixels, for all neighbouring pixels, and are few enough for registers.
fn row_of_taps(g: &Geometry) -> bool {
    (2..=3).contains(&g.s) && g.config.stride[1] == 1 && g.config.dilation[1] == 1
}

/// Forward pass, or input gradient: `source` is `x` or `dy`, `target` is `y` or `dx`.
fn implicit(
    g: &Geometry,
    cx: &mut Lower<'_>,
    pass: ConvPass,
    (source, w, target): (BufId, BufId, BufId),
    epilogue: EpilogueBuffers,
) {
    let backward = pass == ConvPass::BackwardInput;
    let lanes = cx.target().subgroup_size as usize;
    let [sh, sw] = if backward { g.config.stride } else { [1, 1] };
    let (from, to) = ((g.h, g.w, g.c, g.cg()), (g.p, g.q, g.k, g.kg()));
    let ((hs, ws, cs, csg), (ht, wt, ct, ctg)) = if backward { (to, from) } else { (from, to) };
    let (phase_h, phase_w) = (ht.div_ceil(sh), wt.div_ceil(sw));
    let phase_pixels = g.n * phase_h * phase_w;
    let tile = RegisterTile::choose(phase_pixels, ctg, sh * sw * g.config.groups, lanes);
    // All taps of a filter row at once, where a lane's pixels can lie in one row without many too much behind its end. Larger
    // tiles gain as much, but a driver compiles their larger text a second longer.
    let row = wt.next_multiple_of(4 * tile.lane);
    let rows = row_of_taps(g) && !(backward && sh > 1) && tile.shared == 16 && 5 * row <= 6 * wt;
    let (phase_w, taps) = if rows { (row, g.s) } else { (phase_w, 1) };
    let phase_pixels = g.n * phase_h * phase_w;
    let phase_strips = phase_pixels.div_ceil(4 * tile.lane * lanes);
    // The taps that hit anything in one phase are every stride-th one; with a dilation they are found one by one.
    let tap_step = |axis: usize| {
        if backward && g.config.dilation[axis] == 1 { g.config.stride[axis] } else { 1 }
    };
    let tap_w = if rows { g.s } else { tap_step(1) };
    let tiles_c = ctg.div_ceil(tile.shared);
    let tiles = phase_strips * sh * sw * tiles_c;
    let (x, y) = fold(tiles, cx.target().max_groups as usize);
    let kernel = epilogue
        .bind(cx.dispatch("conv2d_cpu"))
        .part("implicit")
        .bind("x", source)
        .bind("w", w)
        .bind("y", target)
        .define_if(backward, "BACKWARD_INPUT")
        .define_if(rows, "ROWS")
        .define_if(ctg.is_multiple_of(4), "Y_VECTOR")
        .set("TAPS", taps as u32)
        .set("SPAN", (4 * tile.lane + taps - 1) as u32)
        .set("SG", lanes as u32)
        .set("LANE", tile.lane as u32)
        .set("SHARED", tile.shared as u32)
        .set("STRIDE_H", g.config.stride[0] as u32)
        .set("STRIDE_W", g.config.stride[1] as u32)
        .args(&[("phase_pixels", phase_pixels), ("phase_strips", phase_strips)])
        .args(&[("tap_h", tap_step(0)), ("tap_w", tap_w)])
        .args(&[("phase_h", phase_h), ("phase_w", phase_w), ("tiles_c", tiles_c)])
        .args(&[("hs", hs), ("ws", ws), ("cs", cs), ("csg", csg), ("ht", ht), ("wt", wt), ("ct", ct), ("ctg", ctg)]);
    window(kernel, g).grid(x, y, g.config.groups);
}

/// Filter gradient: partial sums over parts of the output rows, then their sum in a fixed order.
fn implicit_weight(g: &Geometry, cx: &mut Lower<'_>, (x, dy, dw): (BufId, BufId, BufId)) {
    /// Enough workgroups for the few cores of a software adapter, with some slack for balance.
    const WORKGROUPS: usize = 16;
    let lanes = cx.target().subgroup_size as usize;
    let columns = g.window() / 4;
    // All taps of a filter row in one lane, where no more than a third of the lanes is idle then.
    let lines = g.r * g.cg() / 4;
    let rows_of_taps = row_of_taps(g) && 2 * lines.next_multiple_of(lanes) <= 3 * lines;
    let tile = if rows_of_taps {
        RegisterTile { lane: g.s, shared: if g.kg() > 16 { 32 } else { 16 } }
    } else {
        // The parts of the sum keep the cores busy, however few the tiles.
        RegisterTile::choose(g.window(), g.kg(), WORKGROUPS * g.config.groups, lanes)
    };
    let tiles_k = g.kg().div_ceil(tile.shared);
    let tiles = columns.div_ceil(tile.lane * lanes) * tiles_k;
    let rows = g.n * g.p;
    let size = g.k * g.window();
    let room = (cx.target().workspace_bytes as usize / (4 * size)).max(1);
    let wanted = WORKGROUPS.div_ceil(tiles * g.config.groups).max(g.pixels().div_ceil(PART_PIXELS));
    let parts = wanted.min(rows).min(room).max(1);
    let rows_part = rows.div_ceil(parts);
    let parts = rows.div_ceil(rows_part);
    let partial = if parts == 1 { dw } else { cx.workspace(parts * size) };
    let kernel = cx
        .dispatch("conv2d_backward_weight_cpu")
        .part("implicit")
        .bind("x", x)
        .bind("dy", dy)
        .bind("partial", partial)
        .define_if(rows_of_taps, "ROWS")
        .set("CARRY", (g.s - 1) as u32)
        .set("SG", lanes as u32)
        .set("LANE", tile.lane as u32)
        .set("SHARED", tile.shared as u32)
        .args(&[("rows", rows), ("rows_part", rows_part), ("tiles_k", tiles_k), ("k", g.k), ("kg", g.kg())])
        .args(&[("c", g.c), ("cg", g.cg()), ("h", g.h), ("w", g.w), ("p", g.p), ("q", g.q)]);
    taps(kernel, g).grid(tiles, parts, g.config.groups);
    sum_parts(g, cx, partial, dw, parts);
}

/// The filter gradient from `parts` that lie side by side; a single one is `dw` itself.
pub(super) fn sum_parts(g: &Geometry, cx: &mut Lower<'_>, partial: BufId, dw: BufId, parts: usize) {
    if parts > 1 {
        Gemm::sum_parts(cx, partial, Matrix::dense(dw, g.window()), (g.k, g.window(), 1, parts));
    }
}
