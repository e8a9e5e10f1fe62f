//! The reference recipe on real data, and the backends against each other.

use std::path::Path;

use tests::{Workspace, read_json, real_data};

/// `scripts/reference`'s numbers: data, loss, then mean and deviation of each metric.
const EXPECTED: &str = include_str!("../../configs/reference/expected.txt");
const METRICS: [&str; 5] = ["f1_macro", "f1_micro", "map_macro", "precision_at_1", "precision_at_3"];

fn config(set: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../configs/reference/{set}.toml")).display().to_string()
}

fn within_tolerance(set: &str, loss: &str) {
    if real_data().is_none() {
        return;
    }
    let line = EXPECTED.lines().find(|l| l.starts_with(&format!("{set} {loss} "))).unwrap();
    let numbers: Vec<f64> = line.split(' ').skip(2).map(|v| v.parse().unwrap()).collect();
    let w = Workspace::default();
    let mut sums = [0.0; 5];
    for seed in 0..5 {
        let (run, seed) = (format!("run-{seed}"), format!("seed={seed}"));
        let loss = format!("loss.kind={loss}");
        w.ok(&["--config", &config(set), "--set", &seed, "--set", &loss, "--backend", "flex", "--out", &run]);
        let metrics = w.json(&format!("{run}/metrics.json"));
        for (sum, name) in sums.iter_mut().zip(METRICS) {
            *sum += metrics["split"]["test"][name].as_f64().unwrap();
        }
    }
    for (i, name) in METRICS.iter().enumerate() {
        let (mean, expected, limit) = (sums[i] / 5.0, numbers[2 * i], (3.0 * numbers[2 * i + 1]).max(0.01));
        assert!((mean - expected).abs() <= limit, "{set} {loss} {name}: {mean}, expected {expected} ± {limit}");
    }
}

#[test]
fn emotions_with_bce() {
    within_tolerance("emotions", "bce");
}

#[test]
fn yeast_with_bce() {
    within_tolerance("yeast", "bce");
}

#[test]
fn enron_with_bce() {
    within_tolerance("enron", "bce");
}

#[test]
fn emotions_with_any_class() {
    within_tolerance("emotions", "any_class");
}

#[test]
fn medical_with_any_class() {
    within_tolerance("medical", "any_class");
}

/// Five epochs of emotions, or of made data where the real set is absent, on every backend: the same loss within 1 %.
#[test]
fn wgpu_backends_end_with_the_same_loss() {
    let w = Workspace::default();
    let devices: serde_json::Value = serde_json::from_str(&w.ok(&["devices", "--json"]).out).unwrap();
    let no_adapter = devices["adapters"].as_array().unwrap().is_empty();
    if no_adapter {
        eprintln!("SKIPPED: no Vulkan, Metal or DX12 adapter, wgpu is not compared");
    }
    let config = config("emotions");
    let job: Vec<&str> = match real_data() {
        Some(_) => vec!["--config", &config],
        None => tests::SMALL[2..].to_vec(),
    };
    let mut losses = Vec::new();
    for backend in ["flex", "ndarray", "wgpu"].iter().take(if no_adapter { 2 } else { 3 }) {
        let args = [&job[..], &["--set", "train.epochs=5", "--backend", backend, "--out", backend]].concat();
        let mut command = w.command(&args);
        command.env("CUBECL_AUTOTUNE_LEVEL", "minimal");
        let ran = tests::Ran::of(&mut command);
        assert_eq!(ran.code, 0, "{backend}: {}", ran.err);
        let events = w.timeless_events(backend);
        losses.push(events.last().unwrap()["loss"].as_f64().unwrap());
        let model = read_json(&w.path(backend).join("model/model.json"));
        assert_eq!(model["version"], 2);
    }
    for loss in &losses[1..] {
        assert!((loss / losses[0] - 1.0).abs() < 0.01, "{losses:?}");
    }
    if no_adapter {
        return;
    }
    // Sparse rows on a device: only those that a batch names are copied, get a gradient and are updated.
    let last_loss = |backend: &str| {
        let more = [
            "--set",
            "train.epochs=2",
            "--set",
            "model.input=sparse",
            "--backend",
            backend,
            "--out",
            "sparse",
            "--force",
        ];
        let mut command = w.command(&[&tests::SMALL[2..], &more].concat());
        let ran = tests::Ran::of(command.env("CUBECL_AUTOTUNE_LEVEL", "minimal"));
        assert_eq!(ran.code, 0, "{backend}: {}", ran.err);
        w.timeless_events("sparse").last().unwrap()["loss"].as_f64().unwrap()
    };
    let (flex, wgpu) = (last_loss("flex"), last_loss("wgpu"));
    assert!((flex / wgpu - 1.0).abs() < 1e-4, "{flex}, wgpu {wgpu}");
}
