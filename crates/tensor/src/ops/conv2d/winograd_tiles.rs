//! The tiles of a Winograd convolution: which shapes they have, and where their products lie.
//!
//! Thirteen pixels are not four tiles of four but one of four and three of three, a *narrow* tile, which needs no product with
//! the last of the points: 21 products a line instead of 24, 441 a plane of pixels instead of 576. The other points are
//! the same, so the transformed filters serve both kinds.
//!
//! A plane holds what all tiles have for one pair of points, a matrix of tiles by channels. A pair with the last point is
//! not needed by the tiles that are narrow there, so the planes come in four groups of different heights.

use super::Geometry;
use super::winograd::{Winograd, plane_elements};
use crate::ops::{DispatchBuilder, Lower};

/// An image as the transforms see it: extents, and how far the first tile lies outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) c: usize,
    pub(super) padding: [usize; 2],
}

/// Tiles along one side of the image: first those of `M` pixels, then those of `M - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    full: usize,
    narrow: usize,
}

impl Split {
    fn uniform(extent: usize, m: usize) -> Split {
        Split { full: extent.div_ceil(m), narrow: 0 }
    }

    /// As many tiles, as narrow as possible, the first one excepted: every plane shall have rows.
    fn snug(extent: usize, m: usize) -> Split {
        let tiles = extent.div_ceil(m);
        let narrow = (tiles * m - extent).min(tiles - 1);
        Split { full: tiles - narrow, narrow }
    }

    fn products(self, alpha: usize) -> usize {
        self.full * alpha + self.narrow * (alpha - 1)
    }

    fn of(self, narrow: bool) -> usize {
        if narrow { self.narrow } else { self.full }
    }
}

/// A tile's shape: whether it is narrow in height and in width.
pub(super) type Shape = [bool; 2];

const SHAPES: [Shape; 4] = [[false, false], [true, false], [false, true], [true, true]];

/// Planes of one height, side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    /// Number of the first.
    pub(super) first: usize,
    /// How many there are.
    pub(super) count: usize,
    /// Tiles in each.
    pub(super) rows: usize,
    /// Rows and number of the planes before these.
    before: [(usize, usize); 3],
}

impl Planes {
    /// First element where a tile has `c` channels.
    pub(super) fn offset(self, c: usize) -> usize {
        self.before.iter().map(|&(rows, count)| count * plane_elements(rows, c)).sum()
    }

    /// First element behind these planes.
    fn end(self, c: usize) -> usize {
        self.offset(c) + self.count * plane_elements(self.rows, c)
    }
}

/// A part of the batch that fits the workspace, in units of [`Tiles`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) first: usize,
    count: usize,
}

/// Tiles of the target image, walked in chunks that fit the workspace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    f: Winograd,
    sides: [Split; 2],
    /// Whole images, or single tiles where all have the same shape.
    units: usize,
    chunk: usize,
}

impl Tiles {
    pub(super) fn new(cx: &Lower<'_>, f: Winograd, g: &Geometry, target: Side) -> Tiles {
        let extents = [target.h, target.w];
        let alpha = f.alpha();
        let products = |sides: [Split; 2]| sides.iter().map(|side| side.products(alpha)).product::<usize>();
        let (uniform, snug) = (extents.map(|e| Split::uniform(e, f.m)), extents.map(|e| Split::snug(e, f.m)));
        let bytes = |products: usize| (4 * products * (g.c + g.k)) as u64;
        let room = cx.target().workspace_bytes;
        // Four shapes are four times the dispatches, and compiled as often: for a tenth of the products at the least.
        let worth_it = 10 * products(snug) <= 9 * products(uniform) && bytes(products(snug)) <= room;
        let (sides, units, unit_bytes) = if worth_it {
            (snug, g.n, bytes(products(snug)))
        } else {
            (uniform, g.n * uniform[0].full * uniform[1].full, bytes(alpha * alpha))
        };
        let most = ((room / unit_bytes) as usize).clamp(1, units);
        Tiles { f, sides, units, chunk: units.div_ceil(units.div_ceil(most)) }
    }

    pub(super) fn chunks(self) -> impl Iterator<Item = Chunk> {
        (0..self.units).step_by(self.chunk).map(move |first| Chunk { first, count: self.chunk.min(self.units - first) })
    }

    fn is_uniform(self) -> bool {
        self.sides.iter().all(|side| side.narrow == 0)
    }

    /// The shapes that there are.
    pub(super) fn shapes(self) -> impl Iterator<Item = Shape> {
        SHAPES.into_iter().filter(move |&shape| self.tiles_of_unit(shape) > 0)
    }

