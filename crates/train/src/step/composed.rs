//! By tensor operations and autodiff; on GPUs the loss has a kernel of its own, whose gradient autodiff goes on from.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use host::plain;
use losses::{DeviceLoss, LossValues, Reduction};
use model::{Features, Outputs, Part, Pass};
use rand_chacha::ChaCha8Rng;

use super::{Batch, Context, Graph, Kernels, Reading, StepLosses, Tail, Way};
use crate::batches;
use crate::error::Result;
use crate::learner::Learner;

fn reading<const D: usize>(tensor: Tensor<D>) -> Reading {
    Reading::Device(plain(tensor).flatten(0, D - 1))
}

/// A model's own losses, reduced as the label loss is.
fn own_losses(parts: Vec<(&'static str, Part)>, reduction: Reduction, labels: usize) -> Vec<(&'static str, Tensor<1>)> {
    let divisor = if reduction == Reduction::Mean { labels.max(1) as f64 } else { 1.0 };
    let reduced = |(name, part)| match part {
        Part::Instances(values) => (name, Tensor::mean(values).div_scalar(divisor)),
        Part::Batch(value) => (name, value.div_scalar(divisor)),
    };
    parts.into_iter().map(reduced).collect()
}

/// The losses of labels: what is trained by them, and what samplers see.
struct Judged {
    values: LossValues,
    /// Of each instance.
    per_instance: Tensor<1>,
    /// The reduced loss.
    reduced: Tensor<1>,
    probabilities: Option<Reading>,
}

impl Judged {
    /// By composed operations.
    fn composed(context: Context, batch: &Batch, distances: Tensor<2>, targets: Tensor<2>) -> Self {
        let mut values = context.loss.forward(distances, targets);
        if let Some(sample) = batch.sample {
            let device = context.device.clone().without_autodiff();
            let weights = Tensor::<1>::from_floats(sample.weights.as_slice(), &device);
            values.labels = values.labels.map(|l| l * weights.unsqueeze());
            values.label_count = sample.all;
        }
        let per_instance = values.per_instance();
        let reduced = values.reduced(per_instance.clone(), context.reduction);
        Self { values, per_instance, reduced, probabilities: None }
    }

    /// By a kernel.
    fn by(kernel: &DeviceLoss, context: Context, batch: &Batch, distances: Tensor<2>, targets: Tensor<2>) -> Self {
        let sample = batch.sample.map(|s| (&*s.columns, s.weights.as_slice()));
        let scale = super::gradient_scale(context.reduction, batch.labels);
        let (values, gradient) = kernel.run(distances.clone(), targets, sample, scale);
        let per_instance = values.per_instance();
        let reduced = values.reduced(per_instance.clone(), context.reduction);
        let reduced = kernels::known_gradient(distances, reduced, gradient);
        Self { values, per_instance, reduced, probabilities: None }
    }
}

/// The label loss of logits, with thresholds where the loss has some.
fn judge(
    context: Context,
    learner: &Learner,
    batch: &Batch,
    logits: Tensor<2>,
    embedding: Option<&Tensor<2>>,
    targets: Tensor<2>,
    kernel: Option<&DeviceLoss>,
) -> Result<Judged> {
    let query = context.query(batch, &logits, embedding, &targets);
    // The loss may work in place on what nobody else holds.
    let distances = match context.signals.distances(learner, query)? {
        Some(distances) => distances,
        None => logits,
    };
    let probabilities = context.wants.probabilities.then(|| reading(sigmoid(plain(distances.clone()))));
    let judged = match kernel {
        Some(kernel) => Judged::by(kernel, context, batch, distances, targets),
        None => Judged::composed(context, batch, distances, targets),
    };
    Ok(Judged { probabilities, ..judged })
}

pub(super) fn forward(
    way: &Way,
    context: Context,
    learner: &Learner,
    batch: &Batch,
    dropout: &mut ChaCha8Rng,
) -> Result<(StepLosses, Tail)> {
    let Context { reduction, wants, device, .. } = context;
    let targets = batches::targets(batch.rows(), device);
    let mut pass = Pass::train(dropout);
    pass.fused = way.kernels == Kernels::Fused;
    pass.labels = batch.sample.map(|s| s.columns.clone());
    let Outputs { logits, judged, weight, parts } = match way.precision.narrow() {
        None => learner.model.outputs(batch.features, &targets, &mut pass),
        Some(narrow) => {
            let is_sparse = matches!(batch.features, Features::Sparse(_));
            learner.model.narrowed(narrow, is_sparse).outputs(batch.features, &targets, &mut pass)
        }
    };
    let Pass { tape, embedding, cut, .. } = pass;
    let looks = wants.losses || wants.probabilities;
    // What a model predicts, where its label loss looks at something else.
    let predicted = judged.as_ref().filter(|_| looks).map(|_| (plain(logits.clone()), targets.clone()));
    let labels = batch.labels.columns();

    let trained = weight > 0.0;
    let (mut label_loss, mut losses, mut probabilities) = (None, None, None);
    let kernel = way.loss.as_ref();
    let mut named = Vec::new();
    if trained || looks {
        let judged = judge(context, learner, batch, judged.unwrap_or(logits), embedding.as_ref(), targets, kernel)?;
        losses = wants.losses.then(|| reading(judged.per_instance.clone()));
        probabilities = judged.probabilities;
        if trained {
            let weighed = |t: Tensor<1>| if weight == 1.0 { t } else { t.mul_scalar(weight) };
            let reduced = weighed(judged.reduced);
            named = judged.values.parts(reduction).into_iter().map(|(name, part)| (name, weighed(part))).collect();
            if named.is_empty() && !parts.is_empty() {
                named.push(("labels", reduced.clone()));
            }
            label_loss = Some(reduced);
        }
    }
    if let Some((predicted, targets)) = predicted {
        let seen = judge(context, learner, batch, predicted, embedding.as_ref(), targets, kernel)?;
        losses = wants.losses.then(|| reading(seen.per_instance));
        probabilities = seen.probabilities;
    }
    let own = own_losses(parts, reduction, labels);
    let own_loss = own.iter().map(|(_, part)| part.clone()).reduce(|a, b| a + b);
    let all = label_loss.iter().chain(&own_loss).cloned().reduce(|a, b| a + b);
    let parts = named.into_iter().chain(own).map(|(name, part)| (name, reading(part))).collect();
    // A model has a label loss, or at least one of its own.
    let loss = all.map_or_else(|| Reading::Host(vec![0.0]), reading);
    let losses = StepLosses { loss, parts, per_instance: losses, probabilities };
    let scale = way.precision.loss_scale(reduction, batch.labels.len(), labels);
    let graph = Graph { labels: label_loss, own: own_loss, cut, tape, scale };
    Ok((losses, Tail { graph: Some(graph), ..Tail::default() }))
}
