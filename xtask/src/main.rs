//! The project's own commands: `cargo xtask help` lists them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program: printing is what it does")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod bench;
mod check;
mod data;
mod download;
mod images;
mod run;
mod setting;
mod setup;
mod shaders;
mod tidy;
mod tune;
mod unpack;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put in place what training needs on this machine: a Vulkan driver where there is no adapter
    Setup,
    /// Set up, then train a small ResNet on the embedded Fashion-MNIST subset
    Demo {
        /// Passed on to the example as they stand
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Set up, then build the examples, let the custom kernel check itself, and run every test
    Test,
    /// Everything that has to pass: format, lints, docs, tidy, shaders, tests
    Ci {
        /// Leave the tests out (for a caller that runs `cargo xtask test` itself)
        #[arg(long)]
        no_test: bool,
    },
    /// Check the rules of ARCHITECTURE.md that the compiler does not
    Tidy,
    /// Every kernel variant through naga's validator and its SPIR-V, MSL and HLSL writers
    Shaders,
    /// List the adapters with their features and limits
    Devices,
    /// Time matrix products, convolutions or whole training steps
    Bench(bench::Args),
    /// Time the algorithms of a model's operations and keep the fastest in a table
    Tune(tune::Args),
    /// Put a data set in place: cifar10, cifar100, mnist or fashion-mnist; or pack, measure or check images of your own
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Data {
        #[command(subcommand)]
        images: Option<images::Images>,
        /// Which one
        #[arg(value_parser = data::names(), required = true)]
        name: Option<String>,
        /// Take the files from this local copy (unpacked, or with the archive) instead of downloading them
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
        /// Put the files into this folder [default: below ~/.cache/wgrad]
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::setup(setup::has_adapter),
        Command::Demo { args } => check::demo(&args),
        Command::Test => check::test(),
        Command::Ci { no_test } => check::ci(no_test),
        Command::Tidy => tidy::tidy(),
        Command::Shaders => shaders::check(),
        Command::Devices => run::example("devices", &[]),
        Command::Bench(args) => bench::bench(&args),
        Command::Tune(args) => tune::tune(&args),
        Command::Data { images: Some(command), .. } => images::images(&command),
        Command::Data { name, from, to, .. } => data::data(&name.unwrap_or_default(), from.as_deref(), to.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
