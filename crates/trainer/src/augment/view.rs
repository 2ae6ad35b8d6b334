//! Which part of an image of any size a network sees, and how it comes to the network's size.
//!
//! A view is a window into the image, in fractions of a pixel; it is cut and resized in one pass. Resizing is bilinear with
//! the filter widened where the image shrinks (as Pillow, and torchvision with `antialias`). Cutting before resizing differs
//! from resizing before cutting, as papers say it, by less than a pixel of the result, and costs a fraction.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::shift::mirror;
use crate::data::{DataError, Geometry};
use wgrad_tensor::philox::Stream;

/// Part of an image's shorter side that is seen when nothing else is said: 224 of 256.
const SEEN: f64 = 224.0 / 256.0;

/// One image before any change.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Shape `[height, width, channels]`, with the geometry's channels.
    pub pixels: &'a [u8],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Memory that is kept from one image to the next.
#[derive(Debug, Default)]
pub struct Room {
    pub(super) scratch: Vec<u8>,
    resizer: Resizer,
}

/// Where a window of fixed size lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the middle.
    Centre,
    /// At the upper left corner.
    TopLeft,
    /// At the upper right corner.
    TopRight,
    /// At the lower left corner.
    BottomLeft,
    /// At the lower right corner.
    BottomRight,
}

/// The part of an image that is seen, brought to the data set's height and width.
///
/// `shorter` is the length in pixels to which the shorter side is resized before a window of the data set's size is cut; where
/// the window does not fit into that, it is as large as fits. 0 stands for 8/7 of the window (256 for 224).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum View {
    /// All of it; another aspect ratio is stretched.
    Whole,
    /// [`View::Whole`] with left and right changed.
    WholeMirror,
    /// A window at a fixed place, mirrored or not: what evaluation looks at.
    Crop {
        /// Length of the shorter side, in pixels.
        shorter: usize,
        /// Where.
        place: Place,
        /// Whether left and right change places.
        mirror: bool,
    },
    /// A window of random area and aspect ratio at a random place: Szegedy et al., arXiv:1409.4842; torchvision's
    /// `RandomResizedCrop`. The area is an even part of the image's, the logarithm of width to height is even; after ten tries
    /// that do not fit, the largest window in the middle of an allowed ratio.
    RandomResized {
        /// Least and largest part of the area; `[0.08, 1.0]` for ImageNet.
        area: [f32; 2],
        /// Least and largest ratio of width to height; `[3/4, 4/3]`.
        ratio: [f32; 2],
    },
    /// The shorter side is resized to an even random length in pixels, both ends included, and a window is cut at a random
    /// place: VGG, arXiv:1409.1556, `[256, 512]`; He et al., arXiv:1512.03385, `[256, 480]`.
    ScaleJitter {
        /// Least and largest length of the shorter side, in pixels.
        shorter: [usize; 2],
    },
}

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl View {
    /// What evaluation looks at: the shorter side at 8/7 of the network's size, the middle of that.
    pub const CENTRE: View = View::Crop { shorter: 0, place: Place::Centre, mirror: false };

    /// torchvision's `RandomResizedCrop` as it is.
    pub const RANDOM_RESIZED: View = View::RandomResized { area: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] };

    /// The views of ten-crop evaluation (Krizhevsky et al., 2012): four corners and the middle of the image whose shorter side
    /// is `shorter` pixels (0 for 8/7 of the network's), and all of them mirrored. Average the scores:
    /// [`crate::train::evaluate_views`].
    #[must_use]
    pub fn ten_crop(shorter: usize) -> Vec<View> {
        let places = [Place::TopLeft, Place::TopRight, Place::BottomLeft, Place::BottomRight, Place::Centre];
        let crop = |mirror| places.map(|place| View::Crop { shorter, place, mirror });
        [crop(false), crop(true)].concat()
    }

    /// The middle of the image and its mirror image.
    #[must_use]
    pub fn with_mirror(shorter: usize) -> Vec<View> {
        [false, true].map(|mirror| View::Crop { shorter, place: Place::Centre, mirror }).to_vec()
    }

    /// The middle of the image at several sizes, each with its mirror image; `shorter` are lengths of the shorter side.
    #[must_use]
    pub fn multi_scale(shorter: &[usize]) -> Vec<View> {
        shorter.iter().flat_map(|&shorter| View::with_mirror(shorter)).collect()
    }

    /// The same part with left and right changed; none of a random view.
    #[must_use]
    pub fn mirrored(self) -> Option<View> {
        match self {
            View::Whole => Some(View::WholeMirror),
            View::WholeMirror => Some(View::Whole),
            View::Crop { shorter, place, mirror } => Some(View::Crop { shorter, place, mirror: !mirror }),
            View::RandomResized { .. } | View::ScaleJitter { .. } => None,
        }
    }

    /// Whether all numbers are in their ranges.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let rising = |[a, b]: [f32; 2]| a > 0.0 && a <= b && b.is_finite();
        match *self {
            View::Whole | View::WholeMirror | View::Crop { .. } => true,
            View::RandomResized { area, ratio } => rising(area) && area[1] <= 1.0 && rising(ratio),
            View::ScaleJitter { shorter: [a, b] } => a > 0 && a <= b && b <= u16::MAX.into(),
        }
    }

    /// The window of an image of `width` by `height`.
    pub(super) fn window(&self, width: usize, height: usize, g: Geometry, rng: &mut Stream) -> Window {
        let (w, h) = (width as f64, height as f64);
        let fixed = |shorter: usize, fx: f64, fy: f64| {
            let shorter = match shorter {
                0 => (g.width.min(g.height) as f64 / SEEN).round(),
                n => n as f64,
            };
            let scale = w.min(h) / shorter;
            // The largest window of the wanted shape that fits.
            let fit = (g.width as f64 * scale / w).max(g.height as f64 * scale / h).max(1.0);
            let (ww, wh) = ((g.width as f64 * scale / fit).min(w), (g.height as f64 * scale / fit).min(h));
            Window { left: (w - ww) * fx, top: (h - wh) * fy, width: ww, height: wh }
        };
        match *self {
            View::Whole | View::WholeMirror => Window { left: 0.0, top: 0.0, width: w, height: h },
            View::Crop { shorter, place, .. } => {
                let (x, y) = match place {
                    Place::Centre => (0.5, 0.5),
                    Place::TopLeft => (0.0, 0.0),
                    Place::TopRight => (1.0, 0.0),
                    Place::BottomLeft => (0.0, 1.0),
                    Place::BottomRight => (1.0, 1.0),
                };
                fixed(shorter, x, y)
            }
            View::ScaleJitter { shorter: [a, b] } => {
                let shorter = a + rng.below((b.saturating_sub(a) as u32).saturating_add(1)) as usize;
                let (x, y) = (f64::from(rng.unit_f32()), f64::from(rng.unit_f32()));
                fixed(shorter.max(1), x, y)
            }
            View::RandomResized { area, ratio } => random_resized(width, height, area, ratio, rng),
        }
    }

    fn mirrors(&self) -> bool {
        matches!(self, View::WholeMirror | View::Crop { mirror: true, .. })
    }
}

