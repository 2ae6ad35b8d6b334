//! The table of measured choices: one JSON file for any number of machines, made to be read, merged and shared.
//!
//! Bytes in, bytes out: programs open the files. A table never decides what is right, only what is fast: an entry applies
//! where adapter, driver, kernels and the lowering of every candidate are those it was measured with.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const FORMAT: &str = "wgrad tuning table";
const VERSION: u32 = 2;

/// What measurements are good for: a change of any of these makes other ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The driver's name for the adapter.
    pub adapter: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// Family of kernels.
    pub tier: String,
    /// Lanes of a subgroup.
    pub subgroup_size: u32,
    /// Bytes that one workspace might take.
    pub workspace_bytes: u64,
    /// Whether wgrad's own kernels kept the driver-independent bounds and loop checks.
    pub checked: bool,
    /// Hash of the text of all kernels.
    pub kernels: String,
}

/// The choice for one operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name of the algorithm to take.
    pub algorithm: String,
    /// Milliseconds of each candidate that was timed.
    pub ms: BTreeMap<String, f64>,
    /// The candidates that were not, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, String>,
    /// Hash of what the candidates lower to.
    pub lowering: String,
}

/// Entries by operation.
pub type Entries = BTreeMap<String, Entry>;

/// Why a file is no table. Nothing overwrites such a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No JSON, or JSON with parts missing.
    #[error("the tuning table is damaged ({0}); delete the file to tune anew")]
    Damaged(String),
    /// JSON of something else.
    #[error("this is no tuning table: wanted a file that says \"format\": {FORMAT:?}; name another")]
    Foreign,
    /// A table of another version.
    #[error("this tuning table has version {0}, wanted {VERSION}; delete the file to tune anew, or name another")]
    Version(u32),
}

/// Measured choices of any number of machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    machines: BTreeMap<Machine, Entries>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u32,
    machines: Vec<Section>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    machine: Machine,
    entries: Entries,
}

/// What every version says.
#[derive(Deserialize)]
struct Head {
    format: Option<String>,
    version: Option<u32>,
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// Bytes that are no table, or one of another version.
    pub fn parse(bytes: &[u8]) -> Result<Table, TableError> {
        let damaged = |error: serde_json::Error| TableError::Damaged(error.to_string());
        let json: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
        let head = Head::deserialize(&json).map_err(|_| TableError::Foreign)?;
        match (head.format.as_deref(), head.version) {
            (Some(FORMAT), Some(VERSION)) => {}
            (Some(FORMAT), Some(other)) => return Err(TableError::Version(other)),
            _ => return Err(TableError::Foreign),
        }
        let file = File::deserialize(json).map_err(damaged)?;
        let mut table = Table::default();
        for Section { machine, entries } in file.machines {
            if let Some((op, _)) = entries.iter().find(|(_, entry)| !entry.ms.contains_key(&entry.algorithm)) {
                return Err(TableError::Damaged(format!("{op:?} takes an algorithm that was not timed")));
            }
            table.machines.entry(machine).or_default().extend(entries);
        }
        Ok(table)
    }

