//! Several runs beside each other: metrics, curves, and the settings in which they differ.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use metrics::{Direction, direction};
use toml::Table;

use super::page::{self, escape};
use super::plots;
use crate::checkpoint::write_atomically;
use crate::error::{Error, Result};
use crate::run_folder::{Metrics, Protocol, RunFolder};
use crate::sweep::spec::flatten;

/// Validation metrics with a curve.
const CURVES: [&str; 3] = ["loss", "f1_macro", "map_macro"];

struct Run {
    name: String,
    metrics: Metrics,
    settings: BTreeMap<String, String>,
    folder: RunFolder,
}

/// Writes one page about several runs.
///
/// # Errors
/// When one of them has not ended, or the disk refuses.
pub fn write(folders: &[&Path], page: &Path) -> Result<()> {
    let runs = folders.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let mut out = page::head("Runs side by side");
    let _ = write!(out, "<p>{} runs.</p>", runs.len());
    if runs.iter().any(|r| r.metrics.protocol == Protocol::Oracle) {
        out += "<p class=\"oracle\">oracle: in the runs marked so true labels helped the predictions</p>";
    }
    metrics_table(&mut out, &runs);
    out += "<h2>Curves</h2><div class=\"plots\">";
    for metric in CURVES {
        let lines: Vec<(String, Vec<(f64, f64)>)> = runs.iter().map(|r| (r.name.clone(), curve(r, metric))).collect();
        out += &plots::runs(&format!("validation: {metric}"), &lines);
    }
    out += "</div>";
    settings_table(&mut out, &runs);
    out += &page::foot();
    write_atomically(page, &[out.as_bytes()])
}

fn read(path: &Path) -> Result<Run> {
    let folder = RunFolder::open(path)?;
    let metrics = folder.metrics()?;
    let file = path.join("config.toml");
    let text = std::fs::read_to_string(&file).map_err(|e| Error::Request(format!("{}: {e}", file.display())))?;
    let table: Table = toml::from_str(&text).map_err(|e| Error::Request(format!("{}: {e}", file.display())))?;
    let mut flat = Vec::new();
    flatten("", &table, &|v| !v.is_table(), &mut flat);
    let settings = flat.into_iter().map(|(key, value)| (key, value.to_string())).collect();
    let mut name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    if metrics.protocol == Protocol::Oracle {
        name += ", oracle";
    }
    Ok(Run { name, metrics, settings, folder })
}

fn split_of(metrics: &Metrics) -> Option<&metrics::MetricTable> {
    metrics.split.get("test").or_else(|| metrics.split.values().next())
}

/// Metrics in rows, runs in columns, the best of each row marked.
fn metrics_table(out: &mut String, runs: &[Run]) {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in runs.iter().filter_map(|r| split_of(&r.metrics)).flat_map(metrics::MetricTable::iter) {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    let mut rows = String::new();
    for name in names {
        let values: Vec<Option<f64>> = runs.iter().map(|r| split_of(&r.metrics)?.get(&name)).collect();
        let known = values.iter().flatten().copied();
        let best = match direction(&name) {
            Ok(Direction::Down) => known.reduce(f64::min),
            _ => known.reduce(f64::max),
        };
        let _ = write!(rows, "<tr><td>{}</td>", escape(&name));
        for value in values {
            let class = if value.is_some() && value == best { " class=\"best\"" } else { "" };
            let _ = write!(rows, "<td{class}>{}</td>", value.map_or_else(|| "–".into(), |v| format!("{v:.4}")));
        }
        rows += "</tr>";
    }
    *out += "<h2>Metrics</h2>";
    let columns: Vec<&str> = std::iter::once("test split").chain(runs.iter().map(|r| r.name.as_str())).collect();
    page::searchable(out, "metrics", &columns, &rows);
}

fn curve(run: &Run, metric: &str) -> Vec<(f64, f64)> {
    let events = run.folder.events();
    events.iter().filter_map(|e| Some((e.epoch as f64, e.validation.as_ref()?.get(metric)?.as_f64()?))).collect()
}

fn settings_table(out: &mut String, runs: &[Run]) {
    let mut keys: Vec<&String> = runs.iter().flat_map(|r| r.settings.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut rows = String::new();
    for key in keys {
        let values: Vec<&str> = runs.iter().map(|r| r.settings.get(key).map_or("–", String::as_str)).collect();
        if values.iter().any(|v| *v != values[0]) {
            let _ = write!(rows, "<tr><td>{}</td>", escape(key));
            for value in values {
                let _ = write!(rows, "<td>{}</td>", escape(value));
            }
            rows += "</tr>";
        }
    }
    *out += "<h2>Settings that differ</h2>";
    if rows.is_empty() {
        *out += "<p>None.</p>";
        return;
    }
    let columns: Vec<&str> = std::iter::once("setting").chain(runs.iter().map(|r| r.name.as_str())).collect();
    page::searchable(out, "settings", &columns, &rows);
}
