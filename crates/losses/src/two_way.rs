//! Two-way loss: present against absent labels of each instance, and positive against negative instances of each label.

use burn::tensor::{Device, Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use data::LabelRows;
use host::simd;
use kernels::loss::Temperatures;
use rayon::prelude::*;

use crate::fused::{BatchLoss, Fused};
use crate::logits::{NEVER, softplus, zero_with_gradient};
use crate::{Loss, LossError, LossForm, LossValues};

/// Settings of [`TwoWay`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwoWayConfig {
    /// Temperature of positives, above 0.
    pub temperature_pos: f64,
    /// Temperature of negatives, above 0.
    pub temperature_neg: f64,
}

impl Default for TwoWayConfig {
    fn default() -> Self {
        Self { temperature_pos: 4.0, temperature_neg: 1.0 }
    }
}

/// `softplus(T_n log Σ_{q negative} e^{z_q/T_n} + T_p log Σ_{p positive} e^{-z_p/T_p})` along one dimension.
///
/// `dim` 1: over the labels of each instance, → `[batch, 1]`; `dim` 0: over the instances of each label,
/// → `[1, labels]`. Where there is no positive, or no negative, the value is 0. The gradient is written out: σ of the
/// softplus's argument times the softmax over the negatives, or minus that over the positives.
///
/// Shapes: `logits`, `targets` `[batch, labels]`.
/// Source: Kobayashi, "Two-way multi-label loss", CVPR 2023, eq. 8 and 9.
pub fn one_way(logits: Tensor<2>, targets: Tensor<2>, config: &TwoWayConfig, dim: usize) -> Tensor<2> {
    let (tp, tn) = (config.temperature_pos, config.temperature_neg);
    let positive = targets.clone().equal_elem(1.0);
    let count = targets.clone().sum_dim(dim);
    let length = targets.dims()[dim] as f64;
    let both = count.clone().greater_elem(0.5).float() * count.lower_elem(length - 0.5).float();

    // -z/T_p of positives and z/T_n of negatives, each less the largest of its kind in the line.
    let z = host::plain(logits.clone());
    let scaled = z.clone().div_scalar(tn).mask_where(positive.clone(), z.div_scalar(-tp));
    let top_pos = scaled.clone().mask_fill(positive.clone().bool_not(), NEVER).max_dim(dim);
    let top_neg = scaled.clone().mask_fill(positive.clone(), NEVER).max_dim(dim);
    let shape = scaled.dims();
    let shift = top_neg.clone().expand(shape).mask_where(positive.clone(), top_pos.clone().expand(shape));
    let weights = (scaled - shift).exp();
    let sum_pos = (weights.clone() * targets).sum_dim(dim);
    let sum_neg = weights.clone().sum_dim(dim) - sum_pos.clone();
    // Lines of one kind only are silent: their sums are made harmless first.
    let sum_pos = sum_pos.clamp_min(1e-30);
    let sum_neg = sum_neg.clamp_min(1e-30);
    let argument = (sum_pos.clone().log() + top_pos).mul_scalar(tp) + (sum_neg.clone().log() + top_neg).mul_scalar(tn);
    let argument = argument.mask_fill(both.clone().equal_elem(0.0), 0.0);
    let value = softplus(argument.clone()) * both.clone();
    let slope = sigmoid(argument) * both;
    let by_neg = slope.clone() / sum_neg;
    let by_pos = (slope / sum_pos).neg();
    let gradient = weights * by_neg.expand(shape).mask_where(positive, by_pos.expand(shape));
    value + zero_with_gradient(logits, gradient).sum_dim(dim)
}

impl TwoWayConfig {
    /// Makes the loss.
    ///
    /// # Errors
    /// For a temperature that is not above 0.
    pub fn init(&self, _device: &Device) -> Result<TwoWay, LossError> {
        LossError::above_0("temperature_pos", self.temperature_pos)?;
        LossError::above_0("temperature_neg", self.temperature_neg)?;
        Ok(TwoWay { config: self.clone() })
    }
}

