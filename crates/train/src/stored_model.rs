//! `model/` of a run folder: everything that prediction needs.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use data::preprocess::Preprocess;
use data::{Names, Schema};
use losses::TrainingCounts;
use model::{Model, ModelConfig, Weights};
use serde::{Deserialize, Serialize};

use crate::checkpoint::write_atomically;
use crate::error::{Error, Result};

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
    /// One threshold for all labels, or one a label.
    pub thresholds: Vec<f64>,
    /// Counts of the training split, for propensities and the frequency baseline.
    pub counts: TrainingCounts,
}

impl Description {
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

/// Writes the model folder of a run.
///
/// # Errors
/// When the disk refuses.
pub fn save(run: &Path, description: &Description, weights: &Weights) -> Result<()> {
    let folder = run.join("model");
    let bytes = weights.to_bytes().map_err(|e| Error::Job(format!("{}: {e}", folder.display())))?;
    write_atomically(&folder.join("model.safetensors"), &[&bytes])?;
    let json = serde_json::to_vec_pretty(description).map_err(|e| Error::Job(e.to_string()))?;
    write_atomically(&folder.join("model.json"), &[&json])
}

/// Reads the description in a run's model folder.
///
/// # Errors
/// When the run has none, or it cannot be understood.
pub fn describe(run: &Path) -> Result<Description> {
    let path = run.join("model").join("model.json");
    let text =
        std::fs::read(&path).map_err(|e| Error::Request(format!("{}: no trained model here ({e})", path.display())))?;
    serde_json::from_slice(&text).map_err(|e| Error::Request(format!("{}: {e}", path.display())))
}

/// The model with its weights, on `device`.
///
/// # Errors
/// When the weights cannot be read or do not fit.
pub fn load(run: &Path, description: &Description, device: &Device) -> Result<Model> {
    let path = run.join("model").join("model.safetensors");
    let bytes = std::fs::read(&path).map_err(|e| Error::Request(format!("{}: {e}", path.display())))?;
    let bad = |e: model::WeightsError| Error::Request(format!("{}: {e}", path.display()));
    let weights = Weights::from_bytes(&bytes).map_err(bad)?;
    let model = description.model.init(description.features, description.labels, 0, device)?;
    weights.apply(model).map_err(bad)
}
