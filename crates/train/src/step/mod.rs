//! One update's losses and gradients: forward, loss, backward.
//!
//! Two ways lead there. `composed` lets autodiff do it, on any device and for any model and loss: the reference. On GPUs
//! the loss and its gradient come from a kernel of their own. On CPU backends `host` does all of it in fused passes over
//! slices, where the model has such passes.

mod composed;
mod host;
mod precision;

use std::borrow::Cow;

use burn::tensor::{Device, Tensor};
use data::LabelRows;
use losses::{DeviceLoss, Loss, Reduction};
use model::{Cut, Features, HostModel, RowTap};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::error::Result;
use crate::learner::Learner;
use crate::negatives::LabelSample;
use crate::optimizer::Gradients;
use crate::sampler::Wants;
use crate::signals::{Query, RunSignals};
use crate::splits::Splits;

pub use precision::Precision;

/// How an update is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernels {
    /// By fused passes where the backend, the model and the loss have them.
    #[default]
    Fused,
    /// By tensor operations and autodiff alone.
    Composed,
}

/// A batch on the device.
pub struct Batch<'a> {
    /// Positions in the training split.
    pub instances: &'a [usize],
    /// Their features.
    pub features: &'a Features,
    /// Their labels.
    pub labels: &'a LabelRows,
    /// The labels that take part; none: all.
    pub sample: Option<&'a LabelSample>,
}

impl Batch<'_> {
    /// Labels of the instances among those that take part.
    fn rows(&self) -> &LabelRows {
        self.sample.map_or(self.labels, |s| &s.rows)
    }
}

/// What does not change from step to step.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The data.
    pub splits: &'a Splits,
    /// The loss.
    pub loss: &'a dyn Loss,
    /// From losses of instances to one number.
    pub reduction: Reduction,
    /// Where thresholds get their signals.
    pub signals: &'a RunSignals,
    /// What the sampler wants to know.
    pub wants: Wants,
    /// With autodiff.
    pub device: &'a Device,
}

impl<'a> Context<'a> {
    /// What the signals of a batch's thresholds are made from.
    fn query(
        &self,
        batch: &'a Batch,
        logits: &'a Tensor<2>,
        embedding: Option<&'a Tensor<2>>,
        targets: &'a Tensor<2>,
    ) -> Query<'a> {
        let (features, instances) = (&self.splits.train.features, batch.instances);
        Query { features, instances, own: true, logits, embedding, targets: Some(targets) }
    }
}

/// Numbers that a step leaves, perhaps still on the device.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few a step, never stored in numbers")]
pub enum Reading {
    /// On the host.
    Host(Vec<f32>),
    /// On the device, flat.
    Device(Tensor<1>),
}

impl Reading {
    /// The numbers; waits for the device.
    pub fn numbers(&self) -> Cow<'_, [f32]> {
        match self {
            Self::Host(values) => Cow::Borrowed(values),
            Self::Device(tensor) => Cow::Owned(::host::HostView::of(tensor).as_slice().to_vec()),
        }
    }
}

