//! Who votes for an instance: the most similar rows of a bank of training rows, and the votes of their labels.
//!
//! [`batch`] finds neighbours inside a batch by its labels, all on the device; the banks find them among the training
//! rows: [`SparseBank`] by sparse products, [`DenseBank`] by matmul and top-k on the device, [`FeatureBank`] by either,
//! [`LabelBank`] by predicted probabilities. Banks are exact: similarities are compared in 64 bits, equal ones in the order of the rows.

pub mod batch;
mod dense;
mod features;
mod labels;
mod sparse;

use data::LabelRows;

use crate::LossError;

pub use dense::DenseBank;
pub use features::FeatureBank;
pub use labels::LabelBank;
pub use sparse::SparseBank;

/// For each query the rows that vote, most similar first, with weights that sum to one.
///
/// Weights are proportional to similarity. A similarity that is not positive has no vote, so a query may have fewer
/// than k neighbours, or none.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    starts: Vec<usize>,
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self { starts: vec![0], rows: Vec::new(), weights: Vec::new() }
    }
}

impl Neighbours {
    /// Number of queries.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// True without a query.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows and weights of query `i`.
    pub fn of(&self, i: usize) -> (&[u32], &[f32]) {
        let range = self.starts[i]..self.starts[i + 1];
        (&self.rows[range.clone()], &self.weights[range])
    }

    /// The queries `which`, in that order.
    pub fn select(&self, which: &[usize]) -> Self {
        let mut out = Self::default();
        for &i in which {
            let (rows, weights) = self.of(i);
            out.rows.extend_from_slice(rows);
            out.weights.extend_from_slice(weights);
            out.starts.push(out.rows.len());
        }
        out
    }

    /// `KNN = W Y`: the weighted vote of the neighbours' labels, in [0, 1], `[queries, labels]` row by row.
    pub fn votes(&self, labels: &LabelRows) -> Vec<f32> {
        let columns = labels.columns();
        let mut out = vec![0f32; self.len() * columns];
        for (i, votes) in out.chunks_exact_mut(columns.max(1)).enumerate() {
            let (rows, weights) = self.of(i);
            for (&row, &weight) in rows.iter().zip(weights) {
                labels.row(row as usize).iter().for_each(|&l| votes[l as usize] += weight);
            }
        }
        out
    }

    /// Adds a query with its `(similarity, row)` pairs, most similar first.
    fn push(&mut self, similar: &[(f64, u32)]) {
        let positive = similar.iter().take_while(|s| s.0 > 0.0);
        let total: f64 = positive.clone().map(|s| s.0).sum();
        for &(similarity, row) in positive {
            self.rows.push(row);
            self.weights.push((similarity / total) as f32);
        }
        self.starts.push(self.rows.len());
    }

    /// Of queries whose pairs are given in order.
    fn of_all<'a>(similar: impl IntoIterator<Item = &'a Vec<(f64, u32)>>) -> Self {
        let mut out = Self::default();
        similar.into_iter().for_each(|s| out.push(s));
        out
    }
}

/// What makes rows neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// A large cosine.
    Cosine,
    /// A small Euclidean distance; similarities are squared distances, negated.
    Euclidean,
}

/// The rows of the bank that the queries themselves are, so that none votes for itself; absent: queries are new.
pub type Own<'a> = Option<&'a [usize]>;

/// More similar first, then lower row.
fn closer(a: &(f64, u32), b: &(f64, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Leaves the `k` first pairs, in order.
fn nearest(pairs: &mut Vec<(f64, u32)>, k: usize) {
    if k < pairs.len() {
        pairs.select_nth_unstable_by(k, closer);
        pairs.truncate(k);
    }
    pairs.sort_unstable_by(closer);
}

/// Bytes that a bank and its search may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// In MiB.
    pub mebibytes: usize,
}

impl MemoryLimit {
    /// How many of at most `most` pieces of `piece` bytes fit beside `fixed` bytes.
    ///
    /// # Errors
    /// When not even one does.
    fn pieces(self, rows: usize, fixed: usize, piece: usize, most: usize) -> Result<usize, LossError> {
        let rest = (self.mebibytes << 20).saturating_sub(fixed);
        match rest / piece.max(1) {
            0 => Err(LossError::Memory { rows, limit: self.mebibytes, needed: (fixed + piece).div_ceil(1 << 20) }),
            n => Ok(n.min(most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares_of_the_positive_similarities() {
        let mut found = Neighbours::default();
        found.push(&[(0.6, 4), (0.2, 1), (0.0, 2), (-0.5, 0)]);
        found.push(&[(-0.1, 3)]);
        assert_eq!(found.of(0), (&[4u32, 1][..], &[0.75f32, 0.25][..]));
        assert!(found.of(1).0.is_empty());
        let mut labels = LabelRows::new(2);
        for row in [&[][..], &[0, 1], &[], &[], &[1]] {
            labels.push(row);
        }
        assert_eq!(found.votes(&labels), [0.25, 1.0, 0.0, 0.0]);
        assert_eq!(found.select(&[1, 0]).of(1), found.of(0));
    }

    #[test]
    fn equal_similarities_rank_by_row() {
        let mut pairs = vec![(0.5, 3), (0.9, 7), (0.5, 1), (0.5, 2)];
        nearest(&mut pairs, 3);
        assert_eq!(pairs, [(0.9, 7), (0.5, 1), (0.5, 2)]);
    }
}
