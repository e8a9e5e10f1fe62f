//! From instances on the host to a batch on the device.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use data::{Dataset, FeatureRows, LabelRows};
use host::integers;
use model::{Features, InputKind, RowBatch};

/// Denser features than this go to a CPU's first layer as a matrix.
const DENSE: f64 = 0.3;
/// The same of a GPU, which multiplies matrices better than it gathers rows.
const DENSE_ON_GPU: f64 = 0.05;

/// Whether features reach the model as a dense matrix.
pub fn is_dense(input: InputKind, features: &FeatureRows, device: &Device) -> bool {
    match input {
        InputKind::Dense => true,
        InputKind::Sparse => false,
        InputKind::Auto if host::is_host(device) => features.density() > DENSE,
        InputKind::Auto => features.density() > DENSE_ON_GPU,
    }
}

/// Features of a batch on the host, ready for the device.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// All values, `[instances, columns]`.
    Dense(TensorData),
    /// Compressed rows.
    Sparse(Arc<RowBatch>),
}

impl Prepared {
    /// Of the given instances.
    pub fn of(rows: &FeatureRows, instances: &[usize], dense: bool) -> Self {
        // A look at every row first: the processor waits for all of them at once, not for one after the other.
        let (mut entries, mut look) = (0, 0);
        for &i in instances {
            let (indices, values) = rows.row(i);
            entries += indices.len();
            look ^= indices.first().copied().unwrap_or(0) ^ values.last().map_or(0, |v| v.to_bits());
        }
        std::hint::black_box(look);
        let mut batch = RowBatch::with_capacity(rows.columns(), instances.len(), entries);
        for &i in instances {
            let (indices, values) = rows.row(i);
            batch.push(indices, values);
        }
        match dense {
            false => Self::Sparse(Arc::new(batch)),
            true => Self::Dense(TensorData::new(batch.to_dense(), [instances.len(), rows.columns()])),
        }
    }

    /// On the device.
    pub fn on(self, device: &Device) -> Features {
        match self {
            Self::Dense(data) => Features::Dense(Tensor::from_data(data, &device.clone().without_autodiff())),
            Self::Sparse(rows) => Features::Sparse(rows),
        }
    }
}

/// Features of the given instances.
pub fn features(rows: &FeatureRows, instances: &[usize], dense: bool, device: &Device) -> Features {
    Prepared::of(rows, instances, dense).on(device)
}

/// Targets of some instances, `[instances, labels]` of 0 and 1. To a GPU only the places of the ones travel.
pub fn targets(labels: &LabelRows, device: &Device) -> Tensor<2> {
    let columns = labels.columns();
    if !host::is_host(device) && labels.nnz() > 0 {
        let starts: Vec<u32> = labels.starts().iter().map(|s| *s as u32).collect();
        return kernels::targets(integers(&starts, device), integers(labels.indices(), device), columns);
    }
    let mut values = vec![0f32; labels.len() * columns];
    for (row, present) in values.chunks_mut(columns.max(1)).zip(labels.rows()) {
        present.iter().for_each(|&l| row[l as usize] = 1.0);
    }
    let data = TensorData::new(values, [labels.len(), columns]);
    Tensor::from_data(data, &device.clone().without_autodiff())
}

/// Consecutive pieces of `0..len`.
pub fn chunks(data: &Dataset, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let len = data.len();
    (0..len).step_by(size.max(1)).map(move |start| (start..(start + size).min(len)).collect())
}
