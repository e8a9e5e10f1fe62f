//! Compressed sparse rows: features with values, labels without.

use std::ops::Range;

use crate::store::Array;

/// Features of N instances: for each the ascending column indices and their values. What is absent is 0.
///
/// A value may be NaN, meaning *missing*, until [`crate::preprocess::Preprocess`] fills it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeatureRows {
    starts: Array<usize>,
    indices: Array<u32>,
    values: Array<f32>,
    columns: usize,
}

impl FeatureRows {
    /// No rows yet, `columns` columns.
    pub fn new(columns: usize) -> Self {
        Self { starts: vec![0].into(), indices: Array::default(), values: Array::default(), columns }
    }

    /// Appends one instance; `row` must be ascending in its indices, without duplicates, below the column count.
    pub fn push(&mut self, row: &[(u32, f32)]) {
        debug_assert!(row.windows(2).all(|w| w[0].0 < w[1].0));
        self.indices.to_mut().extend(row.iter().map(|e| e.0));
        self.values.to_mut().extend(row.iter().map(|e| e.1));
        self.starts.to_mut().push(self.indices.len());
    }

    /// Number of instances.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// True without any instance.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of stored entries.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// Stored entries over all cells, in [0, 1]; 0 for an empty matrix.
    pub fn density(&self) -> f64 {
        let cells = self.len() as f64 * self.columns as f64;
        if cells == 0.0 { 0.0 } else { self.nnz() as f64 / cells }
    }

    /// Indices and values of instance `i`.
    pub fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let range = self.range(i);
        (&self.indices[range.clone()], &self.values[range])
    }

    /// All stored values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Feature index of every stored entry.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Where each row's entries start, and the end of the last one's: `len + 1` positions.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// From the pieces that [`Self::starts`], [`Self::indices`] and [`Self::values`] give; none where they are no rows.
    pub fn from_parts(starts: Vec<usize>, indices: Vec<u32>, values: Vec<f32>, columns: usize) -> Option<Self> {
        let fits = values.len() == indices.len() && are_rows(&starts, &indices, columns);
        fits.then(|| Self::mapped(starts.into(), indices.into(), values.into(), columns))
    }

    /// From arrays that are known to be rows.
    pub(crate) fn mapped(starts: Array<usize>, indices: Array<u32>, values: Array<f32>, columns: usize) -> Self {
        Self { starts, indices, values, columns }
    }

    pub(crate) fn entries_mut(&mut self) -> (&[u32], &mut [f32]) {
        (&self.indices, self.values.to_mut())
    }

    pub(crate) fn row_values_mut(&mut self, i: usize) -> &mut [f32] {
        let range = self.range(i);
        &mut self.values.to_mut()[range]
    }

    /// All values, zeros included, row by row.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len() * self.columns];
        for (i, values) in out.chunks_exact_mut(self.columns.max(1)).enumerate() {
            let (indices, stored) = self.row(i);
            indices.iter().zip(stored).for_each(|(&c, &v)| values[c as usize] = v);
        }
        out
    }

    /// The given instances, in the given order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut starts = Vec::with_capacity(rows.len() + 1);
        starts.push(0);
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        for &i in rows {
            let range = self.range(i);
            indices.extend_from_slice(&self.indices[range.clone()]);
            values.extend_from_slice(&self.values[range]);
            starts.push(indices.len());
        }
        Self::mapped(starts.into(), indices.into(), values.into(), self.columns)
    }

    pub(crate) fn set_columns(&mut self, columns: usize) {
        self.columns = columns;
    }

    /// Feature indices counted from 1 in the file become counted from 0.
    pub(crate) fn shift_down(&mut self) {
        self.indices.to_mut().iter_mut().for_each(|i| *i -= 1);
    }

    pub(crate) fn shrink(&mut self) {
        self.starts.to_mut().shrink_to_fit();
        self.indices.to_mut().shrink_to_fit();
        self.values.to_mut().shrink_to_fit();
    }

    fn range(&self, i: usize) -> Range<usize> {
        self.starts[i]..self.starts[i + 1]
    }
}

/// Labels of N instances: for each the ascending indices of its labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelRows {
    starts: Array<usize>,
    indices: Array<u32>,
    columns: usize,
}

impl LabelRows {
    /// No rows yet, `columns` labels.
    pub fn new(columns: usize) -> Self {
        Self { starts: vec![0].into(), indices: Array::default(), columns }
    }

    /// Appends one instance; `row` must be ascending, without duplicates, below the label count.
    pub fn push(&mut self, row: &[u32]) {
        debug_assert!(row.windows(2).all(|w| w[0] < w[1]));
        self.indices.to_mut().extend_from_slice(row);
        self.starts.to_mut().push(self.indices.len());
    }

    /// Number of instances.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// True without any instance.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of labels.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of (instance, label) positives.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// Label index of every positive.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Where each row's labels start, and the end of the last one's: `len + 1` positions.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// From the pieces that [`Self::starts`] and [`Self::indices`] give; none where they are no rows.
    pub fn from_parts(starts: Vec<usize>, indices: Vec<u32>, columns: usize) -> Option<Self> {
        are_rows(&starts, &indices, columns).then(|| Self::mapped(starts.into(), indices.into(), columns))
    }

    /// From arrays that are known to be rows.
    pub(crate) fn mapped(starts: Array<usize>, indices: Array<u32>, columns: usize) -> Self {
        Self { starts, indices, columns }
    }

    /// Labels of instance `i`.
    pub fn row(&self, i: usize) -> &[u32] {
        &self.indices[self.starts[i]..self.starts[i + 1]]
    }

    /// All instances in order.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Positives of each label.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.columns];
        self.indices.iter().for_each(|&l| counts[l as usize] += 1);
        counts
    }

    /// The instances of each label, ascending.
    pub fn by_label(&self) -> Vec<Vec<u32>> {
        let mut out = vec![Vec::new(); self.columns];
        for (i, row) in (0u32..).zip(self.rows()) {
            row.iter().for_each(|&l| out[l as usize].push(i));
        }
        out
    }

    /// Instances without any label.
    pub fn negatives(&self) -> usize {
        self.rows().filter(|r| r.is_empty()).count()
    }

    /// The given instances, in the given order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut out = Self::new(self.columns);
        rows.iter().for_each(|&i| out.push(self.row(i)));
        out
    }

    pub(crate) fn set_columns(&mut self, columns: usize) {
        self.columns = columns;
    }

    pub(crate) fn shrink(&mut self) {
        self.starts.to_mut().shrink_to_fit();
        self.indices.to_mut().shrink_to_fit();
    }
}

/// True where the pieces are compressed rows with ascending indices below `columns`.
fn are_rows(starts: &[usize], indices: &[u32], columns: usize) -> bool {
    starts.first() == Some(&0)
        && starts.last() == Some(&indices.len())
        && starts.windows(2).all(|w| indices.get(w[0]..w[1]).is_some_and(|r| r.windows(2).all(|i| i[0] < i[1])))
        && indices.iter().all(|&i| (i as usize) < columns)
}
