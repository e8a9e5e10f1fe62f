//! What holds for every loss, or for every input: gradients by finite differences, symmetries, special cases, extremes.

use burn::tensor::{Device, Tensor, TensorData};
use losses::{LossConfig, LossError, LossValues, Reduction, TrainingCounts, check, margin};
use proptest::prelude::*;
use serde_json::{Value, json};

const B: usize = 4;
const L: usize = 5;

fn counts() -> TrainingCounts {
    TrainingCounts { labels: vec![500, 120, 40, 9, 2], negatives: 300, instances: 900 }
}

fn config(value: Value) -> LossConfig {
    serde_json::from_value(value).unwrap()
}

/// Every loss, and every composition that a config can name.
fn all() -> Vec<Value> {
    vec![
        json!({"kind": "bce"}),
        json!({"kind": "bce", "pos_weight": 3.0}),
        json!({"kind": "focal", "gamma": 2.0, "alpha": 0.25}),
        json!({"kind": "focal", "gamma": 0.5}),
        json!({"kind": "asymmetric", "detach_focusing": false}),
        json!({"kind": "asymmetric", "clip": 0.0, "detach_focusing": false}),
        json!({"kind": "class_balanced", "base": "bce"}),
        json!({"kind": "class_balanced", "base": {"kind": "any_class", "base": {"kind": "focal", "gamma": 1.0}}}),
        json!({"kind": "any_class"}),
        json!({"kind": "any_class", "base": "focal", "lambda": 0.2}),
        json!({"kind": "any_class", "class_balanced": {"instance_weight": "mean"}}),
        json!({"kind": "zlpr"}),
        json!({"kind": "two_way"}),
        json!({"kind": "distribution_balanced"}),
        json!({"kind": "distribution_balanced", "gamma": 2.0}),
        json!({"kind": "adaptive_threshold"}),
        json!({"kind": "adaptive_threshold", "margin": "band", "base": "any_class"}),
        json!({"kind": "adaptive_threshold", "margin_weight": 0.5, "base": {"kind": "class_balanced", "base": "focal"}}),
    ]
}

fn tensor(values: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / L, L]), device)
}

fn vec_of<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn forward(config: &LossConfig, logits: &[f32], targets: &[f32]) -> LossValues {
    let device = Device::flex();
    config.init(&counts(), &device).unwrap().forward(tensor(logits, &device), tensor(targets, &device))
}

fn value(config: &LossConfig, logits: &[f32], targets: &[f32]) -> f64 {
    f64::from(vec_of(forward(config, logits, targets).reduce(Reduction::Sum))[0])
}

fn gradient(config: &LossConfig, logits: &[f32], targets: &[f32]) -> Vec<f32> {
    let device = Device::flex();
    let z = tensor(logits, &device.clone().autodiff()).require_grad();
    let loss = config.init(&counts(), &device).unwrap();
    let sum = loss.forward(z.clone(), tensor(targets, &device)).reduce(Reduction::Sum);
    vec_of(z.grad(&sum.backward()).unwrap())
}

/// A batch with a negative instance, an instance with one label and one with all.
fn example() -> (Vec<f32>, Vec<f32>) {
    let logits = (0..B * L).map(|i| ((i * 7 % 20) as f32 - 9.5) * 0.31).collect();
    let targets = [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 0, 1, 0], [1, 1, 1, 1, 1]];
    (logits, targets.iter().flatten().map(|t| *t as f32).collect())
}

#[test]
fn gradients_agree_with_finite_differences() {
    let (logits, targets) = example();
    for case in all() {
        let loss = config(case.clone());
        let found = gradient(&loss, &logits, &targets);
        for i in 0..logits.len() {
            let h = 2e-2f32;
            let at = |d: f32| {
                let mut z = logits.clone();
                z[i] += d;
                value(&loss, &z, &targets)
            };
            // Five points: the error of the rule is far below that of 32-bit values.
            let expected = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * f64::from(h));
            let limit = 2e-3 * expected.abs().max(0.25);
            assert!((f64::from(found[i]) - expected).abs() < limit, "{case} [{i}]: {} against {expected}", found[i]);
        }
    }
}

#[test]
fn values_and_gradients_are_finite_at_the_extremes() {
    let (_, targets) = example();
    for scale in [0.0, 1e-30, 40.0, 80.0] {
        for flip in [1.0, -1.0] {
            let logits: Vec<f32> = (0..B * L).map(|i| if i % 3 == 0 { flip * scale } else { -flip * scale }).collect();
            for case in all() {
                let loss = config(case.clone());
                assert!(value(&loss, &logits, &targets).is_finite(), "{case} at ±{scale}");
                let gradient = gradient(&loss, &logits, &targets);
                assert!(gradient.iter().all(|g| g.is_finite()), "{case} at ±{scale}: {gradient:?}");
            }
        }
    }
}

