//! The one list of losses a config can name.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{BceConfig, Loss, LossError};

/// What a loss may need to know of the training split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingCounts {
    /// Positives of each label.
    pub labels: Vec<usize>,
    /// Instances without any label.
    pub negatives: usize,
    /// All instances.
    pub instances: usize,
}

/// Which loss, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossConfig {
    /// Binary cross-entropy.
    Bce(BceConfig),
}

impl Default for LossConfig {
    fn default() -> Self {
        Self::Bce(BceConfig::default())
    }
}

impl LossConfig {
    /// Makes the loss for data with these counts.
    ///
    /// # Errors
    /// For a setting out of range, or one that does not fit the data.
    pub fn init(&self, counts: &TrainingCounts, device: &Device) -> Result<Box<dyn Loss>, LossError> {
        match self {
            Self::Bce(config) => Ok(Box::new(config.init(counts, device)?)),
        }
    }
}
