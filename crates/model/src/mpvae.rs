//! MPVAE: labels as signs of correlated normal variables whose means come from a latent code.

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::{About, InputKind, LabelLoss, ModelError, MultiLabel, Settings, Task};
use crate::layers::gaussian::divergence;
use crate::layers::{FeatureEncoder, Gaussian, JointLayer, Linear, Stack, uniform_within};
use crate::outputs::{Outputs, Part};
use crate::ranking::pair_ranking;
use crate::width::Width;
use crate::{Features, Pass};

/// Units of the feature encoder's hidden layers.
const ENCODER: [usize; 3] = [256, 512, 256];
/// Units of the label encoder's hidden layers.
const LABEL_ENCODER: [usize; 2] = [512, 256];
/// Units of the decoder's hidden layers.
const DECODER: [usize; 2] = [256, 512];
/// Keeps probabilities inside (0, 1).
const EPSILON: f64 = 1e-6;

/// Settings of [`Mpvae`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MpvaeConfig {
    /// Dimensions of the latent code; auto: 50.
    pub latent: Width,
    /// Rank of the covariance between labels; auto: the number of labels, at most 1024.
    pub rank: Width,
    /// Samples of the probit's noise while training.
    pub samples: usize,
    /// Weight of the likelihood of the labels.
    pub likelihood: f64,
    /// Weight of the ranking loss.
    pub ranking: f64,
    /// Weight of the divergence between the code of the labels and the code of the features.
    pub divergence: f64,
    /// Share of hidden units of the encoders dropped while training, in [0, 1).
    pub dropout: f64,
    /// How features reach the first layer.
    pub input: InputKind,
}

impl Default for MpvaeConfig {
    fn default() -> Self {
        Self {
            latent: Width::Auto,
            rank: Width::Auto,
            samples: 100,
            likelihood: 0.1,
            ranking: 20.0,
            divergence: 1.1,
            dropout: 0.5,
            input: InputKind::Auto,
        }
    }
}

impl MpvaeConfig {
    fn latent(&self) -> Result<usize, ModelError> {
        self.latent.or(50, "latent")
    }
}

impl Settings for MpvaeConfig {
    type Model = Mpvae;
    const ABOUT: About = About {
        kind: "mpvae",
        name: "multivariate probit variational autoencoder",
        paper: "Bai et al., IJCAI 2020, arXiv 2007.06126",
        good_for: "correlated labels with a covariance to look at, up to some hundreds; trained mostly by ranking: tune thresholds",
    };

    fn init(&self, task: Task, rng: &mut ChaCha8Rng, device: &Device) -> Result<Mpvae, ModelError> {
        ModelError::check_dropout(self.dropout)?;
        ModelError::check_weight("likelihood", self.likelihood)?;
        ModelError::check_weight("ranking", self.ranking)?;
        ModelError::check_weight("divergence", self.divergence)?;
        if self.samples == 0 {
            return Err(ModelError::range("samples", 0, "at least 1"));
        }
        let (features, labels, latent) = (task.features, task.labels, self.latent()?);
        let rank = self.rank.or(labels.min(1024), "rank")?;
        let root = (6.0 / (labels + rank) as f32).sqrt();
        Ok(Mpvae {
            encoder: FeatureEncoder::new(features, &ENCODER, 0.0, self.dropout, rng, device),
            prior: Gaussian::new(ENCODER[2], latent, rng, device),
            label_input: JointLayer::before_relu([features, labels], LABEL_ENCODER[0], rng, device),
            label_encoder: Stack::new(&LABEL_ENCODER, 0.0, self.dropout, rng, device),
            posterior: Gaussian::new(LABEL_ENCODER[1], latent, rng, device),
            decoder_input: JointLayer::before_relu([features, latent], DECODER[0], rng, device),
            decoder: Stack::new(&DECODER, 0.0, 0.0, rng, device),
            label_mean: Linear::new(DECODER[1], labels, rng, device),
            feature_mean: Linear::new(DECODER[1], labels, rng, device),
            root: uniform_within(root, [labels, rank], rng, device),
            settings: self.clone(),
        })
    }

    fn input(&self) -> InputKind {
        self.input
    }

    fn embedding_width(&self, _features: usize, _labels: usize) -> Option<usize> {
        self.latent().ok()
    }

    fn label_loss(&self) -> LabelLoss {
        LabelLoss::Own { instead: None }
    }
}

/// Multivariate probit variational autoencoder.
///
/// Two encoders, of features alone (the prior) and of features and labels (the posterior), lead to one latent code; one
/// decoder leads from it to a mean of each label in each branch. A label is present where its mean plus correlated noise
/// `Q ε` plus standard normal noise of its own is above 0.
///
/// Prediction takes the feature branch with the mean of its code, and the probability over all noise, which the
/// authors' samples come close to: `Φ(m_l / √(1 + ‖Q_l‖²))`.
/// Source: arXiv 2007.06126; widths of its authors' code.
#[derive(Module, Debug)]
pub struct Mpvae {
    encoder: FeatureEncoder,
    prior: Gaussian,
    label_input: JointLayer,
    label_encoder: Stack,
    posterior: Gaussian,
    decoder_input: JointLayer,
    decoder: Stack,
    label_mean: Linear,
    feature_mean: Linear,
    /// Q, `[labels, rank]`.
    root: Param<Tensor<2>>,
    #[module(skip)]
    settings: MpvaeConfig,
}

