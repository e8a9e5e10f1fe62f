//! Any-class presence: one more output, "is there any label at all", made from the logits the model already has.
//! The instance weights for rare labels are `class_balanced`'s.

use burn::tensor::{Device, Tensor};
use host::simd::{self, LANES, each};
use kernels::loss::{Presence, RowForm};
use serde::{Deserialize, Serialize};

use crate::class_balanced::effective_number_weights;
use crate::config::Base;
use crate::fused::{ANY, Fused, Row, RowLoss, focused};
use crate::{Loss, LossConfig, LossError, LossForm, LossValues, TrainingCounts, bce, focal};

/// Presence logit of each instance: the weighted mean of its label logits.
///
/// `z_a = Σ_j w_j z_j / Σ_j w_j`; `σ(z_a)` is the normalised weighted geometric mean of the label probabilities.
/// Present labels weigh 1, absent ones `lambda`; in an instance without labels every label weighs 1.
///
/// Shapes: `logits`, `targets` `[batch, labels]` → `[batch]`.
/// Source: arXiv 2506.05721, §3.
pub fn presence_logits(logits: Tensor<2>, targets: Tensor<2>, lambda: f64) -> Tensor<1> {
    let count = targets.clone().sum_dim(1);
    weighted_mean(logits, targets, count, lambda).squeeze_dim::<1>(1)
}

/// [`presence_logits`] with the label count of each instance `[batch, 1]` at hand, → `[batch, 1]`.
fn weighted_mean(logits: Tensor<2>, targets: Tensor<2>, count: Tensor<2>, lambda: f64) -> Tensor<2> {
    let [_, labels] = logits.dims();
    // Weight of absent labels: λ in positive instances, 1 in negative ones.
    let absent = has_label(&count).mul_scalar(lambda - 1.0).add_scalar(1.0);
    let extra = absent.clone().neg().add_scalar(1.0);
    let total = count * extra.clone() + absent.clone().mul_scalar(labels as f64);
    (logits * (targets * extra + absent)).sum_dim(1) / total
}

/// 1 for an instance with a label, 0 for a negative one, `[batch, 1]`.
fn has_label(count: &Tensor<2>) -> Tensor<2> {
    count.clone().clamp_max(1.0)
}

/// Class-balanced instance weights, with "negative" as one more class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceBalance {
    /// β, in [0, 1).
    pub beta: f64,
    /// How the weights of an instance's labels become one.
    pub instance_weight: InstanceWeight,
}

impl Default for InstanceBalance {
    fn default() -> Self {
        Self { beta: 0.9999, instance_weight: InstanceWeight::Sum }
    }
}

/// How the weights of an instance's labels become its weight. The paper does not spell it out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceWeight {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}

/// Settings of [`AnyClass`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnyClassConfig {
    /// The loss of labels and of presence: bce or focal.
    pub base: Base,
    /// α, at least 0: weight of the presence part.
    pub alpha: f64,
    /// λ, in [0, 1]: weight of absent labels in the presence logit of a positive instance.
    pub lambda: f64,
    /// γ of `base = "focal"`, where that is given by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Instance weights; absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_balanced: Option<InstanceBalance>,
}

impl Default for AnyClassConfig {
    fn default() -> Self {
        Self { base: Base::default(), alpha: 1.0, lambda: 0.02, gamma: None, class_balanced: None }
    }
}

impl AnyClassConfig {
    /// Makes the loss.
    ///
    /// # Errors
    /// For settings out of range, and bases for which presence is not defined.
    pub fn init(&self, counts: &TrainingCounts, device: &Device) -> Result<AnyClass, LossError> {
        LossError::at_least_0("alpha", self.alpha)?;
        LossError::between_0_and_1("lambda", self.lambda)?;
        let mut base = self.base.config().clone();
        let presence_gamma = match (&mut base, self.gamma) {
            (LossConfig::Bce(_), None) => None,
            (LossConfig::Bce(_), Some(_)) => {
                return Err(LossError::Contradiction(
                    "any_class.gamma belongs to base = \"focal\"; base is bce".into(),
                ));
            }
            (LossConfig::Focal(focal), gamma) => {
                if let Some(gamma) = gamma {
                    if self.base.is_table() && focal.gamma != gamma {
                        let message = "any_class.gamma and base.gamma contradict each other: keep one";
                        return Err(LossError::Contradiction(message.into()));
                    }
                    focal.gamma = gamma;
                }
                Some(focal.gamma)
            }
            _ => {
                let message = "any_class is defined over bce and focal; put other wrappers around it, not inside";
                return Err(LossError::Contradiction(message.into()));
            }
        };
        let balance = match &self.class_balanced {
            None => None,
            Some(balance) => {
                LossError::from_0_below_1("class_balanced.beta", balance.beta)?;
                let mut classes = counts.labels.clone();
                classes.push(counts.negatives);
                let mut weights: Vec<f32> =
                    effective_number_weights(&classes, balance.beta).iter().map(|w| *w as f32).collect();
                let negative = weights.pop().unwrap_or(1.0);
                let labels = Tensor::<1>::from_floats(weights.as_slice(), device).unsqueeze();
                Some(Balance { labels, numbers: weights, negative, instance_weight: balance.instance_weight })
            }
        };
        let base = base.init(counts, device).map_err(|e| e.inside("base"))?;
        Ok(AnyClass { base, presence_gamma, alpha: self.alpha, lambda: self.lambda, balance })
    }
}

