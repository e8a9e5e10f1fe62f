//! One forward pass: whether it trains, its random numbers, and what it keeps outside the autodiff graph.

use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::{Cut, RowBatch};

/// Numbers of one stream of random numbers.
const PIECE: usize = 1 << 16;
/// Bytes that a forward pass may spend on tensors of `[batch, labels, units]`, unless it is told otherwise.
const ROOM: usize = 1 << 30;

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
#[derive(Debug)]
pub struct Pass<'a> {
    /// Present while training: the source of dropout masks.
    rng: Option<&'a mut ChaCha8Rng>,
    /// Leaves whose gradients the optimizer turns into row gradients.
    pub tape: Vec<RowTap>,
    /// The last hidden layer, `[batch, units]`, before dropout; none in a model without hidden layers.
    pub embedding: Option<Tensor<2>>,
    /// The labels whose logits are asked for, ascending; none: all. A model without hidden layers gives all.
    pub labels: Option<Arc<[u32]>>,
    /// Where the pass leaves the autodiff graph, if it does.
    pub cut: Option<Cut>,
    /// Whether CPU backends may use fused passes of their own.
    pub fused: bool,
    /// Bytes that tensors of `[batch, labels, units]` may take together; where they would take more, the pass goes over
    /// the labels piece by piece.
    pub room: usize,
}

impl Default for Pass<'_> {
    fn default() -> Self {
        Self { rng: None, tape: Vec::new(), embedding: None, labels: None, cut: None, fused: true, room: ROOM }
    }
}

impl<'a> Pass<'a> {
    /// A pass that trains.
    pub fn train(rng: &'a mut ChaCha8Rng) -> Self {
        Self { rng: Some(rng), ..Self::default() }
    }

    /// A pass that predicts: no dropout, no noise, no tape.
    pub fn predict() -> Self {
        Self::default()
    }

    /// Numbers of a standard normal distribution, drawn on the host; zeros when predicting.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let mut values = vec![0.0f32; shape.iter().product()];
        if let Some(rng) = self.rng.as_deref_mut() {
            fill(rng, &mut values, |rng| rng.sample(StandardNormal));
        }
        Tensor::from_data(TensorData::new(values, shape), &device.clone().without_autodiff())
    }

    /// Numbers even in (0, 1), drawn on the host; one half when predicting.
    pub fn even<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let mut values = vec![0.5f32; shape.iter().product()];
        if let Some(rng) = self.rng.as_deref_mut() {
            // The middles of 2^23 even steps: neither 0 nor 1.
            fill(rng, &mut values, |rng| ((rng.random::<u32>() >> 9) as f32 + 0.5) / (1 << 23) as f32);
        }
        Tensor::from_data(TensorData::new(values, shape), &device.clone().without_autodiff())
    }

    /// Where the dropout of rows of `[rows, units]` comes from; none where nothing is dropped.
    pub fn row_dropout(&mut self, rate: f64) -> Option<RowDropout> {
        let rng = self.rng.as_deref_mut().filter(|_| rate > 0.0)?;
        Some(RowDropout { key: ChaCha8Rng::seed_from_u64(rng.random()), rate })
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
        let data = TensorData::new(mask, [rows, columns]);
        let mask = Tensor::<2>::from_data(data, &input.device().without_autodiff());
        input * mask
    }
}

/// Fills a slice from streams of its own, in parallel; the numbers are the same for any number of threads.
fn fill(rng: &mut ChaCha8Rng, values: &mut [f32], draw: impl Fn(&mut ChaCha8Rng) -> f32 + Sync) {
    let key = ChaCha8Rng::seed_from_u64(rng.random());
    values.par_chunks_mut(PIECE).enumerate().for_each(|(k, piece)| {
        let mut rng = key.clone();
        rng.set_stream(k as u64);
        piece.iter_mut().for_each(|v| *v = draw(&mut rng));
    });
}

/// Dropout of single rows, each from a stream of its own: the same in whatever order, and as often, they are asked for.
#[derive(Debug, Clone)]
pub struct RowDropout {
    key: ChaCha8Rng,
    rate: f64,
}

impl RowDropout {
    /// What values that are kept are multiplied by.
    pub fn keep(&self) -> f32 {
        (1.0 / (1.0 - self.rate)) as f32
    }

    /// Factors of the given row: 0 for a share of the values, [`Self::keep`] for the others.
    pub fn factors(&self, row: usize, out: &mut [f32]) {
        let (keep, limit) = (self.keep(), (self.rate * 65_536.0).round() as u32);
        let mut rng = self.key.clone();
        rng.set_stream(row as u64);
        let mut bytes = [0u8; 512];
        for piece in out.chunks_mut(bytes.len() / 2) {
            rng.fill_bytes(&mut bytes[..2 * piece.len()]);
            for (value, pair) in piece.iter_mut().zip(bytes.chunks_exact(2)) {
                let drawn = u32::from(u16::from_le_bytes([pair[0], pair[1]]));
                *value = if drawn < limit { 0.0 } else { keep };
            }
        }
    }

    /// Factors of `rows` rows from `first` on, `[rows, units]`.
    pub fn matrix(&self, first: usize, rows: usize, units: usize, device: &Device) -> Tensor<2> {
        let mut factors = vec![0.0; rows * units];
        factors.par_chunks_mut(units.max(1)).enumerate().for_each(|(r, row)| self.factors(first + r, row));
        Tensor::from_data(TensorData::new(factors, [rows, units]), &device.clone().without_autodiff())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_its_distribution_and_depends_on_the_generator_alone() {
        let device = Device::flex();
        let drawn = |seed: u64| -> (Vec<f32>, Vec<f32>) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut pass = Pass::train(&mut rng);
            let (a, b) = (pass.normal([400, 500], &device), pass.even([400, 500], &device));
            (a.into_data().try_into_vec().unwrap(), b.into_data().try_into_vec().unwrap())
        };
        let (normal, even) = drawn(3);
        assert_eq!((normal.clone(), even.clone()), drawn(3));
        assert_ne!(normal, drawn(4).0);
        let moments = |v: &[f32]| {
            let mean = v.iter().sum::<f32>() / v.len() as f32;
            (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / v.len() as f32)
        };
        let ((mean, variance), (middle, spread)) = (moments(&normal), moments(&even));
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!((middle - 0.5).abs() < 0.003 && (spread - 1.0 / 12.0).abs() < 0.001, "{middle} {spread}");
        assert!(even.iter().all(|v| *v > 0.0 && *v < 1.0));
    }

    #[test]
    fn a_row_is_dropped_alike_whenever_it_is_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let dropout = Pass::train(&mut rng).row_dropout(0.2).unwrap();
        let (mut whole, mut alone) = (vec![0.0; 700], vec![0.0; 700]);
        dropout.factors(5, &mut whole);
        dropout.factors(6, &mut alone);
        assert_ne!(whole, alone);
        dropout.factors(5, &mut alone);
        assert_eq!(whole, alone);
        let matrix: Vec<f32> = dropout.matrix(5, 300, 700, &Device::flex()).into_data().try_into_vec().unwrap();
        assert_eq!(matrix[..700], whole);
        let dropped = matrix.iter().filter(|v| **v == 0.0).count() as f64 / matrix.len() as f64;
        assert!((dropped - 0.2).abs() < 0.005, "{dropped}");
        assert!(matrix.iter().all(|v| *v == 0.0 || *v == 1.25));
        assert!(Pass::predict().row_dropout(0.2).is_none());
    }
}
