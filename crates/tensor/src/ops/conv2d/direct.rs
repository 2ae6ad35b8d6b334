//! Direct convolution: an invocation computes a tile of pixels for four channels in its registers, with no workspace for
//! windows. For groups of few channels, where a matrix product would be too narrow: first layers, grouped and depthwise ones.

use super::lower::{PART_PIXELS, sum_parts};
use super::{ConvPass, Geometry};
use crate::ops::gemm::EpilogueBuffers;
use crate::ops::{BufId, DispatchBuilder, Lower, Target, Tier};

/// Filters that are registers of an invocation, with [`Direct::parts`] counted: beyond it they do not stay near the core.
const LARGEST_MATRICES: usize = 25;
/// As above where a tap is a vec4.
const LARGEST_VECTORS: usize = 49;
/// Loads of source channels for a tile.
const LARGEST_SOURCE: usize = 100;

/// How a pass is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Direct {
    depthwise: bool,
    /// Blocks of source channels that a target channel sees.
    parts: usize,
    /// Height and width of a tile in the target (of `dw`: in the output).
    tile: [usize; 2],
    /// Height and width of what a tile reads of the source.
    source: [usize; 2],
}

impl Direct {
    /// The tiles of a pass, if it has few enough channels a group and taps; `depthwise` wants one channel a group.
    pub(super) fn new(g: &Geometry, pass: ConvPass, depthwise: bool, target: &Target) -> Option<Direct> {
        let parts = match pass {
            ConvPass::Forward if depthwise => 1,
            ConvPass::Forward => g.cg().div_ceil(4),
            ConvPass::BackwardInput if depthwise => g.kg(),
            ConvPass::BackwardInput => g.kg().div_ceil(4),
            ConvPass::BackwardWeight if depthwise => 1,
            ConvPass::BackwardWeight => g.cg().min(g.kg()).div_ceil(4),
        };
        let most = if depthwise { LARGEST_VECTORS } else { LARGEST_MATRICES };
        if depthwise && g.cg() != 1 || g.r * g.s * parts > most {
            return None;
        }
        let tiles: &[[usize; 2]] = match target.tier {
            _ if target.checked => &[[1, 1]],
            Tier::Cpu => &[[1, 7], [1, 4], [1, 1]],
            _ => &[[2, 2], [1, 2], [1, 1]],
        };
        tiles.iter().find_map(|&tile| {
            let (tile, source) = extents(g, pass, tile);
            // Multiply-adds of vec4s that are written out: a driver compiles more for too long.
            let products = g.r * g.s * parts * tile[0] * tile[1];
            let fits = source[0] * source[1] * parts <= LARGEST_SOURCE && products <= 8 * most;
            fits.then_some(Direct { depthwise, parts, tile, source })
        })
    }

    /// Forward pass, or input gradient: `source` is `x` or `dy`, `target` is `y` or `dx`.
    pub(super) fn product(
        self,
        g: &Geometry,
        cx: &mut Lower<'_>,
        pass: ConvPass,
        (source, w, target): (BufId, BufId, BufId),
        epilogue: EpilogueBuffers,
    ) {
        let backward = pass == ConvPass::BackwardInput;
        let (image, output) = ((g.h, g.w, g.c, g.cg()), (g.p, g.q, g.k, g.kg()));
        let ((hs, ws, cs, csg), (ht, wt, ct, ctg)) = if backward { (output, image) } else { (image, output) };
        let ctg = if self.depthwise { ct } else { ctg };
        let group_blocks = ctg.div_ceil(4);
        let blocks = ct / ctg * group_blocks;
        // The input gradient's first tile begins before the image, see the kernel.
        let shift = |axis: usize| if backward { g.config.padding[axis] % g.config.stride[axis] } else { 0 };
        let walk = Walk::new(self.tile, g.n, [ht + shift(0), wt + shift(1)], cx.tier());
        let runs = walk.runs(walk.runs_for(blocks, cx));
        let source_vector = if self.depthwise { g.kg() == 1 && cs.is_multiple_of(4) } else { csg.is_multiple_of(4) };
        let kernel = epilogue
            .bind(cx.dispatch("conv2d_direct"))
            .part(self.name())
            .bind("x", source)
            .bind("w", w)
            .bind("y", target)
            .define_if(backward, "BACKWARD_INPUT")
            .define_if(source_vector, "X_VECTOR")
            .define_if(!self.depthwise && g.cg().is_multiple_of(4), "W_VECTOR")
            .define_if(ctg.is_multiple_of(4), "Y_VECTOR")
            .set("PARTS", self.parts as u32)
            .args(&[("group_blocks", group_blocks), ("kg", g.kg()), ("cg", g.cg())])
            .args(&[
                ("hs", hs),
                ("ws", ws),
                ("cs", cs),
                ("csg", csg),
                ("ht", ht),
                ("wt", wt),
                ("ct", ct),
                ("ctg", ctg),
            ]);
        self.launch(kernel, g, walk, blocks, runs);
    }