/// Mean over the instances that have a label plus mean over the labels that have an instance in the batch.
///
/// As values of instances: an instance's own part, scaled so that the mean over the batch is the mean over labelled
/// instances, and the labels' part, which all instances of the batch share.
#[derive(Debug, Clone)]
pub struct TwoWay {
    config: TwoWayConfig,
}

impl Loss for TwoWay {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        let [batch, labels] = logits.dims();
        let labelled = targets.clone().max_dim(1).sum_dim(0).clamp_min(1.0);
        let seen = targets.clone().max_dim(0).sum_dim(1).clamp_min(1.0);
        let by_instance = one_way(logits.clone(), targets.clone(), &self.config, 1) / labelled;
        let by_label = (one_way(logits, targets, &self.config, 0) / seen).sum_dim(1).expand([batch, 1]);
        let parts = vec![
            ("instances", by_instance.mul_scalar(batch as f64).squeeze_dim::<1>(1)),
            ("classes", by_label.squeeze_dim::<1>(1)),
        ];
        LossValues::of_instances(parts, labels)
    }

    fn fused(&self) -> Option<Fused<'_>> {
        Some(Fused::Batch(self))
    }

    fn form(&self, _labels: usize) -> Option<LossForm> {
        let (present, absent) = (self.config.temperature_pos as f32, self.config.temperature_neg as f32);
        Some(LossForm::TwoWay(Temperatures { present, absent }))
    }
}

/// One line of logits, along either dimension: `T_n log Σ e^{z/T_n}` over absent, `T_p log Σ e^{-z/T_p}` over present.
#[derive(Clone, Copy)]
struct Line {
    top_neg: f32,
    sum_neg: f32,
    top_pos: f32,
    sum_pos: f32,
}

impl Line {
    const EMPTY: Self = Self { top_neg: NEVER as f32, sum_neg: 0.0, top_pos: NEVER as f32, sum_pos: 0.0 };

    /// Value, and the factors of its gradient: of `e^{z/T_n - top}` for absent and of `e^{-z/T_p - top}` for present.
    fn value(&self, positive: f32, negative: f32) -> (f32, f32, f32) {
        if self.sum_neg <= 0.0 || self.sum_pos <= 0.0 {
            return (0.0, 0.0, 0.0);
        }
        let argument = positive * (self.top_pos + self.sum_pos.ln()) + negative * (self.top_neg + self.sum_neg.ln());
        let (value, slope) = simd::softplus_and_sigmoid(argument);
        (value, slope / self.sum_neg, -slope / self.sum_pos)
    }
}

/// Labels that a thread takes at once.
const BLOCK: usize = 256;

