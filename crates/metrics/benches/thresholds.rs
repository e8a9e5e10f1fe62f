//! Choosing thresholds on validation scores: 100,000 instances × 1,000 labels, and a tenth of the instances.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use data::LabelRows;
use metrics::calibration::scaling::{Calibration, ScalingMethod};
use metrics::thresholds::Method;
use metrics::{Scores, ThresholdsConfig};

const LABELS: usize = 1_000;

/// Scores that rise with the truth; label l has one positive in 20 + l instances.
fn made(instances: usize) -> (Vec<f32>, LabelRows) {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let (mut values, mut targets) = (Vec::with_capacity(instances * LABELS), LabelRows::new(LABELS));
    for _ in 0..instances {
        let mut row = Vec::new();
        for l in 0..LABELS {
            let positive = draw() < 1.0 / (20 + l) as f32;
            values.push(if positive { 0.2 + 0.8 * draw() } else { 0.6 * draw() });
            if positive {
                row.push(l as u32);
            }
        }
        targets.push(&row);
    }
    (values, targets)
}

fn bench(c: &mut Criterion) {
    for instances in [10_000, 100_000] {
        let (values, targets) = made(instances);
        let mut group = c.benchmark_group(format!("thresholds/{instances}x{LABELS}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(100));
        let scores = Scores::Dense { columns: LABELS, values };
        let shares = vec![0.02; LABELS];
        let all = ["per_label f1_macro", "per_label f1_micro", "global f1_macro", "global f1_micro", "cardinality"];
        for text in &all[..if instances > 10_000 { 2 } else { 5 }] {
            let (method, objective) = text.split_once(' ').unwrap_or((*text, ""));
            let method = match method {
                "global" => Method::Global,
                "cardinality" => Method::Cardinality,
                _ => Method::PerLabel,
            };
            let objective = objective.parse().unwrap_or_default();
            let config = ThresholdsConfig { method, objective, ..ThresholdsConfig::default() };
            group.bench_function(BenchmarkId::from_parameter(text), |b| {
                b.iter(|| config.choose(&scores, &targets, &shares));
            });
        }
        if let Scores::Dense { values, .. } = &scores
            && instances == 10_000
        {
            for method in [ScalingMethod::Temperature, ScalingMethod::Platt] {
                group.bench_function(BenchmarkId::from_parameter(method.name()), |b| {
                    b.iter(|| Calibration::fit(method, LABELS, values, &targets));
                });
            }
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
