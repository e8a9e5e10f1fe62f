//! Distribution-balanced loss: weights that undo the co-occurrence of labels, and a margin for rare labels' negatives.

use burn::tensor::{Device, Tensor, activation::log_sigmoid, activation::sigmoid};
use serde::{Deserialize, Serialize};

use host::simd::{self, LANES};
use kernels::loss::{LabelForm, RowForm};

use crate::fused::{ANY, Fused, Row, RowLoss, focused, set_aside};
use crate::logits::towards_truth;
use crate::{Loss, LossError, LossForm, LossValues, TrainingCounts};

/// Settings of [`DistributionBalanced`]; the names of α, β, μ, λ and κ are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistributionBalancedConfig {
    /// α: the smallest weight, at least 0.
    pub alpha: f64,
    /// β: steepness of the smoothing, above 0.
    pub beta: f64,
    /// μ: its centre.
    pub mu: f64,
    /// λ: how steeply negatives count, above 0.
    pub lambda: f64,
    /// κ: size of the class-specific bias, at least 0.
    pub kappa: f64,
    /// γ of the focal factor; 0: none.
    pub gamma: f64,
}

impl Default for DistributionBalancedConfig {
    fn default() -> Self {
        Self { alpha: 0.1, beta: 10.0, mu: 0.2, lambda: 2.0, kappa: 0.05, gamma: 0.0 }
    }
}

impl DistributionBalancedConfig {
    /// Makes the loss. A label never seen counts as seen once.
    ///
    /// # Errors
    /// For settings out of range.
    pub fn init(&self, counts: &TrainingCounts, device: &Device) -> Result<DistributionBalanced, LossError> {
        LossError::at_least_0("alpha", self.alpha)?;
        LossError::above_0("beta", self.beta)?;
        LossError::above_0("lambda", self.lambda)?;
        LossError::at_least_0("kappa", self.kappa)?;
        LossError::at_least_0("gamma", self.gamma)?;
        if !self.mu.is_finite() {
            return Err(LossError::range("mu", self.mu, "a finite number"));
        }
        let total = counts.instances as f64;
        let inverse: Vec<f32> = counts.labels.iter().map(|&n| 1.0 / n.max(1) as f32).collect();
        // A label of every instance has no finite bias: half an instance without it keeps it finite.
        let bias = |&n: &usize| {
            let n = (n.max(1) as f64).min(total - 0.5).max(0.5);
            (self.kappa * (total / n - 1.0).ln()) as f32
        };
        let bias: Vec<f32> = counts.labels.iter().map(bias).collect();
        let row = |v: &[f32]| Tensor::<1>::from_floats(v, device).unsqueeze();
        let (inverse_row, bias_row) = (row(&inverse), row(&bias));
        Ok(DistributionBalanced {
            config: self.clone(),
            inverse: inverse_row,
            bias: bias_row,
            numbers: [inverse, bias],
        })
    }
}

/// `r̂_il [y log(1 + e^{-(z-ν_l)}) + (1-y)/λ · log(1 + e^{λ(z-ν_l)})]`.
///
/// `r_il = (1/n_l) / Σ_{j∈Y_i} (1/n_j)`, `r̂ = α + σ(β (r - μ))`, `ν_l = κ log(N/n_l - 1)`. In a negative instance r has
/// no finite value and r̂ takes its limit, α + 1. With γ > 0 each term is focused by `(1-p_t)^γ` of its own logit.
///
/// Source: Wu et al. 2020, arXiv 2007.09654, eq. 3–8.
#[derive(Debug, Clone)]
pub struct DistributionBalanced {
    config: DistributionBalancedConfig,
    /// `1/n_l`, `[1, labels]`.
    inverse: Tensor<2>,
    /// `ν_l`, `[1, labels]`.
    bias: Tensor<2>,
    /// Both on the host.
    numbers: [Vec<f32>; 2],
}

