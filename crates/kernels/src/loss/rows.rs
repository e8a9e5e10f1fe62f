//! Losses of instances that do not depend on each other: one workgroup an instance.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, backend_extension};
use burn::tensor::{Device, Int, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::CubeDim;

use super::form::{Shape, row};
use super::{LossAndGradient, RowForm};
use crate::{groups, units_for, unwritten};

/// What a kernel is told beside tensors.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    shape: Shape,
    parts: usize,
    /// Factor on the gradient.
    scale: f32,
}

/// The operation, as Burn dispatches it.
#[backend_extension(Cube, Fusion)]
pub trait RowLossKernel: burn::backend::Backend {
    #[fusion(meta = |logits, _targets, _numbers, _by_label, told| (
        burn::backend::fusion::custom::TensorSpec::new(vec![logits.shape[0], told.parts].into(), logits.dtype),
        logits.clone(),
    ))]
    fn row_loss(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        by_label: FloatTensor<Self>,
        told: Told,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl RowLossKernel for CubeBackend {
    fn row_loss(
        logits: CubeTensor,
        targets: CubeTensor,
        numbers: CubeTensor,
        by_label: CubeTensor,
        told: Told,
    ) -> (CubeTensor, CubeTensor) {
        let [logits, targets, numbers, by_label] = [logits, targets, numbers, by_label].map(into_contiguous);
        let (batch, labels) = (logits.meta.shape()[0], logits.meta.shape()[1]);
        let made = |width: usize| unwritten(&logits, vec![batch, width].into(), logits.dtype);
        let (parts, gradient) = (made(told.parts), made(labels));
        let units = units_for(labels);
        kernel::row_loss::launch(
            &gradient.client,
            groups(batch),
            CubeDim::new_1d(units as u32),
            logits.into_tensor_arg(),
            targets.into_tensor_arg(),
            numbers.into_tensor_arg(),
            by_label.into_tensor_arg(),
            parts.clone().into_tensor_arg(),
            gradient.clone().into_tensor_arg(),
            told.scale,
            told.shape,
            units,
        );
        (parts, gradient)
    }
}

/// A loss of a certain form, ready on a GPU.
#[derive(Debug, Clone)]
pub struct RowLoss {
    told: Told,
    numbers: Tensor<1>,
    /// `[rows, labels]`.
    by_label: Tensor<2>,
}

impl RowLoss {
    /// Brings the numbers of a form to the device.
    pub fn new(form: &RowForm, labels: usize, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let tensor = |values: &[f32]| Tensor::<1>::from_floats(values, &device);
        let (numbers, by_label) =
            (tensor(&form.numbers()), tensor(&form.by_label(labels)).reshape([row::COUNT, labels]));
        Self { told: Told { shape: form.shape(), parts: form.parts(), scale: 1.0 }, numbers, by_label }
    }

    /// The same over some of the labels, each part times a weight.
    ///
    /// Shapes: `columns`, `weights` `[some]`.
    pub fn among(&self, columns: Tensor<1, Int>, weights: Tensor<1>) -> Self {
        let by_label = self.by_label.clone().select(1, columns);
        let [rows, labels] = by_label.dims();
        let weighed = by_label.clone().slice([0..row::BALANCE, 0..labels]) * weights.unsqueeze();
        let rest = by_label.slice([row::BALANCE..rows, 0..labels]);
        let shape = Shape { weighed: true, ..self.told.shape };
        Self {
            told: Told { shape, ..self.told },
            numbers: self.numbers.clone(),
            by_label: Tensor::cat(vec![weighed, rest], 0),
        }
    }

    /// Values of a batch, and `scale` times its gradient; 32-bit floats.
    ///
    /// Shapes: `logits`, `targets` `[batch, labels]`; targets are 0 or 1.
    ///
    /// # Panics
    /// On a backend without kernels.
    pub fn run(&self, logits: Tensor<2>, targets: Tensor<2>, scale: f32) -> LossAndGradient {
        let (parts, gradient) = Dispatch::row_loss(
            logits.into_dispatch(),
            targets.into_dispatch(),
            self.numbers.clone().into_dispatch(),
            self.by_label.clone().into_dispatch(),
            Told { scale, ..self.told },
        );
        LossAndGradient { parts: Tensor::from_dispatch(parts), gradient: Tensor::from_dispatch(gradient) }
    }
}

/// What runs on the device: the language of kernels has a `Tensor` of its own.
mod kernel {
    use cubecl::prelude::*;

    use super::super::form::{Kind, Shape, at, row};
    use super::super::pieces::{LogSums, Value, focused, log_sums, neg_ln_1m, softplus, sum_of_units};

    /// What the labels of an instance share; 0 where a form does not ask for it.
    #[derive(CubeType, Clone, Copy)]
    struct Together {
        /// Present labels.
        count: f32,
        /// Sum of all logits.
        all: f32,
        /// Sum of the logits of present labels.
        own: f32,
        /// Sum of `1/n_l` of present labels.
        repeats: f32,
        /// Sum of the instance weights of present labels.
        balance: f32,
    }

    #[cube]
    fn together(
        logits: &Tensor<f32>,
        targets: &Tensor<f32>,
        by_label: &Tensor<f32>,
        first: usize,
        shared: &mut Shared<[f32]>,
        #[comptime] shape: Shape,
        #[comptime] units: usize,
    ) -> Together {
        let labels = logits.shape(1);
        let mut count = 0.0f32.runtime();
        let mut all = 0.0f32.runtime();
        let mut own = 0.0f32.runtime();
        let mut repeats = 0.0f32.runtime();
        let mut balance = 0.0f32.runtime();
        let mut l = UNIT_POS as usize;
        while l < labels {
            let y = targets[first + l];
            count += y;
            if comptime!(shape.presence) {
                all += logits[first + l];
                own += y * logits[first + l];
            }
            if comptime!(shape.kind == Kind::Balanced) {
                repeats += y * by_label[row::INVERSE * labels + l];
            }
            if comptime!(shape.balance) {
                balance += y * by_label[row::BALANCE * labels + l];
            }
            l += units;
        }
        count = sum_of_units(count, shared, units);
        if comptime!(shape.presence) {
            all = sum_of_units(all, shared, units);
            own = sum_of_units(own, shared, units);
        }
        if comptime!(shape.kind == Kind::Balanced) {
            repeats = sum_of_units(repeats, shared, units);
        }
        if comptime!(shape.balance) {
            balance = sum_of_units(balance, shared, units);
        }
        Together { count, all, own, repeats, balance }
    }

    #[cube]
    fn nothing_shared() -> Together {
        let nothing = 0.0f32.runtime();
        Together { count: nothing, all: nothing, own: nothing, repeats: nothing, balance: nothing }
    }

    #[cube]
    fn no_ranking() -> LogSums {
        let nothing = 0.0f32.runtime();
        LogSums { top_present: nothing, sum_present: nothing, top_absent: nothing, sum_absent: nothing }
    }

    /// Of `log(1 + Σ_present e^{-z})` and `log(1 + Σ_absent e^z)`.
    #[cube]
    fn ranking(
        logits: &Tensor<f32>,
        targets: &Tensor<f32>,
        first: usize,
        shared: &mut Shared<[f32]>,
        #[comptime] units: usize,
    ) -> LogSums {
        let one = 1.0f32.runtime();
        let sums = log_sums(logits, targets, first, one, one, 0.0f32.runtime(), shared, units);
        LogSums {
            top_present: sums.top_present,
            sum_present: sums.sum_present + f32::exp(-sums.top_present),
            top_absent: sums.top_absent,
            sum_absent: sums.sum_absent + f32::exp(-sums.top_absent),
        }
    }

    /// The weight of an instance.
    #[cube]
    fn weight_of(together: &Together, numbers: &Tensor<f32>, #[comptime] shape: Shape) -> f32 {
        if comptime!(!shape.balance) {
            1.0f32.runtime()
        } else if comptime!(shape.mean) {
            let mean = together.balance / max(together.count, 1.0f32);
            select(together.count > 0.5f32, mean, numbers[at::NEGATIVE])
        } else {
            select(together.count > 0.5f32, together.balance, numbers[at::NEGATIVE])
        }
    }

    /// Presence: its value, and what it adds to the slope of a present and of an absent label.
    #[derive(CubeType, Clone, Copy)]
    struct PresencePart {
        value: f32,
        present: f32,
        absent: f32,
    }

    #[cube]
    fn no_presence() -> PresencePart {
        let nothing = 0.0f32.runtime();
        PresencePart { value: nothing, present: nothing, absent: nothing }
    }

    #[cube]
    fn presence(together: &Together, numbers: &Tensor<f32>, labels: usize, weight: f32) -> PresencePart {
        let is_negative = together.count < 0.5f32;
        let absent = select(is_negative, 1.0f32.runtime(), numbers[at::PRESENCE_LAMBDA]);
        // The truth is "there is none" where the instance is negative.
        let truth = select(is_negative, 1.0f32.runtime(), (-1.0f32).runtime());
        let total = together.count * (1.0f32 - absent) + absent * f32::cast_from(labels);
        let z = (together.own * (1.0f32 - absent) + absent * together.all) / total;
        let factor = numbers[at::PRESENCE_ALPHA] * weight;
        let found = focused(truth * z, numbers[at::PRESENCE_GAMMA], 1.0f32);
        let present = truth * found.slope * factor / total;
        PresencePart { value: found.value * factor, present, absent: present * absent }
    }

    /// Loss of an absent label with a margin of probability, and its derivative by the logit.
    #[cube]
    fn clipped(z: f32, gamma: f32, through: f32, clip: f32) -> Value {
        let q = softplus(z).slope;
        let inside = select(q > clip, 1.0f32.runtime(), 0.0f32.runtime());
        let excess = max(q - clip, 1e-30f32);
        let factor = inside * f32::exp(gamma * f32::ln(excess));
        let plain = neg_ln_1m(excess);
        let slope = factor / (1.0f32 - excess) + through * plain * gamma * factor / excess;
        Value { value: factor * plain, slope: slope * q * (1.0f32 - q) }
    }

    /// Loss of label `l`, its own weights applied, and its derivative by the logit.
    #[cube]
    fn label(
        z: f32,
        is_present: bool,
        l: usize,
        labels: usize,
        repeats: f32,
        numbers: &Tensor<f32>,
        by_label: &Tensor<f32>,
        #[comptime] shape: Shape,
    ) -> Value {
        let mut u = select(is_present, -z, z);
        let mut lambda = 1.0f32.runtime();
        let mut part = 1.0f32.runtime();
        if comptime!(shape.kind == Kind::Balanced) {
            let bias = by_label[row::BIAS * labels + l];
            lambda = select(is_present, lambda, numbers[at::LAMBDA]);
            u = select(is_present, bias - z, lambda * (z - bias));
            let ratio = min(by_label[row::INVERSE * labels + l] / max(repeats, 1e-20f32), 1e6f32);
            part = numbers[at::ALPHA] + softplus((ratio - numbers[at::MU]) * numbers[at::BETA]).slope;
        }
        if comptime!(shape.weighed) {
            part *= select(is_present, by_label[row::PRESENT * labels + l], by_label[row::ABSENT * labels + l]);
        }
        let gamma = select(is_present, numbers[at::GAMMA_PRESENT], numbers[at::GAMMA_ABSENT]);
        let found = focused(u, gamma, numbers[at::THROUGH]);
        let mut value = found.value / lambda;
        let mut slope = select(is_present, -found.slope, found.slope);
        if comptime!(shape.kind == Kind::Clipped) {
            let absent = clipped(z, gamma, numbers[at::THROUGH], numbers[at::CLIP]);
            value = select(is_present, value, absent.value);
            slope = select(is_present, slope, absent.slope);
        }
        Value { value: value * part, slope: slope * part }
    }

    /// How far a distance falls short of the margin, and its derivative.
    #[cube]
    fn margin(z: f32, is_present: bool, numbers: &Tensor<f32>, #[comptime] shape: Shape) -> Value {
        let right = 1.0f32.runtime();
        let mut side = select(is_present, right, -right);
        if comptime!(shape.band) {
            side = select(z > 0.0f32, right, select(z < 0.0f32, -right, 0.0f32.runtime()));
        }
        let short = numbers[at::DELTA] - side * z;
        let inside = select(short > 0.0f32, numbers[at::MARGIN], 0.0f32.runtime());
        Value { value: short * inside, slope: -side * inside }
    }

    /// One workgroup an instance: what its labels share first, then each label's value and slope.
    #[cube(launch)]
    pub(super) fn row_loss(
        logits: &Tensor<f32>,
        targets: &Tensor<f32>,
        numbers: &Tensor<f32>,
        by_label: &Tensor<f32>,
        parts: &mut Tensor<f32>,
        gradient: &mut Tensor<f32>,
        scale: f32,
        #[comptime] shape: Shape,
        #[comptime] units: usize,
    ) {
        let instance = CUBE_POS;
        let labels = logits.shape(1);
        if instance >= logits.shape(0) {
            terminate!();
        }
        let first = instance * labels;
        let mut shared = Shared::<[f32]>::new_slice(units);
        let shares = if comptime!(shape.presence || shape.balance || shape.kind == Kind::Balanced) {
            together(logits, targets, by_label, first, &mut shared, shape, units)
        } else {
            nothing_shared()
        };
        let weight = weight_of(&shares, numbers, shape);
        let any = if comptime!(shape.presence) { presence(&shares, numbers, labels, weight) } else { no_presence() };
        let ranks = if comptime!(shape.kind == Kind::Ranking) {
            ranking(logits, targets, first, &mut shared, units)
        } else {
            no_ranking()
        };

        let mut sum = 0.0f32.runtime();
        let mut margins = 0.0f32.runtime();
        let mut l = UNIT_POS as usize;
        while l < labels {
            let z = logits[first + l];
            let is_present = targets[first + l] > 0.5f32;
            let mut slope = select(is_present, any.present, any.absent);
            if comptime!(shape.kind == Kind::Ranking) {
                let present = -f32::exp(-z - ranks.top_present) / ranks.sum_present;
                let absent = f32::exp(z - ranks.top_absent) / ranks.sum_absent;
                slope += weight * select(is_present, present, absent);
            } else {
                let found = label(z, is_present, l, labels, shares.repeats, numbers, by_label, shape);
                sum += found.value;
                slope += weight * found.slope;
            }
            if comptime!(shape.margin) {
                let found = margin(z, is_present, numbers, shape);
                margins += found.value;
                slope += found.slope;
            }
            gradient[first + l] = slope * scale;
            l += units;
        }
        sum = sum_of_units(sum, &mut shared, units);
        if comptime!(shape.kind == Kind::Ranking) {
            sum = ranks.top_present + f32::ln(ranks.sum_present) + ranks.top_absent + f32::ln(ranks.sum_absent);
        }
        if comptime!(shape.margin) {
            margins = sum_of_units(margins, &mut shared, units);
        }
        if UNIT_POS == 0 {
            let width = parts.shape(1);
            parts[instance * width] = sum * weight;
            if comptime!(shape.presence) {
                parts[instance * width + 1] = any.value;
            }
            if comptime!(shape.margin) {
                parts[instance * width + width - 1] = margins;
            }
        }
    }
}
