//! Settings a loss refuses, and shapes it cannot take.

/// A loss cannot be made, or not be computed on what it was given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LossError {
    /// A setting outside its range.
    #[error("loss.{key} = {value} is out of range: {range}")]
    OutOfRange {
        /// The config key, without `loss.`.
        key: String,
        /// What was given.
        value: String,
        /// What is possible.
        range: &'static str,
    },
    /// Settings that contradict each other or the data.
    #[error("loss: {0}")]
    Contradiction(String),
    /// A source that needs the true labels was asked to predict.
    #[error(
        "loss.neighbours = {0} needs the true labels and may not predict; set loss.predict_neighbours to features, \
         embedding or predicted, or to none to train without evaluating"
    )]
    Oracle(&'static str),
    /// The same of the rarity signal.
    #[error(
        "loss.idf = authors needs the true labels and may not predict; set loss.idf to counts or tfidf, or \
         loss.predict_neighbours to none to train without evaluating"
    )]
    OracleRarity,
    /// The settings rule prediction out.
    #[error("{0}: the model does not predict")]
    NoPrediction(&'static str),
    /// A bank of training rows that does not fit.
    #[error(
        "loss.memory_limit = {limit} MiB is too little for the bank of {rows} training rows: \
         at least {needed} MiB are needed, in chunks"
    )]
    Memory {
        /// Rows of the bank.
        rows: usize,
        /// The limit, in MiB.
        limit: usize,
        /// What is needed at least, in MiB.
        needed: usize,
    },
    /// More neighbours asked for than there are.
    #[error(
        "loss.k = {k} is larger than the bank: {rows} training rows, of which an instance is no neighbour of its own"
    )]
    Neighbours {
        /// Neighbours asked for.
        k: usize,
        /// Rows of the bank.
        rows: usize,
    },
    /// Logits and targets that do not belong together.
    #[error(
        "logits {logits:?} and targets {targets:?} must have the same shape [batch, labels], with at least one instance"
    )]
    Shape {
        /// Shape of the logits.
        logits: [usize; 2],
        /// Shape of the targets.
        targets: [usize; 2],
    },
    /// A target that is neither 0 nor 1.
    #[error("target {value} of instance {instance}, label {label} is {}", expected(*soft))]
    Target {
        /// Row in the batch.
        instance: usize,
        /// Label index.
        label: usize,
        /// What was found.
        value: f32,
        /// Soft targets were allowed.
        soft: bool,
    },
}

impl LossError {
    pub(crate) fn range(key: &str, value: impl ToString, range: &'static str) -> Self {
        Self::OutOfRange { key: key.into(), value: value.to_string(), range }
    }

    pub(crate) fn at_least_0(key: &str, value: f64) -> Result<(), Self> {
        ensure(key, value, value >= 0.0, "at least 0")
    }

    pub(crate) fn above_0(key: &str, value: f64) -> Result<(), Self> {
        ensure(key, value, value > 0.0, "above 0")
    }

    pub(crate) fn between_0_and_1(key: &str, value: f64) -> Result<(), Self> {
        ensure(key, value, (0.0..=1.0).contains(&value), "between 0 and 1")
    }

    pub(crate) fn from_0_below_1(key: &str, value: f64) -> Result<(), Self> {
        ensure(key, value, (0.0..1.0).contains(&value), "at least 0 and below 1")
    }

    /// The same error about a key of the loss inside `outer`.
    pub(crate) fn inside(self, outer: &str) -> Self {
        match self {
            Self::OutOfRange { key, value, range } => Self::OutOfRange { key: format!("{outer}.{key}"), value, range },
            other => other,
        }
    }
}

fn expected(soft: bool) -> &'static str {
    match soft {
        true => "outside [0, 1]",
        false => "not 0 or 1; soft targets are an option of bce alone (loss.soft_targets)",
    }
}

fn ensure(key: &str, value: f64, holds: bool, range: &'static str) -> Result<(), LossError> {
    if holds && value.is_finite() { Ok(()) } else { Err(LossError::range(key, value, range)) }
}
