//! Tensors of the CPU backends as slices: what our own CPU kernels read and write.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, Tensor, TensorData};

/// True where tensors live in this process's memory, so that a slice of them costs nothing (flex) or a copy (ndarray).
pub fn is_host(device: &Device) -> bool {
    use burn::backend::DispatchDevice;
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_) | DispatchDevice::NdArray(_))
}

/// Read access to the values of a tensor, row by row.
pub enum HostView {
    /// Shared with the tensor.
    Shared(FlexTensor),
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
            return Self::Shared(flex);
        }
        Self::Copied(plain.into_data())
    }

    /// The values.
    pub fn as_slice(&self) -> &[f32] {
        match self {
            Self::Shared(flex) => flex.as_slice().unwrap_or_default(),
            Self::Copied(data) => data.as_slice().unwrap_or_default(),
        }
    }
}

/// The tensor without its autodiff wrapping.
pub fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.device().is_autodiff() { tensor.inner() } else { tensor }
}
