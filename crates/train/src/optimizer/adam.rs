//! Adam and AdamW.

use burn::tensor::Tensor;
use kernels::adam::AdamStep;
use serde::{Deserialize, Serialize};

use super::host::{History, Rows, Rule};
use super::in_range;

/// First moments below this are taken as 0: they no longer move a weight, and denormal numbers are slow.
const TINY: f32 = 1e-35;
/// Missed steps whose share of the first moment is below this no longer count.
const FORGOTTEN: f64 = 1e-10;
/// Missed steps are summed by a series while the second moment's factor varies by no more than this.
const STEADY: f64 = 0.1;

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
    /// Rows of the first layer that a batch does not name.
    pub rows: Rows,
    /// Largest Euclidean norm of all gradients together; absent: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
            rows: Rows::Lazy,
            clip_norm: None,
        }
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

    /// The numbers of step `steps`. `decoupled`: AdamW.
    pub(super) fn at(&self, learning_rate: f64, steps: u64, decoupled: bool) -> Adam<'_> {
        let correction = |beta: f64| 1.0 - beta.powi(steps.min(i32::MAX as u64) as i32);
        Adam {
            config: self,
            decoupled,
            beta1: self.betas[0] as f32,
            beta2: self.betas[1] as f32,
            step: (learning_rate / correction(self.betas[0])) as f32,
            root: (1.0 / correction(self.betas[1]).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            decay: if decoupled { 0.0 } else { self.weight_decay as f32 },
            shrink: if decoupled { (1.0 - learning_rate * self.weight_decay) as f32 } else { 1.0 },
        }
    }
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adam<'a> {
    config: &'a AdamConfig,
    decoupled: bool,
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

impl Adam<'_> {
    /// `g = ∂L/∂p + decay·p; m ← β₁m + (1-β₁)g; v ← β₂v + (1-β₂)g²; p ← shrink·p - step · m / (√v·root + ε)`.
    #[inline(always)]
    fn apply(&self, p: &mut f32, g: f32, m: &mut f32, v: &mut f32) {
        let g = g + self.decay * *p;
        let first = self.beta1 * *m + (1.0 - self.beta1) * g;
        let first = if first.abs() < TINY { 0.0 } else { first };
        let second = self.beta2 * *v + (1.0 - self.beta2) * g * g;
        *m = first;
        *v = second;
        *p = self.shrink * *p - self.step * first / (second.sqrt() * self.root + self.epsilon);
    }

    /// The numbers of a GPU's kernel.
    pub(super) fn for_kernel(&self) -> AdamStep {
        let Self { beta1, beta2, step, root, epsilon, decay, shrink, .. } = *self;
        AdamStep { beta1, beta2, step, root, epsilon, decay, shrink }
    }

    /// The same update of composed operations.
    pub(super) fn update_device(&self, values: Tensor<1>, gradient: Tensor<1>, slots: &mut [Tensor<1>]) -> Tensor<1> {
        let [first, second] = slots else { return values };
        let g = if self.decay > 0.0 { gradient + values.clone().mul_scalar(self.decay) } else { gradient };
        *first = first.clone().mul_scalar(self.beta1) + g.clone().mul_scalar(1.0 - self.beta1);
        *second = second.clone().mul_scalar(self.beta2) + (g.clone() * g).mul_scalar(1.0 - self.beta2);
        let denominator = second.clone().sqrt().mul_scalar(self.root).add_scalar(self.epsilon);
        values.mul_scalar(self.shrink) - (first.clone() / denominator).mul_scalar(self.step)
    }
}

/// Steps with gradient 0, summed up.
///
/// After k of them `m` is `β₁^k m` and `v` is `β₂^k v`, and `p` went by `Σ_j w_j m / (d_j √v + ε)`, with
/// `w_j = step_j β₁^j · (later shrinking)` and `d_j = root_j β₂^{j/2}`. Around the mean `d` of the `d_j` this is
/// `m / (d√v + ε) · (S₀ + S₂q² - S₃q³)` with `S_n = Σ w_j (d_j/d - 1)^n` and `q = d√v / (d√v + ε)`, to the fourth order of
/// the relative differences.
#[derive(Debug, Clone)]
pub(super) struct Missed {
    first: f32,
    second: f32,
    shrink: f32,
    sums: Sums,
}

#[derive(Debug, Clone)]
enum Sums {
    Series {
        d: f32,
        s0: f32,
        s2: f32,
        s3: f32,
    },
    /// `(w_j, d_j)` one by one, where they differ too much: in the first steps of a run.
    Each(Vec<(f32, f32)>),
}

