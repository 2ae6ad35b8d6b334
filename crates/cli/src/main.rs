//! The command `wgrad`: trains networks, goes on with runs, and uses what was trained.
//!
//! Results go to standard output, everything said about them to standard error. The exit code is that of
//! [`wgrad::trainer::Exit`].

mod completions;
mod device_args;
mod devices;
mod evaluate;
mod model_args;
mod models;
mod predict;
mod say;
mod settings;
mod signals;
mod train;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;
use std::time::Instant;

/// Trains convolutional networks on any GPU, and uses what was trained
#[derive(Debug, Parser)]
#[command(name = "wgrad", version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the adapters of this machine with what they offer
    Devices,
    /// Lists the networks of the zoo with their parameters and multiply-adds
    Models(models::ModelsArgs),
    /// Trains a network; ends with one line `result {…}` for programs to read
    Train(Box<train::TrainArgs>),
    /// Goes on with a run that was stopped or killed, from its newest checkpoint
    Resume(train::ResumeArgs),
    /// Counts what a trained network gets right of labelled images, class by class
    Evaluate(evaluate::EvaluateArgs),
    /// Names what is in images
    Predict(predict::PredictArgs),
    /// Prints a script with which a shell completes this command's arguments
    Completions(completions::CompletionsArgs),
}

fn main() -> ExitCode {
    let started = Instant::now();
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = matches.subcommand().map_or(&matches, |(_, of_command)| of_command);
    run(&cli.command, given, started).unwrap_or_else(|error| say::fail(&error))
}

/// Runs a command; `given` says which of its arguments stood on the command line.
fn run(command: &Command, given: &ArgMatches, started: Instant) -> anyhow::Result<ExitCode> {
    match command {
        Command::Devices => devices::run()?,
        Command::Models(args) => models::run(args)?,
        Command::Train(args) => train::train(args, given, started)?,
        Command::Resume(args) => train::resume(args, started)?,
        Command::Evaluate(args) => evaluate::run(args)?,
        Command::Predict(args) => return predict::run(args),
        Command::Completions(args) => completions::run(args, Cli::command()),
    }
    Ok(ExitCode::SUCCESS)
}