#[test]
fn values_are_never_negative_and_gradients_at_zero_logits_are_right() {
    let (_, targets) = example();
    let zeros = vec![0.0; B * L];
    for case in all() {
        assert!(value(&config(case.clone()), &zeros, &targets) >= 0.0, "{case}");
    }
    let gradient = gradient(&config(json!({"kind": "bce"})), &zeros, &targets);
    for (g, y) in gradient.iter().zip(&targets) {
        assert!((g - (0.5 - y) / B as f32).abs() < 1e-7);
    }
}

#[test]
fn zlpr_and_two_way_equal_their_formulas() {
    let (logits, targets) = example();
    let z = |i: usize, l: usize| f64::from(logits[i * L + l]);
    let y = |i: usize, l: usize| targets[i * L + l] == 1.0;
    let zlpr = vec_of(forward(&config(json!({"kind": "zlpr"})), &logits, &targets).per_instance());
    for (i, found) in zlpr.iter().enumerate() {
        let side = |present: bool, sign: f64| {
            let sum: f64 = (0..L).filter(|&l| y(i, l) == present).map(|l| (sign * z(i, l)).exp()).sum();
            (1.0 + sum).ln()
        };
        let expected = side(true, -1.0) + side(false, 1.0);
        assert!((f64::from(*found) - expected).abs() < 1e-5 * expected.max(1.0));
    }
    let softplus = |v: f64| v.max(0.0) + (-v.abs()).exp().ln_1p();
    let one = |pairs: Vec<(f64, bool)>| {
        let positive: f64 = pairs.iter().filter(|p| p.1).map(|p| (-p.0 / 4.0).exp()).sum();
        let negative: f64 = pairs.iter().filter(|p| !p.1).map(|p| p.0.exp()).sum();
        if positive == 0.0 || negative == 0.0 { 0.0 } else { softplus(negative.ln() + 4.0 * positive.ln()) }
    };
    // Three of the four instances have a label, and every label has an instance.
    let instances: f64 = (0..B).map(|i| one((0..L).map(|l| (z(i, l), y(i, l))).collect())).sum::<f64>() / 3.0;
    let classes: f64 = (0..L).map(|l| one((0..B).map(|i| (z(i, l), y(i, l))).collect())).sum::<f64>() / L as f64;
    let found = value(&config(json!({"kind": "two_way"})), &logits, &targets);
    assert!((found - instances - classes).abs() < 1e-5 * found, "{found} against {}", instances + classes);
}

#[test]
fn distribution_balanced_equals_its_formula() {
    let (logits, targets) = example();
    let found = vec_of(forward(&config(json!({"kind": "distribution_balanced"})), &logits, &targets).labels.unwrap());
    let counts = counts();
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    for i in 0..B {
        let repeats: f64 = (0..L).filter(|&l| targets[i * L + l] == 1.0).map(|l| 1.0 / counts.labels[l] as f64).sum();
        for l in 0..L {
            let n = counts.labels[l] as f64;
            let z = f64::from(logits[i * L + l]) - 0.05 * (900.0 / n - 1.0).ln();
            let weight = 0.1 + if repeats == 0.0 { 1.0 } else { sigmoid(10.0 * (1.0 / n / repeats - 0.2)) };
            let loss = match targets[i * L + l] == 1.0 {
                true => (-z).exp().ln_1p(),
                false => (2.0 * z).exp().ln_1p() / 2.0,
            };
            let expected = weight * loss;
            assert!((f64::from(found[i * L + l]) - expected).abs() < 1e-5 * expected.max(0.1), "{i} {l}");
        }
    }
}

#[test]
fn margins_hold_on_the_right_side_or_on_either() {
    let device = Device::flex();
    let distance = tensor(&[0.3, 0.05, -0.05, -0.3, 0.0], &device);
    let targets = tensor(&[1.0, 1.0, 1.0, 0.0, 0.0], &device);
    let near = |found: Vec<f32>, expected: [f32; 5]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} against {expected:?}");
    };
    near(vec_of(margin::hinge(distance.clone(), targets, 0.1)), [0.0, 0.05, 0.15, 0.0, 0.1]);
    near(vec_of(margin::band(distance, 0.1)), [0.0, 0.05, 0.05, 0.0, 0.1]);
}

