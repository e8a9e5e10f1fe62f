//! By tensor operations and autodiff.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use host::plain;
use model::Pass;
use rand_chacha::ChaCha8Rng;

use super::{Batch, Context, Reading, StepLosses, Tail};
use crate::batches;
use crate::error::Result;
use crate::learner::Learner;

fn reading<const D: usize>(tensor: Tensor<D>) -> Reading {
    Reading::Device(plain(tensor).flatten(0, D - 1))
}

pub(super) fn forward(
    context: Context,
    learner: &Learner,
    batch: &Batch,
    dropout: &mut ChaCha8Rng,
) -> Result<(StepLosses, Tail)> {
    let Context { loss, reduction, signals, wants, device, .. } = context;
    let targets = batches::targets(batch.rows(), device);
    let mut pass = Pass::train(dropout);
    pass.labels = batch.sample.map(|s| s.columns.clone());
    let logits = learner.model.forward(batch.features, &mut pass);
    let (tape, embedding) = (pass.tape, pass.embedding);
    let query = context.query(batch, &logits, embedding.as_ref(), &targets);
    // The loss may work in place on what nobody else holds.
    let distances = match signals.distances(learner, query)? {
        Some(distances) => distances,
        None => logits,
    };
    let probabilities = wants.probabilities.then(|| reading(sigmoid(plain(distances.clone()))));
    let mut values = loss.forward(distances, targets);
    if let Some(sample) = batch.sample {
        let weights = Tensor::<1>::from_floats(sample.weights.as_slice(), &device.clone().without_autodiff());
        values.labels = values.labels.map(|l| l * weights.unsqueeze());
        values.label_count = sample.all;
    }
    let per_instance = values.per_instance();
    let losses = wants.losses.then(|| reading(per_instance.clone()));
    let loss = values.reduced(per_instance, reduction);
    let parts = values.parts(reduction).into_iter().map(|(name, part)| (name, reading(part))).collect();
    let losses = StepLosses { loss: reading(loss.clone()), parts, per_instance: losses, probabilities };
    Ok((losses, Tail { graph: Some((loss, tape)), ..Tail::default() }))
}
