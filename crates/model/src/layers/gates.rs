//! Binary concrete gates: random switches that gradients pass through.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::sigmoid};
use rand_chacha::ChaCha8Rng;

use super::{Linear, constant, uniform_between};
use crate::Pass;

/// A gate of every dimension for every label, open with a learnt probability.
///
/// Logits `[labels, dimensions]`, uniform in (-10, 10) at the start, pass a linear layer with bias 2; a sample is
/// `σ((logit + ln u - ln(1 - u)) / τ)` for u even in (0, 1), rounded to 0 or 1 in the values and not in the gradients.
/// Source: Maddison et al., ICLR 2017; Hang and Zhang, ICML 2022, §3.2.
#[derive(Module, Debug)]
pub struct ConcreteGates {
    /// `[labels, dimensions]`.
    pub logits: Param<Tensor<2>>,
    /// From logits to logits.
    pub scale: Linear,
    #[module(skip)]
    temperature: f64,
}

impl ConcreteGates {
    /// Gates of `labels` × `dimensions`.
    pub fn new(labels: usize, dimensions: usize, temperature: f64, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let logits = uniform_between(-10.0, 10.0, [labels, dimensions], rng, device);
        let mut scale = Linear::new(dimensions, dimensions, rng, device);
        scale.bias = constant(2.0, [dimensions], device);
        Self { logits, scale, temperature }
    }

    /// Samples, `[labels, dimensions]` of 0 and 1.
    pub fn sample(&self, pass: &mut Pass) -> Tensor<2> {
        let logits = self.scale.forward(self.logits.val());
        let u: Tensor<2> = pass.even(logits.dims(), &logits.device());
        let noise = u.clone().log() - u.neg().add_scalar(1.0).log();
        straight_through(sigmoid((logits + noise).div_scalar(self.temperature)))
    }
}

/// 1 above one half, else 0; gradients pass as if nothing had been rounded.
fn straight_through(soft: Tensor<2>) -> Tensor<2> {
    let values = host::plain(soft.clone());
    let hard = values.clone().greater_elem(0.5).float();
    soft + (hard - values)
}
