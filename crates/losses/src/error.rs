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
    #[error(
        "target {value} of instance {instance}, label {label} is not 0 or 1; soft targets are an option of bce alone (loss.soft_targets)"
    )]
    Target {
        /// Row in the batch.
        instance: usize,
        /// Label index.
        label: usize,
        /// What was found.
        value: f32,
    },
}

impl LossError {
    pub(crate) fn range(key: &str, value: impl ToString, range: &'static str) -> Self {
        Self::OutOfRange { key: key.into(), value: value.to_string(), range }
    }
}
