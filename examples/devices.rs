//! Lists the adapters of this machine with what they offer: `cargo run --release --example devices`.
//!
//! The number or any part of a name is what `--adapter` takes.

#[path = "common/args.rs"]
mod args;

use args::say;
use std::process::ExitCode;
use wgrad::tensor::error::mib;

fn main() -> ExitCode {
    args::finish(run())
}

fn run() -> anyhow::Result<()> {
    let adapters = wgrad::tensor::adapters();
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
        wgrad::tensor::Device::open(&wgrad::tensor::DeviceOptions::default())?;
    }
    Ok(())
}
