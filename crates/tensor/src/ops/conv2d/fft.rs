//! Convolution by the Fourier transform: one complex product for each frequency of a tile, whatever the filter's size.
//!
//! A tile of `T x T` source pixels gives `T - R + 1` by `T - S + 1` target pixels (overlap-save; the others are wrapped
//! around). With `X`, `W`, `D` the spectra of a tile of `x`, of the filter and of a tile of `dy` (only the half that real
//! numbers do not make redundant), `Y = sum over C of X conj(W)`, `DX = sum over K of D W` and `DW = sum over tiles of X conj(D)`.
//! Each is a real matrix product of twice the extents, since complex numbers are stored as real and imaginary parts side by side
//! and filters as 2x2 blocks (shaders/fft_columns.wgsl): 8 operations a complex product, in f32. Mathieu, Henaff and
//! LeCun, arXiv:1312.5851; Vasilache et al., arXiv:1412.7580.

use super::winograd::plane_elements;
use super::{ConvPass, Geometry};
use crate::ops::gemm::{EpilogueBuffers, Gemm, Matrix};
use crate::ops::{BufId, DispatchBuilder, Lower, Target, Tier};

/// Sizes of the transform.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fft {
    /// Pixels of a tile's side: a power of two.
    t: usize,
    /// Channels of a word of the transforms.
    word: usize,
    /// Whether a tile's rows wait for its columns in workgroup memory, rather than in a workspace.
    whole: bool,
}

/// Spectra of tiles, or of filters in blocks of two by two, as one matrix for each frequency.
#[derive(Clone, Copy, Debug)]
struct Spectra {
    buf: BufId,
    filters: bool,
}

/// An image as the transforms see it.
#[derive(Clone, Copy, Debug)]
struct Image {
    buf: BufId,
    n: usize,
    h: usize,
    w: usize,
    c: usize,
}

/// How an image is cut into tiles.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Tiles of an image by axis.
    tiles: [usize; 2],
    /// From one tile to the next.
    step: [usize; 2],
    /// How far the first tile lies outside.
    padding: [usize; 2],
    /// Pixels that a tile takes from the image; the rest is zero.
    taken: [usize; 2],
}

/// Tiles of the batch that are transformed at once.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    first: usize,
    count: usize,
}

impl Fft {
    /// The cheapest transform for this convolution, if the algorithm applies: stride and dilation 1, one group, padding that
    /// the gradient can turn into padding, a filter within the largest tile whose spectra fit the workspace.
    pub(super) fn new(g: &Geometry, target: &Target) -> Option<Fft> {
        let whole = target.tier != Tier::Cpu;
        let vector = g.c.is_multiple_of(4) && g.k.is_multiple_of(4);
        // Of a tile of 32 pixels one vec4 is more than a workgroup's memory.
        let with_side = |t| Fft { t, word: if vector && !(whole && t == 32) { 4 } else { 1 }, whole };
        let c = g.config;
        let plain = c.stride == [1, 1] && c.dilation == [1, 1] && c.groups == 1;
        let padding = c.padding[0] < g.r && c.padding[1] < g.s;
        let sizes = [8, 16, 32].map(with_side).into_iter().filter(|f| plain && padding && f.t >= g.r.max(g.s));
        let fits = |f: &Fft| f.largest_workspace(g) as u64 * 4 <= target.workspace_bytes;
        sizes.filter(fits).min_by_key(|f| f.tile_products(g, [g.p, g.q]))
    }

    /// Complex products for each pair of channels, in an image of this size, with what the filter's transform costs.
    fn tile_products(self, g: &Geometry, [h, w]: [usize; 2]) -> usize {
        /// What a filter's transform costs in products of a tile, about: four words stored against eight operations.
        const FILTER_TILES: usize = 24;
        let [rows, columns] = self.kept(g);
        self.frequencies() * (g.n * h.div_ceil(rows) * w.div_ceil(columns) + FILTER_TILES)
    }

    /// Whether this is faster than the sums themselves, as far as that was measured: tier `cpu`, filters of 7x7 to 11x11, 64
    /// channels (docs/performance.md).
    pub(super) fn pays(g: &Geometry, target: &Target) -> bool {
        /// Operations saved that make 1.2 times the speed of the slowest pass: three tenths of them were time saved.
        const LEAST_SAVING: usize = 4;
        let measured = target.tier == Tier::Cpu && g.r.min(g.s) >= 7 && g.c.min(g.k) >= 64;
        let saves = |f: Fft| {
            // Of the three passes the one with the larger image.
            let products = 4 * f.tile_products(g, [g.h.max(g.p), g.w.max(g.q)]);
            g.pixels() * g.r * g.s >= LEAST_SAVING * products
        };
        measured && Fft::new(g, target).is_some_and(saves)
    }

