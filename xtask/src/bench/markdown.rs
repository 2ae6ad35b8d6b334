//! The rows as a table in a document, between two markers.

use super::row::Row;
use anyhow::{Result, bail};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

type Cell = fn(&Row) -> Option<String>;

/// Headings and cells; a column that no row fills is left out.
const COLUMNS: [(&str, Cell); 10] = [
    ("what", |row| Some(row.name.replace('|', "\\|"))),
    ("pixels", |row| Some(row.size?.to_string())),
    ("batch", |row| Some(row.batch?.to_string())),
    ("algorithm", |row| Some(row.algo.clone()).filter(|algo| !algo.is_empty())),
    ("ms (least to most)", |row| Some(format!("{:.2} ({:.2} to {:.2})", row.ms?, row.ms_min?, row.ms_max?))),
    ("images/s", |row| Some(format!("{:.1}", row.images_per_s?))),
    ("GFLOP/s (of peak)", |row| rate(row.gflops.filter(|&rate| rate > 0.0)?, row.fma_percent)),
    ("GB/s (of copy)", |row| rate(row.gb_per_s?, row.copy_percent)),
    ("first step, ms", |row| Some(format!("{:.0}", row.first_step_ms?))),
    ("max. error", |row| Some(format!("{:.1e}", row.max_err?))),
];

fn rate(rate: f64, percent: Option<f64>) -> Option<String> {
    Some(format!("{rate:.1}{}", percent.map(|percent| format!(" ({percent:.0} %)")).unwrap_or_default()))
}

/// The rows as a table, below a line that says what they were measured on and by which command.
pub(super) fn table(rows: &[Row], command: &str) -> String {
    let columns: Vec<_> = COLUMNS.iter().filter(|(_, cell)| rows.iter().any(|row| cell(row).is_some())).collect();
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = String::new();
    if let Some(row) = rows.first() {
        text.push_str(&format!("{} ({}), tier {}; `{command}`:\n\n", row.adapter, row.driver, row.tier));
    }
    text.push_str(&line(columns.iter().map(|(heading, _)| (*heading).to_string()).collect()));
    text.push_str(&format!("|{}\n", "---|".repeat(columns.len())));
    for row in rows {
        let mut cells: Vec<String> = columns.iter().map(|(_, cell)| cell(row).unwrap_or_default()).collect();
        if let (Some(error), Some(last)) = (&row.error, cells.last_mut()) {
            *last = error.replace('|', "\\|").replace('\n', " ");
        }
        text.push_str(&line(cells));
    }
    text
}

/// `document` with what stands between the markers replaced by `table`.
pub(super) fn splice(document: &str, table: &str) -> Result<String> {
    let only = |marker: &str| {
        let mut found = document.match_indices(marker).map(|(at, _)| at);
        match (found.next(), found.next()) {
            (Some(at), None) => Ok(at),
            (None, _) => {
                bail!("no marker `{marker}`; put `{BEGIN}` and `{END}` on lines of their own where the table belongs")
            }
            _ => bail!("two markers `{marker}`; one of them is too many"),
        }
    };
    let (begin, end) = (only(BEGIN)? + BEGIN.len(), only(END)?);
    if end < begin {
        bail!("`{END}` stands before `{BEGIN}`");
    }
    Ok(format!("{}\n{}\n{}", &document[..begin], table.trim_end(), &document[end..]))
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn the_table_replaces_what_was_between_the_markers() {
        let document = format!("before\n{BEGIN}\nold\nolder\n{END}\nbehind\n");
        let once = splice(&document, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nbehind\n"));
        assert_eq!(splice(&once, "new\n").unwrap(), once);
        assert_eq!(splice(&format!("{BEGIN}{END}"), "t").unwrap(), format!("{BEGIN}\nt\n{END}"));
    }

    #[test]
    fn missing_doubled_and_swapped_markers_are_named() {
        let says = |document: &str, part: &str| {
            let error = splice(document, "t").unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        says("nothing", "no marker `<!-- bench:begin -->`");
        says(BEGIN, "no marker `<!-- bench:end -->`");
        says(&format!("{END}\n{BEGIN}"), "stands before");
        says(&format!("{BEGIN}{BEGIN}{END}"), "two markers `<!-- bench:begin -->`");
    }

    #[test]
    fn columns_without_a_cell_are_left_out() {
        let net = Row { images_per_s: Some(137.25), algo: String::new(), size: Some(32), ..row("resnet20", 2.0) };
        let refused =
            Row { ms: None, gflops: None, max_err: None, error: Some("fc6 | too\nlarge".into()), ..net.clone() };
        let text = table(&[net, refused], "cargo xtask bench nets");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "llvmpipe (Mesa), tier cpu; `cargo xtask bench nets`:");
        assert_eq!(
            lines[2],
            "| what | pixels | batch | ms (least to most) | images/s | GFLOP/s (of peak) | max. error |"
        );
        assert_eq!(lines[3], "|---|---|---|---|---|---|---|");
        assert_eq!(lines[4], "| resnet20 | 32 | 8 | 2.00 (1.50 to 2.50) | 137.2 | 40.0 | 1.5e-7 |");
        assert!(lines[5].ends_with("| fc6 \\| too large |"), "{}", lines[5]);
    }
}
