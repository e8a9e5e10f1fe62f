//! Missing values and feature scaling: fitted on training data alone, stored with the model, applied everywhere.

use serde::{Deserialize, Serialize};

use crate::FeatureRows;

/// How features are scaled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// As they are.
    #[default]
    None,
    /// `(x - min) / (max - min)` of the training set; a constant feature becomes 0.
    Minmax,
    /// `(x - mean) / deviation`; on sparse data (under a tenth of the cells filled) only divided, which keeps it sparse.
    Standard,
    /// `x · ln((1 + N) / (1 + df))`, rows then scaled to length 1; df: training instances that hold the feature.
    Tfidf,
    /// Rows scaled to Euclidean length 1.
    L2,
}

/// What [`Preprocess::fit`] learnt from the training set: `x' = (x - offset) · factor`, then rows of length 1 if asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// The kind of scaling.
    pub scaling: Scaling,
    /// Mean of each feature over the instances that have it (a missing value takes it); empty: no value was missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub means: Vec<f32>,
    /// Subtracted first; empty: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offset: Vec<f32>,
    /// Multiplied then; empty: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factor: Vec<f32>,
}

impl Preprocess {
    /// Learns what `scaling` needs from the training set, whose missing values are NaN and counted out.
    pub fn fit(scaling: Scaling, train: &FeatureRows) -> Self {
        let columns = Columns::of(train);
        let n = train.len() as f64;
        let means = if columns.missing.iter().any(|&m| m > 0) { columns.means(n) } else { Vec::new() };
        let mut out = Self { scaling, means, offset: Vec::new(), factor: Vec::new() };
        match scaling {
            Scaling::None | Scaling::L2 => {}
            Scaling::Minmax => {
                let (low, high) = columns.ranges(n);
                out.factor = low.iter().zip(&high).map(|(a, b)| if b > a { 1.0 / (b - a) } else { 0.0 }).collect();
                out.offset = low;
            }
            Scaling::Standard => {
                out.factor = columns.deviations(n).iter().map(|&d| if d > 0.0 { 1.0 / d } else { 0.0 }).collect();
                if train.density() >= 0.1 {
                    out.offset = columns.means(n);
                }
            }
            Scaling::Tfidf => {
                out.factor = columns.stored.iter().map(|&df| ((1.0 + n) / (1.0 + df as f64)).ln() as f32).collect();
            }
        }
        if out.offset.iter().all(|&o| o == 0.0) {
            out.offset.clear();
        }
        out
    }

    /// Fills missing values and scales.
    pub fn apply(&self, rows: FeatureRows) -> FeatureRows {
        let mut rows = if self.offset.is_empty() { rows } else { self.shift(&rows) };
        let (indices, values) = rows.entries_mut();
        for (&c, v) in indices.iter().zip(values.iter_mut()) {
            if v.is_nan() {
                *v = self.filled(c);
            }
            if let Some(factor) = self.factor.get(c as usize) {
                *v *= factor;
            }
        }
        if matches!(self.scaling, Scaling::Tfidf | Scaling::L2) {
            for i in 0..rows.len() {
                let values = rows.row_values_mut(i);
                let length = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
                if length > 0.0 {
                    values.iter_mut().for_each(|v| *v /= length);
                }
            }
        }
        rows
    }

    /// What stands for a missing value of column `c`, before scaling.
    fn filled(&self, c: u32) -> f32 {
        let c = c as usize;
        let mean = self.means.get(c).copied().unwrap_or(0.0);
        mean - self.offset.get(c).copied().unwrap_or(0.0)
    }

    /// Subtracts the offset. Columns whose zero does not stay zero are written out in every row.
    fn shift(&self, rows: &FeatureRows) -> FeatureRows {
        let moved: Vec<(u32, f32)> = (0..).zip(&self.offset).filter(|e| *e.1 != 0.0).map(|(c, o)| (c, -o)).collect();
        let mut out = FeatureRows::new(rows.columns());
        let mut merged: Vec<(u32, f32)> = Vec::new();
        for i in 0..rows.len() {
            let (indices, values) = rows.row(i);
            merged.clear();
            let mut extra = moved.iter().peekable();
            for (&c, &v) in indices.iter().zip(values) {
                while let Some(e) = extra.next_if(|e| e.0 < c) {
                    merged.push(*e);
                }
                let value = match extra.next_if(|e| e.0 == c) {
                    Some(e) => v + e.1,
                    None => v,
                };
                merged.push((c, value));
            }
            merged.extend(extra);
            out.push(&merged);
        }
        out
    }
}

/// Sums over each column's stored values.
struct Columns {
    stored: Vec<usize>,
    missing: Vec<usize>,
    sum: Vec<f64>,
    squares: Vec<f64>,
    low: Vec<f32>,
    high: Vec<f32>,
}