impl BatchLoss for TwoWay {
    fn parts(&self) -> &'static [&'static str] {
        &["instances", "classes"]
    }

    fn batch(&self, logits: &mut [f32], targets: &LabelRows, scale: f32, parts: &mut [f32]) {
        let (batch, labels) = (targets.len(), targets.columns());
        let (tp, tn) = (self.config.temperature_pos as f32, self.config.temperature_neg as f32);
        let by_label = targets.by_label();
        let labelled = targets.rows().filter(|r| !r.is_empty()).count().max(1) as f32;
        let seen = by_label.iter().filter(|l| !l.is_empty()).count().max(1) as f32;
        // z/T_n of absent labels; present ones count apart.
        let mut absent: Vec<f32> = logits.iter().map(|z| z / tn).collect();
        let mut present = Vec::with_capacity(targets.nnz());
        for (i, row) in targets.rows().enumerate() {
            for &l in row {
                let at = i * labels + l as usize;
                absent[at] = NEVER as f32;
                present.push((i, l as usize, -logits[at] / tp));
            }
        }
        let mut rows = vec![Line::EMPTY; batch];
        rows.par_iter_mut().zip(absent.par_chunks(labels)).with_min_len(8).for_each(|(line, row)| {
            line.top_neg = row.iter().copied().fold(NEVER as f32, f32::max);
            // Where no label is absent the line is silent.
            let is_absent = line.top_neg > NEVER as f32;
            line.sum_neg = if is_absent { sum_of_exp(row, line.top_neg) } else { 0.0 };
        });
        let (mut column_tops, mut column_sums) = (vec![NEVER as f32; labels], vec![0.0; labels]);
        column_tops.par_chunks_mut(BLOCK).zip(column_sums.par_chunks_mut(BLOCK)).enumerate().for_each(
            |(b, (tops, sums))| {
                let rows = || absent.chunks(labels).map(|row| &row[b * BLOCK..][..lines_of(b, labels)]);
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for row in rows() {
                            simd::each_with(
                                tops,
                                row,
                                #[inline(always)]
                                |top, z, _| *top = top.max(z),
                            );
                        }
                        for row in rows() {
                            simd::each_with_two(
                                sums,
                                row,
                                tops,
                                #[inline(always)]
                                |sum, z, top, _| *sum += simd::exp(z - top),
                            );
                        }
                    },
                );
            },
        );
        // Where no instance lacks the label the line is silent.
        let lines = column_tops.iter().zip(column_sums);
        let line = |(&top_neg, sum): (&f32, f32)| {
            let sum_neg = if top_neg > NEVER as f32 { sum } else { 0.0 };
            Line { top_neg, sum_neg, ..Line::EMPTY }
        };
        let mut columns: Vec<Line> = lines.map(line).collect();
        for &(i, l, z) in &present {
            rows[i].top_pos = rows[i].top_pos.max(z);
            columns[l].top_pos = columns[l].top_pos.max(z);
        }
        for &(i, l, z) in &present {
            rows[i].sum_pos += (z - rows[i].top_pos).exp();
            columns[l].sum_pos += (z - columns[l].top_pos).exp();
        }
        let (by_row, by_column) = (batch as f32 / labelled, 1.0 / seen);
        let own: Vec<_> = rows.iter().map(|line| line.value(tp, tn)).collect();
        let of_labels: Vec<_> = columns.iter().map(|line| line.value(tp, tn)).collect();
        let classes: f32 = of_labels.iter().map(|v| v.0).sum::<f32>() * by_column;
        for (parts, value) in parts.chunks_exact_mut(2).zip(&own) {
            (parts[0], parts[1]) = (value.0 * by_row, classes);
        }
        // The classes' part is the loss of every instance of the batch.
        let (row_scale, column_scale) = (scale * by_row, scale * by_column * batch as f32);
        let of_absent: Vec<f32> = of_labels.iter().map(|v| v.1 * column_scale).collect();
        let lines = logits.par_chunks_mut(labels).zip(absent.par_chunks(labels)).zip(rows.par_iter().zip(&own));
        lines.with_min_len(4).for_each(|((out, row), (line, own))| {
            let (top, factor) = (line.top_neg, own.1 * row_scale);
            simd::vectorised(
                #[inline(always)]
                || {
                    out.copy_from_slice(row);
                    simd::each_with_two(
                        out,
                        &column_tops,
                        &of_absent,
                        #[inline(always)]
                        |out, column_top, column_factor, _| {
                            let z = *out;
                            *out = simd::exp(z - top) * factor + simd::exp(z - column_top) * column_factor;
                        },
                    );
                },
            );
        });
        for (i, l, z) in present {
            logits[i * labels + l] = (z - rows[i].top_pos).exp() * own[i].2 * row_scale
                + (z - columns[l].top_pos).exp() * of_labels[l].2 * column_scale;
        }
    }
}

/// Labels of block `b`.
fn lines_of(b: usize, labels: usize) -> usize {
    BLOCK.min(labels - b * BLOCK)
}

fn sum_of_exp(row: &[f32], top: f32) -> f32 {
    simd::vectorised(
        #[inline(always)]
        || {
            let mut sums = [0.0; simd::LANES];
            let whole = row.len() / simd::LANES * simd::LANES;
            for group in row[..whole].chunks_exact(simd::LANES) {
                for (sum, z) in sums.iter_mut().zip(group) {
                    *sum += simd::exp(z - top);
                }
            }
            sums.iter_mut().zip(&row[whole..]).for_each(|(sum, z)| *sum += simd::exp(z - top));
            simd::sum_lanes(&sums)
        },
    )
}
