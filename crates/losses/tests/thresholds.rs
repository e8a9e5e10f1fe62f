//! Gradients of the learnt thresholds by finite differences, through every link and signal; the oracle signals; the
//! parts of an explanation.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use losses::{AdaptiveThresholds, LossConfig, Reduction, TrainingCounts};
use serde_json::{Value, json};

const B: usize = 3;
const L: usize = 4;

fn counts() -> TrainingCounts {
    // The last label has no positive in training.
    TrainingCounts { labels: vec![30, 8, 2, 0], negatives: 5, instances: 50 }
}

fn tensor(values: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / L, L]), device)
}

fn wave(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step + 0.3).sin()).collect()
}

/// Logits, then λ̂, α, β, b, one after the other.
fn numbers() -> Vec<f32> {
    [wave(B * L, 1.7), vec![0.4], wave(L, 0.9), wave(L, 2.3), wave(L, 1.1)].concat()
}

const SIZES: [usize; 5] = [B * L, 1, L, L, L];

fn pieces(numbers: &[f32]) -> Vec<&[f32]> {
    let mut rest = numbers;
    SIZES
        .iter()
        .map(|n| {
            let (piece, after) = rest.split_at(*n);
            rest = after;
            piece
        })
        .collect()
}

/// The loss at these numbers, and its gradient where asked for.
fn loss(config: &Value, numbers: &[f32], gradient: bool) -> (f64, Vec<f32>) {
    let device = Device::flex();
    let autodiff = device.clone().autodiff();
    let config: LossConfig = serde_json::from_value(config.clone()).unwrap();
    let pieces = pieces(numbers);
    let param = |v: &[f32]| Param::from_tensor(Tensor::<1>::from_floats(v, &autodiff));
    let mut learnt = config.thresholds().unwrap().init_thresholds(&counts(), 0, &autodiff);
    (learnt.lambda, learnt.alpha, learnt.beta, learnt.bias) =
        (param(pieces[1]), param(pieces[2]), param(pieces[3]), param(pieces[4]));
    let logits = tensor(pieces[0], &autodiff).require_grad();
    let rarity = tensor(&wave(B * L, 0.7).iter().map(|v| v + 1.5).collect::<Vec<_>>(), &device);
    let votes = tensor(&wave(B * L, 1.3).iter().map(|v| v.abs()).collect::<Vec<_>>(), &device);
    let targets = tensor(&[1., 0., 0., 0., 0., 1., 1., 0., 0., 0., 0., 1.], &device);
    let distance = learnt.distance(logits.clone(), Some(rarity), Some(votes));
    let sum = config.init(&counts(), &device).unwrap().forward(distance, targets).reduce(Reduction::Sum);
    let value = f64::from(sum.clone().into_data().iter::<f32>().next().unwrap());
    if !gradient {
        return (value, Vec::new());
    }
    let gradients = sum.backward();
    let mut out: Vec<f32> = logits.grad(&gradients).unwrap().into_data().iter().collect();
    for (param, size) in [&learnt.lambda, &learnt.alpha, &learnt.beta, &learnt.bias].into_iter().zip(&SIZES[1..]) {
        match param.val().grad(&gradients) {
            Some(found) => out.extend(found.into_data().iter::<f32>()),
            None => out.extend(vec![0.0; *size]),
        }
    }
    (value, out)
}

#[test]
fn gradients_of_thresholds_and_logits_agree_with_finite_differences() {
    for config in [
        json!({"signals": "both"}),
        json!({"signals": "knn", "margin": "band"}),
        json!({"signals": "idf", "link": "logistic"}),
        json!({"signals": "both", "link": "logistic", "standardise": true, "base": "any_class"}),
        json!({"signals": "static", "standardise": true}),
    ] {
        let mut config = config;
        config["kind"] = "adaptive_threshold".into();
        let numbers = numbers();
        let (_, found) = loss(&config, &numbers, true);
        for i in 0..numbers.len() {
            let h = 1e-2f32;
            let at = |d: f32| {
                let mut moved = numbers.clone();
                moved[i] += d;
                loss(&config, &moved, false).0
            };
            let expected = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * f64::from(h));
            let limit = 3e-3 * expected.abs().max(0.25);
            assert!((f64::from(found[i]) - expected).abs() < limit, "{config} [{i}]: {} against {expected}", found[i]);
        }
    }
}

fn learnt(config: Value, device: &Device) -> AdaptiveThresholds {
    let config: LossConfig = serde_json::from_value(config).unwrap();
    config.thresholds().unwrap().init_thresholds(&counts(), 7, device)
}

#[test]
fn an_unseen_label_has_the_static_threshold_and_no_gradient() {
    let device = Device::flex().autodiff();
    let made = learnt(json!({"kind": "adaptive_threshold", "static_threshold": 0.25}), &device);
    let ones = Tensor::<2>::ones([B, L], &device);
    let theta = made.thresholds(Some(ones.clone()), Some(ones));
    let bias = made.bias.val().grad(&theta.clone().sum().backward()).unwrap();
    assert_eq!(bias.into_data().iter::<f32>().collect::<Vec<_>>(), [3.0, 3.0, 3.0, 0.0]);
    assert!(theta.into_data().iter::<f32>().skip(3).step_by(4).all(|t| t == 0.25));
}

#[test]
fn the_start_depends_on_the_seed_alone_and_is_small() {
    let flat = |device: &Device| -> Vec<f32> {
        let made = learnt(json!({"kind": "adaptive_threshold"}), device);
        [made.alpha, made.beta, made.bias, made.lambda]
            .iter()
            .flat_map(|p| p.val().into_data().iter().collect::<Vec<f32>>())
            .collect()
    };
    let start = flat(&Device::flex());
    #[expect(deprecated, reason = "the backend is deprecated upstream and kept here by request")]
    let other = flat(&Device::ndarray());
    assert_eq!(start, other);
    assert!(start[..2 * L].iter().all(|v| *v != 0.0 && v.abs() < 0.06) && start[2 * L..].iter().all(|v| *v == 0.0));
}

#[test]
fn the_parts_of_an_explanation_add_up_to_the_threshold() {
    let device = Device::flex();
    for link in ["identity", "logistic"] {
        let made = learnt(json!({"kind": "adaptive_threshold", "link": link}), &device);
        let (rarity, votes) = (wave(L, 0.8), wave(L, 0.4));
        let theta = made.thresholds(Some(tensor(&rarity, &device)), Some(tensor(&votes, &device)));
        let explainer = made.explainer();
        for (l, theta) in theta.into_data().iter::<f32>().enumerate() {
            let parts = explainer.parts(l, f64::from(rarity[l]), f64::from(votes[l]));
            assert!((explainer.threshold(parts) - f64::from(theta)).abs() < 1e-6, "{link} {l}: {parts:?}");
        }
    }
}
