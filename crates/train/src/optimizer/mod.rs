//! The update rules, one file each, over dense gradients and gradients of touched rows.
//!
//! Parameters are updated in place: on CPU backends by one fused, parallel pass; on GPUs by a kernel of our own (Adam,
//! AdamW), or by composed tensor operations, which are the reference in the tests.

mod adagrad;
mod adam;
mod config;
mod device;
mod gradients;
mod host;
mod schedule;
mod sgd;

use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use model::Features;

use crate::checkpoint::Array;
use crate::learner::Learner;
use crate::step::Kernels;
use config::in_range;
use host::History;

pub use adagrad::AdagradConfig;
pub use adam::AdamConfig;
pub use config::OptimizerConfig;
pub use gradients::{Gradient, Gradients};
pub use host::Rows;
pub use schedule::{Schedule, ScheduleConfig};
pub use sgd::SgdConfig;

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
    kernels: Kernels,
    steps: u64,
    state: BTreeMap<String, Slots>,
    /// Last step of each row of the parameters whose rows wait.
    waiting: BTreeMap<String, Vec<u32>>,
    /// The steps that such rows may have missed.
    history: History,
}

/// The optimizer's state by parameter name, from a checkpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimizerState {
    /// Updates done.
    pub steps: u64,
    /// The rule's arrays of each parameter.
    pub slots: BTreeMap<String, Vec<Vec<f32>>>,
    /// Last step of each row of the parameters whose rows wait.
    pub waiting: BTreeMap<String, Vec<u32>>,
    /// Learning rates of the last steps, which waiting rows may have missed.
    pub missed: Vec<f64>,
}

impl Optimizer {
    /// A fresh optimizer.
    pub fn new(config: OptimizerConfig, kernels: Kernels) -> Self {
        let (state, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self { config, kernels, steps: 0, state, waiting, history: History::default() }
    }

    /// One update of every parameter that has a gradient; the thresholds' may have a learning rate of their own.
    pub fn step(&mut self, rates: Rates, learner: Learner, gradients: &mut Gradients) -> Learner {
        if let Some(limit) = self.config.clip_norm() {
            gradients.clip(limit);
        }
        self.steps += 1;
        let own: HashMap<ParamId, f64> = learner.model.rates().into_iter().collect();
        let mut step = Step { optimizer: self, learning_rate: rates.model, own, gradients, path: Vec::new() };
        let model = learner.model.map(&mut step);
        step.learning_rate = rates.thresholds;
        step.path = vec![Learner::THRESHOLDS.to_owned()];
        let thresholds = learner.thresholds.map(|t| t.map(&mut step));
        self.history.learning_rates.push(rates.model);
        Learner { model, thresholds }
    }

    /// Before a forward pass over `features`: the rows it reads make up for what they missed.
    pub fn prepare(&mut self, learner: Learner, features: &Features) -> Learner {
        match features {
            Features::Sparse(rows) if !self.waiting.is_empty() => {
                self.settle_rows(learner, Some(&rows.touched().columns))
            }
            _ => learner,
        }
    }

    /// All rows make up for what they missed: the learner is then what dense updates make of it.
    pub fn settle(&mut self, learner: Learner) -> Learner {
        let learner = if self.waiting.is_empty() { learner } else { self.settle_rows(learner, None) };
        self.history = History { base: self.steps, learning_rates: Vec::new() };
        learner
    }

    fn settle_rows(&mut self, learner: Learner, named: Option<&[u32]>) -> Learner {
        let model = learner.model.map(&mut Settle { optimizer: self, named, path: Vec::new() });
        Learner { model, ..learner }
    }

    /// Updates done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Learning rates of the steps that waiting rows may have missed.
    pub fn missed(&self) -> &[f64] {
        if self.waiting.is_empty() { &[] } else { &self.history.learning_rates }
    }

    /// The state's arrays by their name in a checkpoint.
    pub fn arrays(&self) -> impl Iterator<Item = (String, Array<'_>)> {
        let slots = self.state.iter().flat_map(|(name, slots)| {
            let arrays: Vec<Array> = match slots {
                Slots::Host(arrays) => arrays.iter().map(|a| Array::Floats(a)).collect(),
                Slots::Device(tensors) => tensors.iter().map(Array::Device).collect(),
            };
            arrays.into_iter().enumerate().map(move |(k, array)| (format!("optimizer.{k}.{name}"), array))
        });
        slots.chain(self.waiting.iter().map(|(name, last)| (format!("waiting.{name}"), Array::Words(last))))
    }

    /// Continues from a stored state. Arrays move to the device at the next step.
    pub fn restore(&mut self, state: OptimizerState) {
        self.steps = state.steps;
        self.state = state.slots.into_iter().map(|(name, arrays)| (name, Slots::Host(arrays))).collect();
        self.waiting = state.waiting;
        self.history = History { base: self.steps - state.missed.len() as u64, learning_rates: state.missed };
    }

    /// Updates values on the host in place. `last`: of a parameter whose rows may wait.
    fn update_host(
        &self,
        learning_rate: f64,
        values: &mut [f32],
        gradient: &Gradient,
        slots: &mut [Vec<f32>],
        last: &mut Option<Vec<u32>>,
    ) {
        match &self.config {
            OptimizerConfig::Adam(c) => {
                self.update_by(&c.at(learning_rate, self.steps, false), values, gradient, slots, last);
            }
            OptimizerConfig::AdamW(c) => {
                self.update_by(&c.at(learning_rate, self.steps, true), values, gradient, slots, last);
            }
            OptimizerConfig::Sgd(c) => self.update_by(&c.at(learning_rate), values, gradient, slots, last),
            OptimizerConfig::Adagrad(c) => self.update_by(&c.at(learning_rate), values, gradient, slots, last),
        }
    }

    fn update_by(
        &self,
        rule: &impl host::Rule,
        values: &mut [f32],
        gradient: &Gradient,
        slots: &mut [Vec<f32>],
        last: &mut Option<Vec<u32>>,
    ) {
        match gradient {
            Gradient::Device(_) | Gradient::DeviceRows { .. } => {}
            Gradient::Host(gradient) => host::update_all(rule, values, slots, gradient),
            Gradient::Columns(columns) => match self.config.rows() {
                Rows::Lazy => host::update_columns(rule, values, slots, columns),
                Rows::Exact => host::update_all(rule, values, slots, &host::spread(columns)),
            },
            Gradient::Rows(rows) => match self.config.rows() {
                Rows::Lazy => host::update_touched(rule, values, slots, rows),
                Rows::Exact if !rule.can_wait() => host::update_every_row(rule, values, slots, rows),
                Rows::Exact => {
                    let before = (self.steps - 1) as u32;
                    let last = last.get_or_insert_with(|| vec![before; values.len() / rows.width.max(1)]);
                    host::update_touched(rule, values, slots, rows);
                    rows.rows.iter().for_each(|&r| last[r as usize] = self.steps as u32);
                }
            },
        }
    }

    /// Lets rows make up for what they missed: the named ones, or all.
    fn catch_up(&self, values: &mut [f32], slots: &mut [Vec<f32>], last: &mut [u32], named: Option<&[u32]>) {
        let all: Vec<u32>;
        let rows = match named {
            Some(rows) => rows,
            None => {
                all = (0..last.len() as u32).collect();
                &all
            }
        };
        let (rate, missed) = (self.config.learning_rate(), (&self.history, last));
        match &self.config {
            OptimizerConfig::Adam(c) => host::catch_up(&c.at(rate, self.steps, false), values, slots, rows, missed),
            OptimizerConfig::AdamW(c) => host::catch_up(&c.at(rate, self.steps, true), values, slots, rows, missed),
            OptimizerConfig::Sgd(c) => host::catch_up(&c.at(rate), values, slots, rows, missed),
            OptimizerConfig::Adagrad(c) => host::catch_up(&c.at(rate), values, slots, rows, missed),
        }
    }
}

/// Visits every parameter and updates it.
struct Step<'a> {
    optimizer: &'a mut Optimizer,
    learning_rate: f64,
    /// Factors on the learning rate of single parameters.
    own: HashMap<ParamId, f64>,
    gradients: &'a mut Gradients,
    path: Vec<String>,
}

