//! `wgrad completions`: scripts for shells.

use clap::{Args, Command};
use clap_complete::Shell;
use std::io::Write;

/// Arguments of `wgrad completions`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that will read the script
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs, mut command: Command) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "wgrad", &mut script);
    // Through memory: the generator panics where the reader has gone.
    let _ = std::io::stdout().write_all(&script);
}
