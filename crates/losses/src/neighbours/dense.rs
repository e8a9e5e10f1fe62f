//! Exact neighbours of dense rows: matmul and top-k on the device, block by block, then the best ones compared
//! again in 64 bits.

use burn::tensor::{Device, Tensor, TensorData};
use host::HostView;
use rayon::prelude::*;

use super::{MemoryLimit, Metric, Neighbours, Own, nearest};
use crate::LossError;

/// Queries and bank rows of one block of similarities, at most.
const BLOCK: [usize; 2] = [512, 16_384];
/// How far two 32-bit similarities of unit vectors may be off together.
const SLACK: f32 = 2e-5;

/// Training rows on the device, as the metric compares them, and as they are on the host.
#[derive(Debug, Clone)]
pub struct DenseBank {
    metric: Metric,
    width: usize,
    /// `[rows, width]`, as given.
    rows: Vec<f32>,
    /// Euclidean length of each row.
    lengths: Vec<f64>,
    /// `[columns, rows]` of each block; the product with a query grows with similarity.
    blocks: Vec<Tensor<2>>,
    /// Largest value that is multiplied.
    largest: f32,
    /// Queries searched at once.
    step: usize,
}

impl DenseBank {
    /// A bank of `rows` `[rows, width]`, row by row, compared by cosine.
    ///
    /// # Errors
    /// When the bank and one query's similarities take more than the limit.
    pub fn new(rows: Vec<f32>, width: usize, device: &Device, limit: MemoryLimit) -> Result<Self, LossError> {
        Self::with_metric(Metric::Cosine, rows, width, device, limit)
    }

    /// The same by another metric.
    ///
    /// # Errors
    /// When the bank and one query's similarities take more than the limit.
    pub fn with_metric(
        metric: Metric,
        rows: Vec<f32>,
        width: usize,
        device: &Device,
        limit: MemoryLimit,
    ) -> Result<Self, LossError> {
        let width = width.max(1);
        let step = Self::fits(rows.len() / width, width, limit)?;
        let lengths: Vec<f64> = rows.chunks_exact(width).map(|row| dot(row, row).sqrt()).collect();
        let blocks = rows
            .chunks(BLOCK[1] * width)
            .zip(lengths.chunks(BLOCK[1]))
            .map(|(block, lengths)| match metric {
                Metric::Cosine => unit(block, lengths, width, device).transpose(),
                Metric::Euclidean => lifted(block, lengths, width, device).transpose(),
            })
            .collect();
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        let largest = match metric {
            Metric::Cosine => 1.0,
            Metric::Euclidean => (longest * longest).max(1e-30) as f32,
        };
        Ok(Self { metric, width, rows, lengths, blocks, largest, step })
    }

    /// How many queries can be searched at once in a bank of `rows` rows.
    ///
    /// # Errors
    /// When the bank and one query's similarities take more than the limit.
    pub fn fits(rows: usize, width: usize, limit: MemoryLimit) -> Result<usize, LossError> {
        let piece = 4 * (2 * rows.min(BLOCK[1]) + 2 * width);
        limit.pieces(rows, 2 * 4 * rows * width + 8 * rows, piece, BLOCK[0])
    }

    /// The rows as given, `[rows, width]`.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Number of values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The `k` most similar rows of each query `[queries, width]` as neighbours that vote.
    pub fn nearest(&self, queries: &[f32], k: usize, own: Own, device: &Device) -> Neighbours {
        Neighbours::of_all(&self.closest(queries, k, own, device))
    }

    /// The `k` most similar rows of each query `[queries, width]` with their similarity, most similar first.
    pub fn closest(&self, queries: &[f32], k: usize, own: Own, device: &Device) -> Vec<Vec<(f64, u32)>> {
        let mut found = Vec::new();
        for (chunk, queries) in queries.chunks(self.step * self.width).enumerate() {
            let own = own.map(|o| &o[chunk * self.step..]);
            found.extend(self.search(queries, k, own, device));
        }
        found
    }

    fn search(&self, queries: &[f32], k: usize, own: Own, device: &Device) -> Vec<Vec<(f64, u32)>> {
        let lengths: Vec<f64> = queries.chunks_exact(self.width).map(|q| dot(q, q).sqrt()).collect();
        let on_device = match self.metric {
            Metric::Cosine => unit(queries, &lengths, self.width, device),
            Metric::Euclidean => with_one(queries, self.width, device),
        };
        let longest = lengths.iter().copied().fold(0.0, f64::max) as f32;
        let slack = match self.metric {
            Metric::Cosine => SLACK,
            // Terms 2 q·r and |r|² of the size of the longest rows.
            Metric::Euclidean => SLACK * (self.largest + 2.0 * longest * self.largest.sqrt()),
        };
        // One more, as the query itself may be among them.
        let wanted = k + 1;
        let mut found = vec![Candidates { rows: Vec::new(), complete: true }; lengths.len()];
        for (b, block) in self.blocks.iter().enumerate() {
            let first = (b * BLOCK[1]) as u32;
            for (all, new) in found.iter_mut().zip(candidates(on_device.clone().matmul(block.clone()), wanted, slack)) {
                all.rows.extend(new.rows.iter().map(|row| first + row));
                all.complete &= new.complete;
            }
        }
        let refine = |(i, candidates): (usize, Candidates)| {
            let query = &queries[i * self.width..(i + 1) * self.width];
            self.refine(query, lengths[i], &candidates, k, own.map(|o| o[i] as u32))
        };
        found.into_par_iter().enumerate().map(refine).collect()
    }

