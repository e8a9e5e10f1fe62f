//! Names and values of metrics, in a fixed order.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Metric values by name, in the order in which they were computed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricTable(Vec<(String, f64)>);

impl MetricTable {
    /// Adds one value.
    pub fn push(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    /// The value of a metric.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|e| e.0 == name).map(|e| e.1)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(n, v)| (n.as_str(), *v))
    }
}

impl Serialize for MetricTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for MetricTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = MetricTable;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("metric values by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetricTable, A::Error> {
                let mut table = MetricTable::default();
                while let Some((name, value)) = map.next_entry::<String, Option<f64>>()? {
                    // What is no number has no other spelling in JSON.
                    table.push(name, value.unwrap_or(f64::NAN));
                }
                Ok(table)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Larger is better.
    Up,
    /// Smaller is better.
    Down,
}

/// No metric of that name exists.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no metric")]
pub struct UnknownMetric(pub String);

const UP: &[&str] = &[
    "f1_micro",
    "precision_micro",
    "recall_micro",
    "f1_macro",
    "precision_macro",
    "recall_macro",
    "f1_weighted",
    "precision_weighted",
    "recall_weighted",
    "f1_samples",
    "precision_samples",
    "recall_samples",
    "f2_macro",
    "f2_micro",
    "f1_negative",
    "subset_accuracy",
    "jaccard_samples",
    "map_macro",
    "auroc_macro",
    "map_micro",
    "auroc_micro",
    "lrap",
];
const DOWN: &[&str] = &["hamming_loss", "ranking_loss", "coverage_error", "one_error", "ece_10_bins", "brier", "loss"];
const AT_K: &[&str] = &["precision_at_", "recall_at_", "ndcg_at_", "psp_at_"];

/// Which way the metric `name` gets better (`loss` is known too).
///
/// # Errors
/// For a name that is no metric.
pub fn direction(name: &str) -> Result<Direction, UnknownMetric> {
    let at_k = || AT_K.iter().any(|p| name.strip_prefix(p).is_some_and(|k| k.parse::<usize>().is_ok_and(|k| k > 0)));
    if UP.contains(&name) || at_k() {
        Ok(Direction::Up)
    } else if DOWN.contains(&name) {
        Ok(Direction::Down)
    } else {
        Err(UnknownMetric(name.to_owned()))
    }
}

/// Every metric name that does not depend on a k.
pub fn names() -> impl Iterator<Item = &'static str> {
    UP.iter().chain(DOWN).copied()
}
