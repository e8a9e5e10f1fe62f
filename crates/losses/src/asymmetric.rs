//! Asymmetric loss: negatives are focused harder than positives, and the easiest of them are left out.

use burn::tensor::{Device, Tensor, activation::log_sigmoid, activation::relu, activation::sigmoid};
use serde::{Deserialize, Serialize};

use host::simd::{neg_ln_1m, softplus_and_sigmoid};
use kernels::loss::{LabelForm, RowForm};

use crate::fused::{ANY, Element, Fused, Row, RowLoss, elements, focused, power as powered};
use crate::logits::{by_rows, power, with_gradient};
use crate::{Loss, LossError, LossForm, LossValues};

/// Settings of [`Asymmetric`] and of [`asymmetric`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AsymmetricConfig {
    /// γ+, at least 0: focusing of positives (the paper also uses 0).
    pub gamma_pos: f64,
    /// γ-, at least 0: focusing of negatives.
    pub gamma_neg: f64,
    /// Probability margin in [0, 1): negatives below it cost nothing.
    pub clip: f64,
    /// No gradient through the focusing factor, as in the authors' code.
    pub detach_focusing: bool,
}

impl Default for AsymmetricConfig {
    fn default() -> Self {
        Self { gamma_pos: 1.0, gamma_neg: 4.0, clip: 0.05, detach_focusing: true }
    }
}

/// `-(1-p_t)^{γ+ y + γ- (1-y)} · [y log p + (1-y) log p_m]` with `p_m = min(1, 1 - p + clip)` and
/// `p_t = p y + p_m (1-y)`.
///
/// Positives are computed as `-σ(-z)^{γ+} log σ(z)`. Targets must be 0 or 1. Finite, with finite gradients, for every
/// finite logit.
///
/// Shapes: `logits`, `targets` `[batch, labels]` → `[batch, labels]`.
/// Source: Ridnik et al. 2021, arXiv 2009.14119, eq. 7.
pub fn asymmetric(logits: Tensor<2>, targets: Tensor<2>, config: &AsymmetricConfig) -> Tensor<2> {
    if config.detach_focusing && config.clip > 0.0 {
        detached(logits, targets, config)
    } else {
        composed(logits, targets, config)
    }
}

/// With the gradient written out: the factor is a constant, and all that remains follows from `q = σ(-u)`.
///
/// Positives: `-log σ(u)`, derivative `-q`. Negatives: `-log p_m`, `p_m = 1 - q + clip`, derivative `-q (1-q) / p_m`
/// where `q > clip` and 0 below. `u = (2y - 1) z`.
fn detached(logits: Tensor<2>, targets: Tensor<2>, config: &AsymmetricConfig) -> Tensor<2> {
    let (values, gradient) = by_rows(host::plain(logits.clone()), targets, |z, targets| {
        let positive = targets.clone().equal_elem(1.0);
        let sign = targets.mul_scalar(2.0).sub_scalar(1.0);
        let u = z * sign.clone();
        let q = sigmoid(u.clone().neg());
        let excess = relu(q.clone().sub_scalar(config.clip));
        // min(1, 1 - q + clip) = 1 - max(0, q - clip).
        let shifted = excess.clone().neg().add_scalar(1.0);
        let values = shifted.clone().log().mask_where(positive.clone(), log_sigmoid(u)).neg();
        let factor = power(excess.clone(), config.gamma_neg);
        let factor = factor.mask_where(positive.clone(), power(q.clone(), config.gamma_pos));
        let inside = excess.greater_elem(0.0).float();
        let slope = (q.clone() * q.clone().neg().add_scalar(1.0) / shifted * inside).mask_where(positive, q).neg();
        (values * factor.clone(), slope * factor * sign)
    });
    with_gradient(values, logits, gradient)
}

/// By autodiff throughout: the reference for [`detached`], and the way for all other settings.
fn composed(logits: Tensor<2>, targets: Tensor<2>, config: &AsymmetricConfig) -> Tensor<2> {
    let positive = targets.equal_elem(1.0);
    let towards = |z: &Tensor<2>| log_sigmoid(z.clone().neg());
    let away = if config.clip == 0.0 {
        towards(&logits).neg()
    } else {
        sigmoid(logits.clone().neg()).add_scalar(config.clip).clamp_max(1.0).log().neg()
    };
    let values = away.mask_where(positive.clone(), log_sigmoid(logits.clone()).neg());
    if config.gamma_pos == 0.0 && config.gamma_neg == 0.0 {
        return values;
    }
    let z = if config.detach_focusing { logits.detach() } else { logits };
    // 1 - p_t of negatives; where it is 0 their loss is 0 too, and the floor keeps the power's gradient finite.
    let excess = if config.clip == 0.0 {
        log_sigmoid(z.clone()).mul_scalar(config.gamma_neg).exp()
    } else {
        relu(sigmoid(z.clone()).sub_scalar(config.clip)).clamp_min(1e-9).powf_scalar(config.gamma_neg)
    };
    let factor = match config.gamma_pos == 0.0 {
        true => excess.mask_fill(positive, 1.0),
        false => excess.mask_where(positive, towards(&z).mul_scalar(config.gamma_pos).exp()),
    };
    values * factor
}

impl AsymmetricConfig {
    /// Makes the loss.
    ///
    /// # Errors
    /// For γ below 0 or `clip` outside [0, 1).
    pub fn init(&self, _device: &Device) -> Result<Asymmetric, LossError> {
        LossError::at_least_0("gamma_pos", self.gamma_pos)?;
        LossError::at_least_0("gamma_neg", self.gamma_neg)?;
        LossError::from_0_below_1("clip", self.clip)?;
        Ok(Asymmetric { config: self.clone() })
    }
}

