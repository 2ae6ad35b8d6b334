//! Moving, mirroring and painting whole pixels.

use crate::data::Geometry;

pub(super) fn paint(pixels: &mut [u8], colour: &[u8]) {
    for pixel in pixels.chunks_exact_mut(colour.len()) {
        pixel.copy_from_slice(colour);
    }
}

pub(super) fn mirror(row: &mut [u8], channels: usize) {
    let width = row.len() / channels;
    for left in 0..width / 2 {
        let right = width - 1 - left;
        for c in 0..channels {
            row.swap(left * channels + c, right * channels + c);
        }
    }
}

/// `out[y][x] = sample[y + dy][x + dx]`, and `fill` where that lies outside.
pub(super) fn shift(sample: &[u8], g: Geometry, dy: isize, dx: isize, fill: &[u8], out: &mut [u8]) {
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
pub(super) fn shift_reflect(sample: &[u8], g: Geometry, dy: isize, dx: isize, out: &mut [u8]) {
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
pub(crate) fn reflect(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as isize - 1);
    let i = i.rem_euclid(period);
    (if i < n as isize { i } else { period - i }) as usize
}
