//! Adaptive thresholds: one for each label and instance, learnt with the model, from how rare the label is and how the
//! instance's neighbours vote.
//!
//! [`AdaptiveThresholds`] are the learnt part: they turn logits `z` into distances `z - θ`, in training and in
//! prediction alike. [`AdaptiveThreshold`] is the loss of those distances. The signals come from [`crate::rarity`] and
//! [`crate::neighbours`]; the config says from where, and which of the sources look at the true labels.

use burn::module::{Module, Param};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};

use crate::config::Base;
use crate::neighbours::MemoryLimit;
use crate::{Loss, LossConfig, LossError, LossValues, TrainingCounts, margin};

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
    /// [`margin::hinge`], as the published code.
    #[default]
    Hinge,
    /// [`margin::band`], as the text.
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

/// Settings of [`AdaptiveThreshold`] and [`AdaptiveThresholds`].
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

    /// Makes the learnt part: λ̂ = 0, α and β small normal, b = 0.
    pub fn init_thresholds(&self, counts: &TrainingCounts, seed: u64, device: &Device) -> AdaptiveThresholds {
        let labels = counts.labels.len();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        let mut small = || -> Vec<f32> {
            let Ok(normal) = Normal::new(0.0f32, SMALL) else { return vec![0.0; labels] };
            (0..labels).map(|_| normal.sample(&mut rng)).collect()
        };
        let param = |values: Vec<f32>| {
            let shape = [values.len()];
            Param::from_tensor(Tensor::<1>::from_data(TensorData::new(values, shape), device))
        };
        AdaptiveThresholds {
            lambda: param(vec![0.0]),
            alpha: param(small()),
            beta: param(small()),
            bias: param(vec![0.0; labels]),
            shape: Shape {
                signals: self.signals,
                static_threshold: self.static_threshold,
                standardise: self.standardise,
                link: self.link,
                unseen: counts.labels.iter().map(|&n| n == 0).collect(),
            },
        }
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

/// Stream of the seeded generator that α and β are drawn from: the model's weights come from another.
const STREAM: u64 = 3;
/// Deviation of α and β at the start.
const SMALL: f32 = 0.01;

/// Settings that prediction needs too.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    signals: Signals,
    static_threshold: f64,
    standardise: bool,
    link: ThresholdLink,
    /// Labels without a positive in training.
    unseen: Vec<bool>,
}

/// `θ_il = λ α_l R_il + (1-λ) β_l KNN_il + b_l`, `λ = σ(λ̂)`, learnt with the model.
///
/// A label without a positive in training has the static threshold: nothing about it could be learnt.
/// Source: arXiv 2505.03118, §3.
#[derive(Module, Debug)]
pub struct AdaptiveThresholds {
    /// λ̂, `[1]`.
    pub lambda: Param<Tensor<1>>,
    /// α, `[labels]`.
    pub alpha: Param<Tensor<1>>,
    /// β, `[labels]`.
    pub beta: Param<Tensor<1>>,
    /// b, `[labels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    shape: Shape,
}

/// What a threshold is made of, for one label of one instance; the sum is θ before its link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ThresholdParts {
    /// `λ α_l R_il`.
    pub rarity: f64,
    /// `(1-λ) β_l KNN_il`.
    pub neighbours: f64,
    /// `b_l`, or the static threshold.
    pub bias: f64,
}

impl AdaptiveThresholds {
    /// θ of each label and instance.
    ///
    /// Shapes: `rarity` `[1 or batch, labels]`, `votes` `[batch, labels]` → `[1 or batch, labels]`. A signal that has no
    /// say may be absent.
    pub fn thresholds(&self, rarity: Option<Tensor<2>>, votes: Option<Tensor<2>>) -> Tensor<2> {
        let shape = &self.shape;
        let bias = self.bias.val().unsqueeze::<2>();
        if shape.signals == Signals::Static {
            return bias.detach().mul_scalar(0.0).add_scalar(shape.static_threshold);
        }
        let lambda = sigmoid(self.lambda.val()).unsqueeze::<2>();
        let mut theta = bias;
        if let Some(rarity) = rarity.filter(|_| shape.signals != Signals::Knn) {
            theta = rarity * (self.alpha.val().unsqueeze() * lambda.clone()) + theta;
        }
        if let Some(votes) = votes.filter(|_| shape.signals != Signals::Idf) {
            let rest = lambda.neg().add_scalar(1.0);
            theta = votes * (self.beta.val().unsqueeze() * rest) + theta;
        }
        if shape.unseen.contains(&true) {
            let seen: Vec<f32> = shape.unseen.iter().map(|u| f32::from(!u)).collect();
            let seen = Tensor::<1>::from_floats(seen.as_slice(), &theta.device().without_autodiff()).unsqueeze::<2>();
            let fixed = seen.clone().neg().add_scalar(1.0).mul_scalar(shape.static_threshold);
            theta = theta * seen + fixed;
        }
        match shape.link {
            ThresholdLink::Identity => theta,
            ThresholdLink::Logistic => sigmoid(theta),
        }
    }

