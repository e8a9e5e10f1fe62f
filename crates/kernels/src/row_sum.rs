//! Weighted sums of matrix rows.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Dispatch, backend_extension};
use burn::tensor::{Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::{a_unit_each, unwritten};

/// The operation, as Burn dispatches it.
#[backend_extension(Cube, Fusion)]
pub trait RowSum: burn::backend::Backend {
    #[fusion(dtype = weight, shape = sums_of(starts, weight))]
    fn row_sum(
        weight: FloatTensor<Self>,
        starts: IntTensor<Self>,
        indices: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

fn sums_of(starts: &Shape, weight: &Shape) -> Shape {
    Shape::from(vec![starts[0] - 1, weight[1]])
}

impl RowSum for CubeBackend {
    fn row_sum(weight: CubeTensor, starts: CubeTensor, indices: CubeTensor, values: CubeTensor) -> CubeTensor {
        let dtype = weight.dtype;
        let [weight, starts, indices, values] = [weight, starts, indices, values].map(into_contiguous);
        let shape = sums_of(starts.meta.shape(), weight.meta.shape());
        let count = shape.num_elements();
        let (groups, units) = a_unit_each(count);
        let output = unwritten(&weight, shape, dtype);
        kernel::row_sum::launch(
            &output.client,
            groups,
            units,
            weight.into_tensor_arg(),
            starts.into_tensor_arg(),
            indices.into_tensor_arg(),
            values.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            dtype_to_storage_type(dtype),
        );
        output
    }
}

/// `out[b] = Σ_{k = starts[b]}^{starts[b+1] - 1} values[k] · weight[indices[k]]`, the product of compressed rows and a
/// matrix, without a copy of the rows that it reads. No gradient passes.
///
/// Shapes: `weight` `[columns, width]`, `starts` `[rows + 1]`, `indices`, `values` `[entries]`, at least one entry →
/// `[rows, width]`. Only on GPU backends, without autodiff; 32-bit floats and integers.
///
/// # Panics
/// On a backend without kernels.
pub fn row_sum(weight: Tensor<2>, starts: Tensor<1, Int>, indices: Tensor<1, Int>, values: Tensor<1>) -> Tensor<2> {
    let sums = Dispatch::row_sum(
        weight.into_dispatch(),
        starts.into_dispatch(),
        indices.into_dispatch(),
        values.into_dispatch(),
    );
    Tensor::from_dispatch(sums)
}

/// What runs on the device: the language of kernels has a `Tensor` of its own.
mod kernel {
    use cubecl::prelude::*;

    /// One unit of work a number of the output: it walks the entries of its row.
    #[cube(launch)]
    pub(super) fn row_sum<F: Float>(
        weight: &Tensor<F>,
        starts: &Tensor<i32>,
        indices: &Tensor<i32>,
        values: &Tensor<F>,
        output: &mut Tensor<F>,
        #[define(F)] _dtype: ElemType,
    ) {
        let at = ABSOLUTE_POS;
        let width = output.shape(1);
        if at >= output.shape(0) * width {
            terminate!();
        }
        let row = at / width;
        let column = at % width;
        let mut sum = F::new(0.0_f32);
        for k in starts[row]..starts[row + 1] {
            let k = k as usize;
            sum += values[k] * weight[indices[k] as usize * width + column];
        }
        output[at] = sum;
    }
}
