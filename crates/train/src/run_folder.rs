//! The folder of a run: the files other tools rely on.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use metrics::MetricTable;
use metrics::calibration::Figures;
use serde::{Deserialize, Serialize};

use crate::backend::Chosen;
use crate::checkpoint::write_atomically;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::splits::Splits;
use crate::tensorboard;

/// What to do with a folder that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Empty it of an earlier run's files.
    Replace,
}

/// Files and folders that a run writes: what `--force` may remove.
const OWN: &[&str] = &[
    "config.toml",
    "environment.json",
    "events.jsonl",
    "model",
    "checkpoint",
    "metrics.json",
    "predictions.jsonl",
    crate::report::DETAILS,
    crate::report::SAMPLING,
    "report.html",
    "tensorboard",
];

/// A run folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    /// Events go to TensorBoard's file too.
    tensorboard: bool,
}

/// One line of `events.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// Epochs completed, from 1.
    pub epoch: usize,
    /// Steps done in all.
    pub step: usize,
    /// Seconds spent training, in all.
    pub seconds: f64,
    /// Of this epoch's training steps.
    pub instances_per_second: f64,
    /// Of the last step.
    pub learning_rate: f64,
    /// Mean training loss of the epoch.
    pub loss: f64,
    /// Its parts by name.
    pub loss_parts: std::collections::BTreeMap<String, f64>,
    /// Metrics of the validation split, with its loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Whether true labels helped the predictions that were measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// They did not.
    #[default]
    Standard,
    /// They did, and no unlabelled instance would get such predictions.
    Oracle,
}

/// Metrics of splits by their name.
pub type Tables = BTreeMap<String, MetricTable>;

/// `metrics.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Metrics of each split that was evaluated.
    pub split: Tables,
    /// "Predict by frequency" on the same splits.
    pub baseline: Tables,
    /// How thresholds were chosen.
    pub thresholds: String,
    /// `standard`, or `oracle` where true labels helped the prediction.
    pub protocol: Protocol,
    /// Whose labels voted, where thresholds listen to neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<String>,
    /// How far scores are probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationResult>,
    /// Beside an oracle's metrics the splits' metrics without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<Tables>,
    /// Epoch of the model's state.
    pub epoch: usize,
    /// Seconds spent training.
    pub train_seconds: f64,
    /// Training instances a second.
    pub instances_per_second: f64,
}

/// Calibration of each split, without and with the fitted scaling.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CalibrationResult {
    /// none, temperature or platt.
    pub method: String,
    /// By split.
    pub split: BTreeMap<String, BeforeAfter>,
}

/// Calibration figures of one split.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// Of `σ(z)`.
    pub before: Figures,
    /// Of the scaled probabilities, where a scaling was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Figures>,
}

