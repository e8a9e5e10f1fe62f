//! PACA: every label has a density of what carries it and one of what does not; their ratio decides.

use burn::module::Module;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor, TensorData};
use losses::{bce, soft_bce};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::{About, InputKind, ModelError, MultiLabel, Settings, Task};
use crate::cut::over_labels;
use crate::layers::flow::{ConditionalFlow, INPUTS, log_density};
use crate::layers::gaussian::divergence;
use crate::layers::{FeatureEncoder, Gaussian, JointLayer, Linear, Stack};
use crate::outputs::{Outputs, Part};
use crate::width::Width;
use crate::{Features, Pass};

/// Units of the feature encoder's hidden layers, and of the feature decoder's.
const ENCODER: [usize; 3] = [256, 512, 256];
/// Units of the label encoder's hidden layers.
const LABEL_ENCODER: [usize; 2] = [512, 256];
/// Units of the label decoder's hidden layers.
const LABEL_DECODER: [usize; 2] = [256, 512];
/// Units of the instance map's hidden layers.
const MAP: [usize; 2] = [256, 256];
/// Dropout of everything but the encoders.
const DECODER_DROPOUT: f64 = 0.2;

/// How the decoded features are compared with the features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reconstruction {
    /// `Σ (σ(r) - x)²`, for features scaled to [0, 1].
    #[default]
    Squared,
    /// Binary cross-entropy, for features of 0 and 1.
    CrossEntropy,
}

/// Settings of [`Paca`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PacaConfig {
    /// Dimensions of the latent code; auto: half the number of features, at most 1024.
    pub latent: Width,
    /// Units of the flows' hidden layer.
    pub flow_hidden: usize,
    /// Sigmoids that a flow mixes for each dimension.
    pub sigmoids: usize,
    /// Weight of the label loss over the prototypes.
    pub alpha: f64,
    /// Weight of the divergence between the codes of features and labels, and of the decoded labels.
    pub gamma: f64,
    /// How decoded features are compared.
    pub reconstruction: Reconstruction,
    /// Share of hidden units of the encoders dropped while training, in [0, 1).
    pub dropout: f64,
    /// How features reach the first layer.
    pub input: InputKind,
}

impl Default for PacaConfig {
    fn default() -> Self {
        Self {
            latent: Width::Auto,
            flow_hidden: 256,
            sigmoids: 16,
            alpha: 2.0,
            gamma: 10.0,
            reconstruction: Reconstruction::Squared,
            dropout: 0.1,
            input: InputKind::Auto,
        }
    }
}

impl Settings for PacaConfig {
    type Model = Paca;
    const ABOUT: About = About {
        kind: "paca",
        name: "label-specific features by probabilistic prototypes",
        paper: "Hang, Zhang et al. 2022",
        good_for: "few features and labels, where densities can be learnt; by far the slowest",
    };

