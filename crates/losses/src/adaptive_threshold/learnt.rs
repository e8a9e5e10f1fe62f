//! The learnt part of adaptive thresholds: from signals to `z - θ`, and to an explanation of θ.

use burn::module::{Module, Param};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use serde::Serialize;

use super::{AdaptiveThresholdConfig, Signals, ThresholdLink};
use crate::TrainingCounts;

/// Stream of the seeded generator that α and β are drawn from: the model's weights come from another.
const STREAM: u64 = 3;
/// Deviation of α and β at the start.
const SMALL: f32 = 0.01;

impl AdaptiveThresholdConfig {
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
}

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
