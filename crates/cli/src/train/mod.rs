//! `wgrad train` and `wgrad resume`.

mod data;
mod trainer;

use crate::say::say;
use crate::settings::{Settings, layers};
use anyhow::Context;
use clap::{ArgMatches, Args};
use std::path::PathBuf;
use std::time::Instant;
use toml::Table;
use wgrad::trainer::Resume;

/// The settings of a run, in its folder.
const CONFIG: &str = "config.toml";

/// Arguments of `wgrad train`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TrainArgs {
    /// File of settings, in TOML; flags go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print all settings as a config file, and train nothing
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Arguments of `wgrad resume`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Folder of a run that `wgrad train` began
    #[arg(value_name = "RUN_FOLDER")]
    folder: PathBuf,
    /// Take training images other than those that the run began with
    #[arg(long)]
    force_data: bool,
}

/// Trains; `given` says which flags stood on the command line.
pub(crate) fn train(args: &TrainArgs, given: &ArgMatches, started: Instant) -> anyhow::Result<()> {
    let settings = layers::resolve(args.config.as_deref(), layers::flags(&args.settings, given)?)?;
    if args.print_config {
        say(settings.to_toml()?.trim_end());
        return Ok(());
    }
    let kept = settings.for_run_folder()?.to_toml()?;
    let trainer = trainer::build(&settings, started)?.attach(CONFIG, kept);
    let trainer = match &settings.preview {
        Some(path) => trainer.preview(path),
        None => trainer,
    };
    say(trainer.run()?.report.result_line());
    Ok(())
}

/// Goes on with the run in the folder, whose settings lie there.
pub(crate) fn resume(args: &ResumeArgs, started: Instant) -> anyhow::Result<()> {
    let config = args.folder.join(CONFIG);
    let settings = layers::resolve(Some(&config), Table::new())
        .with_context(|| format!("{}: wanted the folder of a run that `wgrad train` began", args.folder.display()))?;
    let trainer = trainer::build(&settings, started)?.out(&args.folder);
    let trained = trainer.resume(Resume { force_data: args.force_data }).run()?;
    say(trained.report.result_line());
    Ok(())
}