/// Distribution function of the standard normal distribution, kept inside (0, 1).
fn probit<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let inside = x.div_scalar(std::f64::consts::SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
    inside.mul_scalar(1.0 - EPSILON).add_scalar(EPSILON / 2.0)
}

/// Probability of each label in each sample, `Φ(Q ε + m)`.
///
/// Shapes: `mean` `[batch, labels]`, `root` `[labels, rank]`, `noise` `[samples, batch, rank]` →
/// `[samples, batch, labels]`. Source: arXiv 2007.06126, eq. 3.
pub fn probit_samples(mean: Tensor<2>, root: Tensor<2>, noise: Tensor<3>) -> Tensor<3> {
    let [samples, batch, rank] = noise.dims();
    let labels = mean.dims()[1];
    let shift = noise.reshape([samples * batch, rank]).matmul(root.transpose());
    probit(shift.reshape([samples, batch, labels]) + mean.unsqueeze_dim::<3>(0))
}

/// `-log mean_s Π_l p^y (1-p)^{1-y}`, the negative log likelihood of each instance's labels.
///
/// Shapes: `probabilities` `[samples, batch, labels]`, `targets` `[batch, labels]` → `[batch]`.
pub fn sampled_likelihood(probabilities: Tensor<3>, targets: Tensor<2>) -> Tensor<1> {
    let [samples, batch, _] = probabilities.dims();
    let targets = targets.unsqueeze_dim::<3>(0);
    // The probability of what is: p where present, 1 - p where absent.
    let absent = targets.clone().neg().add_scalar(1.0);
    let sign = targets.mul_scalar(2.0).sub_scalar(1.0);
    let logs = (probabilities * sign + absent).log().sum_dim(2).reshape([samples, batch]);
    let largest = logs.clone().max_dim(0).detach();
    let mean = (logs - largest.clone()).exp().mean_dim(0).log() + largest;
    mean.reshape([batch]).neg()
}

/// The pair ranking loss of each instance, a fifth of it, averaged over samples.
///
/// Shapes: `probabilities` `[samples, batch, labels]`, `targets` `[batch, labels]` → `[batch]`.
pub fn sampled_ranking(probabilities: Tensor<3>, targets: Tensor<2>) -> Tensor<1> {
    let batch = targets.dims()[0];
    let ranking = pair_ranking(probabilities, targets.unsqueeze_dim::<3>(0));
    ranking.mean_dim(0).reshape([batch]).div_scalar(5.0)
}

impl Mpvae {
    fn decode(&self, of_features: &Tensor<2>, code: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let hidden = relu(of_features.clone() + self.decoder_input.of_others(code));
        self.decoder.forward(hidden, pass)
    }

    /// From the means of the feature branch to the logits of the labels' probabilities.
    fn marginal_logits(&self, mean: Tensor<2>) -> Tensor<2> {
        let root = self.root.val();
        let spread = (root.clone() * root).sum_dim(1).add_scalar(1.0).sqrt().transpose();
        let probability = probit(mean / spread);
        probability.clone().log() - probability.neg().add_scalar(1.0).log()
    }
}

impl MultiLabel for Mpvae {
    fn labels(&self) -> usize {
        self.root.dims()[0]
    }

    fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        let code = self.prior.mean(self.encoder.forward(features, pass));
        pass.embedding = Some(code.clone());
        let of_features = self.decoder_input.of_features(features, pass);
        let hidden = self.decode(&of_features, code, pass);
        self.marginal_logits(self.feature_mean.forward(hidden))
    }

    fn outputs(&self, features: &Features, targets: &Tensor<2>, pass: &mut Pass) -> Outputs {
        let MpvaeConfig { samples, likelihood, ranking, divergence: weight, dropout, .. } = self.settings;
        let prior = self.prior.forward(self.encoder.forward(features, pass));
        pass.embedding = Some(prior.mean.clone());
        let joint = relu(self.label_input.forward(features, targets.clone(), pass));
        let joint = pass.dropout(joint, dropout);
        let posterior = self.posterior.forward(self.label_encoder.forward(joint, pass));
        let device = targets.device();
        // One sample of noise for both branches.
        let noise = pass.normal(prior.mean.dims(), &device);
        let of_features = self.decoder_input.of_features(features, pass);
        let of_labels = self.decode(&of_features, posterior.sample(noise.clone()), pass);
        let own = self.decode(&of_features, prior.sample(noise), pass);
        let means = [self.label_mean.forward(of_labels), self.feature_mean.forward(own)];
        let [batch, rank] = [targets.dims()[0], self.root.dims()[1]];
        let noise: Tensor<3> = pass.normal([samples, batch, rank], &device);
        let seen = |mean: &Tensor<2>| probit_samples(mean.clone(), self.root.val(), noise.clone());
        let both = [seen(&means[0]), seen(&means[1])];
        let sum = |f: fn(Tensor<3>, Tensor<2>) -> Tensor<1>| {
            f(both[0].clone(), targets.clone()) + f(both[1].clone(), targets.clone())
        };
        let [_, of_features] = means;
        let outputs = Outputs::of(self.marginal_logits(of_features).detach());
        Outputs { weight: 0.0, ..outputs }
            .with("likelihood", Part::Instances(sum(sampled_likelihood).mul_scalar(likelihood)))
            .with("ranking", Part::Instances(sum(sampled_ranking).mul_scalar(ranking)))
            .with("divergence", Part::Instances(divergence(&posterior, &prior).mul_scalar(weight)))
    }
}