    /// `z - θ`, with `z` standardised first where the settings say so: a label is predicted where it is above 0.
    ///
    /// Shapes: `logits`, `votes` `[batch, labels]`, `rarity` `[1 or batch, labels]` → `[batch, labels]`.
    pub fn distance(&self, logits: Tensor<2>, rarity: Option<Tensor<2>>, votes: Option<Tensor<2>>) -> Tensor<2> {
        let logits = if self.shape.standardise { standardise(logits) } else { logits };
        logits - self.thresholds(rarity, votes)
    }

    /// The learnt numbers on the host, for explanations.
    pub fn explainer(&self) -> Explainer {
        let numbers = |p: &Param<Tensor<1>>| host::HostView::of(&p.val()).as_slice().to_vec();
        let lambda = f64::from(numbers(&self.lambda)[0]);
        Explainer {
            lambda: 1.0 / (1.0 + (-lambda).exp()),
            alpha: numbers(&self.alpha),
            beta: numbers(&self.beta),
            bias: numbers(&self.bias),
            shape: self.shape.clone(),
        }
    }
}

/// Says what the threshold of a label and instance is made of.
#[derive(Debug, Clone)]
pub struct Explainer {
    lambda: f64,
    alpha: Vec<f32>,
    beta: Vec<f32>,
    bias: Vec<f32>,
    shape: Shape,
}

impl Explainer {
    /// The parts of the threshold of label `l` where its rarity and vote are these.
    pub fn parts(&self, l: usize, rarity: f64, vote: f64) -> ThresholdParts {
        let signals = self.shape.signals;
        if signals == Signals::Static || self.shape.unseen[l] {
            return ThresholdParts { bias: self.shape.static_threshold, ..ThresholdParts::default() };
        }
        let (alpha, beta) = (f64::from(self.alpha[l]), f64::from(self.beta[l]));
        ThresholdParts {
            rarity: if signals == Signals::Knn { 0.0 } else { self.lambda * alpha * rarity },
            neighbours: if signals == Signals::Idf { 0.0 } else { (1.0 - self.lambda) * beta * vote },
            bias: f64::from(self.bias[l]),
        }
    }

    /// θ of these parts.
    pub fn threshold(&self, parts: ThresholdParts) -> f64 {
        let sum = parts.rarity + parts.neighbours + parts.bias;
        match self.shape.link {
            ThresholdLink::Identity => sum,
            ThresholdLink::Logistic => 1.0 / (1.0 + (-sum).exp()),
        }
    }
}

/// `(z - mean) / (deviation + 1e-8)` over the labels of each instance; the deviation divides by L.
fn standardise(logits: Tensor<2>) -> Tensor<2> {
    let centred = logits.clone() - logits.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    // The floor keeps the root's gradient finite where all logits are equal.
    centred / variance.clamp_min(1e-16).sqrt().add_scalar(1e-8)
}

/// `base(z - θ, y) + λ_m Σ_l margin(z - θ, y)`: a loss of distances, which [`AdaptiveThresholds`] makes of logits.
pub struct AdaptiveThreshold {
    base: Box<dyn Loss>,
    margin: MarginKind,
    weight: f64,
    delta: f64,
}

impl Loss for AdaptiveThreshold {
    fn forward(&self, distance: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let mut values = self.base.forward(distance.clone(), targets.clone());
        if self.weight > 0.0 {
            let margin = match self.margin {
                MarginKind::Hinge => margin::hinge(distance, targets, self.delta),
                MarginKind::Band => margin::band(distance, self.delta),
            };
            let sum = margin.sum_dim(1).squeeze_dim::<1>(1).mul_scalar(self.weight);
            values.instance.push(("margin", sum));
        }
        values
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
