//! Our own kernels for GPUs, each behind a plain function that takes tensors.
//!
//! They run on every CubeCL backend (wgpu, CUDA, ROCm, Metal, Vulkan) and wait in Burn's fusion stream as its own
//! operations do. What they compute is held to composed tensor operations where they are used.

pub mod loss;
mod row_sum;

pub use row_sum::row_sum;
