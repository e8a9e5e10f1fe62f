//! Thresholds after training: from the scores of validation data to a rule that decides, stored with the model.
//!
//! One file a method. Every method sees validation scores and their truth alone; candidates for a threshold are the
//! scores observed there, the lowest of the best ones wins, and a label is predicted at a score of at least its
//! threshold. METHODS §5; names after Yang, "A study of thresholding strategies for text categorization", SIGIR 2001.

mod cardinality;
mod global;
mod objective;
mod per_label;
mod top_k;

use data::LabelRows;
use serde::{Deserialize, Serialize};

use crate::{Score, Scores};

pub use objective::{Average, Objective};

/// How thresholds are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One value for every label, chosen by hand.
    #[default]
    Fixed,
    /// One value for every label, the best on validation data.
    Global,
    /// Each label's own best value (SCut).
    PerLabel,
    /// Each label is predicted for the share of instances that carry it in the training data (PCut).
    Cardinality,
    /// The k best labels of every instance (RCut).
    TopK,
}

/// A method with its settings; those of other methods do not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdsConfig {
    /// How thresholds are chosen.
    pub method: Method,
    /// The threshold of `fixed`, and where validation data has no positive to choose one by.
    pub value: f64,
    /// What `global`, `per_label` and `top_k` maximise.
    pub objective: Objective,
    /// `per_label`: a label with fewer positives in the validation data takes the global value.
    pub min_positives: usize,
    /// `top_k`: how many; absent: the best number on validation data, up to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
}

impl Default for ThresholdsConfig {
    fn default() -> Self {
        Self { method: Method::Fixed, value: 0.5, objective: Objective::default(), min_positives: 2, k: None }
    }
}

/// From scores to labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// A label is predicted at a score of at least its threshold: one value for all labels, or one a label.
    Thresholds(Vec<f64>),
    /// The k best labels of each instance, equal scores in the order of their labels.
    TopK(usize),
}

impl Decision {
    /// The labels decided for, of every instance.
    pub fn decide<S: Score>(&self, scores: &Scores<S>) -> LabelRows {
        match self {
            Self::Thresholds(values) => scores.decide(values),
            Self::TopK(k) => scores.best(*k),
        }
    }

    /// The threshold of label `l` in an instance whose scores are `row`: for [`Decision::TopK`] its k-th best score.
    pub fn threshold<S: Score>(&self, l: usize, row: &[S]) -> f64 {
        match self {
            Self::Thresholds(values) if values.len() == 1 => values[0],
            Self::Thresholds(values) => values[l],
            Self::TopK(k) => crate::scores::top_of(row, *k).last().map_or(f64::INFINITY, |e| e.1.into()),
        }
    }
}

/// A rule that was chosen, and what was noticed on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The rule.
    pub decision: Decision,
    /// Labels with too few positives in the validation data, which took the global value.
    pub fallbacks: usize,
}

/// Thresholds that cannot be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// A method that needs validation data got none.
    #[error("thresholds.method = {0} needs validation data; set data.validation")]
    NoValidation(&'static str),
    /// A method that needs every score got the best of each instance.
    #[error("thresholds.method = {0} needs every score of the validation data, which are too many here to keep")]
    NotAllScores(&'static str),
    /// A setting outside its range.
    #[error("thresholds.{key} = {value} is out of range: {range}")]
    OutOfRange {
        /// The config key, without `thresholds.`.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        range: &'static str,
    },
}

impl Method {
    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Global => "global",
            Self::PerLabel => "per_label",
            Self::Cardinality => "cardinality",
            Self::TopK => "top_k",
        }
    }
}

impl ThresholdsConfig {
    /// The method's name.
    pub fn name(&self) -> &'static str {
        self.method.name()
    }

    /// Ranges.
    ///
    /// # Errors
    /// For a setting outside its range.
    pub fn check(&self) -> Result<(), ThresholdError> {
        let refuse = |key, value: String, range| Err(ThresholdError::OutOfRange { key, value, range });
        if !self.value.is_finite() {
            return refuse("value", self.value.to_string(), "a finite number");
        }
        if self.min_positives == 0 {
            return refuse("min_positives", "0".into(), "at least 1");
        }
        if self.k == Some(0) {
            return refuse("k", "0".into(), "at least 1");
        }
        Ok(())
    }

    /// The rule where no validation data is needed for it.
    ///
    /// # Errors
    /// For a method that needs some.
    pub fn without_validation(&self) -> Result<Decision, ThresholdError> {
        match (self.method, self.k) {
            (Method::Fixed, _) => Ok(Decision::Thresholds(vec![self.value])),
            (Method::TopK, Some(k)) => Ok(Decision::TopK(k)),
            (method, _) => Err(ThresholdError::NoValidation(method.name())),
        }
    }

    /// Chooses the rule on the scores of validation data, `O(n log n)` a label.
    ///
    /// `training_shares`: the share of training instances that carry each label.
    ///
    /// # Errors
    /// Where the method needs every score and `scores` holds the best ones only.
    pub fn choose<S: Score>(
        &self,
        scores: &Scores<S>,
        targets: &LabelRows,
        training_shares: &[f64],
    ) -> Result<Chosen, ThresholdError> {
        let plain = |decision| Ok(Chosen { decision, fallbacks: 0 });
        if let Ok(decision) = self.without_validation() {
            return plain(decision);
        }
        if self.method == Method::TopK {
            return plain(Decision::TopK(top_k::choose(scores, targets, self.objective)));
        }
        let Scores::Dense { columns, values } = scores else { return Err(ThresholdError::NotAllScores(self.name())) };
        match self.method {
            Method::PerLabel => Ok(per_label::choose(*columns, values, targets, self)),
            Method::Cardinality => {
                plain(Decision::Thresholds(cardinality::choose(*columns, values, targets, training_shares)))
            }
            _ => {
                let value = global::choose(*columns, values, targets, self.objective).unwrap_or(self.value);
                plain(Decision::Thresholds(vec![value]))
            }
        }
    }
}

/// One way to cut a label's instances in two: those with at least this score are predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cut {
    /// Lowest score predicted.
    threshold: f64,
    /// Of them relevant.
    hits: usize,
    /// Predicted instances.
    predicted: usize,
}

/// Every cut of a column sorted by descending score, strictest first; equal scores fall on one side together.
fn cuts<S: Score>(sorted: &[(S, bool)]) -> impl Iterator<Item = Cut> {
    sorted.chunk_by(|a, b| a.0 == b.0).scan((0, 0), |(hits, predicted), tied| {
        *hits += tied.iter().filter(|p| p.1).count();
        *predicted += tied.len();
        Some(Cut { threshold: tied[0].0.into(), hits: *hits, predicted: *predicted })
    })
}
