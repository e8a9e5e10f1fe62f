//! How far scores are probabilities: over all (instance, label) pairs. [`scaling`] makes them better ones.

pub mod scaling;

use data::LabelRows;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::columns::all_pairs;
use crate::{MetricTable, Score, Scores};

/// Bins of a reliability diagram and of the calibration errors.
pub const BINS: usize = 10;

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Pairs whose score falls into the bin.
    pub count: usize,
    /// Mean score.
    pub confidence: f64,
    /// Share of positives.
    pub accuracy: f64,
}

impl Bin {
    fn add(&mut self, score: f64, relevant: bool) {
        self.count += 1;
        self.confidence += score;
        self.accuracy += f64::from(relevant);
    }

    /// Sums become means.
    fn finish(&mut self) {
        let n = self.count.max(1) as f64;
        self.confidence /= n;
        self.accuracy /= n;
    }
}

/// Pairs in `bins` equal-width bins of [0, 1]; bin b holds scores in `[b/bins, (b+1)/bins)`, the last one 1 too.
pub fn reliability<S: Score>(columns: usize, values: &[S], targets: &LabelRows, bins: usize) -> Vec<Bin> {
    let mut out = vec![Bin::default(); bins];
    for (row, truth) in values.chunks(columns.max(1)).zip(targets.rows()) {
        let mut truth = truth.iter().peekable();
        for (l, score) in (0u32..).zip(row) {
            let score: f64 = (*score).into();
            let bin = ((score * bins as f64) as usize).min(bins - 1);
            out[bin].add(score, truth.next_if_eq(&&l).is_some());
        }
    }
    out.iter_mut().for_each(Bin::finish);
    out
}

/// Pairs in `bins` bins of nearly equal count, by ascending score; equal scores fall into one bin together.
pub fn reliability_equal_mass<S: Score>(columns: usize, values: &[S], targets: &LabelRows, bins: usize) -> Vec<Bin> {
    let mut pairs = all_pairs(columns, values, targets);
    pairs.par_sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    let mut out = vec![Bin::default(); bins];
    let mut rank = 0;
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let bin = &mut out[rank * bins / pairs.len()];
        tied.iter().for_each(|p| bin.add(p.0.into(), p.1));
        rank += tied.len();
    }
    out.iter_mut().for_each(Bin::finish);
    out
}

/// Expected calibration error: the mean over all pairs of |mean score - share of positives| of their bin.
///
/// Source: Naeini et al. 2015 (equal width); Nixon et al. 2019, arXiv 1904.01685 (equal mass).
pub fn expected_error(bins: &[Bin]) -> f64 {
    let n = bins.iter().map(|b| b.count).sum::<usize>().max(1) as f64;
    bins.iter().map(|b| b.count as f64 / n * (b.confidence - b.accuracy).abs()).sum()
}

/// Mean over all pairs of `(score - target)²`.
pub fn brier<S: Score>(columns: usize, values: &[S], targets: &LabelRows) -> f64 {
    // Σ (s - y)² = Σ s² + Σ over positives of (1 - 2 s).
    let squares: f64 = values.iter().map(|s| (*s).into().powi(2)).sum();
    let positives: f64 = targets
        .rows()
        .enumerate()
        .flat_map(|(i, row)| row.iter().map(move |&l| i * columns + l as usize))
        .map(|at| 1.0 - 2.0 * values[at].into())
        .sum();
    (squares + positives) / values.len().max(1) as f64
}

/// The figures of one set of scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Expected calibration error, ten bins of equal width.
    pub ece_equal_width: f64,
    /// Expected calibration error, ten bins of equal count.
    pub ece_equal_mass: f64,
    /// Brier score.
    pub brier: f64,
    /// Ten equal-width bins.
    pub reliability: Vec<Bin>,
}

impl Figures {
    /// Of scores `[instances, columns]`.
    pub fn of<S: Score>(columns: usize, values: &[S], targets: &LabelRows) -> Self {
        let reliability = reliability(columns, values, targets, BINS);
        Self {
            ece_equal_width: expected_error(&reliability),
            ece_equal_mass: expected_error(&reliability_equal_mass(columns, values, targets, BINS)),
            brier: brier(columns, values, targets),
            reliability,
        }
    }
}

pub(crate) fn fill<S: Score>(table: &mut MetricTable, scores: &Scores<S>, targets: &LabelRows) {
    let Scores::Dense { columns, values } = scores else { return };
    table.push("ece_10_bins", expected_error(&reliability(*columns, values, targets, BINS)));
    table.push("brier", brier(*columns, values, targets));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Vec<f64>, LabelRows) {
        let mut targets = LabelRows::new(2);
        for row in [&[0u32, 1][..], &[1], &[]] {
            targets.push(row);
        }
        (vec![0.9, 0.6, 0.6, 0.6, 0.1, 0.3], targets)
    }

    #[test]
    fn equal_mass_bins_share_the_pairs_and_keep_ties_together() {
        let (values, targets) = example();
        let bins = reliability_equal_mass(2, &values, &targets, 3);
        assert_eq!(bins.iter().map(|b| b.count).collect::<Vec<_>>(), [2, 3, 1]);
        assert!((bins[1].confidence - 0.6).abs() < 1e-12 && (bins[1].accuracy - 2.0 / 3.0).abs() < 1e-12);
        let expected = (2.0 * 0.2 + 3.0 * (2.0 / 3.0 - 0.6) + 0.1) / 6.0;
        assert!((expected_error(&bins) - expected).abs() < 1e-12);
    }

    #[test]
    fn scores_that_are_the_truth_have_no_error() {
        let (_, targets) = example();
        let figures = Figures::of(2, &[1.0, 1.0, 0.0, 1.0, 0.0, 0.0f64], &targets);
        assert_eq!((figures.ece_equal_width, figures.ece_equal_mass, figures.brier), (0.0, 0.0, 0.0));
    }
}
