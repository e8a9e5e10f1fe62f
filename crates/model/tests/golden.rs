//! The closed-form losses of the deep models against numbers computed with PyTorch autograd in float64, with gradients,
//! on every backend.

#[path = "../../losses/tests/golden/adapter.rs"]
mod adapter;

use burn::tensor::{Device, Tensor, TensorData};
use model::layers::gaussian::{Normal, divergence};
use model::layers::link_loss;
use model::{correlation_loss, gated_divergence, pair_ranking, probit_samples, sampled_likelihood, sampled_ranking};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

fn shape(mut value: &Value) -> Vec<usize> {
    let mut out = Vec::new();
    while let Value::Array(list) = value {
        out.push(list.len());
        value = &list[0];
    }
    out
}

fn close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let limit = (tolerance * e.abs()).max(tolerance / 10.0);
        assert!((f64::from(*f) - e).abs() <= limit, "{what}[{i}]: {f}, expected {e}");
    }
}

/// One case, on one device.
struct Case<'a> {
    name: &'a str,
    numbers: &'a Value,
    device: &'a Device,
    tolerance: f64,
}

impl Case<'_> {
    /// An input; one that the golden file has a gradient by is a leaf.
    fn input<const D: usize>(&self, key: &str) -> Tensor<D> {
        let value = &self.numbers[key];
        let values: Vec<f32> = numbers(value).iter().map(|v| *v as f32).collect();
        let shape: [usize; D] = shape(value).try_into().unwrap();
        let data = TensorData::new(values, shape);
        match self.numbers["gradients"].get(key) {
            Some(_) => Tensor::from_data(data, &self.device.clone().autodiff()).require_grad(),
            None => Tensor::from_data(data, self.device),
        }
    }

    fn check(&self, value: Tensor<1>, leaves: &[(&str, &Tensor<2>)]) {
        let found: Vec<f32> = value.clone().into_data().try_into_vec().unwrap();
        close(self.name, &found, &numbers(&self.numbers["value"]), self.tolerance);
        let gradients = value.backward();
        assert_eq!(self.numbers["gradients"].as_object().unwrap().len(), leaves.len(), "{}", self.name);
        for (key, leaf) in leaves {
            let found: Vec<f32> = leaf.grad(&gradients).unwrap().into_data().try_into_vec().unwrap();
            let expected = numbers(&self.numbers["gradients"][*key]);
            close(&format!("{} gradient by {key}", self.name), &found, &expected, self.tolerance);
        }
    }
}

fn check_all(device: &Device, tolerance: f64) {
    let golden: Value = serde_json::from_str(include_str!("golden/model_losses.json")).unwrap();
    let cases = golden.as_object().unwrap();
    assert_eq!(cases.len(), 7);
    for (name, numbers) in cases {
        let case = Case { name, numbers, device, tolerance };
        match name.as_str() {
            "dela_kl" => {
                let (mean, log_variance) = (case.input("mean"), case.input("log_variance"));
                let code = Normal { mean: mean.clone(), log_variance: log_variance.clone() };
                let value = gated_divergence(&code, case.input("gates")).mean();
                case.check(value, &[("mean", &mean), ("log_variance", &log_variance)]);
            }
            "clif_link" => {
                let embedding = case.input("embedding");
                case.check(link_loss(embedding.clone(), case.input("adjacency")), &[("embedding", &embedding)]);
            }
            "paca_kl" => {
                let keys = ["x_mean", "x_log_variance", "y_mean", "y_log_variance"];
                let t = keys.map(|k| case.input::<2>(k));
                let normal = |i: usize| Normal { mean: t[i].clone(), log_variance: t[i + 1].clone() };
                let leaves: Vec<_> = keys.into_iter().zip(&t).collect();
                case.check(divergence(&normal(0), &normal(2)).mean(), &leaves);
            }
            "c2ae_correlation" => {
                let (f, e) = (case.input("feature_code"), case.input("label_code"));
                let value = correlation_loss(f.clone(), e.clone(), 0.5);
                case.check(value, &[("feature_code", &f), ("label_code", &e)]);
            }
            "c2ae_ranking" => {
                let scores = case.input("scores");
                case.check(pair_ranking(scores.clone(), case.input("targets")).mean(), &[("scores", &scores)]);
            }
            "mpvae_nll" | "mpvae_ranking" => {
                let (mean, root) = (case.input("mean"), case.input("root_covariance"));
                let probabilities = probit_samples(mean.clone(), root.clone(), case.input("noise"));
                let targets = case.input("targets");
                let value = match name.as_str() {
                    "mpvae_nll" => sampled_likelihood(probabilities, targets),
                    _ => sampled_ranking(probabilities, targets),
                };
                case.check(value.mean(), &[("mean", &mean), ("root_covariance", &root)]);
            }
            other => panic!("no such loss: {other}"),
        }
    }
}

#[test]
fn golden_model_losses_and_gradients_on_flex() {
    check_all(&Device::flex(), 1e-5);
}

#[test]
fn golden_model_losses_and_gradients_on_ndarray() {
    #[expect(deprecated, reason = "the backend is deprecated upstream and kept here by request")]
    let device = Device::ndarray();
    check_all(&device, 1e-5);
}

#[test]
fn golden_model_losses_and_gradients_on_wgpu() {
    let Some(device) = adapter::gpu("the model losses are not checked") else { return };
    check_all(&device, 1e-4);
}
