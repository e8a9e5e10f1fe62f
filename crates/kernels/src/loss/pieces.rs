//! Pieces of the kernels.

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

/// How the values of units become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Over {
    Sum,
    Largest,
}

/// One value of all units of a workgroup, the same in every unit. `units`: a power of 2.
#[cube]
fn over_units(value: f32, shared: &mut Shared<[f32]>, #[comptime] over: Over, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut step = comptime!(units / 2).runtime();
    while step > 0 {
        if unit < step {
            let other = shared[unit + step];
            if comptime!(over == Over::Sum) {
                shared[unit] += other;
            } else {
                shared[unit] = max(shared[unit], other);
            }
        }
        sync_cube();
        step /= 2;
    }
    let found = shared[0];
    sync_cube();
    found
}

/// The sum over the units of a workgroup, the same in every unit.
#[cube]
pub(super) fn sum_of_units(value: f32, shared: &mut Shared<[f32]>, #[comptime] units: usize) -> f32 {
    over_units(value, shared, Over::Sum, units)
}

/// `Σ_present e^{-z/T_p}` and `Σ_absent e^{z/T_n}`, each as the largest exponent and the sum less it.
#[derive(CubeType, Clone, Copy)]
pub(super) struct LogSums {
    pub top_present: f32,
    pub sum_present: f32,
    pub top_absent: f32,
    pub sum_absent: f32,
}

/// The same of the labels of one instance, all units of a workgroup together. `floor`: the largest exponents at least.
#[cube]
pub(super) fn log_sums(
    logits: &Tensor<f32>,
    targets: &Tensor<f32>,
    first: usize,
    temperature_present: f32,
    temperature_absent: f32,
    floor: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] units: usize,
) -> LogSums {
    let labels = logits.shape(1);
    let mut top_present = floor;
    let mut top_absent = floor;
    let mut l = UNIT_POS as usize;
    while l < labels {
        let z = logits[first + l];
        if targets[first + l] > 0.5f32 {
            top_present = max(top_present, -z / temperature_present);
        } else {
            top_absent = max(top_absent, z / temperature_absent);
        }
        l += units;
    }
    top_present = over_units(top_present, shared, Over::Largest, units);
    top_absent = over_units(top_absent, shared, Over::Largest, units);
    let mut sum_present = 0.0f32.runtime();
    let mut sum_absent = 0.0f32.runtime();
    let mut l = UNIT_POS as usize;
    while l < labels {
        let z = logits[first + l];
        if targets[first + l] > 0.5f32 {
            sum_present += f32::exp(-z / temperature_present - top_present);
        } else {
            sum_absent += f32::exp(z / temperature_absent - top_absent);
        }
        l += units;
    }
    sum_present = sum_of_units(sum_present, shared, units);
    sum_absent = sum_of_units(sum_absent, shared, units);
    LogSums { top_present, sum_present, top_absent, sum_absent }
}
