//! The one list of losses a config can name.

use std::fmt;

use burn::tensor::Device;
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    AdaptiveThresholdConfig, AnyClassConfig, AsymmetricConfig, BceConfig, ClassBalancedConfig,
    DistributionBalancedConfig, FocalConfig, Loss, LossError, TwoWayConfig, Zlpr, ZlprConfig,
};

/// What a loss may need to know of the training split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingCounts {
    /// Positives of each label.
    pub labels: Vec<usize>,
    /// Instances without any label.
    pub negatives: usize,
    /// All instances.
    pub instances: usize,
}

/// Which loss, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossConfig {
    /// Binary cross-entropy.
    Bce(BceConfig),
    /// Focal loss.
    Focal(FocalConfig),
    /// Asymmetric loss.
    Asymmetric(AsymmetricConfig),
    /// Class-balanced weights on another loss.
    ClassBalanced(ClassBalancedConfig),
    /// Any-class presence over bce or focal.
    AnyClass(AnyClassConfig),
    /// Thresholds learnt with the model, over any other loss.
    AdaptiveThreshold(AdaptiveThresholdConfig),
    /// Zero-bounded log-sum-exp and pairwise rank-based loss.
    Zlpr(ZlprConfig),
    /// Two-way loss.
    TwoWay(TwoWayConfig),
    /// Distribution-balanced loss.
    DistributionBalanced(DistributionBalancedConfig),
}

impl Default for LossConfig {
    fn default() -> Self {
        Self::Bce(BceConfig::default())
    }
}

impl LossConfig {
    /// Makes the loss for data with these counts.
    ///
    /// # Errors
    /// For a setting out of range, or settings that contradict each other or the data.
    pub fn init(&self, counts: &TrainingCounts, device: &Device) -> Result<Box<dyn Loss>, LossError> {
        Ok(match self {
            Self::Bce(config) => Box::new(config.init(counts, device)?),
            Self::Focal(config) => Box::new(config.init(device)?),
            Self::Asymmetric(config) => Box::new(config.init(device)?),
            Self::ClassBalanced(config) => Box::new(config.init(counts, device)?),
            Self::AnyClass(config) => Box::new(config.init(counts, device)?),
            Self::AdaptiveThreshold(config) => Box::new(config.init(counts, device)?),
            Self::Zlpr(_) => Box::new(Zlpr),
            Self::TwoWay(config) => Box::new(config.init(device)?),
            Self::DistributionBalanced(config) => Box::new(config.init(counts, device)?),
        })
    }
}

/// The loss inside another one: its name, or a table with its settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Base {
    config: Box<LossConfig>,
    table: bool,
}

impl Base {
    /// A loss with its settings.
    pub fn new(config: LossConfig) -> Self {
        Self { config: Box::new(config), table: true }
    }

    /// The loss.
    pub fn config(&self) -> &LossConfig {
        &self.config
    }

    /// True where it was given with settings, not by its name alone.
    pub(crate) fn is_table(&self) -> bool {
        self.table
    }
}

impl Serialize for Base {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.config.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Base {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = Base;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the name of a loss or a table { kind = …, … }")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Base, E> {
                let config = LossConfig::deserialize(MapDeserializer::new([("kind", name)].into_iter()))?;
                Ok(Base { config: Box::new(config), table: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Base, A::Error> {
                let config = LossConfig::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Base { config: Box::new(config), table: true })
            }
        }
        deserializer.deserialize_any(NameOrTable)
    }
}
