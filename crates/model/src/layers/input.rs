//! The first layer: affine, on dense features or on compressed rows.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use super::{he_bound, rows, small_bias, uniform, uniform_within};
use crate::precision::product;
use crate::{Features, Pass, RowBatch, RowTap};
use host::{HostView, is_host, plain};

/// `x W + b`, where `x` may be sparse.
///
/// Compressed rows become a weighted sum of weight rows outside the autodiff graph, on slices or by a GPU's kernel; the
/// sum enters the graph as a leaf, and the pass's tape tells the optimizer how to turn its gradient into one of the
/// touched rows. The reference: copies of the touched rows are the leaf, and the same sum is composed of tensor
/// operations.
#[derive(Module, Debug)]
pub struct InputLayer {
    /// `[features, outputs]`.
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub bias: Param<Tensor<1>>,
}

impl InputLayer {
    /// A layer with fresh weights, uniform in ±1/√features.
    pub fn new(features: usize, outputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let weight = uniform([features, outputs], features, rng, device);
        Self { weight, bias: uniform([outputs], features, rng, device) }
    }

    /// A layer before (leaky) relu, as [`super::Linear::before_relu`]. `inputs`: all that the units see, where that is
    /// more than the features.
    pub fn before_relu(
        [features, outputs]: [usize; 2],
        inputs: usize,
        slope: f64,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let weight = uniform_within(he_bound(inputs, slope), [features, outputs], rng, device);
        Self { weight, bias: small_bias(outputs, rng, device) }
    }

    /// `[batch, features]` → `[batch, outputs]`.
    pub fn forward(&self, features: &Features, pass: &mut Pass) -> Tensor<2> {
        // In shape before the product: on GPUs the sum is then a part of the product's kernel.
        let bias = self.bias.val().unsqueeze();
        let product = match features {
            Features::Dense(x) => product(x.clone(), self.weight.val()),
            Features::Sparse(batch) => self.forward_rows(batch, pass),
        };
        product + bias
    }

    fn forward_rows(&self, batch: &Arc<RowBatch>, pass: &mut Pass) -> Tensor<2> {
        let weight = self.weight.val();
        let device = weight.device();
        if !is_host(&device) && !pass.fused {
            if !pass.is_training() {
                return rows::row_sum_composed(batch, weight);
            }
            let (touched, local) = batch.among_touched();
            let copies = rows::selected(plain(weight), &touched).require_grad();
            let sum = rows::row_sum_composed(&local, copies.clone());
            pass.tape.push(RowTap::Selected { parameter: self.weight.id, rows: touched, copies });
            return sum;
        }
        let sum = match is_host(&device) {
            true => {
                let width = weight.dims()[1];
                let sum = rows::row_sum(batch, HostView::of(&weight).as_slice(), width);
                Tensor::from_data(TensorData::new(sum, [batch.len(), width]), &device.without_autodiff())
            }
            false => rows::row_sum_on_device(batch, plain(weight)),
        };
        if !pass.is_training() {
            return sum;
        }
        let output = Tensor::from_inner(sum).require_grad();
        pass.tape.push(RowTap::Sum { parameter: self.weight.id, rows: batch.clone(), output: output.clone() });
        output
    }
}