    /// The `k` best of the candidates by 64-bit similarity; of all rows where the candidates may lack one.
    fn refine(
        &self,
        query: &[f32],
        length: f64,
        candidates: &Candidates,
        k: usize,
        own: Option<u32>,
    ) -> Vec<(f64, u32)> {
        let similarity = |row: u32| {
            let at = row as usize;
            let scale = length * self.lengths[at];
            let other = &self.rows[at * self.width..(at + 1) * self.width];
            let value = match self.metric {
                Metric::Euclidean => -distance(query, other),
                Metric::Cosine if scale > 0.0 => dot(query, other) / scale,
                Metric::Cosine => 0.0,
            };
            (value, row)
        };
        let others = |row: &u32| Some(*row) != own;
        let mut found: Vec<(f64, u32)> = match candidates.complete {
            true => candidates.rows.iter().copied().filter(others).map(similarity).collect(),
            false => (0..self.lengths.len() as u32).filter(others).map(similarity).collect(),
        };
        nearest(&mut found, k);
        found
    }
}

/// Rows of length 1 (or of zeros) on the device, `[rows, width]`.
fn unit(rows: &[f32], lengths: &[f64], width: usize, device: &Device) -> Tensor<2> {
    let scaled: Vec<f32> = rows
        .chunks_exact(width)
        .zip(lengths)
        .flat_map(|(row, length)| {
            let factor = if *length > 0.0 { 1.0 / length } else { 0.0 };
            row.iter().map(move |v| (f64::from(*v) * factor) as f32)
        })
        .collect();
    Tensor::from_data(TensorData::new(scaled, [lengths.len(), width]), &device.clone().without_autodiff())
}

/// `[2 r, -|r|²]` of each row: its product with `[q, 1]` is `|q|² - |q - r|²`.
fn lifted(rows: &[f32], lengths: &[f64], width: usize, device: &Device) -> Tensor<2> {
    let mut values = Vec::with_capacity(rows.len() + lengths.len());
    for (row, length) in rows.chunks_exact(width).zip(lengths) {
        values.extend(row.iter().map(|v| 2.0 * v));
        values.push(-(length * length) as f32);
    }
    Tensor::from_data(TensorData::new(values, [lengths.len(), width + 1]), &device.clone().without_autodiff())
}

/// `[q, 1]` of each query.
fn with_one(queries: &[f32], width: usize, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = queries.chunks_exact(width).flat_map(|q| q.iter().copied().chain([1.0])).collect();
    Tensor::from_data(TensorData::new(values, [queries.len() / width, width + 1]), &device.clone().without_autodiff())
}

/// Columns of a row that may be among its largest.
#[derive(Debug, Clone, PartialEq)]
struct Candidates {
    rows: Vec<u32>,
    /// No other column may be.
    complete: bool,
}

/// Columns of each row whose value may be among its `k` largest, were it computed without rounding.
///
/// On CPU backends a selection in place, elsewhere the backend's own top-k with some to spare.
fn candidates(values: Tensor<2>, k: usize, slack: f32) -> Vec<Candidates> {
    let [_, columns] = values.dims();
    if !host::is_host(&values.device()) {
        return candidates_composed(values, k, slack);
    }
    let view = HostView::of(&values);
    let select = |copy: &mut Vec<f32>, row: &[f32]| {
        if k >= columns {
            return Candidates { rows: (0..columns as u32).collect(), complete: true };
        }
        copy.clear();
        copy.extend_from_slice(row);
        let (_, kth, _) = copy.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        let least = *kth - slack;
        let rows = (0..).zip(row).filter(|e| *e.1 >= least).map(|e| e.0).collect();
        Candidates { rows, complete: true }
    };
    view.as_slice().par_chunks(columns.max(1)).map_init(Vec::new, select).collect()
}

/// [`candidates`] of the backend's own operations.
fn candidates_composed(values: Tensor<2>, k: usize, slack: f32) -> Vec<Candidates> {
    let [_, columns] = values.dims();
    let wanted = (2 * k + 8).min(columns);
    let (values, indices) = values.topk_with_indices(wanted, 1);
    let values: Vec<f32> = values.into_data().convert::<f32>().iter().collect();
    let indices: Vec<i64> = indices.into_data().convert::<i64>().iter().collect();
    let of_row = |(values, indices): (&[f32], &[i64])| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let (kth, last) = (sorted[k.min(wanted) - 1], sorted[wanted - 1]);
        let complete = wanted == columns || last < kth - slack;
        Candidates { rows: indices.iter().map(|c| *c as u32).collect(), complete }
    };
    values.chunks(wanted.max(1)).zip(indices.chunks(wanted.max(1))).map(of_row).collect()
}

/// Squared Euclidean distance in 64 bits, in the order of the values.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

/// Dot product in 64 bits, in the order of the values.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_selected_is_among_what_the_backends_own_operations_find() {
        let device = Device::flex();
        let values: Vec<f32> = (0..90).map(|i| ((i * 37 % 91) as f32).sin()).collect();
        let tensor = Tensor::<2>::from_data(TensorData::new(values, [3, 30]), &device);
        for k in [1, 4, 29, 30] {
            let (fast, composed) =
                (candidates(tensor.clone(), k, SLACK), candidates_composed(tensor.clone(), k, SLACK));
            for (a, b) in fast.iter().zip(&composed) {
                assert!(a.complete && b.complete && a.rows.len() == k && a.rows.iter().all(|c| b.rows.contains(c)));
            }
        }
    }

    #[test]
    fn a_row_of_equal_values_is_not_complete_for_a_top_k_that_leaves_some_out() {
        let tensor = Tensor::<2>::ones([1, 30], &Device::flex());
        assert_eq!(candidates(tensor.clone(), 2, SLACK)[0].rows.len(), 30);
        assert!(!candidates_composed(tensor, 2, SLACK)[0].complete);
    }
}
