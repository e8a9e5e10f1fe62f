//! One HTML file for a run, complete in itself: no network, no scripts from elsewhere.

pub mod comparison;
mod mistakes;
mod page;
mod plots;
mod sampling;
pub mod sweep;

use std::fmt::Write;
use std::path::PathBuf;

use data::Dataset;
use losses::TrainingCounts;
use metrics::ranking::label_curves;
use metrics::{Decision, Scores, per_label};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::write_atomically;
use crate::error::{Error, Result};
use crate::run_folder::{BeforeAfter, Metrics, Protocol, RunFolder};

use page::escape;

pub use mistakes::Confusion;
pub use sampling::{SAMPLING, Sampling};

/// File of [`Details`] in a run folder.
pub const DETAILS: &str = "labels.json";

/// One label on the evaluated split.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabelRow {
    /// Name or index.
    pub label: String,
    /// Positives in the training split.
    pub train_positives: usize,
    /// Positives in the evaluated split.
    pub positives: usize,
    /// Decided for.
    pub predicted: usize,
    /// Of the decisions.
    pub precision: f64,
    /// Of the decisions.
    pub recall: f64,
    /// Of the decisions.
    pub f1: f64,
    /// Average precision; none without positives or without negatives.
    pub average_precision: Option<f64>,
}

/// What the report shows besides metrics and events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Details {
    /// The evaluated split.
    pub split: String,
    /// Whether true labels helped the predictions.
    #[serde(default)]
    pub protocol: Protocol,
    /// Every label.
    pub labels: Vec<LabelRow>,
    /// Labels decided for in the place of others.
    #[serde(default)]
    pub confusions: Vec<Confusion>,
    /// (recall, precision) of all labels together.
    #[serde(default)]
    pub precision_recall: Vec<(f64, f64)>,
    /// The score each label is decided at, where there is one.
    #[serde(default)]
    pub thresholds: Vec<f64>,
}

impl Details {
    /// Of one evaluated split.
    pub fn new(split: &str, scores: &Scores<f32>, decision: &Decision, set: &Dataset, counts: &TrainingCounts) -> Self {
        let decided = &decision.decide(scores);
        let curves = match scores {
            Scores::Dense { columns, values } => label_curves(*columns, values, &set.labels),
            Scores::Top { columns, .. } => vec![None; *columns],
        };
        let labels = per_label(decided, &set.labels)
            .iter()
            .enumerate()
            .map(|(l, c)| LabelRow {
                label: set.schema.label_name(l),
                train_positives: counts.labels[l],
                positives: c.support(),
                predicted: c.true_positives + c.false_positives,
                precision: c.precision(),
                recall: c.recall(),
                f1: c.f_beta(1.0),
                average_precision: curves[l].map(|c| c.0),
            })
            .collect();
        Self {
            split: split.to_owned(),
            protocol: Protocol::Standard,
            labels,
            confusions: mistakes::confusions(decided, &set.labels, |l| set.schema.label_name(l)),
            precision_recall: mistakes::precision_recall(scores, &set.labels),
            thresholds: match decision {
                Decision::Thresholds(own) => own.clone(),
                _ => Vec::new(),
            },
        }
    }
}

/// Writes `report.html` from the files of the run folder; returns its path.
///
/// # Errors
/// When the run has not ended or the disk refuses.
pub fn write(folder: &RunFolder) -> Result<PathBuf> {
    let read = |name: &str| -> Result<Value> {
        let path = folder.path().join(name);
        let text = std::fs::read(&path)
            .map_err(|e| Error::Request(format!("{}: the run has not ended yet ({e})", path.display())))?;
        serde_json::from_slice(&text).map_err(|e| Error::Request(format!("{}: {e}", path.display())))
    };
    let metrics = folder.metrics()?;
    let environment = read("environment.json")?;
    let details: Option<Details> = read(DETAILS).ok().and_then(|v| serde_json::from_value(v).ok());
    let sampling: Option<Sampling> = read(SAMPLING).ok().and_then(|v| serde_json::from_value(v).ok());
    let config = std::fs::read_to_string(folder.path().join("config.toml")).unwrap_or_default();
    let html = page(folder, &metrics, &environment, (details.as_ref(), sampling.as_ref()), &config);
    let path = folder.path().join("report.html");
    write_atomically(&path, &[html.as_bytes()])?;
    Ok(path)
}

