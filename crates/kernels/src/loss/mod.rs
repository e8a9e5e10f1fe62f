//! Losses of logits: values and the gradient by the logits in one kernel.

mod form;
mod lines;
mod rows;

pub use form::{InstanceBalance, LabelForm, Margin, Presence, RowForm};
pub use lines::{Temperatures, two_way_loss};
pub use rows::RowLoss;

use burn::tensor::Tensor;

/// What a kernel makes of a batch. Nothing of it is tracked by autodiff.
#[derive(Debug, Clone)]
pub struct LossAndGradient {
    /// Values that an instance's loss is the sum of, `[batch, parts]`.
    pub parts: Tensor<2>,
    /// `∂(Σ_i L_i)/∂z` times a scale, `[batch, labels]`.
    pub gradient: Tensor<2>,
}

/// Pieces of the kernels.
mod pieces {
    use cubecl::prelude::*;

    /// A loss and its derivative.
    #[derive(CubeType, Clone, Copy)]
    pub(super) struct Value {
        pub value: f32,
        pub slope: f32,
    }

    /// `Σ_k 2 s^{2k+1} / (2k+1)`, that is `2 artanh(s)`, for s up to 1/3.
    #[cube]
    fn twice_artanh(s: f32) -> f32 {
        let q = s * s;
        let mut p = comptime!(2.0f32 / 15.0) * q + comptime!(2.0f32 / 13.0);
        p = p * q + comptime!(2.0f32 / 11.0);
        p = p * q + comptime!(2.0f32 / 9.0);
        p = p * q + comptime!(2.0f32 / 7.0);
        p = p * q + comptime!(2.0f32 / 5.0);
        p = p * q + comptime!(2.0f32 / 3.0);
        p = p * q + 2.0f32;
        p * s
    }

    /// `ln(1 + e)` for e in [0, 1], accurate for tiny e too.
    #[cube]
    pub(super) fn ln_1p(e: f32) -> f32 {
        twice_artanh(e / (2.0f32 + e))
    }

    /// `-ln(1 - x)` for x in [0, 1), accurate for tiny x too.
    #[cube]
    pub(super) fn neg_ln_1m(x: f32) -> f32 {
        let near = twice_artanh(x / (2.0f32 - x));
        let far = -f32::ln(max(1.0f32 - x, 1e-37f32));
        select(x < 0.5f32, near, far)
    }

    /// `ln(1 + e^z)` and its derivative `σ(z)`, from one exponential.
    #[cube]
    pub(super) fn softplus(z: f32) -> Value {
        let e = f32::exp(-f32::abs(z));
        let share = 1.0f32 / (1.0f32 + e);
        Value { value: max(z, 0.0f32) + ln_1p(e), slope: select(z >= 0.0f32, share, e * share) }
    }

    /// `q^γ softplus(u)`, `q = σ(u)`, and its derivative; `through` 0: as if `q^γ` were a constant.
    #[cube]
    pub(super) fn focused(u: f32, gamma: f32, through: f32) -> Value {
        let plain = softplus(u);
        let factor = f32::exp(gamma * (u - plain.value));
        let slope = plain.slope + through * gamma * (1.0f32 - plain.slope) * plain.value;
        Value { value: factor * plain.value, slope: factor * slope }
    }

    /// The sum over the units of a workgroup, the same in every unit. `units`: a power of 2.
    #[cube]
    pub(super) fn sum_of_units(value: f32, shared: &mut Shared<[f32]>, #[comptime] units: usize) -> f32 {
        let unit = UNIT_POS as usize;
        shared[unit] = value;
        sync_cube();
        let mut step = comptime!(units / 2).runtime();
        while step > 0 {
            if unit < step {
                shared[unit] += shared[unit + step];
            }
            sync_cube();
            step /= 2;
        }
        let sum = shared[0];
        sync_cube();
        sum
    }

    /// The largest of the units' values, the same in every unit.
    #[cube]
    pub(super) fn max_of_units(value: f32, shared: &mut Shared<[f32]>, #[comptime] units: usize) -> f32 {
        let unit = UNIT_POS as usize;
        shared[unit] = value;
        sync_cube();
        let mut step = comptime!(units / 2).runtime();
        while step > 0 {
            if unit < step {
                shared[unit] = max(shared[unit], shared[unit + step]);
            }
            sync_cube();
            step /= 2;
        }
        let top = shared[0];
        sync_cube();
        top
    }
}
