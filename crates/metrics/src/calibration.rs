//! How far scores are probabilities: over all (instance, label) pairs.

use data::LabelRows;

use crate::{MetricTable, Score, Scores};

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// Pairs whose score falls into the bin.
    pub count: usize,
    /// Mean score.
    pub confidence: f64,
    /// Share of positives.
    pub accuracy: f64,
}

/// Pairs in `bins` equal-width bins of [0, 1]; bin b holds scores in `[b/bins, (b+1)/bins)`, the last one 1 too.
pub fn reliability<S: Score>(columns: usize, values: &[S], targets: &LabelRows, bins: usize) -> Vec<Bin> {
    let mut out = vec![Bin::default(); bins];
    for (row, truth) in values.chunks(columns.max(1)).zip(targets.rows()) {
        let mut truth = truth.iter().peekable();
        for (l, score) in (0u32..).zip(row) {
            let score: f64 = (*score).into();
            let bin = &mut out[((score * bins as f64) as usize).min(bins - 1)];
            bin.count += 1;
            bin.confidence += score;
            bin.accuracy += f64::from(truth.next_if_eq(&&l).is_some());
        }
    }
    for bin in out.iter_mut().filter(|b| b.count > 0) {
        bin.confidence /= bin.count as f64;
        bin.accuracy /= bin.count as f64;
    }
    out
}

pub(crate) fn fill<S: Score>(table: &mut MetricTable, scores: &Scores<S>, targets: &LabelRows) {
    let Scores::Dense { columns, values } = scores else { return };
    let n = values.len().max(1) as f64;
    let bins = reliability(*columns, values, targets, 10);
    let ece = bins.iter().map(|b| b.count as f64 / n * (b.confidence - b.accuracy).abs()).sum();
    table.push("ece_10_bins", ece);
    // Σ (s - y)² = Σ s² + Σ over positives of (1 - 2 s).
    let squares: f64 = values.iter().map(|s| (*s).into().powi(2)).sum();
    let positives: f64 = targets
        .rows()
        .enumerate()
        .flat_map(|(i, row)| row.iter().map(move |&l| i * columns + l as usize))
        .map(|at| 1.0 - 2.0 * values[at].into())
        .sum();
    table.push("brier", (squares + positives) / n);
}
