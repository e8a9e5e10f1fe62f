//! Adaptive thresholds: one for each label and instance, learnt with the model, from how rare the label is and how the
//! instance's neighbours vote.
//!
//! [`AdaptiveThresholds`] are the learnt part: they turn logits `z` into distances `z - θ`, in training and in
//! prediction alike. [`AdaptiveThreshold`] is the loss of those distances. The signals come from [`crate::rarity`] and
//! [`crate::neighbours`]; the config says from where, and which of the sources look at the true labels.

mod config;
mod learnt;

use burn::tensor::Tensor;

use crate::{Loss, LossValues, margin};

pub use config::{AdaptiveThresholdConfig, Idf, MarginKind, NeighbourSource, PredictSource, Signals, ThresholdLink};
pub use learnt::{AdaptiveThresholds, Explainer, ThresholdParts};

/// `base(z - θ, y) + λ_m Σ_l margin(z - θ, y)`: a loss of distances, which [`AdaptiveThresholds`] makes of logits.
pub struct AdaptiveThreshold {
    base: Box<dyn Loss>,
    margin: MarginKind,
    weight: f64,
    delta: f64,
}

impl Loss for AdaptiveThreshold {
    fn forward(&self, distance: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let mut values = self.base.forward(distance.clone(), targets.clone());
        if self.weight > 0.0 {
            let margin = match self.margin {
                MarginKind::Hinge => margin::hinge(distance, targets, self.delta),
                MarginKind::Band => margin::band(distance, self.delta),
            };
            let sum = margin.sum_dim(1).squeeze_dim::<1>(1).mul_scalar(self.weight);
            values.instance.push(("margin", sum));
        }
        values
    }
}
