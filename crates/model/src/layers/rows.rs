//! Weighted sums of matrix rows: the product of a compressed batch with a dense matrix, and its gradient.

use burn::tensor::{Int, Tensor, TensorData};
use host::integers;
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

/// Entries of a batch by column, only the columns that have some.
struct ByColumn {
    /// Columns with entries, ascending.
    columns: Vec<u32>,
    /// Entries of the k-th of them are `starts[k]..starts[k + 1]`.
    starts: Vec<u32>,
    /// Row of the batch, in its order, and value.
    entries: Vec<(u32, f32)>,
}

impl ByColumn {
    fn new(rows: &RowBatch) -> Self {
        let touched = rows.touched();
        let rank = |c: u32| touched.rank(c);
        let mut starts = vec![0u32; touched.columns.len() + 1];
        rows.indices.iter().for_each(|&c| starts[rank(c) + 1] += 1);
        for k in 0..touched.columns.len() {
            starts[k + 1] += starts[k];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0.0); rows.indices.len()];
        for b in 0..rows.len() {
            let (indices, values) = rows.row(b);
            for (&c, &v) in indices.iter().zip(values) {
                let at = &mut next[rank(c)];
                entries[*at as usize] = (b as u32, v);
                *at += 1;
            }
        }
        Self { columns: touched.columns, starts, entries }
    }
}

/// `rowsᵀ · output_gradient`, only the touched rows, in the memory of `buffer`.
///
/// Each row's sum runs in the order of the batch, whatever the number of threads.
pub fn row_gradient(rows: &RowBatch, output_gradient: &[f32], width: usize, mut buffer: Vec<f32>) -> RowGradient {
    let ByColumn { columns, starts, entries } = ByColumn::new(rows);
    buffer.resize(columns.len() * width, 0.0);
    if width > 0 {
        // Enough multiplications for a thread to be worth waking.
        let few = ((1 << 15) / (width * entries.len() / columns.len().max(1)).max(1)).max(1);
        buffer.par_chunks_exact_mut(width).zip(starts.par_windows(2)).with_min_len(few).for_each(|(sum, span)| {
            vectorised(
                #[inline(always)]
                || {
                    sum.fill(0.0);
                    for &(b, v) in &entries[span[0] as usize..span[1] as usize] {
                        let gradient = &output_gradient[b as usize * width..][..width];
                        sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += v * g);
                    }
                },
            );
        });
    }
    RowGradient { rows: columns, values: buffer, width }
}

/// Some rows of a matrix: `[rows.len(), width]`, on the device and with the autodiff of nobody but the caller's.
pub fn selected(weight: Tensor<2>, rows: &[u32]) -> Tensor<2> {
    let device = weight.device();
    let chosen = weight.select(0, integers(rows, &device));
    Tensor::from_inner(chosen)
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

/// [`row_sum`] by a GPU's own kernel: no copy of the rows that it reads. No gradient passes.
pub fn row_sum_on_device(rows: &RowBatch, weight: Tensor<2>) -> Tensor<2> {
    let device = weight.device();
    if rows.indices.is_empty() {
        return Tensor::zeros([rows.len(), weight.dims()[1]], &device);
    }
    let values = Tensor::<1>::from_floats(rows.values.as_slice(), &device);
    kernels::row_sum(weight, integers(&rows.starts, &device), integers(&rows.indices, &device), values)
}

/// [`row_gradient`] by a GPU's own kernel: the touched rows, ascending, and their gradients `[rows, width]`.
pub fn row_gradient_on_device(rows: &RowBatch, output_gradient: Tensor<2>) -> (Vec<u32>, Tensor<2>) {
    let ByColumn { columns, starts, entries } = ByColumn::new(rows);
    // The same sum over the transposed rows.
    let (indices, values) = entries.into_iter().unzip();
    let turned = RowBatch { starts, indices, values, columns: rows.len() };
    (columns, row_sum_on_device(&turned, output_gradient))
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
        let found = row_gradient(&rows, &gradient, 3, Vec::new());
        assert_eq!(found.rows, [0, 1, 3, 4]);
        let mut dense = [0.0; 15];
        for (k, &r) in found.rows.iter().enumerate() {
            dense[r as usize * 3..][..3].copy_from_slice(&found.values[k * 3..][..3]);
        }
        for (a, b) in dense.iter().zip(expected.as_slice()) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn copies_of_touched_rows_carry_the_gradient_of_the_whole() {
        let rows = batch();
        let values: Vec<f32> = (0..15).map(|i| (i as f32 * 0.7).sin()).collect();
        let device = Device::flex().autodiff();
        let weight = Tensor::<2>::from_data(TensorData::new(values, [5, 3]), &device).require_grad();
        let (touched, local) = rows.among_touched();
        assert_eq!((touched.as_slice(), local.columns), (&[0u32, 1, 3, 4][..], 4));
        let copies = selected(host::plain(weight.clone()), &touched).require_grad();
        let (whole, some) = (row_sum_composed(&rows, weight.clone()), row_sum_composed(&local, copies.clone()));
        let square = |t: Tensor<2>| (t.clone() * t).sum().backward();
        let (of_whole, of_some) = (square(whole), square(some));
        let expected = selected(weight.grad(&of_whole).unwrap(), &touched);
        let found = copies.grad(&of_some).unwrap();
        let (found, expected) = (HostView::of(&found), HostView::of(&expected));
        for (a, b) in found.as_slice().iter().zip(expected.as_slice()) {
            assert!((a - b).abs() < 1e-6);
        }
    }
}
