//! Implicit products on software adapters: tiles in registers, one operand shared by subgroup broadcast.

use super::lower::{PART_PIXELS, sum_parts, taps, window};
use super::{ConvPass, Geometry};
use crate::ops::gemm::{EpilogueBuffers, fold};
use crate::ops::register_tile::RegisterTile;
use crate::ops::{BufId, Lower};

/// How far apart the taps lie that hit anything in one phase of the target's pixels: a stride, or 1 where a dilation makes
/// them be found one by one.
pub(super) fn tap_step(g: &Geometry, pass: ConvPass, axis: usize) -> usize {
    if pass == ConvPass::BackwardInput && g.config.dilation[axis] == 1 { g.config.stride[axis] } else { 1 }
}

/// Whether the taps of a filter row lie over neighbouring pixels, for all neighbouring pixels, and are few enough for registers.
fn row_of_taps(g: &Geometry) -> bool {
    (2..=3).contains(&g.s) && g.config.stride[1] == 1 && g.config.dilation[1] == 1
}

/// Forward pass, or input gradient: `source` is `x` or `dy`, `target` is `y` or `dx`.
pub(super) fn product(
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
    // All taps of a filter row at once, where a lane's pixels can lie in one row without many too much behind its end. Tiles of
    // 64 channels, whose text a driver compiles for seconds, have Winograd to be faster by.
    let row = wt.next_multiple_of(4 * tile.lane);
    let rows = row_of_taps(g) && !(backward && sh > 1) && tile.shared <= 32 && 5 * row <= 6 * wt;
    let (phase_w, taps) = if rows { (row, g.s) } else { (phase_w, 1) };
    let phase_pixels = g.n * phase_h * phase_w;
    let phase_strips = phase_pixels.div_ceil(4 * tile.lane * lanes);
    let tap_w = if rows { g.s } else { tap_step(g, pass, 1) };
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
        .args(&[("tap_h", tap_step(g, pass, 0)), ("tap_w", tap_w)])
        .args(&[("phase_h", phase_h), ("phase_w", phase_w), ("tiles_c", tiles_c)])
        .args(&[("hs", hs), ("ws", ws), ("cs", cs), ("csg", csg), ("ht", ht), ("wt", wt), ("ct", ct), ("ctg", ctg)]);
    window(kernel, g).grid(x, y, g.config.groups);
}

/// Filter gradient: partial sums over parts of the output rows, then their sum in a fixed order.
pub(super) fn filter_gradient(g: &Geometry, cx: &mut Lower<'_>, (x, dy, dw): (BufId, BufId, BufId)) {
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
