//! The head on host memory: a few labels at a time, in buffers that stay in the processor's cache.
//!
//! The hidden layers of all labels are kept for the backward pass where they fit the pass's room, else made again.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use host::simd::{each, each_with, each_with_two, sum_lanes, vectorised};
use host::{HostView, Matrix, add_product, column_sums};
use rayon::prelude::*;

use super::{BIAS, CLASSIFIER, CODES, SECOND, SECOND_BIAS, SEEN, SHARED, Settings, WEIGHT, stream};
use crate::Pass;
use crate::cut::{Cut, pieces};

/// Rows of a matrix product that are worth one.
const ROWS: usize = 1024;

/// Logits `[batch, labels]` of all labels; the backward pass goes onto the pass.
pub(super) fn forward(inputs: Vec<Tensor<2>>, settings: Settings, pass: &mut Pass) -> Tensor<2> {
    let device = inputs[SEEN].device().without_autodiff();
    let plain: Vec<Tensor<2>> = inputs.iter().map(|t| host::plain(t.clone())).collect();
    let sizes = Sizes::of(&plain);
    let training = pass.is_training();
    let keeps = training && sizes.hidden() * sizes.labels * sizes.batch * size_of::<f32>() <= pass.room;
    let views: Vec<HostView> = plain.iter().map(HostView::of).collect();
    let head = Head { sizes, settings: &settings, inputs: views.iter().map(HostView::as_slice).collect() };
    let mut logits = vec![0.0; sizes.batch * sizes.labels];
    let mut kept = Vec::new();
    let mut scratch = Scratch::default();
    for labels in sizes.pieces() {
        let mut hidden = Hidden::default();
        if !keeps {
            hidden = std::mem::take(&mut scratch.hidden);
        }
        head.hidden(labels.clone(), &mut hidden, &mut scratch.own);
        head.logits(labels, hidden.last(), &mut logits);
        if keeps { kept.push(hidden) } else { scratch.hidden = hidden }
    }
    let tensor = |values: Vec<f32>, shape: [usize; 2]| Tensor::<2>::from_data(TensorData::new(values, shape), &device);
    let output = tensor(logits, [sizes.batch, sizes.labels]);
    drop(head);
    drop(views);
    if !training {
        return output;
    }
    let place = device.clone();
    Cut::between(inputs, output, pass, move |gradient| {
        let views: Vec<HostView> = plain.iter().map(HostView::of).collect();
        let head = Head { sizes, settings: &settings, inputs: views.iter().map(HostView::as_slice).collect() };
        let gradient = HostView::of(&gradient);
        let sums = head.backward(gradient.as_slice(), kept);
        let shapes = plain.iter().map(|t| t.dims());
        sums.into_iter().zip(shapes).map(|(v, shape)| Tensor::from_data(TensorData::new(v, shape), &place)).collect()
    })
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    labels: usize,
    /// Of v and c.
    width: usize,
    units: usize,
    /// Of the second hidden layer; 0 without one.
    second: usize,
}

impl Sizes {
    fn of(inputs: &[Tensor<2>]) -> Self {
        let ([batch, width], labels) = (inputs[SEEN].dims(), inputs[CODES].dims()[0]);
        let (units, second) = (inputs[WEIGHT].dims()[1], inputs.get(SECOND).map_or(0, |w| w.dims()[1]));
        Self { batch, labels, width, units, second }
    }

    fn hidden(&self) -> usize {
        self.units + self.second
    }

    /// Of the layer that classifiers look at.
    fn last(&self) -> usize {
        if self.second > 0 { self.second } else { self.units }
    }

    fn pieces(&self) -> Vec<Range<usize>> {
        pieces(self.labels, ROWS.div_ceil(self.batch.max(1)))
    }
}

/// Hidden layers of some labels, `[labels · batch, units]`, after dropout.
#[derive(Debug, Default)]
struct Hidden {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Hidden {
    fn last(&self) -> &[f32] {
        if self.second.is_empty() { &self.first } else { &self.second }
    }
}

/// Memory that is used again for every piece.
#[derive(Debug, Default)]
struct Scratch {
    hidden: Hidden,
    /// `v ⊙ c`, `[labels · batch, inputs]`.
    own: Vec<f32>,
    of_last: Vec<f32>,
    of_first: Vec<f32>,
    of_own: Vec<f32>,
}

struct Head<'a> {
    sizes: Sizes,
    settings: &'a Settings,
    inputs: Vec<&'a [f32]>,
}