#[test]
fn settings_out_of_range_or_contradicting_are_refused() {
    let refused = |value: Value| match config(value).init(&counts(), &Device::flex()) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("accepted"),
    };
    let cases = [
        (json!({"kind": "focal", "gamma": -1.0}), "loss.gamma = -1 is out of range: at least 0"),
        (json!({"kind": "focal", "alpha": 1.5}), "loss.alpha = 1.5 is out of range: between 0 and 1"),
        (json!({"kind": "asymmetric", "clip": 1.0}), "loss.clip = 1 is out of range: at least 0 and below 1"),
        (json!({"kind": "any_class", "lambda": 1.2}), "loss.lambda = 1.2 is out of range: between 0 and 1"),
        (json!({"kind": "class_balanced", "beta": 1.0}), "loss.beta = 1 is out of range: at least 0 and below 1"),
        (
            json!({"kind": "class_balanced", "base": {"kind": "focal", "gamma": -2.0}}),
            "loss.base.gamma = -2 is out of range: at least 0",
        ),
        (json!({"kind": "two_way", "temperature_pos": 0.0}), "loss.temperature_pos = 0 is out of range: above 0"),
        (json!({"kind": "bce", "pos_weight": [1.0, 2.0]}), "loss: pos_weight has 2 values, the data has 5 labels"),
        (
            json!({"kind": "any_class", "base": "bce", "gamma": 2.0}),
            "loss: any_class.gamma belongs to base = \"focal\"; base is bce",
        ),
        (
            json!({"kind": "any_class", "base": "asymmetric"}),
            "loss: any_class is defined over bce and focal; put other wrappers around it, not inside",
        ),
        (
            json!({"kind": "class_balanced", "base": "adaptive_threshold"}),
            "loss: class_balanced goes inside adaptive_threshold, as its base, not around it",
        ),
        (
            json!({"kind": "adaptive_threshold", "base": "adaptive_threshold"}),
            "loss: adaptive_threshold over adaptive_threshold: a label has one threshold",
        ),
        (
            json!({"kind": "adaptive_threshold", "base": {"kind": "focal", "gamma": -2.0}}),
            "loss.base.gamma = -2 is out of range: at least 0",
        ),
        (
            json!({"kind": "class_balanced", "base": "zlpr"}),
            "loss: class_balanced weighs the values of labels; zlpr and two_way have none per label",
        ),
        (
            json!({"kind": "class_balanced", "base": {"kind": "any_class", "class_balanced": {}}}),
            "loss: class_balanced over any_class with class_balanced of its own weighs labels twice",
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(refused(value), expected);
    }
}

#[test]
fn targets_and_shapes_that_do_not_fit_are_named() {
    let device = Device::flex();
    let logits = tensor(&[0.0; 10], &device);
    assert_eq!(check(&logits, &tensor(&[1.0; 10], &device), false), Ok(()));
    let soft = tensor(&[0.5; 10], &device);
    assert_eq!(
        check(&logits, &soft, false).unwrap_err().to_string(),
        "target 0.5 of instance 0, label 0 is not 0 or 1; soft targets are an option of bce alone (loss.soft_targets)"
    );
    assert_eq!(check(&logits, &soft, true), Ok(()));
    let outside = tensor(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0], &device);
    assert_eq!(
        check(&logits, &outside, true).unwrap_err().to_string(),
        "target 1.5 of instance 1, label 1 is outside [0, 1]"
    );
    let error = check(&logits, &tensor(&[1.0; 5], &device), false).unwrap_err();
    assert_eq!(error, LossError::Shape { logits: [2, 5], targets: [1, 5] });
    assert!(error.to_string().starts_with("logits [2, 5] and targets [1, 5] must have the same shape"));
}

prop_compose! {
    fn batch()(
        logits in prop::collection::vec(-6.0f32..6.0, B * L),
        targets in prop::collection::vec(prop::bool::ANY, B * L),
        negative in 0..B,
    ) -> (Vec<f32>, Vec<f32>) {
        let targets = targets.iter().enumerate().map(|(i, t)| f32::from(u8::from(*t && i / L != negative))).collect();
        (logits, targets)
    }
}

fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-5 * a.abs().max(1.0))
}

