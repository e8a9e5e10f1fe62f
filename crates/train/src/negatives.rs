//! Training on a sample of labels: those that an instance of the batch carries, and some others.
//!
//! A label of the others stands for more than itself, so that the expected loss and gradient are those of all labels.

use std::sync::Arc;

use data::LabelRows;
use losses::LossConfig;
use model::ModelConfig;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many labels that no instance of a batch carries take part in its step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Negatives {
    /// All.
    #[default]
    All,
    /// So many, drawn evenly for each batch.
    Sample(usize),
}

impl Serialize for Negatives {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Sample(count) => serializer.serialize_u64(*count as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Negatives {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Count(usize),
            Name(String),
        }
        let expected = || serde::de::Error::custom("loss.negatives is a number of labels, at least 1, or \"all\"");
        match Given::deserialize(deserializer).map_err(|_| expected())? {
            Given::Count(0) => Err(expected()),
            Given::Count(count) => Ok(Self::Sample(count)),
            Given::Name(name) if name == "all" => Ok(Self::All),
            Given::Name(_) => Err(expected()),
        }
    }
}

impl Negatives {
    /// Whether this goes with the loss, the model and the sampler. `probabilities`: the sampler wants those of
    /// all labels.
    pub fn check(self, loss: &LossConfig, model: &ModelConfig, probabilities: bool) -> Result<(), String> {
        if self == Self::All {
            return Ok(());
        }
        let is_separable = match loss {
            LossConfig::Bce(bce) => bce.pos_weight.as_ref().is_none_or(|w| !w.is_list()),
            LossConfig::Focal(_) | LossConfig::Asymmetric(_) => true,
            _ => false,
        };
        if !is_separable {
            return Err(
                "loss.negatives needs a loss whose labels do not depend on each other, alike for all of them: bce, \
                 focal or asymmetric; or set loss.negatives = \"all\""
                    .into(),
            );
        }
        if !model.gives_some_labels() {
            let kind = model.about().kind;
            return Err(format!(
                "loss.negatives needs a model whose labels can be computed apart, which {kind} is not: mlp, clif or \
                 dela; or set loss.negatives = \"all\""
            ));
        }
        if model.embedding_width(1, 1).is_none() {
            return Err("loss.negatives needs a hidden layer; set model.hidden, or loss.negatives = \"all\"".into());
        }
        if probabilities {
            return Err(
                "loss.negatives goes with samplers that look at losses: random, adaptive, chain, hardest".into()
            );
        }
        Ok(())
    }

    /// The labels of a batch's step; none where all take part.
    pub fn draw(self, labels: &LabelRows, rng: &mut ChaCha8Rng) -> Option<LabelSample> {
        let Self::Sample(count) = self else { return None };
        let mut carried: Vec<u32> = labels.indices().to_vec();
        carried.sort_unstable();
        carried.dedup();
        let others = labels.columns() - carried.len();
        if count >= others {
            return None;
        }
        // The k-th of the others, counted past the carried ones.
        let mut picks: Vec<usize> = sample(rng, others, count).into_vec();
        picks.sort_unstable();
        let (mut columns, mut weights) = (Vec::with_capacity(carried.len() + count), Vec::new());
        let stands_for = others as f32 / count as f32;
        let mut passed = 0;
        for pick in picks {
            while passed < carried.len() && carried[passed] as usize <= pick + passed {
                columns.push(carried[passed]);
                weights.push(1.0);
                passed += 1;
            }
            columns.push((pick + passed) as u32);
            weights.push(stands_for);
        }
        for &label in &carried[passed..] {
            columns.push(label);
            weights.push(1.0);
        }
        let mut rows = LabelRows::new(columns.len());
        for row in labels.rows() {
            let places = row.iter().filter_map(|l| columns.binary_search(l).ok());
            rows.push(&places.map(|p| p as u32).collect::<Vec<_>>());
        }
        Some(LabelSample { columns: columns.into(), weights, rows, all: labels.columns() })
    }
}

/// Some of the labels, and a batch's rows over them.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelSample {
    /// The labels, ascending.
    pub columns: Arc<[u32]>,
    /// How many labels each stands for.
    pub weights: Vec<f32>,
    /// Labels of each instance, by their place among `columns`.
    pub rows: LabelRows,
    /// All labels there are.
    pub all: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_sample_holds_what_is_carried_and_stands_for_the_rest() {
        let mut labels = LabelRows::new(50);
        for row in [&[3, 10, 49][..], &[], &[0, 10]] {
            labels.push(row);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut seen = [0; 50];
        for _ in 0..2_000 {
            let found = Negatives::Sample(6).draw(&labels, &mut rng).unwrap();
            assert_eq!(found.columns.len(), 10);
            assert!(found.columns.is_sorted_by(|a, b| a < b));
            assert_eq!(found.weights.iter().sum::<f32>(), 50.0);
            for (i, row) in labels.rows().enumerate() {
                let named: Vec<u32> = found.rows.row(i).iter().map(|p| found.columns[*p as usize]).collect();
                assert_eq!(named, row);
            }
            found.columns.iter().for_each(|c| seen[*c as usize] += 1);
        }
        for (label, count) in seen.iter().enumerate() {
            match [0, 3, 10, 49].contains(&label) {
                true => assert_eq!(*count, 2_000),
                // 2000 · 6 / 46 = 261, deviation 15.
                false => assert!((count - 261i32).abs() < 65, "label {label}: {count}"),
            }
        }
        assert_eq!(Negatives::All.draw(&labels, &mut rng), None);
        assert_eq!(Negatives::Sample(46).draw(&labels, &mut rng), None);
    }
}
