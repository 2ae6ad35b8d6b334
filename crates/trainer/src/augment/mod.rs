//! Random changes of training images on the CPU, as plain data.
//!
//! What happens to an image is a pure function of `(seed, epoch, global sample index)`: the caller hands a [`Stream`] keyed
//! by these. So neither the number of threads nor a resumed run changes a pixel.

mod affine;
mod blur;
mod colour;
mod erase;
mod moves;
pub mod preview;
pub(crate) mod random;
mod shift;
mod trivial;
mod view;

pub use affine::Affine;
pub use blur::Blur;
pub(crate) use colour::luma;
pub use colour::{ColourJitter, PcaNoise};
pub use erase::Erase;
pub use view::{Place, Room, Sample, View, shrink};

use crate::data::{DataError, Geometry};
pub(crate) use moves::{Moves, mirror_image};
pub(crate) use shift::reflect;
use wgrad_tensor::philox::{Stream, purpose};

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
/// They apply in the order of the fields: view, crop, flip, translate, affine, trivial, colour, components, grayscale, blur,
/// erase, cutout.
///
/// ```
/// use wgrad_trainer::augment::{Augment, Border};
/// // ResNet-9 in 24 epochs on CIFAR-10 (cifar10-fast): crop, flip, cutout of 8 pixels.
/// let augment = Augment::none().pad_crop(4, Border::Reflect).flip().cutout(8);
/// assert!(augment.flip && !augment.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Which part of an image is seen. If not given, images of the data set's size pass as they are, and of others the middle
    /// is seen ([`View::CENTRE`]).
    pub view: Option<View>,
    /// Pixels of padding on each side, and what stands there, before a crop of the original size at a random place.
    pub pad_crop: Option<(usize, Border)>,
    /// Mirror left and right with probability 1/2.
    pub flip: bool,
    /// Mirror left and right in every other epoch, after all other changes.
    pub flip_alternating: bool,
    /// Largest shift in pixels along each axis; what comes in has the mean colour.
    pub translate: usize,
    /// Rotation, shear, stretch and scale.
    pub affine: Option<Affine>,
    /// One of 14 changes at random strength: TrivialAugment, arXiv:2103.10158.
    pub trivial: bool,
    /// Brightness, contrast, saturation, hue.
    pub colour: Option<ColourJitter>,
    /// Noise along the principal components of the data set's colours.
    pub pca: Option<PcaNoise>,
    /// Part of the images that loses its colours, 0 to 1.
    pub grayscale: f32,
    /// Gaussian blur of some images.
    pub blur: Option<Blur>,
    /// A rectangle of the mean colour in some images.
    pub erase: Option<Erase>,
    /// Side of a square that gets the mean colour, in pixels.
    pub cutout: usize,
}

