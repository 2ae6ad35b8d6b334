//! Random changes of training images on the CPU, as plain data.
//!
//! What happens to an image is a pure function of `(seed, epoch, global sample index)`: the caller hands a [`Stream`] keyed
//! by these. So neither the number of threads nor a resumed run changes a pixel.

use crate::data::Geometry;
use wgrad_tensor::philox::Stream;

/// What stands around an image that is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// Black (0), as He et al. and torchvision's `RandomCrop(32, padding=4)` have it.
    Zero,
    /// The image mirrored at its edge pixel, which is not repeated (`cba|abcd`, as numpy's and PyTorch's `reflect`).
    Reflect,
}

/// Which random changes to make. The default makes none.
///
/// They apply in the order of the fields: crop, flip, translate, cutout.
///
/// ```
/// use wgrad_trainer::augment::{Augment, Border};
/// // ResNet-9 in 24 epochs on CIFAR-10 (cifar10-fast): crop, flip, cutout of 8 pixels.
/// let augment = Augment::none().pad_crop(4, Border::Reflect).flip().cutout(8);
/// assert!(augment.flip && !augment.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Pixels of padding on each side, and what stands there, before a crop of the original size at a random place.
    pub pad_crop: Option<(usize, Border)>,
    /// Mirror left and right with probability 1/2.
    pub flip: bool,
    /// Largest shift in pixels along each axis; what comes in has the mean colour.
    pub translate: usize,
    /// Side of a square that gets the mean colour, in pixels.
    pub cutout: usize,
}

impl Augment {
    /// No change.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Pads by `pad` pixels on each side and crops the original size at a random place: each offset of `0..=2 * pad` is
    /// equally likely, on each axis on its own. With `Border::Reflect`, this is also what airbench calls translation.
    #[must_use]
    pub fn pad_crop(mut self, pad: usize, border: Border) -> Self {
        self.pad_crop = (pad > 0).then_some((pad, border));
        self
    }

    /// Mirrors left and right with probability 1/2.
    #[must_use]
    pub fn flip(mut self) -> Self {
        self.flip = true;
        self
    }

    /// Shifts by a whole number of pixels of `-max..=max`, on each axis on its own. What comes in has the mean colour, and so
    /// is 0 after normalisation, like the padding of a convolution (a crop from zero padding brings in black).
    #[must_use]
    pub fn translate(mut self, max: usize) -> Self {
        self.translate = max;
        self
    }

    /// Gives one square of `size` pixels a side the mean colour, so that it is 0 (within half a step of 1/255) after
    /// normalisation. The square lies wholly within the image and always hides `size * size` pixels, as in cifar10-fast; in
    /// DeVries and Taylor, arXiv:1708.04552, only its centre does. A larger `size` than the image hides all of it.
    #[must_use]
    pub fn cutout(mut self, size: usize) -> Self {
        self.cutout = size;
        self
    }

    /// Whether images pass unchanged.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }

    /// Writes the changed `sample` to `out`, both of shape `[height, width, channels]`; `scratch` is room that a caller keeps
    /// from one image to the next. The random numbers come from `rng` alone.
    ///
    /// # Panics
    /// If `sample` or `out` has not `geometry.image_bytes()` bytes, as slice indexing does.
    pub fn apply(&self, sample: &[u8], geometry: Geometry, rng: &mut Stream, scratch: &mut Vec<u8>, out: &mut [u8]) {
        let Geometry { channels, height, width, .. } = geometry;
        let fill = &geometry.mean_colour[..channels];
        match self.pad_crop {
            Some((pad, border)) => {
                let pad = pad.min(u32::MAX as usize / 2 - 1);
                let dy = rng.below(2 * pad as u32 + 1) as isize - pad as isize;
                let dx = rng.below(2 * pad as u32 + 1) as isize - pad as isize;
                match border {
                    Border::Zero => shift(sample, geometry, dy, dx, &[0; 3][..channels], out),
                    Border::Reflect => shift_reflect(sample, geometry, dy, dx, out),
                }
            }
            None => out.copy_from_slice(sample),
        }
        if self.flip && rng.next_u32() & 1 == 1 {
            for row in out.chunks_exact_mut(width * channels) {
                mirror(row, channels);
            }
        }
        if self.translate > 0 {
            let max = self.translate.min(u32::MAX as usize / 2 - 1);
            let dy = rng.below(2 * max as u32 + 1) as isize - max as isize;
            let dx = rng.below(2 * max as u32 + 1) as isize - max as isize;
            scratch.clear();
            scratch.extend_from_slice(out);
            shift(scratch, geometry, dy, dx, fill, out);
        }
        if self.cutout > 0 {
            let (h, w) = (self.cutout.min(height), self.cutout.min(width));
            let y = rng.below((height - h) as u32 + 1) as usize;
            let x = rng.below((width - w) as u32 + 1) as usize;
            for row in out.chunks_exact_mut(width * channels).skip(y).take(h) {
                paint(&mut row[x * channels..(x + w) * channels], fill);
            }
        }
    }
}