impl Step<'_> {
    fn update<const D: usize>(&mut self, old: Tensor<D>, learning_rate: f64, gradient: Gradient) -> Tensor<D> {
        let device = old.device();
        let count: usize = old.dims().iter().product();
        let name = self.path.join(".");
        let slots = self.optimizer.config.slots();
        let state = self.optimizer.state.remove(&name);
        let values = ::host::plain(old);
        match gradient {
            Gradient::Device(_) | Gradient::DeviceRows { .. } => {
                let plain = values.device();
                let tensors = match state {
                    Some(Slots::Device(tensors)) => tensors,
                    Some(Slots::Host(arrays)) => {
                        arrays.into_iter().map(|a| Tensor::from_data(TensorData::new(a, [count]), &plain)).collect()
                    }
                    None => (0..slots).map(|_| Tensor::zeros([count], &plain)).collect(),
                };
                let (values, tensors) = self.optimizer.update_device(learning_rate, values, gradient, tensors);
                self.optimizer.state.insert(name, Slots::Device(tensors));
                Tensor::from_inner(values).to_device(&device)
            }
            host_gradient => {
                let mut arrays = match state {
                    Some(Slots::Host(arrays)) => arrays,
                    _ => vec![vec![0.0; count]; slots],
                };
                let mut last = self.optimizer.waiting.remove(&name);
                let mut data = values.into_data();
                if let Ok(values) = data.as_mut_slice::<f32>() {
                    self.optimizer.update_host(learning_rate, values, &host_gradient, &mut arrays, &mut last);
                }
                if let Some(last) = last {
                    self.optimizer.waiting.insert(name.clone(), last);
                }
                self.optimizer.state.insert(name, Slots::Host(arrays));
                self.gradients.spend(host_gradient);
                Tensor::from_data(data, &device)
            }
        }
    }
}

/// Visits every parameter whose rows wait.
struct Settle<'a> {
    optimizer: &'a mut Optimizer,
    /// Which of the rows; none: all.
    named: Option<&'a [u32]>,
    path: Vec<String>,
}

impl ModuleMapper for Settle<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let Some(mut last) = self.optimizer.waiting.remove(&name) else { return param };
        let Some(Slots::Host(mut arrays)) = self.optimizer.state.remove(&name) else { return param };
        let param = param.map(|old| {
            let device = old.device();
            let mut data = ::host::plain(old).into_data();
            if let Ok(values) = data.as_mut_slice::<f32>() {
                self.optimizer.catch_up(values, &mut arrays, &mut last, self.named);
            }
            Tensor::from_data(data, &device).require_grad()
        });
        self.optimizer.state.insert(name.clone(), Slots::Host(arrays));
        self.optimizer.waiting.insert(name, last);
        param
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
            Some(gradient) => {
                let rate = self.learning_rate * self.own.get(&param.id).unwrap_or(&1.0);
                param.map(|old| self.update(old, rate, gradient).require_grad())
            }
        }
    }
}

#[cfg(test)]
mod tests;
