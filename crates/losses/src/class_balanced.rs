//! Class-balanced weights: rare labels weigh more, by the effective number of their instances.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::config::Base;
use crate::fused::{Fused, Row, RowLoss};
use crate::{Loss, LossConfig, LossError, LossForm, LossValues, TrainingCounts};

/// `w_c = (1-β) / (1-β^{n_c})`, normalised so that they sum to their number.
///
/// A class never seen gets the weight of n = 1.
/// Source: Cui et al. 2019, arXiv 1901.05555, §4.
pub fn effective_number_weights(counts: &[usize], beta: f64) -> Vec<f64> {
    let weight = |&n: &usize| {
        // 1 - β^n without the cancellation of β^n ≈ 1.
        let effective = -((n.max(1) as f64) * beta.ln()).exp_m1();
        (1.0 - beta) / if beta == 0.0 { 1.0 } else { effective }
    };
    let weights: Vec<f64> = counts.iter().map(weight).collect();
    let scale = counts.len() as f64 / weights.iter().sum::<f64>();
    weights.into_iter().map(|w| w * scale).collect()
}

/// Settings of [`ClassBalanced`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassBalancedConfig {
    /// The loss whose label values are weighed.
    pub base: Base,
    /// β, in [0, 1); 0: no weights.
    pub beta: f64,
}

impl Default for ClassBalancedConfig {
    fn default() -> Self {
        Self { base: Base::default(), beta: 0.9999 }
    }
}

impl ClassBalancedConfig {
    /// Makes the loss.
    ///
    /// # Errors
    /// For β outside [0, 1), a base without values per label, or one that is class-balanced itself.
    pub fn init(&self, counts: &TrainingCounts, device: &Device) -> Result<ClassBalanced, LossError> {
        LossError::from_0_below_1("beta", self.beta)?;
        match self.base.config() {
            LossConfig::Zlpr(_) | LossConfig::TwoWay(_) => {
                let message = "class_balanced weighs the values of labels; zlpr and two_way have none per label";
                return Err(LossError::Contradiction(message.into()));
            }
            LossConfig::ClassBalanced(_) => {
                return Err(LossError::Contradiction("class_balanced over class_balanced weighs labels twice".into()));
            }
            LossConfig::AnyClass(inner) if inner.class_balanced.is_some() => {
                let message = "class_balanced over any_class with class_balanced of its own weighs labels twice";
                return Err(LossError::Contradiction(message.into()));
            }
            LossConfig::AdaptiveThreshold(_) => {
                let message = "class_balanced goes inside adaptive_threshold, as its base, not around it";
                return Err(LossError::Contradiction(message.into()));
            }
            LossConfig::DistributionBalanced(_) => {
                let message = "class_balanced over distribution_balanced weighs labels twice";
                return Err(LossError::Contradiction(message.into()));
            }
            _ => {}
        }
        let base = self.base.config().init(counts, device).map_err(|e| e.inside("base"))?;
        let weights: Vec<f32> = effective_number_weights(&counts.labels, self.beta).iter().map(|w| *w as f32).collect();
        let tensor = Tensor::<1>::from_floats(weights.as_slice(), device).unsqueeze();
        Ok(ClassBalanced { base, weights: tensor, numbers: weights })
    }
}

/// Any loss of labels, times the class-balanced weight of each label.
pub struct ClassBalanced {
    base: Box<dyn Loss>,
    /// `[1, labels]`.
    weights: Tensor<2>,
    /// The same on the host.
    numbers: Vec<f32>,
}

impl Loss for ClassBalanced {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let values = self.base.forward(logits, targets);
        LossValues { labels: values.labels.map(|l| l * self.weights.clone()), ..values }
    }

    fn fused(&self) -> Option<Fused<'_>> {
        matches!(self.base.fused(), Some(Fused::Rows(_))).then_some(Fused::Rows(self))
    }

    fn form(&self, labels: usize) -> Option<LossForm> {
        let Some(LossForm::Rows(mut form)) = self.base.form(labels) else { return None };
        let weights = form.weights.get_or_insert_with(|| [vec![1.0; labels], vec![1.0; labels]]);
        weights.iter_mut().for_each(|side| side.iter_mut().zip(&self.numbers).for_each(|(w, own)| *w *= own));
        Some(LossForm::Rows(form))
    }
}

impl RowLoss for ClassBalanced {
    fn parts(&self) -> &'static [&'static str] {
        match self.base.fused() {
            Some(Fused::Rows(base)) => base.parts(),
            _ => &[],
        }
    }

    fn row(&self, row: Row, parts: &mut [f32]) {
        if let Some(Fused::Rows(base)) = self.base.fused() {
            base.row(Row { weights: Some(&self.numbers), ..row }, parts);
        }
    }
}
