//! Matrix products of slices on all threads.
//!
//! The product of a block of rows or columns does not depend on what else is computed: the numbers are the same for any
//! number of threads.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, ShapeBuilder, Slice};
use rayon::prelude::*;

/// Below this many multiplications a thread more costs more than it saves.
const WORTH_A_THREAD: usize = 1 << 20;
/// A product whose inner side is longer than twice this, and much longer than its others, is a sum of shorter ones: threads
/// that share its result would each read all of an operand.
const LONG: usize = 2048;

/// A matrix in a slice, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]`.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, transposed: false }
    }

    /// The transposed matrix, without moving a value.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    fn view(self) -> Option<ArrayView2<'a, f32>> {
        let shape = (self.rows, self.columns);
        match self.transposed {
            false => ArrayView2::from_shape(shape, self.values).ok(),
            true => ArrayView2::from_shape(shape.f(), self.values).ok(),
        }
    }
}

/// `out ← factor · out + a · b`, `out` row by row.
///
/// Shapes: `a` `[rows, inner]`, `b` `[inner, columns]`, `out` `[rows, columns]`.
///
/// # Panics
/// When the shapes do not fit each other or the slices.
pub fn add_product(a: Matrix, b: Matrix, out: &mut [f32], factor: f32) {
    let shape = (a.rows, b.columns);
    let views = (a.view(), b.view(), ArrayViewMut2::from_shape(shape, out).ok());
    let ((Some(left), Some(right), Some(out)), true) = (views, a.columns == b.rows) else {
        panic!("a product of [{}, {}] and [{}, {}] that does not fit", a.rows, a.columns, b.rows, b.columns)
    };
    let work = shape.0 * shape.1 * a.columns;
    let pieces = (work / WORTH_A_THREAD).clamp(1, rayon::current_num_threads());
    if a.columns >= 2 * LONG && a.columns > 8 * shape.0.max(shape.1) {
        return sum_of_parts(left, right, out, factor, pieces);
    }
    split(left, right, out, factor, pieces);
}

/// Cuts the inner side into an even number of parts, which depends on its length alone, and adds their products in order.
fn sum_of_parts(a: ArrayView2<f32>, b: ArrayView2<f32>, mut out: ArrayViewMut2<f32>, factor: f32, pieces: usize) {
    let inner = b.nrows();
    let parts = inner / (2 * LONG) * 2;
    let of_part = |p: usize| Slice::from(inner * p / parts..inner * (p + 1) / parts);
    let products: Vec<Array2<f32>> = (0..parts)
        .into_par_iter()
        .map(|p| {
            let (left, right) = (a.slice_axis(Axis(1), of_part(p)), b.slice_axis(Axis(0), of_part(p)));
            let mut product = Array2::zeros(out.dim());
            split(left, right, product.view_mut(), 0.0, pieces.div_ceil(parts));
            product
        })
        .collect();
    // A factor of 0 forgets what was there, even where it was no number.
    match factor == 0.0 {
        true => out.fill(0.0),
        false => out.map_inplace(|v| *v *= factor),
    }
    products.iter().for_each(|product| out += product);
}

/// Halves the longer side of the product until there is a piece for every thread.
fn split(a: ArrayView2<f32>, b: ArrayView2<f32>, mut out: ArrayViewMut2<f32>, factor: f32, pieces: usize) {
    let (rows, columns) = out.dim();
    if pieces < 2 || rows.max(columns) < 2 {
        return general_mat_mul(1.0, &a, &b, factor, &mut out);
    }
    let first = pieces / 2;
    if rows > columns {
        let at = rows * first / pieces;
        let ((above, below), (left, right)) = (a.split_at(Axis(0), at), out.split_at(Axis(0), at));
        rayon::join(|| split(above, b, left, factor, first), || split(below, b, right, factor, pieces - first));
    } else {
        let at = columns * first / pieces;
        let ((left_b, right_b), (left, right)) = (b.split_at(Axis(1), at), out.split_at(Axis(1), at));
        rayon::join(|| split(a, left_b, left, factor, first), || split(a, right_b, right, factor, pieces - first));
    }
}

/// Sum of each column of `[rows, out.len()]`, row after row.
pub fn column_sums(values: &[f32], out: &mut [f32]) {
    const BLOCK: usize = 512;
    let width = out.len().max(1);
    let few = values.len() < WORTH_A_THREAD / 8;
    let block = if few { width } else { BLOCK };
    out.par_chunks_mut(block).enumerate().for_each(|(b, sums)| {
        sums.fill(0.0);
        for row in values.chunks_exact(width) {
            let part = &row[b * block..][..sums.len()];
            sums.iter_mut().zip(part).for_each(|(s, v)| *s += v);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(len: usize, step: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn products_of_any_orientation_are_the_sums_they_stand_for() {
        for (m, k, n) in [(3, 5, 4), (130, 70, 300), (300, 64, 90), (1, 1, 1), (12, 9000, 7)] {
            let (a, b) = (made(m * k, 0.7), made(k * n, 1.3));
            let turned = |v: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..columns).flat_map(|c| (0..rows).map(move |r| v[r * columns + c])).collect()
            };
            let (ta, tb) = (turned(&a, m, k), turned(&b, k, n));
            for left in [Matrix::new(&a, m, k), Matrix::new(&ta, k, m).t()] {
                for right in [Matrix::new(&b, k, n), Matrix::new(&tb, n, k).t()] {
                    let mut out = vec![1.0; m * n];
                    add_product(left, right, &mut out, 2.0);
                    for i in 0..m {
                        for j in 0..n {
                            let sum: f64 = (0..k).map(|x| f64::from(a[i * k + x]) * f64::from(b[x * n + j])).sum();
                            assert!((f64::from(out[i * n + j]) - sum - 2.0).abs() < 1e-4);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (a, b) = (made(128 * 200, 0.3), made(200 * 900, 0.9));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut product, mut sums) = (vec![0.0; 128 * 900], vec![0.0; 900]);
                add_product(Matrix::new(&a, 128, 200), Matrix::new(&b, 200, 900), &mut product, 0.0);
                column_sums(&b, &mut sums);
                (product, sums)
            })
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(5));
        let long = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut product = vec![f32::NAN; 15 * 9];
            pool.install(|| {
                add_product(
                    Matrix::new(&b[..15 * 9000], 15, 9000),
                    Matrix::new(&b[..81_000], 9000, 9),
                    &mut product,
                    0.0,
                );
            });
            product
        };
        assert!(long(1).iter().all(|v| v.is_finite()));
        assert_eq!(long(1), long(2));
        assert_eq!(long(1), long(5));
    }
}
