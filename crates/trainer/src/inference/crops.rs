//! Which views of an image are averaged.

use crate::augment::{Place, View};
use crate::model_card::Preprocessing;
use std::fmt;
use std::str::FromStr;

/// Sets of views by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crops {
    /// What the model's file says: the view of its training run's tests, or of the network's published figures.
    #[default]
    Model,
    /// The middle of the image.
    Centre,
    /// All of the image; another aspect ratio is stretched.
    Whole,
    /// The model's view and its mirror image.
    Flip,
    /// Four corners and the middle, and their mirror images.
    Ten,
    /// The middle at three sizes, and their mirror images.
    Scales,
}

impl Crops {
    /// All names, as [`Crops::from_str`] takes them.
    pub const NAMES: [&str; 6] = ["model", "centre", "whole", "flip", "ten", "scales"];

    const ALL: [Crops; 6] = [Crops::Model, Crops::Centre, Crops::Whole, Crops::Flip, Crops::Ten, Crops::Scales];

    /// The views of images that become `input`. `shorter` is the length in pixels to which the shorter side is resized before windows
    /// are cut, for [`Crops::Centre`] and [`Crops::Ten`]; 0 for 8/7 of the network's size. [`Crops::Scales`] takes that size itself,
    /// 8/7 and 9/7 of it (224, 256 and 288 for 224).
    #[must_use]
    pub fn views(self, input: &Preprocessing, shorter: usize) -> Vec<Option<View>> {
        let centre = View::Crop { shorter, place: Place::Centre, mirror: false };
        let views = match self {
            Crops::Model => return vec![input.view],
            Crops::Centre => vec![centre],
            Crops::Whole => vec![View::Whole],
            Crops::Flip => {
                let view = input.view.unwrap_or(View::Whole);
                [Some(view), view.mirrored()].into_iter().flatten().collect()
            }
            Crops::Ten => View::ten_crop(shorter),
            Crops::Scales => {
                let side = input.height.min(input.width);
                View::multi_scale(&[side, (side * 8).div_ceil(7), (side * 9).div_ceil(7)])
            }
        };
        views.into_iter().map(Some).collect()
    }
}

impl fmt::Display for Crops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Crops::ALL.iter().position(|crops| crops == self).unwrap_or(0);
        f.write_str(Crops::NAMES[at])
    }
}

/// A name that is none of [`Crops::NAMES`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wanted one of {names}, got {0:?}", names = Crops::NAMES.join(", "))]
pub struct UnknownCrops(String);

impl FromStr for Crops {
    type Err = UnknownCrops;

    fn from_str(name: &str) -> Result<Crops, UnknownCrops> {
        let at = Crops::NAMES.iter().position(|known| *known == name);
        at.map(|at| Crops::ALL[at]).ok_or_else(|| UnknownCrops(name.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_views() {
        let input = Preprocessing::imagenet(224);
        let count = |crops: &str| crops.parse::<Crops>().expect("known").views(&input, 0).len();
        assert_eq!(Crops::NAMES.map(count), [1, 1, 1, 2, 10, 6]);
        for name in Crops::NAMES {
            assert_eq!(name.parse::<Crops>().expect("known").to_string(), name);
        }
        assert!("nine".parse::<Crops>().is_err());
        let all = Preprocessing { view: None, ..input.clone() };
        assert_eq!(Crops::Model.views(&all, 9), [None]);
        assert_eq!(Crops::Flip.views(&all, 9), [Some(View::Whole), Some(View::WholeMirror)]);
        let scales: Vec<usize> = Crops::Scales
            .views(&input, 0)
            .into_iter()
            .filter_map(|view| match view {
                Some(View::Crop { shorter, mirror: false, .. }) => Some(shorter),
                _ => None,
            })
            .collect();
        assert_eq!(scales, [224, 256, 288]);
    }
}