impl Head<'_> {
    /// `v ⊙ c` of some labels.
    fn own(&self, labels: Range<usize>, out: &mut Vec<f32>) {
        let Sizes { batch, width, .. } = self.sizes;
        let (seen, codes) = (self.inputs[SEEN], self.inputs[CODES]);
        out.resize(labels.len() * batch * width, 0.0);
        out.par_chunks_mut(width.max(1)).with_min_len(32).enumerate().for_each(|(r, row)| {
            let (l, b) = (labels.start + r / batch, r % batch);
            row.copy_from_slice(&seen[b * width..][..width]);
            let code = &codes[l * width..][..width];
            vectorised(
                #[inline(always)]
                || {
                    each_with(
                        row,
                        code,
                        #[inline(always)]
                        |v, c, _| *v *= c,
                    )
                },
            );
        });
    }

    /// The hidden layers of some labels.
    fn hidden(&self, labels: Range<usize>, out: &mut Hidden, own: &mut Vec<f32>) {
        let Sizes { batch, width, units, second, .. } = self.sizes;
        let rows = labels.len() * batch;
        self.own(labels.clone(), own);
        let shared = self.inputs[SHARED];
        out.first.resize(rows * units, 0.0);
        out.first.chunks_exact_mut((batch * units).max(1)).for_each(|part| part.copy_from_slice(shared));
        let weight = Matrix::new(self.inputs[WEIGHT], width, units);
        add_product(Matrix::new(own, rows, width), weight, &mut out.first, 1.0);
        self.activate(&mut out.first, units, stream(0) + labels.start * batch);
        if second > 0 {
            out.second.resize(rows * second, 0.0);
            let bias = self.inputs[SECOND_BIAS];
            out.second.chunks_exact_mut(second).for_each(|row| row.copy_from_slice(bias));
            let weight = Matrix::new(self.inputs[SECOND], units, second);
            add_product(Matrix::new(&out.first, rows, units), weight, &mut out.second, 1.0);
            self.activate(&mut out.second, second, stream(1) + labels.start * batch);
        }
    }

    /// (Leaky) relu and dropout in place; the first row draws from stream `first`.
    fn activate(&self, values: &mut [f32], units: usize, first: usize) {
        let slope = self.settings.shape.slope as f32;
        let each_row = |r: usize, row: &mut [f32], factors: &mut Vec<f32>| {
            if let Some(dropout) = &self.settings.dropout {
                factors.resize(units, 0.0);
                dropout.factors(first + r, factors);
                vectorised(
                    #[inline(always)]
                    || {
                        each_with(
                            row,
                            factors,
                            #[inline(always)]
                            |v, f, _| *v = f * if *v > 0.0 { *v } else { *v * slope },
                        );
                    },
                );
            } else {
                vectorised(
                    #[inline(always)]
                    || {
                        each(
                            row,
                            #[inline(always)]
                            |v, _| *v = if *v > 0.0 { *v } else { *v * slope },
                        )
                    },
                );
            }
        };
        values.par_chunks_mut(units.max(1)).with_min_len(32).enumerate().for_each_init(
            Vec::new,
            |factors, (r, row)| {
                each_row(r, row, factors);
            },
        );
    }

    /// Turns the gradient by a hidden layer into the one by what came before relu and dropout.
    ///
    /// What dropout took away is 0; where relu gave 0 there is no gradient either.
    fn before_activation(&self, gradient: &mut [f32], outputs: &[f32]) {
        let keep = self.settings.dropout.as_ref().map_or(1.0, crate::pass::RowDropout::keep);
        let below = self.settings.shape.slope as f32 * keep;
        gradient.par_chunks_mut(1 << 14).zip(outputs.par_chunks(1 << 14)).for_each(|(g, x)| {
            vectorised(
                #[inline(always)]
                || {
                    each_with(
                        g,
                        x,
                        #[inline(always)]
                        |g, x, _| {
                            let above = if x > 0.0 { keep } else { 0.0 };
                            *g *= if x < 0.0 { below } else { above };
                        },
                    );
                },
            );
        });
    }

    fn logits(&self, labels: Range<usize>, last: &[f32], out: &mut [f32]) {
        let (width, count) = (self.sizes.last(), self.sizes.labels);
        let (classifier, bias, batch) = (self.inputs[CLASSIFIER], self.inputs[BIAS], self.sizes.batch);
        out.par_chunks_mut(count).enumerate().for_each(|(b, row)| {
            for l in labels.clone() {
                let hidden = &last[((l - labels.start) * batch + b) * width..][..width];
                row[l] = bias[l] + dot(hidden, &classifier[l * width..][..width]);
            }
        });
    }

    /// Gradients by all inputs, in their order.
    fn backward(&self, gradient: &[f32], kept: Vec<Hidden>) -> Vec<Vec<f32>> {
        let Sizes { batch, labels: count, width, units, second } = self.sizes;
        let last = self.sizes.last();
        let mut sums: Vec<Vec<f32>> = self.inputs.iter().map(|v| vec![0.0; v.len()]).collect();
        let mut scratch = Scratch::default();
        let mut kept = kept.into_iter();
        let mut some_bias = vec![0.0; second];
        for labels in self.sizes.pieces() {
            let rows = labels.len() * batch;
            let hidden = match kept.next() {
                Some(hidden) => {
                    self.own(labels.clone(), &mut scratch.own);
                    hidden
                }
                None => {
                    let mut hidden = std::mem::take(&mut scratch.hidden);
                    self.hidden(labels.clone(), &mut hidden, &mut scratch.own);
                    hidden
                }
            };
            let top = hidden.last();
            // The classifiers: every label has its own rows, and nothing else.
            scratch.of_last.resize(rows * last, 0.0);
            let classifier = self.inputs[CLASSIFIER];
            let (of_classifier, of_bias) = {
                let (before, after) = sums.split_at_mut(BIAS);
                (&mut before[CLASSIFIER], &mut after[0])
            };
            of_classifier[labels.start * last..labels.end * last]
                .par_chunks_mut(last)
                .zip(of_bias[labels.clone()].par_iter_mut())
                .zip(scratch.of_last.par_chunks_mut(batch * last))
                .enumerate()
                .for_each(|(k, ((of_weights, of_bias), of_rows))| {
                    let l = labels.start + k;
                    let weights = &classifier[l * last..][..last];
                    for b in 0..batch {
                        let g = gradient[b * count + l];
                        *of_bias += g;
                        let (row, seen) = (&mut of_rows[b * last..][..last], &top[(k * batch + b) * last..][..last]);
                        vectorised(
                            #[inline(always)]
                            || {
                                each_with(
                                    row,
                                    weights,
                                    #[inline(always)]
                                    |v, w, _| *v = g * w,
                                );
                                each_with(
                                    of_weights,
                                    seen,
                                    #[inline(always)]
                                    |v, x, _| *v += g * x,
                                );
                            },
                        );
                    }
                });
            self.before_activation(&mut scratch.of_last, top);
            let of_first = if second > 0 {
                let of_last = Matrix::new(&scratch.of_last, rows, second);
                add_product(Matrix::new(&hidden.first, rows, units).t(), of_last, &mut sums[SECOND], 1.0);
                column_sums(&scratch.of_last, &mut some_bias);
                sums[SECOND_BIAS].iter_mut().zip(&some_bias).for_each(|(s, v)| *s += v);
                scratch.of_first.resize(rows * units, 0.0);
                let weight = Matrix::new(self.inputs[SECOND], units, second);
                add_product(of_last, weight.t(), &mut scratch.of_first, 0.0);
                self.before_activation(&mut scratch.of_first, &hidden.first);
                &scratch.of_first
            } else {
                &scratch.of_last
            };
            let of_hidden = Matrix::new(of_first, rows, units);
            add_product(Matrix::new(&scratch.own, rows, width).t(), of_hidden, &mut sums[WEIGHT], 1.0);
            add_rows(&mut sums[SHARED], of_first, batch, units);
            scratch.of_own.resize(rows * width, 0.0);
            let weight = Matrix::new(self.inputs[WEIGHT], width, units);
            add_product(of_hidden, weight.t(), &mut scratch.of_own, 0.0);
            self.apart(labels, &scratch.of_own, &mut sums);
            scratch.hidden = hidden;
        }
        sums
    }

    /// From the gradient by `v ⊙ c` to those by v and c.
    fn apart(&self, labels: Range<usize>, of_own: &[f32], sums: &mut [Vec<f32>]) {
        let Sizes { batch, width, .. } = self.sizes;
        let (seen, codes) = (self.inputs[SEEN], self.inputs[CODES]);
        let own = |l: usize, b: usize| &of_own[((l - labels.start) * batch + b) * width..][..width];
        let add = |sum: &mut [f32], gradient: &[f32], factor: &[f32]| {
            vectorised(
                #[inline(always)]
                || {
                    each_with_two(
                        sum,
                        gradient,
                        factor,
                        #[inline(always)]
                        |s, g, f, _| *s += g * f,
                    )
                },
            );
        };
        sums[SEEN].par_chunks_mut(width.max(1)).enumerate().for_each(|(b, sum)| {
            labels.clone().for_each(|l| add(sum, own(l, b), &codes[l * width..][..width]));
        });
        let some = &mut sums[CODES][labels.start * width..labels.end * width];
        some.par_chunks_mut(width.max(1)).zip(labels.clone()).for_each(|(sum, l)| {
            (0..batch).for_each(|b| add(sum, own(l, b), &seen[b * width..][..width]));
        });
    }
}

/// Adds the rows of every label: `[labels · batch, units]` onto `[batch, units]`.
fn add_rows(sum: &mut [f32], rows: &[f32], batch: usize, units: usize) {
    let all = batch * units;
    sum.par_chunks_mut(units.max(1)).enumerate().for_each(|(b, sum)| {
        for part in rows.chunks_exact(all.max(1)) {
            let row = &part[b * units..][..units];
            vectorised(
                #[inline(always)]
                || {
                    each_with(
                        sum,
                        row,
                        #[inline(always)]
                        |s, v, _| *s += v,
                    )
                },
            );
        }
    });
}

/// `Σ a b`, always in the same order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; host::simd::LANES];
    vectorised(
        #[inline(always)]
        || {
            let (a_groups, b_groups) = (a.chunks_exact(lanes.len()), b.chunks_exact(lanes.len()));
            let rest: f32 = a_groups.remainder().iter().zip(b_groups.remainder()).map(|(x, y)| x * y).sum();
            for (x, y) in a_groups.zip(b_groups) {
                for lane in 0..x.len() {
                    lanes[lane] += x[lane] * y[lane];
                }
            }
            sum_lanes(&lanes) + rest
        },
    )
}
