//! Margins around a threshold, for losses that learn one.

use burn::tensor::{Tensor, activation::relu};

use crate::logits::towards_truth;

/// `max(0, Δ - s (z-θ))`, `s = 2y - 1`: the right side of the threshold by at least Δ.
///
/// Shapes: `distance` (`z - θ`), `targets` `[batch, labels]` → `[batch, labels]`.
/// Source: the published code of arXiv 2505.03118.
pub fn hinge(distance: Tensor<2>, targets: Tensor<2>, delta: f64) -> Tensor<2> {
    relu(towards_truth(distance, targets).neg().add_scalar(delta))
}

/// `max(0, Δ - |z-θ|)`: either side of the threshold by at least Δ.
///
/// Shapes: `distance` (`z - θ`) `[batch, labels]` → `[batch, labels]`.
/// Source: the text of arXiv 2505.03118.
pub fn band(distance: Tensor<2>, delta: f64) -> Tensor<2> {
    relu(distance.abs().neg().add_scalar(delta))
}
