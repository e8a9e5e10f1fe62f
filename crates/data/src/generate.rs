//! Made data: long-tailed, correlated labels, a chosen share of negative instances, features that the labels cause.
//!
//! Labels belong to topics; an instance draws one topic and from it labels by a Zipf law, so labels of a topic occur
//! together and most labels are rare. Each label lights up its own signature features; background features follow a
//! Zipf law over all features, labels or no labels. Memory does not grow with the number of instances.

use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Poisson, Zipf};
use serde::{Deserialize, Serialize};

use crate::formats::Row;
use crate::{DataError, Dataset, FeatureRows, LabelRows, Schema};

/// What to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// N.
    pub instances: usize,
    /// Number of features.
    pub features: usize,
    /// Number of labels.
    pub labels: usize,
    /// Share of instances without any label, in [0, 1).
    pub negatives: f64,
    /// Mean labels of an instance that has some, at least 1.
    pub cardinality: f64,
    /// Stored features of an instance (sparse) — signature and background together, in the mean.
    pub active: f64,
    /// Chance that a signature feature of a present label shows, in (0, 1].
    pub signal: f64,
    /// Exponent of the label frequencies' Zipf law; larger is more long-tailed.
    pub tail: f64,
    /// Every feature has a value: signatures as a mean shift under Gaussian noise.
    pub dense: bool,
    /// Seed.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            instances: 20_000,
            features: 2_000,
            labels: 200,
            negatives: 0.4,
            cardinality: 2.5,
            active: 40.0,
            signal: 0.5,
            tail: 1.0,
            dense: false,
            seed: 0,
        }
    }
}

/// Signature features of a label.
const SIGNATURE: usize = 12;
/// Labels of a topic.
const TOPIC: usize = 20;

/// A stream of made instances.
pub struct Generator {
    recipe: Recipe,
    rng: ChaCha8Rng,
    signatures: Vec<Vec<u32>>,
    topics: Zipf<f64>,
    members: Zipf<f64>,
    background: Zipf<f64>,
    extra_labels: Option<Poisson<f64>>,
    noise: Option<Poisson<f64>>,
    /// Background ranks to features, so that frequent features lie anywhere.
    shuffle: u64,
}

impl Generator {
    /// Prepares the label signatures.
    ///
    /// # Errors
    /// For a recipe outside its ranges.
    pub fn new(recipe: &Recipe) -> Result<Self, DataError> {
        let refuse = |what: &str| Err(DataError::Request(format!("generate: {what}")));
        if recipe.labels == 0 || recipe.features == 0 || recipe.instances == 0 {
            return refuse("instances, features and labels must be at least 1");
        }
        if !(0.0..1.0).contains(&recipe.negatives) {
            return refuse(&format!("negatives = {} must be at least 0 and below 1", recipe.negatives));
        }
        if !(recipe.cardinality >= 1.0 && recipe.cardinality <= TOPIC as f64) {
            return refuse(&format!("cardinality = {} must be between 1 and {TOPIC}", recipe.cardinality));
        }
        if !(recipe.signal > 0.0 && recipe.signal <= 1.0) {
            return refuse(&format!("signal = {} must be above 0 and at most 1", recipe.signal));
        }
        if !(recipe.tail > 0.0 && recipe.tail.is_finite() && recipe.active >= 0.0 && recipe.active.is_finite()) {
            return refuse("tail must be above 0 and active at least 0");
        }
        let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
        let width = SIGNATURE.min(recipe.features);
        let signatures = (0..recipe.labels)
            .map(|_| {
                let mut own: Vec<u32> = sample(&mut rng, recipe.features, width).iter().map(|f| f as u32).collect();
                own.sort_unstable();
                own
            })
            .collect();
        let zipf =
            |n: usize| Zipf::new(n as f64, recipe.tail).map_err(|e| DataError::Request(format!("generate: {e}")));
        let caused = recipe.cardinality * (1.0 - recipe.negatives) * width as f64 * recipe.signal;
        Ok(Self {
            topics: zipf(recipe.labels.div_ceil(TOPIC))?,
            members: zipf(TOPIC.min(recipe.labels))?,
            background: zipf(recipe.features)?,
            extra_labels: Poisson::new(recipe.cardinality - 1.0).ok(),
            noise: Poisson::new((recipe.active - caused).max(1.0)).ok(),
            shuffle: coprime(recipe.features as u64, &mut rng),
            signatures,
            rng,
            recipe: recipe.clone(),
        })
    }

    /// The columns of the made data.
    pub fn schema(&self) -> Schema {
        Schema { features: self.recipe.features, labels: self.recipe.labels, ..Schema::default() }
    }

