//! Samplers against golden numbers, and what they draw against what they should.

use burn::tensor::Device;
use data::{Dataset, FeatureRows, LabelGraph, LabelRows, Schema};
use losses::neighbours::{DenseBank, MemoryLimit, Metric, SparseBank};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use train::sampler::{Sampler, SamplerConfig, Seen, instance_weights, local_imbalance, probabilities, quantise};

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/batch_selection.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

fn label_rows(value: &Value) -> LabelRows {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    let mut out = LabelRows::new(rows[0].len());
    for row in rows {
        out.push(&(0..).zip(row).filter(|e| e.1 == 1.0).map(|e| e.0).collect::<Vec<u32>>());
    }
    out
}

fn feature_rows(value: &Value) -> FeatureRows {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    let mut out = FeatureRows::new(rows[0].len());
    for row in rows {
        out.push(&(0..).zip(row).map(|e| (e.0, e.1 as f32)).collect::<Vec<_>>());
    }
    out
}

#[test]
fn golden_probabilities_to_1e_9() {
    let golden = &golden()["quantised"];
    let losses = numbers(&golden["losses"]);
    for case in golden["cases"].as_array().unwrap() {
        let (found, indices) = probabilities(&losses, case["selection_pressure"].as_f64().unwrap());
        assert_eq!(indices, numbers(&case["index"]).iter().map(|q| *q as usize).collect::<Vec<_>>());
        for (a, b) in found.iter().zip(numbers(&case["probability"])) {
            assert!((a - b).abs() < 1e-9, "{a} against {b}");
        }
    }
}

#[test]
fn golden_imbalance_to_1e_9_by_both_kinds_of_neighbours() {
    let golden = &golden()["imbalance"];
    let (features, labels) = (feature_rows(&golden["features"]), label_rows(&golden["labels"]));
    let all: Vec<usize> = (0..features.len()).collect();
    let (limit, device) = (MemoryLimit { mebibytes: 64 }, Device::flex());
    let dense = features.to_dense();
    let bank = DenseBank::with_metric(Metric::Euclidean, dense.clone(), 4, &device, limit).unwrap();
    let sparse = SparseBank::new(&features, limit).unwrap();
    for found in
        [bank.closest(&dense, 5, Some(&all), &device), sparse.closest(Metric::Euclidean, &features, 5, Some(&all))]
    {
        let near: Vec<Vec<u32>> = found.iter().map(|n| n.iter().map(|e| e.1).collect()).collect();
        let imbalance = local_imbalance(&labels, &near);
        assert_eq!(imbalance.minority, numbers(&golden["minority"]).iter().map(|l| *l as u32).collect::<Vec<_>>());
        let expected: Vec<f64> = numbers(&golden["local_imbalance"]);
        for (i, own) in imbalance.local.iter().enumerate() {
            for l in 0..labels.columns() {
                let c = own.iter().find(|e| e.0 as usize == l).map_or(0.0, |e| e.1);
                assert!((c - expected[i * labels.columns() + l]).abs() < 1e-9, "instance {i}, label {l}");
            }
        }
        for (w, e) in instance_weights(&imbalance, labels.columns()).iter().zip(numbers(&golden["instance_weight"])) {
            assert!((w - e).abs() < 1e-9);
        }
    }
}

#[test]
fn weights_share_the_local_imbalance_of_each_label() {
    let mut labels = LabelRows::new(2);
    for i in 0..12u32 {
        labels.push(if i < 2 { &[0, 1] } else { &[0] });
    }
    // Instance 0 has one neighbour with the rare label of two, instance 1 one of four.
    let near: Vec<Vec<u32>> = (0..12).map(|i| if i == 0 { vec![1, 2] } else { vec![0, 3, 4, 5] }).collect();
    let found = local_imbalance(&labels, &near);
    assert_eq!(
        (found.minority.as_slice(), &found.local[0], &found.local[1]),
        (&[1u32][..], &vec![(1, 0.5)], &vec![(1, 0.75)])
    );
    let weights = instance_weights(&found, 2);
    assert!((weights[0] - 1.4).abs() < 1e-12 && (weights[1] - 1.6).abs() < 1e-12 && weights[2] == 1.0, "{weights:?}");
}

