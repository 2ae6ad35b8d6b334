//! What became of every tensor of a file and every parameter of a model.

use std::fmt;
use wgrad_tensor::Shape;

/// What [`Weights::load_into`](super::Weights::load_into) did, tensor by tensor. Names are the model's, those of unexpected
/// tensors the file's, after the name map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Loaded as they are.
    pub matched: Vec<String>,
    /// Loaded with extents of 1 more or less: name, extents of the model, extents of the file. `[10, 512, 1, 1]` and `[10, 512]`
    /// hold the same numbers in the same order.
    pub reshaped: Vec<(String, Shape, Shape)>,
    /// Parameters that the file lacks, with their extents; they keep their initial values.
    pub missing: Vec<(String, Shape)>,
    /// Tensors that the model lacks, with their extents.
    pub unexpected: Vec<(String, Shape)>,
    /// Other extents: name, extents of the model, extents of the file. They keep their initial values.
    pub mismatched: Vec<(String, Shape, Shape)>,
    /// Kept at their initial values because that was asked for.
    pub fresh: Vec<String>,
    /// Entries of the file that are no weights, and what they are.
    pub skipped: Vec<(String, String)>,
    /// The program whose names were mapped because they are known: [`Naming::title`](super::Naming).
    pub naming: Option<&'static str>,
    /// The weight whose input channels were reversed: [`LoadOptions::bgr`](super::LoadOptions::bgr).
    pub reversed: Option<String>,
}

/// Rows of each kind that are shown.
const SHOWN: usize = 8;

impl LoadReport {
    /// Whether file and model hold the same tensors, those asked to stay fresh aside.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// Tensors that were loaded.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.matched.len() + self.reshaped.len()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tensors loaded, {} of them reshaped; {} left fresh, {} missing, {} unexpected, {} of another shape",
            self.loaded(),
            self.reshaped.len(),
            self.fresh.len(),
            self.missing.len(),
            self.unexpected.len(),
            self.mismatched.len()
        )?;
        if let Some(naming) = self.naming {
            write!(f, "; names of {naming}")?;
        }
        if let Some(name) = &self.reversed {
            write!(f, "; {name} turned from BGR to RGB")?;
        }
        let two = |(name, wanted, got): &(String, Shape, Shape)| format!("{name}: model {wanted}, file {got}");
        let one = |(name, shape): &(String, Shape)| format!("{name} {shape}");
        rows(f, "other shape", self.mismatched.iter().map(two))?;
        rows(f, "missing", self.missing.iter().map(one))?;
        rows(f, "unexpected", self.unexpected.iter().map(one))?;
        rows(f, "reshaped", self.reshaped.iter().map(two))?;
        rows(f, "fresh", self.fresh.iter().cloned())?;
        let skipped = self.skipped.iter().filter(|(name, _)| !super::is_counter(name));
        rows(f, "left out", skipped.map(|(name, what)| format!("{name}: {what}")))
    }
}

fn rows(f: &mut fmt::Formatter<'_>, what: &str, rows: impl Iterator<Item = String>) -> fmt::Result {
    let rows: Vec<String> = rows.collect();
    rows.iter().take(SHOWN).try_for_each(|row| write!(f, "\n  {what:<12} {row}"))?;
    match rows.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, "\n  {what:<12} and {more} more"),
    }
}
