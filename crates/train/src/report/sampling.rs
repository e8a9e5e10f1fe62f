//! How often a selecting sampler showed instances and labels, against showing all of them alike.

use data::Dataset;
use serde::{Deserialize, Serialize};

/// File of [`Sampling`] in a run folder.
pub const SAMPLING: &str = "sampling.json";

/// What a sampler showed over a run; 1 is as often as if all instances came alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Fewest, tenth percentile, median, ninetieth percentile and most over instances.
    pub instances: [f64; 5],
    /// Of instances without any label; none where all have one.
    pub negatives: Option<f64>,
    /// Training positives of each label, and how often instances with it came; none without positives.
    pub labels: Vec<(usize, Option<f64>)>,
}

impl Sampling {
    /// From how often each training instance was trained on.
    pub fn new(seen: &[u32], train: &Dataset) -> Self {
        let mean = seen.iter().map(|s| f64::from(*s)).sum::<f64>() / seen.len().max(1) as f64;
        let mut sorted: Vec<f64> = seen.iter().map(|s| f64::from(*s) / mean.max(1e-12)).collect();
        let of = |instances: &[u32]| -> Option<f64> {
            let sum: f64 = instances.iter().map(|&i| sorted[i as usize]).sum();
            (!instances.is_empty()).then(|| sum / instances.len() as f64)
        };
        let labels = train.labels.by_label().iter().map(|i| (i.len(), of(i))).collect();
        let negative: Vec<u32> = (0..).zip(train.labels.rows()).filter(|r| r.1.is_empty()).map(|r| r.0).collect();
        let negatives = of(&negative);
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0);
        Self { instances: [0.0, 0.1, 0.5, 0.9, 1.0].map(at), negatives, labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::{FeatureRows, LabelRows, Schema};

    #[test]
    fn shares_are_relative_to_showing_all_alike() {
        let (mut features, mut labels) = (FeatureRows::new(1), LabelRows::new(3));
        for row in [&[0u32][..], &[0, 1], &[], &[]] {
            features.push(&[]);
            labels.push(row);
        }
        let schema = Schema { features: 1, labels: 3, ..Schema::default() };
        let train = Dataset { features, labels, schema, missing: 0, unknown_features: 0 };
        let found = Sampling::new(&[2, 6, 0, 0], &train);
        assert_eq!(found.labels, [(2, Some(2.0)), (1, Some(3.0)), (0, None)]);
        assert_eq!((found.negatives, found.instances[0], found.instances[4]), (Some(0.0), 0.0, 3.0));
    }
}
