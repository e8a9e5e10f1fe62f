//! Exact cosine neighbours of dense rows: matmul and top-k on the device, block by block, then the best ones compared
//! again in 64 bits.

use burn::tensor::{Device, Tensor, TensorData};
use host::HostView;
use rayon::prelude::*;

use super::{MemoryLimit, Neighbours, Own, nearest};
use crate::LossError;

/// Queries and bank rows of one block of similarities, at most.
const BLOCK: [usize; 2] = [512, 16_384];
/// How far two 32-bit similarities of unit vectors may be off together.
const SLACK: f32 = 2e-5;

/// Training rows of unit length on the device, and as they are on the host.
#[derive(Debug, Clone)]
pub struct DenseBank {
    width: usize,
    /// `[rows, width]`, as given.
    rows: Vec<f32>,
    /// Euclidean length of each row.
    lengths: Vec<f64>,
    /// `[width, rows]` of each block, of unit length.
    blocks: Vec<Tensor<2>>,
    /// Queries searched at once.
    step: usize,
}

impl DenseBank {
    /// A bank of `rows` `[rows, width]`, row by row.
    ///
    /// # Errors
    /// When the bank and one query's similarities take more than the limit.
    pub fn new(rows: Vec<f32>, width: usize, device: &Device, limit: MemoryLimit) -> Result<Self, LossError> {
        let width = width.max(1);
        let step = Self::fits(rows.len() / width, width, limit)?;
        let lengths: Vec<f64> = rows.chunks_exact(width).map(|row| dot(row, row).sqrt()).collect();
        let blocks = rows
            .chunks(BLOCK[1] * width)
            .zip(lengths.chunks(BLOCK[1]))
            .map(|(block, lengths)| unit(block, lengths, width, device).transpose())
            .collect();
        Ok(Self { width, rows, lengths, blocks, step })
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

    /// The `k` most similar rows of each query `[queries, width]` by cosine.
    pub fn nearest(&self, queries: &[f32], k: usize, own: Own, device: &Device) -> Neighbours {
        let mut found = Neighbours::default();
        for (chunk, queries) in queries.chunks(self.step * self.width).enumerate() {
            let own = own.map(|o| &o[chunk * self.step..]);
            let similar = self.search(queries, k, own, device);
            similar.iter().for_each(|s| found.push(s));
        }
        found
    }

    fn search(&self, queries: &[f32], k: usize, own: Own, device: &Device) -> Vec<Vec<(f64, u32)>> {
        let lengths: Vec<f64> = queries.chunks_exact(self.width).map(|q| dot(q, q).sqrt()).collect();
        let on_device = unit(queries, &lengths, self.width, device);
        // One more, as the query itself may be among them.
        let wanted = k + 1;
        let mut found = vec![Candidates { rows: Vec::new(), complete: true }; lengths.len()];
        for (b, block) in self.blocks.iter().enumerate() {
            let first = (b * BLOCK[1]) as u32;
            for (all, new) in found.iter_mut().zip(candidates(on_device.clone().matmul(block.clone()), wanted)) {
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
            let product = dot(query, &self.rows[at * self.width..(at + 1) * self.width]);
            (if scale > 0.0 { product / scale } else { 0.0 }, row)
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
fn candidates(values: Tensor<2>, k: usize) -> Vec<Candidates> {
    let [_, columns] = values.dims();
    if !host::is_host(&values.device()) {
        return candidates_composed(values, k);
    }
    let view = HostView::of(&values);
    let select = |copy: &mut Vec<f32>, row: &[f32]| {
        if k >= columns {
            return Candidates { rows: (0..columns as u32).collect(), complete: true };
        }
        copy.clear();
        copy.extend_from_slice(row);
        let (_, kth, _) = copy.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        let least = *kth - SLACK;
        let rows = (0..).zip(row).filter(|e| *e.1 >= least).map(|e| e.0).collect();
        Candidates { rows, complete: true }
    };
    view.as_slice().par_chunks(columns.max(1)).map_init(Vec::new, select).collect()
}

/// [`candidates`] of the backend's own operations.
fn candidates_composed(values: Tensor<2>, k: usize) -> Vec<Candidates> {
    let [_, columns] = values.dims();
    let wanted = (2 * k + 8).min(columns);
    let (values, indices) = values.topk_with_indices(wanted, 1);
    let values: Vec<f32> = values.into_data().convert::<f32>().iter().collect();
    let indices: Vec<i64> = indices.into_data().convert::<i64>().iter().collect();
    let of_row = |(values, indices): (&[f32], &[i64])| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let (kth, last) = (sorted[k.min(wanted) - 1], sorted[wanted - 1]);
        let complete = wanted == columns || last < kth - SLACK;
        Candidates { rows: indices.iter().map(|c| *c as u32).collect(), complete }
    };
    values.chunks(wanted.max(1)).zip(indices.chunks(wanted.max(1))).map(of_row).collect()
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
            let (fast, composed) = (candidates(tensor.clone(), k), candidates_composed(tensor.clone(), k));
            for (a, b) in fast.iter().zip(&composed) {
                assert!(a.complete && b.complete && a.rows.len() == k && a.rows.iter().all(|c| b.rows.contains(c)));
            }
        }
    }

    #[test]
    fn a_row_of_equal_values_is_not_complete_for_a_top_k_that_leaves_some_out() {
        let tensor = Tensor::<2>::ones([1, 30], &Device::flex());
        assert_eq!(candidates(tensor.clone(), 2)[0].rows.len(), 30);
        assert!(!candidates_composed(tensor, 2)[0].complete);
    }
}
