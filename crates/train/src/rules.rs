//! The rules that follow training: from distances to probabilities, from probabilities to labels. Both are chosen on
//! validation data alone and stored with the model.

use data::Dataset;
use losses::TrainingCounts;
use metrics::calibration::scaling::{Calibration, ScalingMethod};
use metrics::{Decision, Scores, ThresholdError, ThresholdsConfig};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluation::{distances, frequency_scores, probabilities, score, training_shares};
use crate::predictor::Predictor;

/// Calibration and thresholds of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// From distances to probabilities.
    pub calibration: Calibration,
    /// How the thresholds were chosen.
    pub method: String,
    /// From probabilities to labels.
    pub decision: Decision,
    /// The same method's rule for "predict by frequency".
    pub baseline: Decision,
}

impl Rules {
    /// The rules where no validation data is needed for them.
    ///
    /// # Errors
    /// For a method that needs some.
    pub fn without_validation(thresholds: &ThresholdsConfig, calibration: ScalingMethod) -> Result<Self> {
        if calibration != ScalingMethod::None {
            let name = calibration.name();
            return Err(Error::Request(format!(
                "calibration.method = {name} needs validation data; set data.validation"
            )));
        }
        let decision = thresholds.without_validation()?;
        Ok(Self {
            calibration: Calibration::default(),
            method: thresholds.name().to_owned(),
            baseline: decision.clone(),
            decision,
        })
    }

    /// Chooses the rules on `validation`.
    ///
    /// # Errors
    /// When scores cannot be made, or are too many for the method.
    pub fn choose(
        thresholds: &ThresholdsConfig,
        calibration: ScalingMethod,
        predictor: &Predictor,
        validation: &Dataset,
        counts: &TrainingCounts,
    ) -> Result<Self> {
        let targets = &validation.labels;
        let (calibration, scores) = match distances(predictor, validation, false)? {
            Some(distances) => {
                let columns = targets.columns();
                let calibration = Calibration::fit(calibration, columns, &distances, targets);
                let values = probabilities(&distances, columns, &calibration);
                (calibration, Scores::Dense { columns, values })
            }
            None if calibration == ScalingMethod::None => {
                let calibration = Calibration::default();
                let scores = score(predictor, validation, false, &calibration)?;
                (calibration, scores)
            }
            None => {
                let message = "needs every score of the validation data, which are too many here to keep";
                return Err(Error::Request(format!("calibration.method = {} {message}", calibration.name())));
            }
        };
        let shares = training_shares(counts);
        let chosen = thresholds.choose(&scores, targets, &shares)?;
        if chosen.fallbacks > 0 {
            tracing::info!(
                "{} of {} labels have too few positives in the validation data: they take the global threshold",
                chosen.fallbacks,
                targets.columns()
            );
        }
        let frequency = frequency_scores(counts, validation.len());
        let baseline = thresholds.choose(&frequency, targets, &shares)?.decision;
        Ok(Self { calibration, method: thresholds.name().to_owned(), decision: chosen.decision, baseline })
    }
}

impl From<ThresholdError> for Error {
    fn from(error: ThresholdError) -> Self {
        Self::Request(error.to_string())
    }
}
