//! Adam and AdamW.

use burn::tensor::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Gradient, in_range};

/// First moments below this are taken as 0: they no longer move a weight, and denormal numbers are slow.
const TINY: f32 = 1e-35;
/// Values a thread takes at once.
const CHUNK: usize = 1 << 14;

/// Settings of Adam and AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Base learning rate.
    pub learning_rate: f64,
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub epsilon: f64,
    /// Adam: L2 term of the gradient; AdamW: decay of the weights themselves.
    pub weight_decay: f64,
    /// Largest Euclidean norm of all gradients together; absent: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8, weight_decay: 0.0, clip_norm: None }
    }
}

/// The numbers of one update, as the kernel uses them.
#[derive(Clone, Copy)]
struct Rates {
    beta1: f32,
    beta2: f32,
    /// Learning rate over the first moment's bias correction.
    step: f32,
    /// Reciprocal root of the second moment's bias correction.
    root: f32,
    epsilon: f32,
    /// L2 term.
    decay: f32,
    /// Factor on the weights (AdamW).
    shrink: f32,
}

impl Rates {
    /// `g = ∂L/∂p + decay·p; m ← β₁m + (1-β₁)g; v ← β₂v + (1-β₂)g²; p ← shrink·p - step · m / (√v·root + ε)`.
    #[inline(always)]
    fn apply(self, p: &mut f32, g: f32, m: &mut f32, v: &mut f32) {
        let g = g + self.decay * *p;
        let first = self.beta1 * *m + (1.0 - self.beta1) * g;
        let first = if first.abs() < TINY { 0.0 } else { first };
        let second = self.beta2 * *v + (1.0 - self.beta2) * g * g;
        *m = first;
        *v = second;
        *p = self.shrink * *p - self.step * first / (second.sqrt() * self.root + self.epsilon);
    }
}