fn random_resized(width: usize, height: usize, area: [f32; 2], ratio: [f32; 2], rng: &mut Stream) -> Window {
    let (w, h) = (width as f64, height as f64);
    let between = |[a, b]: [f64; 2], rng: &mut Stream| a + (b - a) * f64::from(rng.unit_f32());
    let area = area.map(f64::from);
    let ratio = ratio.map(f64::from);
    for _ in 0..10 {
        let pixels = w * h * between(area, rng);
        // libm's: the same bits on every platform.
        let r = libm::exp(between(ratio.map(libm::log), rng));
        let (ww, wh) = ((pixels * r).sqrt().round(), (pixels / r).sqrt().round());
        if ww >= 1.0 && wh >= 1.0 && ww <= w && wh <= h {
            let left = f64::from(rng.below((w - ww) as u32 + 1));
            let top = f64::from(rng.below((h - wh) as u32 + 1));
            return Window { left, top, width: ww, height: wh };
        }
    }
    let (ww, wh) = match w / h {
        r if r < ratio[0] => (w, (w / ratio[0]).round().clamp(1.0, h)),
        r if r > ratio[1] => ((h * ratio[1]).round().clamp(1.0, w), h),
        _ => (w, h),
    };
    Window { left: ((w - ww) / 2.0).floor(), top: ((h - wh) / 2.0).floor(), width: ww, height: wh }
}

/// Brings what `view` shows of `sample` into `out`, of shape `[g.height, g.width, g.channels]`.
pub(super) fn cut(
    view: &View,
    sample: Sample<'_>,
    g: Geometry,
    rng: &mut Stream,
    resizer: &mut Room,
    out: &mut [u8],
) -> Result<(), DataError> {
    let window = view.window(sample.width, sample.height, g, rng);
    resize(sample, window, g, &mut resizer.resizer, out)?;
    if view.mirrors() {
        out.chunks_exact_mut(g.width * g.channels).for_each(|row| mirror(row, g.channels));
    }
    Ok(())
}

fn resize(s: Sample<'_>, window: Window, g: Geometry, resizer: &mut Resizer, out: &mut [u8]) -> Result<(), DataError> {
    let whole = Window { left: 0.0, top: 0.0, width: s.width as f64, height: s.height as f64 };
    if window == whole && (s.width, s.height) == (g.width, g.height) && s.pixels.len() == out.len() {
        out.copy_from_slice(s.pixels);
        return Ok(());
    }
    let kind = if g.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let failed = |message: String| DataError::Undecodable {
        origin: format!("resizing {}x{} to {}x{}", s.width, s.height, g.width, g.height),
        message,
    };
    let source = ImageRef::new(s.width as u32, s.height as u32, s.pixels, kind).map_err(|e| failed(e.to_string()))?;
    let mut target =
        Image::from_slice_u8(g.width as u32, g.height as u32, out, kind).map_err(|e| failed(e.to_string()))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false).crop(
        window.left,
        window.top,
        window.width,
        window.height,
    );
    resizer.resize(&source, &mut target, &options).map_err(|e| failed(e.to_string()))
}

/// `picture` with its shorter side resized to `shorter` pixels, unless it is that short already.
///
/// # Errors
/// A picture whose size and pixels disagree.
pub fn shrink(picture: crate::data::Picture, shorter: usize) -> Result<crate::data::Picture, DataError> {
    let (w, h) = (picture.width, picture.height);
    if shorter == 0 || w.min(h) <= shorter {
        return Ok(picture);
    }
    let scaled = |n: usize| ((n as f64 * shorter as f64 / w.min(h) as f64).round() as usize).max(1);
    let g = Geometry { channels: 3, height: scaled(h), width: scaled(w), mean_colour: [0; 3] };
    let mut pixels = vec![0; g.image_bytes()];
    let window = Window { left: 0.0, top: 0.0, width: w as f64, height: h as f64 };
    let sample = Sample { pixels: &picture.pixels, height: h, width: w };
    resize(sample, window, g, &mut Resizer::new(), &mut pixels)?;
    Ok(crate::data::Picture { width: g.width, height: g.height, pixels })
}
