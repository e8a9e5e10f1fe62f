//! The update rules, one file each, over dense gradients and gradients of touched rows.
//!
//! On CPU backends a parameter is updated in place by one fused, parallel pass; elsewhere by composed tensor
//! operations, which are the reference in the tests.

mod adagrad;
mod adam;
mod gradients;
mod host;
mod schedule;
mod sgd;

use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{IndexingUpdateOp, Tensor, TensorData};
use model::Features;
use model::layers::rows::integers;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Array;
use crate::learner::Learner;
use host::History;

pub use adagrad::AdagradConfig;
pub use adam::AdamConfig;
pub use gradients::{Gradient, Gradients};
pub use host::Rows;
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
    /// A learning rate of each weight's own.
    Adagrad(AdagradConfig),
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
            Self::Adagrad(c) => c.learning_rate,
        }
    }

    /// Largest Euclidean norm of all gradients together.
    fn clip_norm(&self) -> Option<f64> {
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.clip_norm,
            Self::Sgd(c) => c.clip_norm,
            Self::Adagrad(c) => c.clip_norm,
        }
    }

    /// What happens to rows that a batch does not name.
    fn rows(&self) -> Rows {
        match self {
            Self::Adam(c) | Self::AdamW(c) => c.rows,
            Self::Sgd(c) => c.rows,
            Self::Adagrad(c) => c.rows,
        }
    }

    /// Arrays of state each parameter has.
    fn slots(&self) -> usize {
        match self {
            Self::Adam(_) | Self::AdamW(_) => 2,
            Self::Sgd(c) => usize::from(c.momentum > 0.0),
            Self::Adagrad(_) => 1,
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
            Self::Adagrad(c) => c.check(),
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
    pub fn new(config: OptimizerConfig) -> Self {
        Self { config, steps: 0, state: BTreeMap::new(), waiting: BTreeMap::new(), history: History::default() }
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

    fn update_device(
        &self,
        learning_rate: f64,
        values: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut [Tensor<1>],
    ) -> Tensor<1> {
        match &self.config {
            OptimizerConfig::Adam(c) => c.at(learning_rate, self.steps, false).update_device(values, gradient, slots),
            OptimizerConfig::AdamW(c) => c.at(learning_rate, self.steps, true).update_device(values, gradient, slots),
            OptimizerConfig::Sgd(c) => c.at(learning_rate).update_device(values, gradient, slots),
            OptimizerConfig::Adagrad(c) => c.at(learning_rate).update_device(values, gradient, slots),
        }
    }
}

impl Optimizer {
    /// Rows with a gradient on a device: copies of them are updated and put back.
    fn update_device_rows(
        &self,
        learning_rate: f64,
        values: Tensor<1>,
        rows: &[u32],
        gradient: Tensor<2>,
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
        if self.config.rows() == Rows::Exact {
            let all = add(matrix(values.zeros_like()), gradient);
            return self.update_device(learning_rate, values, all, slots);
        }
        let take = |flat: &Tensor<1>| matrix(flat.clone()).select(0, indices.clone()).reshape([named * width]);
        let mut own: Vec<Tensor<1>> = slots.iter().map(take).collect();
        let before: Vec<Tensor<1>> = own.clone();
        let old = take(&values);
        let new = self.update_device(learning_rate, old.clone(), gradient.reshape([named * width]), &mut own);
        for ((slot, own), before) in slots.iter_mut().zip(own).zip(before) {
            *slot = add(matrix(slot.clone()), (own - before).reshape([named, width]));
        }
        add(matrix(values), (new - old).reshape([named, width]))
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
        let shape = old.dims();
        let count: usize = shape.iter().product();
        let name = self.path.join(".");
        let slots = self.optimizer.config.slots();
        let state = self.optimizer.state.remove(&name);
        let values = ::host::plain(old);
        match gradient {
            Gradient::Device(_) | Gradient::DeviceRows { .. } => {
                let plain = values.device();
                let mut tensors = match state {
                    Some(Slots::Device(tensors)) => tensors,
                    Some(Slots::Host(arrays)) => {
                        arrays.into_iter().map(|a| Tensor::from_data(TensorData::new(a, [count]), &plain)).collect()
                    }
                    None => vec![Tensor::zeros([count], &plain); slots],
                };
                let values = values.reshape([count]);
                let new = match gradient {
                    Gradient::DeviceRows { rows, values: gradient } => {
                        self.optimizer.update_device_rows(learning_rate, values, &rows, gradient, &mut tensors)
                    }
                    Gradient::Device(gradient) => {
                        self.optimizer.update_device(learning_rate, values, gradient, &mut tensors)
                    }
                    _ => values,
                };
                self.optimizer.state.insert(name, Slots::Device(tensors));
                Tensor::from_inner(new.reshape(shape)).to_device(&device)
            }
            host_gradient => {
                let mut arrays = match state {
                    Some(Slots::Host(arrays)) => arrays,
                    _ => vec![vec![0.0; count]; slots],
                };
                let mut last = self.optimizer.waiting.remove(&name);
                let mut data = ::host::into_data(values);
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
            let mut data = ::host::into_data(::host::plain(old));
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
mod tests {
    use burn::tensor::Device;
    use model::layers::rows::RowGradient;

    use super::*;

    fn rows_of(config: &OptimizerConfig, rows: Rows) -> OptimizerConfig {
        let mut config = config.clone();
        match &mut config {
            OptimizerConfig::Adam(c) | OptimizerConfig::AdamW(c) => c.rows = rows,
            OptimizerConfig::Sgd(c) => c.rows = rows,
            OptimizerConfig::Adagrad(c) => c.rows = rows,
        }
        config
    }

    fn dense(rows: &RowGradient, count: usize) -> Vec<f32> {
        let mut out = vec![0.0; count];
        for (k, &r) in rows.rows.iter().enumerate() {
            out[r as usize * rows.width..][..rows.width].copy_from_slice(&rows.values[k * rows.width..][..rows.width]);
        }
        out
    }

    /// An optimizer over one array.
    struct One {
        optimizer: Optimizer,
        values: Vec<f32>,
        slots: Vec<Vec<f32>>,
        last: Option<Vec<u32>>,
    }

    impl One {
        fn new(config: OptimizerConfig, values: &[f32]) -> Self {
            let slots = vec![vec![0.0; values.len()]; config.slots()];
            Self { optimizer: Optimizer::new(config), values: values.to_vec(), slots, last: None }
        }

        fn step(&mut self, rate: f64, gradient: &Gradient) {
            self.optimizer.steps += 1;
            self.optimizer.update_host(rate, &mut self.values, gradient, &mut self.slots, &mut self.last);
            self.optimizer.history.learning_rates.push(rate);
        }
    }

    /// Runs updates by rows, by dense gradients and by composed operations, and holds them together.
    pub(super) fn three_ways(config: OptimizerConfig) {
        let start: Vec<f32> = (0..12).map(|i| (i as f32).sin()).collect();
        let rows = RowGradient { rows: vec![0, 1, 2, 3], values: (0..12).map(|i| i as f32 - 2.5).collect(), width: 3 };
        let all = dense(&rows, 12);
        let device = Device::flex();
        let tensor = |v: &[f32]| Tensor::<1>::from_data(TensorData::new(v.to_vec(), [12]), &device);
        let mut composed = tensor(&start);
        let mut composed_slots = vec![tensor(&[0.0; 12]); config.slots()];
        let (mut by_rows, mut by_dense) = (One::new(config.clone(), &start), One::new(config, &start));
        for _ in 0..3 {
            by_rows.step(0.1, &Gradient::Rows(rows.clone()));
            by_dense.step(0.1, &Gradient::Host(all.clone()));
            composed = by_dense.optimizer.update_device(0.1, composed, tensor(&all), &mut composed_slots);
        }
        assert_eq!(by_rows.values, by_dense.values);
        let composed: Vec<f32> = composed.into_data().try_into_vec().unwrap();
        for (a, b) in by_dense.values.iter().zip(composed) {
            assert!((a - b).abs() < 1e-6, "{a} against {b}");
        }
        assert_ne!(by_dense.values, start);
    }

    /// Rows that are named now and then, over many steps of changing rates: the numbers of dense updates, to 1e-5.
    pub(super) fn rows_wait_as_dense_updates_would(config: OptimizerConfig) {
        let (rows, width) = (40, 3);
        let start: Vec<f32> = (0..rows * width).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut exact = One::new(rows_of(&config, Rows::Exact), &start);
        let mut by_dense = One::new(config, &start);
        for step in 0..700usize {
            // Row r comes about every r-th step, the last ones never.
            let named: Vec<u32> =
                (0..36).filter(|r| (step * 7 + r * r) % (r * r / 2 + 1) == 0).map(|r| r as u32).collect();
            let values =
                (0..named.len() * width).map(|i| ((i + step) as f32 * 1.3).cos() * 10f32.powi(-(i as i32 % 5)));
            let gradient = RowGradient { values: values.collect(), rows: named, width };
            let rate = 0.01 * (1.0 + (step as f64 * 0.01).sin());
            if let Some(mut last) = exact.last.take() {
                exact.optimizer.catch_up(&mut exact.values, &mut exact.slots, &mut last, Some(&gradient.rows));
                exact.last = Some(last);
            }
            for (&r, row) in gradient.rows.iter().zip(gradient.rows.iter().map(|&r| r as usize * width)) {
                let (a, b) = (&exact.values[row..row + width], &by_dense.values[row..row + width]);
                let close = a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0));
                assert!(close, "row {r} before step {step}: {a:?} against {b:?}");
            }
            by_dense.step(rate, &Gradient::Host(dense(&gradient, rows * width)));
            exact.step(rate, &Gradient::Rows(gradient));
            if step % 300 == 299 || step == 699 {
                let mut last = exact.last.take();
                if let Some(last) = &mut last {
                    exact.optimizer.catch_up(&mut exact.values, &mut exact.slots, last, None);
                }
                exact.last = last;
                exact.optimizer.history = History { base: exact.optimizer.steps, learning_rates: Vec::new() };
                for (i, (a, b)) in exact.values.iter().zip(&by_dense.values).enumerate() {
                    assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "row {}, step {step}: {a} against {b}", i / width);
                }
            }
        }
    }

    #[test]
    fn rows_on_a_device_are_updated_as_on_the_host() {
        let device = Device::flex();
        let start: Vec<f32> = (0..12).map(|i| (i as f32).sin()).collect();
        for config in [
            OptimizerConfig::Adam(AdamConfig { weight_decay: 0.1, ..AdamConfig::default() }),
            OptimizerConfig::Sgd(SgdConfig::default()),
            OptimizerConfig::Adagrad(AdagradConfig::default()),
        ] {
            for rows in [Rows::Lazy, Rows::Exact] {
                let config = rows_of(&config, rows);
                let mut on_host = One::new(config.clone(), &start);
                let mut values = Tensor::<1>::from_floats(start.as_slice(), &device);
                let mut slots = vec![Tensor::<1>::zeros([12], &device); config.slots()];
                for named in [vec![0u32, 2], vec![1], vec![0, 3]] {
                    let gradient: Vec<f32> = (0..named.len() * 3).map(|i| i as f32 - 1.5).collect();
                    let row_gradient = RowGradient { rows: named.clone(), values: gradient.clone(), width: 3 };
                    if let Some(mut last) = on_host.last.take() {
                        on_host.optimizer.catch_up(&mut on_host.values, &mut on_host.slots, &mut last, Some(&named));
                        on_host.last = Some(last);
                    }
                    on_host.step(0.1, &Gradient::Rows(row_gradient));
                    let gradient = Tensor::<2>::from_data(TensorData::new(gradient, [named.len(), 3]), &device);
                    values = on_host.optimizer.update_device_rows(0.1, values, &named, gradient, &mut slots);
                }
                if let Some(mut last) = on_host.last.take() {
                    on_host.optimizer.catch_up(&mut on_host.values, &mut on_host.slots, &mut last, None);
                }
                for (a, b) in values.into_data().try_into_vec::<f32>().unwrap().iter().zip(&on_host.values) {
                    assert!((a - b).abs() < 1e-5, "{config:?}: {a} against {b}");
                }
            }
        }
    }

    #[test]
    fn lazy_rows_change_only_where_they_are_named() {
        let config = OptimizerConfig::Adam(AdamConfig { weight_decay: 0.1, ..AdamConfig::default() });
        let start = vec![1.0f32; 12];
        let mut lazy = One::new(config, &start);
        for row in [1u32, 1, 3] {
            let gradient = RowGradient { rows: vec![row], values: vec![0.5; 3], width: 3 };
            lazy.step(0.1, &Gradient::Rows(gradient));
        }
        assert_eq!((&lazy.values[..3], &lazy.values[6..9]), (&start[..3], &start[..3]));
        assert!(lazy.values[3] < lazy.values[9] && lazy.values[9] < 1.0, "{:?}", lazy.values);
    }
}
