//! From logits to better probabilities: temperature scaling and Platt scaling, fitted on validation data.

use data::LabelRows;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::columns::map_columns;

/// Newton steps at most; both fits are convex and need about ten.
const STEPS: usize = 100;
/// Labels with fewer positives (or negatives) in the validation data take the common temperature.
const FEWEST: usize = 2;

/// Which scaling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingMethod {
    /// `σ(z)` as it is.
    #[default]
    None,
    /// `σ(z / T)`, one T for all labels.
    Temperature,
    /// `σ(a_l z + b_l)`, two numbers a label.
    Platt,
}

impl ScalingMethod {
    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Temperature => "temperature",
            Self::Platt => "platt",
        }
    }
}

/// A fitted scaling: probability `σ(slope · z + intercept)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How it was fitted.
    pub method: ScalingMethod,
    /// One for all labels, or one a label.
    pub slope: Vec<f64>,
    /// As many.
    pub intercept: Vec<f64>,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { method: ScalingMethod::None, slope: vec![1.0], intercept: vec![0.0] }
    }
}

impl Calibration {
    /// Fits `method` on the logits `[instances, columns]` of validation data.
    pub fn fit(method: ScalingMethod, columns: usize, logits: &[f32], targets: &LabelRows) -> Self {
        match method {
            ScalingMethod::None => Self::default(),
            ScalingMethod::Temperature => {
                Self { method, slope: vec![inverse_temperature(columns, logits, targets)], intercept: vec![0.0] }
            }
            ScalingMethod::Platt => {
                let common = inverse_temperature(columns, logits, targets);
                let fitted = map_columns(columns, logits, targets, |_, pairs| platt(pairs).unwrap_or((common, 0.0)));
                let (slope, intercept) = fitted.into_iter().unzip();
                Self { method, slope, intercept }
            }
        }
    }

    /// The probability of label `l` at logit `z`.
    pub fn probability(&self, l: usize, z: f32) -> f32 {
        match self.method {
            ScalingMethod::None => sigmoid(z),
            _ => {
                let (slope, intercept) = self.of(l);
                sigmoid((slope * f64::from(z) + intercept) as f32)
            }
        }
    }

    /// The logit at which label `l` reaches `probability`.
    pub fn logit(&self, l: usize, probability: f64) -> f64 {
        let (slope, intercept) = self.of(l);
        ((probability / (1.0 - probability)).ln() - intercept) / slope
    }

    fn of(&self, l: usize) -> (f64, f64) {
        let at = if self.slope.len() == 1 { 0 } else { l };
        (self.slope[at], self.intercept[at])
    }
}

/// `1 / (1 + e^-z)`, without overflow.
pub fn sigmoid(z: f32) -> f32 {
    if z >= 0.0 {
        1.0 / (1.0 + (-z).exp())
    } else {
        let e = z.exp();
        e / (1.0 + e)
    }
}

