//! What the run folders of a sweep hold, in one tidy table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Places;
use super::trials::{Trial, plain};
use crate::checkpoint::write_atomically;
use crate::error::{Error, Result};
use crate::run_folder::{Metrics, RunFolder};

/// How far a trial is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Not begun, or begun and stopped.
    Waiting,
    /// It ended.
    Done,
    /// It failed, with this error.
    Failed(String),
}

/// How far `trial` is, from what is on the disk.
pub fn state(places: &Places, id: &str) -> State {
    if places.run(id).join("metrics.json").is_file() {
        return State::Done;
    }
    match std::fs::read_to_string(places.error(id)) {
        Ok(error) => State::Failed(error.trim().to_owned()),
        Err(_) => State::Waiting,
    }
}

/// A finished trial.
pub struct Finished<'a> {
    /// The trial.
    pub trial: &'a Trial,
    /// Its `metrics.json`.
    pub metrics: Metrics,
}

impl Finished<'_> {
    /// A metric on the test split, or on validation data where there is no test split.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let split = self.metrics.split.get("test").or_else(|| self.metrics.split.get("validation"))?;
        split.get(name)
    }
}

/// The finished trials, in the order of the sweep.
pub fn finished<'a>(places: &Places, trials: &'a [Trial]) -> Vec<Finished<'a>> {
    let done = trials.iter().filter(|t| state(places, &t.id) == State::Done);
    done.filter_map(|trial| {
        let metrics = RunFolder::open(&places.run(&trial.id)).and_then(|run| run.metrics()).ok()?;
        Some(Finished { trial, metrics })
    })
    .collect()
}

/// Writes `results.csv`: a row for each trial, split and metric.
///
/// # Errors
/// When the disk refuses.
pub fn write(places: &Places, finished: &[Finished]) -> Result<PathBuf> {
    let path = places.sweep.join("results.csv");
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in finished.iter().flat_map(|f| &f.trial.settings) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let fail = |e: csv::Error| Error::Job(format!("{}: {e}", path.display()));
    let mut table = csv::Writer::from_writer(Vec::new());
    let head = ["trial", "data", "seed", "fold"].into_iter().chain(keys.iter().copied());
    table.write_record(head.chain(["epoch", "train_seconds", "split", "metric", "value"])).map_err(fail)?;
    for Finished { trial, metrics } in finished {
        let values: BTreeMap<&str, String> = trial.settings.iter().map(|(k, v)| (k.as_str(), plain(v))).collect();
        let mut row = vec![trial.id.clone(), trial.data.clone(), trial.seed.to_string()];
        row.push(trial.fold.map(|f| f.to_string()).unwrap_or_default());
        row.extend(keys.iter().map(|k| values.get(k).cloned().unwrap_or_default()));
        row.extend([metrics.epoch.to_string(), format!("{:.3}", metrics.train_seconds)]);
        for (split, table_of) in &metrics.split {
            for (metric, value) in table_of.iter() {
                let cells = [split.clone(), metric.to_owned(), value.to_string()];
                table.write_record(row.iter().chain(&cells)).map_err(fail)?;
            }
        }
    }
    let bytes = table.into_inner().map_err(|e| Error::Job(format!("{}: {}", path.display(), e.error())))?;
    write_atomically(&path, &[&bytes])?;
    Ok(path)
}

/// What went wrong in a run, from what it wrote to standard error.
pub fn error_of(log: &Path, ending: &str) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let error = text.lines().rev().find_map(|l| l.strip_prefix("error: "));
    error.map_or_else(|| ending.to_owned(), str::to_owned)
}
