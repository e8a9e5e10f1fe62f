//! The ways of an update against each other.

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
        Self { optimizer: Optimizer::new(config, Kernels::Fused), values: values.to_vec(), slots, last: None }
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
        let gradient = Gradient::Device(tensor(&all));
        (composed, composed_slots) = by_dense.optimizer.update_composed(0.1, composed, gradient, composed_slots);
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
        let named: Vec<u32> = (0..36).filter(|r| (step * 7 + r * r) % (r * r / 2 + 1) == 0).map(|r| r as u32).collect();
        let values = (0..named.len() * width).map(|i| ((i + step) as f32 * 1.3).cos() * 10f32.powi(-(i as i32 % 5)));
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
                let gradient = Gradient::DeviceRows { rows: named, values: gradient };
                (values, slots) = on_host.optimizer.update_device(0.1, values, gradient, slots);
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
