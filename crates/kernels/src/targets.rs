//! Targets of a batch from the places of their ones.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Dispatch, backend_extension};
use burn::tensor::{DType, Int, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::CubeDim;

use crate::{groups, units_for, unwritten};

/// The operation, as Burn dispatches it.
#[backend_extension(Cube, Fusion)]
pub trait TargetsKernel: burn::backend::Backend {
    /// See [`targets`].
    #[fusion(meta = |starts, _indices, labels| burn::backend::fusion::custom::TensorSpec::new(
        vec![starts.shape[0] - 1, *labels].into(),
        DType::F32,
    ))]
    fn targets(starts: IntTensor<Self>, indices: IntTensor<Self>, labels: usize) -> FloatTensor<Self>;
}

impl TargetsKernel for CubeBackend {
    fn targets(starts: CubeTensor, indices: CubeTensor, labels: usize) -> CubeTensor {
        let [starts, indices] = [starts, indices].map(into_contiguous);
        let batch = starts.meta.shape()[0] - 1;
        let output = unwritten(&starts, vec![batch, labels].into(), DType::F32);
        let units = units_for(labels);
        kernel::targets::launch(
            &output.client,
            groups(batch),
            CubeDim::new_1d(units as u32),
            starts.into_tensor_arg(),
            indices.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            units,
        );
        output
    }
}

/// 1 at the labels `indices[k]`, `k` from `starts[i]` to `starts[i + 1]`, of instance i, else 0.
///
/// Shapes: `starts` `[batch + 1]`, `indices` `[entries]`, at least one → `[batch, labels]`. Only on GPU backends; 32-bit
/// integers.
///
/// # Panics
/// On a backend without kernels.
pub fn targets(starts: Tensor<1, Int>, indices: Tensor<1, Int>, labels: usize) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::targets(starts.into_dispatch(), indices.into_dispatch(), labels))
}

/// What runs on the device: the language of kernels has a `Tensor` of its own.
mod kernel {
    use cubecl::prelude::*;

    /// One workgroup an instance. A unit writes the zeros and the ones of its own labels: nobody waits for another.
    #[cube(launch)]
    pub(super) fn targets(
        starts: &Tensor<i32>,
        indices: &Tensor<i32>,
        output: &mut Tensor<f32>,
        #[comptime] units: usize,
    ) {
        let instance = CUBE_POS;
        if instance >= output.shape(0) {
            terminate!();
        }
        let labels = output.shape(1);
        let unit = UNIT_POS as usize;
        let mut l = unit;
        while l < labels {
            output[instance * labels + l] = 0.0f32;
            l += units;
        }
        for k in starts[instance]..starts[instance + 1] {
            let l = indices[k as usize] as usize;
            if l % units == unit {
                output[instance * labels + l] = 1.0f32;
            }
        }
    }
}