/// Losses of a batch.
pub struct StepLosses {
    /// The reduced loss.
    pub loss: Reading,
    /// Its parts by name; empty where there is only one.
    pub parts: Vec<(&'static str, Reading)>,
    /// Of each instance, summed over labels, where wanted.
    pub per_instance: Option<Reading>,
    /// `[batch, labels]`, where wanted.
    pub probabilities: Option<Reading>,
}

/// What the backward pass starts from.
#[derive(Default)]
pub struct Tail {
    /// Gradients that are known already: those of thresholds, where the model has passes of its own.
    gradients: Gradients,
    /// The ends of an autodiff graph; none where the model has passes of its own.
    graph: Option<Graph>,
}

/// What the sum of the instances' losses is multiplied by.
fn gradient_scale(reduction: Reduction, labels: &LabelRows) -> f32 {
    let batch = labels.len().max(1) as f32;
    match reduction {
        Reduction::Sum => 1.0 / batch,
        Reduction::Mean => 1.0 / (batch * labels.columns().max(1) as f32),
    }
}

/// An autodiff graph that leads to a loss.
struct Graph {
    /// The label loss; none where the model's own losses replace it.
    labels: Option<Tensor<1>>,
    /// The model's own losses.
    own: Option<Tensor<1>>,
    /// Where the graph is cut: the label loss ends on one side, all else on the other.
    cut: Option<Cut>,
    tape: Vec<RowTap>,
    /// What the losses are multiplied by for the sake of narrow gradients.
    scale: f64,
}

impl Graph {
    fn backward(self, learner: &Learner) -> Gradients {
        let Self { labels, own, cut, tape, scale } = self;
        let scaled = |loss: Option<Tensor<1>>| loss.map(|l| if scale == 1.0 { l } else { l.mul_scalar(scale) });
        let (labels, own) = (scaled(labels), scaled(own));
        let add = |a: Option<Tensor<1>>, b: Option<Tensor<1>>| a.into_iter().chain(b).reduce(|a, b| a + b);
        let mut gradients = Gradients::default();
        let earlier = match (cut, labels) {
            (Some(cut), Some(labels)) => {
                let mut later = labels.backward();
                let gradient = cut.output.grad_remove(&mut later);
                gradients.gather(learner, later, Vec::new());
                gradient.map(|g| cut.earlier(g))
            }
            (_, labels) => labels,
        };
        if let Some(root) = add(earlier, own) {
            gradients.gather(learner, root.backward(), tape);
        }
        if scale != 1.0 {
            gradients.scale(1.0 / scale);
        }
        gradients
    }
}

/// How tensor operations compute an update.
struct Way {
    kernels: Kernels,
    precision: Precision,
    /// The loss's own kernel, on GPUs.
    loss: Option<DeviceLoss>,
}

/// The way that updates are computed.
pub struct Stepper {
    host: Option<Box<dyn HostModel>>,
    way: Way,
}

impl Stepper {
    /// The fastest way for this model and this loss over so many labels on this device, unless composed operations are
    /// asked for.
    pub fn new(config: &TrainConfig, learner: &Learner, loss: &dyn Loss, labels: usize, device: &Device) -> Self {
        let TrainConfig { kernels, precision, .. } = *config;
        let is_fused = kernels == Kernels::Fused;
        let host = (is_fused && precision == Precision::F32).then(|| learner.model.on_host(device)).flatten();
        let loss = is_fused.then(|| DeviceLoss::new(loss, labels, device)).flatten();
        Self { host, way: Way { kernels, precision, loss } }
    }

    /// Losses of `batch`, and what [`Self::backward`] goes on from.
    ///
    /// # Errors
    /// When the signals of the thresholds cannot be made.
    pub fn forward(
        &mut self,
        context: Context,
        learner: &Learner,
        batch: &Batch,
        dropout: &mut ChaCha8Rng,
    ) -> Result<(StepLosses, Tail)> {
        match &mut self.host {
            Some(model) => host::forward(&mut **model, context, learner, batch, dropout),
            None => composed::forward(&self.way, context, learner, batch, dropout),
        }
    }

    /// Gradients of all parameters, after [`Self::forward`] of the same learner and features.
    pub fn backward(&mut self, learner: &Learner, features: &Features, tail: Tail) -> Gradients {
        let Tail { mut gradients, graph } = tail;
        match (graph, &mut self.host) {
            (Some(graph), _) => graph.backward(learner),
            (None, Some(model)) => {
                for (parameter, gradient) in model.backward(&learner.model, features) {
                    gradients.insert(parameter, gradient.into());
                }
                gradients
            }
            (None, None) => gradients,
        }
    }

    /// Takes back the memory of gradients that were used up.
    pub fn recycle(&mut self, gradients: Gradients) {
        if let Some(model) = &mut self.host {
            gradients.into_spent().for_each(|buffer| model.recycle(buffer));
        }
    }
}
