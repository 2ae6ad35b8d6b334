//! Gaussian blur.

use super::random::uniform;
use super::shift::reflect;
use crate::data::Geometry;
use wgrad_tensor::philox::Stream;

/// Blurs some images with a Gaussian of even random width (SimCLR, arXiv:2002.05709), mirrored at the edges.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blur {
    /// Part of the images that is blurred, 0 to 1.
    pub probability: f32,
    /// Least and largest deviation, in pixels; at most 64.
    pub sigma: [f32; 2],
}

impl Blur {
    pub(super) fn is_valid(&self) -> bool {
        let [low, high] = self.sigma;
        (0.0..=1.0).contains(&self.probability) && low > 0.0 && low <= high && high <= 64.0
    }

    pub(super) fn apply(&self, g: Geometry, rng: &mut Stream, scratch: &mut Vec<u8>, image: &mut [u8]) {
        if !rng.chance(self.probability) {
            return;
        }
        let weights = kernel(uniform(self.sigma[0], self.sigma[1], rng));
        scratch.clear();
        scratch.extend_from_slice(image);
        let row = g.width * g.channels;
        pass(scratch, &weights, g.height, row, row, 1, image);
        scratch.copy_from_slice(image);
        pass(scratch, &weights, g.width, g.channels, g.channels, g.height, image);
    }
}

/// The difference from a smoothed image times `factor` (Pillow's `Sharpness`): below 1 smoother, above 1 sharper. The smoothing
/// filter is 1 1 1, 1 5 1, 1 1 1 of 13, and the rim stays as it is.
pub(super) fn sharpen(g: Geometry, factor: f32, scratch: &mut Vec<u8>, image: &mut [u8]) {
    scratch.clear();
    scratch.extend_from_slice(image);
    let row = g.width * g.channels;
    for y in 1..g.height.saturating_sub(1) {
        for i in y * row + g.channels..(y + 1) * row - g.channels {
            let line = |at: usize| {
                [at - g.channels, at, at + g.channels].iter().map(|&at| u32::from(scratch[at])).sum::<u32>()
            };
            let sum = line(i - row) + line(i) + line(i + row) + 4 * u32::from(scratch[i]);
            let smooth = (sum as f32 / 13.0).round();
            image[i] = (smooth + (f32::from(scratch[i]) - smooth) * factor).round() as u8;
        }
    }
}

/// Weights from the middle to three deviations, whose sum over both sides is 1.
fn kernel(sigma: f32) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil().max(1.0) as usize;
    let mut weights: Vec<f32> =
        (0..=radius).map(|i| libm::expf(-0.5 * (i as f32 / sigma) * (i as f32 / sigma))).collect();
    let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    weights.iter_mut().for_each(|w| *w /= sum);
    weights
}

/// Convolves along an axis of `n` places, `stride` bytes apart, for each of `lines` blocks and each of `inner` bytes.
fn pass(source: &[u8], weights: &[f32], n: usize, stride: usize, inner: usize, lines: usize, out: &mut [u8]) {
    for line in 0..lines {
        let base = line * n * stride;
        for at in 0..n {
            for k in 0..inner {
                let place = |i: isize| f32::from(source[base + reflect(at as isize + i, n) * stride + k]);
                let sides = weights.iter().enumerate().skip(1);
                let sum: f32 = sides.map(|(i, w)| w * (place(-(i as isize)) + place(i as isize))).sum();
                out[base + at * stride + k] = (weights[0] * place(0) + sum).round() as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharpening_leaves_a_slope_and_lifts_an_edge() {
        let g = Geometry { channels: 1, height: 3, width: 4, mean_colour: [0; 3] };
        let mut edge = [10, 10, 100, 100].repeat(3);
        sharpen(g, 2.0, &mut Vec::new(), &mut edge);
        // Smoothed: (9 * 10 + 3 * 90) / 13 + ... = 30.8 beside the edge, so 10 - 21 saturates at 0.
        assert_eq!(edge[4..8], [10, 0, 121, 100]);
        let mut slope = [10, 20, 30, 40].repeat(3);
        sharpen(g, 0.0, &mut Vec::new(), &mut slope);
        assert_eq!(slope, [10, 20, 30, 40].repeat(3));
    }

    #[test]
    fn a_point_becomes_a_gaussian_and_an_even_image_stays() {
        let g = Geometry { channels: 3, height: 15, width: 17, mean_colour: [0; 3] };
        let blur = Blur { probability: 1.0, sigma: [1.5, 1.5] };
        let mut image = vec![0; g.image_bytes()];
        image[(7 * 17 + 8) * 3 + 1] = 255;
        blur.apply(g, &mut Stream::new(0, 2, 0, 0), &mut Vec::new(), &mut image);
        let at = |x: usize, y: usize, c: usize| image[(y * 17 + x) * 3 + c];
        // 255 / (2 pi 1.5^2) = 18.0 in the middle, times exp(-1/4.5) beside it.
        assert!(at(8, 7, 1).abs_diff(18) <= 1 && at(9, 7, 1).abs_diff(14) <= 1, "{} {}", at(8, 7, 1), at(9, 7, 1));
        assert_eq!((at(7, 7, 1), at(8, 6, 1), at(8, 7, 0)), (at(9, 7, 1), at(8, 8, 1), 0));
        let mut even = vec![77; g.image_bytes()];
        blur.apply(g, &mut Stream::new(0, 2, 0, 0), &mut Vec::new(), &mut even);
        assert_eq!(even, vec![77; g.image_bytes()]);
        let tiny = Geometry { height: 1, width: 1, ..g };
        let wide = Blur { probability: 1.0, sigma: [64.0, 64.0] };
        let mut one = vec![9, 8, 7];
        wide.apply(tiny, &mut Stream::new(0, 2, 0, 0), &mut Vec::new(), &mut one);
        assert_eq!(one, [9, 8, 7]);
    }
}
