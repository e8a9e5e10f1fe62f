//! Each label as often as in the training data (PCut).

use data::LabelRows;

use super::cuts;
use crate::Score;
use crate::columns::{map_columns, sort_descending};

/// Thresholds at which the share of instances predicted for each label is nearest to its share of the training data.
///
/// A share nearest to no instance at all gives a threshold just above the highest score.
pub(super) fn choose<S: Score>(columns: usize, values: &[S], targets: &LabelRows, training_shares: &[f64]) -> Vec<f64> {
    map_columns(columns, values, targets, |l, pairs| {
        sort_descending(pairs);
        let wanted = training_shares[l] * pairs.len() as f64;
        let highest = pairs.first().map_or(1.0, |p| p.0.into());
        let mut nearest = (wanted, highest.next_up());
        for cut in cuts(pairs) {
            let off = (cut.predicted as f64 - wanted).abs();
            if off < nearest.0 {
                nearest = (off, cut.threshold);
            }
        }
        nearest.1
    })
}
