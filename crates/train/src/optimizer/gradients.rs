//! The gradients of one step, by parameter: what autodiff returns, and the row gradients of the pass's tape.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients as AutodiffGradients, Tensor};
use model::layers::rows::{RowGradient, row_gradient, row_gradient_on_device};
use model::{ColumnGradient, HostGradient, RowTap};

use crate::learner::Learner;

/// The gradient of one parameter.
#[derive(Debug)]
pub enum Gradient {
    /// All values, on the host.
    Host(Vec<f32>),
    /// Only some rows differ from 0, on the host.
    Rows(RowGradient),
    /// Only some columns differ from 0, on the host.
    Columns(ColumnGradient),
    /// All values, flat, on the device.
    Device(Tensor<1>),
    /// Only some rows differ from 0, on the device.
    DeviceRows {
        /// Which, ascending.
        rows: Vec<u32>,
        /// `[rows, width]`.
        values: Tensor<2>,
    },
}

impl From<HostGradient> for Gradient {
    fn from(gradient: HostGradient) -> Self {
        match gradient {
            HostGradient::Dense(values) => Self::Host(values),
            HostGradient::Rows(rows) => Self::Rows(rows),
            HostGradient::Columns(columns) => Self::Columns(columns),
        }
    }
}

impl Gradient {
    fn squared_norm(&self) -> f64 {
        let sum = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum();
        match self {
            Self::Host(values) => sum(values),
            Self::Rows(rows) => sum(&rows.values),
            Self::Columns(columns) => sum(&columns.values),
            Self::Device(tensor) => device_norm(tensor.clone()),
            Self::DeviceRows { values, .. } => device_norm(values.clone()),
        }
    }

    fn scale(&mut self, factor: f64) {
        match self {
            Self::Host(values) => values.iter_mut().for_each(|v| *v *= factor as f32),
            Self::Rows(rows) => rows.values.iter_mut().for_each(|v| *v *= factor as f32),
            Self::Columns(columns) => columns.values.iter_mut().for_each(|v| *v *= factor as f32),
            Self::Device(tensor) => *tensor = tensor.clone().mul_scalar(factor),
            Self::DeviceRows { values, .. } => *values = values.clone().mul_scalar(factor),
        }
    }
}

/// Sum of squares of a tensor on a device.
fn device_norm<const D: usize>(tensor: Tensor<D>) -> f64 {
    f64::from(host::HostView::of(&(tensor.clone() * tensor).sum()).as_slice()[0])
}

/// Gradients of one step.
#[derive(Debug, Default)]
pub struct Gradients {
    by_parameter: HashMap<ParamId, Gradient>,
    /// Memory of gradients that were applied.
    spent: Vec<Vec<f32>>,
}

impl Gradients {
    /// Gathers what `backward` returned for the parameters of `learner`, and what the tape implies.
    pub fn gather(&mut self, learner: &Learner, mut gradients: AutodiffGradients, tape: Vec<RowTap>) {
        let mut by_parameter = std::mem::take(&mut self.by_parameter);
        for tap in tape {
            match tap {
                RowTap::Sum { parameter, rows, output } => {
                    let Some(gradient) = output.grad_remove(&mut gradients) else { continue };
                    if !host::is_host(&gradient.device()) {
                        let (rows, values) = row_gradient_on_device(&rows, host::plain(gradient));
                        by_parameter.insert(parameter, Gradient::DeviceRows { rows, values });
                        continue;
                    }
                    let view = host::HostView::of(&gradient);
                    let rows = row_gradient(&rows, view.as_slice(), output.dims()[1], Vec::new());
                    by_parameter.insert(parameter, Gradient::Rows(rows));
                }
                RowTap::Selected { parameter, rows, copies } => {
                    let Some(gradient) = copies.grad_remove(&mut gradients) else { continue };
                    by_parameter.insert(parameter, Gradient::DeviceRows { rows, values: host::plain(gradient) });
                }
            }
        }
        let mut gather = Gather { gradients, out: by_parameter };
        learner.model.visit(&mut gather);
        if let Some(thresholds) = &learner.thresholds {
            thresholds.visit(&mut gather);
        }
        self.by_parameter = gather.out;
    }

    /// What `backward` returned for the thresholds learnt with the model, and nothing of the model.
    pub fn of_thresholds(learner: &Learner, gradients: AutodiffGradients) -> Self {
        let mut gather = Gather { gradients, out: HashMap::new() };
        if let Some(thresholds) = &learner.thresholds {
            thresholds.visit(&mut gather);
        }
        Self { by_parameter: gather.out, spent: Vec::new() }
    }

    /// Adds the gradient of one parameter.
    pub fn insert(&mut self, parameter: ParamId, gradient: Gradient) {
        self.by_parameter.insert(parameter, gradient);
    }

    /// Keeps the memory of a gradient that was applied.
    pub(super) fn spend(&mut self, gradient: Gradient) {
        match gradient {
            Gradient::Host(values) => self.spent.push(values),
            Gradient::Rows(rows) => self.spent.push(rows.values),
            Gradient::Columns(columns) => self.spent.push(columns.values),
            Gradient::Device(_) | Gradient::DeviceRows { .. } => {}
        }
    }

    /// The memory of the gradients that were applied.
    pub fn into_spent(self) -> impl Iterator<Item = Vec<f32>> {
        self.spent.into_iter()
    }

    /// Multiplies all gradients.
    pub fn scale(&mut self, factor: f64) {
        self.by_parameter.values_mut().for_each(|g| g.scale(factor));
    }

    /// Scales all gradients so that their joint Euclidean norm is at most `limit`.
    pub fn clip(&mut self, limit: f64) {
        // Sums run in a fixed order: the same numbers every time.
        let mut ids: Vec<&ParamId> = self.by_parameter.keys().collect();
        ids.sort_unstable_by_key(|id| id.val());
        let norm = ids.iter().map(|id| self.by_parameter[id].squared_norm()).sum::<f64>().sqrt();
        if norm > limit {
            self.scale(limit / norm);
        }
    }

    pub(super) fn take(&mut self, parameter: ParamId) -> Option<Gradient> {
        self.by_parameter.remove(&parameter)
    }
}

struct Gather {
    gradients: AutodiffGradients,
    out: HashMap<ParamId, Gradient>,
}

impl ModuleVisitor for Gather {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(&mut self.gradients) else { return };
        let gradient = host::plain(gradient);
        let flat = match host::is_host(&gradient.device()) {
            true => Gradient::Host(gradient.into_data().try_into_vec().unwrap_or_default()),
            false => {
                let count: usize = gradient.dims().iter().product();
                Gradient::Device(gradient.reshape([count]))
            }
        };
        self.out.insert(param.id, flat);
    }
}
