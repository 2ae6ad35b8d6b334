//! A run beside an earlier one.

use super::row::Row;
use std::fmt;

/// Two runs, row by row.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Key, milliseconds before, milliseconds now.
    pairs: Vec<(String, f64, f64)>,
    /// Keys that only one of the runs has timed.
    gone: Vec<String>,
    new: Vec<String>,
    /// What each run was measured on, where that differs.
    devices: Option<[String; 2]>,
    threshold: f64,
}

/// Puts the rows of `now` beside those of `before`; slower by more than `threshold` (0.1: a tenth) is a regression.
pub(super) fn compare(before: &[Row], now: &[Row], threshold: f64) -> Comparison {
    let ms = |rows: &[Row], key: &str| rows.iter().find(|row| row.key() == key).and_then(|row| row.ms);
    let (mut pairs, mut new) = (Vec::new(), Vec::new());
    for row in now {
        let key = row.key();
        match (ms(before, &key), row.ms) {
            (Some(before), Some(now)) => pairs.push((key, before, now)),
            (None, Some(_)) => new.push(key),
            _ => {}
        }
    }
    let timed = before.iter().filter(|row| row.ms.is_some()).map(Row::key);
    let gone = timed.filter(|key| ms(now, key).is_none()).collect();
    let device = |rows: &[Row]| rows.first().map(|row| format!("{} ({})", row.adapter, row.driver)).unwrap_or_default();
    let devices = [device(before), device(now)];
    Comparison { pairs, gone, new, devices: (devices[0] != devices[1]).then_some(devices), threshold }
}

impl Comparison {
    /// Rows that became slower by more than the threshold.
    pub(super) fn regressions(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(|(_, before, now)| now / before > 1.0 + self.threshold).map(|(key, ..)| key.as_str())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "time now / time in the baseline (below 1 is faster)")?;
        if let Some([before, now]) = &self.devices {
            writeln!(f, "  not the same device: {before} then, {now} now")?;
        }
        for (key, before, now) in &self.pairs {
            writeln!(f, "  {:>6.3}  {key}  ({before:.3} to {now:.3} ms)", now / before)?;
        }
        for (keys, what) in [(&self.new, "not in the baseline"), (&self.gone, "in the baseline only")] {
            for key in keys {
                writeln!(f, "  {what}: {key}")?;
            }
        }
        let regressions: Vec<&str> = self.regressions().collect();
        let percent = 100.0 * self.threshold;
        write!(f, "{} of {} rows slower by more than {percent:.0} %", regressions.len(), self.pairs.len())?;
        regressions.iter().try_for_each(|key| write!(f, "\n  slower: {key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn ratios_and_regressions() {
        let before = [row("a", 10.0), row("b", 10.0), row("c", 10.0), row("gone", 1.0)];
        let now = [row("a", 10.9), row("b", 11.1), row("c", 5.0), row("new", 1.0)];
        let comparison = compare(&before, &now, 0.1);
        assert_eq!(comparison.regressions().collect::<Vec<_>>(), [before[1].key()]);
        let text = comparison.to_string();
        for part in [
            "1.110  b, batch 8, implicit, tier cpu, f32, device clock  (10.000 to 11.100 ms)",
            "0.500  c",
            "in the baseline only: gone",
            "not in the baseline: new",
            "1 of 3 rows slower by more than 10 %",
            "slower: b",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(!text.contains("not the same device"));
        assert_eq!(compare(&before, &now, 0.2).regressions().count(), 0);
    }

    #[test]
    fn rows_of_other_conditions_are_told_apart() {
        let base = Row { tier: "base".to_string(), ..row("a", 1.0) };
        let batch = Row { batch: Some(32), ..row("a", 1.0) };
        let clock = Row { clock: "wall".to_string(), ..row("a", 1.0) };
        let memory = Row { memory_mib: Some(64), ..row("a", 1.0) };
        let comparison = compare(&[row("a", 1.0)], &[base, batch, clock, memory], 0.1);
        assert_eq!((comparison.pairs.len(), comparison.new.len(), comparison.gone.len()), (0, 4, 1));
        let other = Row { adapter: "GPU".to_string(), ..row("a", 1.0) };
        let text = compare(&[row("a", 1.0)], &[other], 0.1).to_string();
        assert!(text.contains("not the same device: llvmpipe (Mesa) then, GPU (Mesa) now"), "{text}");
    }

    #[test]
    fn a_row_without_a_time_is_no_pair() {
        let refused = Row { ms: None, ..row("a", 1.0) };
        assert_eq!(compare(&[row("a", 1.0)], std::slice::from_ref(&refused), 0.1).gone.len(), 1);
        let comparison = compare(std::slice::from_ref(&refused), std::slice::from_ref(&refused), 0.1);
        assert_eq!((comparison.pairs.len(), comparison.new.len(), comparison.gone.len()), (0, 0, 0));
    }
}
