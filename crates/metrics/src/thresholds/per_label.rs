//! Each label's own threshold (SCut).

use data::LabelRows;

use super::{Average, Chosen, Cut, Decision, Objective, ThresholdsConfig, cuts, global};
use crate::Score;
use crate::columns::{map_columns, sort_descending};

/// Thresholds that maximise the objective; labels with fewer than `min_positives` positives take the global value.
pub(super) fn choose<S: Score>(columns: usize, values: &[S], targets: &LabelRows, config: &ThresholdsConfig) -> Chosen {
    let (objective, counts) = (config.objective, targets.counts());
    let rare = |l: usize| counts[l] < config.min_positives;
    let fallbacks = (0..columns).filter(|&l| rare(l)).count();
    let global = match fallbacks {
        0 => config.value,
        _ => global::choose(columns, values, targets, objective).unwrap_or(config.value),
    };
    // The cuts a label may choose from: one for a rare label, as it has no choice.
    let options: Vec<Vec<Cut>> = map_columns(columns, values, targets, |l, pairs| {
        sort_descending(pairs);
        if rare(l) {
            let predicted = pairs.partition_point(|p| p.0.into() >= global);
            let hits = pairs[..predicted].iter().filter(|p| p.1).count();
            return vec![Cut { threshold: global, hits, predicted }];
        }
        match objective.average {
            Average::Macro => best(pairs, objective, counts[l]).into_iter().collect(),
            Average::Micro => hull(pairs),
        }
    });
    let chosen: Vec<Cut> = match objective.average {
        Average::Macro => options.into_iter().map(|o| o[0]).collect(),
        Average::Micro => jointly(&options, objective, targets.nnz()),
    };
    let thresholds = chosen.iter().map(|c| c.threshold).collect();
    Chosen { decision: Decision::Thresholds(thresholds), fallbacks }
}

/// The cut with the best F of the label alone, the lowest of equal ones.
fn best<S: Score>(sorted: &[(S, bool)], objective: Objective, positives: usize) -> Option<Cut> {
    let mut best: Option<(f64, Cut)> = None;
    for cut in cuts(sorted) {
        let f = objective.f(cut.hits as f64, cut.predicted as f64, positives as f64);
        if best.is_none_or(|b| f >= b.0) {
            best = Some((f, cut));
        }
    }
    best.map(|b| b.1)
}

/// The cuts that maximise `hits - price · predicted` at some price of at least 0: the upper hull, strictest first.
fn hull<S: Score>(sorted: &[(S, bool)]) -> Vec<Cut> {
    let mut kept: Vec<Cut> = Vec::new();
    for cut in cuts(sorted) {
        // More hits are needed to be worth a lower threshold, but at price 0 equal hits are as good and lower wins.
        while let [.., a, b] = kept[..] {
            let above = |p: Cut, q: Cut, r: Cut| {
                (q.hits - p.hits) as f64 * (r.predicted - q.predicted) as f64
                    > (r.hits - q.hits) as f64 * (q.predicted - p.predicted) as f64
            };
            if above(a, b, cut) {
                break;
            }
            kept.pop();
        }
        kept.push(cut);
    }
    kept
}

/// The cuts, one a label, that together maximise micro-F.
///
/// `F = (1+β²) hits / (β² positives + predicted)` is largest where no choice makes `(1+β²) hits - F predicted` larger,
/// a sum over labels in which each chooses alone; Dinkelbach's iteration finds that F exactly.
/// Source: Dinkelbach, "On nonlinear fractional programming", Management Science 13, 1967.
fn jointly(options: &[Vec<Cut>], objective: Objective, positives: usize) -> Vec<Cut> {
    let gain = 1.0 + objective.beta * objective.beta;
    let mut f = 0.0;
    loop {
        let worth = |c: &Cut| gain * c.hits as f64 - f * c.predicted as f64;
        // The last of equal ones is the lowest threshold.
        let chosen: Vec<Cut> =
            options.iter().filter_map(|o| o.iter().max_by(|a, b| worth(a).total_cmp(&worth(b)))).copied().collect();
        let hits: usize = chosen.iter().map(|c| c.hits).sum();
        let predicted: usize = chosen.iter().map(|c| c.predicted).sum();
        let next = objective.f(hits as f64, predicted as f64, positives as f64);
        if next <= f {
            return chosen;
        }
        f = next;
    }
}
