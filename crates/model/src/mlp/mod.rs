//! The multi-layer perceptron.

mod activation;
mod host;
mod norm;

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::{About, InputKind, ModelError, MultiLabel, Settings, Task};
use crate::host_model::HostModel;
use crate::layers::{InputLayer, Linear};
use crate::{Features, Pass};

pub use activation::Activation;
use host::HostMlp;
use norm::NormOf;

/// Values that a thread takes at once, at least.
const FEW: usize = 1 << 14;

/// Normalisation between a layer and its activation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// None.
    #[default]
    None,
    /// Over the batch, with running statistics for prediction.
    Batch,
    /// Over the units of a layer.
    Layer,
}

/// Settings of [`Mlp`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Units of each hidden layer; empty: a linear model.
    pub hidden: Vec<usize>,
    /// After each hidden layer.
    pub activation: Activation,
    /// Share of hidden units dropped while training, in [0, 1).
    pub dropout: f64,
    /// Before each activation.
    pub norm: Norm,
    /// How features reach the first layer.
    pub input: InputKind,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: vec![256], activation: Activation::Relu, dropout: 0.0, norm: Norm::None, input: InputKind::Auto }
    }
}

impl Settings for MlpConfig {
    type Model = Mlp;
    const ABOUT: About = About {
        kind: "mlp",
        name: "multi-layer perceptron",
        paper: "-",
        good_for: "anything, to begin with; very many features or labels",
    };
    const GIVES_SOME_LABELS: bool = true;

    fn init(&self, task: Task, rng: &mut ChaCha8Rng, device: &Device) -> Result<Mlp, ModelError> {
        if self.hidden.contains(&0) {
            return Err(ModelError::range("hidden", "a layer of 0 units", "every layer at least 1"));
        }
        ModelError::check_dropout(self.dropout)?;
        let Task { features, labels, .. } = task;
        let mut widths = self.hidden.clone();
        widths.push(labels);
        let input = InputLayer::new(features, widths[0], rng, device);
        let layers = widths.windows(2).map(|w| Linear::new(w[0], w[1], rng, device)).collect();
        let widths = &self.hidden;
        let batch = |w: &usize| BatchNormConfig::new(*w).init(device);
        let layer = |w: &usize| LayerNormConfig::new(*w).init(device);
        Ok(Mlp {
            input,
            layers,
            batch_norms: if self.norm == Norm::Batch { widths.iter().map(batch).collect() } else { Vec::new() },
            layer_norms: if self.norm == Norm::Layer { widths.iter().map(layer).collect() } else { Vec::new() },
            settings: self.clone(),
        })
    }

    fn input(&self) -> InputKind {
        self.input
    }

    fn embedding_width(&self, _features: usize, _labels: usize) -> Option<usize> {
        self.hidden.last().copied()
    }
}

/// Affine layers with an activation between them.
#[derive(Module, Debug)]
pub struct Mlp {
    input: InputLayer,
    layers: Vec<Linear>,
    batch_norms: Vec<BatchNorm>,
    layer_norms: Vec<LayerNorm>,
    #[module(skip)]
    settings: MlpConfig,
}

impl Mlp {
    /// What normalises hidden layer `i`.
    fn norm(&self, i: usize) -> Option<NormOf<'_>> {
        let batch = self.batch_norms.get(i).map(NormOf::Batch);
        batch.or_else(|| self.layer_norms.get(i).map(NormOf::Layer))
    }
}

impl MultiLabel for Mlp {
    fn labels(&self) -> usize {
        self.layers.last().map_or(self.input.bias.dims()[0], |layer| layer.bias.dims()[0])
    }

    fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        let mut x = self.input.forward(features, pass);
        for (i, layer) in self.layers.iter().enumerate() {
            if let Some(norm) = self.batch_norms.get(i) {
                x = norm.forward(x);
            }
            if let Some(norm) = self.layer_norms.get(i) {
                x = norm.forward(x);
            }
            x = self.settings.activation.apply(x);
            if i + 1 == self.layers.len() {
                pass.embedding = Some(x.clone());
            }
            x = pass.dropout(x, self.settings.dropout);
            x = match pass.labels.clone().filter(|_| i + 1 == self.layers.len()) {
                Some(labels) => layer.forward_some(x, &labels),
                None => layer.forward(x),
            };
        }
        x
    }

    fn on_host(&self) -> Option<Box<dyn HostModel>> {
        Some(Box::new(HostMlp::new(self)))
    }
}
