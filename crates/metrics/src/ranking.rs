//! Metrics of the order of scores. Within an instance equal scores rank by label index, lower first; across instances
//! (average precision, AUROC) equal scores stand at one threshold together.

use rayon::prelude::*;

use data::LabelRows;

use crate::columns::{all_pairs, map_columns, sort_descending};
use crate::scores::better;
use crate::{MetricTable, Propensity, Score, Scores, Settings};

/// Average precision `Σ (R_n - R_{n-1}) P_n` over distinct thresholds, of `(score, relevant)` pairs.
///
/// None without a positive or without a negative.
pub fn average_precision<S: Score>(pairs: &mut [(S, bool)]) -> Option<f64> {
    sort_descending(pairs);
    average_precision_sorted(pairs)
}

fn average_precision_sorted<S: Score>(pairs: &[(S, bool)]) -> Option<f64> {
    let positives = pairs.iter().filter(|p| p.1).count();
    if positives == 0 || positives == pairs.len() {
        return None;
    }
    let (mut hits, mut seen, mut sum) = (0usize, 0usize, 0.0);
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let new = tied.iter().filter(|p| p.1).count();
        hits += new;
        seen += tied.len();
        sum += new as f64 * hits as f64 / seen as f64;
    }
    Some(sum / positives as f64)
}

/// Area under the ROC curve, ties counting half, of pairs sorted by descending score.
fn auroc_sorted<S: Score>(pairs: &[(S, bool)]) -> Option<f64> {
    let positives = pairs.iter().filter(|p| p.1).count();
    let negatives = pairs.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (mut above, mut area) = (0.0, 0.0);
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let p = tied.iter().filter(|p| p.1).count() as f64;
        let n = tied.len() as f64 - p;
        area += n * (above + p / 2.0);
        above += p;
    }
    Some(area / (positives as f64 * negatives as f64))
}

/// Average precision and AUROC of each label; none for a label without positives or without negatives.
pub fn label_curves<S: Score>(columns: usize, values: &[S], targets: &LabelRows) -> Vec<Option<(f64, f64)>> {
    map_columns(columns, values, targets, |_, pairs| {
        sort_descending(pairs);
        average_precision_sorted(pairs).zip(auroc_sorted(pairs))
    })
}

pub(crate) fn fill<S: Score>(table: &mut MetricTable, scores: &Scores<S>, targets: &LabelRows, settings: &Settings) {
    if let Scores::Dense { columns, values } = scores {
        let curves: Vec<(f64, f64)> = label_curves(*columns, values, targets).into_iter().flatten().collect();
        let n = curves.len().max(1) as f64;
        table.push("map_macro", curves.iter().map(|c| c.0).sum::<f64>() / n);
        table.push("auroc_macro", curves.iter().map(|c| c.1).sum::<f64>() / n);
        let mut pairs = all_pairs(*columns, values, targets);
        pairs.par_sort_unstable_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(std::cmp::Ordering::Equal));
        table.push("map_micro", average_precision_sorted(&pairs).unwrap_or(0.0));
        table.push("auroc_micro", auroc_sorted(&pairs).unwrap_or(0.0));
        drop(pairs);
        let orders = whole_orders(*columns, values, targets);
        table.push("ranking_loss", orders.ranking_loss);
        table.push("coverage_error", orders.coverage);
        table.push("lrap", orders.lrap);
    }
    at_k(table, scores, targets, settings);
}

/// Means over instances of what needs the whole order of the labels.
struct Orders {
    ranking_loss: f64,
    coverage: f64,
    lrap: f64,
}

/// - ranking loss: share of (relevant, irrelevant) pairs in the wrong order, over instances with at least one and not
///   all labels;
/// - coverage: rank of the last relevant label, and LRAP: mean over relevant labels of the share of relevant ones at
///   or above their rank, both over instances with at least one label.
fn whole_orders<S: Score>(columns: usize, values: &[S], targets: &LabelRows) -> Orders {
    let of_row = |i: usize| -> Option<(Option<f64>, f64, f64)> {
        let truth = targets.row(i);
        if truth.is_empty() {
            return None;
        }
        let row = &values[i * columns..(i + 1) * columns];
        let mut order: Vec<(u32, S)> = (0..).zip(row.iter().copied()).collect();
        order.sort_unstable_by(better);
        let (mut hits, mut wrong, mut last, mut lrap) = (0usize, 0usize, 0usize, 0.0);
        for (rank, entry) in order.iter().enumerate() {
            if truth.binary_search(&entry.0).is_ok() {
                wrong += rank - hits;
                hits += 1;
                last = rank + 1;
                lrap += hits as f64 / (rank + 1) as f64;
            }
        }
        let pairs = truth.len() * (columns - truth.len());
        let loss = (pairs > 0).then(|| wrong as f64 / pairs as f64);
        Some((loss, last as f64, lrap / truth.len() as f64))
    };
    let rows: Vec<_> = (0..targets.len()).into_par_iter().filter_map(of_row).collect();
    let losses: Vec<f64> = rows.iter().filter_map(|r| r.0).collect();
    let n = rows.len().max(1) as f64;
    Orders {
        ranking_loss: losses.iter().sum::<f64>() / losses.len().max(1) as f64,
        coverage: rows.iter().map(|r| r.1).sum::<f64>() / n,
        lrap: rows.iter().map(|r| r.2).sum::<f64>() / n,
    }
}

