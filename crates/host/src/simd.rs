//! Loops compiled for the processor at hand, and functions they can take along.
//!
//! The functions have no branches and no calls, so that a loop over them becomes vector instructions. They are accurate
//! to some 2e-7 relative, and their bits do not depend on the width of the vectors.

/// Runs `kernel` compiled for the widest vectors of this processor.
///
/// Everything it calls must be `#[inline(always)]` to be compiled along.
#[inline]
pub fn vectorised<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}

/// Lanes that [`sum_lanes`] keeps apart.
pub const LANES: usize = 16;

/// Partial sums of a loop, one a lane.
pub type Lanes = [f32; LANES];

/// The sum of all lanes, always in the same order.
#[inline(always)]
pub fn sum_lanes(lanes: &Lanes) -> f32 {
    let mut half = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            half[i] += half[i + width];
        }
        width /= 2;
    }
    half[0]
}

/// `f(value, lane)` for every value, whole groups of [`LANES`] first: lane is where a sum over values goes.
#[inline(always)]
pub fn each(values: &mut [f32], mut f: impl FnMut(&mut f32, usize)) {
    let whole = values.len() / LANES * LANES;
    let (groups, rest) = values.split_at_mut(whole);
    for group in groups.chunks_exact_mut(LANES) {
        for (lane, value) in group.iter_mut().enumerate() {
            f(value, lane);
        }
    }
    for (lane, value) in rest.iter_mut().enumerate() {
        f(value, lane);
    }
}

/// [`each`] over pairs: `f(value, other, lane)`.
#[inline(always)]
pub fn each_with(values: &mut [f32], others: &[f32], mut f: impl FnMut(&mut f32, f32, usize)) {
    let whole = values.len().min(others.len()) / LANES * LANES;
    let (groups, rest) = values.split_at_mut(whole);
    let (other_groups, other_rest) = others.split_at(whole);
    for (group, other) in groups.chunks_exact_mut(LANES).zip(other_groups.chunks_exact(LANES)) {
        for (lane, (value, other)) in group.iter_mut().zip(other).enumerate() {
            f(value, *other, lane);
        }
    }
    for (lane, (value, other)) in rest.iter_mut().zip(other_rest).enumerate() {
        f(value, *other, lane);
    }
}

/// [`each`] over threes: `f(value, first, second, lane)`.
#[inline(always)]
pub fn each_with_two(values: &mut [f32], a: &[f32], b: &[f32], mut f: impl FnMut(&mut f32, f32, f32, usize)) {
    let whole = values.len().min(a.len()).min(b.len()) / LANES * LANES;
    let (groups, rest) = values.split_at_mut(whole);
    let ((a_groups, a_rest), (b_groups, b_rest)) = (a.split_at(whole), b.split_at(whole));
    let others = a_groups.chunks_exact(LANES).zip(b_groups.chunks_exact(LANES));
    for (group, (a, b)) in groups.chunks_exact_mut(LANES).zip(others) {
        for (lane, ((value, a), b)) in group.iter_mut().zip(a).zip(b).enumerate() {
            f(value, *a, *b, lane);
        }
    }
    for (lane, ((value, a), b)) in rest.iter_mut().zip(a_rest).zip(b_rest).enumerate() {
        f(value, *a, *b, lane);
    }
}

/// `e^x`, 0 below -87.3 and finite above: 88 is the largest argument that counts.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: the first has few digits, so that its multiples are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5 · 2²³ rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let small = x < -87.3;
    let x = x.clamp(-87.3, 88.0);
    let n = (x * LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let power = f32::from_bits(((n as i32 + 127) << 23) as u32);
    if small { 0.0 } else { p * power }
}

/// `ln(1 + e)` for e in [0, 1], accurate for tiny e too: `2 artanh(e / (2 + e))` by its series.
#[inline(always)]
pub fn ln_1p(e: f32) -> f32 {
    let s = e / (2.0 + e);
    let q = s * s;
    let mut p = 2.0 / 15.0;
    p = p * q + 2.0 / 13.0;
    p = p * q + 2.0 / 11.0;
    p = p * q + 2.0 / 9.0;
    p = p * q + 2.0 / 7.0;
    p = p * q + 2.0 / 5.0;
    p = p * q + 2.0 / 3.0;
    p = p * q + 2.0;
    p * s
}

