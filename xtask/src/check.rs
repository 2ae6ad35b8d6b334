//! `cargo xtask test`, `ci` and `demo`: rows of steps.

use anyhow::Result;

use crate::run::{Steps, cargo, example, steps};
use crate::{setup, shaders, tidy};

/// Sets up, builds the examples and runs every test.
pub(crate) fn test() -> Result<()> {
    steps(test_steps)
}

fn test_steps(steps: &mut Steps) -> Result<()> {
    steps.step("setup", || setup::setup(setup::has_adapter))?;
    steps.step("examples", || cargo(&["build", "--release", "--examples"], &[]))?;
    steps.step("custom kernel", || example("custom_kernel", &[]))?;
    steps.step("test", || cargo(&["test", "--release", "--workspace"], &[]))
}

/// Everything that has to pass before a change goes in.
pub(crate) fn ci(no_test: bool) -> Result<()> {
    steps(|steps| {
        steps.step("fmt", || cargo(&["fmt", "--all", "--check"], &[]))?;
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
