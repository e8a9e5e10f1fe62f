//! What comes between two layers, by tensor operations and on slices.

use burn::tensor::{Tensor, activation};
use host::simd::{self, vectorised};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::FEW;

/// Slope of leaky relu below 0.
const SLOPE: f64 = 0.01;
/// Between two layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(0, x)`.
    #[default]
    Relu,
    /// `x Φ(x)`.
    Gelu,
    /// `max(0.01 x, x)`.
    LeakyRelu,
}

impl Activation {
    pub(super) fn apply(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Relu => activation::relu(x),
            Self::Gelu => activation::gelu(x),
            Self::LeakyRelu => activation::leaky_relu(x, SLOPE),
        }
    }

    /// The same in place. `slopes` becomes what [`Self::back_on_host`] needs beside the outputs.
    pub(super) fn apply_on_host(self, values: &mut [f32], slopes: &mut Vec<f32>) {
        if self == Self::Gelu {
            slopes.resize(values.len(), 0.0);
            values.par_chunks_mut(FEW).zip(slopes.par_chunks_mut(FEW)).for_each(|(values, slopes)| {
                vectorised(
                    #[inline(always)]
                    || values.iter_mut().zip(slopes).for_each(|(v, slope)| (*v, *slope) = gelu(*v)),
                );
            });
            return;
        }
        let below = self.below();
        values.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { *v * below });
    }

    /// Turns the gradient by the outputs into the one by the inputs.
    pub(super) fn back_on_host(self, gradient: &mut [f32], outputs: &[f32], slopes: &[f32]) {
        if self == Self::Gelu {
            gradient.iter_mut().zip(slopes).for_each(|(g, slope)| *g *= slope);
            return;
        }
        // Outputs have the sign of the inputs.
        let below = self.below();
        gradient.iter_mut().zip(outputs).for_each(|(g, x)| *g = if *x > 0.0 { *g } else { *g * below });
    }

    /// Slope of the two relus below 0.
    fn below(self) -> f32 {
        if self == Self::LeakyRelu { SLOPE as f32 } else { 0.0 }
    }
}

/// `x Φ(x)` and its derivative `Φ(x) + x φ(x)`, to some 4e-7 absolute.
///
/// `Φ(-|x|)` by a polynomial in `1 / (1 + p |x|)` times `e^{-x²/2}`. Source: Abramowitz and Stegun, 7.1.26.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const DENSITY: f32 = 0.398_942_3;
    let e = simd::exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + P * x.abs());
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * e;
    let below = if x > 0.0 { 1.0 - tail } else { tail };
    (x * below, below + x * DENSITY * e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn gelu_on_slices_and_its_slope_are_those_of_tensors() {
        let inputs: Vec<f32> = (-700..700).map(|i| i as f32 * 0.02).collect();
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_data(TensorData::new(inputs.clone(), [1, 1400]), &device).require_grad();
        let y = Activation::Gelu.apply(x.clone());
        let slope = x.grad(&y.clone().sum().backward()).unwrap();
        let numbers = |t: Tensor<2>| t.into_data().try_into_vec::<f32>().unwrap();
        let (expected, slopes) = (numbers(y), numbers(slope));
        let (mut values, mut found) = (inputs, Vec::new());
        Activation::Gelu.apply_on_host(&mut values, &mut found);
        for (a, b) in values.iter().zip(&expected).chain(found.iter().zip(&slopes)) {
            assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a} against {b}");
        }
    }
}
