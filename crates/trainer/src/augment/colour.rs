//! Changes of colour, pixel by pixel. Grey images know brightness and contrast only.

use super::random::{normal, uniform};
use wgrad_tensor::philox::Stream;

/// Random brightness, contrast, saturation and hue, one after another in random order, as torchvision's `ColorJitter`. The
/// default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColourJitter {
    /// The image times an even factor of `1 - brightness ..= 1 + brightness`, not below 0.
    pub brightness: f32,
    /// The difference from the image's mean grey times such a factor.
    pub contrast: f32,
    /// The difference from each pixel's grey times such a factor.
    pub saturation: f32,
    /// The hue turned by an even part of `-hue ..= hue` of the circle, at most 0.5.
    pub hue: f32,
}

/// Noise along the principal components of a data set's colours: `sum of p_k * alpha_k * lambda_k` is added to every pixel of
/// an image, where pixels run from 0 to 1 and `alpha_k` is normal. Source: Krizhevsky, Sutskever and Hinton, 2012, section 4.1,
/// with sigma 0.1. `cargo xtask data stats` measures the components.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcaNoise {
    /// Deviation of alpha.
    pub sigma: f32,
    /// The variances `lambda_k`.
    pub eigenvalues: [f32; 3],
    /// The directions `p_k`: `eigenvectors[k]` belongs to `eigenvalues[k]`.
    pub eigenvectors: [[f32; 3]; 3],
}

impl ColourJitter {
    pub(super) fn is_valid(&self) -> bool {
        let parts = [self.brightness, self.contrast, self.saturation, self.hue];
        parts.iter().all(|v| v.is_finite() && *v >= 0.0) && self.hue <= 0.5
    }

    pub(super) fn apply(&self, channels: usize, rng: &mut Stream, image: &mut [u8]) {
        let factor = |part: f32, rng: &mut Stream| uniform((1.0 - part).max(0.0), 1.0 + part, rng);
        let (brightness, contrast) = (factor(self.brightness, rng), factor(self.contrast, rng));
        let (saturation, turn) = (factor(self.saturation, rng), uniform(-self.hue, self.hue, rng));
        let mut order = [0, 1, 2, 3];
        for i in (1..4).rev() {
            order.swap(i, rng.below(i as u32 + 1) as usize);
        }
        for which in order {
            match which {
                0 if self.brightness > 0.0 => blend(image, 0.0, brightness),
                1 if self.contrast > 0.0 => blend(image, mean_grey(image, channels), contrast),
                2 if self.saturation > 0.0 => saturate(image, channels, saturation),
                3 if self.hue > 0.0 => turn_hue(image, channels, turn),
                _ => {}
            }
        }
    }
}

impl PcaNoise {
    pub(super) fn is_valid(&self) -> bool {
        let numbers = self.eigenvectors.iter().flatten().chain(&self.eigenvalues).chain([&self.sigma]);
        self.sigma >= 0.0 && numbers.into_iter().all(|v| v.is_finite())
    }

    pub(super) fn apply(&self, channels: usize, rng: &mut Stream, image: &mut [u8]) {
        let mut add = [0.0f32; 3];
        for (value, vector) in self.eigenvalues.iter().zip(self.eigenvectors) {
            let alpha = normal(rng) as f32 * self.sigma;
            add.iter_mut().zip(vector).for_each(|(sum, part)| *sum += 255.0 * alpha * value * part);
        }
        if channels == 3 {
            for pixel in image.chunks_exact_mut(3) {
                pixel.iter_mut().zip(add).for_each(|(v, add)| *v = (f32::from(*v) + add).round() as u8);
            }
        }
    }
}

/// Luma of ITU-R 601, as Pillow's `convert("L")`.
pub(super) fn grey(pixel: &[u8]) -> f32 {
    match pixel {
        [r, g, b] => 0.299 * f32::from(*r) + 0.587 * f32::from(*g) + 0.114 * f32::from(*b),
        _ => pixel.first().map_or(0.0, |&v| v.into()),
    }
}

pub(super) fn mean_grey(image: &[u8], channels: usize) -> f32 {
    let sum: f64 = image.chunks_exact(channels).map(|pixel| f64::from(grey(pixel))).sum();
    (sum / (image.len() / channels).max(1) as f64) as f32
}

