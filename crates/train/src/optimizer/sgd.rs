//! Stochastic gradient descent.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Gradient, in_range};

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
    /// Largest Euclidean norm of all gradients together; absent: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { learning_rate: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.0, clip_norm: None }
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

    /// `g = ∂L/∂p + decay·p; u ← momentum·u + g (u = g at the first step); p ← p - rate·(u, or g + momentum·u)`.
    pub(super) fn update_host(
        &self,
        learning_rate: f64,
        steps: u64,
        values: &mut [f32],
        gradient: &Gradient,
        slots: &mut [Vec<f32>],
    ) {
        let (rate, momentum, decay) = (learning_rate as f32, self.momentum as f32, self.weight_decay as f32);
        let dense;
        let gradient = match gradient {
            Gradient::Host(gradient) => gradient,
            Gradient::Rows(rows) => {
                let mut all = vec![0.0; values.len()];
                for (line, &r) in rows.values.chunks(rows.width.max(1)).zip(&rows.rows) {
                    all[r as usize * rows.width..][..rows.width].copy_from_slice(line);
                }
                dense = all;
                &dense
            }
            Gradient::Device(_) => return,
        };
        let velocity = slots.first_mut();
        match velocity {
            None => values.iter_mut().zip(gradient).for_each(|(p, g)| *p -= rate * (g + decay * *p)),
            Some(velocity) => {
                for ((p, u), g) in values.iter_mut().zip(velocity.iter_mut()).zip(gradient) {
                    let g = g + decay * *p;
                    *u = if steps == 1 { g } else { momentum * *u + g };
                    *p -= rate * if self.nesterov { g + momentum * *u } else { *u };
                }
            }
        }
    }

    /// The same update of composed operations.
    pub(super) fn update_device(
        &self,
        learning_rate: f64,
        steps: u64,
        values: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut [Tensor<1>],
    ) -> Tensor<1> {
        let g =
            if self.weight_decay > 0.0 { gradient + values.clone().mul_scalar(self.weight_decay) } else { gradient };
        let Some(velocity) = slots.first_mut() else { return values - g.mul_scalar(learning_rate) };
        *velocity = if steps == 1 { g.clone() } else { velocity.clone().mul_scalar(self.momentum) + g.clone() };
        let direction = if self.nesterov { g + velocity.clone().mul_scalar(self.momentum) } else { velocity.clone() };
        values - direction.mul_scalar(learning_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn host_and_composed_updates_agree() {
        for config in [
            SgdConfig { momentum: 0.0, ..SgdConfig::default() },
            SgdConfig { weight_decay: 0.1, ..SgdConfig::default() },
            SgdConfig { nesterov: true, ..SgdConfig::default() },
        ] {
            let device = Device::flex();
            let tensor = |v: &[f32]| Tensor::<1>::from_data(TensorData::new(v.to_vec(), [3]), &device);
            let slots = usize::from(config.momentum > 0.0);
            let mut values = vec![1.0, -2.0, 0.5];
            let mut composed = tensor(&values);
            let mut host_slots = vec![vec![0.0; 3]; slots];
            let mut composed_slots = vec![tensor(&[0.0; 3]); slots];
            for step in 1..=3 {
                let gradient = vec![0.5, -1.0, step as f32];
                composed = config.update_device(0.1, step, composed, tensor(&gradient), &mut composed_slots);
                config.update_host(0.1, step, &mut values, &Gradient::Host(gradient), &mut host_slots);
            }
            for (a, b) in values.iter().zip(composed.into_data().try_into_vec::<f32>().unwrap()) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }
}
