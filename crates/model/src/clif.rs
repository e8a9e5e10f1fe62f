//! CLIF: labels learn embeddings from the graph of how they come together, and see of an instance what suits them.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::config::{About, InputKind, ModelError, MultiLabel, Settings, Task};
use crate::layers::{
    FeatureEncoder, GraphLayer, LabelHead, LabelView, Linear, constant, fixed, link_loss, small_bias, uniform_within,
};
use crate::outputs::{Outputs, Part};
use crate::width::Width;
use crate::{Features, Pass};

/// Slope of hidden layers below 0.
const SLOPE: f64 = 0.1;
/// The label graph is a matrix of labels × labels.
const MOST_LABELS: usize = 8192;

/// Settings of [`Clif`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClifConfig {
    /// Units of every hidden layer over features.
    pub hidden: usize,
    /// Hidden layers over features.
    pub layers: usize,
    /// Layers of the graph network over labels.
    pub graph_layers: usize,
    /// Width of the label embeddings; auto: the number of labels.
    pub embedding: Width,
    /// Weight of the distance between label embeddings and label graph.
    pub link: f64,
    /// Share of hidden units dropped while training, in [0, 1).
    pub dropout: f64,
    /// How features reach the first layer.
    pub input: InputKind,
}

impl Default for ClifConfig {
    fn default() -> Self {
        Self {
            hidden: 768,
            layers: 3,
            graph_layers: 2,
            embedding: Width::Auto,
            link: 1e-3,
            dropout: 0.2,
            input: InputKind::Auto,
        }
    }
}

impl Settings for ClifConfig {
    type Model = Clif;
    const ABOUT: About = About {
        kind: "clif",
        name: "collaborative learning of label semantics and deep label-specific features",
        paper: "Hang and Zhang, TPAMI 2022",
        good_for: "labels that come together in patterns; up to a few thousand labels",
    };
    const WANTS_GRAPH: bool = true;
    const GIVES_SOME_LABELS: bool = true;

    fn init(&self, task: Task, rng: &mut ChaCha8Rng, device: &Device) -> Result<Clif, ModelError> {
        ModelError::check_dropout(self.dropout)?;
        ModelError::check_weight("link", self.link)?;
        for (key, value) in [("hidden", self.hidden), ("layers", self.layers), ("graph_layers", self.graph_layers)] {
            if value == 0 {
                return Err(ModelError::range(key, 0, "at least 1"));
            }
        }
        let labels = task.labels;
        if labels > MOST_LABELS {
            let reason = format!(
                "its graph is a matrix of labels × labels, for at most {MOST_LABELS} labels; the data has {labels} \
                 (data.min_positives leaves out the rarest)"
            );
            return Err(ModelError::Unfit { kind: "clif", reason });
        }
        let width = self.embedding.or(labels, "embedding")?;
        let graph = task.graph.map_or_else(|| vec![0.0; labels * labels], data::LabelGraph::dense);
        if task.graph.is_some_and(|g| g.edges() == 0) {
            tracing::warn!("no two labels come together: the label graph of clif has no edges");
        }
        let start: Vec<f32> = (0..labels * labels).map(|_| StandardNormal.sample(rng)).collect();
        let (hidden, half) = (self.hidden, labels.div_ceil(2));
        let inputs = |layer: usize| if layer == 0 { labels } else { width };
        Ok(Clif {
            embedding: fixed(start, [labels, labels], device),
            graph: fixed(graph, [labels, labels], device),
            graph_layers: (0..self.graph_layers)
                .map(|i| GraphLayer::new([inputs(i), half, width], SLOPE, self.dropout, rng, device))
                .collect(),
            encoder: FeatureEncoder::new(task.features, &vec![hidden; self.layers], SLOPE, self.dropout, rng, device),
            codes: Linear {
                weight: uniform_within((3.0 / width as f32).sqrt(), [width, hidden], rng, device),
                bias: constant(0.0, [hidden], device),
            },
            head: LabelHead::new(&[hidden, hidden], hidden, labels, SLOPE, self.dropout, rng, device),
            head_bias: small_bias(hidden, rng, device),
            settings: self.clone(),
        })
    }

    fn input(&self) -> InputKind {
        self.input
    }

    fn embedding_width(&self, _features: usize, _labels: usize) -> Option<usize> {
        Some(self.hidden)
    }
}

/// Collaborative learning of label semantics and deep label-specific features.
///
/// Random label embeddings pass a graph network over the label graph; from each comes a code that weighs the hidden
/// layer of the instance for its label, before a shared layer and a linear classifier of the label's own.
/// Source: Hang and Zhang, TPAMI 2022.
#[derive(Module, Debug)]
pub struct Clif {
    /// Where the embeddings start, `[labels, labels]`, never trained.
    embedding: Param<Tensor<2>>,
    /// A, `[labels, labels]`, never trained.
    graph: Param<Tensor<2>>,
    graph_layers: Vec<GraphLayer>,
    encoder: FeatureEncoder,
    codes: Linear,
    head: LabelHead,
    head_bias: Param<Tensor<1>>,
    #[module(skip)]
    settings: ClifConfig,
}

impl Clif {
    /// Label embeddings, `[labels, width]`.
    fn embed(&self, pass: &mut Pass) -> Tensor<2> {
        let start = self.embedding.val();
        self.graph_layers.iter().fold(start, |embedding, layer| layer.forward(embedding, self.graph.val(), pass))
    }

    fn logits(&self, features: &Features, embedding: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let seen = self.encoder.forward(features, pass);
        pass.embedding = Some(seen.clone());
        let shared = self.head_bias.val().unsqueeze::<2>().expand(seen.dims());
        self.head.forward(LabelView { shared, seen, codes: self.codes.forward(embedding) }, pass)
    }
}

impl MultiLabel for Clif {
    fn labels(&self) -> usize {
        self.head.labels()
    }

    fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        let embedding = self.embed(pass);
        self.logits(features, embedding, pass)
    }

    fn outputs(&self, features: &Features, _targets: &Tensor<2>, pass: &mut Pass) -> Outputs {
        let embedding = self.embed(pass);
        let logits = self.logits(features, embedding.clone(), pass);
        // The paper's label loss is a mean over labels, beside which the link loss has its weight.
        let weight = self.settings.link * self.labels() as f64;
        let link = link_loss(embedding, self.graph.val()).mul_scalar(weight);
        Outputs::of(logits).with("link", Part::Batch(link))
    }
}
