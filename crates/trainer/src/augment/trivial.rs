//! TrivialAugment: one change of random strength for each image.
//!
//! Source: Müller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", arXiv:2103.10158; the wide
//! space of changes and strengths, as torchvision's `TrivialAugmentWide`. Strengths are even on 31 steps, directions even.

use super::affine::{Map, warp};
use super::blur;
use super::colour::{blend, mean_grey, saturate};
use crate::data::Geometry;
use wgrad_tensor::philox::Stream;

const KINDS: u32 = 14;
const STEPS: u32 = 31;

/// Changes `image` by one of the 14 kinds.
pub(super) fn apply(g: Geometry, rng: &mut Stream, scratch: &mut Vec<u8>, image: &mut [u8]) {
    let kind = rng.below(KINDS);
    let strength = rng.below(STEPS) as f32 / (STEPS - 1) as f32;
    let sign = if rng.next_u32() & 1 == 1 { 1.0 } else { -1.0 };
    let mut through = |map: [[f64; 3]; 2], image: &mut [u8]| {
        scratch.clear();
        scratch.extend_from_slice(image);
        warp(scratch, g, Map(map), image);
    };
    let amount = f64::from(strength * sign);
    let factor = 1.0 + 0.99 * strength * sign;
    match kind {
        0 => {}
        1 => through([[1.0, 0.99 * amount, 0.0], [0.0, 1.0, 0.0]], image),
        2 => through([[1.0, 0.0, 0.0], [0.99 * amount, 1.0, 0.0]], image),
        // 32 pixels of 224 or so in the paper; of a smaller image at most a third.
        3 => through([[1.0, 0.0, amount * 32f64.min(g.width as f64 / 3.0)], [0.0, 1.0, 0.0]], image),
        4 => through([[1.0, 0.0, 0.0], [0.0, 1.0, amount * 32f64.min(g.height as f64 / 3.0)]], image),
        5 => {
            let angle = (135.0 * amount).to_radians();
            let (sin, cos) = (libm::sin(angle), libm::cos(angle));
            through([[cos, sin, 0.0], [-sin, cos, 0.0]], image);
        }
        6 => blend(image, 0.0, factor),
        7 => saturate(image, g.channels, factor),
        8 => blend(image, mean_grey(image, g.channels), factor),
        9 => blur::sharpen(g, factor, scratch, image),
        10 => posterize(image, 8 - (strength * 6.0).round() as u32),
        11 => solarize(image, 255.0 * (1.0 - strength)),
        12 => per_channel(image, g.channels, stretched),
        _ => per_channel(image, g.channels, equalized),
    }
}

/// Keeps the upper `bits` of each value.
fn posterize(image: &mut [u8], bits: u32) {
    let mask = (0xff00u32 >> bits.min(8)) as u8;
    image.iter_mut().for_each(|v| *v &= mask);
}

/// Turns values from `threshold` on into their negatives.
fn solarize(image: &mut [u8], threshold: f32) {
    image.iter_mut().filter(|v| f32::from(**v) >= threshold).for_each(|v| *v = 255 - *v);
}

/// Sends every channel through a table that follows from its histogram.
fn per_channel(image: &mut [u8], channels: usize, table: fn(&[u32; 256]) -> [u8; 256]) {
    for c in 0..channels {
        let mut histogram = [0; 256];
        image.iter().skip(c).step_by(channels).for_each(|&v| histogram[usize::from(v)] += 1);
        let table = table(&histogram);
        image.iter_mut().skip(c).step_by(channels).for_each(|v| *v = table[usize::from(*v)]);
    }
}

fn identity() -> [u8; 256] {
    std::array::from_fn(|i| i as u8)
}

/// The darkest value becomes 0 and the brightest 255 (Pillow's `autocontrast`).
fn stretched(histogram: &[u32; 256]) -> [u8; 256] {
    let there = |&i: &usize| histogram[i] > 0;
    match ((0..256).find(there), (0..256).rev().find(there)) {
        (Some(low), Some(high)) if low < high => std::array::from_fn(|i| {
            let part = (i.saturating_sub(low)) as f32 / (high - low) as f32;
            (255.0 * part) as u8
        }),
        _ => identity(),
    }
}

/// Every value becomes its rank (Pillow's `equalize`).
fn equalized(histogram: &[u32; 256]) -> [u8; 256] {
    let last = histogram.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
    let step = (histogram.iter().sum::<u32>() - last) / 255;
    if step == 0 {
        return identity();
    }
    let mut before = step / 2;
    std::array::from_fn(|i| {
        let rank = (before / step).min(255) as u8;
        before += histogram[i];
        rank
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_by_their_definitions() {
        let mut image = vec![0b1010_1111, 255];
        posterize(&mut image, 3);
        assert_eq!(image, [0b1010_0000, 0b1110_0000]);
        posterize(&mut image, 8);
        assert_eq!(image, [0b1010_0000, 0b1110_0000]);
        let mut image = vec![10, 100, 200];
        solarize(&mut image, 100.0);
        assert_eq!(image, [10, 155, 55]);
        let mut image = vec![50, 100, 150];
        per_channel(&mut image, 1, stretched);
        assert_eq!(image, [0, 127, 255]);
        let mut image: Vec<u8> = (0..1024).map(|i| (i / 8 % 64 + 100) as u8).collect();
        per_channel(&mut image, 1, equalized);
        let (least, most) = (image.iter().min(), image.iter().max());
        assert!(least == Some(&0) && most >= Some(&250), "{least:?} {most:?}");
        let mut flat = vec![7; 99];
        per_channel(&mut flat, 3, equalized);
        per_channel(&mut flat, 3, stretched);
        assert_eq!(flat, vec![7; 99]);
    }

    #[test]
    fn every_kind_comes_and_most_change_the_image() {
        let g = Geometry { channels: 3, height: 40, width: 40, mean_colour: [9; 3] };
        let source: Vec<u8> = (0..g.image_bytes()).map(|i| (i * 7 % 200 + 20) as u8).collect();
        let mut seen = std::collections::HashSet::new();
        let mut same = 0;
        for i in 0..2000 {
            let mut image = source.clone();
            apply(g, &mut Stream::new(1, 2, 0, i), &mut Vec::new(), &mut image);
            same += u32::from(image == source);
            seen.insert(image);
        }
        // Of 2000: the identity 143, a strength of 0 in nine others 41, 8 bits 14, a threshold above the brightest pixel 23.
        assert!(same.abs_diff(221) < 60, "{same}");
        // 12 kinds with up to 61 strengths.
        assert!(seen.len() > 300, "{}", seen.len());
    }
}
