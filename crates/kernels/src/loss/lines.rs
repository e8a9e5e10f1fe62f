//! The two-way loss: every label along its instances, every instance along its labels.
//!
//! Each line of either kind sums up in a kernel of its own; the gradient of a logit follows from its two lines.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::CubeDim;

use super::LossAndGradient;
use crate::{a_unit_each, groups, unwritten};

/// Units of a workgroup.
const UNITS: usize = 256;
/// Numbers of a line: its value, `top` and factor of absent entries, `top` and factor of present ones, and 1 where it
/// has a present entry. The gradient of an entry is `factor · e^{u - top}`.
const NUMBERS: usize = 6;

/// Temperatures of the two-way loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperatures {
    /// Of present entries, above 0.
    pub present: f32,
    /// Of absent entries, above 0.
    pub absent: f32,
}

/// The operations, as Burn dispatches them.
#[backend_extension(Cube, Fusion)]
pub trait LinesKernel: burn::backend::Backend {
    #[fusion(dtype = logits, shape = Shape::from(vec![logits[usize::from(!*by_instance)], NUMBERS]))]
    fn lines(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        temperatures: Temperatures,
        by_instance: bool,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = logits, shape = logits)]
    fn gradient_of_lines(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        instances: FloatTensor<Self>,
        labels: FloatTensor<Self>,
        factors: FloatTensor<Self>,
        temperatures: Temperatures,
        scale: f32,
    ) -> FloatTensor<Self>;
}

impl LinesKernel for CubeBackend {
    fn lines(logits: CubeTensor, targets: CubeTensor, told: Temperatures, by_instance: bool) -> CubeTensor {
        let [logits, targets] = [logits, targets].map(into_contiguous);
        let count = logits.meta.shape()[usize::from(!by_instance)];
        let output = unwritten(&logits, vec![count, NUMBERS].into(), logits.dtype);
        let (client, into) = (output.client.clone(), output.clone().into_tensor_arg());
        let (z, y) = (logits.into_tensor_arg(), targets.into_tensor_arg());
        let units = CubeDim::new_1d(UNITS as u32);
        match by_instance {
            true => {
                kernel::instances::launch(&client, groups(count), units, z, y, into, told.present, told.absent, UNITS)
            }
            false => {
                let (groups, units) = a_unit_each(count);
                kernel::labels::launch(&client, groups, units, z, y, into, told.present, told.absent);
            }
        }
        output
    }

    fn gradient_of_lines(
        logits: CubeTensor,
        targets: CubeTensor,
        instances: CubeTensor,
        labels: CubeTensor,
        factors: CubeTensor,
        told: Temperatures,
        scale: f32,
    ) -> CubeTensor {
        let [logits, targets, instances, labels, factors] =
            [logits, targets, instances, labels, factors].map(into_contiguous);
        let output = unwritten(&logits, logits.meta.shape().clone(), logits.dtype);
        let count = output.meta.shape().num_elements();
        let (groups, units) = a_unit_each(count);
        kernel::gradient::launch(
            &output.client,
            groups,
            units,
            logits.into_tensor_arg(),
            targets.into_tensor_arg(),
            instances.into_tensor_arg(),
            labels.into_tensor_arg(),
            factors.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            told.present,
            told.absent,
            scale,
        );
        output
    }
}

/// Mean over labelled instances of `softplus(T_n log Σ_absent e^{z/T_n} + T_p log Σ_present e^{-z/T_p})`, and the same
/// over the labels seen in the batch: parts `[batch, 2]`, scaled so that their mean over the batch is that loss.
///
/// Shapes: `logits`, `targets` `[batch, labels]`; targets are 0 or 1. 32-bit floats.
/// Source: Kobayashi, "Two-way multi-label loss", CVPR 2023, eq. 8 and 9.
///
/// # Panics
/// On a backend without kernels.
pub fn two_way_loss(logits: Tensor<2>, targets: Tensor<2>, temperatures: Temperatures, scale: f32) -> LossAndGradient {
    let [batch, _] = logits.dims();
    let lines = |by_instance: bool| -> Tensor<2> {
        let (z, y) = (logits.clone().into_dispatch(), targets.clone().into_dispatch());
        Tensor::from_dispatch(Dispatch::lines(z, y, temperatures, by_instance))
    };
    let (instances, labels) = (lines(true), lines(false));
    let column = |lines: &Tensor<2>, c: usize| lines.clone().slice([0..lines.dims()[0], c..c + 1]);
    // Lines with a present entry: both means go over them.
    let factor =
        |lines: &Tensor<2>| column(lines, NUMBERS - 1).sum_dim(0).clamp_min(1.0).recip().mul_scalar(batch as f64);
    let (by_instance, by_label) = (factor(&instances), factor(&labels));
    let own = column(&instances, 0) * by_instance.clone();
    let classes = column(&labels, 0).sum_dim(0) * by_label.clone().div_scalar(batch as f64);
    let parts = Tensor::cat(vec![own, classes.expand([batch, 1])], 1);
    let factors = Tensor::cat(vec![by_instance, by_label], 0);
    let gradient = Dispatch::gradient_of_lines(
        logits.into_dispatch(),
        targets.into_dispatch(),
        instances.into_dispatch(),
        labels.into_dispatch(),
        factors.into_dispatch(),
        temperatures,
        scale,
    );
    LossAndGradient { parts, gradient: Tensor::from_dispatch(gradient) }
}

