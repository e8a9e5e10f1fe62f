//! The one list of models a config can name.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::host_model::HostModel;
use crate::mlp::HostMlp;
use crate::{Features, Mlp, MlpConfig, Pass};

/// How features reach the first layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Sparse where that is faster on the backend at hand.
    #[default]
    Auto,
    /// As compressed rows.
    Sparse,
    /// As a dense matrix.
    Dense,
}

/// A model cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A setting outside its range.
    #[error("model.{key} = {value} is out of range: {range}")]
    OutOfRange {
        /// The config key, without `model.`.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        range: &'static str,
    },
}

impl ModelError {
    pub(crate) fn range(key: &'static str, value: impl ToString, range: &'static str) -> Self {
        Self::OutOfRange { key, value: value.to_string(), range }
    }
}

/// Which model, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelConfig {
    /// Multi-layer perceptron.
    Mlp(MlpConfig),
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Mlp(MlpConfig::default())
    }
}

impl ModelConfig {
    /// Makes the model; its weights depend on `seed` alone, not on the device.
    ///
    /// # Errors
    /// For a setting out of range.
    pub fn init(&self, features: usize, labels: usize, seed: u64, device: &Device) -> Result<Model, ModelError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        match self {
            Self::Mlp(config) => Ok(Model::Mlp(config.init(features, labels, &mut rng, device)?)),
        }
    }

    /// Units of the last hidden layer; none in a linear model.
    pub fn embedding_width(&self) -> Option<usize> {
        match self {
            Self::Mlp(config) => config.hidden.last().copied(),
        }
    }

    /// How features reach the first layer.
    pub fn input(&self) -> InputKind {
        match self {
            Self::Mlp(config) => config.input,
        }
    }
}

/// Any of the models.
#[derive(Module, Debug)]
pub enum Model {
    /// Multi-layer perceptron.
    Mlp(Mlp),
}

impl Model {
    /// Passes on host memory, for a model that has them and lives there.
    pub fn on_host(&self, device: &Device) -> Option<Box<dyn HostModel>> {
        if !host::is_host(device) {
            return None;
        }
        match self {
            Self::Mlp(model) => HostMlp::new(model).map(|m| Box::new(m) as Box<dyn HostModel>),
        }
    }

    /// Labels it knows.
    pub fn labels(&self) -> usize {
        match self {
            Self::Mlp(model) => model.labels(),
        }
    }

    /// Features of `[batch, features]` → logits `[batch, labels]`.
    pub fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        match self {
            Self::Mlp(model) => model.forward(features, pass),
        }
    }
}
