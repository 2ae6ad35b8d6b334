//! `cargo xtask devices`: the adapters of this machine, with what matters for training.

use anyhow::Result;
use wgrad::tensor::adapters;

/// Prints one block per adapter.
pub(crate) fn devices() -> Result<()> {
    let all = adapters();
    if all.is_empty() {
        println!("no GPU adapter; `cargo xtask setup` installs the software driver or says what to install");
    }
    for info in all {
        println!("{}: {} ({}, {})", info.index, info.name, info.backend, info.kind);
        println!("   driver      {}", info.driver);
        println!("   features    {}", info.features.join(" "));
        println!("   subgroups   {} to {}", info.subgroup_min_size, info.subgroup_max_size);
        println!(
            "   limits      binding {} MiB, buffer {} MiB, workgroup memory {} KiB, {} invocations",
            info.max_binding_bytes >> 20,
            info.max_buffer_bytes >> 20,
            info.workgroup_bytes >> 10,
            info.max_invocations
        );
    }
    Ok(())
}
