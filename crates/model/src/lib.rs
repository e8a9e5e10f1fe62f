//! Multi-label models: features in, logits out.
//!
//! One file a model, one line in [`ModelConfig`]. Weights come from the host's seeded generator, so every backend
//! starts from the same numbers. Sparse features go through [`layers::InputLayer`] without ever becoming dense on CPU
//! backends; what that layer keeps outside the autodiff graph is on the [`Pass`]'s tape. A model may also have passes of
//! its own on host memory, without a graph: a [`HostModel`].
#![forbid(unsafe_code)]

mod c2ae;
mod clif;
mod config;
mod cut;
mod dela;
mod features;
mod host_model;
pub mod layers;
mod mlp;
mod mpvae;
mod outputs;
mod paca;
mod pass;
mod precision;
mod ranking;
mod weights;
mod width;

pub use c2ae::{C2ae, C2aeConfig, C2aeLabelLoss, correlation_loss};
pub use clif::{Clif, ClifConfig};
pub use config::{About, InputKind, LabelLoss, Model, ModelConfig, ModelError, MultiLabel, Settings, Task};
pub use cut::Cut;
pub use dela::{Dela, DelaConfig, gated_divergence};
pub use features::{Features, RowBatch, Touched};
pub use host_model::{ColumnGradient, HostGradient, HostModel};
pub use mlp::{Activation, Mlp, MlpConfig, Norm};
pub use mpvae::{Mpvae, MpvaeConfig, probit_samples, sampled_likelihood, sampled_ranking};
pub use outputs::{Outputs, Part};
pub use paca::{Paca, PacaConfig, Reconstruction};
pub use pass::{Pass, RowDropout, RowTap};
pub use ranking::pair_ranking;
pub use weights::{Weights, WeightsError};
pub use width::Width;
