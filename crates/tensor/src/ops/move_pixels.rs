//! Changes of images that only copy pixels: crop, flip, translation, cutout.

use super::pixel_rows::group_size;
use super::{Case, CaseInput, Fill, Lower, OpDef, View, ViewMut};
use crate::graph::Value;
use crate::philox::Stream;
use crate::shape::TensorDesc;

/// Words that say how one image is moved.
pub const MOVE_WORDS: usize = 8;
/// Bit of word 7: the crop mirrors the image at its edge pixels, where otherwise black comes in.
pub const REFLECT: u32 = 1;
/// Bit of word 7: left and right change sides after the crop.
pub const FLIP: u32 = 2;
/// Bit of word 7: left and right change sides after everything else.
pub const MIRROR: u32 = 4;

/// The most rows or columns of an image: the extents of a box share a word.
const MOST: usize = 0xffff;

/// Moves the pixels of packed images `[N, H, W]` as the second operand `[N, 8]` says, an image a row; no pixel is computed.
///
/// Five changes in this order; `y` is the result and `x` the operand of each:
///
/// | words | change | what comes in |
/// |---|---|---|
/// | 0, 1 | `y[r][c] = x[r + word 0][c + word 1]` (crop) | black (0), or with [`REFLECT`] the image mirrored |
/// | 7 | `y[r][c] = x[r][W - 1 - c]` with [`FLIP`] | |
/// | 2, 3 | `y[r][c] = x[r + word 2][c + word 3]` (translation) | `fill` |
/// | 4, 5, 6 | a box is hidden: first row, first column, rows + 65,536 columns | `fill` |
/// | 7 | `y[r][c] = x[r][W - 1 - c]` with [`MIRROR`] | |
///
/// Words 0 to 5 are the bits of an i32 and sums of rows and columns wrap around in 32 bits, so any bits have a meaning. Eight
/// zeros move nothing. There is no gradient: pixels are whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovePixels {
    /// The pixel that translation and cutout bring in.
    pub fill: u32,
}

/// What a mirror at the first and the last of `n` elements shows at `i`.
fn reflected(i: i32, n: u32) -> u32 {
    let period = (2 * (n - 1)).max(1);
    let at = i.unsigned_abs() % period;
    at.min(period - at)
}

/// Where a crop by `shift` finds element `i` of `n`; none where that is outside.
fn cropped(i: u32, shift: u32, n: u32, reflects: bool) -> Option<u32> {
    let from = i.wrapping_add(shift);
    if reflects { Some(reflected(from.cast_signed(), n)) } else { (from < n).then_some(from) }
}

impl MovePixels {
    /// Row and column in `x` of the pixel at `[r, c]` of the result, or the colour that it gets.
    fn origin(&self, words: [u32; MOVE_WORDS], [h, w]: [u32; 2], r: u32, c: u32) -> Result<[u32; 2], u32> {
        let [crop_r, crop_c, shift_r, shift_c, top, left, extents, flags] = words;
        let c = if flags & MIRROR > 0 { w - 1 - c } else { c };
        if r.wrapping_sub(top) < extents & 0xffff && c.wrapping_sub(left) < extents >> 16 {
            return Err(self.fill);
        }
        let (r, c) = (r.wrapping_add(shift_r), c.wrapping_add(shift_c));
        if r >= h || c >= w {
            return Err(self.fill);
        }
        let c = if flags & FLIP > 0 { w - 1 - c } else { c };
        let reflects = flags & REFLECT > 0;
        match (cropped(r, crop_r, h, reflects), cropped(c, crop_c, w, reflects)) {
            (Some(r), Some(c)) => Ok([r, c]),
            _ => Err(0),
        }
    }
}