    /// Filter gradient: partial sums over runs of tiles, then their sum in a fixed order.
    pub(super) fn filter_gradient(self, g: &Geometry, cx: &mut Lower<'_>, (x, dy, dw): (BufId, BufId, BufId)) {
        let kg = if self.depthwise { g.k } else { g.kg() };
        let (k_blocks, c_blocks) = (kg.div_ceil(4), g.cg().div_ceil(4));
        let blocks = g.k / kg * k_blocks * c_blocks;
        let walk = Walk::new(self.tile, g.n, [g.p, g.q], cx.tier());
        let room = (cx.target().workspace_bytes as usize / (4 * g.k * g.window())).max(1);
        let runs = walk.runs(walk.runs_for(blocks, cx).max(g.pixels().div_ceil(PART_PIXELS)).min(room));
        let partial = if runs.count == 1 { dw } else { cx.workspace(runs.count * g.k * g.window()) };
        let x_vector = if self.depthwise { g.kg() == 1 && g.c.is_multiple_of(4) } else { g.cg().is_multiple_of(4) };
        let kernel = cx
            .dispatch("conv2d_direct_backward_weight")
            .part(self.name())
            .bind("x", x)
            .bind("dy", dy)
            .bind("partial", partial)
            .define_if(x_vector, "X_VECTOR")
            .define_if(kg.is_multiple_of(4), "DY_VECTOR")
            .args(&[("k_blocks", k_blocks), ("c_blocks", c_blocks), ("kg", kg), ("cg", g.cg())])
            .args(&[("h", g.h), ("w", g.w), ("c", g.c), ("p", g.p), ("q", g.q), ("k", g.k)]);
        self.launch(kernel, g, walk, blocks, runs);
        sum_parts(g, cx, partial, dw, runs.count);
    }

    fn name(self) -> &'static str {
        if self.depthwise { "depthwise" } else { "direct" }
    }

    /// What both kernels are told.
    fn launch(self, kernel: DispatchBuilder<'_, '_>, g: &Geometry, walk: Walk, blocks: usize, runs: Runs) {
        let Geometry { r, s, config, .. } = *g;
        let constants = [("TILE_H", self.tile[0]), ("TILE_W", self.tile[1]), ("IN_H", self.source[0])];
        let constants = constants.into_iter().chain([("IN_W", self.source[1]), ("R", r), ("S", s)]);
        let constants = constants.chain([("STRIDE_H", config.stride[0]), ("STRIDE_W", config.stride[1])]);
        let constants = constants.chain([("DIL_H", config.dilation[0]), ("DIL_W", config.dilation[1])]);
        // On a GPU neighbouring lanes share cache lines. A core that loads lane by lane rather waits for eight lines at once.
        let lanes = if walk.tier == Tier::Cpu { 8 } else { 1 };
        let kernel = constants.fold(kernel, |kernel, (name, value)| kernel.set(name, value as u32));
        kernel
            .define_if(self.depthwise, "DEPTHWISE")
            .set("MULTIPLIER", if self.depthwise { g.kg() as u32 } else { 1 })
            .args(&[("blocks", blocks), ("runs", runs.count), ("run", runs.length)])
            .args(&[("strips", runs.strips), ("segments", runs.segments), ("segment", runs.segment)])
            .args(&[("tiles_w", walk.tiles_w)])
            .args(&[("pad_h", config.padding[0]), ("pad_w", config.padding[1])])
            .set("LANES", lanes as u32)
            .invocations(blocks * runs.count.next_multiple_of(lanes));
    }
}

/// A tile of about this size and what it reads of the source.
fn extents(g: &Geometry, pass: ConvPass, tile: [usize; 2]) -> ([usize; 2], [usize; 2]) {
    let taps = [g.r, g.s];
    let (mut whole, mut source) = (tile, [0; 2]);
    for axis in 0..2 {
        let (stride, reach) = (g.config.stride[axis], g.config.dilation[axis] * (taps[axis] - 1));
        if pass == ConvPass::BackwardInput {
            // Every tile begins where a stride does.
            whole[axis] = tile[axis].next_multiple_of(stride);
            source[axis] = (whole[axis] - 1) / stride + reach.div_ceil(stride) + 1;
        } else {
            source[axis] = (tile[axis] - 1) * stride + reach + 1;
        }
    }
    (whole, source)
}

/// The tiles of a batch of images.
#[derive(Clone, Copy, Debug)]
struct Walk {
    images: usize,
    tiles_h: usize,
    tiles_w: usize,
    tier: Tier,
}

/// How the columns of tiles are shared out: an invocation walks down the strips of its run.
#[derive(Clone, Copy, Debug)]
struct Runs {
    /// Number of runs.
    count: usize,
    /// Strips of a run (the last may have fewer).
    length: usize,
    /// Strips of the batch.
    strips: usize,
    /// Strips that a column of tiles is cut into.
    segments: usize,
    /// Tiles of a strip (the last of a column may have fewer).
    segment: usize,
}

impl Walk {
    fn new(tile: [usize; 2], images: usize, [h, w]: [usize; 2], tier: Tier) -> Walk {
        Walk { images, tiles_h: h.div_ceil(tile[0]), tiles_w: w.div_ceil(tile[1]), tier }
    }

    /// Runs that keep the device busy: an invocation loads its filters once a run.
    fn runs_for(self, blocks: usize, cx: &Lower<'_>) -> usize {
        let invocations = match self.tier {
            Tier::Cpu => 256 * cx.target().subgroup_size as usize,
            _ => 1 << 15,
        };
        invocations.div_ceil(blocks)
    }

    /// About `wanted` runs. Columns are cut only if there are fewer: above each cut a lane loads rows that it has not kept.
    fn runs(self, wanted: usize) -> Runs {
        let (wanted, columns) = (wanted.max(1), self.images * self.tiles_w);
        let segment = self.tiles_h.div_ceil(wanted.div_ceil(columns).min(self.tiles_h));
        let segments = self.tiles_h.div_ceil(segment);
        let strips = columns * segments;
        let length = strips.div_ceil(wanted);
        Runs { count: strips.div_ceil(length), length, strips, segments, segment }
    }
}
