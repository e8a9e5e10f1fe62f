//! Whether methods differ: ranks over data sets, and the tests that Demšar (JMLR 7, 2006) recommends for them.

mod friedman;
mod wilcoxon;

pub use friedman::{Friedman, critical_difference, friedman, studentised_range_quantile};
pub use wilcoxon::{Wilcoxon, holm, wilcoxon};

/// Ranks of values from 1: the largest first where `up`, else the smallest. Equal values share the mean of their ranks.
pub fn ranks(values: &[f64], up: bool) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let key = |i: usize| if up { -values[i] } else { values[i] };
    order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    let mut out = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let same = order[at..].iter().take_while(|&&i| values[i] == values[order[at]]).count();
        let mean = at as f64 + (same + 1) as f64 / 2.0;
        order[at..at + same].iter().for_each(|&i| out[i] = mean);
        at += same;
    }
    out
}

/// Mean rank of each method over data sets, `[data sets][methods]`.
pub fn average_ranks(values: &[Vec<f64>], up: bool) -> Vec<f64> {
    let methods = values.first().map_or(0, Vec::len);
    let mut sums = vec![0.0; methods];
    for row in values {
        sums.iter_mut().zip(ranks(row, up)).for_each(|(s, r)| *s += r);
    }
    sums.into_iter().map(|s| s / values.len().max(1) as f64).collect()
}

/// Mean and standard deviation (divisor n - 1; 0 of a single value).
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_ranks() {
        assert_eq!(ranks(&[0.3, 0.1, 0.3, 0.9], true), [2.5, 4.0, 2.5, 1.0]);
        assert_eq!(ranks(&[0.3, 0.1, 0.3, 0.9], false), [2.5, 1.0, 2.5, 4.0]);
        assert_eq!(ranks(&[], true), [0.0; 0]);
        let (mean, deviation) = mean_and_deviation(&[1.0, 2.0, 4.0]);
        assert!((mean - 7.0 / 3.0).abs() < 1e-12 && (deviation - (7.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(mean_and_deviation(&[5.0]), (5.0, 0.0));
    }
}
