//! Random erasing.

use super::random::uniform;
use super::shift::paint;
use crate::data::Geometry;
use wgrad_tensor::philox::Stream;

/// Gives a random rectangle of some images the mean colour: Zhong et al., "Random erasing data augmentation", arXiv:1708.04896.
/// The area is an even part of the image's, the logarithm of height to width is even; after ten tries that do not fit, nothing.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// Part of the images that it happens to, 0 to 1.
    pub probability: f32,
    /// Least and largest part of the area; `[0.02, 0.33]` in torchvision.
    pub area: [f32; 2],
    /// Least and largest ratio of height to width; `[0.3, 3.3]`.
    pub ratio: [f32; 2],
}

impl Erase {
    /// The settings of torchvision's `RandomErasing`.
    pub const DEFAULT: Erase = Erase { probability: 0.5, area: [0.02, 0.33], ratio: [0.3, 3.3] };

    pub(super) fn is_valid(&self) -> bool {
        let rising = |[a, b]: [f32; 2]| a > 0.0 && a <= b && b.is_finite();
        (0.0..=1.0).contains(&self.probability) && rising(self.area) && self.area[1] <= 1.0 && rising(self.ratio)
    }

    pub(super) fn apply(&self, g: Geometry, rng: &mut Stream, image: &mut [u8]) {
        if !rng.chance(self.probability) {
            return;
        }
        for _ in 0..10 {
            let pixels = (g.width * g.height) as f32 * uniform(self.area[0], self.area[1], rng);
            let ratio = libm::expf(uniform(libm::logf(self.ratio[0]), libm::logf(self.ratio[1]), rng));
            let (h, w) = ((pixels * ratio).sqrt().round() as usize, (pixels / ratio).sqrt().round() as usize);
            if h >= 1 && w >= 1 && h < g.height && w < g.width {
                let y = rng.below((g.height - h) as u32 + 1) as usize;
                let x = rng.below((g.width - w) as u32 + 1) as usize;
                for row in image.chunks_exact_mut(g.width * g.channels).skip(y).take(h) {
                    paint(&mut row[x * g.channels..(x + w) * g.channels], &g.mean_colour[..g.channels]);
                }
                return;
            }
        }
    }
}
