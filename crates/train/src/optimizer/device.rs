//! Updates on a device that is not the host.

use ::host::integers;
use burn::tensor::{IndexingUpdateOp, Tensor};
use kernels::adam::{AdamStep, Moments, OtherRows};

use super::{Gradient, Optimizer, OptimizerConfig, Rows};
use crate::step::Kernels;

/// A parameter and the rule's arrays of it.
type Updated<const D: usize> = (Tensor<D>, Vec<Tensor<1>>);

impl Optimizer {
    /// Updates values by a gradient that is on the device, by a kernel where the rule has one.
    pub(super) fn update_device<const D: usize>(
        &self,
        learning_rate: f64,
        values: Tensor<D>,
        gradient: Gradient,
        slots: Vec<Tensor<1>>,
    ) -> Updated<D> {
        let is_host = ::host::is_host(&values.device());
        match (self.kernel_step(learning_rate).filter(|_| !is_host), gradient) {
            (Some(step), Gradient::Device(gradient)) => by_kernel(values, slots, |m| m.update(gradient, step)),
            (Some(step), Gradient::DeviceRows { rows, values: gradient }) if !rows.is_empty() => {
                let rows = integers(&rows, &gradient.device());
                let others = if self.config.rows() == Rows::Lazy { OtherRows::Stay } else { OtherRows::MoveOn };
                by_kernel(values, slots, |m| m.update_rows(rows, gradient, step, others))
            }
            (Some(_), gradient @ Gradient::DeviceRows { .. }) => {
                self.update_composed(learning_rate, values, gradient, slots)
            }
            (None, gradient) => self.update_composed(learning_rate, values, gradient, slots),
            (Some(_), _) => (values, slots),
        }
    }

    /// The numbers of the step, where there is a kernel for it.
    fn kernel_step(&self, learning_rate: f64) -> Option<AdamStep> {
        let step = match &self.config {
            OptimizerConfig::Adam(c) => c.at(learning_rate, self.steps, false),
            OptimizerConfig::AdamW(c) => c.at(learning_rate, self.steps, true),
            OptimizerConfig::Sgd(_) | OptimizerConfig::Adagrad(_) => return None,
        };
        (self.kernels == Kernels::Fused).then(|| step.for_kernel())
    }

    /// The same by tensor operations.
    pub(super) fn update_composed<const D: usize>(
        &self,
        learning_rate: f64,
        values: Tensor<D>,
        gradient: Gradient,
        mut slots: Vec<Tensor<1>>,
    ) -> Updated<D> {
        let shape = values.dims();
        let count = shape.iter().product();
        let flat: Tensor<1> = values.reshape([count]);
        let new = match gradient {
            Gradient::Device(gradient) => self.rule(learning_rate, flat, gradient, &mut slots),
            Gradient::DeviceRows { rows, values: gradient } if self.config.rows() == Rows::Exact => {
                self.rule(learning_rate, flat, spread(&rows, gradient, count), &mut slots)
            }
            Gradient::DeviceRows { rows, values: gradient } => {
                self.rows_composed(learning_rate, flat, (&rows, gradient), &mut slots)
            }
            Gradient::Host(_) | Gradient::Rows(_) | Gradient::Columns(_) => flat,
        };
        (new.reshape(shape), slots)
    }

    fn rule(&self, learning_rate: f64, values: Tensor<1>, gradient: Tensor<1>, slots: &mut [Tensor<1>]) -> Tensor<1> {
        match &self.config {
            OptimizerConfig::Adam(c) => c.at(learning_rate, self.steps, false).update_device(values, gradient, slots),
            OptimizerConfig::AdamW(c) => c.at(learning_rate, self.steps, true).update_device(values, gradient, slots),
            OptimizerConfig::Sgd(c) => c.at(learning_rate).update_device(values, gradient, slots),
            OptimizerConfig::Adagrad(c) => c.at(learning_rate).update_device(values, gradient, slots),
        }
    }

    /// Copies of the named rows are updated and put back.
    fn rows_composed(
        &self,
        learning_rate: f64,
        values: Tensor<1>,
        (rows, gradient): (&[u32], Tensor<2>),
        slots: &mut [Tensor<1>],
    ) -> Tensor<1> {
        let ([count], [named, width]) = (values.dims(), gradient.dims());
        if named == 0 {
            return values;
        }
        let indices = integers(rows, &values.device());
        let matrix = |flat: Tensor<1>| flat.reshape([count / width, width]);
        let add = |to: Tensor<2>, rows: Tensor<2>| {
            to.select_assign(0, indices.clone(), rows, IndexingUpdateOp::Add).reshape([count])
        };
        let take = |flat: &Tensor<1>| matrix(flat.clone()).select(0, indices.clone()).reshape([named * width]);
        let mut own: Vec<Tensor<1>> = slots.iter().map(take).collect();
        let before: Vec<Tensor<1>> = own.clone();
        let old = take(&values);
        let new = self.rule(learning_rate, old.clone(), gradient.reshape([named * width]), &mut own);
        for ((slot, own), before) in slots.iter_mut().zip(own).zip(before) {
            *slot = add(matrix(slot.clone()), (own - before).reshape([named, width]));
        }
        add(matrix(values), (new - old).reshape([named, width]))
    }
}

/// An update of a parameter with two moments.
fn by_kernel<const D: usize>(
    values: Tensor<D>,
    slots: Vec<Tensor<1>>,
    update: impl FnOnce(Moments<D>) -> Moments<D>,
) -> Updated<D> {
    let Ok([first, second]) = <[Tensor<1>; 2]>::try_from(slots) else { return (values, Vec::new()) };
    let Moments { values, first, second } = update(Moments { values, first, second });
    (values, vec![first, second])
}

/// The gradient of all of `count` values, flat.
fn spread(rows: &[u32], gradient: Tensor<2>, count: usize) -> Tensor<1> {
    let [_, width] = gradient.dims();
    let zeros = Tensor::<2>::zeros([count / width.max(1), width], &gradient.device());
    if rows.is_empty() {
        return zeros.reshape([count]);
    }
    let indices = integers(rows, &gradient.device());
    zeros.select_assign(0, indices, gradient, IndexingUpdateOp::Add).reshape([count])
}
