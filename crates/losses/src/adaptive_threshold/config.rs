//! What adaptive thresholds are made of and where their signals come from, as a config says it.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::AdaptiveThreshold;
use crate::config::Base;
use crate::neighbours::MemoryLimit;
use crate::{LossConfig, LossError, TrainingCounts};

/// Which signals a threshold is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signals {
    /// Rarity and neighbours.
    #[default]
    Both,
    /// Rarity alone; λ and b stay.
    Idf,
    /// Neighbours alone; λ and b stay.
    Knn,
    /// `static_threshold`, nothing learnt.
    Static,
}

/// The rarity signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idf {
    /// [`crate::rarity::idf`], one value a label.
    #[default]
    Counts,
    /// [`crate::rarity::TermRarity`], one value a label and instance.
    Tfidf,
    /// As the published code: the instance's own label vector divided by its cardinality. An oracle.
    Authors,
}

/// Whose labels vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeighbourSource {
    /// The batch's instances that share labels, by their true labels. At evaluation an oracle.
    BatchLabels,
    /// The training instances most similar by features.
    Features,
    /// The training instances most similar by the last hidden layer.
    Embedding,
    /// The training instances whose labels the model finds most likely.
    Predicted,
    /// As the published code: the batch's true labels, the instance itself included. At evaluation an oracle.
    Authors,
}

impl NeighbourSource {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::BatchLabels, Self::Features, Self::Embedding, Self::Predicted, Self::Authors];

    /// True where the true labels of the instances at hand are an input: such a source may not predict.
    pub fn is_oracle(self) -> bool {
        matches!(self, Self::BatchLabels | Self::Authors)
    }

    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::BatchLabels => "batch_labels",
            Self::Features => "features",
            Self::Embedding => "embedding",
            Self::Predicted => "predicted",
            Self::Authors => "authors",
        }
    }
}

/// Whose labels vote where there are no labels: in validation, evaluation and prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictSource {
    /// Nobody's: the model is not evaluated and does not predict, but for an oracle asked for by name.
    None,
    /// [`NeighbourSource::Features`].
    Features,
    /// [`NeighbourSource::Embedding`].
    Embedding,
    /// [`NeighbourSource::Predicted`].
    Predicted,
}

/// How a margin is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarginKind {
    /// [`crate::margin::hinge`], as the published code.
    #[default]
    Hinge,
    /// [`crate::margin::band`], as the text.
    Band,
}

/// What a threshold passes through before it meets the logit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdLink {
    /// Nothing.
    #[default]
    Identity,
    /// The logistic function, as the published code.
    Logistic,
}

/// Settings of [`AdaptiveThreshold`] and [`crate::AdaptiveThresholds`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveThresholdConfig {
    /// The loss of `z - θ`: any loss of the library.
    pub base: Base,
    /// What thresholds are made of.
    pub signals: Signals,
    /// The rarity signal.
    pub idf: Idf,
    /// Whose labels vote in training.
    pub neighbours: NeighbourSource,
    /// Whose labels vote in prediction; absent: the same, which must not be an oracle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predict_neighbours: Option<PredictSource>,
    /// Neighbours an instance has, where they come from the training data.
    pub k: usize,
    /// How the margin is measured.
    pub margin: MarginKind,
    /// λ_m, at least 0.
    pub margin_weight: f64,
    /// Δ, at least 0.
    pub margin_delta: f64,
    /// θ of `signals = "static"`, and of labels without a positive in training.
    pub static_threshold: f64,
    /// Logits of each instance to mean 0 and deviation 1 first, as the published code.
    pub standardise: bool,
    /// What θ passes through.
    pub link: ThresholdLink,
    /// Learning rate of λ, α, β and b; absent: the optimizer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Largest memory of the bank of training rows and the search in it, in MiB.
    pub memory_limit: usize,
}

