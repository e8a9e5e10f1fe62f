//! Neighbours by predicted labels: the training rows whose labels the model finds most likely.

use data::LabelRows;
use rayon::prelude::*;

use super::{Neighbours, Own, nearest};

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
        let columns = self.labels.columns().max(1);
        let found: Vec<Vec<(f64, u32)>> = probabilities
            .par_chunks(columns)
            .enumerate()
            .map(|(i, p)| {
                let own = own.map(|o| o[i]);
                let similarity = |row: &[u32]| row.iter().map(|&l| f64::from(p[l as usize])).sum::<f64>();
                let rows = self.labels.rows().enumerate().filter(|r| Some(r.0) != own && !r.1.is_empty());
                nearest(rows.map(|(j, row)| (similarity(row), j as u32)).collect(), k)
            })
            .collect();
        Neighbours::of_all(&found)
    }
}