    /// Makes the next instance.
    pub fn next_row(&mut self, row: &mut Row) {
        row.labels.clear();
        row.features.clear();
        if !self.rng.random_bool(self.recipe.negatives) {
            self.draw_labels(&mut row.labels);
        }
        if self.recipe.dense { self.dense_features(row) } else { self.sparse_features(row) }
    }

    fn draw_labels(&mut self, labels: &mut Vec<u32>) {
        let topic = self.topics.sample(&mut self.rng) as usize - 1;
        let extra = self.extra_labels.map_or(0.0, |p| p.sample(&mut self.rng)) as usize;
        // A topic has few labels: repeated draws fall on what is there and change nothing.
        for _ in 0..=extra {
            let stray = self.rng.random_bool(0.1);
            let label = if stray {
                self.rng.random_range(0..self.recipe.labels)
            } else {
                let member = self.members.sample(&mut self.rng) as usize - 1;
                (topic * TOPIC + member) % self.recipe.labels
            };
            if let Err(at) = labels.binary_search(&(label as u32)) {
                labels.insert(at, label as u32);
            }
        }
    }

    fn sparse_features(&mut self, row: &mut Row) {
        for &label in &row.labels {
            for &feature in &self.signatures[label as usize] {
                if self.rng.random_bool(self.recipe.signal) {
                    row.features.push((feature, 1.0));
                }
            }
        }
        let noise = self.noise.map_or(0.0, |p| p.sample(&mut self.rng)) as usize;
        for _ in 0..noise {
            let rank = self.background.sample(&mut self.rng) as u64 - 1;
            let feature = rank * self.shuffle % self.recipe.features as u64;
            row.features.push((feature as u32, 1.0));
        }
        row.features.sort_unstable_by_key(|e| e.0);
        row.features.dedup_by_key(|e| e.0);
    }

    fn dense_features(&mut self, row: &mut Row) {
        let Ok(noise) = Normal::new(0.0f32, 1.0) else { return };
        row.features.extend((0..self.recipe.features as u32).map(|f| (f, 0.0)));
        for entry in &mut row.features {
            entry.1 = noise.sample(&mut self.rng);
        }
        for &label in &row.labels {
            for &feature in &self.signatures[label as usize] {
                row.features[feature as usize].1 += 2.0 * self.recipe.signal as f32;
            }
        }
    }
}

/// A factor without common divisor with `n`: multiplying by it permutes 0..n.
fn coprime(n: u64, rng: &mut ChaCha8Rng) -> u64 {
    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    loop {
        let factor = rng.random_range(1..=n);
        if gcd(factor, n) == 1 {
            return factor;
        }
    }
}

/// Makes a whole data set in memory.
///
/// # Errors
/// For a recipe outside its ranges.
pub fn dataset(recipe: &Recipe) -> Result<Dataset, DataError> {
    let mut generator = Generator::new(recipe)?;
    let mut features = FeatureRows::new(recipe.features);
    let mut labels = LabelRows::new(recipe.labels);
    let mut row = Row::default();
    for _ in 0..recipe.instances {
        generator.next_row(&mut row);
        features.push(&row.features);
        labels.push(&row.labels);
    }
    Ok(Dataset { features, labels, schema: generator.schema(), missing: 0, unknown_features: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Statistics;

    #[test]
    fn the_default_recipe_is_long_tailed_with_its_share_of_negatives() {
        let made = dataset(&Recipe { instances: 5_000, ..Recipe::default() }).unwrap();
        let s = Statistics::of(&made);
        assert!((s.negatives - 0.4).abs() < 0.03, "{s:?}");
        assert!(s.mean_ir > 10.0 && s.positives[1] < 100, "{s:?}");
        assert!((made.features.nnz() as f64 / 5_000.0 - 40.0).abs() < 15.0, "{s:?}");
    }

    #[test]
    fn labels_of_a_topic_occur_together() {
        let made = dataset(&Recipe { instances: 5_000, ..Recipe::default() }).unwrap();
        let both = made.labels.rows().filter(|r| r.contains(&0) && r.contains(&1)).count() as f64;
        let counts = made.labels.counts();
        let expected = counts[0] as f64 * counts[1] as f64 / 5_000.0;
        assert!(both > 2.0 * expected, "{both} together, {expected} if independent");
    }

    #[test]
    fn the_same_seed_makes_the_same_data() {
        let recipe = Recipe { instances: 50, dense: true, features: 30, ..Recipe::default() };
        assert_eq!(dataset(&recipe).unwrap(), dataset(&recipe).unwrap());
        assert_ne!(dataset(&recipe).unwrap(), dataset(&Recipe { seed: 1, ..recipe }).unwrap());
    }

    #[test]
    fn recipes_outside_their_ranges_are_refused() {
        assert!(dataset(&Recipe { negatives: 1.0, ..Recipe::default() }).is_err());
        assert!(dataset(&Recipe { labels: 0, ..Recipe::default() }).is_err());
    }
}
