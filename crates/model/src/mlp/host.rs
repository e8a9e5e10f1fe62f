//! The MLP on host memory: forward and backward passes without an autodiff graph, in buffers that are used again.
//!
//! The same function as [`Mlp::forward`], which is its reference.

use std::sync::Arc;

use burn::module::{Param, ParamId};
use burn::tensor::Tensor;
use host::{HostView, Matrix, add_product, column_sums};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::norm::HostNorm;
use super::{FEW, Mlp};
use crate::host_model::{ColumnGradient, HostGradient, HostModel};
use crate::layers::rows::{add_row_sum, row_gradient};
use crate::pass::dropout_mask;
use crate::{Features, Model};

/// Buffers of one pass.
#[derive(Debug, Default)]
struct Layer {
    norm: HostNorm,
    /// After bias, norm and activation, `[batch, units]`; of the last layer the logits.
    output: Vec<f32>,
    /// Slopes of the activation, where the outputs do not tell them.
    slopes: Vec<f32>,
    /// The same after dropout; empty without.
    dropped: Vec<f32>,
    /// Factors of dropout; empty without.
    mask: Vec<f32>,
    /// Gradient by what came before the bias.
    delta: Vec<f32>,
}

impl Layer {
    /// What the next layer sees.
    fn seen(&self) -> &[f32] {
        if self.mask.is_empty() { &self.output } else { &self.dropped }
    }
}

/// Some columns of the last layer, side by side.
#[derive(Debug)]
struct SomeLabels {
    columns: Arc<[u32]>,
    /// `[inputs, columns]`.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl SomeLabels {
    fn gather(columns: &Arc<[u32]>, weight: &[f32], bias: &[f32], mut buffer: Vec<f32>) -> Self {
        let (count, width) = (columns.len(), bias.len());
        buffer.resize(weight.len() / width.max(1) * count, 0.0);
        buffer.par_chunks_exact_mut(count).zip(weight.par_chunks_exact(width)).with_min_len(8).for_each(
            |(out, row)| {
                out.iter_mut().zip(columns.iter()).for_each(|(v, c)| *v = row[*c as usize]);
            },
        );
        let bias = columns.iter().map(|c| bias[*c as usize]).collect();
        Self { columns: columns.clone(), weight: buffer, bias }
    }
}

/// The passes of an MLP, with their buffers.
#[derive(Debug)]
pub(crate) struct HostMlp {
    layers: Vec<Layer>,
    batch: usize,
    /// Weights and biases of the labels asked for, where these are not all.
    some: Option<SomeLabels>,
    /// Buffers of gradients that were used up.
    spare: Vec<Vec<f32>>,
}

impl HostMlp {
    /// Of a model with its layers.
    pub(crate) fn new(model: &Mlp) -> Self {
        let layers = (0..=model.layers.len()).map(|_| Layer::default()).collect();
        Self { layers, batch: 0, some: None, spare: Vec::new() }
    }

    fn buffer(&mut self, len: usize) -> Vec<f32> {
        // Not much larger ones: they have a use of their own.
        let at = self.spare.iter().position(|b| b.capacity() >= len && b.capacity() < 2 * len.max(64));
        let mut buffer = at.map(|at| self.spare.swap_remove(at)).unwrap_or_default();
        buffer.resize(len, 0.0);
        buffer
    }
}

/// Weights and bias of a layer.
struct Affine<'a> {
    weight: &'a Param<Tensor<2>>,
    bias: &'a Param<Tensor<1>>,
}

impl Mlp {
    fn affine(&self, i: usize) -> Affine<'_> {
        match i.checked_sub(1) {
            None => Affine { weight: &self.input.weight, bias: &self.input.bias },
            Some(i) => Affine { weight: &self.layers[i].weight, bias: &self.layers[i].bias },
        }
    }
}

