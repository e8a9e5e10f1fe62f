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

/// Precision against recall of all labels together.
pub fn precision_recall(curve: &[(f64, f64)], mark: &str) -> String {
    if curve.is_empty() {
        return String::new();
    }
    framed(
        &format!("precision against recall, all labels together{mark}"),
        "recall",
        (0.0, 1.0),
        (0.0, 1.02),
        |chart| chart.draw_series(LineSeries::new(curve.iter().copied(), BLUE.stroke_width(2))).map(|_| ()),
    )
}

/// The score each label is decided at against its training positives.
pub fn frequency_against_threshold(labels: &[LabelRow], thresholds: &[f64], mark: &str) -> String {
    if thresholds.len() != labels.len() {
        // One for all labels, or none: nothing to see.
        return String::new();
    }
    let points: Vec<(f64, f64)> =
        labels.iter().zip(thresholds).map(|(l, t)| (((l.train_positives + 1) as f64).log10(), *t)).collect();
    let right = points.iter().map(|p| p.0).fold(1.0, f64::max);
    let (title, x) = (format!("threshold by training positives{mark}"), "log10(training positives + 1)");
    framed(&title, x, (0.0, right * 1.05), (-0.02, 1.02), |chart| {
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, BLUE.mix(0.5).filled()))).map(|_| ())
    })
}

