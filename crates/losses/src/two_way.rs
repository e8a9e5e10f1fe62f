//! Two-way loss: present against absent labels of each instance, and positive against negative instances of each label.

use burn::tensor::{Device, Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use crate::logits::{NEVER, softplus, zero_with_gradient};
use crate::{Loss, LossError, LossValues};

/// Settings of [`TwoWay`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwoWayConfig {
    /// Temperature of positives, above 0.
    pub temperature_pos: f64,
    /// Temperature of negatives, above 0.
    pub temperature_neg: f64,
}

impl Default for TwoWayConfig {
    fn default() -> Self {
        Self { temperature_pos: 4.0, temperature_neg: 1.0 }
    }
}

/// `softplus(T_n log Σ_{q negative} e^{z_q/T_n} + T_p log Σ_{p positive} e^{-z_p/T_p})` along one dimension.
///
/// `dim` 1: over the labels of each instance, → `[batch, 1]`; `dim` 0: over the instances of each label,
/// → `[1, labels]`. Where there is no positive, or no negative, the value is 0. The gradient is written out: σ of the
/// softplus's argument times the softmax over the negatives, or minus that over the positives.
///
/// Shapes: `logits`, `targets` `[batch, labels]`.
/// Source: Kobayashi, "Two-way multi-label loss", CVPR 2023, eq. 8 and 9.
pub fn one_way(logits: Tensor<2>, targets: Tensor<2>, config: &TwoWayConfig, dim: usize) -> Tensor<2> {
    let (tp, tn) = (config.temperature_pos, config.temperature_neg);
    let positive = targets.clone().equal_elem(1.0);
    let count = targets.clone().sum_dim(dim);
    let length = targets.dims()[dim] as f64;
    let both = count.clone().greater_elem(0.5).float() * count.lower_elem(length - 0.5).float();

    // -z/T_p of positives and z/T_n of negatives, each less the largest of its kind in the line.
    let z = host::plain(logits.clone());
    let scaled = z.clone().div_scalar(tn).mask_where(positive.clone(), z.div_scalar(-tp));
    let top_pos = scaled.clone().mask_fill(positive.clone().bool_not(), NEVER).max_dim(dim);
    let top_neg = scaled.clone().mask_fill(positive.clone(), NEVER).max_dim(dim);
    let shape = scaled.dims();
    let shift = top_neg.clone().expand(shape).mask_where(positive.clone(), top_pos.clone().expand(shape));
    let weights = (scaled - shift).exp();
    let sum_pos = (weights.clone() * targets).sum_dim(dim);
    let sum_neg = weights.clone().sum_dim(dim) - sum_pos.clone();
    // Lines of one kind only are silent: their sums are made harmless first.
    let sum_pos = sum_pos.clamp_min(1e-30);
    let sum_neg = sum_neg.clamp_min(1e-30);
    let argument = (sum_pos.clone().log() + top_pos).mul_scalar(tp) + (sum_neg.clone().log() + top_neg).mul_scalar(tn);
    let argument = argument.mask_fill(both.clone().equal_elem(0.0), 0.0);
    let value = softplus(argument.clone()) * both.clone();
    let slope = sigmoid(argument) * both;
    let by_neg = slope.clone() / sum_neg;
    let by_pos = (slope / sum_pos).neg();
    let gradient = weights * by_neg.expand(shape).mask_where(positive, by_pos.expand(shape));
    value + zero_with_gradient(logits, gradient).sum_dim(dim)
}

impl TwoWayConfig {
    /// Makes the loss.
    ///
    /// # Errors
    /// For a temperature that is not above 0.
    pub fn init(&self, _device: &Device) -> Result<TwoWay, LossError> {
        LossError::above_0("temperature_pos", self.temperature_pos)?;
        LossError::above_0("temperature_neg", self.temperature_neg)?;
        Ok(TwoWay { config: self.clone() })
    }
}

/// Mean over the instances that have a label plus mean over the labels that have an instance in the batch.
///
/// As values of instances: an instance's own part, scaled so that the mean over the batch is the mean over labelled
/// instances, and the labels' part, which all instances of the batch share.
#[derive(Debug, Clone)]
pub struct TwoWay {
    config: TwoWayConfig,
}

impl Loss for TwoWay {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let [batch, labels] = logits.dims();
        let labelled = targets.clone().max_dim(1).sum_dim(0).clamp_min(1.0);
        let seen = targets.clone().max_dim(0).sum_dim(1).clamp_min(1.0);
        let by_instance = one_way(logits.clone(), targets.clone(), &self.config, 1) / labelled;
        let by_label = (one_way(logits, targets, &self.config, 0) / seen).sum_dim(1).repeat_dim(0, batch);
        let parts = vec![
            ("instances", by_instance.mul_scalar(batch as f64).squeeze_dim::<1>(1)),
            ("classes", by_label.squeeze_dim::<1>(1)),
        ];
        LossValues::of_instances(parts, labels)
    }
}