    /// Columns of a tile's spectrum.
    fn half(self) -> usize {
        self.t / 2 + 1
    }

    /// Number of matrix products.
    fn frequencies(self) -> usize {
        self.t * self.half()
    }

    /// Target pixels of a tile.
    fn kept(self, g: &Geometry) -> [usize; 2] {
        [self.t - g.r + 1, self.t - g.s + 1]
    }

    /// Elements of the filters' spectra.
    fn filter_elements(self, g: &Geometry) -> usize {
        self.frequencies() * plane_elements(2 * g.k, 2 * g.c)
    }

    /// Elements between the two directions of a transform.
    fn between_elements(self, tiles: usize, rows: usize, c: usize) -> usize {
        if self.whole { 0 } else { tiles * rows * self.half() * 2 * c }
    }

    /// Words of channels whose `rows` rows a workgroup holds at a time.
    fn words(self, rows: usize, c: usize) -> usize {
        /// WebGPU's default limits.
        const MEMORY_BYTES: usize = 16 << 10;
        const INVOCATIONS: usize = 256;
        let most = (MEMORY_BYTES / (rows * self.half() * 2 * 4 * self.word)).min(INVOCATIONS / self.half());
        (1 << most.ilog2()).min((c / self.word).next_power_of_two())
    }

    /// Elements that a single tile's largest workspace takes at the least, or all the filters'.
    fn largest_workspace(self, g: &Geometry) -> usize {
        let filters = self.filter_elements(g).max(self.between_elements(g.k, g.r, g.c));
        filters.max(self.between_elements(1, self.t, g.c.max(g.k))).max(self.frequencies() * 2 * g.c.max(g.k))
    }

    /// Chunks of the batch's tiles that fit the workspace.
    fn chunks(self, g: &Geometry, cx: &Lower<'_>, tiles: usize) -> (usize, impl Iterator<Item = Chunk> + use<>) {
        // The planes of both sides and what lies between the directions.
        let planes = self.frequencies() * 2 * (g.c + g.k);
        let tile_bytes = 4 * (planes + self.between_elements(1, self.t, g.c.max(g.k)));
        let most = (cx.target().workspace_bytes as usize / tile_bytes).clamp(1, tiles);
        let size = tiles.div_ceil(tiles.div_ceil(most));
        (size, (0..tiles).step_by(size).map(move |first| Chunk { first, count: size.min(tiles - first) }))
    }

    fn constants<'b, 'a>(self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        let kernel = kernel.define_if(self.word == 4, "VECTOR");
        kernel.set("T", self.t as u32).set("LOG_T", self.t.ilog2()).set("HALF", self.half() as u32)
    }

    /// The spectra of an image's tiles.
    fn forward(self, cx: &mut Lower<'_>, image: Image, cut: Cut, chunk: Chunk, Spectra { buf, filters }: Spectra) {
        let [rows, columns] = cut.taken;
        let c = image.c / self.word;
        let plane = plane_elements(if filters { 2 } else { 1 } * chunk.count, 2 * image.c) / self.word;
        let tiles =
            [("tile0", chunk.first), ("tiles", chunk.count), ("tiles_h", cut.tiles[0]), ("tiles_w", cut.tiles[1])];
        let place = [("step_h", cut.step[0]), ("step_w", cut.step[1]), ("h", image.h), ("w", image.w), ("c", c)];
        let padding = [("pad_h", cut.padding[0]), ("pad_w", cut.padding[1])];
        if self.whole {
            let words = self.words(rows, image.c);
            let kernel = cx.dispatch("fft_tile").part("fft.tile").bind("x", image.buf).bind("v", buf);
            self.constants(kernel)
                .set("WORDS", words as u32)
                .set("ROWS", rows as u32)
                .set("COLUMNS", columns as u32)
                .define_if(filters, "FILTER")
                .args(&tiles)
                .args(&place)
                .args(&padding)
                .arg("plane", plane)
                .groups(chunk.count * c.div_ceil(words));
            return;
        }
        let between = cx.workspace(self.between_elements(chunk.count, rows, image.c));
        let kernel = cx.dispatch("fft_rows").part("fft.rows").bind("x", image.buf).bind("spectrum", between);
        self.constants(kernel)
            .set("ROWS", rows as u32)
            .set("COLUMNS", columns as u32)
            .args(&tiles)
            .args(&place)
            .args(&padding)
            .invocations(chunk.count * rows.div_ceil(2) * c);
        let kernel = cx.dispatch("fft_columns").part("fft.columns").bind("spectrum", between).bind("v", buf);
        self.constants(kernel)
            .set("ROWS", rows as u32)
            .define_if(filters, "FILTER")
            .args(&[("tiles", chunk.count), ("c", c), ("plane", plane)])
            .invocations(chunk.count * self.half() * c);
    }

