//! `cargo xtask bench report`: one text about this adapter, to paste into an issue.

use super::item::Item;
use super::nets::{self, NetArgs};
use super::row::Row;
use super::{Bench, conv, gemm};
use anyhow::Result;
use std::fmt::Write;
use wgrad::tensor::error::mib;
use wgrad::tensor::{AdapterInfo, DeviceOptions, ops::Target};
use wgrad::trainer::Precision;

/// What the report times, by the beginning of its name, on a batch of 8: few enough for a report in a moment.
const CHOSEN: [&str; 7] = [
    "gemm 1024x1024x1024",
    "gemm 4096x4096x4096",
    "resnet20.layer1 forward",
    "resnet20.layer3 ",
    "alexnet.conv2 forward",
    "alexnet.conv3 forward",
    "resnet50.layer1.1x1 forward",
];

/// The device in words, then peaks, products, convolutions and the step of ResNet-20.
pub(super) fn run(bench: &Bench, options: &DeviceOptions) -> Result<Vec<Row>> {
    let target = bench.device.target();
    let mut items = gemm::items(bench.device.info().is_software);
    items.extend(conv::items(&target, 8)?);
    let mut rows = Vec::new();
    for item in items.iter().filter(|item| is_chosen(item)) {
        rows.push(item.run(bench));
        bench.show(&rows[rows.len() - 1]);
    }
    let names = vec!["resnet20".to_string()];
    let args = NetArgs {
        names,
        size: None,
        steps: 10,
        precision: Precision::default(),
        inference: false,
        keep: None,
        memory: None,
        submissions: 1,
        overlap: false,
    };
    rows.extend(nets::run(bench, options, Some(32), &args));
    Ok(rows)
}

fn is_chosen(item: &Item) -> bool {
    CHOSEN.iter().any(|name| item.name.starts_with(name))
}

/// Everything about the device that explains a figure or a failure.
pub(super) fn device(info: &AdapterInfo, target: &Target) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<16}{value}"); // Writing to a string cannot fail.
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    line(
        "wgrad",
        &format!("{}, {} {}, {cores} cores", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH),
    );
    line("adapter", &format!("{} ({}, {})", info.name, info.kind, info.backend));
    line("driver", &info.driver);
    line("features", &info.features.join(", "));
    line("subgroups", &format!("{} to {} lanes", info.subgroup_min_size, info.subgroup_max_size));
    line(
        "limits",
        &format!(
            "binding {}, buffer {}, workgroup memory {} bytes, {} invocations, {} groups",
            mib(info.max_binding_bytes),
            mib(info.max_buffer_bytes),
            info.workgroup_bytes,
            info.max_invocations,
            target.max_groups
        ),
    );
    line("tier", target.tier.name());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad::tensor::Tier;

    #[test]
    fn the_report_times_a_few_products_and_convolutions() {
        let target = Target { tier: Tier::Cpu, ..Target::default() };
        let mut items = gemm::items(false);
        items.extend(conv::items(&target, 8).unwrap());
        for name in CHOSEN {
            assert!(items.iter().any(|item| item.name.starts_with(name)), "{name}");
        }
        let count = items.iter().filter(|item| is_chosen(item)).count();
        assert!((10..=40).contains(&count), "{count} rows");
    }

    #[test]
    fn the_device_is_described() {
        let info = AdapterInfo {
            index: 0,
            name: "Radeon RX".to_string(),
            backend: "Vulkan".to_string(),
            kind: "DiscreteGpu".to_string(),
            driver: "RADV 24".to_string(),
            is_software: false,
            subgroup_min_size: 32,
            subgroup_max_size: 64,
            features: vec!["f16", "subgroups"],
            max_binding_bytes: 1 << 31,
            max_buffer_bytes: 1 << 31,
            workgroup_bytes: 65_536,
            max_invocations: 1024,
        };
        let text = device(&info, &Target::default());
        for part in [
            "Radeon RX (DiscreteGpu, Vulkan)",
            "RADV 24",
            "f16, subgroups",
            "32 to 64 lanes",
            "2.00 GiB",
            "tier            base",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
