//! Implicit products on GPUs: tiles in workgroup memory, filled from the images as they lie.

use super::implicit_cpu::tap_step;
use super::lower::{sum_parts, taps, window};
use super::{ConvPass, Geometry};
use crate::ops::gemm::{EpilogueBuffers, fold};
use crate::ops::tile_product::TileProduct;
use crate::ops::{BufId, Lower};

/// Longest sum of products in one register of a filter gradient: eight times that of tier `cpu`, for partial sums cost a GPU
/// a pass over memory each. Roundings add up like a walk, so the error is about three times as large.
const PART_PIXELS: usize = 4096;

/// Forward pass, or input gradient: `source` is `x` or `dy`, `target` is `y` or `dx`.
pub(super) fn product(
    g: &Geometry,
    cx: &mut Lower<'_>,
    pass: ConvPass,
    (source, w, target): (BufId, BufId, BufId),
    epilogue: EpilogueBuffers,
) {
    let backward = pass == ConvPass::BackwardInput;
    let [sh, sw] = if backward { g.config.stride } else { [1, 1] };
    let (from, to) = ((g.h, g.w, g.c, g.cg()), (g.p, g.q, g.k, g.kg()));
    let ((hs, ws, cs, csg), (ht, wt, ct, ctg)) = if backward { (to, from) } else { (from, to) };
    let (phase_h, phase_w) = (ht.div_ceil(sh), wt.div_ceil(sw));
    let phase_pixels = g.n * phase_h * phase_w;
    let tile = TileProduct::choose(phase_pixels, ctg, sh * sw * g.config.groups, false, &cx.target());
    let (phase_tiles, tiles_c) = (phase_pixels.div_ceil(tile.bm), ctg.div_ceil(tile.bn));
    let (x, y) = fold(phase_tiles * sh * sw * tiles_c, cx.target().max_groups as usize);
    let kernel = tile
        .set(epilogue.bind(cx.dispatch("conv2d")))
        .part("implicit")
        .bind("x", source)
        .bind("w", w)
        .bind("y", target)
        .define("A_ALONG_K")
        .define_if(backward, "BACKWARD_INPUT")
        .define_if(!backward, "B_ALONG_K")
        .define_if(ctg.is_multiple_of(4), "Y_VECTOR")
        .set("STRIDE_H", g.config.stride[0] as u32)
        .set("STRIDE_W", g.config.stride[1] as u32)
        .args(&[("phase_pixels", phase_pixels), ("phase_tiles", phase_tiles)])
        .args(&[("tap_h", tap_step(g, pass, 0)), ("tap_w", tap_step(g, pass, 1))])
        .args(&[("phase_h", phase_h), ("phase_w", phase_w), ("tiles_c", tiles_c)])
        .args(&[("hs", hs), ("ws", ws), ("cs", cs), ("csg", csg), ("ht", ht), ("wt", wt), ("ct", ct), ("ctg", ctg)]);
    window(kernel, g).grid(x, y, g.config.groups);
}

/// Filter gradient: partial sums over parts of the output pixels, then their sum in a fixed order.
pub(super) fn filter_gradient(g: &Geometry, cx: &mut Lower<'_>, (x, dy, dw): (BufId, BufId, BufId)) {
    let (groups, pixels, columns, size) = (g.config.groups, g.pixels(), g.window(), g.k * g.window());
    // Parts of the sum fill the device where the tiles of the filters are few.
    let tiles = g.kg().div_ceil(64) * columns.div_ceil(64) * groups;
    let room = (cx.target().workspace_bytes as usize / (4 * size)).min(cx.target().max_groups as usize / groups).max(1);
    let wanted = (TileProduct::ENOUGH / tiles).min(pixels / 512).max(pixels.div_ceil(PART_PIXELS));
    let part_pixels = pixels.div_ceil(wanted.clamp(1, room)).next_multiple_of(4);
    let parts = pixels.div_ceil(part_pixels);
    let tile = TileProduct::choose(g.kg(), columns, groups * parts, false, &cx.target());
    let partial = if parts == 1 { dw } else { cx.workspace(parts * size) };
    let (gx, gy) = fold(tile.tiles(g.kg(), columns), cx.target().max_groups as usize);
    let kernel = tile
        .set(cx.dispatch("conv2d_backward_weight"))
        .part("implicit")
        .bind("x", x)
        .bind("dy", dy)
        .bind("partial", partial)
        .args(&[("pixels", pixels), ("part_pixels", part_pixels), ("groups", groups)])
        .args(&[("tiles_n", columns.div_ceil(tile.bn)), ("k", g.k), ("kg", g.kg())])
        .args(&[("c", g.c), ("cg", g.cg()), ("h", g.h), ("w", g.w), ("p", g.p), ("q", g.q)]);
    taps(kernel, g).grid(gx, gy, groups * parts);
    sum_parts(g, cx, partial, dw, parts);
}
