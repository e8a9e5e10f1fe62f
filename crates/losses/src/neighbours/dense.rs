//! Exact cosine neighbours of dense rows: matmul and top-k on the device, block by block, then the best ones compared
//! again in 64 bits.

use burn::tensor::{Device, Tensor, TensorData};
use host::HostView;
use rayon::prelude::*;

use super::{MemoryLimit, Neighbours, Own, closer, nearest};
use crate::LossError;

/// Queries and bank rows of one block of similarities, at most.
const BLOCK: [usize; 2] = [512, 16_384];
/// How far a 32-bit similarity of unit vectors may be off.
const SLACK: f64 = 1e-5;

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
        let piece = 8 * (rows.min(BLOCK[1]) + width);
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
        // Room for rounding among the last ones, and for the query itself.
        let wanted = 2 * k + 8;
        let mut candidates: Vec<Vec<(f32, u32)>> = vec![Vec::new(); lengths.len()];
        for (b, block) in self.blocks.iter().enumerate() {
            let best = top_k(on_device.clone().matmul(block.clone()), wanted);
            for (all, new) in candidates.iter_mut().zip(best) {
                all.extend(new.into_iter().map(|(s, row)| (s, (b * BLOCK[1]) as u32 + row)));
            }
        }
        let refine = |(i, candidates): (usize, Vec<(f32, u32)>)| {
            let query = &queries[i * self.width..(i + 1) * self.width];
            let own = own.map(|o| o[i] as u32);
            self.refine(query, lengths[i], candidates, wanted, k, own)
        };
        candidates.into_par_iter().enumerate().map(refine).collect()
    }

    /// The `k` best of the candidates by 64-bit similarity; all rows where the candidates may lack one.
    fn refine(
        &self,
        query: &[f32],
        length: f64,
        mut candidates: Vec<(f32, u32)>,
        wanted: usize,
        k: usize,
        own: Option<u32>,
    ) -> Vec<(f64, u32)> {
        candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        candidates.truncate(wanted);
        let last = candidates.last().map_or(f64::NEG_INFINITY, |c| f64::from(c.0));
        let complete = candidates.len() == self.lengths.len();
        let similarity = |row: u32| {
            let at = row as usize;
            let scale = length * self.lengths[at];
            let product = dot(query, &self.rows[at * self.width..(at + 1) * self.width]);
            (if scale > 0.0 { product / scale } else { 0.0 }, row)
        };
        let mut found: Vec<(f64, u32)> =
            candidates.iter().filter(|c| Some(c.1) != own).map(|c| similarity(c.1)).collect();
        found.sort_unstable_by(closer);
        found.truncate(k);
        let certain = complete || found.get(k.wrapping_sub(1)).is_some_and(|kth| kth.0 > last + SLACK) || last < -SLACK;
        if certain {
            return found;
        }
        let all = (0..self.lengths.len() as u32).filter(|row| Some(*row) != own);
        nearest(all.map(similarity).collect(), k)
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

/// The `k` largest values of each row with their columns, in no certain order.
///
/// On CPU backends by selection in place, elsewhere by the backend's own top-k.
pub(crate) fn top_k(values: Tensor<2>, k: usize) -> Vec<Vec<(f32, u32)>> {
    let [_, columns] = values.dims();
    let k = k.min(columns);
    if !host::is_host(&values.device()) {
        return top_k_composed(values, k);
    }
    let view = HostView::of(&values);
    let select = |row: &[f32]| {
        let mut pairs: Vec<(f32, u32)> = row.iter().copied().zip(0..).collect();
        if k < columns {
            pairs.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0));
            pairs.truncate(k);
        }
        pairs
    };
    view.as_slice().par_chunks(columns.max(1)).map(select).collect()
}

/// The reference for [`top_k`], of the backend's own operations.
fn top_k_composed(values: Tensor<2>, k: usize) -> Vec<Vec<(f32, u32)>> {
    let (values, columns) = values.topk_with_indices(k, 1);
    let values = values.into_data().convert::<f32>();
    let columns = columns.into_data().convert::<i64>();
    let pairs: Vec<(f32, u32)> = values.iter::<f32>().zip(columns.iter::<i64>().map(|c| c as u32)).collect();
    pairs.chunks(k.max(1)).map(<[_]>::to_vec).collect()
}

/// Dot product in 64 bits, in the order of the values.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_and_the_backends_top_k_agree() {
        let device = Device::flex();
        let values: Vec<f32> = (0..60).map(|i| ((i * 37 % 61) as f32).sin()).collect();
        let tensor = Tensor::<2>::from_data(TensorData::new(values, [3, 20]), &device);
        for k in [1, 4, 20] {
            let sorted = |mut rows: Vec<Vec<(f32, u32)>>| {
                rows.iter_mut().for_each(|r| r.sort_unstable_by_key(|e| e.1));
                rows
            };
            assert_eq!(sorted(top_k(tensor.clone(), k)), sorted(top_k_composed(tensor.clone(), k)));
        }
    }
}
