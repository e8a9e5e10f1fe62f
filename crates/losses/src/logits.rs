//! Stable pieces in logit space, shared by the losses.

use burn::tensor::{Tensor, activation::log_sigmoid};

/// Stands for minus infinity where an entry must not count: `exp` of it is 0 in 32 bits, and no NaN comes of it.
const NEVER: f64 = -1e30;

/// The logit towards the truth, `(2y - 1) z`: large where the label is decided rightly.
pub(crate) fn towards_truth(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
    logits * targets.mul_scalar(2.0).sub_scalar(1.0)
}

/// `log(e^0 + Σ_j e^{v_j})` over the entries of dimension `dim` whose mask is 1, `[.., 1, ..]`.
pub(crate) fn log_one_plus_sum_exp(values: Tensor<2>, mask: Tensor<2>, dim: usize) -> Tensor<2> {
    let values = masked(values, mask);
    let top = values.clone().max_dim(dim).clamp_min(0.0).detach();
    let sum = (values - top.clone()).exp().sum_dim(dim) + top.clone().neg().exp();
    sum.log() + top
}

/// `log Σ_j e^{v_j}` over the entries of dimension `dim` whose mask is 1; far below every number without any.
pub(crate) fn log_sum_exp(values: Tensor<2>, mask: Tensor<2>, dim: usize) -> Tensor<2> {
    let values = masked(values, mask);
    let top = values.clone().max_dim(dim).detach();
    (values - top.clone()).exp().sum_dim(dim).log() + top
}

/// `log(1 + e^v)`.
pub(crate) fn softplus(values: Tensor<2>) -> Tensor<2> {
    log_sigmoid(values.neg()).neg()
}

fn masked(values: Tensor<2>, mask: Tensor<2>) -> Tensor<2> {
    values.mask_fill(mask.equal_elem(0.0), NEVER)
}