/// `-ln(1 - x)` for x in [0, 1), accurate for tiny x too.
#[inline(always)]
pub fn neg_ln_1m(x: f32) -> f32 {
    let s = x / (2.0 - x);
    let q = s * s;
    let mut p = 2.0 / 13.0;
    p = p * q + 2.0 / 11.0;
    p = p * q + 2.0 / 9.0;
    p = p * q + 2.0 / 7.0;
    p = p * q + 2.0 / 5.0;
    p = p * q + 2.0 / 3.0;
    p = p * q + 2.0;
    let far = -ln((1.0 - x).max(1e-37));
    if x < 0.5 { p * s } else { far }
}

/// `ln x` for x above 0 (normal numbers).
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // x = m · 2^n, m in [2/3, 4/3): ln x = n ln 2 + 2 artanh((m - 1) / (m + 1)).
    let bits = x.to_bits() as i32;
    let n = (bits - 0x3f2a_aaab) >> 23;
    let m = f32::from_bits((bits - (n << 23)) as u32);
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let mut p = 2.0 / 11.0;
    p = p * q + 2.0 / 9.0;
    p = p * q + 2.0 / 7.0;
    p = p * q + 2.0 / 5.0;
    p = p * q + 2.0 / 3.0;
    p = p * q + 2.0;
    p * s + n as f32 * std::f32::consts::LN_2
}

/// `ln(1 + e^z)` and its derivative `σ(z)`, from one exponential.
#[inline(always)]
pub fn softplus_and_sigmoid(z: f32) -> (f32, f32) {
    let e = exp(-z.abs());
    let share = 1.0 / (1.0 + e);
    let sigmoid = if z >= 0.0 { share } else { e * share };
    (z.max(0.0) + ln_1p(e), sigmoid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f32, expected: f64, tolerance: f64) {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1e-37), "{found} against {expected}");
    }

    #[test]
    fn the_functions_are_accurate_over_their_range() {
        for i in -8_700..8_800 {
            let x = i as f32 * 0.01;
            close(exp(x), f64::from(x).exp(), 4e-7);
            let (softplus, sigmoid) = softplus_and_sigmoid(x);
            let e = (-f64::from(x).abs()).exp();
            close(softplus, f64::from(x).max(0.0) + e.ln_1p(), 4e-7);
            close(sigmoid, if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }, 4e-7);
        }
        for i in 0..10_000 {
            let e = i as f32 / 10_000.0;
            close(ln_1p(e), f64::from(e).ln_1p(), 4e-7);
            close(neg_ln_1m(e), -(-f64::from(e)).ln_1p(), 4e-7);
            let x = 1e-30f32 * 1.02f32.powi(i % 7_000) + 1e-30;
            let exact = f64::from(x).ln();
            assert!(!x.is_finite() || (f64::from(ln(x)) - exact).abs() < 4e-7 * exact.abs().max(1.0), "{x}");
        }
        assert_eq!((exp(-1e30), exp(-200.0), softplus_and_sigmoid(-1e30)), (0.0, 0.0, (0.0, 0.0)));
        let (large, one) = softplus_and_sigmoid(1e30);
        assert_eq!((large, one), (1e30, 1.0));
    }

    #[test]
    fn a_vectorised_loop_gives_the_bits_of_a_plain_one() {
        let values: Vec<f32> = (0..1_003).map(|i| (i as f32 - 500.0) * 0.1).collect();
        let run = |z: &mut [f32]| {
            let mut sums = [0.0; LANES];
            each(z, |v, lane| {
                let (value, slope) = softplus_and_sigmoid(*v);
                sums[lane] += value;
                *v = slope;
            });
            sum_lanes(&sums)
        };
        let (mut a, mut b) = (values.clone(), values);
        let (first, second) = (run(&mut a), vectorised(|| run(&mut b)));
        assert_eq!((first.to_bits(), a), (second.to_bits(), b));
    }
}