impl HostModel for HostMlp {
    fn forward(&mut self, model: &Model, features: &Features, labels: Option<&Arc<[u32]>>, rng: &mut ChaCha8Rng) {
        let Model::Mlp(model) = model else { return };
        self.batch = features.len();
        // A linear model gives all labels, as Mlp::forward does.
        let labels = labels.filter(|_| self.layers.len() > 1);
        let (batch, last) = (self.batch, self.layers.len() - 1);
        for i in 0..=last {
            let Affine { weight, bias } = model.affine(i);
            let weight = weight.val();
            let [inputs, mut units] = weight.dims();
            let (weight, bias) = (HostView::of(&weight), HostView::of(&bias.val()));
            let (mut weight, mut bias) = (weight.as_slice(), bias.as_slice());
            if i == last {
                let memory = self.some.take().map(|s| s.weight).unwrap_or_default();
                self.some = labels.map(|labels| SomeLabels::gather(labels, weight, bias, memory));
            }
            if let Some(some) = self.some.as_ref().filter(|_| i == last) {
                (weight, bias, units) = (&some.weight, &some.bias, some.columns.len());
            }
            let (before, rest) = self.layers.split_at_mut(i);
            let layer = &mut rest[0];
            layer.output.resize(batch * units, 0.0);
            let few = (FEW / units.max(1)).max(1);
            layer.output.par_chunks_exact_mut(units).with_min_len(few).for_each(|row| row.copy_from_slice(bias));
            match (before.last(), features) {
                (Some(previous), _) => {
                    let input = Matrix::new(previous.seen(), batch, inputs);
                    add_product(input, Matrix::new(weight, inputs, units), &mut layer.output, 1.0);
                }
                (None, Features::Sparse(rows)) => add_row_sum(rows, weight, units, &mut layer.output),
                (None, Features::Dense(x)) => {
                    let view = HostView::of(x);
                    let input = Matrix::new(view.as_slice(), batch, inputs);
                    add_product(input, Matrix::new(weight, inputs, units), &mut layer.output, 1.0);
                }
            }
            if i == last {
                break;
            }
            if let Some(norm) = model.norm(i) {
                layer.norm.forward(&norm, &mut layer.output);
            }
            model.settings.activation.apply_on_host(&mut layer.output, &mut layer.slopes);
            layer.mask = dropout_mask(rng, model.settings.dropout, batch * units);
            if !layer.mask.is_empty() {
                layer.dropped.clear();
                layer.dropped.extend(layer.output.iter().zip(&layer.mask).map(|(x, m)| x * m));
            }
        }
    }

    fn logits(&mut self) -> &mut Vec<f32> {
        // There is at least the first layer.
        let last = self.layers.len() - 1;
        &mut self.layers[last].output
    }

    fn embedding(&self) -> Option<(&[f32], usize)> {
        let layer = self.layers.len().checked_sub(2).map(|i| &self.layers[i])?;
        Some((&layer.output, layer.output.len() / self.batch.max(1)))
    }

    fn backward(&mut self, model: &Model, features: &Features) -> Vec<(ParamId, HostGradient)> {
        let Model::Mlp(model) = model else { return Vec::new() };
        let batch = self.batch;
        let mut out = Vec::with_capacity(2 * self.layers.len());
        for i in (0..self.layers.len()).rev() {
            let Affine { weight, bias } = model.affine(i);
            let [inputs, width] = weight.dims();
            let is_last = i + 1 == self.layers.len();
            let some = if is_last { self.some.take() } else { None };
            let units = some.as_ref().map_or(width, |s| s.columns.len());
            let mut of_weight = match (i, features) {
                (0, Features::Sparse(rows)) => self.buffer(rows.indices.len().min(inputs) * units),
                _ => self.buffer(inputs * units),
            };
            let mut of_bias = self.buffer(units);
            let (before, rest) = self.layers.split_at_mut(i);
            let layer = &rest[0];
            let delta = if is_last { &layer.output } else { &layer.delta };
            column_sums(delta, &mut of_bias);
            let gradient_of = |values: Vec<f32>| match &some {
                None => HostGradient::Dense(values),
                Some(some) => HostGradient::Columns(ColumnGradient { columns: some.columns.clone(), values, width }),
            };
            out.push((bias.id, gradient_of(of_bias)));
            let gradient = Matrix::new(delta, batch, units);
            match (before.last_mut(), features) {
                (Some(previous), _) => {
                    add_product(Matrix::new(previous.seen(), batch, inputs).t(), gradient, &mut of_weight, 0.0);
                    let view = HostView::of(&weight.val());
                    let weights = some.as_ref().map_or(view.as_slice(), |s| &s.weight);
                    previous.delta.resize(batch * inputs, 0.0);
                    let weights = Matrix::new(weights, inputs, units);
                    add_product(gradient, weights.t(), &mut previous.delta, 0.0);
                    previous.delta.iter_mut().zip(&previous.mask).for_each(|(d, m)| *d *= m);
                    let activation = model.settings.activation;
                    activation.back_on_host(&mut previous.delta, &previous.output, &previous.slopes);
                    if let Some(norm) = model.norm(i - 1) {
                        out.extend(previous.norm.backward(&norm, &mut previous.delta));
                    }
                    out.push((weight.id, gradient_of(of_weight)));
                }
                (None, Features::Sparse(rows)) => {
                    out.push((weight.id, HostGradient::Rows(row_gradient(rows, delta, units, of_weight))));
                }
                (None, Features::Dense(x)) => {
                    let view = HostView::of(x);
                    let input = Matrix::new(view.as_slice(), batch, inputs);
                    add_product(input.t(), gradient, &mut of_weight, 0.0);
                    out.push((weight.id, HostGradient::Dense(of_weight)));
                }
            }
            if is_last {
                self.some = some;
            }
        }
        out
    }

    fn recycle(&mut self, buffer: Vec<f32>) {
        // Two sets of gradients at most are under way.
        if self.spare.len() < 4 * self.layers.len() {
            self.spare.push(buffer);
        }
    }
}
