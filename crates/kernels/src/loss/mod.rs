//! Losses of logits: values and the gradient by the logits in one kernel.

mod form;
mod lines;
mod pieces;
mod rows;

pub use form::{InstanceBalance, LabelForm, Margin, Presence, RowForm};
pub use lines::{Temperatures, two_way_loss};
pub use rows::RowLoss;

use burn::tensor::Tensor;

/// What a kernel makes of a batch. Nothing of it is tracked by autodiff.
#[derive(Debug, Clone)]
pub struct LossAndGradient {
    /// Values that an instance's loss is the sum of, `[batch, parts]`.
    pub parts: Tensor<2>,
    /// `∂(Σ_i L_i)/∂z` times a scale, `[batch, labels]`.
    pub gradient: Tensor<2>,
}
