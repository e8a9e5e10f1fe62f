//! Binary cross-entropy of each label.

use burn::tensor::{Device, Tensor, activation::log_sigmoid};
use serde::{Deserialize, Serialize};

use host::simd::softplus_and_sigmoid;
use kernels::loss::{LabelForm, RowForm};

use crate::fused::{Element, Fused, Row, RowLoss, elements};
use crate::logits::towards_truth;
use crate::{Loss, LossError, LossForm, LossValues, TrainingCounts};

/// Binary cross-entropy of each label, `softplus(z) - y z`, as `-log σ((2y - 1) z)`.
///
/// Targets must be 0 or 1. Finite, with finite gradients, for every finite logit.
///
/// Shapes: `logits`, `targets` `[batch, labels]` → `[batch, labels]`.
pub fn bce(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
    log_sigmoid(towards_truth(logits, targets)).neg()
}

/// Binary cross-entropy with targets anywhere in [0, 1], `-y log σ(z) - (1-y) log σ(-z)`.
///
/// Shapes: `logits`, `targets` `[batch, labels]` → `[batch, labels]`.
pub fn soft_bce(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
    let absent = targets.clone().neg().add_scalar(1.0);
    let negative = log_sigmoid(logits.clone().neg()) * absent;
    (log_sigmoid(logits) * targets + negative).neg()
}

/// How much positives weigh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PosWeight {
    /// The same for every label.
    All(f64),
    /// One value a label.
    Each(Vec<f64>),
}

impl PosWeight {
    /// True where labels have weights of their own.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::Each(_))
    }
}

/// Settings of [`Bce`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BceConfig {
    /// Factor on the loss of positives: one for all labels or one a label; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pos_weight: Option<PosWeight>,
    /// Targets may lie anywhere in [0, 1].
    #[serde(default)]
    pub soft_targets: bool,
}

impl BceConfig {
    /// Makes the loss.
    ///
    /// # Errors
    /// For a weight that is not above 0, or a list that does not have one weight a label.
    pub fn init(&self, counts: &TrainingCounts, device: &Device) -> Result<Bce, LossError> {
        let labels = counts.labels.len();
        let weights = match &self.pos_weight {
            None => return Ok(Bce { pos_weight: None, weights: Vec::new(), soft_targets: self.soft_targets }),
            Some(PosWeight::All(w)) => vec![*w; labels],
            Some(PosWeight::Each(w)) => w.clone(),
        };
        if weights.len() != labels {
            let message = format!("pos_weight has {} values, the data has {labels} labels", weights.len());
            return Err(LossError::Contradiction(message));
        }
        if let Some(w) = weights.iter().find(|w| !(w.is_finite() && **w > 0.0)) {
            return Err(LossError::range("pos_weight", w, "above 0"));
        }
        let extra: Vec<f32> = weights.iter().map(|w| (w - 1.0) as f32).collect();
        let pos_weight = Some(Tensor::<1>::from_floats(extra.as_slice(), device).unsqueeze());
        let weights = weights.iter().map(|w| *w as f32).collect();
        Ok(Bce { pos_weight, weights, soft_targets: self.soft_targets })
    }
}

/// Binary cross-entropy with optional weights on positives.
#[derive(Debug, Clone)]
pub struct Bce {
    /// Weight of positives less one, `[1, labels]`.
    pos_weight: Option<Tensor<2>>,
    /// Weight of positives, `[labels]`; empty: 1.
    weights: Vec<f32>,
    soft_targets: bool,
}

impl Loss for Bce {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let values = if self.soft_targets { soft_bce(logits, targets.clone()) } else { bce(logits, targets.clone()) };
        LossValues::of_labels(match &self.pos_weight {
            Some(extra) => values * (targets * extra.clone()).add_scalar(1.0),
            None => values,
        })
    }

    fn fused(&self) -> Option<Fused<'_>> {
        Some(Fused::Rows(self))
    }

    fn form(&self, labels: usize) -> Option<LossForm> {
        let weights = (!self.weights.is_empty()).then(|| [self.weights.clone(), vec![1.0; labels]]);
        let plain = LabelForm::Focused { gamma: [0.0; 2], through: 1.0 };
        Some(LossForm::Rows(RowForm { weights, ..RowForm::of_labels(plain) }))
    }
}

impl Element for Bce {
    #[inline(always)]
    fn absent(&self, z: f32) -> (f32, f32) {
        softplus_and_sigmoid(z)
    }

    fn present(&self, z: f32, label: usize) -> (f32, f32) {
        let weight = self.weights.get(label).copied().unwrap_or(1.0);
        let (value, slope) = softplus_and_sigmoid(-z);
        (value * weight, -slope * weight)
    }
}

impl RowLoss for Bce {
    fn parts(&self) -> &'static [&'static str] {
        &["labels"]
    }

    fn row(&self, row: Row, parts: &mut [f32]) {
        parts[0] = elements(self, row);
    }
}
