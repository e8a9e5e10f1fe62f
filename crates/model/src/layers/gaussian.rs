//! Normal distributions with a mean and a variance for each dimension.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use super::Linear;
use crate::Pass;

/// Keeps a division by a variance finite.
const EPSILON: f64 = 1e-6;

/// From a hidden layer to the mean and the log variance of a normal distribution.
#[derive(Module, Debug)]
pub struct Gaussian {
    mean: Linear,
    log_variance: Linear,
}

/// A normal distribution of each instance, `[batch, dimensions]`.
#[derive(Debug, Clone)]
pub struct Normal {
    /// Its mean.
    pub mean: Tensor<2>,
    /// The logarithm of its variance.
    pub log_variance: Tensor<2>,
}

impl Gaussian {
    /// From `inputs` units to `dimensions`.
    pub fn new(inputs: usize, dimensions: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let mut layer = || Linear::new(inputs, dimensions, rng, device);
        Self { mean: layer(), log_variance: layer() }
    }

    /// The distribution of each row of `[batch, inputs]`.
    pub fn forward(&self, hidden: Tensor<2>) -> Normal {
        Normal { mean: self.mean.forward(hidden.clone()), log_variance: self.log_variance.forward(hidden) }
    }

    /// Its mean alone.
    pub fn mean(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.mean.forward(hidden)
    }
}

impl Normal {
    /// Standard deviation, `[batch, dimensions]`.
    pub fn deviation(&self) -> Tensor<2> {
        self.log_variance.clone().mul_scalar(0.5).exp()
    }

    /// A sample that gradients pass through, `μ + σ ε`.
    pub fn sample(&self, noise: Tensor<2>) -> Tensor<2> {
        self.mean.clone() + self.deviation() * noise
    }

    /// A fresh sample.
    pub fn draw(&self, pass: &mut Pass) -> Tensor<2> {
        let noise = pass.normal(self.mean.dims(), &self.mean.device());
        self.sample(noise)
    }
}

/// Kullback-Leibler divergence of each instance, `KL(q ‖ p) = ½ Σ_d (log σ_p² - log σ_q² - 1 + σ_q²/σ_p² + (μ_q - μ_p)²/σ_p²)`.
///
/// Shapes: `[batch, dimensions]` → `[batch]`.
pub fn divergence(q: &Normal, p: &Normal) -> Tensor<1> {
    let logs = p.log_variance.clone() - q.log_variance.clone();
    let shift = q.mean.clone() - p.mean.clone();
    let distance = shift.clone() * shift / p.log_variance.clone().exp().add_scalar(EPSILON);
    let terms = logs.clone() + logs.neg().exp() + distance;
    terms.sub_scalar(1.0).sum_dim(1).squeeze_dim::<1>(1).mul_scalar(0.5)
}
