//! Runs other programs, step by step: a heading before each, a table of times at the end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Steps that run one after the other, until one fails.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Runs one step under its heading; its failure names it.
    pub(crate) fn step(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n==> {name}");
        let start = Instant::now();
        let result = step();
        self.done.push((name, start.elapsed()));
        result.with_context(|| format!("the step `{name}` failed"))
    }

    /// Step by step, how long each took.
    pub(crate) fn table(&self) -> String {
        let total: Duration = self.done.iter().map(|(_, time)| *time).sum();
        let rows = self.done.iter().copied().chain([("total", total)]);
        let width = rows.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
        rows.map(|(name, time)| format!("  {name:width$}  {:8.1} s\n", time.as_secs_f64())).collect()
    }
}

/// Runs the steps of `body`, and prints the table of times whether they passed or not.
pub(crate) fn steps(body: impl FnOnce(&mut Steps) -> Result<()>) -> Result<()> {
    let mut steps = Steps::default();
    let result = body(&mut steps);
    println!("\n{}", steps.table());
    result
}

/// Runs `cargo` with these arguments and environment variables in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    command(cargo_command().args(arguments).envs(variables.iter().copied()).current_dir(root()))
}

/// Runs an example in the caller's folder, so that the paths among its arguments mean what they say.
pub(crate) fn example(name: &str, arguments: &[String]) -> Result<()> {
    let mut cargo = cargo_command();
    cargo.args(["run", "--release", "--manifest-path"]).arg(root().join("Cargo.toml"));
    command(cargo.args(["--example", name, "--"]).args(arguments))
}

/// Runs an example that lies where cargo has put this program: without a build of its own.
pub(crate) fn built_example(name: &str) -> Result<()> {
    let this = std::env::current_exe().context("where is this program?")?;
    let path = this.with_file_name("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    command(quiet(&mut Command::new(path)))
}

/// Without a desktop, Mesa's layer that asks it for its favourite GPU complains on every start that there is none.
fn quiet(command: &mut Command) -> &mut Command {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("NODEVICE_SELECT", "1");
    }
    command
}

fn cargo_command() -> Command {
    // Cargo says which of the installed ones it is, so that the same one is run.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    // What cargo told this program about its own package would pass for a change of environment in the inner run, and build
    // again what watches it (ring does).
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    quiet(&mut cargo);
    cargo
}

/// Shows a command, runs it, and fails unless it succeeds.
pub(crate) fn command(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// A command as one would type it: variables that are set for it, the program without its folder, the arguments.
fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.display(), quoted(&value.to_string_lossy())));
        }
    }
    let program = Path::new(command.get_program());
    words.push(program.file_stem().unwrap_or(program.as_os_str()).to_string_lossy().into_owned());
    words.extend(command.get_args().map(|argument| quoted(&argument.to_string_lossy())));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "\"'$&|;<>()*?".contains(c));
    if plain { word.to_owned() } else { format!("{word:?}") }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_ends_the_row_and_is_named() {
        let mut third = false;
        let mut names = Vec::new();
        let error = steps(|steps| {
            let result =
                steps.step("first", || Ok(())).and_then(|()| steps.step("second", || bail!("broken"))).and_then(|()| {
                    steps.step("third", || {
                        third = true;
                        Ok(())
                    })
                });
            names.extend(steps.done.iter().map(|(name, _)| *name));
            result
        });
        assert_eq!(format!("{:#}", error.unwrap_err()), "the step `second` failed: broken");
        assert_eq!(names, ["first", "second"]);
        assert!(!third);
    }

    #[test]
    fn the_table_has_a_row_for_each_step_and_the_total() {
        let steps = Steps { done: vec![("fmt", Duration::from_millis(1500)), ("clippy", Duration::from_secs(20))] };
        assert_eq!(steps.table(), "  fmt          1.5 s\n  clippy      20.0 s\n  total       21.5 s\n");
    }

    #[test]
    fn a_failing_command_is_shown() {
        let mut no_such = Command::new("no-such-program");
        let error = format!("{:#}", command(no_such.arg("with space").env("A", "b")).unwrap_err());
        assert!(error.contains("cannot start `A=b no-such-program \"with space\"`"), "{error}");
        assert!(
            cargo(&["no-such-subcommand"], &[])
                .unwrap_err()
                .to_string()
                .contains("cargo no-such-subcommand` ended with")
        );
        cargo(&["--version"], &[]).unwrap();
    }
}