impl RunFolder {
    /// A folder for a new run: `path`, or the next free number below `runs/`.
    ///
    /// # Errors
    /// When it holds a run already and `existing` refuses, or the disk does.
    pub fn create(path: Option<&Path>, name: &str, existing: Existing) -> Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => return Self::next_free(name),
        };
        if path.is_file() {
            return Err(Error::Request(format!("{}: is a file, expected a folder for the run", path.display())));
        }
        let occupied = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && existing == Existing::Refuse {
            return Err(Error::Request(format!(
                "{}: the folder exists and is not empty; continue the run there with --resume, or replace it with --force",
                path.display()
            )));
        }
        if occupied {
            let folds = (0..).map(|f| format!("fold-{f}")).take_while(|f| path.join(f).is_dir());
            for name in OWN.iter().map(|n| (*n).to_owned()).chain(folds.collect::<Vec<_>>()) {
                let own = path.join(name);
                let removed = if own.is_dir() { fs::remove_dir_all(&own) } else { fs::remove_file(&own) };
                if let Err(e) = removed
                    && e.kind() != std::io::ErrorKind::NotFound
                {
                    return Err(Error::write(&own, &e));
                }
            }
        }
        fs::create_dir_all(&path).map_err(|e| Error::write(&path, &e))?;
        Ok(Self { path, tensorboard: false })
    }

    fn next_free(name: &str) -> Result<Self> {
        let runs = Path::new("runs");
        fs::create_dir_all(runs).map_err(|e| Error::write(runs, &e))?;
        for n in 1.. {
            let path = runs.join(format!("{name}-{n}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, tensorboard: false }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::write(&path, &e)),
            }
        }
        Err(Error::Job("no free number for a run folder".into()))
    }

    /// The folder of an earlier run.
    ///
    /// # Errors
    /// When there is no run.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join("config.toml").is_file() {
            return Err(Error::Request(format!("{}: no run here (no config.toml)", path.display())));
        }
        // Who asked for TensorBoard's file once has it to the end.
        let tensorboard = path.join(tensorboard::FILE).is_file();
        Ok(Self { path: path.to_owned(), tensorboard })
    }

    /// The same, with events for TensorBoard as well.
    pub fn with_tensorboard(self, wanted: bool) -> Self {
        Self { tensorboard: self.tensorboard || wanted, ..self }
    }

    /// Whether events go to TensorBoard's file too.
    pub fn has_tensorboard(&self) -> bool {
        self.tensorboard
    }

    /// Takes `config.toml` back: the run never began.
    pub fn remove_config(&self) {
        let _ = fs::remove_file(self.path.join("config.toml"));
    }

    /// Removes a folder that holds nothing yet: the run never began.
    pub fn discard(self) {
        let _ = fs::remove_dir(&self.path);
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_config(&self, config: &Config) -> Result<()> {
        let text = toml::to_string_pretty(config).map_err(|e| Error::Job(format!("config: {e}")))?;
        write_atomically(&self.path.join("config.toml"), &[text.as_bytes()])
    }

    /// Writes `environment.json`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_environment(&self, chosen: &Chosen, seed: u64, splits: &Splits) -> Result<()> {
        let checksums: serde_json::Map<String, serde_json::Value> =
            splits.checksums.iter().map(|(path, sum)| (path.display().to_string(), sum.clone().into())).collect();
        self.write_json(
            "environment.json",
            &serde_json::json!({
                "version": env!("CARGO_PKG_VERSION"),
                "git_commit": env!("LONGTAIL_COMMIT"),
                "backend": chosen.backend.to_string(),
                "adapter": chosen.adapter,
                "seed": seed,
                "threads": rayon::current_num_threads(),
                "data_sha256": checksums,
                "training_counts": splits.counts,
            }),
        )
    }

    /// Reads `metrics.json`.
    ///
    /// # Errors
    /// When the run has not ended, or the file cannot be understood.
    pub fn metrics(&self) -> Result<Metrics> {
        let path = self.path.join("metrics.json");
        let bytes = fs::read(&path)
            .map_err(|e| Error::Request(format!("{}: the run has not ended yet ({e})", path.display())))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Request(format!("{}: {e}", path.display())))
    }

    /// Writes any value as an indented JSON file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::Job(format!("{name}: {e}")))?;
        bytes.push(b'\n');
        write_atomically(&self.path.join(name), &[&bytes])
    }

    /// Appends one line to `events.jsonl`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append_event(&self, event: &Event) -> Result<()> {
        let path = self.path.join("events.jsonl");
        let fail = |e: std::io::Error| Error::write(&path, &e);
        let mut line = serde_json::to_vec(event).map_err(|e| Error::Job(e.to_string()))?;
        line.push(b'\n');
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        file.write_all(&line).map_err(fail)?;
        if self.tensorboard {
            tensorboard::append(&self.path, std::slice::from_ref(event))?;
        }
        Ok(())
    }

    /// The events so far; a line cut short by a kill is left out.
    pub fn events(&self) -> Vec<Event> {
        let text = fs::read_to_string(self.path.join("events.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Drops the events after `epoch`: they will come again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn rewind_events(&self, epoch: usize) -> Result<()> {
        let mut bytes = Vec::new();
        let kept: Vec<Event> = self.events().into_iter().filter(|e| e.epoch <= epoch).collect();
        if self.tensorboard {
            tensorboard::rewrite(&self.path, &kept)?;
        }
        for event in &kept {
            bytes.extend(serde_json::to_vec(event).map_err(|e| Error::Job(e.to_string()))?);
            bytes.push(b'\n');
        }
        write_atomically(&self.path.join("events.jsonl"), &[&bytes])
    }
}
