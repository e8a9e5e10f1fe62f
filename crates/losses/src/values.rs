//! What a loss returns before any reduction, and the reductions.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// From the losses of the instances to one number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Mean over the batch of the instance losses, divided by the number of labels.
    #[default]
    Mean,
    /// Mean over the batch of the instance losses, each the sum over its labels.
    Sum,
}

/// Unreduced loss values of a batch.
#[derive(Debug, Clone)]
pub struct LossValues {
    /// Per label, `[batch, labels]`, label weights applied.
    pub labels: Tensor<2>,
    /// Parts that belong to whole instances, by name, each `[batch]`.
    pub instance: Vec<(&'static str, Tensor<1>)>,
    /// Weight of each instance, `[batch]`; none: 1.
    pub weight: Option<Tensor<1>>,
}

impl LossValues {
    /// Values that have only a part per label.
    pub fn of_labels(labels: Tensor<2>) -> Self {
        Self { labels, instance: Vec::new(), weight: None }
    }

    /// `w_i · (Σ_l labels_il + Σ parts_i)`, `[batch]`: what samplers look at and reductions average.
    pub fn per_instance(&self) -> Tensor<1> {
        let mut sum = self.labels.clone().sum_dim(1).squeeze_dim::<1>(1);
        for (_, part) in &self.instance {
            sum = sum + part.clone();
        }
        match &self.weight {
            Some(weight) => sum * weight.clone(),
            None => sum,
        }
    }

    /// The reduced parts by name, each `[1]`: `labels`, then the whole-instance ones. Empty where there is only one.
    pub fn parts(&self, reduction: Reduction) -> Vec<(&'static str, Tensor<1>)> {
        if self.instance.is_empty() {
            return Vec::new();
        }
        let mut parts = vec![("labels", self.labels.clone().sum_dim(1).squeeze_dim::<1>(1))];
        parts.extend(self.instance.iter().cloned());
        let weigh = |part: Tensor<1>| match &self.weight {
            Some(weight) => part * weight.clone(),
            None => part,
        };
        parts.into_iter().map(|(name, part)| (name, self.reduced(weigh(part), reduction))).collect()
    }

    /// One number, `[1]`.
    pub fn reduce(&self, reduction: Reduction) -> Tensor<1> {
        self.reduced(self.per_instance(), reduction)
    }

    fn reduced(&self, per_instance: Tensor<1>, reduction: Reduction) -> Tensor<1> {
        let [_, labels] = self.labels.dims();
        match reduction {
            Reduction::Sum => per_instance.mean(),
            Reduction::Mean => per_instance.mean().div_scalar(labels as f64),
        }
    }
}