/// Of one instance, for each k: hits, DCG, ideal DCG, propensity-scored hits, their best attainable value.
type AtK = Vec<[f64; 5]>;

fn at_k<S: Score>(table: &mut MetricTable, scores: &Scores<S>, targets: &LabelRows, settings: &Settings) {
    let most = settings.at_k.iter().copied().max().unwrap_or(1).max(1);
    let propensity = settings.propensity.as_ref();
    let rows: Vec<(bool, AtK)> = (0..targets.len())
        .into_par_iter()
        .map(|i| {
            let truth = targets.row(i);
            let hits: Vec<Option<u32>> =
                scores.top(i, most).iter().map(|e| Some(e.0).filter(|l| truth.binary_search(l).is_ok())).collect();
            let top_hit = hits.first().is_some_and(Option::is_some);
            (top_hit, settings.at_k.iter().map(|&k| row_at_k(&hits, truth, k, propensity)).collect())
        })
        .collect();
    let labelled: Vec<usize> = (0..targets.len()).filter(|&i| !targets.row(i).is_empty()).collect();
    let n = labelled.len().max(1) as f64;
    table.push("one_error", labelled.iter().filter(|&&i| !rows[i].0).count() as f64 / n);
    for (j, k) in settings.at_k.iter().enumerate() {
        let hits: f64 = rows.iter().map(|r| r.1[j][0]).sum();
        table.push(format!("precision_at_{k}"), hits / (*k as f64 * rows.len().max(1) as f64));
        let recall: f64 = labelled.iter().map(|&i| rows[i].1[j][0] / targets.row(i).len() as f64).sum();
        table.push(format!("recall_at_{k}"), recall / n);
        let ndcg: f64 = labelled.iter().map(|&i| rows[i].1[j][1] / rows[i].1[j][2]).sum();
        table.push(format!("ndcg_at_{k}"), ndcg / n);
        if propensity.is_some() {
            let best: f64 = rows.iter().map(|r| r.1[j][4]).sum();
            let found: f64 = rows.iter().map(|r| r.1[j][3]).sum();
            table.push(format!("psp_at_{k}"), if best > 0.0 { found / best } else { 0.0 });
        }
    }
}

fn row_at_k(hits: &[Option<u32>], truth: &[u32], k: usize, propensity: Option<&Propensity>) -> [f64; 5] {
    let discount = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
    let mut out = [0.0; 5];
    for (rank, label) in hits.iter().take(k).enumerate() {
        if let Some(label) = label {
            out[0] += 1.0;
            out[1] += discount(rank);
            out[3] += propensity.map_or(0.0, |p| 1.0 / p.0[*label as usize]);
        }
    }
    out[2] = (0..k.min(truth.len())).map(discount).sum();
    if let Some(p) = propensity {
        let mut gains: Vec<f64> = truth.iter().map(|&l| 1.0 / p.0[l as usize]).collect();
        gains.sort_unstable_by(|a, b| b.total_cmp(a));
        out[4] = gains.iter().take(k).sum();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tied_scores_stand_at_one_threshold() {
        let mut pairs = [(0.9, true), (0.5, true), (0.5, false), (0.1, false)];
        // Recall 1/2 at precision 1, then 1/2 more at precision 2/3.
        assert!((average_precision(&mut pairs).unwrap() - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        assert_eq!(auroc_sorted(&pairs), Some((2.0 + 1.5) / 4.0));
    }

    #[test]
    fn a_label_of_one_kind_has_no_curve() {
        assert_eq!(average_precision(&mut [(0.1, true)]), None);
        assert_eq!(average_precision(&mut [(0.1, false)]), None);
    }
}
