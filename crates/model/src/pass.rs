//! One forward pass: whether it trains, its random numbers, and what it keeps outside the autodiff graph.

use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::Tensor;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::RowBatch;

/// A leaf of the graph whose gradient implies that of some rows of a parameter; all other rows have none.
#[derive(Debug, Clone)]
pub enum RowTap {
    /// `output = rows · parameter`, a sum made outside the graph: the gradient is `rowsᵀ · ∂L/∂output`.
    Sum {
        /// The parameter `[columns, width]`.
        parameter: ParamId,
        /// The batch.
        rows: Arc<RowBatch>,
        /// The leaf `[batch, width]`.
        output: Tensor<2>,
    },
    /// Copies of the rows themselves.
    Selected {
        /// The parameter `[columns, width]`.
        parameter: ParamId,
        /// Which rows, ascending.
        rows: Vec<u32>,
        /// The leaf `[rows, width]`.
        copies: Tensor<2>,
    },
}

/// State of one forward pass.
#[derive(Debug, Default)]
pub struct Pass<'a> {
    /// Present while training: the source of dropout masks.
    rng: Option<&'a mut ChaCha8Rng>,
    /// Leaves whose gradients the optimizer turns into row gradients.
    pub tape: Vec<RowTap>,
    /// The last hidden layer, `[batch, units]`, before dropout; none in a model without hidden layers.
    pub embedding: Option<Tensor<2>>,
    /// The labels whose logits are asked for, ascending; none: all. A model without hidden layers gives all.
    pub labels: Option<Arc<[u32]>>,
}

impl<'a> Pass<'a> {
    /// A pass that trains.
    pub fn train(rng: &'a mut ChaCha8Rng) -> Self {
        Self { rng: Some(rng), ..Self::default() }
    }

    /// A pass that predicts: no dropout, no tape.
    pub fn predict() -> Self {
        Self::default()
    }

    /// True while training.
    pub fn is_training(&self) -> bool {
        self.rng.is_some()
    }

    /// Sets a share `rate` of the values to zero and scales the others by `1 / (1 - rate)`; as is when predicting.
    pub fn dropout(&mut self, input: Tensor<2>, rate: f64) -> Tensor<2> {
        let Some(rng) = self.rng.as_deref_mut().filter(|_| rate > 0.0) else { return input };
        let [rows, columns] = input.dims();
        let mask = dropout_mask(rng, rate, rows * columns);
        let data = burn::tensor::TensorData::new(mask, [rows, columns]);
        let mask = Tensor::<2>::from_data(data, &input.device().without_autodiff());
        input * mask
    }
}

/// Factors of dropout: 0 for a share `rate` of `count` values, `1 / (1 - rate)` for the others; none at rate 0.
pub(crate) fn dropout_mask(rng: &mut ChaCha8Rng, rate: f64, count: usize) -> Vec<f32> {
    if rate <= 0.0 {
        return Vec::new();
    }
    let keep = (1.0 / (1.0 - rate)) as f32;
    let limit = (rate * f64::from(u32::MAX)) as u32;
    (0..count).map(|_| if rng.random::<u32>() < limit { 0.0 } else { keep }).collect()
}
