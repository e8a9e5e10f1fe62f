//! One run a fold, then what they have in common: means and standard deviations.

use std::collections::BTreeMap;

use metrics::MetricTable;
use metrics::significance::mean_and_deviation;
use serde::Serialize;

use crate::backend::Chosen;
use crate::checkpoint::Which;
use crate::commands::{table, train};
use crate::config::Config;
use crate::error::Result;
use crate::progress::Display;
use crate::run_folder::{Existing, Metrics, Protocol, RunFolder, Tables};

/// `metrics.json` of all folds together.
#[derive(Debug, Serialize)]
struct Summary {
    folds: usize,
    /// Means over the folds.
    split: Tables,
    /// Sample standard deviations over the folds.
    deviation: Tables,
    /// Means of "predict by frequency".
    baseline: Tables,
    thresholds: String,
    protocol: Protocol,
    /// Mean epoch of the models' states.
    epoch: f64,
    /// Of all folds together.
    train_seconds: f64,
}

/// Trains on every fold but one, for each of them, in `fold-N` of the run folder.
pub(super) fn run(
    resume: bool,
    config: &Config,
    folds: usize,
    chosen: &Chosen,
    folder: &RunFolder,
    display: Display,
) -> Result<()> {
    // From the first fold on an interrupted run can go on.
    folder.write_config(config)?;
    let mut all = Vec::new();
    for fold in 0..folds {
        let path = folder.path().join(format!("fold-{fold}"));
        let begun = resume && path.join("config.toml").is_file();
        let of_fold = if begun {
            RunFolder::open(&path)?
        } else {
            // A fold that was begun and wrote nothing to continue from starts again.
            RunFolder::create(Some(&path), "", if resume { Existing::Replace } else { Existing::Refuse })?
        };
        let of_fold = of_fold.with_tensorboard(folder.has_tensorboard());
        if !(begun && path.join("metrics.json").is_file()) {
            tracing::info!("fold {} of {folds}", fold + 1);
            let from = (begun && Which::Last.path(&path).is_file()).then_some(Which::Last);
            let mut own = config.clone();
            own.data.fold = Some(fold);
            if let Err(error) = train::in_folder(from, &own, chosen, &of_fold, display) {
                of_fold.discard();
                if fold == 0 && !path.exists() {
                    // Refused before anything was written.
                    folder.remove_config();
                }
                return Err(error);
            }
        }
        all.push(of_fold.metrics()?);
    }
    let summary = summarise(&all);
    folder.write_json("metrics.json", &summary)?;
    let mut text = String::new();
    let none = MetricTable::default();
    for (name, mean) in &summary.split {
        let deviation = summary.deviation.get(name).unwrap_or(&none);
        text += &table::deviations(&format!("{name}, {folds} folds"), mean, deviation, summary.baseline.get(name));
    }
    text += &format!("trained in {:.1} s; folds in {}\n", summary.train_seconds, folder.path().display());
    table::say(&text)
}

fn summarise(all: &[Metrics]) -> Summary {
    Summary {
        folds: all.len(),
        split: over_folds(all, |m| &m.split, mean),
        deviation: over_folds(all, |m| &m.split, deviation),
        baseline: over_folds(all, |m| &m.baseline, mean),
        thresholds: all.first().map(|m| m.thresholds.clone()).unwrap_or_default(),
        protocol: all.first().map(|m| m.protocol).unwrap_or_default(),
        epoch: mean(&all.iter().map(|m| m.epoch as f64).collect::<Vec<_>>()),
        train_seconds: all.iter().map(|m| m.train_seconds).sum(),
    }
}

/// `figure` of every metric over the folds that have it.
fn over_folds(all: &[Metrics], of: fn(&Metrics) -> &Tables, figure: fn(&[f64]) -> f64) -> Tables {
    let mut out: Tables = BTreeMap::new();
    for (split, table) in all.first().map(of).into_iter().flatten() {
        let figures = out.entry(split.clone()).or_default();
        for (metric, _) in table.iter() {
            let values: Vec<f64> = all.iter().filter_map(|m| of(m).get(split)?.get(metric)).collect();
            figures.push(metric, figure(&values));
        }
    }
    out
}

fn mean(values: &[f64]) -> f64 {
    mean_and_deviation(values).0
}

fn deviation(values: &[f64]) -> f64 {
    mean_and_deviation(values).1
}
