//! Densities of labels: a normal distribution seen through flows that depend on the label.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::activation::{elu, log_sigmoid, log_softmax, relu, sigmoid};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use super::{Linear, constant, fixed, uniform, uniform_within};

/// Keeps the flow's output inside (0, 1) before its logit is taken.
const EPSILON: f64 = 1e-6;
/// Bound of weights that begin as good as 0.
const NEAR_ZERO: f32 = 1e-3;

/// What [`log_density`] takes of one [`ConditionalFlow`], in this order.
const HIDDEN: usize = 0;
const OF_LABELS: usize = 1;
const SECOND: usize = 2;
const SECOND_BIAS: usize = 3;
const SIGMOIDS: usize = 4;
const SIGMOIDS_BIAS: usize = 5;
const SCALE: usize = 6;
const SHIFT: usize = 7;
/// How many these are.
pub const INPUTS: usize = 8;

/// An affine map of a one-hot label, with a hidden layer and a residual path: `relu(W1[l] + b1) W2 + b2 + W3[l] + b3`.
#[derive(Module, Debug)]
struct OfLabel {
    first: Linear,
    second: Linear,
    residual: Linear,
}

impl OfLabel {
    /// Gives as good as `value` at the start.
    fn new(labels: usize, width: usize, value: f32, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let mut flat = |inputs: usize| Linear {
            weight: uniform_within(NEAR_ZERO, [inputs, width], rng, device),
            bias: constant(value / 2.0, [width], device),
        };
        let (second, residual) = (flat(width), flat(labels));
        Self { first: Linear::new(labels, width, rng, device), second, residual }
    }

    /// Of every label, `[labels, width]`.
    fn forward(&self) -> Tensor<2> {
        let all = |layer: &Linear| layer.weight.val() + layer.bias.val().unsqueeze();
        self.second.forward(relu(all(&self.first))) + all(&self.residual)
    }
}

/// A density of `[batch, dimensions]` for each label: a conditional neural autoregressive flow, then a conditional
/// affine one, onto a standard normal distribution.
///
/// The autoregressive flow maps dimension d by a monotonic `logit(Σ_k w_k σ(a_k x_d + b_k))` whose a, b, w come from
/// the dimensions before d and the label; the affine flow scales and shifts by the label alone.
/// Source: Huang et al., ICML 2018 (deep sigmoidal flow); Hang, Zhang et al. 2022 (PACA).
#[derive(Module, Debug)]
pub struct ConditionalFlow {
    first: Linear,
    /// `[dimensions, units]` of 0 and 1: a unit sees the dimensions up to its degree.
    first_mask: Param<Tensor<2>>,
    /// `[labels, units]`.
    of_labels: Param<Tensor<2>>,
    second: Linear,
    /// `[units, channels · dimensions]` of 0 and 1: a dimension sees the units of lower degrees.
    second_mask: Param<Tensor<2>>,
    sigmoids: Linear,
    scale: OfLabel,
    shift: OfLabel,
}

impl ConditionalFlow {
    /// Over `dimensions`, with `units` in the hidden layer and a mixture of `sigmoids`.
    pub fn new(
        labels: usize,
        dimensions: usize,
        units: usize,
        sigmoids: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        // As many numbers a dimension as the hidden layer can tell apart.
        let channels = 3 * (units / dimensions.max(1)).max(1);
        let degree = |u: usize| u % dimensions.saturating_sub(1).max(1) + 1;
        let mut first_mask = vec![0.0; dimensions * units];
        let mut second_mask = vec![0.0; units * channels * dimensions];
        for u in 0..units {
            (0..dimensions).filter(|d| *d < degree(u)).for_each(|d| first_mask[d * units + u] = 1.0);
            for d in (0..dimensions).filter(|d| degree(u) <= *d) {
                (0..channels).for_each(|c| second_mask[(u * channels + c) * dimensions + d] = 1.0);
            }
        }
        Self {
            first: Linear::new(dimensions, units, rng, device),
            first_mask: fixed(first_mask, [dimensions, units], device),
            of_labels: uniform([labels, units], labels, rng, device),
            second: Linear::new(units, channels * dimensions, rng, device),
            second_mask: fixed(second_mask, [units, channels * dimensions], device),
            sigmoids: Linear::new(channels, 3 * sigmoids, rng, device),
            // softplus of it is 1.
            scale: OfLabel::new(labels, dimensions, (1f32.exp() - 1.0).ln(), rng, device),
            shift: OfLabel::new(labels, dimensions, 0.0, rng, device),
        }
    }

    /// What [`log_density`] takes for instances `x` `[batch, dimensions]`: all that does not depend on both an instance
    /// and a label.
    pub fn inputs(&self, x: Tensor<2>) -> Vec<Tensor<2>> {
        let bias = self.first.bias.val().unsqueeze();
        let hidden = x.matmul(self.first.weight.val() * self.first_mask.val()) + bias;
        vec![
            hidden,
            self.of_labels.val(),
            self.second.weight.val() * self.second_mask.val(),
            self.second.bias.val().unsqueeze(),
            self.sigmoids.weight.val(),
            self.sigmoids.bias.val().unsqueeze(),
            softplus(self.scale.forward()),
            self.shift.forward(),
        ]
    }

