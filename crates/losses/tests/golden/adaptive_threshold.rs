//! Adaptive thresholds against numbers computed with PyTorch autograd and NumPy in float64.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use data::{FeatureRows, LabelRows};
use losses::neighbours::{DenseBank, MemoryLimit, Neighbours, SparseBank, batch};
use losses::{AdaptiveThresholds, LossConfig, Reduction, TrainingCounts, rarity};
use serde_json::{Value, json};

use super::{close, numbers, tensor, values};

fn golden() -> Value {
    serde_json::from_str(include_str!("adaptive_threshold.json")).unwrap()
}

fn counts(golden: &Value) -> TrainingCounts {
    let labels = numbers(&golden["label_counts"]).iter().map(|n| *n as usize).collect();
    TrainingCounts { labels, negatives: 100, instances: golden["n_train"].as_u64().unwrap() as usize }
}

fn config(case: &Value) -> LossConfig {
    let c = &case["config"];
    serde_json::from_value(json!({
        "kind": "adaptive_threshold",
        "signals": c["signals"],
        "static_threshold": c["static_threshold"],
        "margin": c["margin"]["kind"],
        "margin_delta": c["margin"]["delta"],
        "margin_weight": c["margin"]["weight"],
    }))
    .unwrap()
}

/// The thresholds with the golden file's numbers, on an autodiff device.
fn thresholds(case: &Value, golden: &Value, device: &Device) -> AdaptiveThresholds {
    let c = &case["config"];
    let param = |value: &Value| {
        let values: Vec<f32> = numbers(value).iter().map(|v| *v as f32).collect();
        Param::from_tensor(Tensor::<1>::from_floats(values.as_slice(), device))
    };
    let mut made = config(case).thresholds().unwrap().init_thresholds(&counts(golden), 0, device);
    made.lambda = param(&c["lambda_raw"]);
    made.alpha = param(&c["alpha"]);
    made.beta = param(&c["beta"]);
    made.bias = param(&c["bias"]);
    made
}

pub fn check_cases(device: &Device, tolerance: f64) {
    let golden = golden();
    let autodiff = device.clone().autodiff();
    let idf: Vec<f32> = rarity::idf(&counts(&golden)).iter().map(|v| *v as f32).collect();
    let idf = Tensor::<1>::from_floats(idf.as_slice(), device).unsqueeze::<2>();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let learnt = thresholds(case, &golden, &autodiff);
        let logits = tensor(&case["logits"], &autodiff).require_grad();
        let targets = tensor(&case["targets"], device);
        let votes = batch::label_votes(targets.clone());
        close(&format!("{name} knn"), &values(votes.clone()), &numbers(&case["knn"]), tolerance);
        let theta = learnt.thresholds(Some(idf.clone()), Some(votes.clone()));
        let theta = theta.expand([6, 5]);
        close(&format!("{name} theta"), &values(theta), &numbers(&case["theta"]), tolerance);

        let loss = config(case).init(&counts(&golden), device).unwrap();
        let out = loss.forward(learnt.distance(logits.clone(), Some(idf.clone()), Some(votes)), targets);
        close(&format!("{name} per_instance"), &values(out.per_instance()), &numbers(&case["per_instance"]), tolerance);
        let mean = out.reduce(Reduction::Mean);
        close(&format!("{name} loss_mean"), &values(mean), &numbers(&case["loss_mean"]), tolerance);
        let sum = out.reduce(Reduction::Sum);
        close(&format!("{name} loss_sum"), &values(sum.clone()), &numbers(&case["loss_sum"]), tolerance);
        let gradients = sum.backward();
        let found = values(logits.grad(&gradients).unwrap());
        close(&format!("{name} logits"), &found, &numbers(&case["grad_logits_of_loss_sum"]), tolerance);
        for (key, param) in
            [("alpha", &learnt.alpha), ("beta", &learnt.beta), ("bias", &learnt.bias), ("lambda_raw", &learnt.lambda)]
        {
            let expected = &case[format!("grad_{key}_of_loss_sum")];
            match param.val().grad(&gradients) {
                None => assert!(expected.is_null(), "{name}: no gradient of {key}"),
                Some(found) if expected.is_null() => {
                    assert!(values(found).iter().all(|g| *g == 0.0), "{name}: a gradient of {key}");
                }
                Some(found) => close(&format!("{name} {key}"), &values(found), &numbers(expected), tolerance),
            }
        }
    }
    check_signals(&golden, device, tolerance);
}

fn check_signals(golden: &Value, device: &Device, tolerance: f64) {
    let found: Vec<f32> = rarity::idf(&counts(golden)).iter().map(|v| *v as f32).collect();
    close("idf", &found, &numbers(&golden["idf"]), tolerance);
    let targets = tensor(&golden["targets"], device);
    let signals = &golden["signals"];
    let found = values(batch::authors_votes(targets.clone()));
    close("authors knn", &found, &numbers(&signals["authors"]["knn"]), tolerance);
    let found = values(batch::label_votes(targets));
    close("batch_labels knn", &found, &numbers(&signals["batch_label"]["knn"]), tolerance);

    let feature = &signals["feature"];
    let (mut rows, mut labels) = (FeatureRows::new(7), LabelRows::new(5));
    for row in feature["features"].as_array().unwrap() {
        let row: Vec<(u32, f32)> = (0..).zip(numbers(row).iter().map(|v| *v as f32)).collect();
        rows.push(&row);
    }
    for row in golden["targets"].as_array().unwrap() {
        labels.push(&(0..).zip(numbers(row)).filter(|e| e.1 == 1.0).map(|e| e.0).collect::<Vec<u32>>());
    }
    let (k, limit) = (feature["k"].as_u64().unwrap() as usize, MemoryLimit { mebibytes: 64 });
    let own: Vec<usize> = (0..6).collect();
    let dense = DenseBank::new(rows.to_dense(), 7, device, limit).unwrap();
    let sparse = SparseBank::new(&rows, limit).unwrap();
    for found in [dense.nearest(&rows.to_dense(), k, Some(&own), device), sparse.nearest(&rows, k, Some(&own))] {
        check_features(&found, &labels, feature, tolerance);
    }
}

fn check_features(found: &Neighbours, labels: &LabelRows, feature: &Value, tolerance: f64) {
    let expected = feature["neighbours"].as_array().unwrap();
    for (i, expected) in expected.iter().enumerate() {
        let (rows, weights) = found.of(i);
        let expected: Vec<u32> = numbers(expected).iter().map(|v| *v as u32).collect();
        assert_eq!(rows, &expected[..rows.len()], "instance {i}");
        let mut padded = weights.to_vec();
        padded.resize(expected.len(), 0.0);
        close("feature weights", &padded, &numbers(&feature["weights"][i]), tolerance);
    }
    close("feature knn", &found.votes(labels), &numbers(&feature["knn"]), tolerance);
}
