//! What our own CPU kernels are made of: tensors of the CPU backends as slices, matrix products of slices, and loops
//! compiled for the processor at hand.
#![forbid(unsafe_code)]
#![expect(deprecated, reason = "ndarray is deprecated upstream and kept here by request")]

mod matmul;
pub mod simd;

use burn::backend::flex::FlexTensor;
use burn::backend::ndarray::NdArrayTensor;
use burn::backend::{Flex, NdArray};
use burn::tensor::{Device, Int, Tensor, TensorData};

pub use matmul::{Matrix, add_product, column_sums};

/// True where tensors live in this process's memory, so that a slice of them costs nothing.
pub fn is_host(device: &Device) -> bool {
    use burn::backend::DispatchDevice;
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_) | DispatchDevice::NdArray(_))
}

/// Read access to the values of a tensor, row by row.
pub enum HostView {
    /// Shared with a tensor of flex.
    Flex(FlexTensor),
    /// Shared with a tensor of ndarray.
    NdArray(NdArrayTensor),
    /// A copy.
    Copied(TensorData),
}

impl HostView {
    /// The values of `tensor`, which may be tracked by autodiff.
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        let plain = plain(tensor.clone());
        if let Ok(flex) = plain.clone().try_into_primitive::<Flex>()
            && flex.as_slice::<f32>().is_some()
        {
            return Self::Flex(flex);
        }
        if let Ok(array) = plain.clone().try_into_primitive::<NdArray>()
            && slice_of(&array).is_some()
        {
            return Self::NdArray(array);
        }
        Self::Copied(plain.into_data())
    }

    /// The values.
    pub fn as_slice(&self) -> &[f32] {
        match self {
            Self::Flex(flex) => flex.as_slice().unwrap_or_default(),
            Self::NdArray(array) => slice_of(array).unwrap_or_default(),
            Self::Copied(data) => data.as_slice().unwrap_or_default(),
        }
    }
}

/// The values of a contiguous array of 32-bit floats.
fn slice_of(array: &NdArrayTensor) -> Option<&[f32]> {
    match array {
        NdArrayTensor::F32(storage) => storage.view().to_slice(),
        _ => None,
    }
}

/// Whole numbers on the device.
pub fn integers(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let signed: Vec<i32> = values.iter().map(|v| *v as i32).collect();
    Tensor::from_data(TensorData::new(signed, [values.len()]), &device.clone().without_autodiff())
}

/// The tensor without its autodiff wrapping.
pub fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.device().is_autodiff() { tensor.inner() } else { tensor }
}
