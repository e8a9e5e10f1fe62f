//! Weighted sums of matrix rows: the product of a compressed batch with a dense matrix, and its gradient.

use burn::tensor::{Int, Tensor, TensorData};
use host::simd::vectorised;
use rayon::prelude::*;

use crate::RowBatch;

/// `rows · weight` on the host: `[batch, columns] · [columns, width]` → `[batch, width]`, row by row.
///
/// The sums run in the order of the entries, whatever the number of threads.
pub fn row_sum(rows: &RowBatch, weight: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() * width];
    add_row_sum(rows, weight, width, &mut out);
    out
}

/// [`row_sum`] added to what `out` holds.
pub fn add_row_sum(rows: &RowBatch, weight: &[f32], width: usize, out: &mut [f32]) {
    if width == 0 {
        return;
    }
    // Enough multiplications for a thread to be worth waking.
    let mean = rows.indices.len() / rows.len().max(1) * width;
    let few = ((1 << 15) / mean.max(1)).max(1);
    out.par_chunks_mut(width).with_min_len(few).enumerate().for_each(|(b, sum)| {
        let (indices, values) = rows.row(b);
        vectorised(
            #[inline(always)]
            || {
                for (&c, &v) in indices.iter().zip(values) {
                    let row = &weight[c as usize * width..][..width];
                    sum.iter_mut().zip(row).for_each(|(s, w)| *s += v * w);
                }
            },
        );
    });
}

/// The gradient of a parameter in the rows that a batch touches; all other rows have none.
#[derive(Debug, Clone, PartialEq)]
pub struct RowGradient {
    /// Touched rows, ascending.
    pub rows: Vec<u32>,
    /// `[rows, width]`.
    pub values: Vec<f32>,
    /// Columns of the parameter.
    pub width: usize,
}

/// `rowsᵀ · output_gradient`, only the touched rows.
///
/// Each row's sum runs in the order of the batch, whatever the number of threads.
pub fn row_gradient(rows: &RowBatch, output_gradient: &[f32], width: usize) -> RowGradient {
    // Entries sorted by column: (column, batch row, value).
    let mut entries: Vec<(u32, u32, f32)> = Vec::with_capacity(rows.indices.len());
    for b in 0..rows.len() {
        let (indices, values) = rows.row(b);
        entries.extend(indices.iter().zip(values).map(|(&c, &v)| (c, b as u32, v)));
    }
    entries.sort_unstable_by_key(|e| (e.0, e.1));
    let groups: Vec<&[(u32, u32, f32)]> = entries.chunk_by(|a, b| a.0 == b.0).collect();
    let mut values = vec![0.0; groups.len() * width];
    if width > 0 {
        values.par_chunks_mut(width).zip(&groups).with_min_len(16).for_each(|(sum, group)| {
            vectorised(
                #[inline(always)]
                || {
                    for &(_, b, v) in *group {
                        let gradient = &output_gradient[b as usize * width..][..width];
                        sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += v * g);
                    }
                },
            );
        });
    }
    RowGradient { rows: groups.iter().map(|g| g[0].0).collect(), values, width }
}

/// The reference for [`row_sum`] and its gradient: select rows, weigh them, sum; autodiff does the rest.
///
/// Rows are padded to the longest of the batch, padding weighs 0.
pub fn row_sum_composed(rows: &RowBatch, weight: Tensor<2>) -> Tensor<2> {
    let device = weight.device().without_autodiff();
    let width = weight.dims()[1];
    let batch = rows.len();
    let longest = (0..batch).map(|b| rows.row(b).0.len()).max().unwrap_or(0).max(1);
    let mut indices = vec![0i32; batch * longest];
    let mut values = vec![0f32; batch * longest];
    for b in 0..batch {
        let (row_indices, row_values) = rows.row(b);
        for (k, (&c, &v)) in row_indices.iter().zip(row_values).enumerate() {
            indices[b * longest + k] = c as i32;
            values[b * longest + k] = v;
        }
    }
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [batch * longest]), &device);
    let values = Tensor::<3>::from_data(TensorData::new(values, [batch, longest, 1]), &device);
    let picked = weight.select(0, indices).reshape([batch, longest, width]);
    (picked * values).sum_dim(1).squeeze_dim::<2>(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use host::HostView;

    fn batch() -> RowBatch {
        let mut rows = RowBatch::new(5);
        rows.push(&[0, 3], &[1.0, -2.0]);
        rows.push(&[], &[]);
        rows.push(&[1, 3, 4], &[0.5, 1.0, 3.0]);
        rows
    }

    #[test]
    fn the_host_kernels_agree_with_composed_operations() {
        let rows = batch();
        let values: Vec<f32> = (0..15).map(|i| (i as f32 * 0.7).sin()).collect();
        let gradient: Vec<f32> = (0..9).map(|i| (i as f32 * 1.3).cos()).collect();
        let device = Device::flex().autodiff();
        let weight = Tensor::<2>::from_data(TensorData::new(values.clone(), [5, 3]), &device).require_grad();
        let reference = row_sum_composed(&rows, weight.clone());
        let upstream = Tensor::<2>::from_data(TensorData::new(gradient.clone(), [3, 3]), &device);
        let grads = (reference.clone() * upstream).sum().backward();

        let sum = row_sum(&rows, &values, 3);
        for (a, b) in sum.iter().zip(HostView::of(&reference).as_slice()) {
            assert!((a - b).abs() < 1e-6);
        }
        let expected = weight.grad(&grads).unwrap();
        let expected = HostView::of(&expected);
        let found = row_gradient(&rows, &gradient, 3);
        assert_eq!(found.rows, [0, 1, 3, 4]);
        let mut dense = [0.0; 15];
        for (k, &r) in found.rows.iter().enumerate() {
            dense[r as usize * 3..][..3].copy_from_slice(&found.values[k * 3..][..3]);
        }
        for (a, b) in dense.iter().zip(expected.as_slice()) {
            assert!((a - b).abs() < 1e-6);
        }
    }
}
