//! Neighbours inside a batch, by its own true labels. At evaluation this is an oracle: the labels to be predicted are
//! an input.

use burn::tensor::Tensor;

/// `KNN = W Y` with `S = Y Yᵀ`, its diagonal removed, rows normalised to one: two matmuls on the device.
///
/// An instance that shares no label with another has no neighbours and votes of 0.
///
/// Shapes: `targets` `[batch, labels]` → `[batch, labels]`.
/// Source: arXiv 2505.03118, with rows that sum to one and without the instance itself.
pub fn label_votes(targets: Tensor<2>) -> Tensor<2> {
    let [batch, _] = targets.dims();
    let similarity = targets.clone().matmul(targets.clone().transpose());
    let others = Tensor::eye(batch, &targets.device()).neg().add_scalar(1.0);
    let similarity = similarity * others;
    let total = similarity.clone().sum_dim(1);
    // Similarities are whole numbers: a total below 1 is 0, and so are the row's entries.
    (similarity / total.clamp_min(1.0)).matmul(targets)
}

/// The published code's votes: `S = Y Yᵀ` with the instance itself, rows divided by the instance's cardinality.
///
/// Shapes: `targets` `[batch, labels]` → `[batch, labels]`.
/// Source: the code of arXiv 2505.03118.
pub fn authors_votes(targets: Tensor<2>) -> Tensor<2> {
    let similarity = targets.clone().matmul(targets.clone().transpose());
    let cardinality = targets.clone().sum_dim(1).add_scalar(1e-8);
    (similarity / cardinality).matmul(targets)
}

/// The published code's "IDF" input: each instance's own label vector divided by its cardinality.
///
/// Shapes: `targets` `[batch, labels]` → `[batch, labels]`.
/// Source: the code of arXiv 2505.03118.
pub fn authors_rarity(targets: Tensor<2>) -> Tensor<2> {
    let cardinality = targets.clone().sum_dim(1).add_scalar(1e-8);
    targets / cardinality
}