impl Rule for Adam<'_> {
    type Missed = Missed;

    #[inline(always)]
    fn update(&self, values: &mut [f32], slots: &mut [&mut [f32]], gradient: &[f32]) {
        let [first, second] = slots else { return };
        for (((p, m), v), g) in values.iter_mut().zip(first.iter_mut()).zip(second.iter_mut()).zip(gradient) {
            self.apply(p, *g, m, v);
        }
    }

    fn missed(&self, history: &History, since: u64) -> Option<Missed> {
        let [beta1, beta2] = self.config.betas;
        let (mut first, mut second, mut shrink) = (1.0f64, 1.0f64, 1.0f64);
        let mut terms: Vec<(f64, f64)> = Vec::new();
        let mut steps = 0;
        for (number, rate) in history.after(since) {
            let step = self.config.at(rate, number, self.decoupled);
            steps += 1;
            first *= beta1;
            second *= beta2;
            // Weights shrink first and move then: earlier moves shrink along, which the product at the end makes good.
            shrink *= f64::from(step.shrink);
            if first > FORGOTTEN {
                terms.push((f64::from(step.step) * first / shrink, f64::from(step.root) * second.sqrt()));
            } else if !self.decoupled {
                // Nothing moves any more; the rest is decay of the moments.
                let rest = history.after(since).count() - steps;
                second *= beta2.powi(rest as i32);
                first = 0.0;
                break;
            }
        }
        if steps == 0 {
            return None;
        }
        terms.iter_mut().for_each(|t| t.0 *= shrink);
        let s0: f64 = terms.iter().map(|t| t.0).sum();
        let d = if s0 > 0.0 { terms.iter().map(|t| t.0 * t.1).sum::<f64>() / s0 } else { 1.0 };
        let is_steady = terms.iter().all(|t| (t.1 / d - 1.0).abs() < STEADY);
        let moment = |n: i32| terms.iter().map(|t| t.0 * (t.1 / d - 1.0).powi(n)).sum::<f64>() as f32;
        let sums = match is_steady {
            true => Sums::Series { d: d as f32, s0: s0 as f32, s2: moment(2), s3: moment(3) },
            false => Sums::Each(terms.iter().map(|t| (t.0 as f32, t.1 as f32)).collect()),
        };
        Some(Missed { first: first as f32, second: second as f32, shrink: shrink as f32, sums })
    }

    #[inline(always)]
    fn catch_up(&self, missed: &Missed, values: &mut [f32], slots: &mut [&mut [f32]]) {
        let [first, second] = slots else { return };
        for ((p, m), v) in values.iter_mut().zip(first.iter_mut()).zip(second.iter_mut()) {
            let root = v.sqrt();
            let way = match &missed.sums {
                Sums::Series { d, s0, s2, s3 } => {
                    let inverse = 1.0 / (d * root + self.epsilon);
                    let q = d * root * inverse;
                    inverse * (s0 + q * q * (s2 - q * s3))
                }
                Sums::Each(terms) => terms.iter().map(|(w, d)| w / (d * root + self.epsilon)).sum(),
            };
            *p = missed.shrink * *p - *m * way;
            let first = missed.first * *m;
            *m = if first.abs() < TINY { 0.0 } else { first };
            *v *= missed.second;
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
    fn rows_dense_and_composed_updates_agree() {
        three_ways(OptimizerConfig::Adam(AdamConfig::default()));
        three_ways(OptimizerConfig::Adam(AdamConfig { weight_decay: 0.1, ..AdamConfig::default() }));
        three_ways(OptimizerConfig::AdamW(AdamConfig { weight_decay: 0.1, ..AdamConfig::default() }));
    }

    #[test]
    fn waiting_rows_end_where_dense_updates_lead() {
        for betas in [[0.9, 0.999], [0.95, 0.98], [0.0, 0.9]] {
            let config = AdamConfig { betas, ..AdamConfig::default() };
            rows_wait_as_dense_updates_would(OptimizerConfig::Adam(config.clone()));
            rows_wait_as_dense_updates_would(OptimizerConfig::AdamW(AdamConfig {
                weight_decay: 0.1,
                ..config.clone()
            }));
            rows_wait_as_dense_updates_would(OptimizerConfig::Adam(AdamConfig { weight_decay: 0.01, ..config }));
        }
    }

    #[test]
    fn the_first_step_moves_by_the_learning_rate_against_the_gradient() {
        let (mut values, mut first, mut second) = ([1.0f32, 1.0], [0.0; 2], [0.0; 2]);
        let config = AdamConfig::default();
        config.at(0.01, 1, false).update(&mut values, &mut [&mut first, &mut second], &[0.3, -4.0]);
        assert!((values[0] - 0.99).abs() < 1e-6 && (values[1] - 1.01).abs() < 1e-6, "{values:?}");
    }
}