/// `J = Σ_j ℓ(z_j, y_j) + α ℓ(z_a, y_a)`, times the instance weight where asked for.
pub struct AnyClass {
    base: Box<dyn Loss>,
    /// γ of the presence part; none: bce.
    presence_gamma: Option<f64>,
    alpha: f64,
    lambda: f64,
    balance: Option<Balance>,
}

struct Balance {
    /// `[1, labels]`.
    labels: Tensor<2>,
    /// The same on the host.
    numbers: Vec<f32>,
    negative: f32,
    instance_weight: InstanceWeight,
}

impl Balance {
    /// `Σ_j y_j w_j`, or its mean over the present labels; `w_neg` for a negative instance. `[batch]`.
    fn weights(&self, targets: &Tensor<2>, count: Tensor<2>) -> Tensor<1> {
        let sum = (targets.clone() * self.labels.clone()).sum_dim(1);
        let labelled = match self.instance_weight {
            InstanceWeight::Sum => sum,
            InstanceWeight::Mean => sum / count.clone().clamp_min(1.0),
        };
        let negative = has_label(&count).neg().add_scalar(1.0).mul_scalar(self.negative);
        (labelled + negative).squeeze_dim::<1>(1)
    }
}

impl Balance {
    /// [`Self::weights`] of one instance.
    fn of_row(&self, present: &[u32]) -> f32 {
        let sum: f32 = present.iter().map(|&l| self.numbers[l as usize]).sum();
        match self.instance_weight {
            _ if present.is_empty() => self.negative,
            InstanceWeight::Sum => sum,
            InstanceWeight::Mean => sum / present.len() as f32,
        }
    }
}

impl Loss for AnyClass {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let mut values = self.base.forward(logits.clone(), targets.clone());
        let count = targets.clone().sum_dim(1);
        if self.alpha > 0.0 {
            let z = weighted_mean(logits, targets.clone(), count.clone(), self.lambda);
            let y = has_label(&count);
            let presence = match self.presence_gamma {
                None => bce(z, y),
                Some(gamma) => focal(z, y, gamma, None),
            };
            values.instance.push(("presence", presence.squeeze_dim::<1>(1).mul_scalar(self.alpha)));
        }
        values.weight = self.balance.as_ref().map(|b| b.weights(&targets, count));
        values
    }

    fn fused(&self) -> Option<Fused<'_>> {
        matches!(self.base.fused(), Some(Fused::Rows(_))).then_some(Fused::Rows(self))
    }

    fn form(&self, labels: usize) -> Option<LossForm> {
        let Some(LossForm::Rows(form)) = self.base.form(labels) else { return None };
        let presence = (self.alpha > 0.0).then(|| Presence {
            alpha: self.alpha as f32,
            lambda: self.lambda as f32,
            gamma: self.presence_gamma.unwrap_or(0.0) as f32,
        });
        let balance = self.balance.as_ref().map(|b| kernels::loss::InstanceBalance {
            labels: b.numbers.clone(),
            negative: b.negative,
            mean: b.instance_weight == InstanceWeight::Mean,
        });
        Some(LossForm::Rows(RowForm { presence, balance, ..form }))
    }
}

impl RowLoss for AnyClass {
    fn parts(&self) -> &'static [&'static str] {
        if self.alpha > 0.0 { &["labels", "presence"] } else { &["labels"] }
    }

    fn row(&self, row: Row, parts: &mut [f32]) {
        let Some(Fused::Rows(base)) = self.base.fused() else { return };
        let Row { values, present, weights, scale } = row;
        let weight = self.balance.as_ref().map_or(1.0, |b| b.of_row(present));
        let scale = scale * weight;
        // Weight of absent labels in the presence logit, and the sum of all weights.
        let absent = if present.is_empty() { 1.0 } else { self.lambda as f32 };
        let total = present.len() as f32 * (1.0 - absent) + absent * values.len() as f32;
        let z = if self.alpha > 0.0 { presence_logit(values, present, absent) / total } else { 0.0 };
        base.row(Row { values: &mut *values, present, weights, scale }, &mut parts[..1]);
        if self.alpha > 0.0 {
            let truth = if present.is_empty() { 1.0 } else { -1.0 };
            let (value, slope) = match self.presence_gamma {
                None => simd::softplus_and_sigmoid(truth * z),
                Some(gamma) => focused::<ANY>(truth * z, gamma as f32),
            };
            parts[1] = value * self.alpha as f32;
            let slope = truth * slope * self.alpha as f32 * scale / total;
            let everywhere = slope * absent;
            simd::vectorised(
                #[inline(always)]
                || values.iter_mut().for_each(|v| *v += everywhere),
            );
            present.iter().for_each(|&l| values[l as usize] += slope - everywhere);
        }
        parts.iter_mut().for_each(|p| *p *= weight);
    }
}

/// `Σ_j w_j z_j`: present labels weigh 1, the others `absent`.
fn presence_logit(values: &mut [f32], present: &[u32], absent: f32) -> f32 {
    let all = simd::vectorised(
        #[inline(always)]
        || {
            let mut sums = [0.0; LANES];
            each(
                values,
                #[inline(always)]
                |v, lane| sums[lane] += *v,
            );
            simd::sum_lanes(&sums)
        },
    );
    let own: f32 = present.iter().map(|&l| values[l as usize]).sum();
    own * (1.0 - absent) + absent * all
}
