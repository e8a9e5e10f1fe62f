//! Updates by Adam and AdamW, in place where the parameter and its moments have one owner.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::a_unit_each;

/// The numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Learning rate over the first moment's bias correction.
    pub step: f32,
    /// Reciprocal root of the second moment's bias correction.
    pub root: f32,
    /// ε.
    pub epsilon: f32,
    /// L2 term of the gradient.
    pub decay: f32,
    /// Factor on the values (AdamW).
    pub shrink: f32,
}

/// The operations, as Burn dispatches them.
#[backend_extension(Cube, Fusion)]
pub trait AdamKernel: burn::backend::Backend {
    #[fusion(meta = |values, first, second, _gradient, _step| (values.clone(), first.clone(), second.clone()))]
    /// Every value has a gradient.
    fn adam(
        values: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |values, first, second, _rows, _gradient, _step, _all| {
        (values.clone(), first.clone(), second.clone())
    })]
    /// Only the named rows have one; `all`: the others are updated with gradient 0.
    fn adam_rows(
        values: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rows: IntTensor<Self>,
        gradient: FloatTensor<Self>,
        step: AdamStep,
        all: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The tensor itself where nobody else holds its memory, else a copy.
fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    if tensor.can_mut() { tensor } else { tensor.copy() }
}

impl AdamKernel for CubeBackend {
    fn adam(
        values: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        gradient: CubeTensor,
        step: AdamStep,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let [values, first, second] = [values, first, second].map(owned);
        let AdamStep { beta1, beta2, step, root, epsilon, decay, shrink } = step;
        let (client, count) = (values.client.clone(), values.meta.num_elements());
        let (groups, units) = a_unit_each(count);
        kernel::adam::launch(
            &client,
            groups,
            units,
            values.clone().into_tensor_arg(),
            first.clone().into_tensor_arg(),
            second.clone().into_tensor_arg(),
            into_contiguous(gradient).into_tensor_arg(),
            count,
            kernel::NumbersLaunch::new(beta1, beta2, step, root, epsilon, decay, shrink),
        );
        (values, first, second)
    }

    fn adam_rows(
        values: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        rows: CubeTensor,
        gradient: CubeTensor,
        step: AdamStep,
        all: bool,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let [values, first, second] = [values, first, second].map(owned);
        let AdamStep { beta1, beta2, step, root, epsilon, decay, shrink } = step;
        let client = values.client.clone();
        let count = if all { values.meta.num_elements() } else { gradient.meta.num_elements() };
        let (groups, units) = a_unit_each(count);
        kernel::adam_rows::launch(
            &client,
            groups,
            units,
            values.clone().into_tensor_arg(),
            first.clone().into_tensor_arg(),
            second.clone().into_tensor_arg(),
            into_contiguous(rows).into_tensor_arg(),
            into_contiguous(gradient).into_tensor_arg(),
            count,
            kernel::NumbersLaunch::new(beta1, beta2, step, root, epsilon, decay, shrink),
            all,
        );
        (values, first, second)
    }
}

/// What happens to rows without a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherRows {
    /// Nothing.
    Stay,
    /// What an update with gradient 0 does.
    MoveOn,
}

/// A parameter and its moments, of the same size.
#[derive(Debug, Clone)]
pub struct Moments<const D: usize> {
    /// The parameter.
    pub values: Tensor<D>,
    /// First moment, flat.
    pub first: Tensor<1>,
    /// Second moment, flat.
    pub second: Tensor<1>,
}

impl<const D: usize> Moments<D> {
    /// `g = ∂L/∂p + decay·p; m ← β₁m + (1-β₁)g; v ← β₂v + (1-β₂)g²; p ← shrink·p - step · m / (√v·root + ε)`.
    ///
    /// `gradient`: flat, of the same size. Only on GPU backends, without autodiff; 32-bit floats.
    ///
    /// # Panics
    /// On a backend without kernels.
    pub fn update(self, gradient: Tensor<1>, step: AdamStep) -> Self {
        let (values, first, second) = Dispatch::adam(
            self.values.into_dispatch(),
            self.first.into_dispatch(),
            self.second.into_dispatch(),
            gradient.into_dispatch(),
            step,
        );
        let (first, second) = (Tensor::from_dispatch(first), Tensor::from_dispatch(second));
        Self { values: Tensor::from_dispatch(values), first, second }
    }

