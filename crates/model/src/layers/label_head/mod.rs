//! A view of the instance for each label, and a linear classifier for each label on top of it.
//!
//! The numbers between are `[batch, labels, units]`. On CPU backends they are made and used up a few labels at a time,
//! by fused passes (`host`); elsewhere by tensor operations, which are the reference: at once where that fits the
//! pass's room, else piece by piece.

mod host;

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use rand_chacha::ChaCha8Rng;

use super::encoder::relu;
use super::{Linear, uniform, uniform_within};
use crate::Pass;
use crate::cut::over_labels;
use crate::pass::RowDropout;
use crate::precision::product_in;
use ::host::integers;

/// Logits of labels that each see an instance their own way.
///
/// `h_l = drop(relu(s + (v ⊙ c_l) W))`, a second layer over it where there is one, and `z_l = h_l · w_l + b_l`: `v` is
/// the instance, `c_l` what label l sees of it, `s` what all labels see.
#[derive(Module, Debug)]
pub struct LabelHead {
    /// W, `[inputs, units]`.
    pub weight: Param<Tensor<2>>,
    /// The second hidden layer.
    pub second: Option<Linear>,
    /// w of each label, `[labels, units of the last hidden layer]`.
    pub classifier: Param<Tensor<2>>,
    /// b, `[labels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    shape: Shape,
}

/// What is not learnt.
#[derive(Debug, Clone, Copy)]
struct Shape {
    slope: f64,
    dropout: f64,
}

/// What a batch shows to the labels.
#[derive(Debug, Clone)]
pub struct LabelView {
    /// s, `[batch, units]`.
    pub shared: Tensor<2>,
    /// v, `[batch, inputs]`.
    pub seen: Tensor<2>,
    /// c, `[labels, inputs]`.
    pub codes: Tensor<2>,
}

/// Which of the inputs of the head stands where.
const SHARED: usize = 0;
const SEEN: usize = 1;
const CODES: usize = 2;
const WEIGHT: usize = 3;
const CLASSIFIER: usize = 4;
const BIAS: usize = 5;
const SECOND: usize = 6;
const SECOND_BIAS: usize = 7;

impl LabelHead {
    /// A head with fresh weights: `widths` are those of `v`, of the hidden layer, and of the second one if there is one.
    /// `inputs`: all that the hidden layer sees, where that is more than `v`.
    pub fn new(
        widths: &[usize],
        inputs: usize,
        labels: usize,
        slope: f64,
        dropout: f64,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let weight = uniform_within(super::he_bound(inputs, slope), [widths[0], widths[1]], rng, device);
        let second = widths.get(2).map(|w| Linear::before_relu(widths[1], *w, slope, rng, device));
        let last = widths[widths.len() - 1];
        Self {
            weight,
            second,
            classifier: uniform([labels, last], last, rng, device),
            bias: uniform([labels], last, rng, device),
            shape: Shape { slope, dropout },
        }
    }

    /// Number of labels.
    pub fn labels(&self) -> usize {
        self.bias.dims()[0]
    }

    /// Logits `[batch, labels]`, of the labels that the pass asks for.
    pub fn forward(&self, view: LabelView, pass: &mut Pass) -> Tensor<2> {
        let (mut classifier, mut bias): (_, Tensor<2>) = (self.classifier.val(), self.bias.val().unsqueeze());
        let LabelView { shared, seen, mut codes } = view;
        if let Some(labels) = &pass.labels {
            let indices = integers(labels, &codes.device());
            codes = codes.select(0, indices.clone());
            classifier = classifier.select(0, indices.clone());
            bias = bias.select(1, indices);
        }
        let device = seen.device();
        let ([batch, width], [labels, last]) = (seen.dims(), classifier.dims());
        let units = self.weight.dims()[1];
        // Narrow matrices widen on the way in: what comes back are the same numbers, and gradients of one type.
        let products: FloatDType = self.weight.val().dtype().into();
        let mut inputs = vec![shared, seen, codes, self.weight.val().cast(FloatDType::F32), classifier, bias];
        if let Some(second) = &self.second {
            inputs.extend([second.weight.val().cast(FloatDType::F32), second.bias.val().unsqueeze()]);
        }
        let settings = Settings { shape: self.shape, products, dropout: pass.row_dropout(self.shape.dropout) };
        if pass.fused && products == FloatDType::F32 && ::host::is_host(&device) {
            return host::forward(inputs, settings, pass);
        }
        // Values and gradients of what enters and leaves every operation.
        let of_label =
            batch * (4 * width + 6 * units + if self.second.is_some() { 6 * last } else { 0 }) * size_of::<f32>();
        over_labels(inputs, labels, of_label, pass, move |inputs, labels| compose(inputs, labels, &settings))
    }

    /// Logits `[batch, labels]` where every label sees the same: `v` is 0.
    pub fn forward_alike(&self, shared: Tensor<2>) -> Tensor<2> {
        let mut hidden = relu(shared, self.shape.slope);
        if let Some(second) = &self.second {
            hidden = relu(second.forward(hidden), self.shape.slope);
        }
        let bias = self.bias.val().unsqueeze();
        hidden.matmul(self.classifier.val().transpose()) + bias
    }
}

/// What a pass needs beside its inputs.
#[derive(Debug, Clone)]
struct Settings {
    shape: Shape,
    /// What matrices are multiplied in.
    products: FloatDType,
    dropout: Option<RowDropout>,
}

