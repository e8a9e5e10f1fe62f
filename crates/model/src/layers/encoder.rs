//! Hidden layers: affine, (leaky) relu, dropout.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use rand_chacha::ChaCha8Rng;

use super::{InputLayer, Linear, he_bound, uniform_within};
use crate::precision::product;
use crate::{Features, Pass};

/// (Leaky) relu: `max(x, slope x)`.
pub(crate) fn relu(x: Tensor<2>, slope: f64) -> Tensor<2> {
    if slope == 0.0 { activation::relu(x) } else { activation::leaky_relu(x, slope) }
}

/// Hidden layers one after the other.
#[derive(Module, Debug)]
pub struct Stack {
    layers: Vec<Linear>,
    #[module(skip)]
    slope: f64,
    #[module(skip)]
    dropout: f64,
}

impl Stack {
    /// From `widths[0]` inputs through layers of the other widths.
    pub fn new(widths: &[usize], slope: f64, dropout: f64, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let layers = widths.windows(2).map(|w| Linear::before_relu(w[0], w[1], slope, rng, device)).collect();
        Self { layers, slope, dropout }
    }

    /// `[batch, inputs]` → `[batch, units of the last layer]`.
    pub fn forward(&self, mut x: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        for layer in &self.layers {
            x = self.activate(layer.forward(x), pass);
        }
        x
    }

    /// What follows an affine layer.
    fn activate(&self, x: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        pass.dropout(relu(x, self.slope), self.dropout)
    }
}

/// Hidden layers over features.
#[derive(Module, Debug)]
pub struct FeatureEncoder {
    input: InputLayer,
    rest: Stack,
}

impl FeatureEncoder {
    /// From features through layers of these widths, at least one.
    pub fn new(
        features: usize,
        widths: &[usize],
        slope: f64,
        dropout: f64,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let input = InputLayer::before_relu([features, widths[0]], features, slope, rng, device);
        Self { input, rest: Stack::new(widths, slope, dropout, rng, device) }
    }

    /// Features of `[batch, features]` → `[batch, units of the last layer]`.
    pub fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        let first = self.input.forward(features, pass);
        let first = self.rest.activate(first, pass);
        self.rest.forward(first, pass)
    }
}

/// An affine layer over features and something else side by side, `[x; z] W + b`, where x may be sparse.
#[derive(Module, Debug)]
pub struct JointLayer {
    /// Of the features, with the bias.
    pub features: InputLayer,
    /// Of the others, `[others, outputs]`.
    pub others: Param<Tensor<2>>,
}

impl JointLayer {
    /// A layer before relu.
    pub fn before_relu([features, others]: [usize; 2], outputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let inputs = features + others;
        Self {
            features: InputLayer::before_relu([features, outputs], inputs, 0.0, rng, device),
            others: uniform_within(he_bound(inputs, 0.0), [others, outputs], rng, device),
        }
    }

    /// The part of the features, `[batch, outputs]`, with the bias.
    pub fn of_features(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        self.features.forward(features, pass)
    }

    /// The part of the others, `[batch, outputs]`.
    pub fn of_others(&self, others: Tensor<2>) -> Tensor<2> {
        product(others, self.others.val())
    }

    /// Both together.
    pub fn forward(&self, features: &Features, others: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        self.of_features(features, pass) + self.of_others(others)
    }
}