impl AdamConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        for beta in self.betas {
            in_range("betas", beta, (0.0..1.0).contains(&beta), "each at least 0 and below 1")?;
        }
        in_range("epsilon", self.epsilon, self.epsilon > 0.0, "above 0")?;
        in_range("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "at least 0")
    }

    fn rates(&self, learning_rate: f64, steps: u64, decoupled: bool) -> Rates {
        let correction = |beta: f64| 1.0 - beta.powi(steps.min(i32::MAX as u64) as i32);
        Rates {
            beta1: self.betas[0] as f32,
            beta2: self.betas[1] as f32,
            step: (learning_rate / correction(self.betas[0])) as f32,
            root: (1.0 / correction(self.betas[1]).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            decay: if decoupled { 0.0 } else { self.weight_decay as f32 },
            shrink: if decoupled { (1.0 - learning_rate * self.weight_decay) as f32 } else { 1.0 },
        }
    }

    /// One fused pass; rows without a gradient still decay their moments, as dense Adam does.
    pub(super) fn update_host(
        &self,
        learning_rate: f64,
        steps: u64,
        decoupled: bool,
        values: &mut [f32],
        gradient: &Gradient,
        slots: &mut [Vec<f32>],
    ) {
        let rates = self.rates(learning_rate, steps, decoupled);
        let [first, second] = slots else { return };
        match gradient {
            Gradient::Host(gradient) => values
                .par_chunks_mut(CHUNK)
                .zip(first.par_chunks_mut(CHUNK))
                .zip(second.par_chunks_mut(CHUNK))
                .zip(gradient.par_chunks(CHUNK))
                .for_each(|(((p, m), v), g)| {
                    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                        rates.apply(p, *g, m, v);
                    }
                }),
            Gradient::Rows(rows) => {
                let width = rows.width.max(1);
                let block = (CHUNK / width).max(1);
                values
                    .par_chunks_mut(block * width)
                    .zip(first.par_chunks_mut(block * width))
                    .zip(second.par_chunks_mut(block * width))
                    .enumerate()
                    .for_each(|(b, ((p, m), v))| {
                        let mut next = rows.rows.partition_point(|&r| (r as usize) < b * block);
                        let lines = p.chunks_mut(width).zip(m.chunks_mut(width)).zip(v.chunks_mut(width));
                        for (r, ((p, m), v)) in (b * block..).zip(lines) {
                            if rows.rows.get(next) == Some(&(r as u32)) {
                                let g = &rows.values[next * width..][..width];
                                next += 1;
                                for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                                    rates.apply(p, *g, m, v);
                                }
                            } else {
                                for ((p, m), v) in p.iter_mut().zip(m).zip(v) {
                                    rates.apply(p, 0.0, m, v);
                                }
                            }
                        }
                    });
            }
            Gradient::Device(_) => {}
        }
    }

    /// The same update of composed operations.
    pub(super) fn update_device(
        &self,
        learning_rate: f64,
        steps: u64,
        decoupled: bool,
        values: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut [Tensor<1>],
    ) -> Tensor<1> {
        let rates = self.rates(learning_rate, steps, decoupled);
        let [first, second] = slots else { return values };
        let g = if rates.decay > 0.0 { gradient + values.clone().mul_scalar(rates.decay) } else { gradient };
        *first = first.clone().mul_scalar(rates.beta1) + g.clone().mul_scalar(1.0 - rates.beta1);
        *second = second.clone().mul_scalar(rates.beta2) + (g.clone() * g).mul_scalar(1.0 - rates.beta2);
        let denominator = second.clone().sqrt().mul_scalar(rates.root).add_scalar(rates.epsilon);
        values.mul_scalar(rates.shrink) - (first.clone() / denominator).mul_scalar(rates.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use model::layers::rows::RowGradient;

    /// Runs three updates three ways and holds them together.
    fn three_ways(config: AdamConfig, decoupled: bool) {
        let start: Vec<f32> = (0..12).map(|i| (i as f32).sin()).collect();
        let rows = RowGradient { rows: vec![1, 3], values: (0..6).map(|i| i as f32 - 2.5).collect(), width: 3 };
        let mut dense = vec![0.0; 12];
        for (k, &r) in rows.rows.iter().enumerate() {
            dense[r as usize * 3..][..3].copy_from_slice(&rows.values[k * 3..][..3]);
        }
        let device = Device::flex();
        let tensor = |v: &[f32]| Tensor::<1>::from_data(TensorData::new(v.to_vec(), [12]), &device);
        let mut composed = tensor(&start);
        let mut composed_slots = vec![tensor(&[0.0; 12]), tensor(&[0.0; 12])];
        let (mut by_rows, mut by_dense) = (start.clone(), start.clone());
        let mut row_slots = vec![vec![0.0; 12]; 2];
        let mut dense_slots = row_slots.clone();
        for step in 1..=3 {
            let gradient = Gradient::Rows(rows.clone());
            config.update_host(0.1, step, decoupled, &mut by_rows, &gradient, &mut row_slots);
            let gradient = Gradient::Host(dense.clone());
            config.update_host(0.1, step, decoupled, &mut by_dense, &gradient, &mut dense_slots);
            composed = config.update_device(0.1, step, decoupled, composed, tensor(&dense), &mut composed_slots);
        }
        assert_eq!(by_rows, by_dense);
        let composed: Vec<f32> = composed.into_data().try_into_vec().unwrap();
        for (a, b) in by_dense.iter().zip(composed) {
            assert!((a - b).abs() < 1e-6, "{a} against {b}");
        }
        assert_ne!(by_dense, start);
    }

    #[test]
    fn rows_dense_and_composed_updates_agree() {
        three_ways(AdamConfig::default(), false);
        three_ways(AdamConfig { weight_decay: 0.1, ..AdamConfig::default() }, false);
        three_ways(AdamConfig { weight_decay: 0.1, ..AdamConfig::default() }, true);
    }

    #[test]
    fn the_first_step_moves_by_the_learning_rate_against_the_gradient() {
        let mut values = vec![1.0f32, 1.0];
        let mut slots = vec![vec![0.0; 2]; 2];
        let gradient = Gradient::Host(vec![0.3, -4.0]);
        AdamConfig::default().update_host(0.01, 1, false, &mut values, &gradient, &mut slots);
        assert!((values[0] - 0.99).abs() < 1e-6 && (values[1] - 1.01).abs() < 1e-6, "{values:?}");
    }
}