fn paint(pixels: &mut [u8], colour: &[u8]) {
    for pixel in pixels.chunks_exact_mut(colour.len()) {
        pixel.copy_from_slice(colour);
    }
}

fn mirror(row: &mut [u8], channels: usize) {
    let width = row.len() / channels;
    for left in 0..width / 2 {
        let right = width - 1 - left;
        for c in 0..channels {
            row.swap(left * channels + c, right * channels + c);
        }
    }
}

/// `out[y][x] = sample[y + dy][x + dx]`, and `fill` where that lies outside.
fn shift(sample: &[u8], g: Geometry, dy: isize, dx: isize, fill: &[u8], out: &mut [u8]) {
    let row_bytes = g.width * g.channels;
    // Columns of `out` that have a source: one copy for them and a fill on either side.
    let from = (-dx).clamp(0, g.width as isize) as usize;
    let to = (g.width as isize - dx).clamp(from as isize, g.width as isize) as usize;
    for (y, row) in out.chunks_exact_mut(row_bytes).enumerate() {
        let source = y as isize + dy;
        if source < 0 || source >= g.height as isize || from == to {
            paint(row, fill);
            continue;
        }
        let start = source as usize * row_bytes;
        let first = (from as isize + dx) as usize * g.channels;
        let n = (to - from) * g.channels;
        row[from * g.channels..to * g.channels].copy_from_slice(&sample[start + first..start + first + n]);
        paint(&mut row[..from * g.channels], fill);
        paint(&mut row[to * g.channels..], fill);
    }
}

/// `out[y][x] = sample[y + dy][x + dx]`, mirrored at the edges.
fn shift_reflect(sample: &[u8], g: Geometry, dy: isize, dx: isize, out: &mut [u8]) {
    let row_bytes = g.width * g.channels;
    for (y, row) in out.chunks_exact_mut(row_bytes).enumerate() {
        let source = reflect(y as isize + dy, g.height) * row_bytes;
        let source = &sample[source..source + row_bytes];
        for (x, pixel) in row.chunks_exact_mut(g.channels).enumerate() {
            let at = reflect(x as isize + dx, g.width) * g.channels;
            pixel.copy_from_slice(&source[at..at + g.channels]);
        }
    }
}

