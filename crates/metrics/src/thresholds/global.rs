//! One threshold for all labels.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use data::LabelRows;

use super::{Average, Objective, cuts};
use crate::Score;
use crate::columns::{map_columns, sort_descending};

/// F values are summed as whole multiples of this, so that the order of threads does not show in the sum.
const UNIT: f64 = 1.0 / (1u64 << 44) as f64;

/// The threshold that maximises `objective`; none without any positive.
///
/// Candidates are the scores of positives, the lowest of the best ones wins: lowering a threshold to a score at which no
/// label has a positive only adds false positives.
pub(super) fn choose<S: Score>(columns: usize, values: &[S], targets: &LabelRows, objective: Objective) -> Option<f64> {
    let mut candidates: Vec<S> = targets
        .rows()
        .enumerate()
        .flat_map(|(i, row)| row.iter().map(move |&l| values[i * columns + l as usize]))
        .collect();
    candidates.sort_unstable_by(|a, b| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal));
    candidates.dedup();
    // What two sums may differ by that are the same but for their terms' rounding.
    let (goodness, slack) = match objective.average {
        Average::Micro => (micro(columns, values, targets, &candidates, objective), 0.0),
        Average::Macro => (macro_sum(columns, values, targets, &candidates, objective), columns as f64 * UNIT),
    };
    let best = goodness.iter().copied().fold(0.0, f64::max);
    goodness.iter().rposition(|g| *g >= best - slack).map(|at| candidates[at].into())
}

/// Hits and predictions that each candidate adds to those above it; then F of the running sums.
fn micro<S: Score>(
    columns: usize,
    values: &[S],
    targets: &LabelRows,
    candidates: &[S],
    objective: Objective,
) -> Vec<f64> {
    let count = || (0..candidates.len()).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>();
    let (hits, predicted) = (count(), count());
    map_columns(columns, values, targets, |_, pairs| {
        sort_descending(pairs);
        let mut at = 0;
        for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
            at += candidates[at..].partition_point(|c| *c > tied[0].0);
            let Some(bin) = predicted.get(at) else { break };
            bin.fetch_add(tied.len(), Relaxed);
            hits[at].fetch_add(tied.iter().filter(|p| p.1).count(), Relaxed);
        }
    });
    let positives = targets.nnz() as f64;
    let (mut h, mut p) = (0, 0);
    hits.iter()
        .zip(&predicted)
        .map(|(more_hits, more)| {
            h += more_hits.load(Relaxed);
            p += more.load(Relaxed);
            objective.f(h as f64, p as f64, positives)
        })
        .collect()
}

/// Sum over labels of F at each candidate: every label adds its changes, running sums do the rest.
fn macro_sum<S: Score>(
    columns: usize,
    values: &[S],
    targets: &LabelRows,
    candidates: &[S],
    objective: Objective,
) -> Vec<f64> {
    let change: Vec<AtomicI64> = (0..candidates.len()).map(|_| AtomicI64::new(0)).collect();
    let counts = targets.counts();
    map_columns(columns, values, targets, |label, pairs| {
        if counts[label] == 0 {
            return;
        }
        sort_descending(pairs);
        let (mut at, mut before) = (0, 0i64);
        for cut in cuts(pairs) {
            at += candidates[at..].partition_point(|c| (*c).into() > cut.threshold);
            let Some(bin) = change.get(at) else { break };
            let f = objective.f(cut.hits as f64, cut.predicted as f64, counts[label] as f64);
            let now = (f / UNIT).round() as i64;
            bin.fetch_add(now - before, Relaxed);
            before = now;
        }
    });
    let mut sum = 0i64;
    change
        .iter()
        .map(|c| {
            sum += c.load(Relaxed);
            sum as f64 * UNIT
        })
        .collect()
}
