//! Lines of a study as small panels in one SVG file: what scripts draw their plots with.
//!
//! Usage: `curves FILE.svg COLUMNS < lines`, each line `panel TAB series TAB x TAB y`; an x-axis is named by what stands
//! in the panel's name after ` | `. The y-axis begins at 0 where the panel's name
//! ends in ` (from 0)`.

use std::error::Error;
use std::io::BufRead;

use plotters::prelude::*;

const FROM_0: &str = " (from 0)";

type Series = (String, Vec<(f64, f64)>);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (file, columns) = arguments.next().zip(arguments.next()).ok_or("usage: curves FILE.svg COLUMNS < lines")?;
    let columns: usize = columns.parse()?;
    let mut panels: Vec<(String, Vec<Series>)> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let fields: Vec<&str> = line.split('\t').collect();
        let [panel, series, x, y] = fields[..] else { return Err(format!("not four fields: {line}").into()) };
        let panel = entry(&mut panels, panel);
        let list = &mut panels[panel].1;
        let series = entry(list, series);
        list[series].1.push((x.parse()?, y.parse()?));
    }
    let rows = panels.len().div_ceil(columns).max(1);
    let root = SVGBackend::new(&file, (360 * columns as u32, 260 * rows as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (i, (area, (name, series))) in root.split_evenly((rows, columns)).iter().zip(&panels).enumerate() {
        let points = || series.iter().flat_map(|s| s.1.iter());
        let least = |f: fn(&(f64, f64)) -> f64| points().map(f).fold(f64::INFINITY, f64::min);
        let most = |f: fn(&(f64, f64)) -> f64| points().map(f).fold(f64::NEG_INFINITY, f64::max);
        let (x, y) = ((least(|p| p.0), most(|p| p.0)), (least(|p| p.1), most(|p| p.1)));
        let room = (y.1 - y.0) * 0.05;
        let low = if name.ends_with(FROM_0) { 0.0 } else { y.0 - room };
        panel(area, name, series, (x.0, x.1), (low, y.1 + room), i == 0)?;
    }
    Ok(root.present()?)
}

/// Position of the entry of this name, which is added where it is absent.
fn entry<T: Default>(list: &mut Vec<(String, T)>, name: &str) -> usize {
    list.iter().position(|e| e.0 == name).unwrap_or_else(|| {
        list.push((name.to_owned(), T::default()));
        list.len() - 1
    })
}

fn panel(
    area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
    name: &str,
    series: &[Series],
    x: (f64, f64),
    y: (f64, f64),
    legend: bool,
) -> Result<(), Box<dyn Error>> {
    let (title, axis) = name.trim_end_matches(FROM_0).split_once(" | ").unwrap_or((name, ""));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 14))
        .margin(6)
        .x_label_area_size(32)
        .y_label_area_size(46)
        .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
    chart.configure_mesh().light_line_style(WHITE).bold_line_style(BLACK.mix(0.1)).x_desc(axis).x_labels(5).draw()?;
    for (i, (name, points)) in series.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let line = chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        if legend {
            line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        if points.len() < 8 {
            chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, color.filled())))?;
        }
    }
    if legend {
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()?;
    }
    Ok(())
}
