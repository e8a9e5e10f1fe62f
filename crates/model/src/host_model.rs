//! Models that train on host memory without an autodiff graph.

use std::sync::Arc;

use burn::module::ParamId;
use rand_chacha::ChaCha8Rng;

use crate::layers::rows::RowGradient;
use crate::{Features, Model};

/// The gradient of some columns of a parameter `[rows, columns]`; all others have none.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnGradient {
    /// The columns, ascending.
    pub columns: Arc<[u32]>,
    /// `[rows, columns of the gradient]`.
    pub values: Vec<f32>,
    /// Columns of the parameter.
    pub width: usize,
}

/// The gradient of one parameter on the host.
#[derive(Debug, Clone, PartialEq)]
pub enum HostGradient {
    /// All values, flat.
    Dense(Vec<f32>),
    /// Only some rows differ from 0.
    Rows(RowGradient),
    /// Only some columns differ from 0.
    Columns(ColumnGradient),
}

/// Forward and backward passes of one kind of model on slices.
///
/// A pass is `forward`, then something that turns [`Self::logits`] into the gradient by them, then `backward` with the
/// same model and features.
pub trait HostModel: Send {
    /// Computes the logits, with dropout from `rng`: of all labels, or of those named in ascending order.
    fn forward(&mut self, model: &Model, features: &Features, labels: Option<&Arc<[u32]>>, rng: &mut ChaCha8Rng);

    /// The logits `[batch, labels]` of the last forward pass, to be replaced by the gradient by them.
    fn logits(&mut self) -> &mut Vec<f32>;

    /// The last hidden layer `[batch, units]` before dropout, and its units; none in a linear model.
    fn embedding(&self) -> Option<(&[f32], usize)>;

    /// The gradients of all parameters.
    fn backward(&mut self, model: &Model, features: &Features) -> Vec<(ParamId, HostGradient)>;

    /// Takes back the buffer of a gradient that was used up.
    fn recycle(&mut self, buffer: Vec<f32>);
}
