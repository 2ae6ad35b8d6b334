//! One line of a benchmark: what was measured, and how it is printed.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One measurement. Every field is in every JSON line, `null` where it has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// What was timed: an operation with its case, a layer with its pass, a network.
    pub(super) name: String,
    /// The algorithm, where there are several.
    pub(super) algo: String,
    /// Family of kernels.
    pub(super) tier: String,
    /// Numbers in memory: f32, or the precision a network is trained with.
    pub(super) dtype: String,
    /// Images at a time.
    pub(super) batch: Option<usize>,
    /// Height and width of a network's images, in pixels.
    pub(super) size: Option<usize>,
    /// Most MiB for a network's activations; `null` for as much as it takes.
    pub(super) memory_mib: Option<u64>,
    /// Median.
    pub(super) ms: Option<f64>,
    /// Least and most: the spread.
    pub(super) ms_min: Option<f64>,
    pub(super) ms_max: Option<f64>,
    /// `device` (timestamps around the dispatches) or `wall` (the host's clock around whole runs).
    pub(super) clock: String,
    /// Arithmetic rate by the direct count: an algorithm that saves operations gets credit for them.
    pub(super) gflops: Option<f64>,
    /// Bytes that must be read and written at the least, over the time.
    pub(super) gb_per_s: Option<f64>,
    /// Per cent of the adapter's own measured rates.
    pub(super) fma_percent: Option<f64>,
    pub(super) copy_percent: Option<f64>,
    pub(super) images_per_s: Option<f64>,
    /// From opening the device to the end of the first step, compilation included.
    pub(super) first_step_ms: Option<f64>,
    /// Device memory of the plan and its parameters.
    pub(super) planned_bytes: Option<u64>,
    /// Deviation from the f64 reference: the largest relative to the largest value, the root of the mean square relative to
    /// that of the values.
    pub(super) max_err: Option<f64>,
    pub(super) rms_err: Option<f64>,
    /// Why there is no time.
    pub(super) error: Option<String>,
    /// What it ran on.
    pub(super) adapter: String,
    pub(super) driver: String,
}

impl Row {
    /// What a row of another run is recognised by.
    pub(super) fn key(&self) -> String {
        let mut key = self.label();
        key.push_str(&format!(", tier {}, {}, {} clock", self.tier, self.dtype, self.clock));
        key
    }

    /// Name, size, batch, memory and algorithm.
    pub(super) fn label(&self) -> String {
        let size = self.size.map(|size| format!(" {size} px"));
        let batch = self.batch.map(|batch| format!(", batch {batch}"));
        let memory = self.memory_mib.map(|mib| format!(", at most {mib} MiB"));
        let algo = if self.algo.is_empty() { String::new() } else { format!(", {}", self.algo) };
        let [size, batch, memory] = [size, batch, memory].map(Option::unwrap_or_default);
        format!("{}{size}{batch}{memory}{algo}", self.name)
    }

    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

impl fmt::Display for Row {
    /// One line of the table for terminals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<64}", self.label())?;
        let (Some(ms), Some(least), Some(most)) = (self.ms, self.ms_min, self.ms_max) else {
            return write!(f, "  {}", self.error.as_deref().unwrap_or("not timed"));
        };
        write!(f, " {ms:>9.3} ms ({least:.3} to {most:.3})")?;
        if let Some(rate) = self.images_per_s {
            write!(f, " {rate:>8.1} images/s")?;
        }
        if let Some(rate) = self.gflops.filter(|&rate| rate > 0.0) {
            write!(f, " {rate:>8.1} GFLOP/s{}", share(self.fma_percent))?;
        }
        if let Some(rate) = self.gb_per_s {
            let digits = if rate < 10.0 { 2 } else { 1 };
            write!(f, " {rate:>7.digits$} GB/s{}", share(self.copy_percent))?;
        }
        if let Some(first) = self.first_step_ms {
            write!(f, "  first step {first:.0} ms")?;
        }
        if let Some(bytes) = self.planned_bytes {
            write!(f, "  {}", wgrad::tensor::error::mib(bytes))?;
        }
        if let (Some(max), Some(rms)) = (self.max_err, self.rms_err) {
            write!(f, "  error {max:.1e} max, {rms:.1e} rms")?;
        }
        Ok(())
    }
}

fn share(percent: Option<f64>) -> String {
    percent.map(|percent| format!(" ({percent:.0} %)")).unwrap_or_default()
}

/// Reads the rows of a file of JSON lines; empty lines count for nothing.
pub(super) fn parse(text: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Row =
            serde_json::from_str(line).with_context(|| format!("line {} is no row of a benchmark", i + 1))?;
        if rows.iter().any(|known| known.key() == row.key()) {
            bail!("line {}: a second row of {}", i + 1, row.key());
        }
        rows.push(row);
    }
    if rows.is_empty() {
        bail!("no rows; write such a file with --save FILE");
    }
    Ok(rows)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row of this name that took so long.
    pub(in super::super) fn row(name: &str, ms: f64) -> Row {
        Row {
            name: name.to_string(),
            algo: "implicit".to_string(),
            tier: "cpu".to_string(),
            dtype: "f32".to_string(),
            batch: Some(8),
            ms: Some(ms),
            ms_min: Some(ms - 0.5),
            ms_max: Some(ms + 0.5),
            clock: "device".to_string(),
            gflops: Some(40.0),
            max_err: Some(1.5e-7),
            adapter: "llvmpipe".to_string(),
            driver: "Mesa".to_string(),
            ..Row::default()
        }
    }

    #[test]
    fn a_json_line_has_every_field_and_reads_back() {
        let row = row("conv3", 2.0);
        let line = row.json().unwrap();
        assert!(!line.contains('\n'));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        for field in
            ["name", "algo", "tier", "dtype", "batch", "memory_mib", "clock", "ms", "gflops", "images_per_s", "max_err"]
        {
            assert!(object.get(field).is_some(), "{field}: {line}");
        }
        assert!(object["images_per_s"].is_null());
        assert_eq!(object["batch"], 8);
        assert_eq!(parse(&format!("\n{line}\n\n")).unwrap(), [row]);
    }

    #[test]
    fn other_text_is_refused_with_its_line() {
        let line = row("conv3", 2.0).json().unwrap();
        let says = |text: &str, part: &str| {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(part), "{error}");
        };
        says("", "no rows");
        says(&format!("{line}\nnonsense"), "line 2 is no row");
        says(&format!("{line}\n{{\"name\": \"x\"}}"), "line 2 is no row");
        says(&line.replace("\"ms\":2.0", "\"ms\":\"fast\""), "line 1 is no row");
        says(&format!("{line}\n{line}"), "line 2: a second row of conv3, batch 8, implicit");
    }

    #[test]
    fn a_line_of_the_table_says_what_there_is() {
        let timed = Row { images_per_s: Some(137.25), fma_percent: Some(41.6), ..row("resnet20", 2.0) };
        let line = timed.to_string();
        for part in
            ["resnet20, batch 8, implicit", "2.000 ms (1.500 to 2.500)", "137.2 images/s", "40.0 GFLOP/s (42 %)"]
        {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("GB/s"), "{line}");
        let refused = Row { ms: None, error: Some("too large".to_string()), ..row("vgg16", 1.0) };
        assert!(refused.to_string().ends_with("too large"));
    }
}
