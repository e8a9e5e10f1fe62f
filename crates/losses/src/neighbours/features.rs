//! Exact neighbours by features: by sparse products or by matmul, whichever the rows are dense enough for.

use burn::tensor::Device;
use data::FeatureRows;

use super::{DenseBank, MemoryLimit, Metric, Neighbours, Own, SparseBank};
use crate::LossError;

/// Rows denser than this are compared by matmul.
const DENSE: f64 = 0.1;

/// Training rows by their features.
#[derive(Debug, Clone)]
pub struct FeatureBank {
    metric: Metric,
    rows: Rows,
}

#[derive(Debug, Clone)]
enum Rows {
    Sparse(SparseBank),
    Dense(DenseBank),
}

impl FeatureBank {
    /// A bank of these rows.
    ///
    /// # Errors
    /// When bank and search take more than the limit.
    pub fn new(metric: Metric, rows: &FeatureRows, device: &Device, limit: MemoryLimit) -> Result<Self, LossError> {
        let rows = match rows.density() > DENSE {
            true => Rows::Dense(DenseBank::with_metric(metric, rows.to_dense(), rows.columns(), device, limit)?),
            false => Rows::Sparse(SparseBank::new(rows, limit)?),
        };
        Ok(Self { metric, rows })
    }

    /// The `k` most similar rows of each query with their similarity, most similar first.
    pub fn closest(&self, queries: &FeatureRows, k: usize, own: Own, device: &Device) -> Vec<Vec<(f64, u32)>> {
        match &self.rows {
            Rows::Sparse(bank) => bank.closest(self.metric, queries, k, own),
            Rows::Dense(bank) => bank.closest(&queries.to_dense(), k, own, device),
        }
    }

    /// The same as neighbours that vote.
    pub fn nearest(&self, queries: &FeatureRows, k: usize, own: Own, device: &Device) -> Neighbours {
        Neighbours::of_all(&self.closest(queries, k, own, device))
    }
}