impl Default for AdaptiveThresholdConfig {
    fn default() -> Self {
        Self {
            base: Base::default(),
            signals: Signals::Both,
            idf: Idf::Counts,
            neighbours: NeighbourSource::Features,
            predict_neighbours: None,
            k: 20,
            margin: MarginKind::Hinge,
            margin_weight: 0.1,
            margin_delta: 0.1,
            static_threshold: 0.5,
            standardise: false,
            link: ThresholdLink::Identity,
            learning_rate: None,
            memory_limit: 4096,
        }
    }
}

impl AdaptiveThresholdConfig {
    /// Makes the loss of distances.
    ///
    /// # Errors
    /// For settings out of range, or a base that has thresholds of its own.
    pub fn init(&self, counts: &TrainingCounts, device: &Device) -> Result<AdaptiveThreshold, LossError> {
        LossError::at_least_0("margin_weight", self.margin_weight)?;
        LossError::at_least_0("margin_delta", self.margin_delta)?;
        if let Some(rate) = self.learning_rate {
            LossError::above_0("learning_rate", rate)?;
        }
        if !self.static_threshold.is_finite() {
            return Err(LossError::range("static_threshold", self.static_threshold, "a finite number"));
        }
        for (key, value) in [("k", self.k), ("memory_limit", self.memory_limit)] {
            if value == 0 {
                return Err(LossError::range(key, value, "at least 1"));
            }
        }
        if self.base.config().thresholds().is_some() {
            let message = "adaptive_threshold over adaptive_threshold: a label has one threshold";
            return Err(LossError::Contradiction(message.into()));
        }
        let base = self.base.config().init(counts, device).map_err(|e| e.inside("base"))?;
        Ok(AdaptiveThreshold { base, margin: self.margin, weight: self.margin_weight, delta: self.margin_delta })
    }

    /// True where neighbours have a say.
    pub fn uses_neighbours(&self) -> bool {
        matches!(self.signals, Signals::Both | Signals::Knn)
    }

    /// True where rarity has a say.
    pub fn uses_rarity(&self) -> bool {
        matches!(self.signals, Signals::Both | Signals::Idf)
    }

    /// True where the true labels are an input of the rarity signal.
    pub fn has_oracle_rarity(&self) -> bool {
        self.uses_rarity() && self.idf == Idf::Authors
    }

    /// The neighbours in prediction, none where neighbours have no say.
    ///
    /// # Errors
    /// Where the true labels would be an input of the prediction, or prediction was ruled out.
    pub fn source_of_prediction(&self) -> Result<Option<NeighbourSource>, LossError> {
        if self.has_oracle_rarity() {
            return match self.predict_neighbours {
                Some(PredictSource::None) => Err(LossError::NoPrediction("loss.predict_neighbours = none")),
                _ => Err(LossError::OracleRarity),
            };
        }
        if !self.uses_neighbours() {
            return Ok(None);
        }
        match self.predict_neighbours {
            Some(PredictSource::Features) => Ok(Some(NeighbourSource::Features)),
            Some(PredictSource::Embedding) => Ok(Some(NeighbourSource::Embedding)),
            Some(PredictSource::Predicted) => Ok(Some(NeighbourSource::Predicted)),
            Some(PredictSource::None) => Err(LossError::NoPrediction("loss.predict_neighbours = none")),
            None => match self.neighbours {
                source if source.is_oracle() => Err(LossError::Oracle(source.name())),
                source => Ok(Some(source)),
            },
        }
    }

    /// The memory the bank may take.
    pub fn limit(&self) -> MemoryLimit {
        MemoryLimit { mebibytes: self.memory_limit }
    }
}

impl LossConfig {
    /// The settings of the thresholds learnt with the model, where this loss has some.
    pub fn thresholds(&self) -> Option<&AdaptiveThresholdConfig> {
        match self {
            Self::AdaptiveThreshold(config) => Some(config),
            _ => None,
        }
    }
}
