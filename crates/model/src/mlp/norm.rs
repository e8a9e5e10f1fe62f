//! Normalisation on slices: over the batch, or over the units of a layer.

use burn::module::{Param, ParamId};
use burn::nn::{BatchNorm, LayerNorm, LayerNormConfig};
use burn::tensor::Tensor;
use host::simd::{Lanes, each, each_with, sum_lanes, vectorised};
use host::{HostView, column_sums};
use rayon::prelude::*;

use super::FEW;
use crate::host_model::HostGradient;

/// Rows that a thread takes at once, at least.
fn few_rows(units: usize) -> usize {
    FEW.div_ceil(units.max(1))
}

/// The sum of a row.
#[inline(always)]
fn sum(row: &mut [f32]) -> f32 {
    let mut lanes: Lanes = Default::default();
    each(
        row,
        #[inline(always)]
        |x, lane| lanes[lane] += *x,
    );
    sum_lanes(&lanes)
}

/// The sum of a row times another.
#[inline(always)]
fn dot(row: &mut [f32], other: &[f32]) -> f32 {
    let mut lanes: Lanes = Default::default();
    each_with(
        row,
        other,
        #[inline(always)]
        |x, y, lane| lanes[lane] += *x * y,
    );
    sum_lanes(&lanes)
}

/// Which norm stands after a layer.
pub(super) enum NormOf<'a> {
    Batch(&'a BatchNorm),
    Layer(&'a LayerNorm),
}

impl NormOf<'_> {
    fn gamma(&self) -> &Param<Tensor<1>> {
        match self {
            Self::Batch(norm) => &norm.gamma,
            Self::Layer(norm) => &norm.gamma,
        }
    }

    fn beta(&self) -> Option<&Param<Tensor<1>>> {
        match self {
            Self::Batch(norm) => Some(&norm.beta),
            Self::Layer(norm) => norm.beta.as_ref(),
        }
    }
}

/// What a norm keeps between its forward and its backward pass.
#[derive(Debug, Default)]
pub(super) struct HostNorm {
    /// Normalised, before γ and β, `[batch, units]`.
    unit: Vec<f32>,
    /// Reciprocal standard deviations: of the units, or of the rows.
    inverse: Vec<f32>,
}

impl HostNorm {
    /// `γ x̂ + β` in place of x, `[batch, units]`; batch norm's running statistics take in those of the batch.
    pub(super) fn forward(&mut self, norm: &NormOf, values: &mut [f32]) {
        let gamma = HostView::of(&norm.gamma().val());
        let gamma = gamma.as_slice();
        match norm {
            NormOf::Batch(norm) => self.over_the_batch(norm, values, gamma.len()),
            NormOf::Layer(_) => self.over_the_units(values, gamma.len()),
        }
        let beta = norm.beta().map(|beta| HostView::of(&beta.val()));
        let beta = beta.as_ref().map_or(&[][..], HostView::as_slice);
        let rows = values.par_chunks_exact_mut(gamma.len()).zip(self.unit.par_chunks_exact(gamma.len()));
        rows.with_min_len(few_rows(gamma.len())).for_each(|(out, unit)| {
            vectorised(
                #[inline(always)]
                || {
                    out.iter_mut().zip(unit).zip(gamma).for_each(|((v, x), g)| *v = x * g);
                    out.iter_mut().zip(beta).for_each(|(v, b)| *v += b);
                },
            );
        });
    }

