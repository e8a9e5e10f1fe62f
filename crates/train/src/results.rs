//! What is known of a model on a split: metrics, the baseline's, calibration, every label; and where it is written.

use data::Dataset;
use metrics::calibration::Figures;
use metrics::calibration::scaling::{Calibration, ScalingMethod};
use metrics::{MetricTable, Scores};

use crate::config::ReportConfig;
use crate::error::Result;
use crate::evaluation::{Judge, distances, frequency_scores, probabilities, score};
use crate::predictor::Predictor;
use crate::report::{self, Details};
use crate::run_folder::{BeforeAfter, CalibrationResult, Metrics, Protocol, RunFolder};
use crate::signals::SignalSource;
use crate::stored_model::Description;

/// A model's results on one split.
pub struct SplitResult {
    /// Metrics of the model.
    pub table: MetricTable,
    /// Metrics of "predict by frequency".
    pub baseline: MetricTable,
    /// Probabilities.
    pub scores: Scores<f32>,
    calibration: Option<BeforeAfter>,
    details: Details,
}

/// Looks at a split. `own`: it is the training data.
///
/// # Errors
/// When the signals of the thresholds cannot be made.
pub fn look(
    name: &str,
    set: &Dataset,
    own: bool,
    predictor: &Predictor,
    description: &Description,
    report: &ReportConfig,
) -> Result<SplitResult> {
    let rules = &description.rules;
    let columns = set.labels.columns();
    let (scores, calibration) = match distances(predictor, set, own)? {
        None => (score(predictor, set, own, &rules.calibration)?, None),
        Some(distances) => {
            let values = probabilities(&distances, columns, &rules.calibration);
            let figures = Figures::of(columns, &values, &set.labels);
            let calibration = match rules.calibration.method {
                ScalingMethod::None => BeforeAfter { before: figures, after: None },
                _ => {
                    let plain = probabilities(&distances, columns, &Calibration::default());
                    BeforeAfter { before: Figures::of(columns, &plain, &set.labels), after: Some(figures) }
                }
            };
            (Scores::Dense { columns, values }, Some(calibration))
        }
    };
    let judge = Judge::new(rules.decision.clone(), report, &description.counts);
    let table = judge.metrics(&scores, &set.labels)?;
    let frequency = frequency_scores(&description.counts, set.len());
    let baseline = judge.with(rules.baseline.clone()).metrics(&frequency, &set.labels)?;
    let details = Details::new(name, &scores, &judge.decision, set, &description.counts);
    Ok(SplitResult { table, baseline, scores, calibration, details })
}

impl Metrics {
    /// Adds a split's results, or replaces those it had; results of other rules, neighbours or another protocol go.
    ///
    /// An oracle's results keep the standard ones beside them.
    pub fn record(&mut self, name: &str, result: &SplitResult, predictor: &Predictor, description: &Description) {
        let signals = predictor.signals();
        let protocol = protocol(predictor);
        let neighbours = signals.and_then(SignalSource::source).map(|s| s.name().to_owned());
        let method = &description.rules.method;
        if (self.protocol, &self.neighbours, &self.thresholds) != (protocol, &neighbours, method) {
            let old = std::mem::take(&mut self.split);
            if protocol == Protocol::Standard {
                // Back from an oracle the standard results come back too, where the rules are the same.
                self.split = self.standard.take().filter(|_| self.thresholds == *method).unwrap_or_default();
            } else if self.protocol == Protocol::Standard {
                self.standard = Some(old);
            }
            if self.thresholds != *method {
                self.baseline.clear();
            }
            self.calibration = None;
        }
        (self.protocol, self.neighbours) = (protocol, neighbours);
        self.thresholds.clone_from(method);
        self.split.insert(name.into(), result.table.clone());
        self.baseline.insert(name.into(), result.baseline.clone());
        if let Some(figures) = &result.calibration {
            let calibration = self.calibration.get_or_insert_with(CalibrationResult::default);
            calibration.method = description.rules.calibration.method.name().to_owned();
            calibration.split.insert(name.into(), figures.clone());
        }
    }
}

/// Whether a predictor's results are an oracle's.
pub fn protocol(predictor: &Predictor) -> Protocol {
    match predictor.signals().is_some_and(SignalSource::is_oracle) {
        true => Protocol::Oracle,
        false => Protocol::Standard,
    }
}

/// Writes `metrics.json`, the labels of the split looked at last and the report; returns the report's path.
///
/// # Errors
/// When the disk refuses.
pub fn write(folder: &RunFolder, metrics: &Metrics, last: Option<&SplitResult>) -> Result<std::path::PathBuf> {
    folder.write_json("metrics.json", metrics)?;
    if let Some(last) = last {
        folder.write_json(report::DETAILS, &Details { protocol: metrics.protocol, ..last.details.clone() })?;
    }
    report::write(folder)
}
