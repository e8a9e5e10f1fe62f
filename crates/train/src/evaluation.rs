//! Scores of a model on data, and the metrics of scores.

use data::{Dataset, LabelRows};
use losses::{Loss, Reduction, TrainingCounts};
use metrics::calibration::scaling::Calibration;
use metrics::{Decision, MetricTable, Propensity, Scores, Settings};

use crate::batches;
use crate::config::ReportConfig;
use crate::error::{Error, Result};
use crate::predictor::Predictor;

/// Above this many scores only the best of each instance are kept.
const DENSE_LIMIT: usize = 500_000_000;
/// How many then.
const TOP: usize = 100;

/// True where all scores of a data set are kept.
fn keeps_all(data: &Dataset) -> bool {
    data.len().saturating_mul(data.labels.columns()) <= DENSE_LIMIT
}

/// Distances of all instances from their thresholds, `[instances, labels]`; none where they are too many to keep.
/// `own`: it is the training data.
///
/// # Errors
/// When the signals of the thresholds cannot be made.
pub fn distances(predictor: &Predictor, data: &Dataset, own: bool) -> Result<Option<Vec<f32>>> {
    if !keeps_all(data) {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(data.len() * data.labels.columns());
    predictor.look_at_all(data, own, |_, distances| {
        values.extend_from_slice(host::HostView::of(&distances).as_slice());
        Ok(())
    })?;
    Ok(Some(values))
}

/// Probabilities of distances `[instances, columns]`.
pub fn probabilities(distances: &[f32], columns: usize, calibration: &Calibration) -> Vec<f32> {
    let rows = distances.chunks(columns.max(1));
    rows.flat_map(|row| row.iter().enumerate().map(|(l, &z)| calibration.probability(l, z))).collect()
}

/// Probabilities of every label for every instance of `data`. `own`: it is the training data.
///
/// # Errors
/// When the signals of the thresholds cannot be made.
pub fn score(predictor: &Predictor, data: &Dataset, own: bool, calibration: &Calibration) -> Result<Scores<f32>> {
    Ok(score_with(predictor, data, own, calibration, None)?.0)
}

/// The same, with the mean loss.
///
/// # Errors
/// When the signals of the thresholds cannot be made.
pub fn score_with_loss(
    predictor: &Predictor,
    data: &Dataset,
    loss: &dyn Loss,
    reduction: Reduction,
) -> Result<(Scores<f32>, f64)> {
    score_with(predictor, data, false, &Calibration::default(), Some((loss, reduction)))
}

fn score_with(
    predictor: &Predictor,
    data: &Dataset,
    own: bool,
    calibration: &Calibration,
    loss: Option<(&dyn Loss, Reduction)>,
) -> Result<(Scores<f32>, f64)> {
    let columns = data.labels.columns();
    let keep_all = keeps_all(data);
    let mut values: Vec<f32> = Vec::with_capacity(if keep_all { data.len() * columns } else { 0 });
    let mut rows = Vec::new();
    let mut total = 0.0;
    predictor.look_at_all(data, own, |instances, distances| {
        if let Some((loss, reduction)) = loss {
            let targets = batches::targets(&data.labels.select(instances), &distances.device());
            let mean = loss.forward(distances.clone(), targets).reduce(reduction);
            total += f64::from(host::HostView::of(&mean).as_slice()[0]) * instances.len() as f64;
        }
        let part = probabilities(host::HostView::of(&distances).as_slice(), columns, calibration);
        if keep_all {
            values.extend(part);
        } else {
            let part = Scores::Dense { columns, values: part };
            rows.extend((0..instances.len()).map(|i| part.top(i, TOP)));
        }
        Ok(())
    })?;
    let scores = if keep_all { Scores::Dense { columns, values } } else { Scores::Top { columns, rows } };
    Ok((scores, total / data.len().max(1) as f64))
}

/// From scores to metrics: the rule that decides, and what the at-k metrics need.
#[derive(Debug, Clone)]
pub struct Judge {
    /// From scores to labels.
    pub decision: Decision,
    settings: Settings,
}

impl Judge {
    /// With this rule.
    pub fn new(decision: Decision, report: &ReportConfig, counts: &TrainingCounts) -> Self {
        let propensity = Some(Propensity::from_counts(&counts.labels, counts.instances));
        Self { decision, settings: Settings { at_k: report.at_k.clone(), propensity } }
    }

    /// The same with another rule.
    pub fn with(&self, decision: Decision) -> Self {
        Self { decision, settings: self.settings.clone() }
    }

    /// The decided labels.
    pub fn decide(&self, scores: &Scores<f32>) -> LabelRows {
        self.decision.decide(scores)
    }

    /// All metrics.
    ///
    /// # Errors
    /// Only when shapes differ.
    pub fn metrics(&self, scores: &Scores<f32>, targets: &LabelRows) -> Result<MetricTable> {
        metrics::evaluate(scores, &self.decide(scores), targets, &self.settings)
            .map_err(|e| Error::Job(format!("metrics: {e}")))
    }
}

/// The share of training instances that carry each label.
pub fn training_shares(counts: &TrainingCounts) -> Vec<f64> {
    counts.labels.iter().map(|&n| n as f64 / counts.instances.max(1) as f64).collect()
}

/// The scores of "predict by frequency": every instance gets each label's share of the training split.
pub fn frequency_scores(counts: &TrainingCounts, instances: usize) -> Scores<f32> {
    let shares: Vec<f32> = training_shares(counts).iter().map(|s| *s as f32).collect();
    let columns = shares.len();
    if instances.saturating_mul(columns) <= DENSE_LIMIT {
        return Scores::Dense { columns, values: shares.repeat(instances) };
    }
    let one = Scores::Dense { columns, values: shares }.top(0, TOP);
    Scores::Top { columns, rows: vec![one; instances] }
}
