//! What a multi-label data set looks like: sizes, imbalance, label concurrence.
//!
//! Source of SCUMBLE: Charte et al., "Concurrence among imbalanced labels and its influence on multilabel resampling
//! algorithms", HAIS 2014; of IRLbl, mean IR and CVIR: Charte et al., Neurocomputing 163, 2015.

use std::collections::HashSet;

use serde::Serialize;

use crate::{Dataset, LabelRows};

/// The figures of METHODS §7.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// N.
    pub instances: usize,
    /// Number of features.
    pub features: usize,
    /// L.
    pub labels: usize,
    /// Stored feature entries over all cells.
    pub feature_density: f64,
    /// Mean labels an instance.
    pub cardinality: f64,
    /// Cardinality ÷ L.
    pub density: f64,
    /// Share of instances without any label, in [0, 1].
    pub negatives: f64,
    /// Mean of `IRLbl_j = max_k n_k / n_j` over labels that occur.
    pub mean_ir: f64,
    /// The largest IRLbl.
    pub max_ir: f64,
    /// Coefficient of variation of IRLbl (sample standard deviation ÷ mean).
    pub cv_ir: f64,
    /// Mean over instances of `1 - geometric mean ÷ arithmetic mean` of the IRLbl of their labels (0 without labels).
    pub scumble: f64,
    /// Distinct label sets.
    pub label_sets: usize,
    /// Labels without any positive here.
    pub unseen_labels: usize,
    /// Fewest, median and most positives of a label.
    pub positives: [usize; 3],
    /// Missing feature values.
    pub missing: usize,
}

impl Statistics {
    /// Describes `data`.
    pub fn of(data: &Dataset) -> Self {
        let labels = &data.labels;
        let n = labels.len().max(1) as f64;
        let mut counts = labels.counts();
        let ir = imbalance_ratios(&counts);
        let seen: Vec<f64> = ir.iter().copied().flatten().collect();
        let mean_ir = mean(&seen);
        let variance = seen.iter().map(|r| (r - mean_ir).powi(2)).sum::<f64>() / (seen.len().max(2) - 1) as f64;
        let cardinality = labels.nnz() as f64 / n;
        let sets: HashSet<&[u32]> = labels.rows().collect();
        counts.sort_unstable();
        let middle = counts.get(counts.len() / 2).copied().unwrap_or(0);
        Self {
            instances: labels.len(),
            features: data.features.columns(),
            labels: labels.columns(),
            feature_density: data.features.density(),
            cardinality,
            density: cardinality / labels.columns().max(1) as f64,
            negatives: labels.negatives() as f64 / n,
            mean_ir,
            max_ir: seen.iter().copied().fold(0.0, f64::max),
            cv_ir: if mean_ir > 0.0 { variance.sqrt() / mean_ir } else { 0.0 },
            scumble: scumble(labels, &ir),
            label_sets: sets.len(),
            unseen_labels: ir.iter().filter(|r| r.is_none()).count(),
            positives: [counts.first().copied().unwrap_or(0), middle, counts.last().copied().unwrap_or(0)],
            missing: data.missing,
        }
    }
}

/// `IRLbl_j = max_k n_k / n_j`; none for a label without positives.
pub fn imbalance_ratios(counts: &[usize]) -> Vec<Option<f64>> {
    let most = counts.iter().copied().max().unwrap_or(0) as f64;
    counts.iter().map(|&n| (n > 0).then(|| most / n as f64)).collect()
}

/// Concurrence of frequent and rare labels, as the `mldr` package computes it: over the labels present.
fn scumble(labels: &LabelRows, ir: &[Option<f64>]) -> f64 {
    let of_row = |row: &[u32]| {
        let present: Vec<f64> = row.iter().filter_map(|&l| ir[l as usize]).collect();
        if present.is_empty() {
            return 0.0;
        }
        let geometric = (present.iter().map(|r| r.ln()).sum::<f64>() / present.len() as f64).exp();
        1.0 - geometric / mean(&present)
    };
    labels.rows().map(of_row).sum::<f64>() / labels.len().max(1) as f64
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeatureRows, Schema};

    fn dataset(rows: &[&[u32]], columns: usize) -> Dataset {
        let mut labels = LabelRows::new(columns);
        let mut features = FeatureRows::new(2);
        for row in rows {
            labels.push(row);
            features.push(&[(0, 1.0)]);
        }
        let schema = Schema { features: 2, labels: columns, ..Schema::default() };
        Dataset { features, labels, schema, missing: 0, unknown_features: 0 }
    }

    #[test]
    fn figures_of_a_hand_made_set() {
        let s = Statistics::of(&dataset(&[&[0], &[0, 1], &[], &[0, 1], &[0]], 3));
        assert_eq!((s.instances, s.labels, s.label_sets, s.unseen_labels), (5, 3, 3, 1));
        assert_eq!((s.cardinality, s.negatives, s.feature_density), (1.2, 0.2, 0.5));
        assert!((s.density - 0.4).abs() < 1e-12);
        // IRLbl = [1, 2]; mean 1.5, sample deviation sqrt(0.5).
        assert_eq!((s.mean_ir, s.max_ir), (1.5, 2.0));
        assert!((s.cv_ir - 0.5f64.sqrt() / 1.5).abs() < 1e-12);
        // Two instances of five hold {0, 1}: 1 - sqrt(2)/1.5 each.
        assert!((s.scumble - 0.4 * (1.0 - 2f64.sqrt() / 1.5)).abs() < 1e-12);
        assert_eq!(s.positives, [0, 2, 4]);
    }
}
