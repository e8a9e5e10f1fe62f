//! A number of units that a config may leave to the model.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ModelError;

/// Largest width that is taken for meant.
const LARGEST: usize = 4096;
/// Largest code of features that is chosen without being asked for.
const LARGEST_HALF: usize = 1024;

/// A number of units, or `"auto"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Width {
    /// As the model's paper chooses it for the data.
    #[default]
    Auto,
    /// So many.
    Units(usize),
}

impl Width {
    /// The number of units, where `auto` is the model's choice.
    ///
    /// # Errors
    /// For 0 units, or more than anybody means.
    pub fn or(self, auto: usize, key: &'static str) -> Result<usize, ModelError> {
        match self {
            Self::Auto => Ok(auto),
            Self::Units(units @ 1..=LARGEST) => Ok(units),
            Self::Units(units) => Err(ModelError::range(key, units, "1 to 4096, or \"auto\"")),
        }
    }
}

impl Width {
    /// Dimensions of a code of features, `model.latent`: half of them, rounded up, where that is left to the model.
    ///
    /// # Errors
    /// As [`Self::or`].
    pub fn or_half_of(self, features: usize) -> Result<usize, ModelError> {
        self.or(features.div_ceil(2).clamp(1, LARGEST_HALF), "latent")
    }
}

impl Serialize for Width {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Units(units) => serializer.serialize_u64(*units as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Width {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Units(usize),
            Name(String),
        }
        match Given::deserialize(deserializer) {
            Ok(Given::Units(units)) => Ok(Self::Units(units)),
            Ok(Given::Name(name)) if name == "auto" => Ok(Self::Auto),
            _ => Err(serde::de::Error::custom("a width is a number of units or \"auto\"")),
        }
    }
}
