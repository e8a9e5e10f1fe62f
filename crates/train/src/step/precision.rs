//! Mixed precision: the products of a step in 16 bits, weights and all else in 32.

use burn::tensor::{Device, FloatDType};
use losses::Reduction;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The floats that the matrix products of a step compute with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of 32.
    Bf16,
    /// 16 bits with a small range: gradients are scaled into it.
    F16,
}

impl Precision {
    /// The type of 16-bit numbers; none for 32 bits.
    pub fn narrow(self) -> Option<FloatDType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(FloatDType::BF16),
            Self::F16 => Some(FloatDType::F16),
        }
    }

    /// Whether the device computes with it.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check(self, device: &Device) -> Result<()> {
        match self.narrow() {
            Some(narrow) if !device.supports_dtype(narrow) => {
                let name = if self == Self::F16 { "f16" } else { "bf16" };
                let message = format!("train.precision = \"{name}\": this device does not compute with {name}");
                Err(Error::Request(format!("{message}; leave train.precision = \"f32\", or choose another backend")))
            }
            _ => Ok(()),
        }
    }

    /// What a loss is multiplied by before its gradients are computed, and they are divided by after it.
    ///
    /// A mean over batch and labels makes gradients so small that 16 bits lose them: it is undone.
    pub(super) fn loss_scale(self, reduction: Reduction, batch: usize, labels: usize) -> f64 {
        match (self, reduction) {
            (Self::F16, Reduction::Mean) => (batch * labels).max(1) as f64,
            (Self::F16, Reduction::Sum) => batch.max(1) as f64,
            _ => 1.0,
        }
    }
}
