//! Which tiers an adapter can run.

use super::AdapterInfo;
use crate::error::DeviceError;
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
    /// Invocations of a workgroup.
    invocations: u32,
}

/// What the kernels with workgroup tiles take: as much as WebGPU's default limits allow.
const TILE_BYTES: u32 = 16 << 10;
const TILE_INVOCATIONS: u32 = 256;

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
            invocations: info.max_invocations,
        }
    }

    /// What a tier wants and the adapter has not.
    fn missing(&self, tier: Tier) -> Option<String> {
        let ability = |has: bool, what: &str| (!has).then(|| what.to_string());
        let most =
            |has: u32, wanted: u32, what: &str| (has < wanted).then(|| format!("{wanted} {what} (it has {has})"));
        let subgroups = ability(self.subgroups, "subgroups");
        let one_size = ability(self.one_subgroup_size, "subgroups of one known size");
        let f16 = ability(self.f16, "16-bit floats in shaders");
        let has_matrices = self.cooperative > 0;
        let matrices = ability(has_matrices, "cooperative matrices of 16x16 or 8x8 with f16 operands and f32 sums");
        let bytes = |wanted: u32| most(self.workgroup_bytes, wanted, "bytes of workgroup memory");
        let room = bytes(TILE_BYTES).or(most(self.invocations, TILE_INVOCATIONS, "invocations in a workgroup"));
        let memory = bytes(COOPERATIVE_BYTES);
        match tier {
            Tier::Base => room,
            Tier::Cpu => subgroups.or(one_size),
            Tier::Subgroup => subgroups.or(room),
            Tier::F16 => subgroups.or(f16).or(room),
            Tier::Coop => subgroups.or(one_size).or(f16).or(matrices).or(memory).or(room),
        }
    }

    /// The tier that was asked for, or the one that suits.
    ///
    /// # Errors
    /// [`DeviceError::Tier`]; without a wish, when the adapter runs none.
    pub(super) fn tier(&self, wanted: Option<Tier>, info: &AdapterInfo) -> Result<Tier, DeviceError> {
        let usual = match info.is_software {
            true => &[Tier::Cpu, Tier::Base][..],
            false => &[Tier::F16, Tier::Subgroup, Tier::Base][..],
        };
        let tier = wanted.or_else(|| usual.iter().copied().find(|&tier| self.missing(tier).is_none()));
        let tier = tier.unwrap_or(Tier::Base);
        let Some(missing) = self.missing(tier) else { return Ok(tier) };
        let runs: Vec<&str> =
            Tier::ALL.into_iter().filter(|&tier| self.missing(tier).is_none()).map(Tier::name).collect();
        let hint = match runs.is_empty() {
            true => "it runs none: take another adapter".to_string(),
            false => format!("ask for one that it runs: {}", runs.join(", ")),
        };
        Err(DeviceError::Tier { adapter: info.name.clone(), tier: tier.name(), missing, hint })
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

    const NVIDIA: Abilities = Abilities {
        subgroups: true,
        one_subgroup_size: true,
        f16: true,
        cooperative: 16,
        workgroup_bytes: 49_152,
        invocations: 1024,
    };

    fn tier(abilities: Abilities, wanted: Option<Tier>, is_software: bool) -> Result<Tier, DeviceError> {
        abilities.tier(wanted, &AdapterInfo { is_software, ..AdapterInfo::default() })
    }

    #[test]
    fn the_tier_is_the_best_that_is_there_and_cooperative_matrices_are_asked_for() {
        assert_eq!(tier(NVIDIA, None, false).ok(), Some(Tier::F16));
        assert_eq!(tier(NVIDIA, Some(Tier::Coop), false).ok(), Some(Tier::Coop));
        assert_eq!(tier(NVIDIA, None, true).ok(), Some(Tier::Cpu));
        let intel = Abilities { one_subgroup_size: false, cooperative: 0, ..NVIDIA };
        assert_eq!(tier(intel, None, true).ok(), Some(Tier::Base));
        let old = Abilities { subgroups: false, f16: false, ..intel };
        assert_eq!(tier(old, None, false).ok(), Some(Tier::Base));
        assert_eq!(tier(Abilities { f16: false, ..intel }, None, false).ok(), Some(Tier::Subgroup));
    }

    #[test]
    fn a_tier_that_cannot_run_is_refused_with_those_that_can() {
        let metal = Abilities { cooperative: 0, ..NVIDIA };
        let error = tier(metal, Some(Tier::Coop), false).expect_err("no matrices").to_string();
        assert!(error.contains("cooperative matrices") && error.contains("base, cpu, subgroup, f16"), "{error}");
        let small = Abilities { workgroup_bytes: 16_384, ..NVIDIA };
        let error = tier(small, Some(Tier::Coop), false).expect_err("too small").to_string();
        assert!(error.contains("workgroup memory"), "{error}");
    }

    #[test]
    fn an_adapter_without_room_for_the_tiles_is_refused_when_it_is_opened() {
        let narrow = Abilities { invocations: 128, ..NVIDIA };
        assert_eq!(tier(narrow, None, true).ok(), Some(Tier::Cpu), "whose workgroups are one subgroup");
        let error = tier(narrow, None, false).expect_err("too narrow").to_string();
        assert!(
            error.contains("256 invocations in a workgroup (it has 128)") && error.contains("runs: cpu"),
            "{error}"
        );
        let none = Abilities { subgroups: false, workgroup_bytes: 8192, ..NVIDIA };
        let error = tier(none, None, false).expect_err("no memory").to_string();
        assert!(error.contains("16384 bytes of workgroup memory (it has 8192)") && error.contains("none"), "{error}");
    }
}