fn permuted(rows: &[f32], order: &[usize]) -> Vec<f32> {
    order.iter().flat_map(|&i| rows[i * L..(i + 1) * L].to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn permuting_instances_permutes_their_values((logits, targets) in batch(), order in Just((0..B).collect::<Vec<_>>()).prop_shuffle()) {
        for case in all() {
            let loss = config(case.clone());
            let whole = vec_of(forward(&loss, &logits, &targets).per_instance());
            let moved = vec_of(forward(&loss, &permuted(&logits, &order), &permuted(&targets, &order)).per_instance());
            let expected: Vec<f32> = order.iter().map(|&i| whole[i]).collect();
            prop_assert!(near(&moved, &expected), "{} {:?} {:?}", case, moved, expected);
        }
    }

    #[test]
    fn permuting_labels_permutes_their_values((logits, targets) in batch(), order in Just((0..L).collect::<Vec<_>>()).prop_shuffle()) {
        let columns = |rows: &[f32]| -> Vec<f32> {
            rows.chunks(L).flat_map(|row| order.iter().map(|&l| row[l]).collect::<Vec<_>>()).collect()
        };
        let device = Device::flex();
        for case in all() {
            let loss = config(case.clone());
            let whole = forward(&loss, &logits, &targets);
            let mut moved_counts = counts();
            moved_counts.labels = order.iter().map(|&l| counts().labels[l]).collect();
            let moved = loss.init(&moved_counts, &device).unwrap()
                .forward(tensor(&columns(&logits), &device), tensor(&columns(&targets), &device));
            prop_assert!(near(&vec_of(moved.per_instance()), &vec_of(whole.per_instance())), "{}", case);
            if let (Some(a), Some(b)) = (moved.labels, whole.labels) {
                prop_assert!(near(&vec_of(a), &columns(&vec_of(b))), "{}", case);
            }
        }
    }

    #[test]
    fn special_settings_are_other_losses((logits, targets) in batch()) {
        let of = |value: Value| vec_of(forward(&config(value), &logits, &targets).per_instance());
        let bce = of(json!({"kind": "bce"}));
        let same = of(json!({"kind": "focal", "gamma": 0.0}));
        prop_assert!(near(&same, &bce));
        let same = of(json!({"kind": "any_class", "alpha": 0.0}));
        prop_assert!(near(&same, &bce));
        let same = of(json!({"kind": "class_balanced", "beta": 0.0}));
        prop_assert!(near(&same, &bce));
        let same = of(json!({"kind": "bce", "soft_targets": true}));
        prop_assert!(near(&same, &bce));
        let same = of(json!({"kind": "bce", "pos_weight": 1.0}));
        prop_assert!(near(&same, &bce));
        let asymmetric = json!({"kind": "asymmetric", "gamma_pos": 0.0, "gamma_neg": 0.0, "clip": 0.0});
        prop_assert!(near(&of(asymmetric), &bce));
        let same = of(json!({"kind": "adaptive_threshold", "margin_weight": 0.0}));
        prop_assert!(near(&same, &bce));
        let focal = of(json!({"kind": "focal", "gamma": 1.5}));
        let any = json!({"kind": "any_class", "alpha": 0.0, "base": {"kind": "focal", "gamma": 1.5}});
        prop_assert!(near(&of(any), &focal));
        let same = json!({"kind": "asymmetric", "gamma_pos": 1.5, "gamma_neg": 1.5, "clip": 0.0});
        prop_assert!(near(&of(same), &focal));
    }

    #[test]
    fn presence_is_the_normalised_weighted_geometric_mean((logits, targets) in batch(), lambda in 0.0f64..1.0) {
        let device = Device::flex();
        let found = vec_of(losses::presence_logits(tensor(&logits, &device), tensor(&targets, &device), lambda));
        for i in 0..B {
            let row = &targets[i * L..(i + 1) * L];
            let positive = row.contains(&1.0);
            let weight = |l: usize| if !positive || row[l] == 1.0 { 1.0 } else { lambda };
            let total: f64 = (0..L).map(weight).sum();
            let (mut yes, mut no) = (1.0f64, 1.0f64);
            for l in 0..L {
                let p = 1.0 / (1.0 + (-f64::from(logits[i * L + l])).exp());
                yes *= p.powf(weight(l) / total);
                no *= (1.0 - p).powf(weight(l) / total);
            }
            let naive = yes / (yes + no);
            let p = 1.0 / (1.0 + (-f64::from(found[i])).exp());
            prop_assert!((p - naive).abs() < 1e-5, "{} against {}", p, naive);
        }
    }

    #[test]
    fn a_negative_instance_pushes_every_logit_down((logits, _) in batch()) {
        let targets = vec![0.0; B * L];
        for case in all() {
            // Two-way compares positives with negatives: without a positive it is silent.
            if case["kind"] == "two_way" || case["kind"] == "asymmetric" {
                continue;
            }
            let gradient = gradient(&config(case.clone()), &logits, &targets);
            prop_assert!(gradient.iter().all(|g| *g > 0.0), "{} {:?}", case, gradient);
        }
    }
}
