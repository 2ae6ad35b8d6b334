//! `cargo xtask bench ops`: every operation of the registry at the size that networks have.

use super::item::Item;
use wgrad::tensor::ops::{REGISTRY, Target};

/// The cases for benchmarks of all families, by every algorithm. A row's name is the operation's and the case's.
pub(super) fn items(target: &Target) -> Vec<Item> {
    let cases = REGISTRY.iter().flat_map(|entry| (entry.timed)());
    let items = cases.map(|case| {
        let name = format!("{} {}", case.op.name(), case.name);
        Item::by_every_algorithm(&name, None, &case, target)
    });
    items.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_operation_has_rows_and_every_row_a_name_of_its_own() {
        let items = items(&Target::default());
        let rows: BTreeSet<(&str, &str)> = items.iter().map(|item| (item.name.as_str(), item.algo.as_str())).collect();
        assert_eq!(rows.len(), items.len());
        for case in REGISTRY.iter().flat_map(|entry| (entry.cases)()) {
            let name = case.op.name();
            assert!(items.iter().any(|item| item.name.starts_with(&format!("{name} "))), "{name}");
        }
    }
}