fn page(
    folder: &RunFolder,
    metrics: &Metrics,
    environment: &Value,
    (details, sampling): (Option<&Details>, Option<&Sampling>),
    config: &str,
) -> String {
    let name = folder.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut out = String::new();
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let oracle = metrics.protocol == Protocol::Oracle;
    let neighbours = metrics.neighbours.as_ref().map(|n| format!(" Neighbours: {}.", escape(n))).unwrap_or_default();
    out += &page::head(&name);
    out += &summary(metrics, details);
    let _ = write!(
        out,
        "<p>{} on {}, seed {}, model of epoch {}, trained in {:.1} s. Thresholds: {}. Protocol: {}.{neighbours}</p>",
        escape(&text(&environment["backend"])),
        escape(&text(&environment["adapter"])),
        environment["seed"],
        metrics.epoch,
        metrics.train_seconds,
        escape(&metrics.thresholds),
        if oracle { "oracle" } else { "standard" },
    );
    if oracle {
        out += "<p class=\"oracle\">oracle: true labels helped these predictions; no unlabelled instance would get them</p>";
    }
    let events = folder.events();
    out += "<h2>Curves</h2><div class=\"plots\">";
    out += &plots::losses(&events);
    out += &plots::validation(&events);
    out += "</div>";
    out += &metric_tables(metrics);
    out += &calibration_section(metrics);
    if let Some(details) = details {
        let mark = mark(details.protocol);
        let _ = write!(out, "<h2>Labels ({} split{mark})</h2><div class=\"plots\">", escape(&details.split));
        out += &plots::frequency_against_f1(&details.labels, mark);
        out += &plots::precision_recall(&details.precision_recall, mark);
        out += &plots::frequency_against_threshold(&details.labels, &details.thresholds, mark);
        out += "</div>";
        out += &label_table(&details.labels, mark);
        out += &confusion_table(&details.confusions, mark);
    }
    if let Some(sampling) = sampling {
        out += &sampling_section(sampling);
    }
    out += &reproduction(environment, config);
    out += &page::foot();
    out
}

/// The run in a sentence or two.
fn summary(metrics: &Metrics, details: Option<&Details>) -> String {
    let split = metrics.split.iter().find(|s| s.0 == "test").or_else(|| metrics.split.iter().next());
    let Some((split, table)) = split else { return "<p>Nothing was evaluated.</p>".into() };
    let mark = mark(metrics.protocol);
    let number = |name: &str| table.get(name).map_or_else(|| "–".into(), |v| format!("{v:.4}"));
    let mut out = format!(
        "<p>On the {} split{mark}: macro-F1 <b>{}</b>, micro-F1 <b>{}</b>, mAP {}, precision at 1 {}.",
        escape(split),
        number("f1_macro"),
        number("f1_micro"),
        number("map_macro"),
        number("precision_at_1")
    );
    let baseline = metrics.baseline.get(split).and_then(|b| b.get("f1_macro"));
    if let (Some(own), Some(baseline)) = (table.get("f1_macro"), baseline) {
        let _ = write!(out, " By frequency alone macro-F1 would be {baseline:.4} ({:+.4}).", own - baseline);
    }
    if let Some(details) = details {
        let shown: Vec<&LabelRow> = details.labels.iter().filter(|l| l.positives > 0).collect();
        let silent = shown.iter().filter(|l| l.predicted == 0).count();
        let rare: Vec<f64> = shown.iter().filter(|l| l.train_positives <= 20).map(|l| l.f1).collect();
        let _ = write!(out, " {silent} of {} labels that occur are never predicted.", shown.len());
        if !rare.is_empty() {
            let mean = rare.iter().sum::<f64>() / rare.len() as f64;
            let _ = write!(out, " Labels with at most 20 training positives: mean F1 {mean:.4} over {}.", rare.len());
        }
    }
    out + "</p>"
}

fn confusion_table(confusions: &[Confusion], mark: &str) -> String {
    let mut out = format!("<h2>Labels in the place of others{mark}</h2>");
    if confusions.is_empty() {
        return out + "<p>No instance misses a label and has a wrong one.</p>";
    }
    let mut rows = String::new();
    for Confusion { missed, instead, count } in confusions {
        let _ = write!(rows, "<tr><td>{}</td><td>{}</td><td>{count}</td></tr>", escape(missed), escape(instead));
    }
    page::searchable(&mut out, "confusions", &["missed", "decided for instead", "instances"], &rows);
    out
}

