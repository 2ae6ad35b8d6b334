//! Where rows go: terminal, file, baseline, document.

use super::row::{self, Row};
use super::{compare, markdown};
use crate::{run, verify};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What becomes of the rows.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// One JSON object a line instead of a table
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Write the rows to this file, one JSON object a line
    #[arg(long, global = true, value_name = "FILE")]
    save: Option<PathBuf>,
    /// With --save: replace a file that is there
    #[arg(long, global = true, requires = "save")]
    force: bool,
    /// Compare with the rows of this file, which --save wrote
    #[arg(long, global = true, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// With --baseline: how much slower, in per cent, counts as a regression
    #[arg(long, global = true, value_name = "PERCENT", default_value_t = 10.0, value_parser = percent)]
    threshold: f64,
    /// With --baseline: end with an error if there is a regression
    #[arg(long, global = true, requires = "baseline")]
    fail_on_regression: bool,
    /// Write the table between the markers of this document [without FILE: README.md]
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1)]
    markdown: Option<Option<PathBuf>>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err("wanted a number of at least 0".to_string()) }
}

impl OutputArgs {
    /// Finds out before anything is measured what would fail afterwards. Returns the rows of the baseline.
    pub(super) fn prepare(&self) -> Result<Option<Vec<Row>>> {
        if let Some(path) = self.save.as_ref().filter(|path| path.exists() && !self.force) {
            bail!("{} is there already; --force replaces it", path.display());
        }
        if let Some(path) = self.document() {
            splice(&path, "")?;
        }
        let Some(path) = &self.baseline else { return Ok(None) };
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(row::parse(&text).with_context(|| path.display().to_string())?))
    }

    /// Writes and compares the rows. Ends with an error where a result was wrong, or where regressions shall be errors.
    pub(super) fn finish(&self, rows: &[Row], baseline: Option<&[Row]>, command: &str) -> Result<()> {
        if let Some(path) = &self.save {
            save(path, rows, self.force)?;
        }
        if let Some(path) = self.document() {
            let text = splice(&path, &markdown::table(rows, command))?;
            replace(&path, &text)?;
        }
        if let Some(baseline) = baseline {
            let comparison = compare::compare(baseline, rows, self.threshold / 100.0);
            // Lines for programs stay alone on the standard output.
            if self.json {
                eprintln!("{comparison}")
            } else {
                println!("\n{comparison}")
            }
            let count = comparison.regressions().count();
            if self.fail_on_regression && count > 0 {
                bail!("{count} regressions");
            }
        }
        let wrong: Vec<String> = rows.iter().filter(|row| is_wrong(row)).map(Row::label).collect();
        if wrong.is_empty() { Ok(()) } else { bail!("wrong results:\n  {}", wrong.join("\n  ")) }
    }

    fn document(&self) -> Option<PathBuf> {
        self.markdown.clone().map(|path| path.unwrap_or_else(|| run::root().join("README.md")))
    }
}

/// What a row's error begins with when the result was wrong; other errors say why there is none.
pub(super) const WRONG: &str = "WRONG: ";

fn is_wrong(row: &Row) -> bool {
    row.error.as_ref().is_some_and(|error| error.starts_with(WRONG))
}

fn splice(path: &Path, table: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    markdown::splice(&text, table).with_context(|| path.display().to_string())
}

fn save(path: &Path, rows: &[Row], force: bool) -> Result<()> {
    if path.exists() && !force {
        bail!("{} is there already; --force replaces it", path.display());
    }
    let lines: Result<Vec<String>> = rows.iter().map(Row::json).collect();
    replace(path, &(lines?.join("\n") + "\n"))
}

/// Writes a file whole or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    let temporary = verify::beside(path, ".tmp");
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write {}", temporary.display()))
        .and_then(|()| verify::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    fn args() -> OutputArgs {
        OutputArgs {
            json: false,
            save: None,
            force: false,
            baseline: None,
            threshold: 10.0,
            fail_on_regression: false,
            markdown: None,
        }
    }

    #[test]
    fn a_file_is_saved_whole_and_replaced_on_demand_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let kept = OutputArgs { save: Some(path.clone()), ..args() };
        kept.prepare().unwrap();
        kept.finish(&[row("a", 1.0), row("b", 2.0)], None, "").unwrap();
        assert_eq!(row::parse(&fs::read_to_string(&path).unwrap()).unwrap(), [row("a", 1.0), row("b", 2.0)]);
        for error in [kept.prepare().unwrap_err(), kept.finish(&[row("c", 1.0)], None, "").unwrap_err()] {
            assert!(error.to_string().contains("--force"), "{error}");
        }
        let forced = OutputArgs { force: true, ..kept };
        forced.prepare().unwrap();
        forced.finish(&[row("c", 3.0)], None, "").unwrap();
        assert_eq!(row::parse(&fs::read_to_string(&path).unwrap()).unwrap(), [row("c", 3.0)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn regressions_are_errors_on_demand_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        save(&path, &[row("a", 1.0)], false).unwrap();
        let lenient = OutputArgs { baseline: Some(path), ..args() };
        let baseline = lenient.prepare().unwrap().unwrap();
        let slow = [row("a", 1.2)];
        lenient.finish(&slow, Some(&baseline), "").unwrap();
        let strict = OutputArgs { fail_on_regression: true, ..lenient };
        assert_eq!(strict.finish(&slow, Some(&baseline), "").unwrap_err().to_string(), "1 regressions");
        strict.finish(&[row("a", 1.05)], Some(&baseline), "").unwrap();
        OutputArgs { threshold: 30.0, ..strict }.finish(&slow, Some(&baseline), "").unwrap();
    }

    #[test]
    fn bad_files_are_found_before_anything_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let says = |args: OutputArgs, part: &str| {
            let error = format!("{:#}", args.prepare().unwrap_err());
            assert!(error.contains(part) && error.contains("file"), "{error}");
        };
        says(OutputArgs { baseline: Some(path.clone()), ..args() }, "cannot read");
        says(OutputArgs { markdown: Some(Some(path.clone())), ..args() }, "cannot read");
        fs::write(&path, "no rows and no markers\n").unwrap();
        says(OutputArgs { baseline: Some(path.clone()), ..args() }, "line 1 is no row");
        says(OutputArgs { markdown: Some(Some(path.clone())), ..args() }, "no marker");
        assert!(percent("-1").is_err() && percent("many").is_err() && percent("NaN").is_err());
        assert_eq!(percent("2.5"), Ok(2.5));
    }

    #[test]
    fn a_document_gets_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("README.md");
        fs::write(&path, "a\n<!-- bench:begin -->\n<!-- bench:end -->\nb\n").unwrap();
        let args = OutputArgs { markdown: Some(Some(path.clone())), ..args() };
        args.prepare().unwrap();
        args.finish(&[row("conv3", 1.0)], None, "cargo xtask bench conv").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("a\n<!-- bench:begin -->\nllvmpipe (Mesa), tier cpu; `cargo xtask bench conv`:"),
            "{text}"
        );
        assert!(text.contains("| conv3 | 8 | implicit |") && text.ends_with("<!-- bench:end -->\nb\n"), "{text}");
    }

    #[test]
    fn a_wrong_result_is_an_error_and_a_refused_one_is_not() {
        let failed = |error: &str| [Row { ms: None, error: Some(error.to_string()), ..row("a", 1.0) }];
        args().finish(&failed("refused: too large"), None, "").unwrap();
        let error = args().finish(&failed("WRONG: differs"), None, "").unwrap_err();
        assert!(error.to_string().contains("wrong results:\n  a, batch 8"), "{error}");
    }
}