    fn over_the_batch(&mut self, norm: &BatchNorm, values: &[f32], units: usize) {
        let batch = (values.len() / units.max(1)).max(1) as f32;
        let mut mean = vec![0.0; units];
        column_sums(values, &mut mean);
        mean.iter_mut().for_each(|m| *m /= batch);
        self.unit.clear();
        self.unit.extend_from_slice(values);
        let mut variance = vec![0.0; units];
        vectorised(
            #[inline(always)]
            || {
                for row in self.unit.chunks_exact_mut(units) {
                    for ((x, m), v) in row.iter_mut().zip(&mean).zip(&mut variance) {
                        *x -= m;
                        *v += *x * *x;
                    }
                }
            },
        );
        variance.iter_mut().for_each(|v| *v /= batch);
        self.inverse.clear();
        self.inverse.extend(variance.iter().map(|v| 1.0 / (v + norm.epsilon as f32).sqrt()));
        for row in self.unit.chunks_exact_mut(units) {
            row.iter_mut().zip(&self.inverse).for_each(|(x, i)| *x *= i);
        }
        let momentum = norm.momentum as f32;
        for (running, new) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
            let old = running.value_sync();
            let view = HostView::of(&old);
            let mixed: Vec<f32> =
                view.as_slice().iter().zip(&new).map(|(o, n)| o * (1.0 - momentum) + n * momentum).collect();
            running.update(Tensor::from_floats(mixed.as_slice(), &old.device()));
        }
    }

    fn over_the_units(&mut self, values: &[f32], units: usize) {
        let epsilon = LayerNormConfig::new(units).epsilon as f32;
        self.unit.clear();
        self.unit.extend_from_slice(values);
        self.inverse.clear();
        self.inverse.resize(self.unit.len() / units.max(1), 0.0);
        let rows = self.unit.par_chunks_exact_mut(units).zip(&mut self.inverse);
        rows.with_min_len(few_rows(units)).for_each(|(row, inverse)| {
            vectorised(
                #[inline(always)]
                || {
                    let mean = sum(row) / units as f32;
                    let mut squares: Lanes = Default::default();
                    each(
                        row,
                        #[inline(always)]
                        |x, lane| {
                            *x -= mean;
                            squares[lane] += *x * *x;
                        },
                    );
                    *inverse = 1.0 / (sum_lanes(&squares) / units as f32 + epsilon).sqrt();
                    row.iter_mut().for_each(|x| *x *= *inverse);
                },
            );
        });
    }

    /// The gradient by the outputs becomes the one by the inputs; returns those of γ and β.
    pub(super) fn backward(&self, norm: &NormOf, gradient: &mut [f32]) -> Vec<(ParamId, HostGradient)> {
        let gamma = HostView::of(&norm.gamma().val());
        let gamma = gamma.as_slice();
        let units = gamma.len();
        let (mut of_gamma, mut of_beta) = (vec![0.0; units], vec![0.0; units]);
        column_sums(gradient, &mut of_beta);
        vectorised(
            #[inline(always)]
            || {
                for (gradient, unit) in gradient.chunks_exact(units).zip(self.unit.chunks_exact(units)) {
                    of_gamma.iter_mut().zip(gradient).zip(unit).for_each(|((s, g), x)| *s += g * x);
                }
            },
        );
        let rows = gradient.par_chunks_exact_mut(units).zip(self.unit.par_chunks_exact(units));
        let rows = rows.with_min_len(few_rows(units));
        match norm {
            // γ/σ (g - mean g - x̂ mean(g x̂)), means over the batch.
            NormOf::Batch(_) => {
                let share = 1.0 / (self.unit.len() / units.max(1)).max(1) as f32;
                let factor: Vec<f32> = gamma.iter().zip(&self.inverse).map(|(g, i)| g * i).collect();
                rows.for_each(|(gradient, unit)| {
                    let sums = of_beta.iter().zip(&of_gamma);
                    let entries = gradient.iter_mut().zip(unit).zip(sums).zip(&factor);
                    vectorised(
                        #[inline(always)]
                        || entries.for_each(|(((g, x), (b, c)), f)| *g = f * (*g - share * (b + x * c))),
                    );
                });
            }
            // The same of γ g, means over the units of the row.
            NormOf::Layer(_) => {
                rows.zip(&self.inverse).for_each(|((gradient, unit), inverse)| {
                    vectorised(
                        #[inline(always)]
                        || {
                            gradient.iter_mut().zip(gamma).for_each(|(g, gamma)| *g *= gamma);
                            let (mean, along) = (sum(gradient) / units as f32, dot(gradient, unit) / units as f32);
                            gradient.iter_mut().zip(unit).for_each(|(g, x)| *g = inverse * (*g - mean - x * along));
                        },
                    );
                });
            }
        }
        let mut out = vec![(norm.gamma().id, HostGradient::Dense(of_gamma))];
        out.extend(norm.beta().map(|beta| (beta.id, HostGradient::Dense(of_beta))));
        out
    }
}