impl DistributionBalanced {
    /// `r̂`, `[batch, labels]`.
    fn weights(&self, targets: &Tensor<2>) -> Tensor<2> {
        let c = &self.config;
        let repeats = (targets.clone() * self.inverse.clone()).sum_dim(1);
        // Without labels the sum is 0 and the ratio huge: its smoothed value is the limit.
        let ratio = self.inverse.clone() / repeats.clamp_min(1e-20);
        sigmoid(ratio.clamp_max(1e6).sub_scalar(c.mu).mul_scalar(c.beta)).add_scalar(c.alpha)
    }
}

impl Loss for DistributionBalanced {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let c = &self.config;
        // 1 for positives, λ for negatives: scales the logit and divides the loss.
        let steepness = targets.clone().mul_scalar(1.0 - c.lambda).add_scalar(c.lambda);
        let shifted = (logits - self.bias.clone()) * steepness.clone();
        let u = towards_truth(shifted, targets.clone());
        let values = log_sigmoid(u.clone()).neg();
        let values = if c.gamma == 0.0 { values } else { values * log_sigmoid(u.neg()).mul_scalar(c.gamma).exp() };
        LossValues::of_labels(values * (self.weights(&targets) / steepness))
    }

    fn fused(&self) -> Option<Fused<'_>> {
        Some(Fused::Rows(self))
    }

    fn form(&self, _labels: usize) -> Option<LossForm> {
        let (c, [inverse, bias]) = (&self.config, &self.numbers);
        Some(LossForm::Rows(RowForm::of_labels(LabelForm::Balanced {
            smoothing: [c.alpha as f32, c.beta as f32, c.mu as f32],
            lambda: c.lambda as f32,
            gamma: c.gamma as f32,
            inverse: inverse.clone(),
            bias: bias.clone(),
        })))
    }
}

impl DistributionBalanced {
    /// The kernel for γ = G, or any.
    fn kernel<const G: u8>(&self, row: Row) -> f32 {
        let Row { values, present, scale, .. } = row;
        let c = &self.config;
        let (alpha, beta, mu) = (c.alpha as f32, c.beta as f32, c.mu as f32);
        let (lambda, gamma) = (c.lambda as f32, c.gamma as f32);
        let [inverse, bias] = &self.numbers;
        let repeats: f32 = present.iter().map(|&l| inverse[l as usize]).sum();
        let weigh = Weigh { repeats: repeats.max(1e-20), alpha, beta, mu };
        let kept = set_aside(values, present);
        let sums = simd::vectorised(
            #[inline(always)]
            || {
                let mut sums = [0.0; LANES];
                simd::each_with_two(
                    values,
                    inverse,
                    bias,
                    #[inline(always)]
                    |v, i, b, lane| {
                        let (value, slope) = focused::<G>(lambda * (*v - b), gamma);
                        let weight = weigh.label(i);
                        sums[lane] += value * weight / lambda;
                        *v = slope * weight * scale;
                    },
                );
                sums
            },
        );
        let mut sum = simd::sum_lanes(&sums);
        for (&l, z) in present.iter().zip(kept) {
            let l = l as usize;
            let (value, slope) = focused::<G>(bias[l] - z, gamma);
            let weight = weigh.label(inverse[l]);
            sum += value * weight;
            values[l] = -slope * weight * scale;
        }
        sum
    }
}

/// `r̂` of one instance.
struct Weigh {
    repeats: f32,
    alpha: f32,
    beta: f32,
    mu: f32,
}

impl Weigh {
    /// Of the label with this `1/n_l`.
    #[inline(always)]
    fn label(&self, inverse: f32) -> f32 {
        self.alpha + simd::softplus_and_sigmoid(((inverse / self.repeats).min(1e6) - self.mu) * self.beta).1
    }
}

impl RowLoss for DistributionBalanced {
    fn parts(&self) -> &'static [&'static str] {
        &["labels"]
    }

    fn row(&self, row: Row, parts: &mut [f32]) {
        parts[0] = if self.config.gamma == 0.0 { self.kernel::<0>(row) } else { self.kernel::<ANY>(row) };
    }
}
