//! `cargo xtask bench accuracy`: how far every algorithm's result is from f64, on layers of well-known nets.

use super::Bench;
use super::conv::{Layer, items_of};
use super::measure::Subject;
use super::row::Row;
use anyhow::Result;
use wgrad::tensor::ops::Target;

#[rustfmt::skip] // A table is read by its columns.
const LAYERS: [Layer; 10] = [
    Layer { name: "alexnet.conv1",       c:   3, h: 67, k:  64, r: 11, stride: 4, padding: 2, groups: 1 },
    Layer { name: "alexnet.conv2",       c:  64, h: 27, k: 192, r:  5, stride: 1, padding: 2, groups: 1 },
    Layer { name: "alexnet.conv3",       c: 192, h: 13, k: 384, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "alexnet.conv5",       c: 256, h: 13, k: 256, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "vgg16.conv2_1, 56px", c:  64, h: 56, k: 128, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "vgg16.conv5_1",       c: 512, h: 14, k: 512, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "resnet50.layer1.1x1", c:  64, h: 56, k: 256, r:  1, stride: 1, padding: 0, groups: 1 },
    Layer { name: "resnet50.layer2.3x3", c: 128, h: 28, k: 128, r:  3, stride: 2, padding: 1, groups: 1 },
    Layer { name: "resnet50.layer4.3x3", c: 512, h:  7, k: 512, r:  3, stride: 1, padding: 1, groups: 1 },
    Layer { name: "11x11, 64 channels",  c:  64, h: 27, k:  64, r: 11, stride: 1, padding: 5, groups: 1 },
];

/// Rows with errors and no times, and a table in Markdown unless lines are for programs: layers and algorithms by passes,
/// largest error relative to the largest value / root mean square of the error relative to that of the values.
pub(super) fn run(bench: &Bench, target: &Target, batch: usize, filter: Option<&str>) -> Result<Vec<Row>> {
    let items = items_of(&LAYERS, target, batch)?;
    let mut rows: Vec<Row> = Vec::new();
    for item in super::chosen(&items, filter)? {
        let error = Subject::new(&bench.device, &item.case, bench.storage)?.error()?;
        let (name, algo, errors) = (item.name.clone(), item.algo.clone(), (Some(error.max), Some(error.rms)));
        let row = Row { name, algo, batch: Some(batch), max_err: errors.0, rms_err: errors.1, ..bench.row() };
        if bench.json {
            bench.show(&row);
        }
        rows.push(row);
    }
    if !bench.json {
        println!("{}", table(&rows));
    }
    Ok(rows)
}

/// One line a layer and algorithm, one column a pass.
fn table(rows: &[Row]) -> String {
    let split = |row: &Row| row.name.rsplit_once(' ').map(|(layer, pass)| (layer.to_string(), pass.to_string()));
    let mut lines: Vec<(String, String)> = Vec::new();
    for row in rows {
        let line = (split(row).unwrap_or_default().0, row.algo.clone());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.sort_by_key(|(layer, _)| LAYERS.iter().position(|known| layer.starts_with(known.name)));
    let mut text =
        String::from("| layer | algorithm | forward | input gradient | filter gradient |\n|---|---|---|---|---|");
    for (layer, algo) in lines {
        text.push_str(&format!("\n| {layer} | {algo} |"));
        for pass in ["forward", "backward_input", "backward_weight"] {
            let is_cell = |row: &&Row| split(row) == Some((layer.clone(), pass.to_string())) && row.algo == algo;
            let cell = rows.iter().find(is_cell).and_then(|row| Some((row.max_err?, row.rms_err?)));
            let cell = cell.map_or("–".to_string(), |(max, rms)| format!("{max:.1e} / {rms:.1e}"));
            text.push_str(&format!(" {cell} |"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_stand_side_by_side() {
        let row = |name: &str, algo: &str, error: f64| Row {
            name: name.to_string(),
            algo: algo.to_string(),
            max_err: Some(error),
            rms_err: Some(error / 2.0),
            ..Row::default()
        };
        let rows = [
            row("alexnet.conv3 forward", "im2col", 2e-6),
            row("alexnet.conv3 backward_weight", "im2col", 4e-6),
            row("alexnet.conv2 forward", "fft", 1e-6),
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "| alexnet.conv2 | fft | 1.0e-6 / 5.0e-7 | – | – |");
        assert_eq!(lines[1], "| alexnet.conv3 | im2col | 2.0e-6 / 1.0e-6 | – | 4.0e-6 / 2.0e-6 |");
    }
}