    /// The tiles of an image from their spectra: `kept` pixels from `skip` on.
    fn inverse(
        self,
        cx: &mut Lower<'_>,
        Spectra { buf, filters }: Spectra,
        image: Image,
        (tiles, chunk): ([usize; 2], Chunk),
        (kept, skip): ([usize; 2], [usize; 2]),
        epilogue: EpilogueBuffers,
    ) {
        let c = image.c / self.word;
        let plane = plane_elements(if filters { 2 } else { 1 } * chunk.count, 2 * image.c) / self.word;
        let place = [("tile0", chunk.first), ("tiles", chunk.count), ("tiles_h", tiles[0]), ("tiles_w", tiles[1])];
        let size = [("h", image.h), ("w", image.w), ("c", c)];
        let part = [("rows", kept[0]), ("columns", kept[1]), ("skip", skip[1])];
        if self.whole {
            let words = self.words(kept[0], image.c);
            let kernel = epilogue.bind(cx.dispatch("fft_inverse_tile")).part("fft.inverse_tile").define("INVERSE");
            self.constants(kernel.bind("m", buf).bind("y", image.buf))
                .set("WORDS", words as u32)
                .set("ROWS", kept[0] as u32)
                .define_if(filters, "FILTER")
                .define_if(self.word == 4, "Y_VECTOR")
                .args(&place)
                .args(&size)
                .args(&part)
                .args(&[("plane", plane), ("skip_h", skip[0])])
                .groups(chunk.count * c.div_ceil(words));
            return;
        }
        let between = cx.workspace(self.between_elements(chunk.count, kept[0], image.c));
        let kernel = cx.dispatch("fft_inverse_columns").part("fft.inverse_columns");
        self.constants(kernel.bind("m", buf).bind("spectrum", between))
            .define("INVERSE")
            .define_if(filters, "FILTER")
            .args(&[("tiles", chunk.count), ("c", c), ("plane", plane), ("rows", kept[0]), ("skip", skip[0])])
            .invocations(chunk.count * self.half() * c);
        let kernel = epilogue.bind(cx.dispatch("fft_inverse_rows")).part("fft.inverse_rows").define("INVERSE");
        self.constants(kernel.bind("spectrum", between).bind("y", image.buf))
            .define_if(self.word == 4, "Y_VECTOR")
            .args(&place)
            .args(&size)
            .args(&part)
            .invocations(chunk.count * kept[0].div_ceil(2) * c);
    }
}

/// Spectra of tiles (or filters) as matrices, one for each frequency.
fn spectra(buf: BufId, rows: usize, c: usize) -> Matrix {
    Matrix { stride: plane_elements(rows, 2 * c), ..Matrix::dense(buf, 2 * c) }
}

/// `y`, or with [`ConvPass::BackwardInput`] `dx`, from `source` and the filters.
pub(super) fn product(
    f: Fft,
    g: &Geometry,
    cx: &mut Lower<'_>,
    pass: ConvPass,
    (source, w, target): (BufId, BufId, BufId),
    epilogue: EpilogueBuffers,
) {
    let backward = pass == ConvPass::BackwardInput;
    let x = |buf| Image { buf, n: g.n, h: g.h, w: g.w, c: g.c };
    let y = |buf| Image { buf, n: g.n, h: g.p, w: g.q, c: g.k };
    let (from, to) = if backward { (y(source), x(target)) } else { (x(source), y(target)) };
    let u = cx.workspace(f.filter_elements(g));
    filters(f, g, cx, w, u);
    let kept = f.kept(g);
    let last = [g.r - 1, g.s - 1];
    // A product with the filter itself is a convolution: its last pixels are whole, where the correlation's first are.
    let (skip, outside) =
        if backward { (last, [0, 1].map(|i| last[i] - g.config.padding[i])) } else { ([0, 0], g.config.padding) };
    let tiles = [to.h.div_ceil(kept[0]), to.w.div_ceil(kept[1])];
    let cut = Cut { tiles, step: kept, padding: outside, taken: [f.t, f.t] };
    let (size, chunks) = f.chunks(g, cx, to.n * tiles[0] * tiles[1]);
    let elements = |c: usize| f.frequencies() * plane_elements(size, 2 * c);
    let (v, m) = (cx.workspace(elements(from.c)), cx.workspace(elements(to.c)));
    for chunk in chunks {
        f.forward(cx, from, cut, chunk, Spectra { buf: v, filters: false });
        let product = Gemm {
            m: chunk.count,
            n: 2 * to.c,
            k: 2 * from.c,
            batch: f.frequencies(),
            a: spectra(v, chunk.count, from.c),
            b: Matrix { transposed: !backward, ..spectra(u, 2 * g.k, g.c) },
            y: spectra(m, chunk.count, to.c),
            epilogue: EpilogueBuffers::default(),
            accumulate: false,
            exact: true,
        };
        product.lower(cx, "fft.gemm");
        f.inverse(cx, Spectra { buf: m, filters: false }, to, (tiles, chunk), (kept, skip), epilogue);
    }
}

