//! The fused kernels against the composed losses, which are their reference.

#[path = "golden/every_loss.rs"]
mod every_loss;

use burn::tensor::{Device, Tensor, TensorData};
use data::LabelRows;
use every_loss::all;
use losses::{LossConfig, Reduction, TrainingCounts, fused_pass};
use proptest::prelude::*;
use serde_json::Value;

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn hold(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * e.abs().max(1.0), "{what}[{i}]: {f}, composed {e}");
    }
}

/// Values, parts and gradient of both forms.
fn both_agree(config: &Value, logits: &[f32], targets: &LabelRows) {
    let (batch, labels) = (targets.len(), targets.columns());
    let counts =
        TrainingCounts { labels: (0..labels).map(|l| 1 + 400 / (l + 1)).collect(), negatives: 300, instances: 900 };
    let device = Device::flex();
    let loss = serde_json::from_value::<LossConfig>(config.clone()).unwrap().init(&counts, &device).unwrap();
    let dense: Vec<f32> = targets
        .rows()
        .flat_map(|row| (0..labels as u32).map(|l| f32::from(u8::from(row.contains(&l)))).collect::<Vec<_>>())
        .collect();
    let z = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [batch, labels]), &device.clone().autodiff());
    let z = z.require_grad();
    let composed = loss.forward(z.clone(), Tensor::from_data(TensorData::new(dense, [batch, labels]), &device));
    let per_instance = composed.per_instance();
    let gradient = z.grad(&per_instance.clone().sum().mul_scalar(0.25).backward()).unwrap();

    let mut values = logits.to_vec();
    let fused = fused_pass(&loss.fused().expect("a fused form"), &mut values, targets, None, 0.25);
    hold(&format!("{config}, loss"), &fused.per_instance, &numbers(per_instance), 2e-5);
    hold(&format!("{config}, gradient"), &values, &numbers(gradient), 1e-5);
    let parts = composed.parts(Reduction::Sum);
    if !parts.is_empty() {
        let names: Vec<&str> = parts.iter().map(|p| p.0).collect();
        assert_eq!(fused.names, names, "{config}");
        for (p, (name, part)) in parts.into_iter().enumerate() {
            let mean = fused.parts.iter().skip(p).step_by(names.len()).sum::<f32>() / batch as f32;
            hold(&format!("{config}, part {name}"), &[mean], &numbers(part), 2e-5);
        }
    }
}

fn rows(columns: usize, present: &[Vec<u32>]) -> LabelRows {
    let mut out = LabelRows::new(columns);
    for row in present {
        let mut row: Vec<u32> = row.iter().map(|l| l % columns as u32).collect();
        row.sort_unstable();
        row.dedup();
        out.push(&row);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_fused_loss_is_its_composed_form(
        labels in 1usize..70,
        present in prop::collection::vec(prop::collection::vec(0u32..1000, 0..6), 1..9),
        seed in 0u32..1000,
    ) {
        let targets = rows(labels, &present);
        let logits: Vec<f32> =
            (0..targets.len() * labels).map(|i| ((i as f32 + seed as f32) * 12.9898).sin() * 6.0).collect();
        for config in all() {
            both_agree(&config, &logits, &targets);
        }
    }
}

#[test]
fn extreme_logits_stay_finite_and_agree() {
    let targets = rows(5, &[vec![0, 2], vec![], vec![0, 1, 2, 3, 4]]);
    let logits = [80.0, -80.0, -60.0, 30.0, 0.0, 90.0, 0.0, -90.0, 20.0, -20.0, 70.0, -70.0, 0.0, 25.0, -25.0];
    for config in all() {
        both_agree(&config, &logits, &targets);
        let finite = |config: &Value, scale: f32| {
            let counts = TrainingCounts { labels: vec![9; 5], negatives: 3, instances: 90 };
            let loss: LossConfig = serde_json::from_value(config.clone()).unwrap();
            let loss = loss.init(&counts, &Device::flex()).unwrap();
            let mut values: Vec<f32> = logits.iter().map(|z| z * scale).collect();
            let found = fused_pass(&loss.fused().unwrap(), &mut values, &targets, None, 1.0);
            found.per_instance.iter().chain(&values).all(|v| v.is_finite())
        };
        assert!(finite(&config, 1e4), "{config}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let targets = rows(900, &(0..40).map(|i| vec![i, i * 7, i * 31]).collect::<Vec<_>>());
    let logits: Vec<f32> = (0..40 * 900).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
    let counts = TrainingCounts { labels: vec![9; 900], negatives: 3, instances: 90 };
    for config in all() {
        let loss: LossConfig = serde_json::from_value(config.clone()).unwrap();
        let loss = loss.init(&counts, &Device::flex()).unwrap();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut values = logits.clone();
                (fused_pass(&loss.fused().unwrap(), &mut values, &targets, None, 0.1), values)
            })
        };
        assert!(run(1) == run(3), "{config}");
    }
}
