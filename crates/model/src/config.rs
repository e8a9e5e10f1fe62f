//! The one list of models a config can name, and what a model has to offer.

use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor};
use data::LabelGraph;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::host_model::HostModel;
use crate::{
    C2ae, C2aeConfig, Clif, ClifConfig, Dela, DelaConfig, Features, Mlp, MlpConfig, Mpvae, MpvaeConfig, Outputs, Paca,
    PacaConfig, Pass,
};

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
    /// Data that the model is not made for.
    #[error("model.kind = {kind}: {reason}")]
    Unfit {
        /// The model.
        kind: &'static str,
        /// Why not, and what now.
        reason: String,
    },
}

impl ModelError {
    pub(crate) fn range(key: &'static str, value: impl ToString, range: &'static str) -> Self {
        Self::OutOfRange { key, value: value.to_string(), range }
    }

    /// A share of units dropped while training must be at least 0 and below 1.
    pub(crate) fn check_dropout(dropout: f64) -> Result<(), Self> {
        match (0.0..1.0).contains(&dropout) {
            true => Ok(()),
            false => Err(Self::range("dropout", dropout, "at least 0 and below 1")),
        }
    }

    /// A number must be finite and above 0.
    pub(crate) fn check_positive(key: &'static str, value: f64) -> Result<(), Self> {
        match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Self::range(key, value, "above 0")),
        }
    }

    /// A number must be finite and at least 0.
    pub(crate) fn check_weight(key: &'static str, value: f64) -> Result<(), Self> {
        match value >= 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Self::range(key, value, "at least 0")),
        }
    }

    /// Layers of at least one unit each.
    pub(crate) fn check_layers(key: &'static str, widths: &[usize]) -> Result<(), Self> {
        match widths.is_empty() || widths.contains(&0) {
            true => Err(Self::range(key, format!("{widths:?}"), "at least one layer, every layer at least 1")),
            false => Ok(()),
        }
    }
}

/// What a model is made for.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// Number of features.
    pub features: usize,
    /// Number of labels.
    pub labels: usize,
    /// How the training split's labels come together, for a model that asks for it; none where stored weights follow.
    pub graph: Option<&'a LabelGraph>,
}

/// Whose label loss trains a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelLoss {
    /// The one of `[loss]`.
    Configured,
    /// The model's own.
    Own {
        /// The setting that puts the one of `[loss]` in its place, where there is one.
        instead: Option<&'static str>,
    },
}

/// What a model is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct About {
    /// Its name in a config.
    pub kind: &'static str,
    /// What it stands for.
    pub name: &'static str,
    /// Where it is published.
    pub paper: &'static str,
    /// What it is good for.
    pub good_for: &'static str,
}

/// The settings of one kind of model.
pub trait Settings {
    /// The model.
    type Model: MultiLabel;
    /// What it is.
    const ABOUT: About;
    /// Whether it looks at how labels come together.
    const WANTS_GRAPH: bool = false;
    /// Whether it can give the logits of some labels alone.
    const GIVES_SOME_LABELS: bool = false;

    /// Makes the model with fresh weights.
    ///
    /// # Errors
    /// For a setting out of range, or data it is not made for.
    fn init(&self, task: Task, rng: &mut ChaCha8Rng, device: &Device) -> Result<Self::Model, ModelError>;

    /// How features reach the first layer.
    fn input(&self) -> InputKind;

    /// Units of [`Pass::embedding`] for so many features and labels; none in a model without a hidden layer.
    fn embedding_width(&self, features: usize, labels: usize) -> Option<usize>;

    /// Whose label loss trains it.
    fn label_loss(&self) -> LabelLoss {
        LabelLoss::Configured
    }
}

/// A multi-label model.
pub trait MultiLabel: Module {
    /// Labels it knows.
    fn labels(&self) -> usize;

    /// What it predicts: features of `[batch, features]` → logits `[batch, labels]`.
    fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2>;

    /// What it makes of a batch that it trains on. `targets`: `[batch, labels]` of 0 and 1.
    fn outputs(&self, features: &Features, _targets: &Tensor<2>, pass: &mut Pass) -> Outputs {
        Outputs::of(self.forward(features, pass))
    }

    /// Passes on host memory, where it has them.
    fn on_host(&self) -> Option<Box<dyn HostModel>> {
        None
    }

