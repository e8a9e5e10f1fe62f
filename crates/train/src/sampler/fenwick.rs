//! Weighted drawing in O(log n): sums of weights in a Fenwick tree.
//!
//! Weights are whole numbers: sums are exact, and a tree built again from its weights is the same tree.
//! Source: Fenwick, "A new data structure for cumulative frequency tables", Software: Practice and Experience 24, 1994.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Weights and their partial sums.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fenwick {
    weights: Vec<u64>,
    /// Entry `i` holds the sum of the weights that its lowest set bit spans, from 1.
    sums: Vec<u64>,
    total: u64,
}

impl Fenwick {
    /// A tree of these weights, in O(n).
    pub fn new(weights: Vec<u64>) -> Self {
        let n = weights.len();
        let mut sums = vec![0; n + 1];
        for i in 1..=n {
            sums[i] += weights[i - 1];
            let parent = i + (i & i.wrapping_neg());
            if parent <= n {
                sums[parent] += sums[i];
            }
        }
        let total = weights.iter().sum();
        Self { weights, sums, total }
    }

    /// Sum of all weights.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The weight of entry `i`.
    pub fn weight(&self, i: usize) -> u64 {
        self.weights[i]
    }

    /// Gives entry `i` another weight; returns its old one.
    pub fn set(&mut self, i: usize, weight: u64) -> u64 {
        let old = std::mem::replace(&mut self.weights[i], weight);
        // Differences wrap around and come back: sums are never negative.
        let change = weight.wrapping_sub(old);
        self.total = self.total.wrapping_add(change);
        let mut at = i + 1;
        while at < self.sums.len() {
            self.sums[at] = self.sums[at].wrapping_add(change);
            at += at & at.wrapping_neg();
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
        let mut at = 0;
        let mut step = self.sums.len().next_power_of_two() / 2;
        while step > 0 {
            let next = at + step;
            if next < self.sums.len() && self.sums[next] <= left {
                left -= self.sums[next];
                at = next;
            }
            step /= 2;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn changed_weights_give_the_tree_that_is_built_from_them() {
        let mut tree = Fenwick::new((0..37).collect());
        for (i, w) in [(0, 9), (36, 0), (5, 1 << 40), (17, 3)] {
            tree.set(i, w);
        }
        assert_eq!(tree, Fenwick::new(tree.weights.clone()));
        assert_eq!(tree.total(), tree.weights.iter().sum::<u64>());
    }

    #[test]
    fn entries_without_weight_are_never_drawn() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let tree = Fenwick::new(vec![0, 5, 0, 1, 0]);
        let mut counts = [0; 5];
        for _ in 0..6_000 {
            counts[tree.draw(&mut rng).unwrap()] += 1;
        }
        assert_eq!((counts[0], counts[2], counts[4]), (0, 0, 0));
        assert!((counts[1] - 5_000i32).abs() < 150, "{counts:?}");
        assert_eq!(Fenwick::new(vec![0, 0]).draw(&mut rng), None);
        assert_eq!(Fenwick::default().draw(&mut rng), None);
    }
}