impl OpDef for MovePixels {
    fn name(&self) -> &'static str {
        "move_pixels"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        match x {
            [x, moves] if x.shape.rank() == 3 && *x == TensorDesc::u32(x.shape) && x.shape.numel() > 0 => {
                if x.shape.dim(1).max(x.shape.dim(2)) > MOST {
                    return Err(format!("move_pixels wants at most {MOST} rows and columns, got {x}"));
                }
                let wanted = TensorDesc::u32([x.shape.dim(0), MOVE_WORDS]);
                if *moves == wanted { Ok(vec![*x]) } else { Err(format!("wanted moves {wanted}, got {moves}")) }
            }
            _ => Err("move_pixels wants u32 pixels [N, H, W], at least one, and u32 moves [N, 8]".to_string()),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let [n, h, w] = [0, 1, 2].map(|i| cx.x_desc(0).shape.dim(i));
        let size = group_size(cx.target()) as u32;
        let (x, moves, y) = (cx.x(0), cx.x(1), cx.y(0));
        let kernel = cx.dispatch("move_pixels").set("WG", size).bind("x", x).bind("moves", moves).bind("y", y);
        kernel.args(&[("rows", n * h), ("h", h), ("w", w)]).arg("fill", self.fill).groups(n * h);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        let [n, h, w] = [0, 1, 2].map(|i| x[0].shape.dim(i));
        for i in 0..n * h * w {
            let image = i / (h * w);
            let words = std::array::from_fn(|k| x[1].data[image * MOVE_WORDS + k] as u32);
            let (r, c) = (i / w % h, i % w);
            y[0].data[i] = match self.origin(words, [h as u32, w as u32], r as u32, c as u32) {
                Ok([r, c]) => x[0].data[(image * h + r as usize) * w + c as usize],
                Err(colour) => f64::from(colour),
            };
        }
    }
}

