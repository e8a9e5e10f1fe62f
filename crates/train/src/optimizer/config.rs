//! The one list of update rules a config can name.

use serde::{Deserialize, Serialize};

use super::{AdagradConfig, AdamConfig, Rows, SgdConfig};

/// Which update rule, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Adam; its weight decay is an L2 term of the gradient.
    Adam(AdamConfig),
    /// Adam with decoupled weight decay.
    #[serde(rename = "adamw")]
    AdamW(AdamConfig),
    /// Stochastic gradient descent with momentum.
    Sgd(SgdConfig),
    /// A learning rate of each weight's own.
    Adagrad(AdagradConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

impl OptimizerConfig {
    /// The base learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.learning_rate,
            Self::Sgd(c) => c.learning_rate,
            Self::Adagrad(c) => c.learning_rate,
        }
    }

    /// Largest Euclidean norm of all gradients together.
    pub(super) fn clip_norm(&self) -> Option<f64> {
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.clip_norm,
            Self::Sgd(c) => c.clip_norm,
            Self::Adagrad(c) => c.clip_norm,
        }
    }

    /// What happens to rows that a batch does not name.
    pub(super) fn rows(&self) -> Rows {
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.rows,
            Self::Sgd(c) => c.rows,
            Self::Adagrad(c) => c.rows,
        }
    }

    /// Arrays of state each parameter has.
    pub(super) fn slots(&self) -> usize {
        match self {
            Self::Adam(_) | Self::AdamW(_) => 2,
            Self::Sgd(c) => usize::from(c.momentum > 0.0),
            Self::Adagrad(_) => 1,
        }
    }

    /// Ranges.
    pub(crate) fn check(&self) -> Result<(), String> {
        let rate = self.learning_rate();
        in_range("learning_rate", rate, rate > 0.0, "above 0")?;
        if let Some(norm) = self.clip_norm() {
            in_range("clip_norm", norm, norm > 0.0, "above 0")?;
        }
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.check(),
            Self::Sgd(c) => c.check(),
            Self::Adagrad(c) => c.check(),
        }
    }
}

/// A number of `[optimizer]` that must be finite and hold to its range.
pub(super) fn in_range(key: &str, value: f64, holds: bool, range: &str) -> Result<(), String> {
    match holds && value.is_finite() {
        true => Ok(()),
        false => Err(format!("optimizer.{key} = {value} is out of range: {range}")),
    }
}
