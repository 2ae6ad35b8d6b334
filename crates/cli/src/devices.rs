//! `wgrad devices`: the adapters of this machine.

use crate::say::say;
use wgrad::tensor::error::mib;
use wgrad::tensor::{Device, DeviceOptions, adapters};

/// Prints them. The number or any part of a name is what `--adapter` takes.
pub(crate) fn run() -> anyhow::Result<()> {
    let adapters = adapters();
    for info in &adapters {
        let kind = if info.is_software { "software" } else { info.kind.as_str() };
        say(format_args!("{}: {} ({}, {kind})", info.index, info.name, info.backend));
        say(format_args!("   driver        {}", info.driver));
        say(format_args!("   subgroups     {} to {} lanes", info.subgroup_min_size, info.subgroup_max_size));
        say(format_args!("   features      {}", info.features.join(", ")));
        say(format_args!("   binding       {} at most", mib(info.max_binding_bytes)));
        say(format_args!("   buffer        {} at most", mib(info.max_buffer_bytes)));
        say(format_args!(
            "   workgroup     {} invocations, {} bytes of memory",
            info.max_invocations, info.workgroup_bytes
        ));
    }
    if adapters.is_empty() {
        // It says what to install.
        Device::open(&DeviceOptions::default())?;
    }
    Ok(())
}
