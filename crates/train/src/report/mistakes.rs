//! Labels that are decided for in the place of others, and how precision pays for recall.

use std::collections::HashMap;

use data::LabelRows;
use metrics::Scores;
use serde::{Deserialize, Serialize};

/// Pairs that are kept.
const PAIRS: usize = 50;
/// Labels missed, or decided for wrongly, that are looked at in one instance.
const IN_INSTANCE: usize = 20;
/// Score levels of the curve.
const LEVELS: usize = 1_000;

/// In so many instances a label was missed while another one was decided for wrongly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// The label that was missed.
    pub missed: String,
    /// The label decided for.
    pub instead: String,
    /// Instances.
    pub count: usize,
}

/// The most frequent pairs of a missed label and a wrong one.
pub fn confusions(decided: &LabelRows, targets: &LabelRows, name: impl Fn(usize) -> String) -> Vec<Confusion> {
    let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
    for (decided, truth) in decided.rows().zip(targets.rows()) {
        let missed = truth.iter().filter(|l| decided.binary_search(l).is_err()).take(IN_INSTANCE);
        for &m in missed {
            for &w in decided.iter().filter(|l| truth.binary_search(l).is_err()).take(IN_INSTANCE) {
                *counts.entry((m, w)).or_default() += 1;
            }
        }
    }
    let mut all: Vec<((u32, u32), usize)> = counts.into_iter().collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(PAIRS);
    all.into_iter()
        .map(|((m, w), count)| Confusion { missed: name(m as usize), instead: name(w as usize), count })
        .collect()
}

/// (recall, precision) of all labels together at falling scores; empty where only the best scores were kept.
pub fn precision_recall(scores: &Scores<f32>, targets: &LabelRows) -> Vec<(f64, f64)> {
    let Scores::Dense { columns, values } = scores else { return Vec::new() };
    let level = |score: f32| ((score * LEVELS as f32) as usize).min(LEVELS - 1);
    let (mut all, mut positive) = (vec![0usize; LEVELS], vec![0usize; LEVELS]);
    for (row, truth) in values.chunks(columns.max(&1).to_owned()).zip(targets.rows()) {
        row.iter().for_each(|s| all[level(*s)] += 1);
        truth.iter().for_each(|&l| positive[level(row[l as usize])] += 1);
    }
    let total = targets.nnz().max(1) as f64;
    let (mut seen, mut right) = (0usize, 0usize);
    let mut out: Vec<(f64, f64)> = Vec::new();
    for k in (0..LEVELS).rev() {
        seen += all[k];
        right += positive[k];
        let point = (right as f64 / total, right as f64 / seen.max(1) as f64);
        if seen > 0 && out.last().is_none_or(|p| point.0 - p.0 > 0.002) {
            out.push(point);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[&[u32]]) -> LabelRows {
        let mut out = LabelRows::new(4);
        list.iter().for_each(|r| out.push(r));
        out
    }

    #[test]
    fn pairs_are_counted_and_the_curve_falls_to_the_share_of_positives() {
        let (decided, truth) = (rows(&[&[0, 1], &[1], &[2]]), rows(&[&[0, 3], &[3], &[2]]));
        let found = confusions(&decided, &truth, |l| format!("label {l}"));
        assert_eq!(found, [Confusion { missed: "label 3".into(), instead: "label 1".into(), count: 2 }]);
        let values = vec![0.9, 0.2, 0.1, 0.8, 0.1, 0.7, 0.1, 0.6, 0.2, 0.1, 0.95, 0.1];
        let curve = precision_recall(&Scores::Dense { columns: 4, values }, &truth);
        assert_eq!(curve[0], (0.25, 1.0));
        let (recall, precision) = *curve.last().unwrap();
        assert!((recall, precision) == (1.0, 0.8), "{curve:?}");
    }
}