#[test]
fn golden_label_graph_to_1e_9() {
    let golden = golden();
    let labels = label_rows(&golden["imbalance"]["labels"]);
    let graph = LabelGraph::new(&labels);
    let expected = numbers(&golden["label_graph"]["adjacency"]);
    for a in 0..labels.columns() {
        for b in 0..labels.columns() {
            let found = graph.of(a as u32).iter().find(|e| e.0 as usize == b).map_or(0.0, |e| e.1);
            assert!((found - expected[a * labels.columns() + b]).abs() < 1e-9, "{a} {b}");
        }
    }
}

/// Instances of which every third is negative, the others carry one to three of ten labels.
fn made(instances: usize) -> Dataset {
    let (mut features, mut labels) = (FeatureRows::new(4), LabelRows::new(11));
    for i in 0..instances as u32 {
        features.push(&[(i % 4, 1.0 + (i % 7) as f32)]);
        let mut row: Vec<u32> = if i % 3 == 0 { vec![] } else { vec![i % 10, (i / 3) % 10, (i * i) % 10] };
        row.sort_unstable();
        row.dedup();
        labels.push(&row);
    }
    let schema = Schema { features: 4, labels: 11, ..Schema::default() };
    Dataset { features, labels, schema, missing: 0, unknown_features: 0 }
}

/// Without imbalance weights: they would be kept in the user's cache.
fn sampler(mut config: Value, data: &Dataset, batch: usize, epochs: usize) -> Box<dyn Sampler> {
    if config["kind"] == "adaptive" || config["kind"] == "chain" {
        config["imbalance"] = false.into();
    }
    let config: SamplerConfig = serde_json::from_value(config).unwrap();
    config.init(data, batch, epochs, &Device::flex()).unwrap()
}

/// Runs an epoch in which instance i has loss `loss(i)` and probabilities `loss(i)` for all labels.
fn epoch(
    sampler: &mut dyn Sampler,
    number: usize,
    rng: &mut ChaCha8Rng,
    labels: usize,
    loss: impl Fn(usize) -> f32,
) -> Vec<Vec<usize>> {
    sampler.start(number, rng);
    let mut out = Vec::new();
    while let Some(batch) = sampler.next(rng) {
        let losses: Vec<f32> = batch.iter().map(|&i| loss(i)).collect();
        let probabilities: Vec<f32> = losses.iter().flat_map(|l| vec![l.min(1.0); labels]).collect();
        let wants = sampler.wants();
        let seen = Seen {
            losses: if wants.losses { &losses } else { &[] },
            probabilities: if wants.probabilities { &probabilities } else { &[] },
        };
        sampler.observe(&batch, seen);
        out.push(batch);
    }
    out
}

/// χ² of counts against shares.
fn chi_squared(counts: &[f64], shares: &[f64]) -> f64 {
    let total: f64 = counts.iter().sum();
    counts.iter().zip(shares).map(|(c, p)| (c - total * p).powi(2) / (total * p)).sum()
}

#[test]
fn drawn_frequencies_match_the_probabilities() {
    let data = made(40);
    let loss = |i: usize| (i + 1) as f32 * 0.05;
    for (kind, pressure) in [("adaptive", 16.0), ("adaptive", 64.0), ("adaptive", 1.0)] {
        let config = json!({"kind": kind, "pressure": pressure, "warmup": 1});
        // Batches of one: without replacement inside a batch changes nothing.
        let mut sampler = sampler(config, &data, 1, 3_000);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        epoch(&mut *sampler, 0, &mut rng, 11, loss);
        let mut counts = vec![0.0; 40];
        for e in 1..=2_500 {
            epoch(&mut *sampler, e, &mut rng, 11, loss).concat().iter().for_each(|&i| counts[i] += 1.0);
        }
        let values: Vec<f64> = (0..40).map(|i| f64::from(loss(i))).collect();
        let (shares, _) = probabilities(&values, pressure);
        assert_eq!(counts.iter().sum::<f64>(), 100_000.0);
        // 39 degrees of freedom: 72.1 is the 99.9 % point.
        let found = chi_squared(&counts, &shares);
        assert!(found < 72.1, "{kind} at {pressure}: χ² = {found}");
    }
}