/// `dw` from `x` and `dy`.
pub(super) fn filter_gradient(f: Fft, g: &Geometry, cx: &mut Lower<'_>, (x, dy, dw): (BufId, BufId, BufId)) {
    let x = Image { buf: x, n: g.n, h: g.h, w: g.w, c: g.c };
    let y = Image { buf: dy, n: g.n, h: g.p, w: g.q, c: g.k };
    let kept = f.kept(g);
    let tiles = [g.p.div_ceil(kept[0]), g.q.div_ceil(kept[1])];
    let (size, chunks) = f.chunks(g, cx, g.n * tiles[0] * tiles[1]);
    let elements = |c: usize| f.frequencies() * plane_elements(size, 2 * c);
    let (v, d) = (cx.workspace(elements(g.c)), cx.workspace(elements(g.k)));
    let du = cx.workspace(f.filter_elements(g));
    for chunk in chunks {
        let cut = Cut { tiles, step: kept, padding: g.config.padding, taken: [f.t, f.t] };
        f.forward(cx, x, cut, chunk, Spectra { buf: v, filters: false });
        f.forward(cx, y, Cut { padding: [0, 0], taken: kept, ..cut }, chunk, Spectra { buf: d, filters: false });
        let product = Gemm {
            m: 2 * g.k,
            n: 2 * g.c,
            k: chunk.count,
            batch: f.frequencies(),
            a: Matrix { transposed: true, ..spectra(d, chunk.count, g.k) },
            b: spectra(v, chunk.count, g.c),
            y: spectra(du, 2 * g.k, g.c),
            epilogue: EpilogueBuffers::default(),
            accumulate: chunk.first > 0,
            exact: true,
        };
        product.lower(cx, "fft.gemm");
    }
    let target = Image { buf: dw, n: g.k, h: g.r, w: g.s, c: g.c };
    let all = Chunk { first: 0, count: g.k };
    f.inverse(
        cx,
        Spectra { buf: du, filters: true },
        target,
        ([1, 1], all),
        ([g.r, g.s], [0, 0]),
        EpilogueBuffers::default(),
    );
}

/// The filters' spectra: a filter is an image of one tile.
fn filters(f: Fft, g: &Geometry, cx: &mut Lower<'_>, w: BufId, u: BufId) {
    let image = Image { buf: w, n: g.k, h: g.r, w: g.s, c: g.c };
    let cut = Cut { tiles: [1, 1], step: [0, 0], padding: [0, 0], taken: [g.r, g.s] };
    f.forward(cx, image, cut, Chunk { first: 0, count: g.k }, Spectra { buf: u, filters: true });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit_the_memory_of_a_workgroup_by_webgpus_default_limits() {
        for (t, word, c, words) in
            [(8, 4, 64, 8), (8, 1, 3, 4), (8, 1, 100, 32), (16, 4, 64, 2), (16, 1, 9, 8), (32, 1, 64, 2)]
        {
            let f = Fft { t, word, whole: true };
            assert_eq!(f.words(t, c), words, "{t} {word} {c}");
            for rows in 1..=t {
                let words = f.words(rows, 512);
                assert!(rows * f.half() * 2 * 4 * word * words <= 16384 && f.half() * words <= 256, "{rows} {words}");
                assert!(f.half() > rows.div_ceil(2) - 1, "an invocation for every pair of rows");
            }
        }
    }
}
