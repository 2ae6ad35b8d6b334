//! What every example with arguments shares: which device to run on, printing, and how it ends.

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use wgrad::tensor::{Device, DeviceOptions, Tier};
use wgrad::trainer::Exit;

/// Which device to run on.
#[derive(Clone, Debug, Parser)]
pub(crate) struct DeviceArgs {
    /// Adapter by number or part of its name; the example `devices` lists them [default: a discrete GPU before an integrated
    /// one, a software adapter last]
    #[arg(long)]
    adapter: Option<String>,
    /// Family of kernels [default: cpu on software adapters, elsewhere f16, subgroup or base, the first that the adapter runs]
    #[arg(long, value_parser = PossibleValuesParser::new(Tier::NAMES).try_map(|name| name.parse::<Tier>()))]
    tier: Option<Tier>,
}

impl DeviceArgs {
    /// Which device to open.
    pub(crate) fn options(&self) -> DeviceOptions {
        DeviceOptions { adapter: self.adapter.clone(), tier: self.tier, ..DeviceOptions::default() }
    }

    /// Opens the device that was asked for.
    pub(crate) fn open(&self) -> anyhow::Result<Device> {
        Ok(Device::open(&self.options())?)
    }
}

/// Prints a line. A reader that has gone (`| head -1`) ends no training.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line where standard output is for programs.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tells what went wrong, if anything did, and ends with the code that [`Exit`] has for it.
pub(crate) fn finish(result: anyhow::Result<()>) -> ExitCode {
    result.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// Tells what went wrong, and ends with the code that [`Exit`] has for it.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    note(format_args!("error: {error:#}"));
    Exit::of(error.as_ref()).into()
}
