//! Drawing batches of 128 from a million instances, and telling the sampler of them.

use std::time::Duration;

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use data::generate::{Recipe, dataset};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use train::sampler::{SamplerConfig, Seen};

fn bench(c: &mut Criterion) {
    let recipe = Recipe { instances: 1_000_000, features: 100, labels: 1_000, active: 5.0, ..Recipe::default() };
    let Ok(data) = dataset(&recipe) else { return };
    let mut group = c.benchmark_group("a batch of 128 of 1,000,000");
    group.sample_size(20).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    for kind in ["random", "adaptive", "chain", "hardest"] {
        let config = match kind {
            "adaptive" | "chain" => serde_json::json!({"kind": kind, "warmup": 0, "imbalance": false}),
            "hardest" => serde_json::json!({"kind": kind, "warmup": 0}),
            _ => serde_json::json!({"kind": kind}),
        };
        let Ok(config) = serde_json::from_value::<SamplerConfig>(config) else { continue };
        let Ok(mut sampler) = config.init(&data, 128, 1_000, &Device::flex()) else { continue };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        sampler.start(0, &mut rng);
        let losses: Vec<f32> = (0..128).map(|i| i as f32 * 0.01).collect();
        let mut epoch = 0;
        group.bench_function(BenchmarkId::from_parameter(kind), |b| {
            b.iter(|| {
                let batch = sampler.next(&mut rng).or_else(|| {
                    epoch += 1;
                    sampler.start(epoch, &mut rng);
                    sampler.next(&mut rng)
                });
                if let Some(batch) = batch {
                    sampler.observe(&batch, Seen { losses: &losses[..batch.len()], probabilities: &[] });
                }
            });
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