/// Where it ran, on what, and how to run it again.
fn reproduction(environment: &Value, config: &str) -> String {
    let text = |key: &str| environment[key].as_str().map_or_else(|| environment[key].to_string(), str::to_owned);
    let mut out = format!(
        "<h2>Again</h2><p>longtail {} (commit {}), {} threads. The config below, kept as <code>config.toml</code> in the run \
         folder, trains the same run: <code>train --config config.toml --backend {}</code>.</p>",
        escape(&text("version")),
        escape(&text("git_commit")),
        environment["threads"],
        escape(&text("backend"))
    );
    if let Some(files) = environment["data_sha256"].as_object().filter(|f| !f.is_empty()) {
        out += "<table><thead><tr><th>data</th><th>SHA-256</th></tr></thead><tbody>";
        for (path, sum) in files {
            let sum = sum.as_str().unwrap_or_default();
            let _ = write!(out, "<tr><td>{}</td><td><code>{}</code></td></tr>", escape(path), escape(sum));
        }
        out += "</tbody></table>";
    }
    let _ = write!(out, "<h2>Config</h2><pre>{}</pre>", escape(config));
    out
}

/// What stands beside the name of everything that an oracle's numbers are in.
fn mark(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Standard => "",
        Protocol::Oracle => ", oracle",
    }
}

fn metric_tables(metrics: &Metrics) -> String {
    let mut out = String::from("<h2>Metrics</h2><div class=\"plots\">");
    let standard = metrics.standard.iter().flatten().map(|e| (e, ""));
    for ((split, table), mark) in metrics.split.iter().map(|e| (e, mark(metrics.protocol))).chain(standard) {
        let _ = write!(
            out,
            "<div class=\"scroll\"><table><tr><th>{}{mark}</th><th>model{mark}</th><th>by frequency</th></tr>",
            escape(split)
        );
        let baseline = metrics.baseline.get(split);
        for (name, value) in table.iter() {
            let number = |v: Option<f64>| v.map_or_else(|| "–".into(), |v| format!("{v:.4}"));
            let baseline = number(baseline.and_then(|b| b.get(name)));
            let _ =
                write!(out, "<tr><td>{}</td><td>{}</td><td>{baseline}</td></tr>", escape(name), number(Some(value)));
        }
        out += "</table></div>";
    }
    out + "</div>"
}

/// Figures before and after the fitted scaling, and the reliability diagram of each split.
fn calibration_section(metrics: &Metrics) -> String {
    let Some(calibration) = &metrics.calibration else { return String::new() };
    let mark = mark(metrics.protocol);
    let mut out = format!(
        "<h2>Calibration</h2><p>Scaling: {}.</p><table><tr><th>split{mark}</th><th>scores</th>\
         <th>ECE, equal width</th><th>ECE, equal mass</th><th>Brier score</th></tr>",
        escape(&calibration.method)
    );
    for (split, BeforeAfter { before, after }) in &calibration.split {
        for (state, figures) in [("unscaled", Some(before)), ("scaled", after.as_ref())] {
            let Some(f) = figures else { continue };
            let _ = write!(
                out,
                "<tr><td>{}{mark}</td><td>{state}</td><td>{:.5}</td><td>{:.5}</td><td>{:.5}</td></tr>",
                escape(split),
                f.ece_equal_width,
                f.ece_equal_mass,
                f.brier
            );
        }
    }
    out += "</table><div class=\"plots\">";
    for (split, BeforeAfter { before, after }) in &calibration.split {
        let after = after.as_ref().map(|f| &f.reliability[..]);
        out += &plots::reliability(&format!("reliability, {split}{mark}"), &before.reliability, after);
    }
    out + "</div>"
}

fn sampling_section(sampling: &Sampling) -> String {
    let [fewest, low, median, high, most] = sampling.instances;
    let negatives = sampling.negatives.map(|n| format!(" Instances without labels: {n:.2}.")).unwrap_or_default();
    format!(
        "<h2>Sampler</h2><p>How often instances were trained on, 1 being all alike: fewest {fewest:.2}, a tenth up to \
         {low:.2}, median {median:.2}, a tenth from {high:.2}, most {most:.2}.{negatives}</p><div class=\"plots\">{}</div>",
        plots::frequency_against_sampling(&sampling.labels)
    )
}

fn label_table(labels: &[LabelRow], mark: &str) -> String {
    let mut rows = String::new();
    let mut ordered: Vec<&LabelRow> = labels.iter().collect();
    ordered.sort_by_key(|l| std::cmp::Reverse(l.train_positives));
    for l in ordered {
        let ap = l.average_precision.map_or_else(|| "–".into(), |v| format!("{v:.4}"));
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.4}</td><td>{:.4}</td><td>{:.4}</td><td>{ap}</td></tr>",
            escape(&l.label),
            l.train_positives,
            l.positives,
            l.predicted,
            l.precision,
            l.recall,
            l.f1
        );
    }
    let label = format!("label{mark}");
    let rest = ["training positives", "positives", "predicted", "precision", "recall", "F1", "average precision"];
    let columns: Vec<&str> = std::iter::once(label.as_str()).chain(rest).collect();
    let mut out = String::new();
    page::searchable(&mut out, "labels", &columns, &rows);
    out
}