/// `value = middle + (value - middle) * factor`; a cast of floats to u8 saturates.
pub(super) fn blend(image: &mut [u8], middle: f32, factor: f32) {
    image.iter_mut().for_each(|v| *v = (middle + (f32::from(*v) - middle) * factor).round() as u8);
}

/// RGB pixels as grey ones: their luma.
pub(crate) fn luma(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3).map(|pixel| grey(pixel).round() as u8).collect()
}

pub(super) fn saturate(image: &mut [u8], channels: usize, factor: f32) {
    if channels == 3 {
        for pixel in image.chunks_exact_mut(3) {
            let grey = grey(pixel);
            blend(pixel, grey, factor);
        }
    }
}

/// Turns the hue by this part of the circle, in the hexagonal colour model (HSV).
fn turn_hue(image: &mut [u8], channels: usize, turn: f32) {
    if channels != 3 {
        return;
    }
    for pixel in image.chunks_exact_mut(3) {
        let [r, g, b] = [0, 1, 2].map(|c| f32::from(pixel[c]));
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let span = most - least;
        if span == 0.0 {
            continue;
        }
        let hue = match most {
            _ if most == r => (g - b) / span,
            _ if most == g => 2.0 + (b - r) / span,
            _ => 4.0 + (r - g) / span,
        };
        let hue = (hue + 6.0 * turn).rem_euclid(6.0);
        // Each channel is the largest value less what its distance on the hexagon takes (Smith, 1978).
        let channel = |at: f32| {
            let k = (at + hue).rem_euclid(6.0);
            (most - span * k.min(4.0 - k).clamp(0.0, 1.0)).round() as u8
        };
        pixel.copy_from_slice(&[channel(5.0), channel(3.0), channel(1.0)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hue_turns_through_the_primary_colours() {
        let turned = |turn: f32| {
            let mut image = vec![200, 50, 50];
            turn_hue(&mut image, 3, turn);
            image
        };
        assert_eq!(turned(0.0), [200, 50, 50]);
        assert_eq!(turned(1.0 / 3.0), [50, 200, 50]);
        assert_eq!(turned(-1.0 / 3.0), [50, 50, 200]);
        assert_eq!(turned(0.5), [50, 200, 200]);
        assert_eq!(turned(1.0 / 6.0), [200, 200, 50]);
    }

    #[test]
    fn factors_have_their_range_and_grey_stays_grey() {
        let jitter = ColourJitter { brightness: 0.4, ..ColourJitter::default() };
        let (mut least, mut most, mut sum) = (255u8, 0, 0u64);
        for i in 0..4000 {
            let mut image = vec![100; 3];
            jitter.apply(3, &mut Stream::new(1, 2, 0, i), &mut image);
            (least, most) = (least.min(image[0]), most.max(image[0]));
            sum += u64::from(image[0]);
        }
        // Even on 60..=140: deviation 23, of the mean 0.37.
        assert!(least == 60 && most == 140 && sum.abs_diff(400_000) < 8_000, "{least} {most} {sum}");
        let all = ColourJitter { brightness: 0.0, contrast: 0.5, saturation: 0.9, hue: 0.5 };
        let mut image = vec![90; 12];
        all.apply(3, &mut Stream::new(1, 2, 0, 0), &mut image);
        assert_eq!(image, vec![90; 12]);
    }

    #[test]
    fn component_noise_lies_along_the_components() {
        let noise =
            PcaNoise { sigma: 0.1, eigenvalues: [0.5, 0.0, 0.0], eigenvectors: [[0.8, 0.6, 0.0], [0.0; 3], [0.0; 3]] };
        let (mut square, n) = (0.0, 4000);
        for i in 0..n {
            let mut image = vec![128; 6];
            noise.apply(3, &mut Stream::new(3, 2, 0, i), &mut image);
            let shift = [0, 1, 2].map(|c| f64::from(image[c]) - 128.0);
            assert!((shift[0] * 0.6 - shift[1] * 0.8).abs() < 1.0 && shift[2] == 0.0 && image[..3] == image[3..]);
            square += (shift[0] / 0.8).powi(2);
        }
        // Deviation 0.1 * 0.5 * 255 = 12.75.
        let deviation = (square / f64::from(n)).sqrt();
        assert!((deviation - 12.75).abs() < 0.6, "{deviation}");
    }
}
