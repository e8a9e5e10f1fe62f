//! The pair ranking loss of C2AE and MPVAE.

use burn::tensor::Tensor;

/// Slope of the exponential loss of a pair.
const SLOPE: f64 = 5.0;

/// How far present labels stand above absent ones: `Σ_{p∈Y, q∉Y} exp(-5 (s_p - s_q)) / (|Y| |Ȳ|)`, for scores in [0, 1].
///
/// 0 for an instance that has no label, or all of them. The sum over pairs is a product of two sums over labels.
///
/// Shapes: `scores`, `targets` `[.., labels]` with `D` dimensions → `[.., 1]`.
/// Source: Zhang and Zhou 2006 (BP-MLL); Yeh et al., AAAI 2017, eq. 4, with the factor 5 of its authors' code.
pub fn pair_ranking<const D: usize>(scores: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
    let last = D - 1;
    let absent = targets.clone().neg().add_scalar(1.0);
    let pairs = targets.clone().sum_dim(last) * absent.clone().sum_dim(last);
    let below = (scores.clone().mul_scalar(-SLOPE).exp() * targets).sum_dim(last);
    let above = (scores.mul_scalar(SLOPE).exp() * absent).sum_dim(last);
    // Without a pair one of the sums is 0 already.
    below * above / pairs.clamp_min(1.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    #[test]
    fn an_instance_without_pairs_has_no_loss_and_no_gradient() {
        let device = Device::flex().autodiff();
        let scores = Tensor::<2>::from_floats([[0.2, 0.9], [0.3, 0.1], [0.5, 0.6]], &device).require_grad();
        let targets =
            Tensor::<2>::from_floats([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]], &device.clone().without_autodiff());
        let loss = pair_ranking(scores.clone(), targets);
        let values: Vec<f32> = loss.clone().inner().into_data().try_into_vec().unwrap();
        assert_eq!(values[..2], [0.0, 0.0]);
        assert!((values[2] - (0.5f32).exp()).abs() < 1e-6, "{values:?}");
        let gradients = loss.sum().backward();
        let found: Vec<f32> = scores.grad(&gradients).unwrap().into_data().try_into_vec().unwrap();
        assert_eq!(found[..4], [0.0; 4]);
        assert!(found[4] < 0.0 && found[5] > 0.0);
    }
}
