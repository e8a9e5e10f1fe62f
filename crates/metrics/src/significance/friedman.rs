//! The Friedman test over average ranks, and the Nemenyi test after it.

use statrs::distribution::{ChiSquared, Continuous, ContinuousCDF, FisherSnedecor, Normal};

use super::average_ranks;

/// What the Friedman test says of k methods on N data sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Friedman {
    /// Average rank of each method.
    pub ranks: Vec<f64>,
    /// `χ²_F = 12N / (k(k+1)) · (Σ R_j² - k(k+1)²/4)`, k - 1 degrees of freedom.
    pub chi_squared: f64,
    /// Chance of as large a χ² where the methods are alike.
    pub p_chi_squared: f64,
    /// Iman and Davenport's `F = (N-1) χ² / (N(k-1) - χ²)`, k - 1 and (k - 1)(N - 1) degrees of freedom.
    pub f: f64,
    /// Chance of as large an F where the methods are alike.
    pub p_f: f64,
}

/// Friedman's test of values `[data sets][methods]`; none with fewer than two of either.
///
/// Source: Demšar, JMLR 7, 2006, §3.2.2. Ties share ranks; the statistic has no correction for them, as there.
pub fn friedman(values: &[Vec<f64>], up: bool) -> Option<Friedman> {
    let (n, k) = (values.len() as f64, values.first().map_or(0, Vec::len) as f64);
    if n < 2.0 || k < 2.0 {
        return None;
    }
    of_ranks(average_ranks(values, up), n)
}

/// The same of average ranks over `n` data sets.
fn of_ranks(ranks: Vec<f64>, n: f64) -> Option<Friedman> {
    let k = ranks.len() as f64;
    let squares: f64 = ranks.iter().map(|r| r * r).sum();
    let chi_squared = 12.0 * n / (k * (k + 1.0)) * (squares - k * (k + 1.0).powi(2) / 4.0);
    // Rounding must not leave the range of the statistic.
    let chi_squared = chi_squared.clamp(0.0, n * (k - 1.0));
    let p_chi_squared = 1.0 - ChiSquared::new(k - 1.0).ok()?.cdf(chi_squared);
    let rest = n * (k - 1.0) - chi_squared;
    let f = if rest > 0.0 { (n - 1.0) * chi_squared / rest } else { f64::INFINITY };
    let p_f = match f.is_finite() {
        true => 1.0 - FisherSnedecor::new(k - 1.0, (k - 1.0) * (n - 1.0)).ok()?.cdf(f),
        false => 0.0,
    };
    Some(Friedman { ranks, chi_squared, p_chi_squared, f, p_f })
}

/// Nemenyi's critical difference `q_α √(k(k+1) / 6N)`: methods whose average ranks differ by less are not distinguishable.
/// None with fewer than two methods, or no data set.
pub fn critical_difference(methods: usize, sets: usize, alpha: f64) -> Option<f64> {
    if methods < 2 || sets == 0 {
        return None;
    }
    let (k, n) = (methods as f64, sets as f64);
    let q = studentised_range_quantile(methods, 1.0 - alpha)? / std::f64::consts::SQRT_2;
    Some(q * (k * (k + 1.0) / (6.0 * n)).sqrt())
}

/// The value below which the range of `k` independent standard normal numbers lies with this probability: the studentised
/// range of infinite degrees of freedom.
pub fn studentised_range_quantile(k: usize, probability: f64) -> Option<f64> {
    let normal = Normal::new(0.0, 1.0).ok()?;
    // P(range ≤ q) = k ∫ φ(z) (Φ(z) - Φ(z - q))^(k-1) dz, by Simpson's rule where φ is not 0.
    let below = |q: f64| {
        const STEPS: usize = 2_000;
        let (from, to) = (-8.0, 8.0);
        let width = (to - from) / STEPS as f64;
        let value = |i: usize| {
            let z = from + i as f64 * width;
            normal.pdf(z) * (normal.cdf(z) - normal.cdf(z - q)).powi(k as i32 - 1)
        };
        let weight = |i: usize| if i == 0 || i == STEPS { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
        k as f64 * width / 3.0 * (0..=STEPS).map(|i| weight(i) * value(i)).sum::<f64>()
    };
    let (mut low, mut high) = (0.0, 20.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if below(middle) < probability { low = middle } else { high = middle }
    }
    Some(0.5 * (low + high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demsars_worked_example() {
        // Four decision trees on 14 data sets: Demšar 2006, §3.2.2 and Table 6.
        let found = of_ranks(vec![3.143, 2.000, 2.893, 1.964], 14.0).unwrap();
        assert!((found.chi_squared - 9.28).abs() < 0.005, "{}", found.chi_squared);
        assert!((found.f - 3.69).abs() < 0.005, "{}", found.f);
        // The critical value of F(3, 39) at 0.05 is 2.85.
        assert!(found.f > 2.85 && found.p_f < 0.05 && found.p_f > 0.01, "{}", found.p_f);
        let cd = |alpha| critical_difference(4, 14, alpha).unwrap();
        assert!((cd(0.05) - 1.25).abs() < 0.005 && (cd(0.10) - 1.12).abs() < 0.005, "{} {}", cd(0.05), cd(0.10));
    }

    #[test]
    fn values_of_scipy() {
        let values = [
            [0.763, 0.768, 0.771, 0.798],
            [0.599, 0.591, 0.590, 0.569],
            [0.954, 0.971, 0.968, 0.967],
            [0.628, 0.661, 0.654, 0.657],
            [0.882, 0.888, 0.886, 0.898],
            [0.936, 0.931, 0.916, 0.931],
            [0.661, 0.668, 0.609, 0.685],
            [0.583, 0.583, 0.563, 0.625],
            [0.775, 0.838, 0.866, 0.875],
            [1.000, 1.000, 1.000, 1.000],
            [0.940, 0.962, 0.965, 0.962],
            [0.619, 0.666, 0.614, 0.669],
            [0.972, 0.981, 0.975, 0.975],
            [0.957, 0.978, 0.946, 0.970],
        ];
        let found = friedman(&values.map(|r| r.to_vec()), true).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} against {b}");
        close(found.chi_squared, 9.857_142_857_142_824);
        close(found.p_chi_squared, 0.019_820_334_037_905_146);
        close(found.f, 3.986_666_666_666_649_5);
        close(found.p_f, 0.014_352_446_216_024_03);
        close(studentised_range_quantile(20, 0.95).unwrap() / 2f64.sqrt(), 3.543_799_131_517_781_5);
    }

    #[test]
    fn quantiles_of_the_range_are_those_of_the_tables() {
        // Demšar 2006, Table 5: q_α / √2.
        let at_5 = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164];
        let at_10 = [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920];
        for (k, (five, ten)) in (2..).zip(at_5.into_iter().zip(at_10)) {
            let found = |alpha: f64| studentised_range_quantile(k, 1.0 - alpha).unwrap() / 2f64.sqrt();
            assert!((found(0.05) - five).abs() < 1.1e-3 && (found(0.10) - ten).abs() < 1.1e-3, "k = {k}");
        }
    }

    #[test]
    fn too_little_to_compare_is_no_test() {
        assert_eq!(friedman(&[vec![0.1, 0.2]], true), None);
        assert_eq!(friedman(&[vec![0.1], vec![0.2]], true), None);
        assert_eq!((critical_difference(1, 5, 0.05), critical_difference(3, 0, 0.05)), (None, None));
        let same = friedman(&[vec![0.5; 3], vec![0.5; 3]], true).unwrap();
        assert_eq!((same.chi_squared, same.p_chi_squared), (0.0, 1.0));
    }
}