/// The logits of some labels by tensor operations, `[batch, labels]`.
fn compose(inputs: &[Tensor<2>], labels: Range<usize>, settings: &Settings) -> Tensor<2> {
    let ([batch, width], count) = (inputs[SEEN].dims(), labels.len());
    let rows_of = |t: &Tensor<2>| t.clone().slice([labels.clone(), 0..t.dims()[1]]);
    let slope = settings.shape.slope;
    // Rows are label by label, within a label instance by instance.
    let own: Tensor<3> = inputs[SEEN].clone().unsqueeze_dim::<3>(0) * rows_of(&inputs[CODES]).unsqueeze_dim::<3>(1);
    let own = product_in(settings.products, own.reshape([count * batch, width]), inputs[WEIGHT].clone());
    let units = own.dims()[1];
    let hidden = own.reshape([count, batch, units]) + inputs[SHARED].clone().unsqueeze_dim::<3>(0);
    let first = labels.start * batch;
    let mut hidden = drop_rows(relu(hidden.reshape([count * batch, units]), slope), first, 0, settings);
    if let Some(second) = inputs.get(SECOND) {
        let product = product_in(settings.products, hidden, second.clone());
        hidden = relu(product + inputs[SECOND_BIAS].clone(), slope);
        hidden = drop_rows(hidden, first, 1, settings);
    }
    let last = hidden.dims()[1];
    let scored = hidden.reshape([count, batch, last]) * rows_of(&inputs[CLASSIFIER]).unsqueeze_dim::<3>(1);
    let logits = scored.sum_dim(2).reshape([count, batch]).transpose();
    logits + inputs[BIAS].clone().slice([0..1, labels])
}

/// Dropout of some rows of a hidden layer: 0 or 1.
fn drop_rows(hidden: Tensor<2>, first: usize, layer: usize, settings: &Settings) -> Tensor<2> {
    let Some(dropout) = &settings.dropout else { return hidden };
    let [rows, units] = hidden.dims();
    let device = hidden.device();
    hidden * dropout.matrix(stream(layer) + first, rows, units, &device)
}

/// Where the random numbers of a hidden layer's rows begin.
fn stream(layer: usize) -> usize {
    layer << 40
}

/// What the tests of a head look at.
#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use rand::SeedableRng;

    use super::*;

    /// Logits and the gradients of all inputs and weights, for an upstream gradient that differs everywhere.
    fn run(
        head: &LabelHead,
        view: &[Vec<f32>; 3],
        dims: [[usize; 2]; 3],
        pass: &mut Pass,
        device: &Device,
    ) -> Vec<Vec<f32>> {
        let leaf = |i: usize| Tensor::<2>::from_data(TensorData::new(view[i].clone(), dims[i]), device).require_grad();
        let (shared, seen, codes) = (leaf(0), leaf(1), leaf(2));
        let given = LabelView { shared: shared.clone(), seen: seen.clone(), codes: codes.clone() };
        let logits = head.forward(given, pass);
        let [rows, columns] = logits.dims();
        let upstream: Vec<f32> = (0..rows * columns).map(|i| ((i * 7) as f32 * 0.3).sin()).collect();
        let upstream =
            Tensor::<2>::from_data(TensorData::new(upstream, [rows, columns]), &device.clone().without_autodiff());
        let values: Vec<f32> = ::host::plain(logits.clone()).into_data().try_into_vec().unwrap();
        let mut gradients = match pass.cut.take() {
            None => (logits * Tensor::from_inner(upstream)).sum().backward(),
            Some(cut) => cut.earlier(upstream).backward(),
        };
        let mut out = vec![values];
        let mut take =
            |t: &Tensor<2>| out.push(t.grad_remove(&mut gradients).unwrap().into_data().try_into_vec().unwrap());
        [shared, seen, codes, head.weight.val(), head.classifier.val()].iter().for_each(&mut take);
        if let Some(second) = &head.second {
            take(&second.weight.val());
        }
        let bias = head.bias.val().grad_remove(&mut gradients).unwrap();
        out.push(bias.into_data().try_into_vec().unwrap());
        out
    }

    #[test]
    fn fused_whole_and_piecewise_passes_are_one_function() {
        let (batch, labels, width) = (5, 11, 6);
        for (widths, slope, dropout) in
            [(vec![width, 8], 0.1, 0.0), (vec![width, 8, 7], 0.0, 0.0), (vec![width, 8, 7], 0.1, 0.3)]
        {
            let device = Device::flex().autodiff();
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let head = LabelHead::new(&widths, width, labels, slope, dropout, &mut rng, &device);
            let made = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
            let view = [made(batch * 8, 0.9), made(batch * width, 0.7), made(labels * width, 1.3)];
            let dims = [[batch, 8], [batch, width], [labels, width]];
            let with = |fused: bool, room: usize, some: Option<&[u32]>| {
                let mut rng = ChaCha8Rng::seed_from_u64(1);
                let mut pass = Pass::train(&mut rng);
                (pass.fused, pass.room, pass.labels) = (fused, room, some.map(Into::into));
                run(&head, &view, dims, &mut pass, &device)
            };
            for some in [None, Some(&[1u32, 4, 9][..])] {
                let whole = with(false, usize::MAX, some);
                for (what, other) in [
                    ("pieces", with(false, 1, some)),
                    ("fused", with(true, usize::MAX, some)),
                    ("fused, little room", with(true, 1, some)),
                ] {
                    for (k, (a, b)) in whole.iter().zip(&other).enumerate() {
                        for (i, (x, y)) in a.iter().zip(b).enumerate() {
                            assert!(
                                (x - y).abs() < 1e-5 * x.abs().max(1.0),
                                "{what}, {widths:?}, array {k}, {i}: {x} against {y}"
                            );
                        }
                    }
                }
            }
        }
    }
}
