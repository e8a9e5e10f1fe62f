//! Every loss against numbers computed with PyTorch autograd in float64, with gradients, on every backend.

#[path = "golden/adapter.rs"]
mod adapter;
#[path = "golden/adaptive_threshold.rs"]
mod adaptive_threshold;
#[path = "golden/every_loss.rs"]
mod every_loss;
#[path = "golden/on_device.rs"]
mod on_device;

use burn::tensor::{Device, Tensor, TensorData};
use losses::{LossConfig, Reduction, TrainingCounts, presence_logits};
use serde_json::{Map, Value, json};

fn cases() -> Vec<Value> {
    let golden: Value = serde_json::from_str(include_str!("golden/losses.json")).unwrap();
    golden["cases"].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

fn tensor(value: &Value, device: &Device) -> Tensor<2> {
    let rows = value.as_array().unwrap().len();
    let values: Vec<f32> = numbers(value).iter().map(|v| *v as f32).collect();
    let shape = [rows, values.len() / rows];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The golden file's config as this library's: the same names, the counts apart.
fn config(case: &Value) -> (LossConfig, TrainingCounts) {
    let mut table: Map<String, Value> = case["config"].as_object().unwrap().clone();
    let kind = table.remove("loss").unwrap();
    table.insert("kind".into(), kind.clone());
    table.remove("weighting");
    let mut counts = TrainingCounts { labels: vec![1; 5], negatives: 1, instances: 10 };
    let mut take_counts = |inner: &mut Map<String, Value>| {
        if let Some(list) = inner.remove("label_counts") {
            counts.labels = numbers(&list).iter().map(|n| *n as usize).collect();
        }
        if let Some(n) = inner.remove("negative_count") {
            counts.negatives = n.as_u64().unwrap() as usize;
        }
    };
    take_counts(&mut table);
    if let Some(Value::Object(inner)) = table.get_mut("class_balanced") {
        take_counts(inner);
    }
    if kind == "any_class" && table["base"] == json!("bce") {
        table.remove("gamma");
    }
    (serde_json::from_value(Value::Object(table)).unwrap(), counts)
}

fn close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let limit = (tolerance * e.abs()).max(tolerance / 10.0);
        assert!((f64::from(*f) - e).abs() <= limit, "{what}[{i}]: {f}, expected {e}");
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

/// The fused form, where targets are 0 or 1.
fn fused(name: &str, loss: &dyn losses::Loss, case: &Value, tolerance: f64) {
    let rows: Vec<Vec<f64>> = case["targets"].as_array().unwrap().iter().map(numbers).collect();
    if rows.iter().flatten().any(|y| *y != 0.0 && *y != 1.0) {
        return;
    }
    let mut targets = data::LabelRows::new(rows[0].len());
    for row in &rows {
        targets.push(&(0..).zip(row).filter(|e| *e.1 == 1.0).map(|e| e.0).collect::<Vec<u32>>());
    }
    let mut logits: Vec<f32> = numbers(&case["logits"]).iter().map(|v| *v as f32).collect();
    let found = losses::fused_pass(&loss.fused().unwrap(), &mut logits, &targets, None, 1.0 / rows.len() as f32);
    close(&format!("{name}, fused"), &found.per_instance, &numbers(&case["per_instance"]), tolerance);
    close(&format!("{name}, fused gradient"), &logits, &numbers(&case["grad_logits_of_loss_sum"]), tolerance);
}

fn check_all(device: &Device, tolerance: f64) {
    let autodiff = device.clone().autodiff();
    let cases = cases();
    assert_eq!(cases.len(), 28);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let (config, counts) = config(case);
        let loss = config.init(&counts, device).unwrap();
        let logits = tensor(&case["logits"], &autodiff).require_grad();
        let targets = tensor(&case["targets"], device);
        let out = loss.forward(logits.clone(), targets.clone());
        let sum = out.reduce(Reduction::Sum);
        close(&format!("{name} per_instance"), &values(out.per_instance()), &numbers(&case["per_instance"]), tolerance);
        close(&format!("{name} loss_sum"), &values(sum.clone()), &numbers(&case["loss_sum"]), tolerance);
        let mean = out.reduce(Reduction::Mean);
        close(&format!("{name} loss_mean"), &values(mean), &numbers(&case["loss_mean"]), tolerance);
        let gradient = logits.grad(&sum.backward()).unwrap();
        let expected = numbers(&case["grad_logits_of_loss_sum"]);
        close(&format!("{name} gradient"), &values(gradient), &expected, tolerance);
        if host::is_host(device) {
            fused(name, &*loss, case, tolerance);
        } else {
            on_device::check_case(name, &*loss, case, device, tolerance);
        }
        if let Some(expected) = case.get("presence_logit") {
            let lambda = case["config"]["lambda"].as_f64().unwrap();
            let z = presence_logits(tensor(&case["logits"], device), targets, lambda);
            close(&format!("{name} presence_logit"), &values(z), &numbers(expected), tolerance);
        }
        if let Some(expected) = case.get("instance_weight") {
            let weight = values(out.weight.unwrap());
            close(&format!("{name} instance_weight"), &weight, &numbers(expected), tolerance);
        }
    }
}

#[test]
fn golden_losses_and_gradients_on_flex() {
    check_all(&Device::flex(), 1e-5);
    adaptive_threshold::check_cases(&Device::flex(), 1e-5);
}

#[test]
fn golden_losses_and_gradients_on_ndarray() {
    #[expect(deprecated, reason = "the backend is deprecated upstream and kept here by request")]
    let device = Device::ndarray();
    check_all(&device, 1e-5);
    adaptive_threshold::check_cases(&device, 1e-5);
}

#[test]
fn golden_losses_and_gradients_on_wgpu() {
    let Some(device) = adapter::gpu("the losses are not checked") else { return };
    check_all(&device, 1e-4);
    adaptive_threshold::check_cases(&device, 1e-4);
    on_device::every_kernel_is_its_composed_form(&device);
}
