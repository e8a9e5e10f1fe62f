//! Finding the neighbours of all training rows among themselves: sparse products, matmul and top-k, predicted labels.

use std::time::Duration;

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use data::LabelRows;
use data::generate::{Recipe, dataset};
use losses::neighbours::{DenseBank, LabelBank, MemoryLimit, SparseBank};

const K: usize = 20;
const LIMIT: MemoryLimit = MemoryLimit { mebibytes: 8192 };

fn made(instances: usize, features: usize, labels: usize, active: f64) -> data::Dataset {
    let recipe = Recipe { instances, features, labels, active, negatives: 0.0, ..Recipe::default() };
    dataset(&recipe).expect("a recipe within its ranges")
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("neighbours");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(100));
    // The shape of delicious, and the widest bank of sparse rows that a laptop should take.
    for (instances, features, active) in [(12_920, 500, 18.0), (100_000, 10_000, 10.0)] {
        let rows = made(instances, features, 50, active).features;
        let all: Vec<usize> = (0..rows.len()).collect();
        group.bench_function(BenchmarkId::new("sparse", format!("{instances}x{features}")), |b| {
            b.iter(|| SparseBank::new(&rows, LIMIT).map(|bank| bank.nearest(&rows, K, Some(&all))));
        });
    }
    let device = Device::flex();
    for (instances, width) in [(12_920, 256), (1_500, 103)] {
        let rows: Vec<f32> = (0..instances * width).map(|i| ((i * 37 % 1_009) as f32 * 0.01).sin()).collect();
        let all: Vec<usize> = (0..instances).collect();
        group.bench_function(BenchmarkId::new("dense, flex", format!("{instances}x{width}")), |b| {
            b.iter(|| {
                let bank = DenseBank::new(rows.clone(), width, &device, LIMIT);
                bank.map(|bank| bank.nearest(&rows, K, Some(&all), &device))
            });
        });
    }
    let labels: LabelRows = made(12_920, 500, 983, 18.0).labels;
    let probabilities: Vec<f32> = (0..128 * 983).map(|i| ((i * 31 % 997) as f32 / 997.0).powi(4)).collect();
    group.bench_function("predicted, 128 queries among 12920x983", |b| {
        b.iter(|| LabelBank::new(&labels).nearest(&probabilities, K, None));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
