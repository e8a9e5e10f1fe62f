//! Multi-label models: features in, logits out.
//!
//! One file a model, one line in [`ModelConfig`]. Weights come from the host's seeded generator, so every backend
//! starts from the same numbers. Sparse features go through [`layers::InputLayer`] without ever becoming dense on CPU
//! backends; what that layer keeps outside the autodiff graph is on the [`Pass`]'s tape. A model may also have passes of
//! its own on host memory, without a graph: a [`HostModel`].
#![forbid(unsafe_code)]

mod config;
mod features;
mod host_model;
pub mod layers;
mod mlp;
mod pass;
mod weights;

pub use config::{InputKind, Model, ModelConfig, ModelError};
pub use features::{Features, RowBatch, Touched};
pub use host_model::{ColumnGradient, HostGradient, HostModel};
pub use mlp::{Activation, Mlp, MlpConfig, Norm};
pub use pass::{Pass, RowTap};
pub use weights::{Weights, WeightsError};
