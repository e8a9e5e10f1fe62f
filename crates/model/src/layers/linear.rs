//! The affine layer.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use super::{he_bound, small_bias, uniform, uniform_within};
use crate::precision::product;
use host::integers;

/// `x W + b`, weights and biases uniform in ±1/√inputs at the start.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// A layer with fresh weights.
    pub fn new(inputs: usize, outputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let weight = uniform([inputs, outputs], inputs, rng, device);
        Self { weight, bias: uniform([outputs], inputs, rng, device) }
    }

    /// A layer before (leaky) relu with this slope below 0: weights uniform in ±√(6 / ((1 + slope²) inputs)), biases in
    /// [0, 0.1). Source: He et al., ICCV 2015.
    pub fn before_relu(inputs: usize, outputs: usize, slope: f64, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let weight = uniform_within(he_bound(inputs, slope), [inputs, outputs], rng, device);
        Self { weight, bias: small_bias(outputs, rng, device) }
    }

    /// `[batch, inputs]` → `[batch, outputs]`.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        // In shape before the product: on GPUs the sum, and an activation after it, are then parts of the product's
        // kernel.
        let bias = self.bias.val().unsqueeze();
        product(input, self.weight.val()) + bias
    }

    /// Some of the outputs: `[batch, inputs]` → `[batch, columns.len()]`.
    pub fn forward_some(&self, input: Tensor<2>, columns: &[u32]) -> Tensor<2> {
        let indices = integers(columns, &input.device());
        let weight = self.weight.val().select(1, indices.clone());
        let bias = self.bias.val().select(0, indices).unsqueeze();
        product(input, weight) + bias
    }
}
