//! Multi-label losses: logits and targets in, unreduced values out.
//!
//! One file a loss. Its core is a pure function from `logits` and `targets` `[batch, labels]` to values `[batch,
//! labels]` (or `[batch]` for a part that belongs to a whole instance); weights and the [`Reduction`] come on top, in
//! [`LossValues`]. Everything is computed in logit space. [`LossConfig`] names the losses; `init` makes one.
#![forbid(unsafe_code)]

mod adaptive_threshold;
mod any_class;
mod asymmetric;
mod bce;
mod check;
mod class_balanced;
mod config;
mod distribution_balanced;
mod error;
mod focal;
mod fused;
mod logits;
pub mod margin;
pub mod neighbours;
mod on_device;
pub mod rarity;
mod two_way;
mod values;
mod zlpr;

pub use adaptive_threshold::{
    AdaptiveThreshold, AdaptiveThresholdConfig, AdaptiveThresholds, Explainer, Idf, MarginKind, NeighbourSource,
    PredictSource, Signals, ThresholdLink, ThresholdParts,
};
pub use any_class::{AnyClass, AnyClassConfig, InstanceBalance, InstanceWeight, presence_logits};
pub use asymmetric::{Asymmetric, AsymmetricConfig, asymmetric};
pub use bce::{Bce, BceConfig, PosWeight, bce, soft_bce};
pub use check::check;
pub use class_balanced::{ClassBalanced, ClassBalancedConfig, effective_number_weights};
pub use config::{Base, LossConfig, TrainingCounts};
pub use distribution_balanced::{DistributionBalanced, DistributionBalancedConfig};
pub use error::LossError;
pub use focal::{Focal, FocalConfig, focal};
pub use fused::{BatchLoss, Fused, FusedValues, Row, RowLoss, fused_pass};
pub use on_device::{DeviceLoss, LossForm};
pub use two_way::{TwoWay, TwoWayConfig, one_way};
pub use values::{LossValues, Reduction};
pub use zlpr::{Zlpr, ZlprConfig, zlpr};

use burn::tensor::Tensor;

/// A loss, ready to use on one device.
pub trait Loss: Send + Sync {
    /// The unreduced values of a batch.
    ///
    /// Shapes: `logits`, `targets` `[batch, labels]`; targets are 0 or 1 ([`check`] says whether they are).
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues;

    /// The same loss on host memory in one pass, where it has that form.
    fn fused(&self) -> Option<Fused<'_>> {
        None
    }

    /// What a GPU's kernel has to know of the loss over so many labels, where there is one for it.
    fn form(&self, _labels: usize) -> Option<LossForm> {
        None
    }
}
