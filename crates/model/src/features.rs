//! Features of a batch, dense on the device or as compressed rows on the host.

use std::sync::Arc;

use burn::tensor::Tensor;

/// Compressed rows of one batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowBatch {
    /// Entries of row `b` are `starts[b]..starts[b + 1]`.
    pub starts: Vec<u32>,
    /// Column of each entry.
    pub indices: Vec<u32>,
    /// Value of each entry.
    pub values: Vec<f32>,
    /// Number of columns.
    pub columns: usize,
}

impl RowBatch {
    /// An empty batch of `columns` columns.
    pub fn new(columns: usize) -> Self {
        Self { starts: vec![0], columns, ..Self::default() }
    }

    /// An empty batch with room for so many rows and entries.
    pub fn with_capacity(columns: usize, rows: usize, entries: usize) -> Self {
        let mut starts = Vec::with_capacity(rows + 1);
        starts.push(0);
        Self { starts, indices: Vec::with_capacity(entries), values: Vec::with_capacity(entries), columns }
    }

    /// Appends one row.
    pub fn push(&mut self, indices: &[u32], values: &[f32]) {
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
        self.starts.push(self.indices.len() as u32);
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns and values of row `b`.
    pub fn row(&self, b: usize) -> (&[u32], &[f32]) {
        let range = self.starts[b] as usize..self.starts[b + 1] as usize;
        (&self.indices[range.clone()], &self.values[range])
    }

    /// Columns that have an entry.
    pub fn touched(&self) -> Touched {
        let mut bits = vec![0u64; self.columns.div_ceil(64)];
        self.indices.iter().for_each(|&c| bits[c as usize / 64] |= 1 << (c % 64));
        let (mut before, mut columns) = (Vec::with_capacity(bits.len()), Vec::new());
        for (w, word) in bits.iter().enumerate() {
            before.push(columns.len() as u32);
            let mut left = *word;
            while left != 0 {
                columns.push(w as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        Touched { columns, bits, before }
    }

    /// Columns that have an entry, ascending, and the same rows over these columns alone.
    pub fn among_touched(&self) -> (Vec<u32>, Self) {
        let touched = self.touched();
        let indices = self.indices.iter().map(|&c| touched.rank(c) as u32).collect();
        let local = Self { indices, columns: touched.columns.len(), ..self.clone() };
        (touched.columns, local)
    }

    /// All values, zeros included, row by row.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len() * self.columns];
        for (b, row) in out.chunks_mut(self.columns.max(1)).enumerate().take(self.len()) {
            let (indices, values) = self.row(b);
            indices.iter().zip(values).for_each(|(&c, &v)| row[c as usize] = v);
        }
        out
    }
}

/// Columns of a batch that have an entry, found in O(entries + columns / 64).
#[derive(Debug, Clone)]
pub struct Touched {
    /// The columns, ascending.
    pub columns: Vec<u32>,
    /// A bit for each column of the batch.
    bits: Vec<u64>,
    /// Touched columns before each word of bits.
    before: Vec<u32>,
}

impl Touched {
    /// The place of a touched column among them.
    pub fn rank(&self, column: u32) -> usize {
        let word = column as usize / 64;
        let below = self.bits[word] & ((1 << (column % 64)) - 1);
        (self.before[word] + below.count_ones()) as usize
    }
}

/// Features of a batch.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one value a batch, never stored in numbers")]
pub enum Features {
    /// `[batch, features]` on the device.
    Dense(Tensor<2>),
    /// Compressed rows.
    Sparse(Arc<RowBatch>),
}

impl Features {
    /// Number of instances.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense(x) => x.dims()[0],
            Self::Sparse(rows) => rows.len(),
        }
    }

    /// True without instances.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
