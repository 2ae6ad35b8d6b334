//! With which numbers a run computes: storage, rounding, loss scale, emulated fixed point; presets by name.

use crate::error::TrainError;
use wgrad_tensor::ops::loss_scale::LossScale;
use wgrad_tensor::ops::quantize::{DynamicRule, FixedPoint};
use wgrad_tensor::passes::quantize::{Grid, NumberFormat};
use wgrad_tensor::{Rounding, Storage, StoragePolicy};

/// The numbers of a run. Products and sums are f32 in all of them; so are batch statistics, losses and velocities.
///
/// | preset | weights | feature maps and their gradients | loss scale |
/// |---|---|---|---|
/// | `f32` | f32 | f32 | – |
/// | `mixed-f16` | f32 | f16 | dynamic |
/// | `mixed-bf16` | f32 | bf16 | – |
/// | `f16-sr`, `f16-nearest` | f16, updates rounded stochastically or to nearest, no copy in f32 | f16 | dynamic |
/// | `bf16-sr`, `bf16-nearest` | bf16, likewise | bf16 | – |
/// | `fixed16-sr`, `fixed16-nearest` | <2,14> emulated | <8,8>, gradients <2,14> (Gupta et al., arXiv:1502.02551) | – |
/// | `dynamic10-sr`, `dynamic10-nearest` | 12 bits, moving range, emulated | 10 bits, moving ranges (Courbariaux et al., arXiv:1412.7024) | – |
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Precision {
    /// How weights are stored between steps; 16 bits keep no other copy.
    pub weights: Storage,
    /// What plans store in 16 bits, and how they round.
    pub storage: StoragePolicy,
    /// Scales the loss so that small gradients survive in f16.
    pub loss_scale: Option<LossScale>,
    /// Emulates fixed-point numbers.
    pub format: Option<NumberFormat>,
}

/// Names of the presets.
pub const NAMES: [&str; 11] = [
    "f32",
    "mixed-f16",
    "mixed-bf16",
    "f16-sr",
    "f16-nearest",
    "bf16-sr",
    "bf16-nearest",
    "fixed16-sr",
    "fixed16-nearest",
    "dynamic10-sr",
    "dynamic10-nearest",
];

impl Precision {
    /// A preset.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Precision> {
        let name = NAMES.into_iter().find(|known| *known == name)?;
        let rounding = if name.ends_with("-sr") { Rounding::Stochastic } else { Rounding::Nearest };
        let (kind, _) = name.split_once('-').unwrap_or((name, ""));
        let fixed = |integer_bits, fraction_bits| Grid::Fixed(FixedPoint { integer_bits, fraction_bits });
        let dynamic = |bits| Grid::Dynamic(DynamicRule { bits, max_overflow: 1e-4, interval: 1 });
        let precision = match kind {
            "mixed" => Precision::mixed(if name == "mixed-f16" { Storage::F16 } else { Storage::Bf16 }),
            "f16" => Precision::pure(Storage::F16, rounding),
            "bf16" => Precision::pure(Storage::Bf16, rounding),
            "fixed16" => {
                let (weights, activations, gradients) = (fixed(2, 14), fixed(8, 8), fixed(2, 14));
                let format = Some(NumberFormat { weights, activations, gradients, rounding });
                Precision { format, ..Precision::default() }
            }
            "dynamic10" => {
                let (weights, activations, gradients) = (dynamic(12), dynamic(10), dynamic(10));
                let format = Some(NumberFormat { weights, activations, gradients, rounding });
                Precision { format, ..Precision::default() }
            }
            _ => Precision::default(),
        };
        Some(precision)
    }

    /// Feature maps and their gradients in 16 bits, rounded to nearest; weights in f32. f16 comes with a dynamic loss scale,
    /// bf16 has the range of f32 and needs none.
    #[must_use]
    pub fn mixed(activations: Storage) -> Precision {
        let storage = StoragePolicy { activations, ..StoragePolicy::default() };
        let loss_scale = (activations == Storage::F16).then(LossScale::default);
        Precision { storage, loss_scale, ..Precision::default() }
    }

    /// Weights too in 16 bits, with this rounding of their updates and no copy in f32.
    #[must_use]
    pub fn pure(weights: Storage, weight_rounding: Rounding) -> Precision {
        let mixed = Precision::mixed(weights);
        Precision { weights, storage: StoragePolicy { weight_rounding, ..mixed.storage }, ..mixed }
    }

    /// Name of the preset, or `custom`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES.into_iter().find(|name| Precision::by_name(name).as_ref() == Some(self)).unwrap_or("custom")
    }

    /// What an evaluation stores: nothing random.
    pub(crate) fn for_evaluation(&self) -> StoragePolicy {
        StoragePolicy { activations: self.storage.activations, ..StoragePolicy::default() }
    }
}

impl std::str::FromStr for Precision {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Precision, TrainError> {
        let wanted = || format!("one of {}", NAMES.join(", "));
        Precision::by_name(name).ok_or_else(|| TrainError::setting("precision", wanted(), name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_what_their_names_say() {
        for name in NAMES {
            let precision: Precision = name.parse().expect("a preset");
            assert_eq!(precision.name(), name);
            assert_eq!(precision.storage.is_stochastic(), name == "f16-sr" || name == "bf16-sr", "{name}");
            assert_eq!(precision.format.is_some(), name.contains("10") || name.contains("fixed"), "{name}");
        }
        let error = "fp8".parse::<Precision>().expect_err("no preset").to_string();
        assert!(error.contains("mixed-f16") && error.contains("fp8"), "{error}");
    }

    #[test]
    fn evaluations_draw_nothing() {
        for name in NAMES {
            let precision: Precision = name.parse().expect("a preset");
            assert!(!precision.for_evaluation().is_stochastic(), "{name}");
        }
    }
}
