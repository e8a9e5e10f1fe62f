//! The update rules, one file each, over dense gradients and gradients of touched rows.
//!
//! On CPU backends a parameter is updated in place by one fused, parallel pass; elsewhere by composed tensor
//! operations, which are the reference in the tests.

mod adam;
mod gradients;
mod schedule;
mod sgd;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::learner::Learner;

pub use adam::AdamConfig;
pub use gradients::{Gradient, Gradients};
pub use schedule::{Schedule, ScheduleConfig};
pub use sgd::SgdConfig;

/// Which update rule, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Adam; its weight decay is an L2 term of the gradient.
    Adam(AdamConfig),
    /// Adam with decoupled weight decay.
    #[serde(rename = "adamw")]
    AdamW(AdamConfig),
    /// Stochastic gradient descent with momentum.
    Sgd(SgdConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

impl OptimizerConfig {
    /// The base learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.learning_rate,
            Self::Sgd(c) => c.learning_rate,
        }
    }

    /// Largest Euclidean norm of all gradients together.
    fn clip_norm(&self) -> Option<f64> {
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.clip_norm,
            Self::Sgd(c) => c.clip_norm,
        }
    }

    /// Arrays of state each parameter has.
    fn slots(&self) -> usize {
        match self {
            Self::Adam(_) | Self::AdamW(_) => 2,
            Self::Sgd(c) => usize::from(c.momentum > 0.0),
        }
    }

    /// Ranges.
    pub(crate) fn check(&self) -> Result<(), String> {
        let rate = self.learning_rate();
        in_range("learning_rate", rate, rate > 0.0, "above 0")?;
        if let Some(norm) = self.clip_norm() {
            in_range("clip_norm", norm, norm > 0.0, "above 0")?;
        }
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.check(),
            Self::Sgd(c) => c.check(),
        }
    }
}

/// A number of `[optimizer]` that must be finite and hold to its range.
fn in_range(key: &str, value: f64, holds: bool, range: &str) -> Result<(), String> {
    match holds && value.is_finite() {
        true => Ok(()),
        false => Err(format!("optimizer.{key} = {value} is out of range: {range}")),
    }
}

/// State of one parameter: the rule's arrays, flat.
#[derive(Debug, Clone)]
enum Slots {
    Host(Vec<Vec<f32>>),
    Device(Vec<Tensor<1>>),
}

/// Learning rates of one step.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Of the model.
    pub model: f64,
    /// Of the thresholds learnt with it.
    pub thresholds: f64,
}

/// An update rule with its state.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    steps: u64,
    state: BTreeMap<String, Slots>,
}

/// The optimizer's state by parameter name, for a checkpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimizerState {
    /// Updates done.
    pub steps: u64,
    /// The rule's arrays of each parameter.
    pub slots: BTreeMap<String, Vec<Vec<f32>>>,
}

impl Optimizer {
    /// A fresh optimizer.
    pub fn new(config: OptimizerConfig) -> Self {
        Self { config, steps: 0, state: BTreeMap::new() }
    }

    /// One update of every parameter that has a gradient; the thresholds' may have a learning rate of their own.
    pub fn step(&mut self, rates: Rates, learner: Learner, gradients: &mut Gradients) -> Learner {
        if let Some(limit) = self.config.clip_norm() {
            gradients.clip(limit);
        }
        self.steps += 1;
        let mut step = Step { optimizer: self, learning_rate: rates.model, gradients, path: Vec::new() };
        let model = learner.model.map(&mut step);
        step.learning_rate = rates.thresholds;
        step.path = vec![Learner::THRESHOLDS.to_owned()];
        Learner { model, thresholds: learner.thresholds.map(|t| t.map(&mut step)) }
    }

    /// The state, copied to the host.
    pub fn state(&self) -> OptimizerState {
        let copy = |slots: &Slots| match slots {
            Slots::Host(arrays) => arrays.clone(),
            Slots::Device(tensors) => tensors.iter().map(|t| host::HostView::of(t).as_slice().to_vec()).collect(),
        };
        OptimizerState {
            steps: self.steps,
            slots: self.state.iter().map(|(name, slots)| (name.clone(), copy(slots))).collect(),
        }
    }

    /// Continues from a stored state. Arrays move to the device at the next step.
    pub fn restore(&mut self, state: OptimizerState) {
        self.steps = state.steps;
        self.state = state.slots.into_iter().map(|(name, arrays)| (name, Slots::Host(arrays))).collect();
    }

    fn update_host(&self, learning_rate: f64, values: &mut [f32], gradient: &Gradient, slots: &mut [Vec<f32>]) {
        match &self.config {
            OptimizerConfig::Adam(c) => c.update_host(learning_rate, self.steps, false, values, gradient, slots),
            OptimizerConfig::AdamW(c) => c.update_host(learning_rate, self.steps, true, values, gradient, slots),
            OptimizerConfig::Sgd(c) => c.update_host(learning_rate, self.steps, values, gradient, slots),
        }
    }

    fn update_device(
        &self,
        learning_rate: f64,
        values: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut [Tensor<1>],
    ) -> Tensor<1> {
        match &self.config {
            OptimizerConfig::Adam(c) => c.update_device(learning_rate, self.steps, false, values, gradient, slots),
            OptimizerConfig::AdamW(c) => c.update_device(learning_rate, self.steps, true, values, gradient, slots),
            OptimizerConfig::Sgd(c) => c.update_device(learning_rate, self.steps, values, gradient, slots),
        }
    }
}

/// Visits every parameter and updates it.
struct Step<'a> {
    optimizer: &'a mut Optimizer,
    learning_rate: f64,
    gradients: &'a mut Gradients,
    path: Vec<String>,
}

impl Step<'_> {
    fn update<const D: usize>(&mut self, old: Tensor<D>, gradient: Gradient) -> Tensor<D> {
        let device = old.device();
        let shape = old.dims();
        let count: usize = shape.iter().product();
        let name = self.path.join(".");
        let slots = self.optimizer.config.slots();
        let state = self.optimizer.state.remove(&name);
        let values = host::plain(old);
        match gradient {
            Gradient::Device(gradient) => {
                let plain = values.device();
                let mut tensors = match state {
                    Some(Slots::Device(tensors)) => tensors,
                    Some(Slots::Host(arrays)) => {
                        arrays.into_iter().map(|a| Tensor::from_data(TensorData::new(a, [count]), &plain)).collect()
                    }
                    None => vec![Tensor::zeros([count], &plain); slots],
                };
                let values = values.reshape([count]);
                let new = self.optimizer.update_device(self.learning_rate, values, gradient, &mut tensors);
                self.optimizer.state.insert(name, Slots::Device(tensors));
                Tensor::from_inner(new.reshape(shape)).to_device(&device)
            }
            host_gradient => {
                let mut arrays = match state {
                    Some(Slots::Host(arrays)) => arrays,
                    _ => vec![vec![0.0; count]; slots],
                };
                let mut data = host::into_data(values);
                if let Ok(values) = data.as_mut_slice::<f32>() {
                    self.optimizer.update_host(self.learning_rate, values, &host_gradient, &mut arrays);
                }
                self.optimizer.state.insert(name, Slots::Host(arrays));
                self.gradients.spend(host_gradient);
                Tensor::from_data(data, &device)
            }
        }
    }
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.gradients.take(param.id) {
            None => param,
            Some(gradient) => param.map(|old| self.update(old, gradient).require_grad()),
        }
    }
}
