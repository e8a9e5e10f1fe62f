//! Exact neighbours of sparse rows, by an inverted index: nothing becomes dense.

use data::FeatureRows;
use rayon::prelude::*;

use super::{MemoryLimit, Metric, Neighbours, Own, nearest};
use crate::LossError;

/// Training rows by column: for each feature the rows that hold it.
#[derive(Debug, Clone)]
pub struct SparseBank {
    /// Entries of feature `c` are `starts[c]..starts[c + 1]`.
    starts: Vec<usize>,
    /// Row and value of each entry, rows ascending.
    entries: Vec<(u32, f32)>,
    /// Euclidean length of each row.
    lengths: Vec<f64>,
    /// Rows by length, then index.
    shortest: Vec<u32>,
}

impl SparseBank {
    /// Turns rows into an index.
    ///
    /// # Errors
    /// When index and search take more than the limit.
    pub fn new(rows: &FeatureRows, limit: MemoryLimit) -> Result<Self, LossError> {
        // Beside the index every thread keeps a sum for each row, a list of the rows touched and their similarities.
        let index = rows.nnz() * 8 + rows.columns() * 8 + rows.len() * 12;
        limit.pieces(rows.len(), index, rayon::current_num_threads() * rows.len() * 28, 1)?;
        let mut starts = vec![0usize; rows.columns() + 1];
        for i in 0..rows.len() {
            rows.row(i).0.iter().for_each(|&c| starts[c as usize + 1] += 1);
        }
        for c in 0..rows.columns() {
            starts[c + 1] += starts[c];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0u32, 0f32); rows.nnz()];
        let mut lengths = Vec::with_capacity(rows.len());
        for i in 0..rows.len() {
            let (columns, values) = rows.row(i);
            for (&c, &v) in columns.iter().zip(values) {
                entries[next[c as usize]] = (i as u32, v);
                next[c as usize] += 1;
            }
            lengths.push(length(values));
        }
        let mut shortest: Vec<u32> = (0..rows.len() as u32).collect();
        shortest.sort_by(|a, b| lengths[*a as usize].total_cmp(&lengths[*b as usize]));
        Ok(Self { starts, entries, lengths, shortest })
    }

    /// The `k` most similar rows of each query by cosine, as neighbours that vote.
    pub fn nearest(&self, queries: &FeatureRows, k: usize, own: Own) -> Neighbours {
        Neighbours::of_all(&self.closest(Metric::Cosine, queries, k, own))
    }

    /// The `k` most similar rows of each query with their similarity, most similar first; by cosine only rows that share
    /// a feature with the query.
    pub fn closest(&self, metric: Metric, queries: &FeatureRows, k: usize, own: Own) -> Vec<Vec<(f64, u32)>> {
        (0..queries.len())
            .into_par_iter()
            .map_init(
                || (vec![0f64; self.lengths.len()], Vec::new(), Vec::new()),
                |(sums, touched, pairs), i| {
                    let (columns, values) = queries.row(i);
                    self.products(columns, values, sums, touched);
                    let scale = length(values);
                    let own = own.map(|o| o[i] as u32);
                    pairs.clear();
                    if metric == Metric::Euclidean {
                        self.add_untouched(sums, scale, k, own, pairs);
                    }
                    for row in touched.drain(..) {
                        // A sum that came back to 0 on the way is listed twice, and is 0 the second time.
                        let product = std::mem::take(&mut sums[row as usize]);
                        if product == 0.0 || own == Some(row) {
                            continue;
                        }
                        let other = self.lengths[row as usize];
                        match metric {
                            Metric::Cosine if product > 0.0 => pairs.push((product / (scale * other), row)),
                            Metric::Cosine => {}
                            Metric::Euclidean => pairs.push((2.0 * product - scale * scale - other * other, row)),
                        }
                    }
                    nearest(pairs, k);
                    pairs.clone()
                },
            )
            .collect()
    }

    /// The shortest rows whose product with the query is 0: as far from it as their length says.
    fn add_untouched(&self, sums: &[f64], scale: f64, k: usize, own: Option<u32>, pairs: &mut Vec<(f64, u32)>) {
        let free = self.shortest.iter().filter(|r| sums[**r as usize] == 0.0 && Some(**r) != own).take(k);
        pairs.extend(free.map(|&row| (-scale * scale - self.lengths[row as usize].powi(2), row)));
    }

    /// Adds the dot products of a query with every row that shares a feature with it; `touched` lists those rows.
    fn products(&self, columns: &[u32], values: &[f32], sums: &mut [f64], touched: &mut Vec<u32>) {
        for (&c, &v) in columns.iter().zip(values) {
            let value = f64::from(v);
            for &(row, other) in &self.entries[self.starts[c as usize]..self.starts[c as usize + 1]] {
                let sum = &mut sums[row as usize];
                if *sum == 0.0 {
                    touched.push(row);
                }
                *sum += value * f64::from(other);
            }
        }
    }
}

fn length(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}
