//! Curves of a run as an SVG picture: loss on the left, accuracy on the right, training and test.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::record::EpochRecord;

const SIZE: (u32, u32) = (1000, 420);
const TRAIN: RGBColor = RGBColor(31, 119, 180);
const TEST: RGBColor = RGBColor(214, 69, 32);
const TEXT: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(225, 225, 225);
const FONT: &str = "sans-serif";

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// No epoch with a finite figure.
    #[error("curves: wanted at least one epoch with a finite loss or accuracy, got none")]
    Nothing,
    /// The picture could not be drawn.
    #[error("curves: drawing failed: {0}")]
    Draw(String),
}

/// The curves of a run as the text of an SVG picture of 1000 by 420 pixels, under `title`. Figures that are not finite leave a gap.
///
/// # Errors
/// No finite figure.
pub fn curves_svg(title: &str, epochs: &[EpochRecord]) -> Result<String, PlotError> {
    let line = |f: &dyn Fn(&EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        let point = |r: &EpochRecord| Some((f64::from(r.epoch) + 1.0, f(r)?));
        epochs.iter().filter_map(point).filter(|p| p.1.is_finite()).collect()
    };
    let loss = [line(&|r| Some(r.train_loss)), line(&|r| r.test_loss)];
    let accuracy = [line(&|r| Some(100.0 * r.train_accuracy)), line(&|r| r.test_accuracy.map(|a| 100.0 * a))];
    if loss.iter().chain(&accuracy).all(Vec::is_empty) {
        return Err(PlotError::Nothing);
    }
    let mut svg = String::new();
    draw(&mut svg, title, &loss, &accuracy).map_err(|e| PlotError::Draw(e.to_string()))?;
    Ok(svg)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;
/// Training and test.
type Lines = [Vec<(f64, f64)>; 2];

fn draw(svg: &mut String, title: &str, loss: &Lines, accuracy: &Lines) -> Drawn {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, (FONT, 22).into_font().color(&TEXT))?;
    let panels = root.split_evenly((1, 2));
    if let [left, right] = panels.as_slice() {
        panel(left, "loss", "loss", loss, SeriesLabelPosition::UpperRight)?;
        panel(right, "accuracy", "accuracy in %", accuracy, SeriesLabelPosition::LowerRight)?;
    }
    root.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    caption: &str,
    y_name: &str,
    lines: &Lines,
    legend: SeriesLabelPosition,
) -> Drawn {
    let x = span(lines.iter().flatten().map(|p| p.0), 0.5);
    let y = span(lines.iter().flatten().map(|p| p.1), 0.1);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, 17).into_font().color(&TEXT))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(x.clone(), y.clone())?;
    let decimals = if y.end - y.start < 0.5 {
        3
    } else if y.end - y.start < 10.0 {
        2
    } else {
        0
    };
    let epochs = (x.end - x.start) as usize + 1;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style((FONT, 13).into_font().color(&TEXT))
        .axis_desc_style((FONT, 14).into_font().color(&TEXT))
        .x_labels(epochs.min(10))
        .y_labels(8)
        // Ticks between whole epochs say nothing.
        .x_label_formatter(&|v| {
            if v.fract() == 0.0 { format!("{v:.0}") } else { String::new() }
        })
        .y_label_formatter(&|v| format!("{v:.decimals$}"))
        .x_desc("epoch")
        .y_desc(y_name)
        .draw()?;
    for (line, (name, colour)) in lines.iter().zip([("training", TRAIN), ("test", TEST)]) {
        if line.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        // Dots show single epochs, and make a run of one epoch visible at all.
        if line.len() <= 60 {
            chart.draw_series(line.iter().map(|&p| Circle::new(p, 3, colour.filled())))?;
        }
    }
    chart
        .configure_series_labels()
        .position(legend)
        .margin(10)
        .label_font((FONT, 14).into_font().color(&TEXT))
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .draw()?;
    Ok(())
}

/// The range of the values and a little more on both sides: `margin` of its width, or `margin` itself where it has none.
fn span(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let width = high - low;
    let pad = if width > 0.0 { (margin * width).min(margin.max(width * 0.08)) } else { margin };
    low - pad..high + pad
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::epoch;
    use super::*;

    #[test]
    fn a_picture_with_all_its_parts() {
        let records: Vec<_> = (0..8).map(epoch).collect();
        let svg = curves_svg("resnet8 on fashion-mnist", &records).expect("drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for part in ["resnet8 on fashion-mnist", "loss", "accuracy in %", "epoch", "training", "test"] {
            assert!(svg.contains(part), "{part}");
        }
        assert_eq!(svg.matches("<circle").count(), 32);
        assert!(svg.matches("<polyline").count() >= 4);
    }

    #[test]
    fn one_epoch_no_test_and_gaps() {
        let one = [EpochRecord { test_loss: None, test_accuracy: None, ..epoch(0) }];
        let svg = curves_svg("one", &one).expect("drawn");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains(">\ntest\n"));
        let mut gap: Vec<_> = (0..3).map(epoch).collect();
        gap[1].train_loss = f64::NAN;
        gap[2].train_loss = f64::INFINITY;
        assert_eq!(curves_svg("gap", &gap).expect("drawn").matches("<circle").count(), 10);
    }

    #[test]
    fn nothing_to_draw() {
        assert!(matches!(curves_svg("none", &[]), Err(PlotError::Nothing)));
        let nan = EpochRecord {
            train_loss: f64::NAN,
            train_accuracy: f64::NAN,
            test_loss: None,
            test_accuracy: Some(f64::NAN),
            ..epoch(0)
        };
        assert!(matches!(curves_svg("nan", &[nan]), Err(PlotError::Nothing)));
    }

    #[test]
    fn a_title_cannot_break_the_picture() {
        let svg = curves_svg("a < b & \"c\"", &[epoch(0), epoch(1)]).expect("drawn");
        assert!(!svg.contains("a < b"));
    }

    #[test]
    fn spans() {
        assert_eq!(span([].into_iter(), 0.1), 0.0..1.0);
        assert_eq!(span([3.0].into_iter(), 0.5), 2.5..3.5);
        let r = span([0.0, 10.0].into_iter(), 0.1);
        assert!(r.start < 0.0 && r.start > -1.1 && r.end > 10.0);
    }
}