    fn tiles_of_unit(self, [h, w]: Shape) -> usize {
        match self.is_uniform() {
            true => usize::from([h, w] == [false, false]),
            false => self.sides[0].of(h) * self.sides[1].of(w),
        }
    }

    /// Tiles of these shapes, those left out that are narrow where `full` is set.
    fn rows(self, chunk: Chunk, full: [bool; 2], shapes: &[Shape]) -> usize {
        let has = |shape: &&Shape| !shape.iter().zip(full).any(|(&narrow, full)| narrow && full);
        shapes.iter().filter(has).map(|&shape| chunk.count * self.tiles_of_unit(shape)).sum()
    }

    /// The groups of planes: of all tiles, of those of full height, of full width, of both.
    fn groups(self, chunk: Chunk) -> [Planes; 4] {
        let last = self.f.alpha() - 1;
        let counts = [last * last, last, last, 1];
        let rows = SHAPES.map(|full| self.rows(chunk, full, &SHAPES));
        [0, 1, 2, 3].map(|group| {
            let before = [0, 1, 2].map(|i| if i < group { (rows[i], counts[i]) } else { (0, 0) });
            Planes { first: counts[..group].iter().sum(), count: counts[group], rows: rows[group], before }
        })
    }

    /// The planes of products, as few batches of equal matrices as possible.
    pub(super) fn planes(self, chunk: Chunk) -> Vec<Planes> {
        let mut merged: Vec<Planes> = Vec::new();
        for group in self.groups(chunk) {
            match merged.last_mut() {
                Some(planes) if planes.rows == group.rows => planes.count += group.count,
                _ => merged.push(group),
            }
        }
        merged
    }

    /// Elements of the planes of a chunk.
    pub(super) fn elements(self, c: usize) -> usize {
        self.groups(Chunk { first: 0, count: self.chunk })[3].end(c)
    }

    /// Launches a transform for the tiles of one shape.
    pub(super) fn launch(self, kernel: DispatchBuilder<'_, '_>, chunk: Chunk, shape: Shape, side: Side) {
        let [narrow_h, narrow_w] = shape;
        let Tiles { f, sides: [height, width], .. } = self;
        let tiles = self.tiles_of_unit(shape);
        let first = |split: Split, narrow: bool| if narrow { split.full * f.m } else { 0 };
        // Within a plane the shapes follow each other, as far as they have it.
        let groups = self.groups(chunk);
        let before = SHAPES.iter().position(|&other| other == shape).unwrap_or_default();
        let starts = [0, 1, 2, 3].map(|group| {
            let rows = self.rows(chunk, SHAPES[group], &SHAPES[..before]);
            (groups[group].offset(side.c) + rows * side.c) / 4
        });
        let plane = |group: usize| plane_elements(groups[group].rows, side.c) / 4;
        f.constants(kernel)
            .define_if(narrow_h, "NARROW_H")
            .define_if(narrow_w, "NARROW_W")
            .set("M_H", (f.m - usize::from(narrow_h)) as u32)
            .set("M_W", (f.m - usize::from(narrow_w)) as u32)
            .set("ALPHA_H", (f.alpha() - usize::from(narrow_h)) as u32)
            .set("ALPHA_W", (f.alpha() - usize::from(narrow_w)) as u32)
            .args(&[("tile0", chunk.first * tiles), ("tiles", chunk.count * tiles)])
            .args(&[("tiles_h", height.of(narrow_h)), ("tiles_w", width.of(narrow_w))])
            .args(&[("first_h", first(height, narrow_h)), ("first_w", first(width, narrow_w))])
            .args(&[("h", side.h), ("w", side.w), ("c4", side.c / 4)])
            .args(&[("every", starts[0]), ("every_plane", plane(0)), ("tall", starts[1]), ("tall_plane", plane(1))])
            .args(&[("broad", starts[2]), ("broad_plane", plane(2)), ("corner", starts[3])])
            .invocations(chunk.count * tiles * side.c / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_image_and_little_more() {
        for m in [2, 4] {
            for extent in 1..60 {
                let Split { full, narrow } = Split::snug(extent, m);
                let covered = full * m + narrow * (m - 1);
                assert!(full >= 1 && covered >= extent, "{extent} in tiles of {m}");
                assert!(extent <= m * (m - 1) || covered == extent, "{extent} in tiles of {m} covers {covered}");
                assert_eq!(full + narrow, Split::uniform(extent, m).full);
            }
        }
        assert_eq!(Split::snug(13, 4), Split { full: 1, narrow: 3 });
        assert_eq!(Split::snug(13, 4).products(6), 21);
    }
}
