//! Whether logits and targets belong together; for callers whose data is not checked yet.

use burn::tensor::Tensor;

use crate::LossError;

/// Checks shapes and, on the host, every target. `soft`: targets may lie anywhere in [0, 1].
///
/// # Errors
/// For shapes that differ, an empty batch, or a target outside its range.
pub fn check(logits: &Tensor<2>, targets: &Tensor<2>, soft: bool) -> Result<(), LossError> {
    let (logits, shape) = (logits.dims(), targets.dims());
    if logits != shape || logits[0] == 0 || logits[1] == 0 {
        return Err(LossError::Shape { logits, targets: shape });
    }
    let data = targets.to_data().convert::<f32>();
    let fine = |v: f32| v == 0.0 || v == 1.0 || (soft && v > 0.0 && v < 1.0);
    match data.iter::<f32>().enumerate().find(|(_, v)| !fine(*v)) {
        Some((at, value)) => Err(LossError::Target { instance: at / shape[1], label: at % shape[1], value, soft }),
        None => Ok(()),
    }
}