    fn init(&self, task: Task, rng: &mut ChaCha8Rng, device: &Device) -> Result<Paca, ModelError> {
        ModelError::check_dropout(self.dropout)?;
        ModelError::check_weight("alpha", self.alpha)?;
        ModelError::check_weight("gamma", self.gamma)?;
        for (key, value) in [("flow_hidden", self.flow_hidden), ("sigmoids", self.sigmoids)] {
            if !(1..=4096).contains(&value) {
                return Err(ModelError::range(key, value, "1 to 4096"));
            }
        }
        let (features, labels) = (task.features, task.labels);
        let latent = self.latent.or_half_of(features)?;
        let drop = DECODER_DROPOUT;
        Ok(Paca {
            encoder: FeatureEncoder::new(features, &ENCODER, 0.0, self.dropout, rng, device),
            code: Gaussian::new(ENCODER[2], latent, rng, device),
            decoder: Stack::new(&[&[latent], &ENCODER[..]].concat(), 0.0, drop, rng, device),
            decoded: Linear::before_relu(ENCODER[2], features, 0.0, rng, device),
            label_encoder: Stack::new(&[&[labels], &LABEL_ENCODER[..]].concat(), 0.0, self.dropout, rng, device),
            label_code: Gaussian::new(LABEL_ENCODER[1], latent, rng, device),
            label_decoder: Stack::new(&[&[latent], &LABEL_DECODER[..]].concat(), 0.0, drop, rng, device),
            decoded_labels: Linear::new(LABEL_DECODER[1], labels, rng, device),
            map_input: JointLayer::before_relu([features, latent], MAP[0], rng, device),
            map: Stack::new(&MAP, 0.0, drop, rng, device),
            mapped: Linear::before_relu(MAP[1], latent, 0.0, rng, device),
            present: ConditionalFlow::new(labels, latent, self.flow_hidden, self.sigmoids, rng, device),
            absent: ConditionalFlow::new(labels, latent, self.flow_hidden, self.sigmoids, rng, device),
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

/// Label-specific features by probabilistic prototypes.
///
/// An instance is mapped into a latent space that codes of labels share; there, a positive and a negative prototype of
/// each label are densities (normal distributions seen through flows that depend on the label), and the logit of a label
/// is the difference of the two log densities.
/// Source: Hang, Zhang et al. 2022.
#[derive(Module, Debug)]
pub struct Paca {
    encoder: FeatureEncoder,
    code: Gaussian,
    decoder: Stack,
    decoded: Linear,
    label_encoder: Stack,
    label_code: Gaussian,
    label_decoder: Stack,
    decoded_labels: Linear,
    map_input: JointLayer,
    map: Stack,
    mapped: Linear,
    present: ConditionalFlow,
    absent: ConditionalFlow,
    #[module(skip)]
    settings: PacaConfig,
}

impl Paca {
    /// The instance in the space of the prototypes, `[batch, dimensions]`.
    fn place(&self, features: &Features, code: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let first = relu(self.map_input.forward(features, code, pass));
        let first = pass.dropout(first, DECODER_DROPOUT);
        let placed = self.mapped.forward(self.map.forward(first, pass));
        pass.embedding = Some(placed.clone());
        placed
    }

    /// `log p(z | present) - log p(z | absent)`, `[batch, labels]`.
    fn logits(&self, placed: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let of_label = placed.dims()[0] * 2 * self.present.cost() * 4 * size_of::<f32>();
        let mut inputs = vec![placed.clone()];
        inputs.extend(self.present.inputs(placed.clone()));
        inputs.extend(self.absent.inputs(placed));
        let ratio = |inputs: &[Tensor<2>], labels: std::ops::Range<usize>| {
            let (x, flows) = (&inputs[0], &inputs[1..]);
            log_density(x, &flows[..INPUTS], labels.clone()) - log_density(x, &flows[INPUTS..], labels)
        };
        over_labels(inputs, self.labels(), of_label, pass, ratio)
    }

    /// How far decoded features are from the features, `[batch]`.
    fn reconstruction(&self, features: &Features, placed: Tensor<2>, pass: &mut Pass) -> Tensor<1> {
        let decoded = self.decoded.forward(self.decoder.forward(placed, pass));
        let truth = match features {
            Features::Dense(x) => x.clone(),
            Features::Sparse(rows) => {
                let shape = [rows.len(), rows.columns];
                Tensor::from_data(TensorData::new(rows.to_dense(), shape), &decoded.device().without_autodiff())
            }
        };
        let off = match self.settings.reconstruction {
            Reconstruction::CrossEntropy => soft_bce(decoded, truth),
            Reconstruction::Squared => (sigmoid(decoded) - truth).powi_scalar(2),
        };
        off.sum_dim(1).squeeze_dim::<1>(1)
    }
}

impl MultiLabel for Paca {
    fn labels(&self) -> usize {
        self.decoded_labels.bias.dims()[0]
    }

    fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        let code = self.code.mean(self.encoder.forward(features, pass));
        let placed = self.place(features, code, pass);
        self.logits(placed, pass)
    }

    fn outputs(&self, features: &Features, targets: &Tensor<2>, pass: &mut Pass) -> Outputs {
        let PacaConfig { alpha, gamma, .. } = self.settings;
        let code = self.code.forward(self.encoder.forward(features, pass));
        let label_code = self.label_code.forward(self.label_encoder.forward(targets.clone(), pass));
        let (of_features, of_labels) = (code.draw(pass), label_code.draw(pass));
        let decoded = self.decoded_labels.forward(self.label_decoder.forward(of_labels, pass));
        let placed = self.place(features, of_features, pass);
        let reconstruction = self.reconstruction(features, placed.clone(), pass);
        let logits = self.logits(placed, pass);
        let decoding = bce(decoded, targets.clone()).sum_dim(1).squeeze_dim::<1>(1).mul_scalar(gamma);
        let divergence = divergence(&code, &label_code).mul_scalar(gamma);
        Outputs { weight: alpha, ..Outputs::of(logits) }
            .with("reconstruction", Part::Instances(reconstruction))
            .with("divergence", Part::Instances(divergence))
            .with("decoded_labels", Part::Instances(decoding))
    }
}
