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
