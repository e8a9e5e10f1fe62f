//! C2AE: features and labels meet in one code, from which labels are decoded.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::{About, InputKind, LabelLoss, ModelError, MultiLabel, Settings, Task};
use crate::layers::{FeatureEncoder, Linear, Stack};
use crate::outputs::{Outputs, Part};
use crate::ranking::pair_ranking;
use crate::width::Width;
use crate::{Features, Pass};

/// Slope of the hidden layers below 0.
const SLOPE: f64 = 0.1;

/// What trains the decoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum C2aeLabelLoss {
    /// The pair ranking loss of the paper.
    #[default]
    Ranking,
    /// The loss of `[loss]`.
    Configured,
}

/// Settings of [`C2ae`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct C2aeConfig {
    /// Units of each hidden layer between features and code.
    pub hidden: Vec<usize>,
    /// Units of the hidden layer between labels and code, and of the one between code and labels.
    pub label_hidden: usize,
    /// Units of the code; auto: 0.8 of the number of labels.
    pub latent: Width,
    /// The label loss weighs 1 / alpha beside the correlation loss.
    pub alpha: f64,
    /// Weight of the codes' distance from uncorrelated units.
    pub orthogonality: f64,
    /// What trains the decoder.
    pub label_loss: C2aeLabelLoss,
    /// Share of hidden units dropped while training, in [0, 1).
    pub dropout: f64,
    /// How features reach the first layer.
    pub input: InputKind,
}

impl Default for C2aeConfig {
    fn default() -> Self {
        Self {
            hidden: vec![512, 512],
            label_hidden: 512,
            latent: Width::Auto,
            alpha: 2.0,
            orthogonality: 0.5,
            label_loss: C2aeLabelLoss::Ranking,
            dropout: 0.0,
            input: InputKind::Auto,
        }
    }
}

impl C2aeConfig {
    fn latent(&self, labels: usize) -> Result<usize, ModelError> {
        self.latent.or(((labels as f64 * 0.8).round() as usize).max(1), "latent")
    }
}

impl Settings for C2aeConfig {
    type Model = C2ae;
    const ABOUT: About = About {
        kind: "c2ae",
        name: "canonical correlated autoencoder",
        paper: "Yeh et al., AAAI 2017, arXiv 1707.00418",
        good_for: "strongly correlated labels, ranking; its scores are not calibrated: tune thresholds",
    };

    fn init(&self, task: Task, rng: &mut ChaCha8Rng, device: &Device) -> Result<C2ae, ModelError> {
        ModelError::check_layers("hidden", &self.hidden)?;
        ModelError::check_layers("label_hidden", &[self.label_hidden])?;
        ModelError::check_dropout(self.dropout)?;
        ModelError::check_weight("orthogonality", self.orthogonality)?;
        ModelError::check_positive("alpha", self.alpha)?;
        if task.labels < 2 && self.label_loss == C2aeLabelLoss::Ranking {
            let reason = "it ranks labels against each other, and the data has only one; \
                          set model.label_loss = \"configured\"";
            return Err(ModelError::Unfit { kind: "c2ae", reason: reason.into() });
        }
        let (latent, hidden) = (self.latent(task.labels)?, self.label_hidden);
        Ok(C2ae {
            features: FeatureEncoder::new(task.features, &self.hidden, SLOPE, self.dropout, rng, device),
            feature_code: Linear::new(self.hidden[self.hidden.len() - 1], latent, rng, device),
            labels: Stack::new(&[task.labels, hidden], SLOPE, self.dropout, rng, device),
            label_code: Linear::new(hidden, latent, rng, device),
            decoder: Stack::new(&[latent, hidden], SLOPE, self.dropout, rng, device),
            scores: Linear::new(hidden, task.labels, rng, device),
            settings: self.clone(),
        })
    }

    fn input(&self) -> InputKind {
        self.input
    }

    fn embedding_width(&self, _features: usize, labels: usize) -> Option<usize> {
        self.latent(labels).ok()
    }

    fn label_loss(&self) -> LabelLoss {
        match self.label_loss {
            C2aeLabelLoss::Configured => LabelLoss::Configured,
            C2aeLabelLoss::Ranking => LabelLoss::Own { instead: Some("model.label_loss = \"configured\"") },
        }
    }
}

/// Canonical correlated autoencoder.
///
/// Codes `σ(·) - ½` of features and of labels are drawn to each other; a decoder learns labels from the code of the true
/// labels and predicts them from the code of the features.
/// Source: arXiv 1707.00418; widths and activations of its authors' code.
#[derive(Module, Debug)]
pub struct C2ae {
    features: FeatureEncoder,
    feature_code: Linear,
    labels: Stack,
    label_code: Linear,
    decoder: Stack,
    scores: Linear,
    #[module(skip)]
    settings: C2aeConfig,
}

/// Codes in (-½, ½).
fn code(x: Tensor<2>) -> Tensor<2> {
    sigmoid(x).sub_scalar(0.5)
}

/// How far the codes of features and labels are from each other and from uncorrelated units, summed over the batch:
/// `‖F - E‖² + λ (‖FᵀF - I‖² + ‖EᵀE - I‖²)`, `[1]`.
///
/// Shapes: `features`, `labels` `[batch, units]`.
/// Source: arXiv 1707.00418, eq. 2 and 3, with the λ = 0.5 of its authors' code.
pub fn correlation_loss(features: Tensor<2>, labels: Tensor<2>, orthogonality: f64) -> Tensor<1> {
    let square = |t: Tensor<2>| (t.clone() * t).sum();
    let off = |t: &Tensor<2>| {
        let units = t.dims()[1];
        square(t.clone().transpose().matmul(t.clone()) - Tensor::eye(units, &t.device().without_autodiff()))
    };
    let correlated = off(&features) + off(&labels);
    square(features - labels) + correlated.mul_scalar(orthogonality)
}

impl C2ae {
    fn encode(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        let code = code(self.feature_code.forward(self.features.forward(features, pass)));
        pass.embedding = Some(code.clone());
        code
    }

    fn decode(&self, code: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        self.scores.forward(self.decoder.forward(code, pass))
    }
}

impl MultiLabel for C2ae {
    fn labels(&self) -> usize {
        self.scores.bias.dims()[0]
    }

    fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        let code = self.encode(features, pass);
        self.decode(code, pass)
    }

    fn outputs(&self, features: &Features, targets: &Tensor<2>, pass: &mut Pass) -> Outputs {
        let of_features = self.encode(features, pass);
        let of_labels = code(self.label_code.forward(self.labels.forward(targets.clone(), pass)));
        let decoded = self.decode(of_labels.clone(), pass);
        // The decoder learns from the labels' code alone: what it predicts is seen, not learnt from.
        let predicted = self.decode(of_features.clone(), pass).detach();
        let batch = targets.dims()[0].max(1) as f64;
        let correlation = correlation_loss(of_features, of_labels, self.settings.orthogonality).div_scalar(batch);
        let outputs = Outputs::of(predicted).with("correlation", Part::Batch(correlation));
        let weight = 1.0 / self.settings.alpha;
        match self.settings.label_loss {
            C2aeLabelLoss::Configured => Outputs { judged: Some(decoded), weight, ..outputs },
            C2aeLabelLoss::Ranking => {
                let ranking = pair_ranking(sigmoid(decoded), targets.clone()).squeeze_dim::<1>(1).mul_scalar(weight);
                Outputs { weight: 0.0, ..outputs }.with("ranking", Part::Instances(ranking))
            }
        }
    }
}
