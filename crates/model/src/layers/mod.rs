//! Pieces that models are made of.

mod encoder;
pub mod flow;
mod gates;
pub mod gaussian;
mod graph;
mod input;
mod label_head;
mod linear;
pub mod rows;

pub use encoder::{FeatureEncoder, JointLayer, Stack};
pub use gates::ConcreteGates;
pub use gaussian::Gaussian;
pub use graph::{GraphLayer, link_loss};
pub use input::InputLayer;
pub use label_head::{LabelHead, LabelView};
pub use linear::Linear;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Values uniform in ±1/√fan_in, drawn on the host.
fn uniform<const D: usize>(
    shape: [usize; D],
    fan_in: usize,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    uniform_within(1.0 / (fan_in.max(1) as f32).sqrt(), shape, rng, device)
}

/// Values uniform in ±bound, drawn on the host.
pub(crate) fn uniform_within<const D: usize>(
    bound: f32,
    shape: [usize; D],
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    uniform_between(-bound, bound, shape, rng, device)
}

/// Values uniform between two bounds, drawn on the host.
fn uniform_between<const D: usize>(
    low: f32,
    high: f32,
    shape: [usize; D],
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    let mean = (low + high) / 2.0;
    let bound = (high - low) / 2.0;
    let draw = |rng: &mut ChaCha8Rng| mean + (rng.random::<f32>() * 2.0 - 1.0) * bound;
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw(rng)).collect();
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

/// A parameter of one value throughout.
pub(crate) fn constant<const D: usize>(value: f32, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, value, device))
}

/// Numbers that belong to the model and are never trained.
pub(crate) fn fixed<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device)).set_require_grad(false)
}

/// Bound of weights before (leaky) relu.
fn he_bound(inputs: usize, slope: f64) -> f32 {
    (6.0 / ((1.0 + slope * slope) * inputs.max(1) as f64)).sqrt() as f32
}

/// Biases before (leaky) relu.
pub(crate) fn small_bias(outputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Param<Tensor<1>> {
    uniform_between(0.0, 0.1, [outputs], rng, device)
}
