//! Losses on GPUs: values and the gradient by the logits in one kernel.
//!
//! Each loss describes itself beside its composed form, which is the reference in the tests; the kernels are those of
//! [`kernels::loss`].

use burn::tensor::{Device, Tensor};
use kernels::loss::{LossAndGradient, RowForm, RowLoss, Temperatures, two_way_loss};

use crate::{Fused, Loss, LossValues};

/// What a kernel has to know of a loss.
#[derive(Debug, Clone, PartialEq)]
pub enum LossForm {
    /// Instance by instance.
    Rows(RowForm),
    /// Along instances and along labels.
    TwoWay(Temperatures),
}

/// A loss with a kernel, ready on a GPU.
#[derive(Debug, Clone)]
pub struct DeviceLoss {
    kernel: Kernel,
    /// Names of the parts.
    names: &'static [&'static str],
    labels: usize,
}

#[derive(Debug, Clone)]
enum Kernel {
    Rows(Box<RowLoss>),
    TwoWay(Temperatures),
}

impl DeviceLoss {
    /// Of a loss over so many labels; none where the loss has no kernel, or the device runs none.
    pub fn new(loss: &dyn Loss, labels: usize, device: &Device) -> Option<Self> {
        if host::is_host(device) {
            return None;
        }
        let names = match loss.fused()? {
            Fused::Rows(rows) => rows.parts(),
            Fused::Batch(batch) => batch.parts(),
        };
        let kernel = match loss.form(labels)? {
            LossForm::Rows(form) => Kernel::Rows(Box::new(RowLoss::new(&form, labels, device))),
            LossForm::TwoWay(temperatures) => Kernel::TwoWay(temperatures),
        };
        Some(Self { kernel, names, labels })
    }

    /// The values of a batch as parts of whole instances, and `scale` times `∂(Σ_i L_i)/∂z`, `[batch, labels]`; autodiff
    /// tracks neither.
    ///
    /// `sample`: the labels that take part, ascending, and the weight of each one's part; none: all, each 1.
    ///
    /// Shapes: `logits`, `targets` `[batch, labels]`; targets are 0 or 1.
    pub fn run(
        &self,
        logits: Tensor<2>,
        targets: Tensor<2>,
        sample: Option<(&[u32], &[f32])>,
        scale: f32,
    ) -> (LossValues, Tensor<2>) {
        let (logits, targets) = (host::plain(logits), host::plain(targets));
        let device = logits.device();
        let LossAndGradient { parts, gradient } = match (&self.kernel, sample) {
            (Kernel::TwoWay(temperatures), _) => two_way_loss(logits, targets, *temperatures, scale),
            (Kernel::Rows(rows), None) => rows.run(logits, targets, scale),
            (Kernel::Rows(rows), Some((columns, weights))) => {
                let columns = host::integers(columns, &device);
                rows.among(columns, Tensor::from_floats(weights, &device)).run(logits, targets, scale)
            }
        };
        let [batch, _] = parts.dims();
        let part =
            |(p, name): (usize, &&'static str)| (*name, parts.clone().slice([0..batch, p..p + 1]).squeeze_dim::<1>(1));
        let instance = match self.names {
            [name] => vec![(*name, parts.reshape([batch]))],
            names => names.iter().enumerate().map(part).collect(),
        };
        (LossValues::of_instances(instance, self.labels), gradient)
    }
}
