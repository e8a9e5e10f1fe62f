//! Multi-label losses: logits and targets in, unreduced values out.
//!
//! One file a loss. Its core is a pure function from `logits` and `targets` `[batch, labels]` to values `[batch,
//! labels]` (or `[batch]` for a part that belongs to a whole instance); weights and the [`Reduction`] come on top, in
//! [`LossValues`]. Everything is computed in logit space. [`LossConfig`] names the losses; `init` makes one.
#![forbid(unsafe_code)]

mod bce;
mod config;
mod error;
mod values;

pub use bce::{Bce, BceConfig, PosWeight, bce};
pub use config::{LossConfig, TrainingCounts};
pub use error::LossError;
pub use values::{LossValues, Reduction};

use burn::tensor::Tensor;

/// A loss, ready to use on one device.
pub trait Loss: Send {
    /// The unreduced values of a batch.
    ///
    /// Shapes: `logits`, `targets` `[batch, labels]`; targets are 0 or 1. The trainer has checked both.
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues;
}
