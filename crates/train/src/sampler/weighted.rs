//! Weighted drawing in O(1): entries in classes of weights within a factor of two.
//!
//! A class is chosen by the sum of its weights, then an entry of it evenly, which stays with a probability of its weight
//! by the largest of the class: at least one half. A changed weight moves its entry to another class at most. Weights
//! are whole numbers, so sums are exact. Source: Matias, Vitter and Ni, "Dynamic generation of discrete random variates",
//! Theory of Computing Systems 36, 2003, its first level.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Stands for the place of an entry without weight.
const NOWHERE: u32 = u32::MAX;

/// Entries of similar weight.
#[derive(Debug, Clone, Default, PartialEq)]
struct Class {
    entries: Vec<u32>,
    total: u64,
}

/// Weighted entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weighted {
    weights: Vec<u64>,
    /// Class k holds weights from 2^k to below 2^(k + 1).
    classes: Vec<Class>,
    /// Place of each entry in its class.
    places: Vec<u32>,
    total: u64,
}

/// The class of a weight above 0.
fn class_of(weight: u64) -> usize {
    weight.ilog2() as usize
}

impl Weighted {
    /// Entries with these weights, in O(n).
    pub fn new(weights: Vec<u64>) -> Self {
        let order = 0..weights.len() as u32;
        Self::in_order(weights, order)
    }

    /// The same; `order` is what [`Self::order`] gave: draws depend on it.
    pub fn in_order(weights: Vec<u64>, order: impl IntoIterator<Item = u32>) -> Self {
        let classes = weights.iter().max().filter(|w| **w > 0).map_or(0, |w| class_of(*w) + 1);
        let mut out = Self {
            places: vec![NOWHERE; weights.len()],
            classes: vec![Class::default(); classes],
            total: weights.iter().sum(),
            weights,
        };
        for i in order {
            if out.weights[i as usize] > 0 {
                out.put(i as usize);
            }
        }
        out
    }

    /// Entries class by class, in the order in which draws number them.
    pub fn order(&self) -> Vec<u32> {
        self.classes.iter().flat_map(|c| c.entries.iter().copied()).collect()
    }

    /// The weight of entry `i`.
    pub fn weight(&self, i: usize) -> u64 {
        self.weights[i]
    }

    fn put(&mut self, i: usize) {
        let weight = self.weights[i];
        let k = class_of(weight);
        if self.classes.len() <= k {
            self.classes.resize(k + 1, Class::default());
        }
        let class = &mut self.classes[k];
        self.places[i] = class.entries.len() as u32;
        class.entries.push(i as u32);
        class.total += weight;
    }

    fn take_out(&mut self, i: usize) {
        let weight = self.weights[i];
        let class = &mut self.classes[class_of(weight)];
        let place = self.places[i] as usize;
        class.entries.swap_remove(place);
        class.total -= weight;
        if let Some(&moved) = class.entries.get(place) {
            self.places[moved as usize] = place as u32;
        }
        self.places[i] = NOWHERE;
    }

    /// Gives entry `i` another weight; returns its old one.
    pub fn set(&mut self, i: usize, weight: u64) -> u64 {
        let old = self.weights[i];
        self.total = self.total - old + weight;
        if old > 0 && weight > 0 && class_of(old) == class_of(weight) {
            let class = &mut self.classes[class_of(old)];
            class.total = class.total - old + weight;
            self.weights[i] = weight;
            return old;
        }
        if old > 0 {
            self.take_out(i);
        }
        self.weights[i] = weight;
        if weight > 0 {
            self.put(i);
        }
        old
    }

    /// An entry that is not taken, drawn with a probability proportional to its weight; none where no weight is left.
    ///
    /// A taken entry that comes up loses its weight and is put aside with it, to be given back when it is free again:
    /// drawing many costs at most twice as many draws, and as few changes of weights as taken entries came up.
    pub fn draw_free(
        &mut self,
        is_taken: impl Fn(usize) -> bool,
        aside: &mut Vec<(usize, u64)>,
        rng: &mut ChaCha8Rng,
    ) -> Option<usize> {
        loop {
            let i = self.draw(rng)?;
            if !is_taken(i) {
                return Some(i);
            }
            aside.push((i, self.set(i, 0)));
        }
    }

    /// An entry drawn with a probability proportional to its weight; none where all weights are 0.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        let mut left = rng.random_range(0..self.total);
        let (k, class) = self.classes.iter().enumerate().rev().find(|(_, class)| {
            let is_it = left < class.total;
            left = left.saturating_sub(class.total);
            is_it
        })?;
        loop {
            let i = class.entries[rng.random_range(0..class.entries.len())] as usize;
            // Even in 0..2^(k + 1).
            if rng.random::<u64>() >> (63 - k) < self.weights[i] {
                return Some(i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn changed_weights_are_where_new_ones_would_be() {
        let mut changed = Weighted::new((0..37).collect());
        for (i, w) in [(0, 9), (36, 0), (5, 1 << 40), (17, 3), (17, 2), (36, 0), (1, 1)] {
            let old = changed.weight(i);
            assert_eq!(changed.set(i, w), old);
        }
        let mut fresh = Weighted::in_order(changed.weights.clone(), changed.order());
        fresh.classes.resize(changed.classes.len(), Class::default());
        assert_eq!(changed, fresh);
        let total = |k: usize| changed.classes[k].entries.iter().map(|i| changed.weights[*i as usize]).sum::<u64>();
        assert!((0..changed.classes.len()).all(|k| changed.classes[k].total == total(k)));
        assert_eq!(changed.total, changed.weights.iter().sum::<u64>());
    }

    #[test]
    fn entries_come_by_their_weights_and_never_without_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let weights = [0u64, 5, 0, 1, 3, 4_000_000_000, 7 << 33];
        for set in [&weights[..5], &weights[..]] {
            let entries = Weighted::new(set.to_vec());
            let mut counts = vec![0.0; set.len()];
            for _ in 0..60_000 {
                counts[entries.draw(&mut rng).unwrap()] += 1.0;
            }
            let total: u64 = set.iter().sum();
            for (count, weight) in counts.iter().zip(set) {
                let expected = 60_000.0 * *weight as f64 / total as f64;
                assert!((count - expected).abs() <= 4.0 * expected.sqrt(), "{counts:?} for {set:?}");
            }
        }
        assert_eq!(Weighted::new(vec![0, 0]).draw(&mut rng), None);
        assert_eq!(Weighted::default().draw(&mut rng), None);
    }
}
