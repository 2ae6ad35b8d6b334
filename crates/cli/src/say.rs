//! What the program says, and how it ends.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use wgrad::trainer::Exit;

/// Prints a line of results. A reader that has gone (`| head -1`) ends nothing.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line about the results.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tells what went wrong, and ends with the code that [`Exit`] has for it.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    note(format_args!("error: {error:#}"));
    Exit::of(error.as_ref()).into()
}
