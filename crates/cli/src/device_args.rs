//! Which device `evaluate` and `predict` run on.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use wgrad::tensor::{Device, DeviceOptions, Tier};

/// Which device to run on.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Adapter by number or part of its name; `wgrad devices` lists them [default: a discrete GPU before an integrated one, a
    /// software adapter last]
    #[arg(long)]
    adapter: Option<String>,
    /// Family of kernels [default: cpu on software adapters, elsewhere f16, subgroup or base, the first that the adapter runs]
    #[arg(long, value_parser = PossibleValuesParser::new(Tier::NAMES).try_map(|name| name.parse::<Tier>()))]
    tier: Option<Tier>,
}

impl DeviceArgs {
    /// Opens the device that was asked for.
    pub(crate) fn open(&self) -> anyhow::Result<Device> {
        let options = DeviceOptions { adapter: self.adapter.clone(), tier: self.tier, ..DeviceOptions::default() };
        Ok(Device::open(&options)?)
    }
}
