//! `model/` of a run folder: everything that prediction needs.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use data::preprocess::Preprocess;
use data::{Names, Schema};
use losses::{AdaptiveThresholdConfig, NeighbourSource, TrainingCounts};
use model::{ModelConfig, Task, Weights};
use serde::{Deserialize, Serialize};

use crate::checkpoint::write_atomically;
use crate::error::{Error, Result};
use crate::learner::Learner;
use crate::predictor::Predictor;
use crate::rules::Rules;
use crate::signals::{self, SignalSource, TrainingRows};
use crate::splits::Kept;
use crate::stored_bank;

/// `model/model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Version of this file's layout.
    pub version: u32,
    /// The model's kind and settings.
    pub model: ModelConfig,
    /// Number of features.
    pub features: usize,
    /// Number of labels.
    pub labels: usize,
    /// Label names, where the data has them.
    pub label_names: Option<Vec<String>>,
    /// Feature names, where the data has them.
    pub feature_names: Option<Vec<String>>,
    /// svmlight: whether feature indices count from 1.
    pub one_based: Option<bool>,
    /// Missing values and feature scaling.
    pub preprocess: Preprocess,
    /// Whether features reach the model as a matrix.
    pub dense: bool,
    /// From distances to probabilities to labels.
    pub rules: Rules,
    /// The thresholds learnt with the model, where the loss has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_threshold: Option<AdaptiveThresholdConfig>,
    /// The labels that are kept of the data's, where some are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Counts of the training split, for propensities and the frequency baseline.
    pub counts: TrainingCounts,
}

impl Description {
    /// The columns of the data's files, which may have labels that the model leaves out.
    pub fn file_schema(&self) -> Schema {
        let schema = self.schema();
        self.kept.as_ref().map_or_else(|| schema.clone(), |kept| kept.file_schema(&schema))
    }

    /// The columns the model knows.
    pub fn schema(&self) -> Schema {
        let names = |list: &Option<Vec<String>>| list.as_ref().map(|l| Arc::new(l.iter().collect::<Names>()));
        Schema {
            features: self.features,
            labels: self.labels,
            feature_names: names(&self.feature_names),
            label_names: names(&self.label_names),
            one_based: self.one_based,
        }
    }
}

/// The layout this version writes and reads.
pub const VERSION: u32 = 2;

/// Writes `model.json` alone.
///
/// # Errors
/// When the disk refuses.
pub fn save_description(run: &Path, description: &Description) -> Result<()> {
    let json = serde_json::to_vec_pretty(description).map_err(|e| Error::Job(e.to_string()))?;
    write_atomically(&run.join("model").join("model.json"), &[&json])
}

/// Writes the model folder of a run.
///
/// # Errors
/// When the disk refuses.
pub fn save(run: &Path, description: &Description, weights: &Weights) -> Result<()> {
    let folder = run.join("model");
    let bytes = weights.to_bytes().map_err(|e| Error::Job(format!("{}: {e}", folder.display())))?;
    write_atomically(&folder.join("model.safetensors"), &[&bytes])?;
    save_description(run, description)
}

/// Reads the description in a run's model folder.
///
/// # Errors
/// When the run has none, or it cannot be understood.
pub fn describe(run: &Path) -> Result<Description> {
    let path = run.join("model").join("model.json");
    let text =
        std::fs::read(&path).map_err(|e| Error::Request(format!("{}: no trained model here ({e})", path.display())))?;
    let bad = |e: String| Error::Request(format!("{}: {e}", path.display()));
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    if value["version"] != VERSION {
        return Err(bad(format!("version {} of the layout; this build reads version {VERSION}", value["version"])));
    }
    serde_json::from_value(value).map_err(|e| bad(e.to_string()))
}

/// The neighbours a stored model predicts with where nothing else is asked for.
///
/// # Errors
/// Where the true labels would be an input of the prediction, or prediction was ruled out.
pub fn source_of_prediction(description: &Description) -> Result<Option<NeighbourSource>> {
    match &description.adaptive_threshold {
        Some(config) => Ok(config.source_of_prediction()?),
        None => Ok(None),
    }
}

/// The model with its weights, on `device`, with the neighbours of `source` where its thresholds use any.
///
/// # Errors
/// When a file cannot be read or does not fit.
pub fn load(
    run: &Path,
    description: &Description,
    source: Option<NeighbourSource>,
    device: &Device,
) -> Result<Predictor> {
    let path = run.join("model").join("model.safetensors");
    let bytes = std::fs::read(&path).map_err(|e| Error::Request(format!("{}: {e}", path.display())))?;
    let bad = |e: model::WeightsError| Error::Request(format!("{}: {e}", path.display()));
    let weights = Weights::from_bytes(&bytes).map_err(bad)?;
    let task = Task { features: description.features, labels: description.labels, graph: None };
    let learner = Learner {
        model: description.model.init(task, 0, device)?,
        thresholds: description.adaptive_threshold.as_ref().map(|c| c.init_thresholds(&description.counts, 0, device)),
    };
    let learner = learner.with(&weights).map_err(bad)?.valid();
    let Some(config) = &description.adaptive_threshold else {
        return Ok(Predictor::new(learner, None, description.dense, device));
    };
    let bank = run.join("model").join(stored_bank::FILE);
    let rows = if bank.exists() { stored_bank::load(run)? } else { TrainingRows::default() };
    let made = SignalSource::new(config, source, &rows, &description.counts, device)?;
    let predictor = Predictor::new(learner, Some(Arc::new(made)), description.dense, device);
    match (&rows.features, &rows.embedding) {
        (Some(features), None) => predictor.with_own_embedding(features),
        (None, None) if source == Some(NeighbourSource::Embedding) => Err(signals::no_rows_kept()),
        _ => Ok(predictor),
    }
}