/// The index in `0..n` that a mirror at the first and the last element shows at `i`.
fn reflect(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as isize - 1);
    let i = i.rem_euclid(period);
    (if i < n as isize { i } else { period - i }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad_tensor::philox::purpose;

    const G: Geometry = Geometry { channels: 1, height: 8, width: 8, mean_colour: [77; 3] };

    /// Every pixel differs, none is 0 or the mean colour.
    fn sample() -> Vec<u8> {
        (0..64).map(|i| 100 + i).collect()
    }

    fn run(augment: &Augment, g: Geometry, sample: &[u8], index: u32) -> Vec<u8> {
        let mut out = vec![1; sample.len()];
        let mut rng = Stream::new(1, purpose::AUGMENT, 0, index);
        augment.apply(sample, g, &mut rng, &mut Vec::new(), &mut out);
        out
    }

    #[test]
    fn nothing_is_a_copy() {
        assert_eq!(run(&Augment::none(), G, &sample(), 0), sample());
        assert!(Augment::none().pad_crop(0, Border::Zero).is_none());
    }

    #[test]
    fn flip_is_a_mirror_half_of_the_time() {
        let mut mirrored = sample();
        mirrored.chunks_exact_mut(8).for_each(|r| r.reverse());
        let mut flips = 0u32;
        for i in 0..4000 {
            let out = run(&Augment::none().flip(), G, &sample(), i);
            assert!(out == sample() || out == mirrored);
            flips += u32::from(out == mirrored);
        }
        // Standard deviation 32.
        assert!(flips.abs_diff(2000) < 150, "{flips}");
    }

    #[test]
    fn flip_keeps_colours_together() {
        let mut row = vec![1, 2, 3, 4, 5, 6, 7, 8, 9];
        mirror(&mut row, 3);
        assert_eq!(row, [7, 8, 9, 4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn crop_offsets_are_even_and_the_rest_is_black() {
        let augment = Augment::none().pad_crop(2, Border::Zero);
        let mut count = [[0u32; 5]; 5];
        for i in 0..10_000 {
            let out = run(&augment, G, &sample(), i);
            // The pixel in the middle is never lost: its new place tells the offset.
            let at = out.iter().position(|&v| v == 100 + 4 * 8 + 4).expect("there");
            let (dy, dx) = (4 - (at / 8) as isize, 4 - (at % 8) as isize);
            count[(dy + 2) as usize][(dx + 2) as usize] += 1;
            for y in 0..8 {
                for x in 0..8 {
                    let (sy, sx) = (y + dy, x + dx);
                    let inside = (0..8).contains(&sy) && (0..8).contains(&sx);
                    let want = if inside { 100 + sy * 8 + sx } else { 0 };
                    assert_eq!(isize::from(out[(y * 8 + x) as usize]), want);
                }
            }
        }
        // 400 each with a standard deviation of 20.
        assert!(count.iter().flatten().all(|&c| c.abs_diff(400) < 100), "{count:?}");
    }

    #[test]
    fn reflect_mirrors_at_the_edge_pixel() {
        let got: Vec<usize> = (-4..8).map(|i| reflect(i, 4)).collect();
        assert_eq!(got, [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(reflect(-3, 1), 0);
        let g = Geometry { height: 1, width: 4, ..G };
        let mut out = [0; 4];
        shift_reflect(&[1, 2, 3, 4], g, 0, -2, &mut out);
        assert_eq!(out, [3, 2, 1, 2]);
        shift_reflect(&[1, 2, 3, 4], g, 5, 2, &mut out);
        assert_eq!(out, [3, 4, 3, 2]);
    }

    #[test]
    fn translation_brings_in_the_mean_colour() {
        let augment = Augment::none().translate(3);
        let mut seen = std::collections::HashMap::new();
        for i in 0..4900 {
            let out = run(&augment, G, &sample(), i);
            let at = out.iter().position(|&v| v == 100 + 4 * 8 + 4).expect("there");
            let (dy, dx) = (4 - (at / 8) as isize, 4 - (at % 8) as isize);
            *seen.entry((dy, dx)).or_insert(0u32) += 1;
            let filled = out.iter().filter(|&&v| v == 77).count();
            let kept = (8 - dy.unsigned_abs()) * (8 - dx.unsigned_abs());
            assert_eq!(filled, 64 - kept);
        }
        assert_eq!(seen.len(), 49);
        // 100 each with a standard deviation of 10.
        assert!(seen.values().all(|&c| c.abs_diff(100) < 50), "{seen:?}");
    }

    #[test]
    fn cutout_hides_a_whole_square_of_the_mean_colour_anywhere() {
        let augment = Augment::none().cutout(3);
        let mut hidden = [0u32; 64];
        for i in 0..3600 {
            let out = run(&augment, G, &sample(), i);
            let at: Vec<usize> = (0..64).filter(|&k| out[k] == 77).collect();
            assert_eq!(at.len(), 9);
            let (y, x) = (at[0] / 8, at[0] % 8);
            assert!(at.iter().all(|k| (y..y + 3).contains(&(k / 8)) && (x..x + 3).contains(&(k % 8))));
            hidden[at[0]] += 1;
        }
        // 36 corners, 100 each with a standard deviation of 10.
        assert_eq!(hidden.iter().filter(|&&c| c > 0).count(), 36);
        assert!(hidden.iter().all(|&c| c == 0 || c.abs_diff(100) < 50), "{hidden:?}");
        let all = run(&Augment::none().cutout(99), G, &sample(), 0);
        assert_eq!(all, vec![77; 64]);
    }

    #[test]
    fn extreme_sizes_do_not_panic() {
        let g = Geometry { channels: 3, height: 1, width: 1, mean_colour: [1, 2, 3] };
        for border in [Border::Zero, Border::Reflect] {
            let augment = Augment::none().pad_crop(4, border).flip().translate(9).cutout(2);
            for i in 0..50 {
                assert_eq!(run(&augment, g, &[9, 9, 9], i), [1, 2, 3]);
            }
        }
        let huge = Augment::none().pad_crop(usize::MAX, Border::Reflect).translate(usize::MAX);
        run(&huge, G, &sample(), 0);
    }

    #[test]
    fn the_same_stream_gives_the_same_pixels_and_another_index_others() {
        let augment = Augment::none().pad_crop(2, Border::Reflect).flip().translate(1).cutout(2);
        assert_eq!(run(&augment, G, &sample(), 5), run(&augment, G, &sample(), 5));
        let different: std::collections::HashSet<_> = (0..50).map(|i| run(&augment, G, &sample(), i)).collect();
        assert!(different.len() > 45);
    }
}
