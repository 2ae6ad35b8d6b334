//! The matrix product that linear layers and convolutions share: not an operation, but how several of them lower.

use super::register_tile::RegisterTile;
use super::tile_product::TileProduct;
use super::{Activation, BufId, DispatchBuilder, Lower, Tier};

/// Where a matrix lies: element `(row, column)` at `offset + row * ld + column`, or with the two swapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) buf: BufId,
    pub(super) offset: usize,
    pub(super) ld: usize,
    /// Distance between the matrices of a batch.
    pub(super) stride: usize,
    pub(super) transposed: bool,
}

impl Matrix {
    /// A dense row-major matrix with rows of `ld` elements.
    pub(super) fn dense(buf: BufId, ld: usize) -> Matrix {
        Matrix { buf, offset: 0, ld, stride: 0, transposed: false }
    }

    fn is_aligned(&self, batch: usize) -> bool {
        self.offset.is_multiple_of(4) && self.ld.is_multiple_of(4) && (batch == 1 || self.stride.is_multiple_of(4))
    }
}

/// What is applied to the product before it is stored: `act(product + bias[column] + residual)`, or with `known`
/// `(product + bias[column] + residual) * act'`, the derivative following from `known`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EpilogueBuffers {
    pub(super) bias: Option<BufId>,
    pub(super) residual: Option<BufId>,
    pub(super) activation: Activation,
    pub(super) known: Option<BufId>,
}

impl EpilogueBuffers {
    /// Binds what lib/epilogue.wgsl reads, and turns on what it does.
    pub(super) fn bind<'b, 'a>(self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        kernel
            .bind_some("bias", self.bias)
            .bind_some("residual", self.residual)
            .define_if(self.bias.is_some(), "BIAS")
            .bind_some("known", self.known)
            .define_if(self.residual.is_some(), "RESIDUAL")
            .define_if(self.known.is_some(), "DERIVATIVE")
            .set("ACT", self.activation.code())
            .arg("slope", self.activation.slope())
    }
}

/// `y[m, n] = epilogue(a[m, k] b[k, n])`, for each member of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gemm {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) batch: usize,
    pub(super) a: Matrix,
    pub(super) b: Matrix,
    /// Not transposed. The bias of batch member `i` starts at `i * n`.
    pub(super) y: Matrix,
    pub(super) epilogue: EpilogueBuffers,
    /// Add to `y` instead of overwriting it (chunks of a long sum); without epilogue.
    pub(super) accumulate: bool,
    /// Operands are not rounded to 16 bits, whatever the precision of the run: those of transforms, which spread wider than
    /// what they transform.
    pub(super) exact: bool,
}

impl Gemm {
    /// Records the dispatches.
    pub(super) fn lower(&self, cx: &mut Lower<'_>, part: &str) {
        if self.is_skinny(cx) {
            return self.product_skinny(cx, part);
        }
        let (splits, chunk) = self.splits(cx);
        if splits == 1 {
            self.product(cx, part, self.y, self.epilogue, self.accumulate, (1, chunk));
            return;
        }
        // Split-K in two passes: partial products side by side, then their sum in a fixed order.
        let area = self.m * self.n;
        let partial = cx.workspace(splits * self.batch * area);
        let matrix = Matrix { stride: area, ..Matrix::dense(partial, self.n) };
        self.product(cx, part, matrix, EpilogueBuffers::default(), false, (splits, chunk));
        reduce(cx, partial, self.y, (self.m, self.n, self.batch, splits), self.epilogue, self.accumulate);
    }

    /// `y` = sum of `parts` matrices `[m, n]` per batch member that lie side by side: extents `(m, n, batch, parts)`.
    pub(super) fn sum_parts(cx: &mut Lower<'_>, partial: BufId, y: Matrix, extents: (usize, usize, usize, usize)) {
        reduce(cx, partial, y, extents, EpilogueBuffers::default(), false);
    }

