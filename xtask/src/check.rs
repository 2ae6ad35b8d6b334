//! `cargo xtask test`, `ci` and `demo`: rows of steps.

use anyhow::{Context, Result};

use crate::run::{Steps, built_example, cargo, example, root, steps};
use crate::{setup, shaders, tidy};

/// Sets up, builds the examples and runs every test.
pub(crate) fn test() -> Result<()> {
    steps(test_steps)
}

fn test_steps(steps: &mut Steps) -> Result<()> {
    steps.step("setup", || setup::setup(setup::has_adapter))?;
    // All of these build the whole workspace: for a part of it cargo would choose fewer features of naga, and build it and
    // everything above it again.
    steps.step("examples", || cargo(&["build", "--release", "--workspace", "--examples"], &[]))?;
    steps.step("custom kernel", || built_example("custom_kernel"))?;
    steps.step("test", || cargo(&["test", "--release", "--workspace"], &[]))?;
    // Mesa's software driver takes its subgroups as wide as it is told to; other drivers do not listen. 8 lanes, its default
    // on most processors, were tested above.
    steps.step("subgroups of 4", || subgroup_test("128"))?;
    steps.step("subgroups of 16", || subgroup_test("512"))
}

fn subgroup_test(vector_bits: &str) -> Result<()> {
    let arguments = ["test", "--release", "--workspace", "--test", "registry", "cpu::kernels"];
    // Without its optimiser, which was tested above, the driver compiles in half to two thirds of the time.
    cargo(&arguments, &[("LP_NATIVE_VECTOR_WIDTH", vector_bits), ("GALLIVM_PERF", "nopt")])
}

/// Whether the formatter would change anything. It does not look into macros for modules, so the operations, which one
/// macro lists, are named to it.
fn format_check() -> Result<()> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("crates/tensor/src/ops")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{}: cannot be listed", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.display().to_string());
            }
        }
    }
    files.sort();
    let arguments = ["fmt", "--all", "--check", "--"].into_iter().chain(files.iter().map(String::as_str));
    cargo(&arguments.collect::<Vec<_>>(), &[])
}

/// Everything that has to pass before a change goes in.
pub(crate) fn ci(no_test: bool) -> Result<()> {
    steps(|steps| {
        steps.step("fmt", format_check)?;
        steps.step("tidy", tidy::tidy)?;
        steps.step("clippy", || {
            cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
        })?;
        steps.step("docs", || {
            cargo(&["doc", "--release", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
        })?;
        steps.step("shaders", shaders::check)?;
        if no_test { Ok(()) } else { test_steps(steps) }
    })
}

/// Sets up and trains on the embedded data; `arguments` go to the example.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    setup::setup(setup::has_adapter)?;
    example("fashion_mnist", arguments)
}