/// Asymmetric loss.
#[derive(Debug, Clone)]
pub struct Asymmetric {
    config: AsymmetricConfig,
}

impl Loss for Asymmetric {
    fn forward(&self, logits: Tensor<2>, targets: Tensor<2>) -> LossValues {
        LossValues::of_labels(asymmetric(logits, targets, &self.config))
    }

    fn fused(&self) -> Option<Fused<'_>> {
        Some(Fused::Rows(self))
    }

    fn form(&self, _labels: usize) -> Option<LossForm> {
        let c = &self.config;
        let (gamma, clip) = ([c.gamma_pos as f32, c.gamma_neg as f32], c.clip as f32);
        let through = if c.detach_focusing { 0.0 } else { 1.0 };
        let labels = match c.clip == 0.0 {
            true => LabelForm::Focused { gamma, through },
            false => LabelForm::Clipped { gamma, through, clip },
        };
        Some(LossForm::Rows(RowForm::of_labels(labels)))
    }
}

/// The kernel for γ- = G, or any.
struct Kernel<const G: u8> {
    gamma_pos: f32,
    gamma_neg: f32,
    clip: f32,
    /// 1 where the focusing factor has a gradient.
    through: f32,
}

impl<const G: u8> Element for Kernel<G> {
    #[inline(always)]
    fn absent(&self, z: f32) -> (f32, f32) {
        let (_, q) = softplus_and_sigmoid(z);
        let excess = (q - self.clip).max(0.0);
        // ln of what is at least the smallest normal number; where excess is 0 the factor is 0 anyway.
        let floor = excess.max(1e-30);
        let ln = if G == ANY { host::simd::ln(floor) } else { 0.0 };
        let factor = powered::<G>(excess, ln, self.gamma_neg);
        let factor = if G == ANY && excess == 0.0 { 0.0 } else { factor };
        let plain = neg_ln_1m(excess);
        let inside = if excess > 0.0 { q * (1.0 - q) } else { 0.0 };
        let slope = factor / (1.0 - excess) + self.through * plain * self.gamma_neg * factor / floor;
        (factor * plain, slope * inside)
    }

    fn present(&self, z: f32, _label: usize) -> (f32, f32) {
        let (plain, q) = softplus_and_sigmoid(-z);
        let (value, slope) = focused::<ANY>(-z, self.gamma_pos);
        let held = if plain > 0.0 { value / plain * q } else { 0.0 };
        (value, -(held + self.through * (slope - held)))
    }
}

/// The kernel without a margin: `q^γ softplus(z)`, accurate where q is close to 1.
struct Plain<const G: u8> {
    gamma_pos: f32,
    gamma_neg: f32,
    through: f32,
}

impl<const G: u8> Element for Plain<G> {
    #[inline(always)]
    fn absent(&self, z: f32) -> (f32, f32) {
        let (plain, q) = softplus_and_sigmoid(z);
        let factor = powered::<G>(q, z - plain, self.gamma_neg);
        (factor * plain, factor * (q + self.through * self.gamma_neg * (1.0 - q) * plain))
    }

    fn present(&self, z: f32, label: usize) -> (f32, f32) {
        let Self { gamma_pos, gamma_neg, through } = *self;
        Kernel::<ANY> { gamma_pos, gamma_neg, clip: 0.0, through }.present(z, label)
    }
}

impl RowLoss for Asymmetric {
    fn parts(&self) -> &'static [&'static str] {
        &["labels"]
    }

    fn row(&self, row: Row, parts: &mut [f32]) {
        let c = &self.config;
        let (gamma_pos, gamma_neg, clip) = (c.gamma_pos as f32, c.gamma_neg as f32, c.clip as f32);
        let through = if c.detach_focusing { 0.0 } else { 1.0 };
        parts[0] = match (c.clip == 0.0, c.gamma_neg) {
            (true, 4.0) => elements(&Plain::<4> { gamma_pos, gamma_neg, through }, row),
            (true, _) => elements(&Plain::<ANY> { gamma_pos, gamma_neg, through }, row),
            (false, 0.0) => elements(&Kernel::<0> { gamma_pos, gamma_neg, clip, through }, row),
            (false, 4.0) => elements(&Kernel::<4> { gamma_pos, gamma_neg, clip, through }, row),
            (false, _) => elements(&Kernel::<ANY> { gamma_pos, gamma_neg, clip, through }, row),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn the_written_out_gradient_is_autodiffs() {
        let device = Device::flex();
        let values: Vec<f32> = (0..40).map(|i| (i as f32 - 20.0) * 0.6).collect();
        let truth: Vec<f32> = (0..40).map(|i| f32::from(u8::from(i % 3 == 0))).collect();
        let targets = Tensor::<2>::from_data(TensorData::new(truth, [8, 5]), &device);
        for (gamma_pos, gamma_neg) in [(1.0, 4.0), (0.0, 4.0), (0.5, 2.5), (0.0, 0.0)] {
            let config = AsymmetricConfig { gamma_pos, gamma_neg, ..AsymmetricConfig::default() };
            let run = |f: fn(Tensor<2>, Tensor<2>, &AsymmetricConfig) -> Tensor<2>| {
                let data = TensorData::new(values.clone(), [8, 5]);
                let z = Tensor::<2>::from_data(data, &device.clone().autodiff()).require_grad();
                let out = f(z.clone(), targets.clone(), &config);
                let gradient = z.grad(&out.clone().sum().backward()).unwrap();
                let numbers = |t: Tensor<2>| t.into_data().try_into_vec::<f32>().unwrap();
                [numbers(out), numbers(gradient)].concat()
            };
            for (a, b) in run(detached).iter().zip(run(composed)) {
                assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} against {b}");
            }
        }
    }
}
