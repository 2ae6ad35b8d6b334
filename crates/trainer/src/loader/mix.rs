//! Mixing the images of a batch with each other.

use super::Batch;
use crate::augment::random::beta;
use crate::data::Geometry;
use wgrad_tensor::philox::{Stream, purpose};

/// How the images of a batch are mixed. Each is mixed with the next one of the batch, whose order is random, by a share that is
/// drawn once for the batch from the beta distribution with both parameters `alpha`: a pure function of seed and step.
///
/// A mixed batch has two labels for each image: train on [`Batch::soft_targets`] with a loss that takes them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mix {
    /// `share * x + (1 - share) * partner`, pixel by pixel: Zhang et al., arXiv:1710.09412, alpha 0.2 for ImageNet.
    MixUp {
        /// Above 0, at most 100.
        alpha: f32,
    },
    /// A rectangle of the partner's pixels, of the image's shape and `1 - share` of its area, at a random place, cut off at the
    /// rim; the share is then that of the pixels left: Yun et al., arXiv:1905.04899, alpha 1.
    CutMix {
        /// Above 0, at most 100.
        alpha: f32,
    },
    /// One of the two for each batch, with equal odds.
    Either {
        /// Alpha of [`Mix::MixUp`].
        mixup: f32,
        /// Alpha of [`Mix::CutMix`].
        cutmix: f32,
    },
}

impl Mix {
    pub(super) fn is_valid(self) -> bool {
        let valid = |alpha: f32| alpha > 0.0 && alpha <= 100.0;
        match self {
            Mix::MixUp { alpha } | Mix::CutMix { alpha } => valid(alpha),
            Mix::Either { mixup, cutmix } => valid(mixup) && valid(cutmix),
        }
    }

    /// Mixup where nothing was mixed so far; beside cutmix one of the two for each batch.
    pub(crate) fn and_mixup(mix: Option<Mix>, alpha: f32) -> Mix {
        match mix {
            Some(Mix::CutMix { alpha: cutmix } | Mix::Either { cutmix, .. }) => Mix::Either { mixup: alpha, cutmix },
            Some(Mix::MixUp { .. }) | None => Mix::MixUp { alpha },
        }
    }

    /// Cutmix where nothing was mixed so far; beside mixup one of the two for each batch.
    pub(crate) fn and_cutmix(mix: Option<Mix>, alpha: f32) -> Mix {
        match mix {
            Some(Mix::MixUp { alpha: mixup } | Mix::Either { mixup, .. }) => Mix::Either { mixup, cutmix: alpha },
            Some(Mix::CutMix { .. }) | None => Mix::CutMix { alpha },
        }
    }

    /// Mixes the images of `batch` that count.
    pub(super) fn apply(self, g: Geometry, seed: u64, batch: &mut Batch) {
        let mut rng = Stream::new(seed, purpose::MIX, batch.epoch, batch.step_in_epoch);
        let (alpha, cuts) = match self {
            Mix::MixUp { alpha } => (alpha, false),
            Mix::CutMix { alpha } => (alpha, true),
            Mix::Either { mixup, cutmix } => match rng.next_u32() & 1 {
                0 => (mixup, false),
                _ => (cutmix, true),
            },
        };
        let share = beta(alpha.into(), &mut rng);
        let (n, pixels) = (batch.valid, g.width * g.height);
        batch.partner_labels.extend_from_slice(&batch.labels);
        if n > 0 {
            batch.partner_labels[..n].rotate_left(1);
        }
        // The last image is mixed with the first as it was.
        let first = batch.images[..if n > 0 { pixels } else { 0 }].to_vec();
        batch.share = (share * 65_536.0).round() as u32;
        let inside = match cuts {
            false => None,
            true => {
                let side = (1.0 - share).max(0.0).sqrt();
                let mut span = |of: usize| {
                    let half = (side * of as f64 / 2.0).round() as usize;
                    let middle = rng.below(of as u32) as usize;
                    middle.saturating_sub(half)..(middle + half).min(of)
                };
                let (columns, rows) = (span(g.width), span(g.height));
                batch.share = 65_536 - (65_536 * (columns.len() * rows.len()) as u64 / pixels as u64) as u32;
                Some((columns, rows))
            }
        };
        for i in 0..n {
            let (own, rest) = batch.images[i * pixels..].split_at_mut(pixels);
            let partner = if i + 1 < n { &rest[..pixels] } else { &first };
            match &inside {
                None => own.iter_mut().zip(partner).for_each(|(a, b)| *a = blended(*a, *b, batch.share)),
                Some((columns, rows)) => {
                    for y in rows.clone() {
                        let row = y * g.width + columns.start..y * g.width + columns.end;
                        own[row.clone()].copy_from_slice(&partner[row]);
                    }
                }
            }
        }
    }
}

/// Byte by byte, to the nearest.
fn blended(a: u32, b: u32, share: u32) -> u32 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u32::from_le_bytes([0, 1, 2, 3].map(|c| {
        let sum = u64::from(a[c]) * u64::from(share) + u64::from(b[c]) * u64::from(65_536 - share);
        ((sum + 32_768) >> 16) as u8
    }))
}
