//! From instances on the host to a batch on the device.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use data::{Dataset, FeatureRows, LabelRows};
use model::{Features, InputKind, RowBatch};

/// Denser features than this go to the device as a matrix.
const DENSE: f64 = 0.3;
/// On a GPU a matrix beats compressed rows up to this many features.
const GPU_MATRIX: usize = 16_384;

/// Whether features reach the model as a dense matrix.
pub fn is_dense(input: InputKind, features: &FeatureRows, device: &Device) -> bool {
    match input {
        InputKind::Dense => true,
        InputKind::Sparse => false,
        InputKind::Auto if host::is_host(device) => features.density() > DENSE,
        InputKind::Auto => features.density() > DENSE || features.columns() <= GPU_MATRIX,
    }
}

/// Features of the given instances.
pub fn features(rows: &FeatureRows, instances: &[usize], dense: bool, device: &Device) -> Features {
    let mut batch = RowBatch::new(rows.columns());
    for &i in instances {
        let (indices, values) = rows.row(i);
        batch.push(indices, values);
    }
    if !dense {
        return Features::Sparse(Arc::new(batch));
    }
    let data = TensorData::new(batch.to_dense(), [instances.len(), rows.columns()]);
    Features::Dense(Tensor::from_data(data, &device.clone().without_autodiff()))
}

/// Targets of the given instances, `[batch, labels]` of 0 and 1.
pub fn targets(labels: &LabelRows, instances: &[usize], device: &Device) -> Tensor<2> {
    let columns = labels.columns();
    let mut values = vec![0f32; instances.len() * columns];
    for (b, &i) in instances.iter().enumerate() {
        labels.row(i).iter().for_each(|&l| values[b * columns + l as usize] = 1.0);
    }
    let data = TensorData::new(values, [instances.len(), columns]);
    Tensor::from_data(data, &device.clone().without_autodiff())
}

/// Consecutive pieces of `0..len`.
pub fn chunks(data: &Dataset, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let len = data.len();
    (0..len).step_by(size.max(1)).map(move |start| (start..(start + size).min(len)).collect())
}