impl<'g> Value<'g> {
    /// Packed images `[N, H, W]` with their pixels moved by `moves`, u32 `[N, 8]`; see [`MovePixels`].
    #[track_caller]
    pub fn move_pixels(self, moves: Value<'g>, fill: u32) -> Value<'g> {
        self.graph().apply1(MovePixels { fill }, &[self, moves])
    }
}

/// Words for cases: shifts of at most `most` pixels, a box of at most as many a side whose corner lies near the image's.
pub(super) fn draw_moves(stream: &mut Stream, most: u32) -> [u32; MOVE_WORDS] {
    let mut shift = || stream.below(2 * most + 1).wrapping_sub(most);
    let shifts: [u32; 6] = std::array::from_fn(|_| shift());
    let [crop_r, crop_c, shift_r, shift_c, top, left] = shifts;
    let extents = stream.below(most + 1) | stream.below(most + 1) << 16;
    [crop_r, crop_c, shift_r, shift_c, top, left, extents, stream.below(8)]
}

/// Odd extents, single rows and columns, more columns than a workgroup has invocations, shifts above the image, any bits.
pub fn cases() -> Vec<Case> {
    let list: [([usize; 3], u32); 10] = [
        ([7, 1, 1], 1),
        ([9, 2, 3], 2),
        ([8, 5, 7], 3),
        ([16, 9, 1], 4),
        ([16, 1, 13], 5),
        ([12, 4, 4], 40),
        ([3, 6, 131], 20),
        ([40, 28, 28], 4),
        ([5, 33, 31], 8),
        ([2, 3, 64], 1),
    ];
    let op = MovePixels { fill: 0x0070_7c7d };
    let pixels = |shape: [usize; 3]| CaseInput::u32(shape, Fill::Bits);
    let case = |(shape, most): ([usize; 3], u32)| {
        let moves = CaseInput::u32([shape[0], MOVE_WORDS], Fill::Moves(most));
        Case::new(format!("{shape:?} by {most}"), op, [pixels(shape), moves])
    };
    let mut cases: Vec<Case> = list.map(case).into();
    for shape in [[30, 5, 6], [30, 1, 4]] {
        let bits = CaseInput::u32([shape[0], MOVE_WORDS], Fill::Bits);
        cases.push(Case::new(format!("{shape:?} by any bits"), op, [pixels(shape), bits]));
    }
    cases.push(case(([128, 224, 224], 32)).timed());
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUS_ONE: u32 = u32::MAX;

    /// The image of 3 by 4 pixels 1 to 12, moved.
    fn moved(words: [u32; MOVE_WORDS]) -> Vec<u32> {
        let pixels: Vec<f64> = (1..=12).map(f64::from).collect();
        let words = words.map(f64::from);
        let x = [View { shape: [1, 3, 4].into(), data: &pixels }, View { shape: [1, 8].into(), data: &words }];
        let mut out = vec![0.0; 12];
        MovePixels { fill: 99 }.reference(&x, &mut [ViewMut { shape: [1, 3, 4].into(), data: &mut out }]);
        out.into_iter().map(|pixel| pixel as u32).collect()
    }

    #[test]
    fn every_change_by_itself() {
        assert_eq!(moved([0; 8]), (1..=12).collect::<Vec<_>>());
        assert_eq!(moved([1, MINUS_ONE, 0, 0, 0, 0, 0, 0]), [0, 5, 6, 7, 0, 9, 10, 11, 0, 0, 0, 0]);
        assert_eq!(moved([1, MINUS_ONE, 0, 0, 0, 0, 0, REFLECT]), [6, 5, 6, 7, 10, 9, 10, 11, 6, 5, 6, 7]);
        assert_eq!(moved([0, 0, MINUS_ONE, 2, 0, 0, 0, 0]), [99, 99, 99, 99, 3, 4, 99, 99, 7, 8, 99, 99]);
        assert_eq!(moved([0, 0, 0, 0, 1, 2, 2 | 1 << 16, 0]), [1, 2, 3, 4, 5, 6, 99, 8, 9, 10, 99, 12]);
        for side in [FLIP, MIRROR] {
            assert_eq!(moved([0, 0, 0, 0, 0, 0, 0, side]), [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9]);
        }
    }

    #[test]
    fn the_order_is_crop_flip_translation_box_mirror() {
        // Cropped to the right by one, then flipped: black comes in at the left.
        assert_eq!(moved([0, 1, 0, 0, 0, 0, 0, FLIP])[..4], [0, 4, 3, 2]);
        // Translated after the flip, and the colour covers the black.
        assert_eq!(moved([0, 1, 0, MINUS_ONE, 0, 0, 0, FLIP])[..4], [99, 0, 4, 3]);
        // The box is mirrored, too.
        assert_eq!(moved([0, 0, 0, 0, 0, 0, 1 | 1 << 16, MIRROR])[..4], [4, 3, 2, 99]);
        assert_eq!(moved([0, 0, 0, 0, 0, 0, 1 | 1 << 16, FLIP])[..4], [99, 3, 2, 1]);
    }

    #[test]
    fn a_mirror_stays_inside_for_any_number() {
        let got: Vec<u32> = (-4..8).map(|i| reflected(i, 4)).collect();
        assert_eq!(got, [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        for n in [1, 2, 3, MOST as u32] {
            assert!([i32::MIN, i32::MIN + 1, -1, i32::MAX].into_iter().all(|i| reflected(i, n) < n));
        }
    }

    #[test]
    fn impossible_operands_are_refused() {
        let op = MovePixels { fill: 0 };
        let (x, moves) = (TensorDesc::u32([2, 3, 4]), TensorDesc::u32([2, 8]));
        assert_eq!(op.infer(&[x, moves]), Ok(vec![x]));
        assert!(op.infer(&[x, TensorDesc::u32([3, 8])]).is_err_and(|e| e.contains("moves")));
        assert!(op.infer(&[TensorDesc::f32([2, 3, 4]), moves]).is_err());
        let wide = TensorDesc::u32([2, 1, MOST + 1]);
        assert!(op.infer(&[wide, moves]).is_err_and(|e| e.contains("65535")));
    }
}
