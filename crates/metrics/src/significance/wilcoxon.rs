//! The Wilcoxon signed-rank test of pairs, and Holm's correction for many tests.

use statrs::distribution::{ContinuousCDF, Normal};

use super::ranks;

/// Pairs up to which the chance is counted, not approximated, where no differences are equal or 0.
const COUNTED: usize = 50;

/// What the signed-rank test says of two methods.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wilcoxon {
    /// The smaller of the two sums of ranks.
    pub statistic: f64,
    /// Two-sided chance of as small a sum where the methods are alike.
    pub p: f64,
}

/// The signed-rank test of `a` against `b`, pair by pair; none where no pair differs.
///
/// Pairs without a difference are left out. Up to 50 pairs, none equal or tied, the chance is exact; else normal, with the
/// correction for ties and without one for continuity (as SciPy). Source: Wilcoxon, Biometrics 1, 1945.
pub fn wilcoxon(a: &[f64], b: &[f64]) -> Option<Wilcoxon> {
    let all: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let differences: Vec<f64> = all.iter().copied().filter(|d| *d != 0.0).collect();
    let n = differences.len();
    if n == 0 {
        return None;
    }
    let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let ranks = ranks(&sizes, false);
    let sum = |positive: bool| {
        ranks.iter().zip(&differences).filter(|(_, d)| (**d > 0.0) == positive).map(|(r, _)| r).sum::<f64>()
    };
    let statistic = sum(true).min(sum(false));
    let mut sorted = sizes;
    sorted.sort_by(f64::total_cmp);
    let ties: Vec<f64> = sorted.chunk_by(|x, y| x == y).map(|group| group.len() as f64).collect();
    let p = if n <= COUNTED && n == all.len() && ties.len() == n {
        exact(statistic as usize, n)
    } else {
        let n = n as f64;
        let correction: f64 = ties.iter().map(|t| t.powi(3) - t).sum::<f64>() / 48.0;
        let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - correction;
        let z = (statistic - n * (n + 1.0) / 4.0) / variance.sqrt();
        2.0 * Normal::new(0.0, 1.0).ok()?.cdf(z)
    };
    Some(Wilcoxon { statistic, p: p.min(1.0) })
}

/// Twice the share of all signs of the ranks 1 to n whose positive ranks sum to at most `statistic`.
fn exact(statistic: usize, n: usize) -> f64 {
    let most = n * (n + 1) / 2;
    let mut ways = vec![0.0; most + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..=most).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    2.0 * ways[..=statistic.min(most)].iter().sum::<f64>() / 2f64.powi(n as i32)
}

/// Holm's step-down correction: the chances of many tests, each so that all together hold their level.
///
/// Source: Holm, Scandinavian Journal of Statistics 6, 1979.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut out = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (k, i) in order.into_iter().enumerate() {
        largest = largest.max((p[i] * (p.len() - k) as f64).min(1.0));
        out[i] = largest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demsars_worked_example() {
        // C4.5 and C4.5 with m chosen: Demšar 2006, Table 2; two equal pairs are ranked there and left out here.
        let a = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957];
        let b = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978];
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| ((a - b) * 1e3f64).round() / 1e3).collect();
        let found = wilcoxon(&differences, &[0.0; 14]).unwrap();
        // The paper shares the ranks of the equal pairs, 1.5 each, and gets 3.5 + 7 + 1.5 = 12.
        assert_eq!(found.statistic, 1.5 + 5.0);
        // SciPy, with ties: 0.01075713311978963.
        assert!((found.p - 0.010_757_133_119_789_63).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn values_of_scipy() {
        // scipy.stats.wilcoxon of these differences, counted.
        let d = [0.06, 0.12, -0.03, 0.21, 0.08, 0.15, -0.10, 0.31, 0.02, 0.19, -0.05];
        let found = wilcoxon(&d, &[0.0; 11]).unwrap();
        assert_eq!(found.statistic, 11.0);
        assert!((found.p - 0.053_710_937_5).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn holm_steps_down() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (f, e) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((f - e).abs() < 1e-12, "{found:?}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn nothing_differs() {
        assert_eq!(wilcoxon(&[0.1, 0.2], &[0.1, 0.2]), None);
    }
}
