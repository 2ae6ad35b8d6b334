//! `cargo xtask test`, `ci` and `demo`: rows of steps.

use anyhow::Result;

use crate::run::{Steps, cargo, steps};
use crate::{setup, shaders, tidy};

/// Sets up, builds the examples and runs every test; `slow` includes those that take minutes.
pub(crate) fn test(slow: bool) -> Result<()> {
    steps(|steps| test_steps(steps, slow))
}

fn test_steps(steps: &mut Steps, slow: bool) -> Result<()> {
    steps.step("setup", || setup::setup(setup::has_adapter))?;
    // The tests read this switch; libraries read no environment variables.
    let switch: &[(&str, &str)] = if slow { &[("WGRAD_SLOW", "1")] } else { &[] };
    steps.step("examples", || cargo(&["build", "--release", "--examples"], &[]))?;
    steps.step("test", || cargo(&["test", "--release", "--workspace"], switch))
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
        if no_test { Ok(()) } else { test_steps(steps, false) }
    })
}

/// Sets up and trains on the embedded data; `arguments` go to the example.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    setup::setup(setup::has_adapter)?;
    let mut command = vec!["run", "--release", "--example", "fashion_mnist", "--"];
    command.extend(arguments.iter().map(String::as_str));
    cargo(&command, &[])
}
