//! Which tiers an adapter can run.

use super::AdapterInfo;
use crate::ops::Tier;

/// What tiers ask of an adapter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    subgroups: bool,
    /// All subgroups are of one known size, of at least four lanes.
    one_subgroup_size: bool,
    f16: bool,
    /// Rows and columns of its cooperative matrices (f16 operands, f32 sums), 0 when it has none of 16 or 8.
    pub(super) cooperative: u32,
    /// Bytes of workgroup memory.
    workgroup_bytes: u32,
}

/// Workgroup memory of the cooperative tiles: operands, and sums on their way to memory.
pub(crate) const COOPERATIVE_BYTES: u32 = 26 << 10;

impl Abilities {
    pub(super) fn of(adapter: &wgpu::Adapter, info: &AdapterInfo) -> Abilities {
        let features = adapter.features();
        let matrices = match features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            true => adapter.cooperative_matrix_properties(),
            false => Vec::new(),
        };
        let has = |size: u32| {
            let (f16, f32) = (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
            matrices.iter().any(|m| [m.m_size, m.n_size, m.k_size] == [size; 3] && m.ab_type == f16 && m.cr_type == f32)
        };
        Abilities {
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            one_subgroup_size: info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size >= 4,
            f16: features.contains(wgpu::Features::SHADER_F16),
            cooperative: [16, 8].into_iter().find(|&size| has(size)).unwrap_or(0),
            workgroup_bytes: info.workgroup_bytes,
        }
    }

    /// What a tier wants and the adapter has not.
    fn missing(&self, tier: Tier) -> Option<&'static str> {
        let subgroups = (!self.subgroups).then_some("subgroups");
        let one_size = (!self.one_subgroup_size).then_some("subgroups of one known size");
        let f16 = (!self.f16).then_some("16-bit floats in shaders");
        let matrices =
            (self.cooperative == 0).then_some("cooperative matrices of 16x16 or 8x8 with f16 operands and f32 sums");
        let memory = (self.workgroup_bytes < COOPERATIVE_BYTES).then_some("26 KiB of workgroup memory");
        match tier {
            Tier::Base => None,
            Tier::Cpu => subgroups.or(one_size),
            Tier::Subgroup => subgroups,
            Tier::F16 => subgroups.or(f16),
            Tier::Coop => subgroups.or(one_size).or(f16).or(matrices).or(memory),
        }
    }

    /// The tier that was asked for, or the one that suits.
    pub(super) fn tier(&self, wanted: Option<Tier>, is_software: bool) -> Result<Tier, String> {
        if let Some(tier) = wanted {
            return match self.missing(tier) {
                None => Ok(tier),
                Some(what) => {
                    let can: Vec<&str> =
                        Tier::ALL.into_iter().filter(|&tier| self.missing(tier).is_none()).map(Tier::name).collect();
                    Err(format!("tier {} needs {what}; this adapter runs tiers {}", tier.name(), can.join(", ")))
                }
            };
        }
        let order =
            if is_software { &[Tier::Cpu, Tier::Base][..] } else { &[Tier::F16, Tier::Subgroup, Tier::Base][..] };
        Ok(order.iter().copied().find(|&tier| self.missing(tier).is_none()).unwrap_or(Tier::Base))
    }
}

/// The features that a tier's kernels use.
pub(super) fn tier_features(tier: Tier) -> wgpu::Features {
    let subgroups = wgpu::Features::SUBGROUP;
    match tier {
        Tier::Base => wgpu::Features::empty(),
        Tier::Cpu | Tier::Subgroup => subgroups,
        Tier::F16 => subgroups | wgpu::Features::SHADER_F16,
        Tier::Coop => subgroups | wgpu::Features::SHADER_F16 | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NVIDIA: Abilities =
        Abilities { subgroups: true, one_subgroup_size: true, f16: true, cooperative: 16, workgroup_bytes: 49_152 };

    #[test]
    fn the_tier_is_the_best_that_is_there_and_cooperative_matrices_are_asked_for() {
        assert_eq!(NVIDIA.tier(None, false), Ok(Tier::F16));
        assert_eq!(NVIDIA.tier(Some(Tier::Coop), false), Ok(Tier::Coop));
        assert_eq!(NVIDIA.tier(None, true), Ok(Tier::Cpu));
        let intel = Abilities { one_subgroup_size: false, cooperative: 0, ..NVIDIA };
        assert_eq!(intel.tier(None, true), Ok(Tier::Base));
        let old = Abilities { subgroups: false, f16: false, ..intel };
        assert_eq!(old.tier(None, false), Ok(Tier::Base));
        assert_eq!(Abilities { f16: false, ..intel }.tier(None, false), Ok(Tier::Subgroup));
    }

    #[test]
    fn a_tier_that_cannot_run_is_refused_with_those_that_can() {
        let metal = Abilities { cooperative: 0, ..NVIDIA };
        let error = metal.tier(Some(Tier::Coop), false).expect_err("no matrices");
        assert!(error.contains("cooperative matrices") && error.contains("base, cpu, subgroup, f16"), "{error}");
        let small = Abilities { workgroup_bytes: 16_384, ..NVIDIA };
        assert!(small.tier(Some(Tier::Coop), false).is_err_and(|error| error.contains("workgroup memory")));
    }
}
