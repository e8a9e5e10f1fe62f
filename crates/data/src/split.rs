//! Iterative stratification: parts of a data set in which every label keeps its share.
//!
//! Source: Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, algorithm 1.

use std::collections::BTreeSet;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{DataError, LabelRows};

/// Splits the instances into parts of the given shares; returns the instances of each part, ascending.
///
/// The rarest label goes first: each of its instances goes to the part that still lacks most of this label (then the
/// part that lacks most instances, then a seeded draw), in a seeded order of instances. Instances without any label come last and fill up the parts,
/// so that they spread by the shares too.
///
/// # Errors
/// When a share is not positive.
pub fn stratify(labels: &LabelRows, shares: &[f64], seed: u64) -> Result<Vec<Vec<usize>>, DataError> {
    if shares.is_empty() || shares.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        return Err(DataError::Request("every share of a split must be above 0".into()));
    }
    let total: f64 = shares.iter().sum();
    let shares: Vec<f64> = shares.iter().map(|s| s / total).collect();
    let mut state = State::new(labels, &shares, seed);
    while let Some(&(_, label)) = state.queue.first() {
        state.place_label(labels, label);
    }
    for i in std::mem::take(&mut state.order) {
        if state.part[i as usize].is_none() {
            state.place(labels, i as usize, None);
        }
    }
    let mut parts = vec![Vec::new(); shares.len()];
    for (i, part) in state.part.iter().enumerate() {
        if let Some(part) = part {
            parts[*part].push(i);
        }
    }
    Ok(parts)
}

/// Two parts at random, the second with this share of the instances; the instances of each part, ascending.
pub fn at_random(instances: usize, share: f64, seed: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..instances).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut held = order.split_off(instances - (instances as f64 * share).round() as usize);
    order.sort_unstable();
    held.sort_unstable();
    vec![order, held]
}

/// `k` folds; fold f is the test part of its round, all others its training part.
///
/// # Errors
/// When `k` is below 2 or above the number of instances.
pub fn folds(labels: &LabelRows, k: usize, seed: u64) -> Result<Vec<Vec<usize>>, DataError> {
    if k < 2 || k > labels.len() {
        let message =
            format!("{k} folds of {} instances; between 2 and the number of instances are possible", labels.len());
        return Err(DataError::Request(message));
    }
    stratify(labels, &vec![1.0; k], seed)
}

struct State {
    rng: ChaCha8Rng,
    part: Vec<Option<usize>>,
    /// All instances as they take their turn.
    order: Vec<u32>,
    /// Instances of each label, not yet filtered by what is placed.
    by_label: Vec<Vec<u32>>,
    /// Unplaced instances of each label.
    left: Vec<usize>,
    /// Labels with unplaced instances, rarest first.
    queue: BTreeSet<(usize, usize)>,
    /// `[part][label]`: how many more of this label the part should get.
    wanted: Vec<Vec<f64>>,
    /// How many more instances each part should get.
    wanted_any: Vec<f64>,
}

impl State {
    fn new(labels: &LabelRows, shares: &[f64], seed: u64) -> Self {
        let left = labels.counts();
        let mut by_label: Vec<Vec<u32>> = left.iter().map(|&n| Vec::with_capacity(n)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<u32> = (0..labels.len() as u32).collect();
        order.shuffle(&mut rng);
        for &i in &order {
            labels.row(i as usize).iter().for_each(|&l| by_label[l as usize].push(i));
        }
        Self {
            rng,
            order,
            part: vec![None; labels.len()],
            by_label,
            queue: left.iter().enumerate().filter(|(_, n)| **n > 0).map(|(l, &n)| (n, l)).collect(),
            wanted: shares.iter().map(|s| left.iter().map(|&n| n as f64 * s).collect()).collect(),
            wanted_any: shares.iter().map(|s| labels.len() as f64 * s).collect(),
            left,
        }
    }

    fn place_label(&mut self, labels: &LabelRows, label: usize) {
        for i in std::mem::take(&mut self.by_label[label]) {
            if self.part[i as usize].is_none() {
                self.place(labels, i as usize, Some(label));
            }
        }
    }

    /// Puts instance `i` where `label` (or, without one, any instance) is most wanted.
    fn place(&mut self, labels: &LabelRows, i: usize, label: Option<usize>) {
        let mut best: Vec<usize> = Vec::new();
        let mut best_key = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for part in 0..self.wanted.len() {
            let key = (label.map_or(0.0, |l| self.wanted[part][l]), self.wanted_any[part]);
            if key > best_key {
                best_key = key;
                best.clear();
            }
            if key == best_key {
                best.push(part);
            }
        }
        let part = if best.len() > 1 { best[self.rng.random_range(0..best.len())] } else { best[0] };
        self.part[i] = Some(part);
        self.wanted_any[part] -= 1.0;
        for &l in labels.row(i) {
            let l = l as usize;
            self.wanted[part][l] -= 1.0;
            self.queue.remove(&(self.left[l], l));
            self.left[l] -= 1;
            if self.left[l] > 0 {
                self.queue.insert((self.left[l], l));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(rows: &[Vec<u32>], columns: usize) -> LabelRows {
        let mut out = LabelRows::new(columns);
        rows.iter().for_each(|r| out.push(r));
        out
    }

    #[test]
    fn a_label_with_as_many_instances_as_folds_is_in_every_fold() {
        let rows: Vec<Vec<u32>> = (0..50)
            .map(|i| {
                if i < 5 {
                    vec![0, 1]
                } else if i < 25 {
                    vec![1]
                } else {
                    vec![]
                }
            })
            .collect();
        let rows = labels(&rows, 2);
        for (f, fold) in folds(&rows, 5, 7).unwrap().iter().enumerate() {
            let part = rows.select(fold);
            assert_eq!((part.counts(), part.len(), part.negatives()), (vec![1, 5], 10, 5), "fold {f}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_split() {
        let rows = labels(&(0..100u32).map(|i| vec![i % 7]).collect::<Vec<_>>(), 7);
        assert_eq!(stratify(&rows, &[0.8, 0.2], 3).unwrap(), stratify(&rows, &[0.8, 0.2], 3).unwrap());
        assert_ne!(stratify(&rows, &[0.8, 0.2], 3).unwrap(), stratify(&rows, &[0.8, 0.2], 4).unwrap());
    }

    #[test]
    fn impossible_requests_are_refused() {
        let rows = labels(&[vec![0], vec![]], 1);
        assert!(folds(&rows, 3, 0).is_err() && folds(&rows, 1, 0).is_err());
        assert!(stratify(&rows, &[1.0, 0.0], 0).is_err());
    }

    proptest! {
        #[test]
        fn every_instance_is_in_exactly_one_part_and_sizes_fit(
            rows in prop::collection::vec(prop::collection::btree_set(0u32..6, 0..4), 1..200),
            share in 0.05f64..0.95,
            seed in 0u64..100,
        ) {
            let rows: Vec<Vec<u32>> = rows.into_iter().map(|r| r.into_iter().collect()).collect();
            let rows = labels(&rows, 6);
            let parts = stratify(&rows, &[1.0 - share, share], seed).unwrap();
            let mut all: Vec<usize> = parts.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..rows.len()).collect::<Vec<_>>());
            let whole = rows.counts();
            for (l, n) in rows.select(&parts[1]).counts().into_iter().enumerate() {
                // Labels placed along with rarer ones drift, but never to one side alone.
                prop_assert!((n as f64 - whole[l] as f64 * share).abs() <= 0.25 * whole[l] as f64 + 3.0);
            }
        }
    }
}
