//! Scores label by label: the column of each label with its truth, gathered block of labels by block of labels.

use data::LabelRows;
use rayon::prelude::*;

use crate::Score;

/// Labels gathered together: neighbours in a row share its cache lines.
const BLOCK: usize = 16;

/// What `each` makes of every label's column of `(score, relevant)` pairs, in the order of the labels.
///
/// `values` are `[instances, columns]`, row by row. Columns run in parallel; the result does not depend on how.
pub(crate) fn map_columns<S: Score, T: Send>(
    columns: usize,
    values: &[S],
    targets: &LabelRows,
    each: impl Fn(usize, &mut [(S, bool)]) -> T + Sync,
) -> Vec<T> {
    let positives = targets.by_label();
    let instances = targets.len();
    let starts: Vec<usize> = (0..columns).step_by(BLOCK).collect();
    let blocks: Vec<Vec<T>> = starts
        .into_par_iter()
        .map(|start| {
            let width = BLOCK.min(columns - start);
            let mut block: Vec<Vec<(S, bool)>> = vec![Vec::with_capacity(instances); width];
            for row in values.chunks_exact(columns) {
                for (column, &score) in block.iter_mut().zip(&row[start..start + width]) {
                    column.push((score, false));
                }
            }
            let of_label = |(offset, column): (usize, &mut Vec<(S, bool)>)| {
                let label = start + offset;
                positives[label].iter().for_each(|&i| column[i as usize].1 = true);
                each(label, column)
            };
            block.iter_mut().enumerate().map(of_label).collect()
        })
        .collect();
    blocks.into_iter().flatten().collect()
}

/// Highest score first.
pub(crate) fn sort_descending<S: Score>(pairs: &mut [(S, bool)]) {
    pairs.sort_unstable_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(std::cmp::Ordering::Equal));
}

/// Every `(score, relevant)` pair of all labels, row by row.
pub(crate) fn all_pairs<S: Score>(columns: usize, values: &[S], targets: &LabelRows) -> Vec<(S, bool)> {
    let mut pairs: Vec<(S, bool)> = values.iter().map(|&s| (s, false)).collect();
    for (i, row) in targets.rows().enumerate() {
        row.iter().for_each(|&l| pairs[i * columns + l as usize].1 = true);
    }
    pairs
}
