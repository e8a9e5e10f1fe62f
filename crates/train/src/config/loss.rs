//! `[loss]`: a loss of the library and, beside it, the reduction and the labels that take part.

use losses::{LossConfig, Reduction};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use crate::negatives::Negatives;

/// The loss and how its values become one number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LossSection {
    /// The loss.
    pub config: LossConfig,
    /// `mean` or `sum`.
    pub reduction: Reduction,
    /// Labels that take part in a step beside those that its batch carries.
    pub negatives: Negatives,
}

impl<'de> Deserialize<'de> for LossSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Table::deserialize(deserializer)?;
        let reduction = match table.remove("reduction") {
            Some(value) => Reduction::deserialize(value).map_err(D::Error::custom)?,
            None => Reduction::default(),
        };
        let negatives = match table.remove("negatives") {
            Some(value) => Negatives::deserialize(value).map_err(D::Error::custom)?,
            None => Negatives::default(),
        };
        let config = LossConfig::deserialize(Value::Table(table)).map_err(D::Error::custom)?;
        Ok(Self { config, reduction, negatives })
    }
}

impl Serialize for LossSection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = Table::try_from(&self.config).map_err(S::Error::custom)?;
        table.insert("reduction".into(), Value::try_from(self.reduction).map_err(S::Error::custom)?);
        table.insert("negatives".into(), Value::try_from(self.negatives).map_err(S::Error::custom)?);
        table.serialize(serializer)
    }
}