    /// Parameters that learn at another rate than the model's, with the factor.
    fn rates(&self) -> Vec<(ParamId, f64)> {
        Vec::new()
    }
}

/// The list: one line a model.
macro_rules! models {
    ($($(#[$doc:meta])* $name:ident($config:ident),)*) => {
        /// Which model, with its settings.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
        pub enum ModelConfig {
            $($(#[$doc])* $name($config),)*
        }

        impl ModelConfig {
            /// Every model with its default settings.
            pub fn all() -> Vec<Self> {
                vec![$(Self::$name($config::default()),)*]
            }

            /// What the model is.
            pub fn about(&self) -> About {
                match self {
                    $(Self::$name(_) => <$config as Settings>::ABOUT,)*
                }
            }

            /// Whether it looks at how labels come together.
            pub fn wants_graph(&self) -> bool {
                match self {
                    $(Self::$name(_) => <$config as Settings>::WANTS_GRAPH,)*
                }
            }

            /// Whether it can give the logits of some labels alone.
            pub fn gives_some_labels(&self) -> bool {
                match self {
                    $(Self::$name(_) => <$config as Settings>::GIVES_SOME_LABELS,)*
                }
            }

            /// Makes the model; its weights depend on `seed` alone, not on the device.
            ///
            /// # Errors
            /// For a setting out of range, or data it is not made for.
            pub fn init(&self, task: Task, seed: u64, device: &Device) -> Result<Model, ModelError> {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                match self {
                    $(Self::$name(config) => Ok(Model::$name(config.init(task, &mut rng, device)?)),)*
                }
            }

            /// Units of the layer that neighbours are found by, for so many features and labels; none in a linear model.
            pub fn embedding_width(&self, features: usize, labels: usize) -> Option<usize> {
                match self {
                    $(Self::$name(config) => config.embedding_width(features, labels),)*
                }
            }

            /// How features reach the first layer.
            pub fn input(&self) -> InputKind {
                match self {
                    $(Self::$name(config) => config.input(),)*
                }
            }

            /// Whose label loss trains it.
            pub fn label_loss(&self) -> LabelLoss {
                match self {
                    $(Self::$name(config) => config.label_loss(),)*
                }
            }
        }

        /// Any of the models.
        #[derive(Module, Debug)]
        #[expect(clippy::large_enum_variant, reason = "one value a run")]
        pub enum Model {
            $($(#[$doc])* $name($name),)*
        }

        impl Model {
            /// Passes on host memory, for a model that has them and lives there.
            pub fn on_host(&self, device: &Device) -> Option<Box<dyn HostModel>> {
                if !host::is_host(device) {
                    return None;
                }
                match self {
                    $(Self::$name(model) => model.on_host(),)*
                }
            }

            /// Labels it knows.
            pub fn labels(&self) -> usize {
                match self {
                    $(Self::$name(model) => model.labels(),)*
                }
            }

            /// What it predicts: features of `[batch, features]` → logits `[batch, labels]`.
            pub fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
                match self {
                    $(Self::$name(model) => model.forward(features, pass),)*
                }
            }

            /// What it makes of a batch that it trains on. `targets`: `[batch, labels]` of 0 and 1.
            pub fn outputs(&self, features: &Features, targets: &Tensor<2>, pass: &mut Pass) -> Outputs {
                match self {
                    $(Self::$name(model) => model.outputs(features, targets, pass),)*
                }
            }

            /// Parameters that learn at another rate than the model's, with the factor.
            pub fn rates(&self) -> Vec<(ParamId, f64)> {
                match self {
                    $(Self::$name(model) => model.rates(),)*
                }
            }
        }
    };
}

models! {
    /// Multi-layer perceptron.
    Mlp(MlpConfig),
    /// Canonical correlated autoencoder.
    C2ae(C2aeConfig),
    /// Multivariate probit variational autoencoder.
    Mpvae(MpvaeConfig),
    /// Collaborative learning of label semantics and deep label-specific features.
    Clif(ClifConfig),
    /// Dual perspective of label-specific feature learning.
    Dela(DelaConfig),
    /// Label-specific features by probabilistic prototypes and flows.
    Paca(PacaConfig),
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Mlp(MlpConfig::default())
    }
}
