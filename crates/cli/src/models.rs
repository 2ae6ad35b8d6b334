//! `wgrad models`: the networks of the zoo, counted by tracing them; no device is opened.

use crate::say::say;
use anyhow::Context;
use clap::Args;
use wgrad::layers::{Summary, models};
use wgrad::tensor::TensorDesc;
use wgrad::trainer::Preprocessing;

/// Arguments of `wgrad models`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelsArgs {
    /// One JSON object for each network
    #[arg(long)]
    json: bool,
}

/// The images and classes that a network was published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usual {
    channels: usize,
    /// Height and width in pixels.
    pub(crate) size: usize,
    classes: usize,
}

/// What network `name` was published for.
pub(crate) fn usual(name: &str) -> Usual {
    let size = match name {
        "lenet" => return Usual { channels: 1, size: 28, classes: 10 },
        _ if models::NAMES.contains(&name) => return Usual { channels: 3, size: 32, classes: 10 },
        "alexnet2012" => 227,
        _ => Preprocessing::of_architecture(name).map_or(224, |usual| usual.height),
    };
    Usual { channels: 3, size, classes: 1000 }
}

/// Every name of the zoo.
pub(crate) fn names() -> impl Iterator<Item = &'static str> + Clone {
    models::NAMES.iter().chain(models::IMAGENET_NAMES).copied()
}

/// Prints them, those for small images first.
pub(crate) fn run(args: &ModelsArgs) -> anyhow::Result<()> {
    if !args.json {
        say(format_args!("{:<22}{:>15}{:>17}  {:<11}  classes", "model", "parameters", "multiply-adds", "image"));
    }
    for name in names() {
        let Usual { channels, size, classes } = usual(name);
        let model = models::by_name(name, channels, classes).with_context(|| format!("{name}: not in the zoo"))?;
        let summary = Summary::new(&model, TensorDesc::f32([1, channels, size, size]))?;
        let (parameters, macs) = (summary.parameters(), summary.macs());
        match args.json {
            true => say(serde_json::json!({
                "model": name,
                "parameters": parameters,
                "macs": macs,
                "channels": channels,
                "size": size,
                "classes": classes,
            })),
            false => {
                let image = format!("{channels}x{size}x{size}");
                say(format_args!("{name:<22}{parameters:>15}{macs:>17}  {image:<11}  {classes}"));
            }
        }
    }
    Ok(())
}
