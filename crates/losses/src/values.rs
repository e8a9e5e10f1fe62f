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
    /// Per label, `[batch, labels]`, label weights applied; none for losses of whole instances.
    pub labels: Option<Tensor<2>>,
    /// Parts that belong to whole instances, by name, each `[batch]`.
    pub instance: Vec<(&'static str, Tensor<1>)>,
    /// Weight of each instance, `[batch]`; none: 1.
    pub weight: Option<Tensor<1>>,
    /// L, by which [`Reduction::Mean`] divides.
    pub label_count: usize,
}

impl LossValues {
    /// Values that have only a part per label.
    pub fn of_labels(labels: Tensor<2>) -> Self {
        let [_, label_count] = labels.dims();
        Self { labels: Some(labels), instance: Vec::new(), weight: None, label_count }
    }

    /// Values that have only parts of whole instances.
    pub fn of_instances(instance: Vec<(&'static str, Tensor<1>)>, label_count: usize) -> Self {
        Self { labels: None, instance, weight: None, label_count }
    }

    /// The same values, the weights of instances multiplied into all parts.
    pub fn with_weights_applied(self) -> Self {
        let Some(weight) = self.weight else { return self };
        let of_labels = |l: Tensor<2>| l * weight.clone().unsqueeze_dim(1);
        let of_instances = |(name, part): (&'static str, Tensor<1>)| (name, part * weight.clone());
        Self {
            labels: self.labels.map(of_labels),
            instance: self.instance.into_iter().map(of_instances).collect(),
            weight: None,
            label_count: self.label_count,
        }
    }

    /// `w_i · (Σ_l labels_il + Σ parts_i)`, `[batch]`: what samplers look at and reductions average.
    pub fn per_instance(&self) -> Tensor<1> {
        let labels = self.label_sums().into_iter();
        let sum = labels.chain(self.instance.iter().map(|(_, part)| part.clone())).reduce(|a, b| a + b);
        // A loss has at least one part.
        self.weighed(sum.unwrap_or_else(|| Tensor::zeros([0], &burn::tensor::Device::default())))
    }

    /// The reduced parts by name, each `[1]`: `labels`, then the whole-instance ones. Empty where there is only one.
    pub fn parts(&self, reduction: Reduction) -> Vec<(&'static str, Tensor<1>)> {
        let mut parts: Vec<_> = self.label_sums().map(|sum| ("labels", sum)).into_iter().collect();
        parts.extend(self.instance.iter().cloned());
        if parts.len() < 2 {
            return Vec::new();
        }
        parts.into_iter().map(|(name, part)| (name, self.reduced(self.weighed(part), reduction))).collect()
    }

    /// One number, `[1]`.
    pub fn reduce(&self, reduction: Reduction) -> Tensor<1> {
        self.reduced(self.per_instance(), reduction)
    }

    fn label_sums(&self) -> Option<Tensor<1>> {
        self.labels.as_ref().map(|l| l.clone().sum_dim(1).squeeze_dim::<1>(1))
    }

    fn weighed(&self, part: Tensor<1>) -> Tensor<1> {
        match &self.weight {
            Some(weight) => part * weight.clone(),
            None => part,
        }
    }

    /// The number that instance losses `[batch]` reduce to, `[1]`, where [`Self::per_instance`] is at hand.
    pub fn reduced(&self, per_instance: Tensor<1>, reduction: Reduction) -> Tensor<1> {
        match reduction {
            Reduction::Sum => per_instance.mean(),
            Reduction::Mean => per_instance.mean().div_scalar(self.label_count as f64),
        }
    }
}
