//! By fused passes over slices: the model's own, and the loss's where it has one.
//!
//! What lies between logits and loss without a fused form (thresholds, or a loss of composed operations alone) enters a
//! small autodiff graph whose leaf is the logits.

use burn::tensor::{Tensor, TensorData};
use host::simd::{each, softplus_and_sigmoid, vectorised};
use host::{HostView, plain};
use kernels::known_gradient;
use losses::{FusedValues, Reduction, fused_pass};
use model::HostModel;
use rand_chacha::ChaCha8Rng;

use super::{Batch, Context, Reading, StepLosses, Tail, gradient_scale};
use crate::batches;
use crate::error::Result;
use crate::learner::Learner;
use crate::optimizer::Gradients;

/// What the logits lead to.
struct Head {
    loss: f32,
    parts: Vec<(&'static str, f32)>,
    per_instance: Vec<f32>,
    probabilities: Option<Vec<f32>>,
    gradients: Gradients,
}

pub(super) fn forward(
    model: &mut dyn HostModel,
    context: Context,
    learner: &Learner,
    batch: &Batch,
    dropout: &mut ChaCha8Rng,
) -> Result<(StepLosses, Tail)> {
    model.forward(&learner.model, batch.features, batch.sample.map(|s| &s.columns), dropout);
    let head = match context.loss.fused() {
        Some(fused) if learner.thresholds.is_none() => {
            let logits = model.logits();
            let probabilities = context.wants.probabilities.then(|| probabilities(logits));
            let weights = batch.sample.map(|s| s.weights.as_slice());
            let values =
                fused_pass(&fused, logits, batch.rows(), weights, gradient_scale(context.reduction, batch.labels));
            Head { probabilities, ..Head::of(values, context.reduction, batch.labels.columns()) }
        }
        _ => through_graph(model, context, learner, batch)?,
    };
    let Head { loss, parts, per_instance, probabilities, gradients } = head;
    let number = |value: f32| Reading::Host(vec![value]);
    let losses = StepLosses {
        loss: number(loss),
        parts: parts.into_iter().map(|(name, part)| (name, number(part))).collect(),
        per_instance: context.wants.losses.then_some(Reading::Host(per_instance)),
        probabilities: probabilities.map(Reading::Host),
    };
    Ok((losses, Tail { gradients, graph: None }))
}

fn probabilities(logits: &[f32]) -> Vec<f32> {
    let mut out = logits.to_vec();
    vectorised(
        #[inline(always)]
        || {
            each(
                &mut out,
                #[inline(always)]
                |v, _| *v = softplus_and_sigmoid(*v).1,
            );
        },
    );
    out
}

impl Head {
    fn of(values: FusedValues, reduction: Reduction, labels: usize) -> Self {
        let FusedValues { per_instance, parts, names } = values;
        let reduce = |sum: f64| {
            let mean = sum / per_instance.len().max(1) as f64;
            (if reduction == Reduction::Sum { mean } else { mean / labels.max(1) as f64 }) as f32
        };
        let part = |p: usize| reduce(parts.iter().skip(p).step_by(names.len()).map(|v| f64::from(*v)).sum());
        let parts = match names.len() {
            0 | 1 => Vec::new(),
            _ => names.iter().enumerate().map(|(p, name)| (*name, part(p))).collect(),
        };
        let loss = reduce(per_instance.iter().map(|v| f64::from(*v)).sum());
        Self { loss, parts, per_instance, probabilities: None, gradients: Gradients::default() }
    }
}

/// Thresholds, and losses without a fused form: autodiff from the logits on.
fn through_graph(model: &mut dyn HostModel, context: Context, learner: &Learner, batch: &Batch) -> Result<Head> {
    let Context { loss, reduction, signals, wants, device, .. } = context;
    let (rows, labels) = (batch.labels.len(), batch.labels.columns());
    let leaf = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [rows, labels]), device);
    let logits = leaf(model.logits().clone()).require_grad();
    let embedding = learner.thresholds.as_ref().and_then(|_| model.embedding()).map(|(values, width)| {
        Tensor::<2>::from_data(TensorData::new(values.to_vec(), [rows, width]), &device.clone().without_autodiff())
    });
    let targets = batches::targets(batch.labels, device);
    let query = context.query(batch, &logits, embedding.as_ref(), &targets);
    let distances = signals.distances(learner, query)?.unwrap_or_else(|| logits.clone());
    let mut values = HostView::of(&distances).as_slice().to_vec();
    let seen = wants.probabilities.then(|| probabilities(&values));
    let (mut head, root) = match loss.fused() {
        Some(fused) => {
            let found = fused_pass(&fused, &mut values, batch.labels, None, gradient_scale(reduction, batch.labels));
            // Its gradient by the distances is what the pass left.
            let head = Head::of(found, reduction, labels);
            let value = Tensor::from_floats([head.loss], &device.clone().without_autodiff());
            (head, known_gradient(distances, value, plain(leaf(values))))
        }
        None => {
            let found = loss.forward(distances, targets);
            let per_instance = found.per_instance();
            let number = |t: Tensor<1>| HostView::of(&t).as_slice()[0];
            let root = found.reduced(per_instance.clone(), reduction);
            let head = Head {
                loss: number(root.clone()),
                parts: found.parts(reduction).into_iter().map(|(name, part)| (name, number(part))).collect(),
                per_instance: HostView::of(&per_instance).as_slice().to_vec(),
                probabilities: None,
                gradients: Gradients::default(),
            };
            (head, root)
        }
    };
    let mut gradients = root.backward();
    if let Some(gradient) = logits.grad_remove(&mut gradients) {
        model.logits().copy_from_slice(HostView::of(&plain(gradient)).as_slice());
    }
    head.gradients = Gradients::of_thresholds(learner, gradients);
    head.probabilities = seen;
    Ok(head)
}
