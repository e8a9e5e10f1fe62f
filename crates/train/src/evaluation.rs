//! Scores of a model on data, and the metrics of scores.

use burn::tensor::Device;
use data::{Dataset, LabelRows};
use losses::{Loss, Reduction, TrainingCounts};
use metrics::{MetricTable, Propensity, Scores, Settings};
use model::{Model, Pass, host};

use crate::batches;
use crate::config::{ReportConfig, ThresholdsConfig};
use crate::error::{Error, Result};

/// Instances scored at once.
const BATCH: usize = 512;
/// Above this many scores only the best of each instance are kept.
const DENSE_LIMIT: usize = 500_000_000;
/// How many then.
const TOP: usize = 100;

/// What a model says of a data set.
pub struct Scored {
    /// Label probabilities.
    pub scores: Scores<f32>,
    /// The loss, where one was given.
    pub loss: Option<f64>,
}

/// Probabilities of every label for every instance of `data`, with the loss where one is given.
pub fn score(
    model: &Model,
    data: &Dataset,
    dense: bool,
    device: &Device,
    loss: Option<(&dyn Loss, Reduction)>,
) -> Scored {
    let columns = data.labels.columns();
    let keep_all = data.len().saturating_mul(columns) <= DENSE_LIMIT;
    let mut values: Vec<f32> = Vec::with_capacity(if keep_all { data.len() * columns } else { 0 });
    let mut rows = Vec::new();
    let mut total = 0.0;
    for instances in batches::chunks(data, BATCH) {
        let features = batches::features(&data.features, &instances, dense, device);
        let logits = model.forward(&features, &mut Pass::predict());
        if let Some((loss, reduction)) = loss {
            let targets = batches::targets(&data.labels, &instances, device);
            let mean = loss.forward(logits.clone(), targets).reduce(reduction);
            total += f64::from(host::HostView::of(&mean).as_slice()[0]) * instances.len() as f64;
        }
        let view = host::HostView::of(&logits);
        let probabilities = view.as_slice().iter().map(|&z| sigmoid(z));
        if keep_all {
            values.extend(probabilities);
        } else {
            let part = Scores::Dense { columns, values: probabilities.collect() };
            rows.extend((0..instances.len()).map(|i| part.top(i, TOP)));
        }
    }
    let scores = if keep_all { Scores::Dense { columns, values } } else { Scores::Top { columns, rows } };
    Scored { scores, loss: loss.map(|_| total / data.len().max(1) as f64) }
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

/// From scores to metrics: the thresholds, and what the at-k metrics need.
#[derive(Debug, Clone)]
pub struct Judge {
    /// One threshold for all labels, or one a label.
    pub thresholds: Vec<f64>,
    settings: Settings,
}

impl Judge {
    /// With the fixed threshold of the config.
    pub fn new(thresholds: &ThresholdsConfig, report: &ReportConfig, counts: &TrainingCounts) -> Self {
        let ThresholdsConfig::Fixed { value } = thresholds;
        let propensity = Some(Propensity::from_counts(&counts.labels, counts.instances));
        Self { thresholds: vec![*value], settings: Settings { at_k: report.at_k.clone(), propensity } }
    }

    /// The decided labels.
    pub fn decide(&self, scores: &Scores<f32>) -> LabelRows {
        scores.decide(&self.thresholds)
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

/// The scores of "predict by frequency": every instance gets each label's share of the training split.
pub fn frequency_scores(counts: &TrainingCounts, instances: usize) -> Scores<f32> {
    let shares: Vec<f32> = counts.labels.iter().map(|&n| n as f32 / counts.instances.max(1) as f32).collect();
    let columns = shares.len();
    if instances.saturating_mul(columns) <= DENSE_LIMIT {
        return Scores::Dense { columns, values: shares.repeat(instances) };
    }
    let one = Scores::Dense { columns, values: shares }.top(0, TOP);
    Scores::Top { columns, rows: vec![one; instances] }
}