    /// The table as text: sorted, so that equal tables are equal files.
    pub fn to_json(&self) -> String {
        let sections = self.machines.iter();
        let machines =
            sections.map(|(machine, entries)| Section { machine: machine.clone(), entries: entries.clone() }).collect();
        let file = File { format: FORMAT.to_string(), version: VERSION, machines };
        // Text keys and finite numbers: there is nothing that could fail.
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// The entries of one machine.
    pub fn entries(&self, machine: &Machine) -> Option<&Entries> {
        self.machines.get(machine)
    }

    /// Takes all entries of `other`, instead of its own where both have one.
    pub fn merge(&mut self, other: &Table) {
        for (machine, entries) in &other.machines {
            let own = self.machines.entry(machine.clone()).or_default();
            own.extend(entries.iter().map(|(op, entry)| (op.clone(), entry.clone())));
        }
    }

    /// Adds entries of one machine.
    pub fn insert(&mut self, machine: Machine, entries: impl IntoIterator<Item = (String, Entry)>) {
        self.machines.entry(machine).or_default().extend(entries);
    }

    /// Number of entries of all machines.
    pub fn len(&self) -> usize {
        self.machines.values().map(Entries::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(adapter: &str) -> Machine {
        Machine {
            adapter: adapter.to_string(),
            backend: "Vulkan".to_string(),
            driver: "some driver 1.2".to_string(),
            tier: "base".to_string(),
            subgroup_size: 32,
            workspace_bytes: 64 << 20,
            checked: false,
            kernels: "0123456789abcdef".to_string(),
        }
    }

    fn entry(algorithm: &str) -> Entry {
        Entry {
            algorithm: algorithm.to_string(),
            ms: BTreeMap::from([(algorithm.to_string(), 0.1), ("other".to_string(), 1.0 / 3.0)]),
            skipped: BTreeMap::from([("broken".to_string(), "does not compile".to_string())]),
            lowering: "fedcba9876543210".to_string(),
        }
    }

    fn table() -> Table {
        let mut table = Table::default();
        table.insert(machine("a"), [("conv(x)".to_string(), entry("implicit"))]);
        table.insert(machine("b"), [("conv(x)".to_string(), entry("im2col")), ("conv(y)".to_string(), entry("fft"))]);
        table
    }

    #[test]
    fn a_table_survives_the_disk_bit_for_bit() {
        let text = table().to_json();
        let read = Table::parse(text.as_bytes()).expect("reads");
        assert_eq!(read, table());
        assert_eq!(read.to_json(), text);
        assert!(text.lines().count() > 40, "one thing a line:\n{text}");
    }

    #[test]
    fn damaged_and_foreign_files_are_told_apart() {
        let text = table().to_json();
        let parse = |text: &str| Table::parse(text.as_bytes()).expect_err("refused");
        assert!(matches!(parse(""), TableError::Damaged(_)));
        assert!(matches!(parse(&text[..text.len() / 2]), TableError::Damaged(_)));
        assert!(matches!(parse(&text.replace("\"ms\"", "\"minutes\"")), TableError::Damaged(_)));
        let untimed = text.replace("\"algorithm\": \"fft\"", "\"algorithm\": \"abacus\"");
        assert!(parse(&untimed).to_string().contains("not timed"));
        assert_eq!(parse(&text.replace("\"version\": 2", "\"version\": 1")), TableError::Version(1));
        for foreign in ["{}", "[]", "3", "{\"format\": \"shopping list\", \"version\": 1}"] {
            assert_eq!(parse(foreign), TableError::Foreign, "{foreign}");
        }
    }

    #[test]
    fn an_entry_is_its_machine_s_alone() {
        let table = table();
        assert_eq!(table.entries(&machine("a")).map(Entries::len), Some(1));
        let own = machine("a");
        let others = [
            Machine { adapter: "c".to_string(), ..own.clone() },
            Machine { driver: "some driver 1.3".to_string(), ..own.clone() },
            Machine { tier: "cpu".to_string(), ..own.clone() },
            Machine { subgroup_size: 8, ..own.clone() },
            Machine { workspace_bytes: 1 << 20, ..own.clone() },
            Machine { checked: true, ..own.clone() },
            Machine { kernels: "0".to_string(), ..own },
        ];
        for other in others {
            assert_eq!(table.entries(&other), None, "{other:?}");
        }
    }

    #[test]
    fn merging_keeps_what_the_other_has_not() {
        let mut merged = table();
        let mut newer = Table::default();
        newer.insert(machine("b"), [("conv(x)".to_string(), entry("winograd-f4"))]);
        newer.insert(machine("c"), [("conv(z)".to_string(), entry("direct"))]);
        merged.merge(&newer);
        assert_eq!(merged.len(), 4);
        let b = merged.entries(&machine("b")).expect("known");
        assert_eq!(b["conv(x)"].algorithm, "winograd-f4");
        assert_eq!(b["conv(y)"].algorithm, "fft");
    }
}