/// What runs on the device: the language of kernels has a `Tensor` of its own.
mod kernel {
    use cubecl::prelude::*;

    use super::super::pieces::{LogSums, log_sums, softplus};
    use super::NUMBERS;

    /// Stands for minus infinity.
    const NEVER: f32 = -1e30;

    /// The numbers of a line.
    #[cube]
    fn write(line: usize, sums: &LogSums, temperature_present: f32, temperature_absent: f32, out: &mut Tensor<f32>) {
        let nothing = 0.0f32.runtime();
        // A line of one kind alone is silent; its sum of 0 has no logarithm.
        let both = sums.top_absent > NEVER && sums.top_present > NEVER;
        let argument = temperature_present * (sums.top_present + f32::ln(max(sums.sum_present, 1e-37f32)))
            + temperature_absent * (sums.top_absent + f32::ln(max(sums.sum_absent, 1e-37f32)));
        let found = softplus(select(both, argument, nothing));
        let at = line * NUMBERS;
        out[at] = select(both, found.value, nothing);
        out[at + 1] = sums.top_absent;
        out[at + 2] = select(both, found.slope / max(sums.sum_absent, 1e-37f32), nothing);
        out[at + 3] = sums.top_present;
        out[at + 4] = select(both, -found.slope / max(sums.sum_present, 1e-37f32), nothing);
        out[at + 5] = select(sums.top_present > NEVER, 1.0f32.runtime(), nothing);
    }

    /// One workgroup an instance.
    #[cube(launch)]
    pub(super) fn instances(
        logits: &Tensor<f32>,
        targets: &Tensor<f32>,
        out: &mut Tensor<f32>,
        temperature_present: f32,
        temperature_absent: f32,
        #[comptime] units: usize,
    ) {
        let instance = CUBE_POS;
        if instance >= logits.shape(0) {
            terminate!();
        }
        let first = instance * logits.shape(1);
        let mut shared = Shared::<[f32]>::new_slice(units);
        let floor = NEVER.runtime();
        let sums = log_sums(logits, targets, first, temperature_present, temperature_absent, floor, &mut shared, units);
        if UNIT_POS == 0 {
            write(instance, &sums, temperature_present, temperature_absent, out);
        }
    }

    /// One unit a label: neighbours read neighbouring numbers.
    #[cube(launch)]
    pub(super) fn labels(
        logits: &Tensor<f32>,
        targets: &Tensor<f32>,
        out: &mut Tensor<f32>,
        temperature_present: f32,
        temperature_absent: f32,
    ) {
        let label = ABSOLUTE_POS;
        let width = logits.shape(1);
        if label >= width {
            terminate!();
        }
        let batch = logits.shape(0);
        let mut top_present = NEVER.runtime();
        let mut top_absent = NEVER.runtime();
        for i in 0..batch {
            let z = logits[i * width + label];
            if targets[i * width + label] > 0.5f32 {
                top_present = max(top_present, -z / temperature_present);
            } else {
                top_absent = max(top_absent, z / temperature_absent);
            }
        }
        let mut sum_present = 0.0f32.runtime();
        let mut sum_absent = 0.0f32.runtime();
        for i in 0..batch {
            let z = logits[i * width + label];
            if targets[i * width + label] > 0.5f32 {
                sum_present += f32::exp(-z / temperature_present - top_present);
            } else {
                sum_absent += f32::exp(z / temperature_absent - top_absent);
            }
        }
        let sums = LogSums { top_present, sum_present, top_absent, sum_absent };
        write(label, &sums, temperature_present, temperature_absent, out);
    }

    /// One unit a logit.
    #[cube(launch)]
    pub(super) fn gradient(
        logits: &Tensor<f32>,
        targets: &Tensor<f32>,
        instances: &Tensor<f32>,
        labels: &Tensor<f32>,
        factors: &Tensor<f32>,
        out: &mut Tensor<f32>,
        temperature_present: f32,
        temperature_absent: f32,
        scale: f32,
    ) {
        let at = ABSOLUTE_POS;
        let width = logits.shape(1);
        if at >= logits.shape(0) * width {
            terminate!();
        }
        let mut instance = at / width * NUMBERS + 1;
        let mut label = at % width * NUMBERS + 1;
        let mut u = logits[at] / temperature_absent;
        if targets[at] > 0.5 {
            u = -logits[at] / temperature_present;
            instance += 2;
            label += 2;
        }
        let by_instance = f32::exp(u - instances[instance]) * instances[instance + 1];
        let by_label = f32::exp(u - labels[label]) * labels[label + 1];
        out[at] = scale * (by_instance * factors[0] + by_label * factors[1]);
    }
}
