//! The plots of a report, as SVG.

use metrics::calibration::Bin;
use plotters::prelude::*;

use super::LabelRow;
use crate::run_folder::Event;

const SIZE: (u32, u32) = (520, 320);

/// A named line.
type Line = (String, Vec<(f64, f64)>);

/// Training and validation loss by epoch.
pub fn losses(events: &[Event]) -> String {
    let mut lines: Vec<Line> =
        vec![("training loss".into(), events.iter().map(|e| (e.epoch as f64, e.loss)).collect())];
    let names: Vec<&String> = events.first().map(|e| e.loss_parts.keys().collect()).unwrap_or_default();
    for name in names {
        let points = events.iter().filter_map(|e| Some((e.epoch as f64, *e.loss_parts.get(name)?))).collect();
        lines.push((format!("part: {name}"), points));
    }
    lines.push(("validation loss".into(), validation_points(events, "loss")));
    draw("loss by epoch", "epoch", &lines, None)
}

/// Validation metrics by epoch.
pub fn validation(events: &[Event]) -> String {
    let shown = [("f1_macro", "macro-F1"), ("f1_micro", "micro-F1"), ("map_macro", "mAP"), ("precision_at_1", "P@1")];
    let lines: Vec<Line> = shown.iter().map(|(n, s)| ((*s).to_owned(), validation_points(events, n))).collect();
    draw("validation metrics by epoch", "epoch", &lines, Some((0.0, 1.0)))
}

fn validation_points(events: &[Event], name: &str) -> Vec<(f64, f64)> {
    events.iter().filter_map(|e| Some((e.epoch as f64, e.validation.as_ref()?.get(name)?.as_f64()?))).collect()
}

/// F1 of each label against its training positives.
pub fn frequency_against_f1(labels: &[LabelRow], mark: &str) -> String {
    let points: Vec<(f64, f64)> =
        labels.iter().filter(|l| l.positives > 0).map(|l| (((l.train_positives + 1) as f64).log10(), l.f1)).collect();
    let top = points.iter().map(|p| p.0).fold(1.0, f64::max);
    let title = format!("F1 by training positives{mark}");
    framed(&title, "log10(training positives + 1)", (0.0, top * 1.05), (-0.02, 1.02), |chart| {
        let style = BLUE.mix(0.5).filled();
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, style))).map(|_| ())
    })
}

/// How often instances with each label were trained on against its training positives.
pub fn frequency_against_sampling(labels: &[(usize, Option<f64>)]) -> String {
    let points: Vec<(f64, f64)> = labels.iter().filter_map(|l| Some((((l.0 + 1) as f64).log10(), l.1?))).collect();
    let right = points.iter().map(|p| p.0).fold(1.0, f64::max);
    let top = points.iter().map(|p| p.1).fold(2.0, f64::max);
    let (title, x) = ("times trained on, by training positives", "log10(training positives + 1)");
    framed(title, x, (0.0, right * 1.05), (0.0, top * 1.05), |chart| {
        chart.draw_series(LineSeries::new([(0.0, 1.0), (right * 1.05, 1.0)], BLACK.mix(0.3)))?;
        let style = BLUE.mix(0.5).filled();
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, style))).map(|_| ())
    })
}

/// Share of positives against mean score in ten bins: red as the model gives them, blue after the fitted scaling.
pub fn reliability(title: &str, before: &[Bin], after: Option<&[Bin]>) -> String {
    framed(title, "mean score of the bin", (0.0, 1.0), (0.0, 1.0), |chart| {
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLACK.mix(0.3)))?;
        for (name, bins, color) in [("unscaled", Some(before), RED), ("scaled", after, BLUE)] {
            let Some(bins) = bins else { continue };
            let points: Vec<(f64, f64)> =
                bins.iter().filter(|b| b.count > 0).map(|b| (b.confidence, b.accuracy)).collect();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), &color))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
            chart.draw_series(points.iter().map(|p| Circle::new(*p, 4, color.filled())))?;
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()
    })
}

fn draw(title: &str, x: &str, lines: &[Line], y_range: Option<(f64, f64)>) -> String {
    let points = || lines.iter().flat_map(|l| l.1.iter().copied()).filter(|p| p.1.is_finite());
    let last = points().map(|p| p.0).fold(1.0, f64::max);
    let top = points().map(|p| p.1).fold(0.0, f64::max);
    if points().next().is_none() {
        return String::new();
    }
    let (low, high) = y_range.unwrap_or((0.0, top * 1.05 + 1e-12));
    framed(title, x, (1.0, last.max(2.0)), (low, high), |chart| {
        for (i, (name, points)) in lines.iter().enumerate().filter(|l| !l.1.1.is_empty()) {
            let color = Palette99::pick(i).to_rgba();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()
    })
}

type Chart<'a> = ChartContext<
    'a,
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// A frame with axes around what `content` draws; an empty string where drawing fails.
fn framed<F, E>(title: &str, x: &str, x_range: (f64, f64), y_range: (f64, f64), content: F) -> String
where
    F: FnOnce(&mut Chart) -> Result<(), E>,
{
    let mut svg = String::new();
    let drawn = (|| {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).ok()?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(x_range.0..x_range.1, y_range.0..y_range.1)
            .ok()?;
        chart.configure_mesh().light_line_style(WHITE).bold_line_style(BLACK.mix(0.1)).x_desc(x).draw().ok()?;
        content(&mut chart).ok()?;
        root.present().ok()
    })();
    if drawn.is_none() { String::new() } else { svg }
}