impl Columns {
    fn of(rows: &FeatureRows) -> Self {
        let width = rows.columns();
        let mut out = Self {
            stored: vec![0; width],
            missing: vec![0; width],
            sum: vec![0.0; width],
            squares: vec![0.0; width],
            low: vec![f32::INFINITY; width],
            high: vec![f32::NEG_INFINITY; width],
        };
        for (&c, &v) in rows.indices().iter().zip(rows.values()) {
            let c = c as usize;
            if v.is_nan() {
                out.missing[c] += 1;
                continue;
            }
            out.stored[c] += 1;
            out.sum[c] += f64::from(v);
            out.squares[c] += f64::from(v) * f64::from(v);
            out.low[c] = out.low[c].min(v);
            out.high[c] = out.high[c].max(v);
        }
        out
    }

    /// Instances that have a value in column `c`, absent ones being 0.
    fn known(&self, c: usize, n: f64) -> f64 {
        (n - self.missing[c] as f64).max(1.0)
    }

    fn means(&self, n: f64) -> Vec<f32> {
        (0..self.sum.len()).map(|c| (self.sum[c] / self.known(c, n)) as f32).collect()
    }

    fn deviations(&self, n: f64) -> Vec<f32> {
        let deviation = |c: usize| {
            let mean = self.sum[c] / self.known(c, n);
            let variance = self.squares[c] / self.known(c, n) - mean * mean;
            // A constant column leaves rounding behind, not a spread.
            if variance > 1e-12 * (1.0 + mean * mean) { variance.sqrt() as f32 } else { 0.0 }
        };
        (0..self.sum.len()).map(deviation).collect()
    }

    fn ranges(&self, n: f64) -> (Vec<f32>, Vec<f32>) {
        let bound = |c: usize, v: f32, keep: fn(f32, f32) -> f32| {
            let absent = (self.stored[c] as f64) < self.known(c, n) || self.stored[c] == 0;
            if absent { keep(if v.is_finite() { v } else { 0.0 }, 0.0) } else { v }
        };
        let low = (0..self.low.len()).map(|c| bound(c, self.low[c], f32::min)).collect();
        let high = (0..self.high.len()).map(|c| bound(c, self.high[c], f32::max)).collect();
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(data: &[&[f32]]) -> FeatureRows {
        let mut out = FeatureRows::new(data[0].len());
        for row in data {
            let entries: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).filter(|e| e.1 != 0.0).collect();
            out.push(&entries);
        }
        out
    }

    fn dense(rows: &FeatureRows) -> Vec<Vec<f32>> {
        let fill = |i| {
            let mut out = vec![0.0; rows.columns()];
            let (indices, values) = rows.row(i);
            indices.iter().zip(values).for_each(|(&c, &v)| out[c as usize] = v);
            out
        };
        (0..rows.len()).map(fill).collect()
    }

    #[test]
    fn minmax_uses_the_training_range_and_zeroes_constants() {
        let train = rows(&[&[2.0, 5.0, 0.0], &[4.0, 5.0, 1.0], &[0.0, 5.0, 0.0]]);
        let fitted = Preprocess::fit(Scaling::Minmax, &train);
        assert_eq!(dense(&fitted.apply(train)), [[0.5, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]);
        assert_eq!(dense(&fitted.apply(rows(&[&[8.0, 6.0, -1.0]]))), [[2.0, 0.0, -1.0]]);
    }

    #[test]
    fn minmax_of_a_column_that_never_is_zero_moves_absent_values() {
        let train = rows(&[&[2.0, 1.0], &[4.0, 0.0]]);
        let fitted = Preprocess::fit(Scaling::Minmax, &train);
        assert_eq!(dense(&fitted.apply(rows(&[&[0.0, 0.0]]))), [[-1.0, 0.0]]);
    }

    #[test]
    fn standard_centres_dense_data() {
        let train = rows(&[&[1.0], &[3.0]]);
        let fitted = Preprocess::fit(Scaling::Standard, &train);
        assert_eq!(dense(&fitted.apply(train)), [[-1.0], [1.0]]);
    }

    #[test]
    fn missing_values_take_the_training_mean() {
        let train = rows(&[&[1.0], &[3.0], &[f32::NAN], &[0.0]]);
        let fitted = Preprocess::fit(Scaling::None, &train);
        let filled = fitted.apply(rows(&[&[f32::NAN]]));
        assert!((dense(&filled)[0][0] - 4.0 / 3.0).abs() < 1e-6);
        let scaled = Preprocess::fit(Scaling::Minmax, &train).apply(rows(&[&[f32::NAN]]));
        assert!((dense(&scaled)[0][0] - 4.0 / 9.0).abs() < 1e-6);
    }

    #[test]
    fn tfidf_rows_have_length_one() {
        let train = rows(&[&[1.0, 2.0], &[0.0, 1.0]]);
        let out = dense(&Preprocess::fit(Scaling::Tfidf, &train).apply(train));
        // The second feature is in every instance: ln(3/3) = 0.
        assert_eq!(out, [[1.0, 0.0], [0.0, 0.0]]);
    }
}
