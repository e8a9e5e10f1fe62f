//! The same number of labels for every instance (RCut).

use data::LabelRows;

use super::{Average, Objective};
use crate::{Score, Scores};

/// The largest number looked at.
const MOST: usize = 100;

/// The number of labels that maximises `objective`; the largest of equal ones, as thresholds are the lowest.
pub(super) fn choose<S: Score>(scores: &Scores<S>, targets: &LabelRows, objective: Objective) -> usize {
    let columns = scores.columns();
    let most = MOST.min(columns).max(1);
    // The label at each rank of each instance, and whether it is relevant.
    let ranks: Vec<Vec<(u32, bool)>> = targets
        .rows()
        .enumerate()
        .map(|(i, truth)| {
            let is_relevant = |l: u32| truth.binary_search(&l).is_ok();
            scores.top(i, most).iter().map(|e| (e.0, is_relevant(e.0))).collect()
        })
        .collect();
    let positives = targets.counts();
    let (mut hits, mut predicted) = (vec![0usize; columns], vec![0usize; columns]);
    let mut best = (0.0, 1);
    for k in 1..=most {
        for (label, relevant) in ranks.iter().filter_map(|r| r.get(k - 1)) {
            hits[*label as usize] += usize::from(*relevant);
            predicted[*label as usize] += 1;
        }
        let f = match objective.average {
            Average::Micro => {
                let sum = |counts: &[usize]| counts.iter().sum::<usize>() as f64;
                objective.f(sum(&hits), sum(&predicted), sum(&positives))
            }
            Average::Macro => {
                let of_label = |l: usize| objective.f(hits[l] as f64, predicted[l] as f64, positives[l] as f64);
                (0..columns).map(of_label).sum::<f64>() / columns.max(1) as f64
            }
        };
        if f >= best.0 {
            best = (f, k);
        }
    }
    best.1
}
