//! Focal loss: easy decisions weigh less.

use burn::tensor::{Device, Tensor, activation::log_sigmoid, activation::sigmoid};
use kernels::loss::{LabelForm, RowForm};
use serde::{Deserialize, Serialize};

use crate::fused::{ANY, Element, Fused, Row, RowLoss, elements, focused};
use crate::logits::{by_rows, power, with_gradient};
use crate::{Loss, LossError, LossForm, LossValues};

/// `(1 - p_t)^γ · bce`, with `p_t` the probability of the truth: `-q^γ log σ(u)`, `q = σ(-u)`, `u = (2y - 1) z`.
///
/// With `alpha`, positives weigh `alpha` and negatives `1 - alpha`. Targets must be 0 or 1. Finite, with finite
/// gradients, for every finite logit. The derivative by u is written out: `-q^γ (q - γ (1-q) log σ(u))`.
///
/// Shapes: `logits`, `targets` `[batch, labels]` → `[batch, labels]`.
/// Source: Lin et al. 2017, arXiv 1708.02002, §3.
pub fn focal(logits: Tensor<2>, targets: Tensor<2>, gamma: f64, alpha: Option<f64>) -> Tensor<2> {
    let (values, gradient) = by_rows(host::plain(logits.clone()), targets, |z, targets| {
        let sign = targets.clone().mul_scalar(2.0).sub_scalar(1.0);
        let u = z * sign.clone();
        let q = sigmoid(u.clone().neg());
        let plain = log_sigmoid(u).neg();
        let mut factor = power(q.clone(), gamma);
        if let Some(a) = alpha {
            factor = factor * targets.mul_scalar(2.0 * a - 1.0).add_scalar(1.0 - a);
        }
        let slope = q.clone().neg().add_scalar(1.0).mul_scalar(gamma) * plain.clone() + q;
        (plain * factor.clone(), slope * factor * sign.neg())
    });
    with_gradient(values, logits, gradient)
}

/// Settings of [`Focal`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FocalConfig {
    /// γ, at least 0; 0 is binary cross-entropy.
    pub gamma: f64,
    /// Weight of positives, in [0, 1]; negatives weigh the rest to 1. Absent: both weigh 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
}

impl Default for FocalConfig {
    fn default() -> Self {
        Self { gamma: 2.0, alpha: None }
    }
}

impl FocalConfig {
    /// Makes the loss.
    ///
    /// # Errors
    /// For γ below 0 or `alpha` outside [0, 1].
    pub fn init(&self, _device: &Device) -> Result<Focal, LossError> {
        LossError::at_least_0("gamma", self.gamma)?;
        if let Some(alpha) = self.alpha {
            LossError::between_0_and_1("alpha", alpha)?;
        }
        Ok(Focal { config: self.clone() })
    }
}

/// Focal loss.
#[derive(Debug, Clone)]
pub struct Focal {
    config: FocalConfig,
}

impl Loss for Focal {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        LossValues::of_labels(focal(logits, targets, self.config.gamma, self.config.alpha))
    }

    fn fused(&self) -> Option<Fused<'_>> {
        Some(Fused::Rows(self))
    }

    fn form(&self, labels: usize) -> Option<LossForm> {
        let weights = self.config.alpha.map(|a| [vec![a as f32; labels], vec![(1.0 - a) as f32; labels]]);
        let focused = LabelForm::Focused { gamma: [self.config.gamma as f32; 2], through: 1.0 };
        Some(LossForm::Rows(RowForm { weights, ..RowForm::of_labels(focused) }))
    }
}

/// The kernel for γ = G, or any γ.
struct Kernel<const G: u8> {
    gamma: f32,
    present: f32,
    absent: f32,
}

impl<const G: u8> Element for Kernel<G> {
    #[inline(always)]
    fn absent(&self, z: f32) -> (f32, f32) {
        let (value, slope) = focused::<G>(z, self.gamma);
        (value * self.absent, slope * self.absent)
    }

    fn present(&self, z: f32, _label: usize) -> (f32, f32) {
        let (value, slope) = focused::<G>(-z, self.gamma);
        (value * self.present, -slope * self.present)
    }
}

impl RowLoss for Focal {
    fn parts(&self) -> &'static [&'static str] {
        &["labels"]
    }

    fn row(&self, row: Row, parts: &mut [f32]) {
        let gamma = self.config.gamma as f32;
        let (present, absent) = self.config.alpha.map_or((1.0, 1.0), |a| (a as f32, (1.0 - a) as f32));
        parts[0] = match self.config.gamma {
            0.0 => elements(&Kernel::<0> { gamma, present, absent }, row),
            1.0 => elements(&Kernel::<1> { gamma, present, absent }, row),
            2.0 => elements(&Kernel::<2> { gamma, present, absent }, row),
            _ => elements(&Kernel::<ANY> { gamma, present, absent }, row),
        };
    }
}
