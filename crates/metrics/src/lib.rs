//! Multi-label metrics: scores, decisions and targets in, numbers out.
//!
//! The definitions, with every 0/0 and every tie, are the functions' docs. Three kinds: [`decisions`] compares label
//! sets, [`ranking`] looks at the order of scores, [`calibration`] at their size. [`evaluate`] runs them all. [`thresholds`]
//! chooses what turns scores into label sets.
#![forbid(unsafe_code)]

pub mod calibration;
mod columns;
pub mod decisions;
mod propensity;
pub mod ranking;
mod scores;
pub mod significance;
mod table;
pub mod thresholds;

use data::LabelRows;

pub use decisions::{Confusion, per_label};
pub use propensity::Propensity;
pub use scores::{Score, Scores};
pub use table::{Direction, MetricTable, UnknownMetric, direction, names};
pub use thresholds::{Decision, ThresholdError, ThresholdsConfig};

/// What the at-k and propensity metrics need to know besides scores.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The k of precision@k, recall@k, nDCG@k and PSP@k.
    pub at_k: Vec<usize>,
    /// Label propensities from training counts; without them there is no PSP@k.
    pub propensity: Option<Propensity>,
}

/// Shapes that do not belong together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what}: {left:?} against {right:?} (instances, labels)")]
pub struct ShapeError {
    what: &'static str,
    left: (usize, usize),
    right: (usize, usize),
}

/// All metrics of one set of predictions.
///
/// `predicted` are the decided labels of each instance, `targets` the true ones; `scores` orders them. Metrics that
/// need every score are left out where `scores` holds only the top of each instance.
///
/// # Errors
/// When the shapes differ.
pub fn evaluate<S: Score>(
    scores: &Scores<S>,
    predicted: &LabelRows,
    targets: &LabelRows,
    settings: &Settings,
) -> Result<MetricTable, ShapeError> {
    let shape = (targets.len(), targets.columns());
    for (what, found) in [
        ("predictions and targets", (predicted.len(), predicted.columns())),
        ("scores and targets", (scores.len(), scores.columns())),
    ] {
        if found != shape {
            return Err(ShapeError { what, left: found, right: shape });
        }
    }
    let mut table = MetricTable::default();
    decisions::fill(&mut table, predicted, targets);
    ranking::fill(&mut table, scores, targets, settings);
    calibration::fill(&mut table, scores, targets);
    Ok(table)
}
