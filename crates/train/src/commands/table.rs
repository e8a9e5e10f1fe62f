//! Results on standard output.

use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};
use metrics::MetricTable;

use crate::error::{Error, Result};
use crate::run_folder::Protocol;

/// The metrics shown first, with the names people read.
const SHOWN: &[(&str, &str)] = &[
    ("f1_macro", "macro-F1"),
    ("f1_micro", "micro-F1"),
    ("f1_samples", "samples-F1"),
    ("f2_macro", "macro-F2"),
    ("map_macro", "mAP (macro)"),
    ("auroc_macro", "macro-AUC"),
    ("precision_at_1", "P@1"),
    ("precision_at_3", "P@3"),
    ("precision_at_5", "P@5"),
    ("ndcg_at_5", "nDCG@5"),
    ("psp_at_5", "PSP@5"),
    ("f1_negative", "F1 of negatives"),
    ("ranking_loss", "ranking loss"),
    ("hamming_loss", "Hamming loss"),
    ("subset_accuracy", "subset accuracy"),
    ("ece_10_bins", "calibration error"),
];

/// Writes to standard output; a closed pipe is no failure.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Job(format!("standard output: {e}"))),
        _ => Ok(()),
    }
}

/// A table with right-aligned columns after the first.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

/// Metrics of one split beside the baseline's; an oracle's are named so in every column that is one's.
pub fn metrics(split: &str, model: &MetricTable, baseline: Option<&MetricTable>, protocol: Protocol) -> String {
    let rows: Vec<Vec<String>> = shown(model)
        .map(|(name, shown)| {
            let mut row = vec![shown.to_owned(), number(model.get(name))];
            row.extend(baseline.map(|b| number(b.get(name))));
            row
        })
        .collect();
    let (split, model) = match protocol {
        Protocol::Standard => (split.to_owned(), "model"),
        Protocol::Oracle => (format!("{split} (oracle)"), "model (oracle)"),
    };
    let mut header = vec![split.as_str(), model];
    header.extend(baseline.map(|_| "by frequency"));
    table(&header, &rows)
}

/// Mean metrics of several runs with their standard deviation.
pub fn deviations(name: &str, mean: &MetricTable, deviation: &MetricTable, baseline: Option<&MetricTable>) -> String {
    let row = |(metric, shown): (&str, &str)| {
        let both = format!("{} ± {}", number(mean.get(metric)), number(deviation.get(metric)));
        vec![shown.to_owned(), both, number(baseline.and_then(|b| b.get(metric)))]
    };
    let rows: Vec<Vec<String>> = shown(mean).map(row).collect();
    table(&[name, "mean ± deviation", "by frequency"], &rows)
}

/// Metrics of one split under two rules.
pub fn before_after(split: &str, old: &str, before: Option<&MetricTable>, new: &str, after: &MetricTable) -> String {
    let row = |(name, shown): (&str, &str)| {
        vec![shown.to_owned(), number(before.and_then(|b| b.get(name))), number(after.get(name))]
    };
    let rows: Vec<Vec<String>> = shown(after).map(row).collect();
    table(&[split, &format!("before ({old})"), &format!("now ({new})")], &rows)
}

fn shown(table: &MetricTable) -> impl Iterator<Item = (&'static str, &'static str)> {
    SHOWN.iter().copied().filter(|(name, _)| table.get(name).is_some())
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |v| format!("{v:.4}"))
}
