//! Our own kernels for GPUs, each behind a plain function that takes tensors.
//!
//! They run on every CubeCL backend (wgpu, CUDA, ROCm, Metal, Vulkan) and wait in Burn's fusion stream as its own
//! operations do. What they compute is held to composed tensor operations where they are used.

pub mod adam;
mod known_gradient;
pub mod loss;
mod row_sum;
mod targets;

pub use known_gradient::known_gradient;
pub use row_sum::row_sum;
pub use targets::targets;

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::{CubeCount, CubeDim};

/// So many workgroups, over two dimensions: none may be longer than 65,535.
fn groups(count: usize) -> CubeCount {
    let across = count.clamp(1, 32_768);
    CubeCount::Static(across as u32, count.div_ceil(across).max(1) as u32, 1)
}

/// Units of a workgroup that goes over so many labels.
fn units_for(labels: usize) -> usize {
    labels.next_power_of_two().clamp(32, 256)
}

/// A unit for each of so many values.
fn a_unit_each(values: usize) -> (CubeCount, CubeDim) {
    const UNITS: usize = 256;
    (groups(values.div_ceil(UNITS)), CubeDim::new_1d(UNITS as u32))
}

/// A new tensor on the device of another one, its values still to be written.
fn unwritten(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    let buffer = like.client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, buffer, dtype)
}