#[test]
fn every_selector_draws_whole_batches_without_repetition_after_its_warm_up() {
    let data = made(101);
    for kind in ["adaptive", "chain", "hardest", "boundary", "uncertainty"] {
        let mut sampler = sampler(json!({"kind": kind, "warmup": 2}), &data, 16, 6);
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for number in 0..6 {
            let batches = epoch(&mut *sampler, number, &mut rng, 11, |i| (i % 13) as f32 * 0.07);
            assert_eq!(batches.len(), 7, "{kind}");
            let mut all = batches.concat();
            all.sort_unstable();
            if number < 2 {
                assert_eq!(all, (0..101).collect::<Vec<_>>(), "{kind}: a warm-up epoch");
                continue;
            }
            assert_eq!(all.len(), 7 * 16, "{kind}");
            for batch in batches {
                let mut sorted = batch.clone();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), batch.len(), "{kind}: an instance twice in a batch");
            }
        }
    }
}

#[test]
fn what_is_hard_undecided_or_unsteady_comes_more_often() {
    let data = made(200);
    // Odd instances: large losses, probabilities near one half.
    let loss = |i: usize| if i % 2 == 1 { 0.5 } else { 0.01 };
    for kind in ["adaptive", "chain", "hardest", "boundary", "uncertainty"] {
        let config = match kind {
            "hardest" => json!({"kind": kind, "warmup": 1}),
            _ => json!({"kind": kind, "warmup": 1, "pressure": 16.0}),
        };
        let mut sampler = sampler(config, &data, 20, 40);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let drawn: Vec<usize> =
            (0..30).flat_map(|e| epoch(&mut *sampler, e, &mut rng, 11, loss).concat()).skip(200).collect();
        let odd = drawn.iter().filter(|i| **i % 2 == 1).count() as f64 / drawn.len() as f64;
        assert!(odd > 0.6, "{kind}: {odd}");
        assert!(drawn.iter().any(|i| data.labels.row(*i).is_empty()), "{kind}: no negative instance");
    }
}

#[test]
fn an_instance_after_the_first_of_a_chain_carries_the_linked_label() {
    // Labels in pairs: 0-1, 2-3, …; negative instances among them.
    let (mut features, mut labels) = (FeatureRows::new(1), LabelRows::new(10));
    for i in 0..120u32 {
        features.push(&[(0, i as f32)]);
        let pair = (i % 5) * 2;
        match i % 4 {
            0 => labels.push(&[]),
            1 => labels.push(&[pair]),
            2 => labels.push(&[pair + 1]),
            _ => labels.push(&[pair, pair + 1]),
        }
    }
    let schema = Schema { features: 1, labels: 10, ..Schema::default() };
    let data = Dataset { features, labels, schema, missing: 0, unknown_features: 0 };
    let mut sampler = sampler(json!({"kind": "chain", "warmup": 0}), &data, 24, 50);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (mut linked, mut negative, mut labelled) = (0, 0, 0);
    for e in 0..50 {
        for batch in epoch(&mut *sampler, e, &mut rng, 10, |_| 1.0) {
            let mut at = 0;
            while at < batch.len() {
                let own = data.labels.row(batch[at]);
                if own.is_empty() {
                    negative += 1;
                    at += 1;
                    continue;
                }
                labelled += 1;
                // A chain over a pair of labels has two instances, the second with a label of the same pair.
                if let Some(next) = batch.get(at + 1) {
                    assert!(data.labels.row(*next).iter().any(|l| l / 2 == own[0] / 2), "{:?}", &batch[at..]);
                    linked += 1;
                }
                at += 2;
            }
        }
    }
    assert!(linked > 1_000 && negative > 300 && labelled > 1_000, "{linked} {negative} {labelled}");
}