    /// The same where only some rows of `gradient.dims()[1]` numbers have a gradient.
    ///
    /// Shapes: `rows` `[named]`, ascending, at least one; `gradient` `[named, width]`.
    ///
    /// # Panics
    /// On a backend without kernels.
    pub fn update_rows(self, rows: Tensor<1, Int>, gradient: Tensor<2>, step: AdamStep, others: OtherRows) -> Self {
        let (values, first, second) = Dispatch::adam_rows(
            self.values.into_dispatch(),
            self.first.into_dispatch(),
            self.second.into_dispatch(),
            rows.into_dispatch(),
            gradient.into_dispatch(),
            step,
            others == OtherRows::MoveOn,
        );
        let (first, second) = (Tensor::from_dispatch(first), Tensor::from_dispatch(second));
        Self { values: Tensor::from_dispatch(values), first, second }
    }
}

/// What runs on the device: the language of kernels has a `Tensor` of its own.
mod kernel {
    use cubecl::prelude::*;

    /// The numbers of one step.
    #[derive(CubeType, CubeLaunch, Clone, Copy)]
    pub(super) struct Numbers {
        beta1: f32,
        beta2: f32,
        step: f32,
        root: f32,
        epsilon: f32,
        decay: f32,
        shrink: f32,
    }

    /// First moments below this are taken as 0: they no longer move a weight.
    const TINY: f32 = 1e-35;

    #[cube]
    fn one(
        values: &mut Tensor<f32>,
        first: &mut Tensor<f32>,
        second: &mut Tensor<f32>,
        at: usize,
        gradient: f32,
        numbers: &Numbers,
    ) {
        let p = values[at];
        let g = gradient + numbers.decay * p;
        let m = numbers.beta1 * first[at] + (1.0f32 - numbers.beta1) * g;
        let m = select(f32::abs(m) < TINY, 0.0f32.runtime(), m);
        let v = numbers.beta2 * second[at] + (1.0f32 - numbers.beta2) * g * g;
        first[at] = m;
        second[at] = v;
        values[at] = numbers.shrink * p - numbers.step * m / (f32::sqrt(v) * numbers.root + numbers.epsilon);
    }

    /// One unit a value.
    #[cube(launch)]
    pub(super) fn adam(
        values: &mut Tensor<f32>,
        first: &mut Tensor<f32>,
        second: &mut Tensor<f32>,
        gradient: &Tensor<f32>,
        count: usize,
        numbers: &Numbers,
    ) {
        let at = ABSOLUTE_POS;
        if at >= count {
            terminate!();
        }
        one(values, first, second, at, gradient[at], numbers);
    }

    /// Where `row` stands among ascending `rows`; their number where it does not.
    #[cube]
    fn place(rows: &Tensor<i32>, row: usize) -> usize {
        let mut from = 0usize.runtime();
        let mut to = rows.shape(0);
        while from < to {
            let middle = (from + to) / 2;
            if (rows[middle] as usize) < row {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        let count = rows.shape(0);
        let found = rows[min(from, count - 1)] as usize == row;
        select(from < count && found, from, count)
    }

    /// One unit a value, of the named rows or of all.
    #[cube(launch)]
    pub(super) fn adam_rows(
        values: &mut Tensor<f32>,
        first: &mut Tensor<f32>,
        second: &mut Tensor<f32>,
        rows: &Tensor<i32>,
        gradient: &Tensor<f32>,
        count: usize,
        numbers: &Numbers,
        #[comptime] all: bool,
    ) {
        let k = ABSOLUTE_POS;
        let width = gradient.shape(1);
        if k >= count {
            terminate!();
        }
        if comptime!(all) {
            let place = place(rows, k / width);
            let mut g = 0.0f32.runtime();
            if place < gradient.shape(0) {
                g = gradient[place * width + k % width];
            }
            one(values, first, second, k, g, numbers);
        } else {
            let at = rows[k / width] as usize * width + k % width;
            one(values, first, second, at, gradient[k], numbers);
        }
    }
}
