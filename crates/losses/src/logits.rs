//! Stable pieces in logit space, shared by the losses.

use burn::tensor::{Tensor, activation::log_sigmoid};

/// Stands for minus infinity where an entry must not count: `exp` of it is 0 in 32 bits, and no NaN comes of it.
pub(crate) const NEVER: f64 = -1e30;

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

/// `values` with a gradient by the logits that is known already: `values + gradient · (z - z)`, the difference held
/// apart by autodiff. `values` and `gradient` are constants; their shapes are the logits' own.
pub(crate) fn with_gradient(values: Tensor<2>, logits: Tensor<2>, gradient: Tensor<2>) -> Tensor<2> {
    values + zero_with_gradient(logits, gradient)
}

/// Zeros whose gradient by the logits is `gradient`.
pub(crate) fn zero_with_gradient(logits: Tensor<2>, gradient: Tensor<2>) -> Tensor<2> {
    let constant = logits.clone().detach();
    (logits - constant) * gradient
}

/// Entries of a block of rows: the temporaries of a block stay in the processor's cache.
const BLOCK: usize = 1 << 17;

/// Values and gradient that `kernel` computes from logits and targets entry by entry, block of rows by block of rows on
/// CPU backends, so that its temporaries are small; at once elsewhere.
pub(crate) fn by_rows(
    logits: Tensor<2>,
    targets: Tensor<2>,
    kernel: impl Fn(Tensor<2>, Tensor<2>) -> (Tensor<2>, Tensor<2>),
) -> (Tensor<2>, Tensor<2>) {
    let [rows, labels] = logits.dims();
    let step = (BLOCK / labels.max(1)).max(1);
    if !host::is_host(&logits.device()) || rows <= step {
        return kernel(logits, targets);
    }
    let block = |start: usize| {
        let range = start..(start + step).min(rows);
        kernel(logits.clone().slice([range.clone(), 0..labels]), targets.clone().slice([range, 0..labels]))
    };
    let (values, gradients): (Vec<_>, Vec<_>) = (0..rows).step_by(step).map(block).unzip();
    (Tensor::cat(values, 0), Tensor::cat(gradients, 0))
}

/// `x^γ`, by multiplication where γ is a small whole number.
pub(crate) fn power(x: Tensor<2>, gamma: f64) -> Tensor<2> {
    match gamma {
        0.0 => x.ones_like(),
        1.0 => x,
        2.0 => x.clone() * x,
        4.0 => power(power(x, 2.0), 2.0),
        _ => x.powf_scalar(gamma),
    }
}

/// `log(1 + e^v)`.
pub(crate) fn softplus(values: Tensor<2>) -> Tensor<2> {
    log_sigmoid(values.neg()).neg()
}

fn masked(values: Tensor<2>, mask: Tensor<2>) -> Tensor<2> {
    values.mask_fill(mask.equal_elem(0.0), NEVER)
}