impl Augment {
    /// No change.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Sees this part of an image.
    #[must_use]
    pub fn view(mut self, view: View) -> Self {
        self.view = Some(view);
        self
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

    /// Mirrors each image left and right in every other epoch; which one is first is even odds for each image. So two epochs show every
    /// image and its mirror image once (Jordan, arXiv:2404.00498, "alternating flip").
    #[must_use]
    pub fn flip_alternating(mut self) -> Self {
        self.flip_alternating = true;
        self
    }

    /// Whether image `index` is mirrored in `epoch` by [`Augment::flip_alternating`].
    #[must_use]
    pub fn mirrors(&self, seed: u64, epoch: u32, index: u32) -> bool {
        self.flip_alternating && (Stream::new(seed, purpose::FLIP, 0, index).next_u32() ^ epoch) & 1 == 1
    }

    /// Shifts by a whole number of pixels of `-max..=max`, on each axis on its own. What comes in has the mean colour, and so
    /// is 0 after normalisation, like the padding of a convolution (a crop from zero padding brings in black).
    #[must_use]
    pub fn translate(mut self, max: usize) -> Self {
        self.translate = max;
        self
    }

    /// Rotates, shears, stretches and scales.
    #[must_use]
    pub fn affine(mut self, affine: Affine) -> Self {
        self.affine = Some(affine);
        self
    }

    /// One of 14 changes at random strength for each image (TrivialAugment).
    #[must_use]
    pub fn trivial(mut self) -> Self {
        self.trivial = true;
        self
    }

    /// Changes brightness, contrast, saturation and hue.
    #[must_use]
    pub fn colour(mut self, colour: ColourJitter) -> Self {
        self.colour = Some(colour);
        self
    }

    /// Adds noise along the principal components of the data set's colours.
    #[must_use]
    pub fn pca(mut self, pca: PcaNoise) -> Self {
        self.pca = Some(pca);
        self
    }

    /// Takes the colours from this part of the images (luma of ITU-R 601 in all channels).
    #[must_use]
    pub fn grayscale(mut self, probability: f32) -> Self {
        self.grayscale = probability;
        self
    }

    /// Blurs some images.
    #[must_use]
    pub fn blur(mut self, blur: Blur) -> Self {
        self.blur = Some(blur);
        self
    }

    /// Gives a rectangle of some images the mean colour.
    #[must_use]
    pub fn erase(mut self, erase: Erase) -> Self {
        self.erase = Some(erase);
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

    /// The name of the first setting with a number out of its range, if there is one.
    #[must_use]
    pub fn wrong_setting(&self) -> Option<&'static str> {
        let settings = [
            ("view", self.view.is_none_or(|view| view.is_valid())),
            ("affine", self.affine.is_none_or(|affine| affine.is_valid())),
            ("colour", self.colour.is_none_or(|colour| colour.is_valid())),
            ("pca", self.pca.is_none_or(|pca| pca.is_valid())),
            ("grayscale", (0.0..=1.0).contains(&self.grayscale)),
            ("blur", self.blur.is_none_or(|blur| blur.is_valid())),
            ("erase", self.erase.is_none_or(|erase| erase.is_valid())),
            // A random flip before it would make it one.
            ("flip_alternating", !(self.flip && self.flip_alternating)),
        ];
        settings.into_iter().find(|(_, valid)| !valid).map(|(name, _)| name)
    }

    /// Writes the changed `sample` (but for [`Augment::flip_alternating`], which depends on the epoch) to `out`, of shape
    /// `[height, width, channels]`; `room` is memory that a caller keeps from one image to the next. The random numbers come from
    /// `rng` alone.
    ///
    /// # Errors
    /// A sample whose size and pixels disagree.
    ///
    /// # Panics
    /// If `out` has not `geometry.image_bytes()` bytes, as slice indexing does.
    pub fn apply(
        &self,
        sample: Sample<'_>,
        geometry: Geometry,
        rng: &mut Stream,
        room: &mut Room,
        out: &mut [u8],
    ) -> Result<(), DataError> {
        let channels = geometry.channels;
        self.cut(sample, geometry, rng, room, out)?;
        let mut moves = Moves::draw(self, rng);
        moves.shift(geometry, room, out);
        if let Some(affine) = &self.affine {
            let map = affine.draw(rng);
            let scratch = &mut room.scratch;
            scratch.clear();
            scratch.extend_from_slice(out);
            affine::warp(scratch, geometry, map, out);
        }
        if self.trivial {
            trivial::apply(geometry, rng, &mut room.scratch, out);
        }
        if let Some(colour) = &self.colour {
            colour.apply(channels, rng, out);
        }
        if let Some(pca) = &self.pca {
            pca.apply(channels, rng, out);
        }
        if self.grayscale > 0.0 && rng.chance(self.grayscale) {
            colour::saturate(out, channels, 0.0);
        }
        if let Some(blur) = &self.blur {
            blur.apply(geometry, rng, &mut room.scratch, out);
        }
        if let Some(erase) = &self.erase {
            erase.apply(geometry, rng, out);
        }
        moves.draw_cutout(self, geometry, rng);
        moves.hide(geometry, out);
        Ok(())
    }

    /// Whether all that is left to do after the view is to move whole pixels: crop, flips, translation and cutout, which a
    /// device can do ([`LoaderOptions::device_moves`](crate::LoaderOptions::device_moves)).
    #[must_use]
    pub fn only_moves(&self) -> bool {
        let Augment { view, pad_crop, flip, flip_alternating, translate, cutout, .. } = *self;
        *self == Augment { view, pad_crop, flip, flip_alternating, translate, cutout, ..Augment::none() }
    }

    /// Of an augmentation with [`Augment::only_moves`]: writes the view to `out`, and says what is left to do. The random numbers
    /// are those of [`Augment::apply`], in the same order.
    pub(crate) fn see(
        &self,
        sample: Sample<'_>,
        geometry: Geometry,
        rng: &mut Stream,
        room: &mut Room,
        out: &mut [u8],
    ) -> Result<Moves, DataError> {
        self.cut(sample, geometry, rng, room, out)?;
        let mut moves = Moves::draw(self, rng);
        moves.draw_cutout(self, geometry, rng);
        Ok(moves)
    }

    /// Writes the part of the sample that is seen to `out`.
    fn cut(
        &self,
        sample: Sample<'_>,
        geometry: Geometry,
        rng: &mut Stream,
        room: &mut Room,
        out: &mut [u8],
    ) -> Result<(), DataError> {
        let Geometry { height, width, .. } = geometry;
        let fits = (sample.height, sample.width, sample.pixels.len()) == (height, width, out.len());
        match (self.view, fits) {
            (None, true) => out.copy_from_slice(sample.pixels),
            (view, _) => view::cut(&view.unwrap_or(View::CENTRE), sample, geometry, rng, room, out)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
