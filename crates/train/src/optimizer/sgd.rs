//! Stochastic gradient descent.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::host::{History, Rows, Rule};
use super::in_range;

/// Settings of SGD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdConfig {
    /// Base learning rate.
    pub learning_rate: f64,
    /// Decay of the velocity; 0: none is kept.
    pub momentum: f64,
    /// Look ahead along the velocity.
    pub nesterov: bool,
    /// L2 term of the gradient.
    pub weight_decay: f64,
    /// Rows of the first layer that a batch does not name.
    pub rows: Rows,
    /// Largest Euclidean norm of all gradients together; absent: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            learning_rate: 0.1,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            rows: Rows::Lazy,
            clip_norm: None,
        }
    }
}

impl SgdConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        in_range("momentum", self.momentum, (0.0..1.0).contains(&self.momentum), "at least 0 and below 1")?;
        if self.nesterov && self.momentum == 0.0 {
            return Err("optimizer.nesterov needs optimizer.momentum above 0".into());
        }
        in_range("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "at least 0")
    }

    /// The numbers of a step.
    pub(super) fn at(&self, learning_rate: f64) -> Sgd {
        Sgd {
            rate: learning_rate as f32,
            momentum: self.momentum as f32,
            nesterov: self.nesterov,
            decay: self.weight_decay as f32,
        }
    }
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sgd {
    rate: f32,
    momentum: f32,
    nesterov: bool,
    decay: f32,
}

impl Sgd {
    /// The same update of composed operations.
    pub(super) fn update_device(&self, values: Tensor<1>, gradient: Tensor<1>, slots: &mut [Tensor<1>]) -> Tensor<1> {
        let g = if self.decay > 0.0 { gradient + values.clone().mul_scalar(self.decay) } else { gradient };
        let Some(velocity) = slots.first_mut() else { return values - g.mul_scalar(self.rate) };
        *velocity = velocity.clone().mul_scalar(self.momentum) + g.clone();
        let direction = if self.nesterov { g + velocity.clone().mul_scalar(self.momentum) } else { velocity.clone() };
        values - direction.mul_scalar(self.rate)
    }
}

/// `u` becomes `momentum^k u` in k steps with gradient 0, and `p` goes by `way · u`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missed {
    velocity: f32,
    way: f32,
}

impl Rule for Sgd {
    type Missed = Missed;

    /// `g = ∂L/∂p + decay·p; u ← momentum·u + g; p ← p - rate·(u, or g + momentum·u)`.
    #[inline(always)]
    fn update(&self, values: &mut [f32], slots: &mut [&mut [f32]], gradient: &[f32]) {
        match slots {
            [velocity] => {
                for ((p, u), g) in values.iter_mut().zip(velocity.iter_mut()).zip(gradient) {
                    let g = g + self.decay * *p;
                    *u = self.momentum * *u + g;
                    *p -= self.rate * if self.nesterov { g + self.momentum * *u } else { *u };
                }
            }
            _ => values.iter_mut().zip(gradient).for_each(|(p, g)| *p -= self.rate * (g + self.decay * *p)),
        }
    }

    fn missed(&self, history: &History, since: u64) -> Option<Missed> {
        let momentum = f64::from(self.momentum);
        let ahead = if self.nesterov { momentum } else { 1.0 };
        let (mut velocity, mut way, mut steps) = (1.0, 0.0, 0);
        for (_, rate) in history.after(since) {
            velocity *= momentum;
            way += rate * ahead * velocity;
            steps += 1;
        }
        (steps > 0 && momentum > 0.0).then_some(Missed { velocity: velocity as f32, way: way as f32 })
    }

    #[inline(always)]
    fn catch_up(&self, missed: &Missed, values: &mut [f32], slots: &mut [&mut [f32]]) {
        let [velocity] = slots else { return };
        for (p, u) in values.iter_mut().zip(velocity.iter_mut()) {
            *p -= missed.way * *u;
            *u *= missed.velocity;
        }
    }

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
        for config in [
            SgdConfig { momentum: 0.0, ..SgdConfig::default() },
            SgdConfig { weight_decay: 0.1, ..SgdConfig::default() },
            SgdConfig { nesterov: true, ..SgdConfig::default() },
        ] {
            three_ways(OptimizerConfig::Sgd(config.clone()));
            rows_wait_as_dense_updates_would(OptimizerConfig::Sgd(config));
        }
    }
}
