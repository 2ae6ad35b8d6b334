//! The dispatches of each algorithm and pass.

use super::fft::{self, Fft};
use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, ConvAlgo, ConvPass, Geometry};
use super::{implicit, implicit_cpu, winograd};
use crate::ops::gemm::{EpilogueBuffers, Gemm, Matrix};
use crate::ops::{BufId, DispatchBuilder, Lower, Tier};

/// Longest sum of products in one register: beyond it f32 loses digits that the optimiser would keep.
pub(super) const PART_PIXELS: usize = 512;

pub(super) fn forward(op: &Conv2d, cx: &mut Lower<'_>) {
    let Ok(g) = Geometry::forward(cx.x_desc(0).shape, cx.x_desc(1).shape, op.config) else { return };
    let epilogue = EpilogueBuffers {
        bias: op.bias.then(|| cx.x(2)),
        residual: op.residual.then(|| cx.x(op.residual_index())),
        activation: op.activation,
        known: None,
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
        ConvAlgo::Implicit if cx.tier() == Tier::Cpu => {
            implicit_cpu::product(&g, cx, ConvPass::Forward, (x, w, y), epilogue)
        }
        ConvAlgo::Implicit => implicit::product(&g, cx, ConvPass::Forward, (x, w, y), epilogue),
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
    let known = op.known().map(|operand| cx.x(operand));
    let epilogue = EpilogueBuffers { bias: None, residual, activation: op.derivative, known };
    match ConvAlgo::resolve(op.algo, &g, ConvPass::BackwardInput, &cx.target()) {
        ConvAlgo::Pointwise => {
            let product = gradient_windows(&g, dy, w, pixels_of(&g, dx), (0, g.pixels()), (0, 1));
            Gemm { epilogue, ..product }.lower(cx, "pointwise");
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
                    let (vector, first, last) = (g.cg().is_multiple_of(4), tap0 == 0, tap0 + taps == g.r * g.s);
                    let kernel = cx.dispatch("col2im").part("col2im").bind("cols", cols).bind("dx", dx);
                    let kernel =
                        kernel.bind_some("residual", residual.filter(|_| first)).define_if(!first, "ACCUMULATE");
                    let kernel = kernel.define_if(op.residual && first, "RESIDUAL").define_if(vector, "VECTOR");
                    let derivative = known.filter(|_| last);
                    let kernel = kernel.bind_some("known", derivative).define_if(derivative.is_some(), "DERIVATIVE");
                    let kernel = kernel.set("ACT", op.derivative.code()).arg("slope", op.derivative.slope());
                    let kernel = kernel.args(&[("n0", n0), ("images", count), ("tap0", tap0), ("taps", taps)]);
                    spatial(kernel, &g, vector).invocations_batched(count * g.h * g.w, g.config.groups);
                }
            }
        }
        ConvAlgo::Implicit => {
            let product = if cx.tier() == Tier::Cpu { implicit_cpu::product } else { implicit::product };
            product(&g, cx, ConvPass::BackwardInput, (dy, w, dx), epilogue);
        }
        algo @ (ConvAlgo::Direct | ConvAlgo::Depthwise) => {
            if let Some(direct) = algo.direct(&g, ConvPass::BackwardInput, &cx.target()) {
                direct.product(&g, cx, ConvPass::BackwardInput, (dy, w, dx), epilogue);
            }
        }
        algo @ (ConvAlgo::WinogradF2 | ConvAlgo::WinogradF4) => {
            if let Some(f) = algo.winograd(&g) {
                winograd::product(f, &g, cx, ConvPass::BackwardInput, (dy, w, dx), epilogue);
            }
        }
        ConvAlgo::Fft => {
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
        ConvAlgo::Implicit if cx.tier() == Tier::Cpu => implicit_cpu::filter_gradient(&g, cx, (x, dy, dw)),
        ConvAlgo::Implicit => implicit::filter_gradient(&g, cx, (x, dy, dw)),
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
    Gemm { m: count, n, k, batch, a, b, y: outputs(g, y, m0), epilogue, accumulate: false, exact: false }
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
    Gemm { m: count, n, k, batch, a: outputs(g, dy, m0), b, y, epilogue, accumulate: false, exact: false }
}

/// `d filters += dy^T * windows`.
fn gradient_filters(g: &Geometry, dy: BufId, b: Matrix, dw: BufId, (m0, count): (usize, usize)) -> Gemm {
    let a = Matrix { transposed: true, ..outputs(g, dy, m0) };
    let (n, k, batch) = (g.window(), count, g.config.groups);
    let epilogue = EpilogueBuffers::default();
    Gemm { m: g.kg(), n, k, batch, a, b, y: filters(g, dw), epilogue, accumulate: m0 > 0, exact: false }
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
pub(super) fn taps<'b, 'a>(kernel: DispatchBuilder<'b, 'a>, g: &Geometry) -> DispatchBuilder<'b, 'a> {
    window(kernel, g).args(&[("stride_h", g.config.stride[0]), ("stride_w", g.config.stride[1])])
}

/// As [`taps`] for kernels that have the stride as a constant.
pub(super) fn window<'b, 'a>(kernel: DispatchBuilder<'b, 'a>, g: &Geometry) -> DispatchBuilder<'b, 'a> {
    let c = g.config;
    kernel
        .args(&[("r", g.r), ("s", g.s), ("pad_h", c.padding[0]), ("pad_w", c.padding[1])])
        .args(&[("dil_h", c.dilation[0]), ("dil_w", c.dilation[1])])
}

/// The filter gradient from `parts` that lie side by side; a single one is `dw` itself.
pub(super) fn sum_parts(g: &Geometry, cx: &mut Lower<'_>, partial: BufId, dw: BufId, parts: usize) {
    if parts > 1 {
        Gemm::sum_parts(cx, partial, Matrix::dense(dw, g.window()), (g.k, g.window(), 1, parts));
    }
}
