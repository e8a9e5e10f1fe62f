//! Label propensities: how likely a relevant label is to have been recorded.

/// `p_l = 1 / (1 + C e^{-A ln(n_l + B)})`, `C = (ln N - 1)(B + 1)^A`, for every label.
///
/// Source: Jain, Prabhu and Varma, KDD 2016; A = 0.55, B = 1.5 are its defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Propensity(pub Vec<f64>);

impl Propensity {
    /// From the positives of each label among `instances` training instances, with A = 0.55 and B = 1.5.
    pub fn from_counts(counts: &[usize], instances: usize) -> Self {
        Self::with(counts, instances, 0.55, 1.5)
    }

    /// With A and B given.
    pub fn with(counts: &[usize], instances: usize, a: f64, b: f64) -> Self {
        let c = ((instances as f64).ln() - 1.0) * (b + 1.0).powf(a);
        // Below e instances C would be negative and a propensity above 1.
        let c = c.max(0.0);
        Self(counts.iter().map(|&n| 1.0 / (1.0 + c * (-a * (n as f64 + b).ln()).exp())).collect())
    }
}