    /// Numbers that a label takes for each instance, about.
    pub fn cost(&self) -> usize {
        let dimensions = self.first.weight.dims()[0];
        let [channels, parameters] = self.sigmoids.weight.dims();
        dimensions * (4 * channels + 6 * parameters)
    }
}

fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    log_sigmoid(x.neg()).neg()
}

/// `ln Σ e^t` over the last of two dimensions, `[rows, 1]`.
fn log_sum_exp(t: Tensor<2>) -> Tensor<2> {
    let largest = t.clone().max_dim(1).detach();
    (t - largest.clone()).exp().sum_dim(1).log() + largest
}

/// Log density of every instance for some labels, `[batch, labels]`.
///
/// Shapes: `x` `[batch, dimensions]`, `inputs` as [`ConditionalFlow::inputs`] gives them.
pub fn log_density(x: &Tensor<2>, inputs: &[Tensor<2>], labels: Range<usize>) -> Tensor<2> {
    let ([batch, dimensions], count) = (x.dims(), labels.len());
    let rows_of = |i: usize| inputs[i].clone().slice([labels.clone(), 0..inputs[i].dims()[1]]).unsqueeze_dim::<3>(1);
    let units = inputs[HIDDEN].dims()[1];
    let [channels, parameters] = inputs[SIGMOIDS].dims();
    let k = parameters / 3;
    let hidden = inputs[HIDDEN].clone().unsqueeze_dim::<3>(0) + rows_of(OF_LABELS);
    let hidden = elu(hidden.reshape([count * batch, units]), 1.0);
    let out = hidden.matmul(inputs[SECOND].clone()) + inputs[SECOND_BIAS].clone();
    let out = out.reshape([count * batch, channels, dimensions]).swap_dims(1, 2);
    let rows = count * batch * dimensions;
    let out = out.reshape([rows, channels]).matmul(inputs[SIGMOIDS].clone()) + inputs[SIGMOIDS_BIAS].clone();
    let part = |i: usize| out.clone().slice([0..rows, i * k..(i + 1) * k]);
    let (a, b, w) = (softplus(part(0)), part(1), part(2));
    let apart = |t: Tensor<2>| t.reshape([count, batch * dimensions, k]);
    let inner = apart(a.clone()) * x.clone().reshape([1, batch * dimensions, 1]) + apart(b);
    let inner = inner.reshape([rows, k]);
    let w = log_softmax(w, 1);
    let mixed = (w.clone().exp() * sigmoid(inner.clone())).sum_dim(1);
    let mixed = mixed.mul_scalar(1.0 - EPSILON).add_scalar(EPSILON / 2.0);
    let (log, log_rest) = (mixed.clone().log(), mixed.neg().add_scalar(1.0).log());
    let slopes = w + log_sigmoid(inner.clone()) + log_sigmoid(inner.neg()) + a.clamp_min(1e-30).log();
    let slope = log_sum_exp(slopes).add_scalar((1.0 - EPSILON).ln()) - log.clone() - log_rest.clone();
    let cells = [count, batch, dimensions];
    let z = (log - log_rest).reshape(cells) * rows_of(SCALE) + rows_of(SHIFT);
    let normal = (z.clone() * z).add_scalar((2.0 * std::f64::consts::PI).ln()).mul_scalar(-0.5);
    let density = normal + slope.reshape(cells) + rows_of(SCALE).clamp_min(1e-30).log();
    density.sum_dim(2).reshape([count, batch]).transpose()
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_density_of_one_dimension_integrates_to_one() {
        let device = Device::flex();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let flow = ConditionalFlow::new(2, 1, 16, 4, &mut rng, &device);
        let steps = 40_000;
        let grid: Vec<f32> = (0..steps).map(|i| (i as f32 + 0.5) / steps as f32 * 80.0 - 40.0).collect();
        let x = Tensor::<2>::from_data(TensorData::new(grid, [steps, 1]), &device);
        let found = log_density(&x, &flow.inputs(x.clone()), 0..2).exp().mean_dim(0).mul_scalar(80.0);
        for integral in found.into_data().try_into_vec::<f32>().unwrap() {
            assert!((integral - 1.0).abs() < 0.01, "{integral}");
        }
    }

    #[test]
    fn a_dimension_is_moved_by_those_before_it_alone() {
        // The log density's gradient by the flow's own parameters would not show it: moving the last dimension changes
        // what only the last dimension's term sees, so the terms of a chain of conditionals add up.
        let device = Device::flex();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let flow = ConditionalFlow::new(1, 3, 9, 4, &mut rng, &device);
        let weights = flow.second.weight.val() * flow.second_mask.val();
        let reach = (flow.first.weight.val() * flow.first_mask.val()).abs().matmul(weights.abs());
        let reach: Vec<f32> = reach.into_data().try_into_vec().unwrap();
        let columns = reach.len() / 3;
        for from in 0..3 {
            for column in 0..columns {
                let to = column % 3;
                assert_eq!(reach[from * columns + column] > 0.0, from < to, "from {from} to {to}");
            }
        }
    }
}