/// A validation metric of several runs by epoch.
pub fn runs(title: &str, lines: &[(String, Vec<(f64, f64)>)]) -> String {
    draw(title, "epoch", lines, None)
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

/// Methods on a line of their average ranks, the best at the left; a bar joins those that are not distinguishable.
///
/// Source: Demšar, JMLR 7, 2006, §3.2.3. At most twenty methods are shown.
pub fn critical_difference(ranks: &[(String, f64)], critical: f64) -> String {
    let mut shown = ranks.to_vec();
    shown.sort_by(|a, b| a.1.total_cmp(&b.1));
    shown.truncate(20);
    let (Some(low), Some(high)) = (shown.first().map(|r| r.1.floor()), shown.last().map(|r| r.1.ceil())) else {
        return String::new();
    };
    let height = 90 + 18 * shown.len() as u32;
    let longest = shown.iter().map(|r| r.0.len()).max().unwrap_or(0) as u32;
    let width = 560 + 7 * longest;
    let mut svg = String::new();
    let drawn = (|| {
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        root.fill(&WHITE).ok()?;
        let x = |rank: f64| 40 + ((rank - low) / (high - low).max(1.0) * 420.0) as i32;
        let line = |from: (i32, i32), to: (i32, i32), width: u32| {
            root.draw(&PathElement::new([from, to], BLACK.stroke_width(width))).ok()
        };
        let text = |words: &str, at: (i32, i32)| root.draw(&Text::new(words.to_owned(), at, ("sans-serif", 13))).ok();
        line((x(low), 50), (x(high), 50), 1)?;
        let mut tick = low;
        while tick <= high {
            line((x(tick), 45), (x(tick), 50), 1)?;
            text(&tick.to_string(), (x(tick) - 3, 30))?;
            tick += 1.0;
        }
        let end = x(low + critical).min(480);
        line((x(low), 18), (end, 18), 2)?;
        text(&format!("critical difference {critical:.2}"), (end + 8, 10))?;
        for (i, (label, rank)) in shown.iter().enumerate() {
            let y = 80 + 18 * i as i32;
            line((x(*rank), 50), (x(*rank), y), 1)?;
            line((x(*rank), y), (480, y), 1)?;
            text(&format!("{label}  {rank:.2}"), (486, y - 7))?;
        }
        // Each bar from a method to the last one it cannot be told from; not those inside another bar.
        let (mut y, mut reach) = (56, 0);
        for (i, (_, rank)) in shown.iter().enumerate() {
            let last = shown.iter().rposition(|r| r.1 - rank < critical).unwrap_or(i);
            if last > i && last > reach {
                line((x(*rank) - 3, y), (x(shown[last].1) + 3, y), 3)?;
                reach = last;
                y += 5;
            }
        }
        root.present().ok()
    })();
    if drawn.is_none() { String::new() } else { svg }
}

/// Values in the order of numbers where they all are numbers, else of text.
fn in_order(mut values: Vec<String>) -> Vec<String> {
    let number = |v: &String| v.parse::<f64>();
    match values.iter().all(|v| number(v).is_ok()) {
        true => values.sort_by(|a, b| number(a).unwrap_or(0.0).total_cmp(&number(b).unwrap_or(0.0))),
        false => values.sort(),
    }
    values.dedup();
    values
}

/// What came of each value of a setting: every trial a point, the means a line.
pub fn by_setting(key: &str, points: &[(String, f64)]) -> String {
    let values = in_order(points.iter().map(|p| p.0.clone()).collect());
    let place = |value: &String| values.iter().position(|v| v == value).unwrap_or(0) as f64;
    let all: Vec<(f64, f64)> = points.iter().map(|(v, y)| (place(v), *y)).filter(|p| p.1.is_finite()).collect();
    let low = all.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = all.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    if all.is_empty() {
        return String::new();
    }
    let room = ((high - low) * 0.08).max(1e-6);
    let means: Vec<(f64, f64)> = (0..values.len())
        .filter_map(|i| {
            let own: Vec<f64> = all.iter().filter(|p| p.0 == i as f64).map(|p| p.1).collect();
            (!own.is_empty()).then(|| (i as f64, own.iter().sum::<f64>() / own.len() as f64))
        })
        .collect();
    let mut svg = String::new();
    let drawn = (|| {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).ok()?;
        let mut chart = ChartBuilder::on(&root)
            .caption(key, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d(-0.5..values.len() as f64 - 0.5, low - room..high + room)
            .ok()?;
        let name = |x: &f64| match values.get(x.round() as usize) {
            Some(value) if (x - x.round()).abs() < 0.01 => value.chars().take(24).collect(),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(BLACK.mix(0.1))
            .light_line_style(WHITE)
            .x_labels(2 * values.len() + 1)
            .x_label_formatter(&name)
            .draw()
            .ok()?;
        chart.draw_series(all.iter().map(|p| Circle::new(*p, 3, BLUE.mix(0.35).filled()))).ok()?;
        chart.draw_series(LineSeries::new(means.iter().copied(), RED.stroke_width(2))).ok()?;
        root.present().ok()
    })();
    if drawn.is_none() { String::new() } else { svg }
}

/// Every trial as a line over its settings, the last axis what came of it: red the best, blue the worst.
pub fn parallel(keys: &[&str], metric: &str, lines: &[(Vec<Option<String>>, f64)]) -> String {
    let values: Vec<Vec<String>> =
        (0..keys.len()).map(|k| in_order(lines.iter().filter_map(|l| l.0[k].clone()).collect())).collect();
    let low = lines.iter().map(|l| l.1).fold(f64::INFINITY, f64::min);
    let high = lines.iter().map(|l| l.1).fold(f64::NEG_INFINITY, f64::max);
    let (width, height) = (160 * (keys.len() as u32 + 1) + 120, 380);
    let mut svg = String::new();
    let drawn = (|| {
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        root.fill(&WHITE).ok()?;
        let x = |axis: usize| 80 + 160 * axis as i32;
        let y = |share: f64| 340 - (share * 270.0) as i32;
        let text = |words: &str, at: (i32, i32)| {
            let short: String = words.chars().take(22).collect();
            root.draw(&Text::new(short, at, ("sans-serif", 12))).ok()
        };
        let place = |k: usize, value: &String| {
            let at = values[k].iter().position(|v| v == value).unwrap_or(0) as f64;
            at / (values[k].len().max(2) - 1) as f64
        };
        let share = |value: f64| if high > low { (value - low) / (high - low) } else { 0.5 };
        let mut sorted: Vec<&(Vec<Option<String>>, f64)> = lines.iter().collect();
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        for (settings, value) in sorted {
            let mut points: Vec<(i32, i32)> =
                settings.iter().enumerate().filter_map(|(k, v)| Some((x(k), y(place(k, v.as_ref()?))))).collect();
            points.push((x(keys.len()), y(share(*value))));
            let color = RGBColor((220.0 * share(*value)) as u8, 40, (220.0 * (1.0 - share(*value))) as u8);
            root.draw(&PathElement::new(points, color.mix(0.5).stroke_width(1))).ok()?;
        }
        for (axis, name) in keys.iter().copied().chain([metric]).enumerate() {
            root.draw(&PathElement::new([(x(axis), y(0.0)), (x(axis), y(1.0))], BLACK.stroke_width(1))).ok()?;
            text(name, (x(axis) - 40, 30))?;
        }
        for (k, own) in values.iter().enumerate() {
            for value in own.iter().step_by(own.len().div_ceil(12).max(1)) {
                text(value, (x(k) + 5, y(place(k, value)) - 6))?;
            }
        }
        for value in [low, high] {
            text(&format!("{value:.4}"), (x(keys.len()) + 5, y(share(value)) - 6))?;
        }
        root.present().ok()
    })();
    if drawn.is_none() { String::new() } else { svg }
}
