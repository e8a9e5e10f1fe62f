//! DELA: a latent code in which each label learns what it may ignore, by adding noise there.

use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::{About, InputKind, ModelError, MultiLabel, Settings, Task};
use crate::layers::gaussian::Normal;
use crate::layers::{ConcreteGates, FeatureEncoder, Gaussian, InputLayer, LabelHead, LabelView};
use crate::outputs::{Outputs, Part};
use crate::precision::product;
use crate::width::Width;
use crate::{Features, Pass};

/// Units of the encoder's hidden layers.
const ENCODER: [usize; 3] = [256, 512, 256];
/// Units of the decoder's hidden layers.
const DECODER: [usize; 2] = [256, 512];

/// Settings of [`Dela`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DelaConfig {
    /// Dimensions of the latent code; auto: half the number of features, at most 1024.
    pub latent: Width,
    /// Temperature of the gates.
    pub temperature: f64,
    /// Weight of the divergence.
    pub beta: f64,
    /// The gates learn at this share of the learning rate.
    pub gate_rate: f64,
    /// Share of hidden units dropped while training, in [0, 1).
    pub dropout: f64,
    /// How features reach the first layer.
    pub input: InputKind,
}

impl Default for DelaConfig {
    fn default() -> Self {
        Self {
            latent: Width::Auto,
            temperature: 2.0 / 3.0,
            beta: 1e-4,
            gate_rate: 0.8,
            dropout: 0.2,
            input: InputKind::Auto,
        }
    }
}

impl Settings for DelaConfig {
    type Model = Dela;
    const ABOUT: About = About {
        kind: "dela",
        name: "dual perspective of label-specific feature learning",
        paper: "Hang and Zhang, ICML 2022",
        good_for: "labels that depend on different features, few of them each",
    };
    const GIVES_SOME_LABELS: bool = true;

    fn init(&self, task: Task, rng: &mut ChaCha8Rng, device: &Device) -> Result<Dela, ModelError> {
        ModelError::check_dropout(self.dropout)?;
        ModelError::check_weight("beta", self.beta)?;
        ModelError::check_weight("gate_rate", self.gate_rate)?;
        ModelError::check_positive("temperature", self.temperature)?;
        let (features, labels) = (task.features, task.labels);
        let latent = self.latent.or_half_of(features)?;
        let inputs = features + latent;
        Ok(Dela {
            encoder: FeatureEncoder::new(features, &ENCODER, 0.0, self.dropout, rng, device),
            latent: Gaussian::new(ENCODER[2], latent, rng, device),
            gates: ConcreteGates::new(labels, latent, self.temperature, rng, device),
            features: InputLayer::before_relu([features, DECODER[0]], inputs, 0.0, rng, device),
            head: LabelHead::new(&[latent, DECODER[0], DECODER[1]], inputs, labels, 0.0, self.dropout, rng, device),
            settings: self.clone(),
        })
    }

    fn input(&self) -> InputKind {
        self.input
    }

    fn embedding_width(&self, features: usize, _labels: usize) -> Option<usize> {
        self.latent.or_half_of(features).ok()
    }
}

/// Dual perspective of label-specific feature learning.
///
/// Label l sees the code `z_l = μ + gate_l ⊙ σ ⊙ ε`: where its gate is open, noise takes the place of information, and
/// what is not needed can be given up. A decoder over features and code leads to a linear classifier for each label.
/// Prediction adds no noise, so that all labels see μ.
/// Source: Hang and Zhang, ICML 2022.
#[derive(Module, Debug)]
pub struct Dela {
    encoder: FeatureEncoder,
    latent: Gaussian,
    gates: ConcreteGates,
    /// What the decoder's first layer sees of the features.
    features: InputLayer,
    /// The rest of the decoder: its first layer over the code, its second one, the classifiers.
    head: LabelHead,
    #[module(skip)]
    settings: DelaConfig,
}

/// Divergence of the noisy codes of an instance from the standard normal distribution, averaged over labels:
/// `mean_l ½ Σ_d (-log σ² - 2 log(g + 1e-6) - 1 + σ² g² + μ²)`.
///
/// Shapes: the code `[batch, dimensions]`, `gates` `[labels, dimensions]` → `[batch]`. The mean over labels meets the
/// gates alone, so that nothing of `[batch, labels, dimensions]` is made.
/// Source: Hang and Zhang, ICML 2022, eq. 9.
pub fn gated_divergence(code: &Normal, gates: Tensor<2>) -> Tensor<1> {
    let dimensions = gates.dims()[1] as f64;
    let open = (gates.clone() * gates.clone()).mean_dim(0);
    let logs = gates.add_scalar(1e-6).log().mean_dim(0).sum().mul_scalar(2.0);
    let variance = code.log_variance.clone().exp() * open;
    let own = variance + code.mean.clone() * code.mean.clone() - code.log_variance.clone();
    let sums = own.sum_dim(1).squeeze_dim::<1>(1);
    (sums - logs).sub_scalar(dimensions).mul_scalar(0.5)
}

impl Dela {
    /// What all labels see: the features and the mean of the code.
    fn shared(&self, features: &Features, mean: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        self.features.forward(features, pass) + product(mean, self.head.weight.val())
    }
}

impl MultiLabel for Dela {
    fn labels(&self) -> usize {
        self.head.labels()
    }

    fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        let mean = self.latent.mean(self.encoder.forward(features, pass));
        pass.embedding = Some(mean.clone());
        self.head.forward_alike(self.shared(features, mean, pass))
    }

    fn outputs(&self, features: &Features, _targets: &Tensor<2>, pass: &mut Pass) -> Outputs {
        let code = self.latent.forward(self.encoder.forward(features, pass));
        pass.embedding = Some(code.mean.clone());
        let gates = self.gates.sample(pass);
        let noise = pass.normal(code.mean.dims(), &code.mean.device());
        let view = LabelView {
            shared: self.shared(features, code.mean.clone(), pass),
            seen: code.deviation() * noise,
            codes: gates.clone(),
        };
        let logits = self.head.forward(view, pass);
        let divergence = gated_divergence(&code, gates).mul_scalar(self.settings.beta);
        Outputs::of(logits).with("divergence", Part::Instances(divergence))
    }

    fn rates(&self) -> Vec<(ParamId, f64)> {
        let Dela { gates, settings, .. } = self;
        [gates.logits.id, gates.scale.weight.id, gates.scale.bias.id].map(|id| (id, settings.gate_rate)).to_vec()
    }
}
