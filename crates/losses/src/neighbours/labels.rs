//! Neighbours by predicted labels: the training rows whose labels the model finds most likely.

use data::LabelRows;
use rayon::prelude::*;

use super::{Neighbours, Own, nearest};

/// Queries summed together: the labels of a row are looked up once for all of them.
const BLOCK: usize = 16;

/// The labels of the training rows, as a bank.
#[derive(Debug, Clone, Copy)]
pub struct LabelBank<'a> {
    labels: &'a LabelRows,
}

impl<'a> LabelBank<'a> {
    /// Over these rows.
    pub fn new(labels: &'a LabelRows) -> Self {
        Self { labels }
    }

    /// The `k` rows with the largest `S = P Yᵀ` for each query, `P` its label probabilities.
    ///
    /// `probabilities` are `[queries, labels]`, row by row.
    pub fn nearest(&self, probabilities: &[f32], k: usize, own: Own) -> Neighbours {
        let labels = self.labels.columns().max(1);
        let blocks: Vec<Vec<Vec<(f64, u32)>>> = probabilities
            .par_chunks(BLOCK * labels)
            .enumerate()
            .map_init(Vec::new, |sums, (b, queries)| {
                self.sums(queries, sums);
                let own_of = |q: usize| own.map(|o| o[b * BLOCK + q]);
                let mut pairs = Vec::new();
                (0..queries.len() / labels)
                    .map(|q| {
                        pairs.clear();
                        let similar = sums.iter().enumerate().map(|(j, s)| (s[q], j as u32));
                        pairs.extend(similar.filter(|s| s.0 > 0.0 && Some(s.1 as usize) != own_of(q)));
                        nearest(&mut pairs, k);
                        pairs.clone()
                    })
                    .collect()
            })
            .collect();
        Neighbours::of_all(blocks.iter().flatten())
    }

    /// The sums of a block of queries' probabilities over the labels of every row.
    fn sums(&self, queries: &[f32], sums: &mut Vec<[f64; BLOCK]>) {
        let labels = self.labels.columns().max(1);
        let mut by_label = vec![[0f64; BLOCK]; labels];
        for (q, query) in queries.chunks_exact(labels).enumerate() {
            by_label.iter_mut().zip(query).for_each(|(of_label, p)| of_label[q] = f64::from(*p));
        }
        sums.clear();
        sums.extend(self.labels.rows().map(|row| {
            let mut sum = [0f64; BLOCK];
            for &l in row {
                sum.iter_mut().zip(&by_label[l as usize]).for_each(|(s, p)| *s += p);
            }
            sum
        }));
    }
}
