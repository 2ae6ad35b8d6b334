//! Listing adapters and choosing one.

use crate::error::{DeviceError, Error, Result};

/// What an adapter is and offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdapterInfo {
    /// Number in the list of adapters.
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` or `Other`.
    pub kind: String,
    /// Driver name and version.
    pub driver: String,
    /// Whether it computes on the CPU.
    pub is_software: bool,
    /// Smallest subgroup.
    pub subgroup_min_size: u32,
    /// Largest subgroup.
    pub subgroup_max_size: u32,
    /// Names of the features that matter for training.
    pub features: Vec<&'static str>,
    /// Largest storage binding.
    pub max_binding_bytes: u64,
    /// Largest buffer.
    pub max_buffer_bytes: u64,
    /// Workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations per workgroup.
    pub max_invocations: u32,
}

const FEATURES: [(wgpu::Features, &str); 7] = [
    (wgpu::Features::SHADER_F16, "f16"),
    (wgpu::Features::SUBGROUP, "subgroups"),
    (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
    (wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES, "timestamps-in-passes"),
    (wgpu::Features::IMMEDIATES, "immediates"),
    (wgpu::Features::PIPELINE_CACHE, "pipeline-cache"),
    (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative-matrix"),
];

/// Memory of the host that programs may still take, where the system tells (Linux).
pub(super) fn host_memory_bytes() -> Option<u64> {
    available_bytes(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn enumerate() -> Vec<(wgpu::Adapter, AdapterInfo)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // Creation fails with a catchable error while there is still room for others.
    descriptor.memory_budget_thresholds =
        wgpu::MemoryBudgetThresholds { for_resource_creation: Some(95), for_device_loss: None };
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(descriptor);
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let with_info = |(index, adapter): (usize, wgpu::Adapter)| {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let summary = AdapterInfo {
            index,
            name: info.name,
            backend: format!("{:?}", info.backend),
            kind: format!("{:?}", info.device_type),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            is_software: info.device_type == wgpu::DeviceType::Cpu,
            subgroup_min_size: info.subgroup_min_size,
            subgroup_max_size: info.subgroup_max_size,
            features: FEATURES.iter().filter(|(bit, _)| features.contains(*bit)).map(|(_, name)| *name).collect(),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
        };
        (adapter, summary)
    };
    found.into_iter().enumerate().map(with_info).collect()
}

/// All adapters of this machine.
pub fn adapters() -> Vec<AdapterInfo> {
    enumerate().into_iter().map(|(_, info)| info).collect()
}

/// The adapter that `wanted` names, or the most capable kind.
pub(super) fn choose(wanted: Option<&str>) -> Result<(wgpu::Adapter, AdapterInfo)> {
    let all = enumerate();
    let infos: Vec<AdapterInfo> = all.iter().map(|(_, info)| info.clone()).collect();
    let chosen = pick(&infos, wanted)?;
    all.into_iter().nth(chosen).ok_or_else(|| no_adapter(wanted, &infos))
}

/// Position of the adapter that `wanted` names; without a wish, of the most capable kind.
fn pick(infos: &[AdapterInfo], wanted: Option<&str>) -> Result<usize> {
    let found = match wanted {
        // Names contain digits too, so a number is never looked for in names, nor is an empty wish, which all contain.
        Some(wish) if wish.chars().all(|c| c.is_ascii_digit()) => {
            wish.parse::<usize>().ok().filter(|&number| number < infos.len())
        }
        Some(wish) => {
            let wish_lower = wish.to_lowercase();
            infos.iter().position(|info| info.name.to_lowercase().contains(&wish_lower))
        }
        None => {
            let rank = |info: &AdapterInfo| match info.kind.as_str() {
                "DiscreteGpu" => 0,
                "IntegratedGpu" => 1,
                "VirtualGpu" => 2,
                "Cpu" => 3,
                _ => 4,
            };
            (0..infos.len()).min_by_key(|&i| rank(&infos[i]))
        }
    };
    found.ok_or_else(|| no_adapter(wanted, infos))
}

fn no_adapter(wanted: Option<&str>, infos: &[AdapterInfo]) -> Error {
    let list: Vec<String> =
        infos.iter().map(|info| format!("{}: {} ({})", info.index, info.name, info.backend)).collect();
    Error::Device(DeviceError::NoAdapter {
        wanted: wanted.map_or("at all".to_string(), |wish| format!("matches {wish:?}")),
        found: if list.is_empty() { "none".to_string() } else { list.join(", ") },
        hint: if list.is_empty() {
            "Install a GPU driver with Vulkan; without a GPU the software driver \
             (Debian/Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1)"
                .to_string()
        } else {
            "Name one of these by number or by part of its name".to_string()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(index: usize, name: &str, kind: &str) -> AdapterInfo {
        AdapterInfo {
            index,
            name: name.to_string(),
            backend: "Vulkan".to_string(),
            kind: kind.to_string(),
            driver: String::new(),
            is_software: kind == "Cpu",
            subgroup_min_size: 8,
            subgroup_max_size: 8,
            features: Vec::new(),
            max_binding_bytes: 1 << 27,
            max_buffer_bytes: 1 << 28,
            workgroup_bytes: 1 << 14,
            max_invocations: 256,
        }
    }

    #[test]
    fn an_adapter_is_found_by_number_name_or_kind() {
        let all =
            [info(0, "llvmpipe", "Cpu"), info(1, "Radeon RX", "DiscreteGpu"), info(2, "Intel Arc", "IntegratedGpu")];
        assert_eq!(pick(&all, None).ok(), Some(1));
        assert_eq!(pick(&all, Some("2")).ok(), Some(2));
        assert_eq!(pick(&all, Some("RADEON")).ok(), Some(1));
        assert_eq!(pick(&all[..1], None).ok(), Some(0));
    }

    #[test]
    fn the_hosts_memory_is_read() {
        assert_eq!(available_bytes("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available_bytes("MemAvailable: lots"), None);
        assert_eq!(available_bytes(""), None);
    }

    #[test]
    fn a_missing_adapter_is_explained() {
        let all = [info(0, "llvmpipe", "Cpu")];
        let text = pick(&all, Some("voodoo")).map_err(|e| e.to_string()).expect_err("absent");
        assert!(text.contains("voodoo") && text.contains("0: llvmpipe"), "{text}");
        let text = pick(&[], None).map_err(|e| e.to_string()).expect_err("absent");
        assert!(text.contains("mesa-vulkan-drivers"), "{text}");
        assert!(pick(&all, Some("1")).is_err());
        let versioned = [info(0, "llvmpipe (LLVM 15.0.6, 256 bits)", "Cpu")];
        for wish in ["5", "256", ""] {
            assert!(pick(&versioned, Some(wish)).is_err(), "{wish:?}");
        }
        assert_eq!(pick(&versioned, Some("LLVM 15")).ok(), Some(0));
    }
}