#[test]
fn losses_that_are_all_equal_or_zero_select_evenly() {
    let data = made(30);
    for value in [0.0, 0.7] {
        let mut sampler = sampler(json!({"kind": "adaptive", "warmup": 1, "pressure": 64.0}), &data, 1, 1_000);
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut counts = vec![0.0; 30];
        for e in 0..900 {
            let drawn = epoch(&mut *sampler, e, &mut rng, 11, |_| value).concat();
            if e > 0 {
                drawn.iter().for_each(|&i| counts[i] += 1.0);
            }
        }
        // 29 degrees of freedom: 58.3 is the 99.9 % point.
        let found = chi_squared(&counts, &vec![1.0 / 30.0; 30]);
        assert!(found < 58.3, "{value}: χ² = {found}");
    }
    assert_eq!((quantise(0.3, 0.0, 10), quantise(f64::NAN, 0.1, 10), quantise(9.0, 0.1, 10)), (0, 10, 10));
}

/// Draws a batch and tells the sampler of it.
type Step<'a> = &'a mut dyn FnMut(&mut dyn Sampler, &mut ChaCha8Rng) -> Option<Vec<usize>>;

#[test]
fn a_state_put_back_draws_what_the_sampler_would_have_drawn() {
    let data = made(90);
    for config in [
        json!({"kind": "random"}),
        json!({"kind": "adaptive", "warmup": 1}),
        json!({"kind": "adaptive", "warmup": 1, "refresh": "epoch"}),
        json!({"kind": "chain", "warmup": 1, "refresh": "epoch"}),
        json!({"kind": "chain", "warmup": 1}),
        json!({"kind": "hardest", "warmup": 1}),
        json!({"kind": "boundary", "warmup": 1}),
        json!({"kind": "uncertainty", "warmup": 1}),
    ] {
        for stop in [0, 3] {
            let mut whole = sampler(config.clone(), &data, 8, 6);
            let mut rng = ChaCha8Rng::seed_from_u64(6);
            let loss = |i: usize| (i * 7 % 23) as f32 * 0.04;
            for e in 0..3 {
                epoch(&mut *whole, e, &mut rng, 11, loss);
            }
            whole.start(3, &mut rng);
            let mut step = |s: &mut dyn Sampler, rng: &mut ChaCha8Rng| {
                let batch = s.next(rng)?;
                let losses: Vec<f32> = batch.iter().map(|&i| loss(i) * 0.5).collect();
                let wide: Vec<f32> = losses.iter().flat_map(|l| vec![*l; 11]).collect();
                s.observe(&batch, Seen { losses: &losses, probabilities: &wide });
                Some(batch)
            };
            for _ in 0..stop {
                step(&mut *whole, &mut rng);
            }
            let mut other = sampler(config.clone(), &data, 8, 6);
            other.restore(whole.state());
            let mut other_rng = rng.clone();
            let rest = |s: &mut dyn Sampler, rng: &mut ChaCha8Rng, step: Step| {
                let mut out = Vec::new();
                while let Some(batch) = step(s, rng) {
                    out.push(batch);
                }
                s.start(4, rng);
                out.push(s.next(rng).unwrap());
                out
            };
            let expected = rest(&mut *whole, &mut rng, &mut step);
            assert_eq!(rest(&mut *other, &mut other_rng, &mut step), expected, "{config} after {stop}");
        }
    }
}

#[test]
fn settings_out_of_range_are_refused_with_the_key() {
    let data = made(30);
    let refused = |config: Value, batch: usize| {
        let config: SamplerConfig = serde_json::from_value(config).unwrap();
        config.init(&data, batch, 5, &Device::flex()).err().map(|e| e.to_string())
    };
    assert_eq!(
        refused(json!({"kind": "adaptive"}), 31).as_deref(),
        Some("train.batch_size = 31 is larger than the training data: 30 instances to select from")
    );
    assert_eq!(refused(json!({"kind": "random"}), 31), None);
    assert_eq!(refused(json!({"kind": "hardest"}), 30), None);
}