    /// Into how many parts the sum over `k` is cut, and how long each is (the last may be shorter): only long sums with
    /// too few tiles to fill the device. Parts are whole steps of the kernels, so there may be fewer than were wanted.
    fn splits(&self, cx: &Lower<'_>) -> (usize, usize) {
        let (tiles, enough, least) = match cx.tier() {
            Tier::Cpu => (self.m.div_ceil(32) * self.n.div_ceil(16), 8, 512),
            _ => (self.m.div_ceil(64) * self.n.div_ceil(64), 64, 512),
        };
        let room = cx.target().workspace_bytes as usize / (4 * self.batch * self.m * self.n).max(1);
        let wanted = enough / (tiles * self.batch).max(1);
        let most = wanted.min(self.k / least).min(room).max(1);
        let chunk = self.k.div_ceil(most).next_multiple_of(16);
        (self.k.div_ceil(chunk).max(1), chunk)
    }

    fn product(
        &self,
        cx: &mut Lower<'_>,
        part: &str,
        y: Matrix,
        epilogue: EpilogueBuffers,
        accumulate: bool,
        share: (usize, usize),
    ) {
        match cx.tier() {
            Tier::Cpu => self.product_cpu(cx, part, y, epilogue, accumulate, share),
            _ => self.product_tiles(cx, part, y, epilogue, accumulate, share),
        }
    }

    /// Whether results are stored by whole vec4s.
    fn whole_rows(&self, y: Matrix, splits: usize) -> bool {
        y.is_aligned(self.batch * splits) && self.n.is_multiple_of(4)
    }

    /// Whether `a` has so few rows that reading `b` is all there is to do, and subgroups can share that along `k`.
    fn is_skinny(&self, cx: &Lower<'_>) -> bool {
        let along_k = !self.a.transposed && self.b.transposed && self.k.is_multiple_of(4);
        let alone = self.batch == 1 && !self.accumulate && self.a.is_aligned(1) && self.b.is_aligned(1);
        cx.tier().reduces_by_subgroups() && self.m <= 8 && self.k >= 256 && along_k && alone
    }

    fn product_skinny(&self, cx: &mut Lower<'_>, part: &str) {
        let (x, rows) = fold(self.n.div_ceil(16), cx.target().max_groups as usize);
        self.epilogue
            .bind(cx.dispatch("gemm_skinny"))
            .part(part)
            .bind("a", self.a.buf)
            .bind("b", self.b.buf)
            .bind("y", self.y.buf)
            .define("SUBGROUPS")
            .define_if(self.whole_rows(self.y, 1), "Y_VECTOR")
            .set("WG", 128)
            .set("ROWS", self.m as u32)
            .args(&[("n", self.n), ("k", self.k), ("lda", self.a.ld), ("ldb", self.b.ld), ("ldy", self.y.ld)])
            .args(&[("a_offset", self.a.offset), ("b_offset", self.b.offset), ("y_offset", self.y.offset)])
            .grid(x, rows, 1);
    }

    fn product_tiles(
        &self,
        cx: &mut Lower<'_>,
        part: &str,
        y: Matrix,
        epilogue: EpilogueBuffers,
        accumulate: bool,
        (splits, chunk): (usize, usize),
    ) {
        let tile = TileProduct::choose(self.m, self.n, self.batch * splits, self.exact, &cx.target());
        let (x, rows) = fold(tile.tiles(self.m, self.n), cx.target().max_groups as usize);
        let vector = |operand: Matrix, along_k: bool, extent: usize| {
            operand.is_aligned(self.batch) && if along_k { self.k } else { extent }.is_multiple_of(4)
        };
        tile.set(epilogue.bind(cx.dispatch("gemm")))
            .part(part)
            .bind("a", self.a.buf)
            .bind("b", self.b.buf)
            .bind("y", y.buf)
            .define_if(!self.a.transposed, "A_ALONG_K")
            .define_if(self.b.transposed, "B_ALONG_K")
            .define_if(vector(self.a, !self.a.transposed, self.m), "A_VECTOR")
            .define_if(vector(self.b, self.b.transposed, self.n), "B_VECTOR")
            .define_if(self.whole_rows(y, splits), "Y_VECTOR")
            .define_if(accumulate, "ACCUMULATE")
            .args(&[("m", self.m), ("n", self.n), ("k", self.k), ("k_chunk", chunk), ("batch", self.batch)])
            .args(&[("lda", self.a.ld), ("ldb", self.b.ld), ("ldy", y.ld), ("tiles_n", self.n.div_ceil(tile.bn))])
            .args(&[("a_offset", self.a.offset), ("b_offset", self.b.offset), ("y_offset", y.offset)])
            .args(&[("a_stride", self.a.stride), ("b_stride", self.b.stride), ("y_stride", y.stride)])
            .grid(x, rows, self.batch * splits);
    }

