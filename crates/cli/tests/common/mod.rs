//! Runs the built command.

// Each test program compiles its own copy and none uses every part.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Output};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The command with these arguments, to run in `folder`.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgrad"));
    command.args(arguments).current_dir(folder);
    command
}

/// Runs it to its end.
pub(crate) fn wgrad(folder: &Path, arguments: &[&str]) -> Ended {
    command(folder, arguments).output().expect("the command runs").into()
}

/// Runs it, and wants it to do all it was asked to; what it prints.
pub(crate) fn done(folder: &Path, arguments: &[&str]) -> String {
    let ended = wgrad(folder, arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.out
}

/// Runs it, and wants it to be refused as a matter of usage; what it says.
pub(crate) fn refused(folder: &Path, arguments: &[&str]) -> String {
    let ended = wgrad(folder, arguments);
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
    ended.err
}
