//! The config of a training run: composed of what the parts define, read from TOML, every default written out.

mod load;
mod loss;

use std::path::PathBuf;

use data::formats::{Format, Nominal, ReadOptions};
use data::generate::Recipe;
use data::preprocess::Scaling;
use metrics::ThresholdsConfig;
use metrics::calibration::scaling::ScalingMethod;
use model::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::optimizer::{OptimizerConfig, ScheduleConfig};
use crate::sampler::SamplerConfig;
use crate::step::{Kernels, Precision};

pub(crate) use load::nearest;
pub use load::{Source, load, resolve_paths};
pub use loss::LossSection;

/// Everything that determines a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Config {
    /// Seed of weights, shuffles, dropout, splits and made data.
    pub seed: u64,
    /// The data.
    pub data: DataConfig,
    /// The model.
    pub model: ModelConfig,
    /// The loss.
    pub loss: LossSection,
    /// Which instances a batch holds.
    pub sampler: SamplerConfig,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time.
    pub schedule: ScheduleConfig,
    /// The loop.
    pub train: TrainConfig,
    /// From distances to probabilities.
    pub calibration: CalibrationConfig,
    /// From scores to decisions.
    pub thresholds: ThresholdsConfig,
    /// What is reported.
    pub report: ReportConfig,
}

/// A share of the training data, or a file of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// Share in [0, 1), held back by iterative stratification.
    Share(f64),
    /// A file.
    File(PathBuf),
}

impl Default for Part {
    fn default() -> Self {
        Self::Share(0.0)
    }
}

/// How a share of the training file is held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldBack {
    /// By iterative stratification: every label keeps its share.
    #[default]
    Stratified,
    /// At random.
    Random,
}

/// Where data comes from and how it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Training file; absent: `generate` makes the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// Test file, or a share of the training file.
    pub test: Part,
    /// Validation file, or a share of the training file; 0: none.
    pub validation: Part,
    /// How a share of the training file is held back.
    pub hold_back: HoldBack,
    /// Folds by iterative stratification of all data: one fold is test and validation data by halves, the others are
    /// trained on; absent: no folds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// Which fold is held back, from 0; absent: each in turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
    /// Labels with fewer positives in all data are left out.
    pub min_positives: usize,
    /// Only this many of the training file's first instances; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// ARFF: the XML file of label names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// The files' format, where their names do not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// CSV and TSV: the columns that are labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label_columns: Vec<String>,
    /// CSV and TSV: the column that lists labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// CSV and TSV: what separates labels in that column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_delimiter: Option<char>,
    /// ARFF: how nominal features become numbers.
    pub nominal: Nominal,
    /// svmlight: whether feature indices count from 1; absent: found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_based: Option<bool>,
    /// Feature scaling, fitted on the training split.
    pub scale: Scaling,
    /// Keep large data as it was read, split and scaled, for the next start.
    pub cache: bool,
    /// Data to make, where `train` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<Recipe>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: None,
            test: Part::default(),
            validation: Part::default(),
            hold_back: HoldBack::default(),
            folds: None,
            fold: None,
            min_positives: 0,
            limit: None,
            labels: None,
            format: None,
            label_columns: Vec::new(),
            label_column: None,
            label_delimiter: None,
            nominal: Nominal::default(),
            one_based: None,
            scale: Scaling::default(),
            cache: true,
            generate: None,
        }
    }
}

impl DataConfig {
    /// True where validation data is made or given.
    pub fn has_validation(&self) -> bool {
        self.folds.is_some() || self.validation != Part::Share(0.0)
    }

    /// How the files are read.
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions {
            format: self.format,
            labels: self.labels.clone(),
            label_columns: self.label_columns.clone(),
            label_column: self.label_column.clone(),
            label_delimiter: self.label_delimiter,
            nominal: self.nominal,
            one_based: self.one_based,
            unlabelled: false,
        }
    }
}

/// The loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training split.
    pub epochs: usize,
    /// Instances of a batch; the last one of an epoch may be smaller.
    pub batch_size: usize,
    /// Validation metric that chooses the best state.
    pub monitor: String,
    /// Stop when a validation metric no longer gets better; absent: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Write a checkpoint at the end of an epoch when the last is this many seconds old; 0: at every epoch's end.
    pub checkpoint_seconds: f64,
    /// How an update is computed.
    pub kernels: Kernels,
    /// The floats that a step computes with; weights and loss keep 32 bits.
    pub precision: Precision,
    /// On a GPU losses are read back once in this many steps, so that no step waits for a number.
    pub log_every: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch_size: 128,
            monitor: "map_macro".into(),
            early_stopping: None,
            checkpoint_seconds: 30.0,
            kernels: Kernels::Fused,
            precision: Precision::F32,
            log_every: 16,
        }
    }
}

impl TrainConfig {
    /// The metric that chooses the best state: early stopping's where it is on.
    pub fn monitored(&self) -> &str {
        self.early_stopping.as_ref().map_or(&self.monitor, |e| &e.metric)
    }
}

/// When to stop early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Any metric, or `loss`.
    pub metric: String,
    /// Epochs without a better value before it stops.
    pub patience: usize,
}

/// From distances to probabilities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrationConfig {
    /// Fitted on validation data.
    pub method: ScalingMethod,
}

/// What is reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportConfig {
    /// The k of precision@k and its like.
    pub at_k: Vec<usize>,
    /// Write `predictions.jsonl` for the test split.
    pub predictions: bool,
}

impl Default for ReportConfig {
    fn default() -> Self {
        Self { at_k: vec![1, 3, 5], predictions: false }
    }
}
