//! Rotation, shear, stretch, scale and shift in one resampling.

use super::random::uniform;
use crate::data::Geometry;
use wgrad_tensor::philox::Stream;

/// A random affine change about the middle of the image; what comes in from outside has the mean colour. The default changes
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Affine {
    /// Largest rotation either way, in degrees.
    pub degrees: f32,
    /// Largest shear either way along each axis, in pixels for each pixel of distance (the tangent of the angle).
    pub shear: f32,
    /// Largest change of the ratio of width to height: with 0.2, from 1/1.2 to 1.2, even in its logarithm, the area kept.
    pub stretch: f32,
    /// Largest change of size: with 0.1, from 1/1.1 to 1.1, even in its logarithm.
    pub scale: f32,
}

/// A map from a place in the result to the place in the source, both relative to the middle: `x' = a x + b y + c` and so on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Map(pub(super) [[f64; 3]; 2]);

impl Affine {
    pub(super) fn is_valid(&self) -> bool {
        [self.degrees, self.shear, self.stretch, self.scale].iter().all(|v| v.is_finite() && *v >= 0.0)
    }

    pub(super) fn draw(&self, rng: &mut Stream) -> Map {
        let either = |most: f32, rng: &mut Stream| f64::from(uniform(-most, most, rng));
        let angle = either(self.degrees, rng).to_radians();
        let (shear_x, shear_y) = (either(self.shear, rng), either(self.shear, rng));
        let factor = |most: f32, rng: &mut Stream| libm::exp(either(libm::log(1.0 + f64::from(most)) as f32, rng));
        let (stretch, scale) = (factor(self.stretch, rng).sqrt(), factor(self.scale, rng));
        let (sin, cos) = (libm::sin(angle), libm::cos(angle));
        let turn = [[cos, sin], [-sin, cos]];
        let shear = [[1.0, shear_x], [shear_y, 1.0]];
        let size = [[1.0 / (scale * stretch), 0.0], [0.0, stretch / scale]];
        let product =
            |a: [[f64; 2]; 2], b: [[f64; 2]; 2]| [0, 1].map(|i| [0, 1].map(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j]));
        let m = product(product(turn, shear), size);
        Map([[m[0][0], m[0][1], 0.0], [m[1][0], m[1][1], 0.0]])
    }
}

/// Fills `out` with `source` as seen through `map`, between four neighbours linearly.
pub(super) fn warp(source: &[u8], g: Geometry, map: Map, out: &mut [u8]) {
    let (w, h, channels) = (g.width as isize, g.height as isize, g.channels);
    let (cx, cy) = ((w - 1) as f64 / 2.0, (h - 1) as f64 / 2.0);
    let Map([[a, b, c], [d, e, f]]) = map;
    let fill = g.mean_colour;
    let at = |x: isize, y: isize, channel: usize| -> f32 {
        let inside = (0..w).contains(&x) && (0..h).contains(&y);
        f32::from(if inside { source[(y * w + x) as usize * channels + channel] } else { fill[channel] })
    };
    for (i, pixel) in out.chunks_exact_mut(channels).enumerate() {
        let (x, y) = ((i as isize % w) as f64 - cx, (i as isize / w) as f64 - cy);
        let (sx, sy) = (a * x + b * y + c + cx, d * x + e * y + f + cy);
        let (x0, y0) = (sx.floor(), sy.floor());
        let (fx, fy) = ((sx - x0) as f32, (sy - y0) as f32);
        // A cast saturates: a map to far outside stays there.
        let (x0, y0) = (x0.clamp(-9.0, 1e6) as isize, y0.clamp(-9.0, 1e6) as isize);
        for (channel, value) in pixel.iter_mut().enumerate() {
            let top = at(x0, y0, channel) * (1.0 - fx) + at(x0 + 1, y0, channel) * fx;
            let bottom = at(x0, y0 + 1, channel) * (1.0 - fx) + at(x0 + 1, y0 + 1, channel) * fx;
            *value = (top * (1.0 - fy) + bottom * fy).round() as u8;
        }
    }
}
