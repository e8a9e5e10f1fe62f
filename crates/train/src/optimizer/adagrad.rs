//! Adagrad: a learning rate of each weight's own, which falls with the squares of its gradients.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::host::{History, Rows, Rule};
use super::in_range;

/// Settings of Adagrad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdagradConfig {
    /// Base learning rate.
    pub learning_rate: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// L2 term of the gradient.
    pub weight_decay: f64,
    /// Rows of the first layer that a batch does not name; they differ only with weight decay.
    pub rows: Rows,
    /// Largest Euclidean norm of all gradients together; absent: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
}

impl Default for AdagradConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-2, epsilon: 1e-10, weight_decay: 0.0, rows: Rows::Lazy, clip_norm: None }
    }
}

impl AdagradConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        in_range("epsilon", self.epsilon, self.epsilon > 0.0, "above 0")?;
        in_range("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "at least 0")
    }

    /// The numbers of a step.
    pub(super) fn at(&self, learning_rate: f64) -> Adagrad {
        Adagrad { rate: learning_rate as f32, epsilon: self.epsilon as f32, decay: self.weight_decay as f32 }
    }
}

/// One step. Source: Duchi, Hazan and Singer, JMLR 12, 2011.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adagrad {
    rate: f32,
    epsilon: f32,
    decay: f32,
}

impl Adagrad {
    /// `g = ∂L/∂p + decay·p; s ← s + g²; p ← p - rate · g / (√s + ε)`.
    #[inline(always)]
    fn apply(&self, p: &mut f32, g: f32, s: &mut f32) {
        let g = g + self.decay * *p;
        *s += g * g;
        *p -= self.rate * g / (s.sqrt() + self.epsilon);
    }

    /// The same update of composed operations.
    pub(super) fn update_device(&self, values: Tensor<1>, gradient: Tensor<1>, slots: &mut [Tensor<1>]) -> Tensor<1> {
        let [squares] = slots else { return values };
        let g = if self.decay > 0.0 { gradient + values.clone().mul_scalar(self.decay) } else { gradient };
        *squares = squares.clone() + g.clone() * g.clone();
        values - (g / squares.clone().sqrt().add_scalar(self.epsilon)).mul_scalar(self.rate)
    }
}

impl Rule for Adagrad {
    type Missed = ();

    #[inline(always)]
    fn update(&self, values: &mut [f32], slots: &mut [&mut [f32]], gradient: &[f32]) {
        let [squares] = slots else { return };
        for ((p, s), g) in values.iter_mut().zip(squares.iter_mut()).zip(gradient) {
            self.apply(p, *g, s);
        }
    }

    /// Without decay a gradient of 0 changes nothing.
    fn missed(&self, _history: &History, _since: u64) -> Option<()> {
        None
    }

    fn catch_up(&self, _missed: &(), _values: &mut [f32], _slots: &mut [&mut [f32]]) {}

    fn can_wait(&self) -> bool {
        self.decay == 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{rows_wait_as_dense_updates_would, three_ways};
    use super::*;
    use crate::optimizer::OptimizerConfig;

    #[test]
    fn all_ways_of_an_update_agree() {
        for weight_decay in [0.0, 0.1] {
            let config = AdagradConfig { weight_decay, ..AdagradConfig::default() };
            three_ways(OptimizerConfig::Adagrad(config.clone()));
            rows_wait_as_dense_updates_would(OptimizerConfig::Adagrad(config));
        }
    }
}