fn sigmoid_f64(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// `1/T` with the least negative log likelihood of all pairs.
///
/// The likelihood is concave in `1/T`; where no finite `1/T` above 0 is best (scores without any mistake, or worse than
/// chance) the search ends at 100 or 0.01.
/// Source: Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv 1706.04599.
fn inverse_temperature(columns: usize, logits: &[f32], targets: &LabelRows) -> f64 {
    const RANGE: (f64, f64) = (0.01, 100.0);
    // First and second derivative by s of Σ softplus(s z) - y s z; sums of whole rows in order, blocks in order.
    let derivatives = |s: f64| {
        let rows: Vec<usize> = (0..targets.len()).collect();
        let blocks: Vec<(f64, f64)> = rows
            .par_chunks(64)
            .map(|block| {
                let (mut first, mut second) = (0.0, 0.0);
                for &i in block {
                    let row = &logits[i * columns..(i + 1) * columns];
                    for &z in row {
                        let z = f64::from(z);
                        let p = sigmoid_f64(s * z);
                        first += p * z;
                        second += p * (1.0 - p) * z * z;
                    }
                    first -= targets.row(i).iter().map(|&l| f64::from(row[l as usize])).sum::<f64>();
                }
                (first, second)
            })
            .collect();
        blocks.iter().fold((0.0, 0.0), |sum, b| (sum.0 + b.0, sum.1 + b.1))
    };
    // Newton's steps inside a bracket that the sign of the slope narrows.
    let (mut low, mut high, mut s) = (RANGE.0, RANGE.1, 1.0);
    for _ in 0..STEPS {
        let (first, second) = derivatives(s);
        if first > 0.0 {
            high = s
        } else {
            low = s
        }
        let newton = s - first / second;
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        if (next - s).abs() <= 1e-10 * s {
            return next;
        }
        s = next;
    }
    s
}

/// Slope and intercept of one label; none where the label has too few positives or negatives, or where the best slope
/// would turn the order of its scores round.
///
/// Targets are `(n₊ + 1)/(n₊ + 2)` and `1/(n₋ + 2)` instead of 1 and 0, so that the optimum is finite; Newton's steps
/// with halving.
/// Source: Platt 1999; Lin, Lin and Weng, "A note on Platt's probabilistic outputs", Machine Learning 68, 2007.
fn platt(pairs: &[(f32, bool)]) -> Option<(f64, f64)> {
    let positives = pairs.iter().filter(|p| p.1).count();
    let negatives = pairs.len() - positives;
    if positives < FEWEST || negatives < FEWEST {
        return None;
    }
    let (yes, no) = ((positives as f64 + 1.0) / (positives as f64 + 2.0), 1.0 / (negatives as f64 + 2.0));
    let look = |a: f64, b: f64| {
        let mut out = Curve { value: 0.0, slope: [0.0; 2], bend: [1e-12, 0.0, 1e-12] };
        for &(z, relevant) in pairs {
            let z = f64::from(z);
            out.add(a * z + b, z, if relevant { yes } else { no });
        }
        out
    };
    let (mut a, mut b) = (0.0, ((positives as f64 + 1.0) / (negatives as f64 + 1.0)).ln());
    let mut now = look(a, b);
    for _ in 0..STEPS {
        let [ga, gb] = now.slope;
        let [haa, hab, hbb] = now.bend;
        let determinant = haa * hbb - hab * hab;
        let (da, db) = (-(hbb * ga - hab * gb) / determinant, -(haa * gb - hab * ga) / determinant);
        let promised = ga * da + gb * db;
        if promised > -1e-12 * pairs.len() as f64 {
            break;
        }
        let mut step = 1.0;
        let next = loop {
            let next = look(a + step * da, b + step * db);
            if next.value <= now.value + 1e-4 * step * promised {
                break Some(next);
            }
            step /= 2.0;
            if step < 1e-10 {
                break None;
            }
        };
        let Some(next) = next else { break };
        (a, b, now) = (a + step * da, b + step * db, next);
    }
    (a > 0.0 && a.is_finite() && b.is_finite()).then_some((a, b))
}

/// Negative log likelihood of one label at some slope and intercept, with its derivatives.
struct Curve {
    value: f64,
    /// By slope and by intercept.
    slope: [f64; 2],
    /// Second derivatives: slope twice, both, intercept twice.
    bend: [f64; 3],
}

impl Curve {
    /// Adds `softplus(u) - target · u` of a pair with logit `z`.
    fn add(&mut self, u: f64, z: f64, target: f64) {
        let e = (-u.abs()).exp();
        let p = if u >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
        let (error, curve) = (p - target, p * (1.0 - p));
        self.value += u.max(0.0) + e.ln_1p() - target * u;
        self.slope[0] += error * z;
        self.slope[1] += error;
        self.bend[0] += curve * z * z;
        self.bend[1] += curve * z;
        self.bend[2] += curve;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Figures;

    /// Logits drawn evenly, truth drawn by `σ(slope_l z + intercept_l)` with a fixed low-discrepancy sequence.
    fn made(rows: usize, law: &[(f64, f64)]) -> (Vec<f32>, LabelRows) {
        let mut targets = LabelRows::new(law.len());
        let mut logits = Vec::new();
        for i in 0..rows {
            let mut labels = Vec::new();
            for (l, (a, b)) in law.iter().enumerate() {
                let z = 8.0 * (((i * 7919 + l * 13) % rows) as f64 / rows as f64) - 4.0;
                let draw = (i as f64 * 0.618_033_988_749 + l as f64 * 0.37).fract();
                logits.push(z as f32);
                if draw < sigmoid_f64(a * z + b) {
                    labels.push(l as u32);
                }
            }
            targets.push(&labels);
        }
        (logits, targets)
    }

    #[test]
    fn temperature_finds_the_law_that_drew_the_truth() {
        let (logits, targets) = made(20_000, &[(0.5, 0.0), (0.5, 0.0)]);
        let fitted = Calibration::fit(ScalingMethod::Temperature, 2, &logits, &targets);
        assert!((fitted.slope[0] - 0.5).abs() < 0.02, "{fitted:?}");
    }

    #[test]
    fn platt_finds_each_labels_law_and_mends_the_calibration() {
        let (logits, targets) = made(20_000, &[(0.5, 1.0), (1.5, -2.0), (1.0, 0.0)]);
        let fitted = Calibration::fit(ScalingMethod::Platt, 3, &logits, &targets);
        for (l, (a, b)) in [(0.5, 1.0), (1.5, -2.0), (1.0, 0.0)].into_iter().enumerate() {
            assert!((fitted.slope[l] - a).abs() < 0.05 && (fitted.intercept[l] - b).abs() < 0.05, "{fitted:?}");
        }
        let scores = |c: &Calibration| -> Vec<f32> {
            logits.iter().enumerate().map(|(at, z)| c.probability(at % 3, *z)).collect()
        };
        let before = Figures::of(3, &scores(&Calibration::default()), &targets);
        let after = Figures::of(3, &scores(&fitted), &targets);
        assert!(after.ece_equal_width < before.ece_equal_width / 5.0, "{before:?} {after:?}");
        assert!(after.ece_equal_mass < before.ece_equal_mass / 5.0 && after.brier < before.brier);
    }

    #[test]
    fn a_label_with_one_positive_takes_the_common_temperature() {
        let mut targets = LabelRows::new(2);
        for i in 0..40u32 {
            let mut labels: Vec<u32> = Vec::new();
            if i == 0 {
                labels.push(0);
            }
            if i % 2 == 0 {
                labels.push(1);
            }
            targets.push(&labels);
        }
        let logits: Vec<f32> = (0..80).map(|i| if (i / 2) % 4 == 0 { 1.0 } else { -1.0 }).collect();
        let fitted = Calibration::fit(ScalingMethod::Platt, 2, &logits, &targets);
        let common = Calibration::fit(ScalingMethod::Temperature, 2, &logits, &targets);
        assert_eq!((fitted.slope[0], fitted.intercept[0]), (common.slope[0], 0.0));
        assert_ne!(fitted.slope[1], common.slope[0]);
    }

    #[test]
    fn scores_without_any_mistake_end_the_search_at_its_bound() {
        let (logits, mut targets) = (vec![2.0f32, -2.0, 3.0, -1.0], LabelRows::new(2));
        targets.push(&[0]);
        targets.push(&[0]);
        let fitted = Calibration::fit(ScalingMethod::Temperature, 2, &logits, &targets);
        assert!(fitted.slope[0] > 15.0 && fitted.slope[0] <= 100.0, "{fitted:?}");
    }

    #[test]
    fn the_logit_of_a_probability_is_the_inverse() {
        let fitted = Calibration { method: ScalingMethod::Platt, slope: vec![0.7, 2.0], intercept: vec![0.3, -1.0] };
        let z = fitted.logit(1, 0.3);
        assert!((fitted.probability(1, z as f32) - 0.3).abs() < 1e-6);
    }
}