    fn product_cpu(
        &self,
        cx: &mut Lower<'_>,
        part: &str,
        y: Matrix,
        epilogue: EpilogueBuffers,
        accumulate: bool,
        (splits, chunk): (usize, usize),
    ) {
        let lanes = cx.target().subgroup_size as usize;
        let copies = self.batch * splits;
        let tile = |lane, shared| RegisterTile::choose(lane, shared, copies, lanes);
        let time = |lane, shared| tile(lane, shared).time(lane, shared, copies, lanes);
        // The lanes go along the side that wastes fewer of them.
        let lanes_along_m = time(self.m, self.n) < time(self.n, self.m);
        let (lane, shared) = if lanes_along_m { (self.a, self.b) } else { (self.b, self.a) };
        let (lane_extent, shared_extent) = if lanes_along_m { (self.m, self.n) } else { (self.n, self.m) };
        let tile = tile(lane_extent, shared_extent);
        // "K-major" = contiguous along k: a as it stands, b transposed.
        let lane_k = lane.transposed != lanes_along_m;
        let shared_k = shared.transposed == lanes_along_m;
        let k_aligned = self.k.is_multiple_of(4);
        let lane_vector = lane.is_aligned(self.batch) && if lane_k { k_aligned } else { lane_extent.is_multiple_of(4) };
        let shared_vector =
            shared.is_aligned(self.batch) && if shared_k { k_aligned } else { shared_extent.is_multiple_of(4) };
        let tiles_shared = shared_extent.div_ceil(tile.shared);
        let tiles = lane_extent.div_ceil(4 * tile.lane * lanes) * tiles_shared;
        let (x, rows) = fold(tiles, cx.target().max_groups as usize);
        epilogue
            .bind(cx.dispatch("gemm_cpu"))
            .part(part)
            .bind("lane", lane.buf)
            .bind("spread", shared.buf)
            .bind("y", y.buf)
            .define_if(lanes_along_m, "LANES_ALONG_M")
            .define_if(lane_k, "LANE_K_MAJOR")
            .define_if(shared_k, "SHARED_K_MAJOR")
            .define_if(lane_vector, "LANE_VECTOR")
            .define_if(shared_vector, "SHARED_VECTOR")
            .define_if(self.whole_rows(y, splits), "Y_VECTOR")
            .define_if(accumulate, "ACCUMULATE")
            .set("SG", lanes as u32)
            .set("LANE", tile.lane as u32)
            .set("SHARED", tile.shared as u32)
            .args(&[("m", self.m), ("n", self.n), ("k", self.k), ("k_chunk", chunk), ("batch", self.batch)])
            .args(&[("lane_ld", lane.ld), ("shared_ld", shared.ld), ("ldy", y.ld), ("tiles_shared", tiles_shared)])
            .args(&[("lane_offset", lane.offset), ("shared_offset", shared.offset), ("y_offset", y.offset)])
            .args(&[("lane_stride", lane.stride), ("shared_stride", shared.stride), ("y_stride", y.stride)])
            .grid(x, rows, self.batch * splits);
    }
}

fn reduce(
    cx: &mut Lower<'_>,
    partial: BufId,
    y: Matrix,
    (m, n, batch, parts): (usize, usize, usize, usize),
    epilogue: EpilogueBuffers,
    accumulate: bool,
) {
    epilogue
        .bind(cx.dispatch("gemm_reduce"))
        .part("sum")
        .bind("partial", partial)
        .bind("y", y.buf)
        .define_if(accumulate, "ACCUMULATE")
        .args(&[("m", m), ("n", n), ("splits", parts), ("batch", batch)])
        .args(&[("ldy", y.ld), ("y_offset", y.offset), ("y_stride", y.stride)])
        .invocations(batch * m * n);
}

/// A number of workgroups as a grid of two dimensions within the device's limit.
pub(super) fn fold(groups: usize, max: usize) -> (usize, usize) {
    let rows = groups.div_ceil(max).max(1);
    (groups.div_ceil(rows).max(1), rows)
}
