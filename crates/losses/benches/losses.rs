//! Forward and backward of every loss, to be read as multiples of plain bce in the same run.

use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use data::LabelRows;
use losses::{LossConfig, Reduction, TrainingCounts, fused_pass};
use serde_json::json;

fn bench(c: &mut Criterion) {
    let configs = [
        json!({"kind": "bce"}),
        json!({"kind": "focal"}),
        json!({"kind": "asymmetric"}),
        json!({"kind": "class_balanced"}),
        json!({"kind": "any_class"}),
        json!({"kind": "any_class", "class_balanced": {}}),
        json!({"kind": "zlpr"}),
        json!({"kind": "two_way"}),
        json!({"kind": "distribution_balanced"}),
        json!({"kind": "adaptive_threshold"}),
    ];
    #[expect(deprecated, reason = "the backend is deprecated upstream and kept here by request")]
    let devices = [("flex", Device::flex()), ("ndarray", Device::ndarray())];
    for (backend, device) in devices {
        for [batch, labels] in [[128, 159], [128, 13_330], [1024, 13_330]] {
            let mut group = c.benchmark_group(format!("{backend}/{batch}x{labels}"));
            group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
            let n = batch * labels;
            let logits: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 70.0) * 0.08).collect();
            let targets: Vec<f32> = (0..n).map(|i| f32::from(u8::from(i % 53 == 0))).collect();
            let logits = Tensor::<2>::from_data(TensorData::new(logits, [batch, labels]), &device.clone().autodiff());
            let targets = Tensor::<2>::from_data(TensorData::new(targets, [batch, labels]), &device);
            let counts = TrainingCounts { labels: vec![20; labels], negatives: 10, instances: 10_000 };
            for config in &configs {
                let name = match config.get("class_balanced") {
                    Some(_) => "any_class with class_balanced",
                    None => config["kind"].as_str().unwrap_or_default(),
                };
                let Ok(parsed) = serde_json::from_value::<LossConfig>(config.clone()) else { continue };
                let Ok(loss) = parsed.init(&counts, &device) else { continue };
                group.bench_function(BenchmarkId::from_parameter(name), |b| {
                    b.iter(|| {
                        let z = logits.clone().detach().require_grad();
                        let sum = loss.forward(z.clone(), targets.clone()).reduce(Reduction::Mean);
                        z.grad(&sum.backward())
                    });
                });
            }
        }
    }
}

/// The fused forms: value, losses of instances and gradient in one pass.
fn fused(c: &mut Criterion) {
    for [batch, labels] in [[128usize, 159usize], [128, 13_330], [1024, 13_330]] {
        let mut group = c.benchmark_group(format!("fused/{batch}x{labels}"));
        group.sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
        let logits: Vec<f32> = (0..batch * labels).map(|i| ((i * 37 % 101) as f32 - 70.0) * 0.08).collect();
        let mut targets = LabelRows::new(labels);
        for i in 0..batch {
            let row: Vec<u32> = (0..labels as u32).filter(|l| (i * labels + *l as usize).is_multiple_of(53)).collect();
            targets.push(&row);
        }
        let counts = TrainingCounts { labels: vec![20; labels], negatives: 10, instances: 10_000 };
        for kind in
            ["bce", "focal", "asymmetric", "class_balanced", "any_class", "zlpr", "two_way", "distribution_balanced"]
        {
            let Ok(config) = serde_json::from_value::<LossConfig>(json!({"kind": kind})) else { continue };
            let Ok(loss) = config.init(&counts, &Device::flex()) else { continue };
            let Some(fused) = loss.fused() else { continue };
            let mut values = logits.clone();
            group.bench_function(BenchmarkId::from_parameter(kind), |b| {
                b.iter(|| {
                    values.copy_from_slice(&logits);
                    fused_pass(&fused, &mut values, &targets, None, 1e-3)
                });
            });
        }
    }
}

criterion_group!(benches, bench, fused);
criterion_main!(benches);
