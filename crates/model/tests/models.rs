//! Whole models: their gradients, their forms of input, their weights by name.

#[path = "../../losses/tests/golden/adapter.rs"]
mod adapter;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use burn::backend::fusion::observer::{BlockOperations, FusionObservation, FusionObserver};
use burn::backend::ir::OperationIr;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use data::{LabelGraph, LabelRows};
use model::{Features, LabelLoss, Model, ModelConfig, Outputs, Part, Pass, RowBatch, Task, Weights};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const FEATURES: usize = 6;
const LABELS: usize = 4;
const BATCH: usize = 5;

fn targets() -> LabelRows {
    let mut rows = LabelRows::new(LABELS);
    for row in [&[0u32, 1][..], &[1, 2], &[], &[0, 1, 3], &[3]] {
        rows.push(row);
    }
    rows
}

fn dense(rows: &LabelRows, device: &Device) -> Tensor<2> {
    let mut values = vec![0f32; rows.len() * LABELS];
    rows.rows().enumerate().for_each(|(i, row)| row.iter().for_each(|l| values[i * LABELS + *l as usize] = 1.0));
    Tensor::from_data(TensorData::new(values, [rows.len(), LABELS]), device)
}

fn batch() -> RowBatch {
    let mut rows = RowBatch::new(FEATURES);
    for i in 0..BATCH as u32 {
        let columns: Vec<u32> = (0..FEATURES as u32).filter(|c| (c + i) % 3 != 0).collect();
        let values: Vec<f32> = columns.iter().map(|c| ((c * 7 + i * 3) % 10) as f32 / 10.0).collect();
        rows.push(&columns, &values);
    }
    rows
}

fn features(sparse: bool, device: &Device) -> Features {
    match sparse {
        true => Features::Sparse(Arc::new(batch())),
        false => Features::Dense(Tensor::from_data(TensorData::new(batch().to_dense(), [BATCH, FEATURES]), device)),
    }
}

/// Every kind, small enough to look at all of it.
fn small() -> Vec<ModelConfig> {
    let configs = [
        json!({"kind": "mlp", "hidden": [7, 5], "activation": "leaky_relu"}),
        json!({"kind": "c2ae", "hidden": [8], "label_hidden": 7}),
        json!({"kind": "c2ae", "hidden": [8], "label_hidden": 7, "label_loss": "configured"}),
        json!({"kind": "mpvae", "latent": 3, "samples": 4, "dropout": 0.2}),
        json!({"kind": "clif", "hidden": 9, "layers": 2}),
        json!({"kind": "dela", "latent": 3}),
        json!({"kind": "paca", "latent": 3, "flow_hidden": 8, "sigmoids": 4}),
        json!({"kind": "paca", "latent": 2, "flow_hidden": 8, "sigmoids": 4, "reconstruction": "cross_entropy"}),
    ];
    configs.map(|c: Value| serde_json::from_value(c).unwrap()).to_vec()
}

fn make(config: &ModelConfig, device: &Device) -> Model {
    let graph = LabelGraph::new(&targets());
    config.init(Task { features: FEATURES, labels: LABELS, graph: Some(&graph) }, 3, device).unwrap()
}

/// The losses as a trainer adds them, with bce: the part of the logits, and the model's own.
fn losses(outputs: Outputs, targets: Tensor<2>) -> (Option<Tensor<1>>, Option<Tensor<1>>) {
    let Outputs { logits, judged, weight, parts } = outputs;
    let label = losses::bce(judged.unwrap_or(logits), targets).sum_dim(1).mean().mul_scalar(weight);
    let own = parts.into_iter().map(|(_, part)| match part {
        Part::Instances(values) => values.mean(),
        Part::Batch(value) => value,
    });
    ((weight > 0.0).then_some(label), own.reduce(|a, b| a + b))
}

struct Way {
    sparse: bool,
    fused: bool,
    room: usize,
}

const COMPOSED: Way = Way { sparse: false, fused: false, room: usize::MAX };

struct ByName {
    path: Vec<String>,
    names: BTreeMap<ParamId, String>,
    gradients: Vec<Gradients>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for ByName {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.names.insert(param.id, self.path.join("."));
        for gradients in &mut self.gradients {
            if let Some(gradient) = param.val().grad_remove(gradients) {
                let values = gradient.into_data().try_into_vec().unwrap();
                self.found.insert(self.path.join("."), values);
            }
        }
    }
}

/// The loss of the batch and its gradients by the names of the parameters.
fn run(model: &Model, way: &Way, device: &Device) -> (f64, BTreeMap<String, Vec<f32>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut pass = Pass::train(&mut rng);
    (pass.fused, pass.room) = (way.fused, way.room);
    let plain = device.clone().without_autodiff();
    let targets = dense(&targets(), &plain);
    let outputs = model.outputs(&features(way.sparse, &plain), &targets, &mut pass);
    let (label, own) = losses(outputs, targets);
    let number = |t: &Option<Tensor<1>>| -> f64 {
        t.as_ref().map_or(0.0, |t| f64::from(t.clone().into_data().try_into_vec::<f32>().unwrap()[0]))
    };
    let loss = number(&label) + number(&own);
    let mut all = Vec::new();
    let earlier = match (pass.cut.take(), label) {
        (Some(cut), Some(label)) => {
            let mut later = label.backward();
            let gradient = cut.output.grad_remove(&mut later).unwrap();
            Some(cut.earlier(gradient))
        }
        (_, label) => label,
    };
    let root = earlier.into_iter().chain(own).reduce(|a, b| a + b).unwrap();
    all.push(root.backward());
    let mut visitor = ByName { path: Vec::new(), names: BTreeMap::new(), gradients: all, found: BTreeMap::new() };
    model.visit(&mut visitor);
    for tap in &pass.tape {
        if let model::RowTap::Sum { parameter, rows, output } = tap {
            let gradient = output.grad(&visitor.gradients[0]).unwrap();
            let width = output.dims()[1];
            let view: Vec<f32> = gradient.into_data().try_into_vec().unwrap();
            let rows = model::layers::rows::row_gradient(rows, &view, width, Vec::new());
            let mut all = vec![0.0; FEATURES * width];
            for (k, r) in rows.rows.iter().enumerate() {
                all[*r as usize * width..][..width].copy_from_slice(&rows.values[k * width..][..width]);
            }
            visitor.found.insert(visitor.names[parameter].clone(), all);
        }
    }
    (loss, visitor.found)
}

#[test]
fn every_parameters_gradient_is_the_slope_of_the_loss() {
    let device = Device::flex().autodiff();
    for config in small() {
        let model = make(&config, &device);
        let (_, gradients) = run(&model, &COMPOSED, &device);
        let weights = Weights::of(&model);
        assert!(gradients.len() > 3, "{config:?}");
        for (name, gradient) in &gradients {
            // A rounded gate has no slope: its gradient is that of the gate before rounding, by definition.
            if name.contains("gates") {
                continue;
            }
            // Along its own direction the slope is the gradient's norm.
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let direction: Vec<f64> = gradient.iter().map(|g| f64::from(*g) / norm.max(1e-12)).collect();
            let at = |step: f64| {
                let mut moved = weights.clone();
                let values = &mut moved.0.get_mut(name).unwrap().1;
                values.iter_mut().zip(&direction).for_each(|(v, d)| *v += (step * d) as f32);
                run(&moved.apply(model.clone(), &[]).unwrap(), &COMPOSED, &device).0
            };
            // Where a unit of relu turns over within the step the slope is neither side's: a smaller step sees less.
            let slopes = [4e-3, 2e-3, 1e-3, 3e-4, 1e-4].map(|h| (at(h) - at(-h)) / (2.0 * h));
            let off = slopes.map(|s| (s - norm).abs()).into_iter().fold(f64::INFINITY, f64::min);
            assert!(off < 0.02 * norm + 2e-3, "{config:?} {name}: slopes {slopes:?}, gradient {norm}");
        }
    }
}

#[test]
fn sparse_and_dense_input_fused_and_piecewise_passes_give_the_same_gradients() {
    let device = Device::flex().autodiff();
    for config in small() {
        let model = make(&config, &device);
        let (loss, gradients) = run(&model, &COMPOSED, &device);
        for way in [
            Way { sparse: true, ..COMPOSED },
            Way { fused: true, ..COMPOSED },
            Way { room: 1, ..COMPOSED },
            Way { sparse: true, fused: true, room: 1 },
        ] {
            let (other, found) = run(&model, &way, &device);
            assert!((loss - other).abs() < 1e-5 * loss.abs().max(1.0), "{config:?}: {loss} against {other}");
            let names = |g: &BTreeMap<String, Vec<f32>>| g.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&gradients), names(&found), "{config:?}");
            for (name, expected) in &gradients {
                let largest = expected.iter().fold(1e-2f32, |m, v| m.max(v.abs()));
                for (a, b) in expected.iter().zip(&found[name]) {
                    assert!((a - b).abs() < 1e-4 * largest, "{config:?} {name}: {a} against {b}");
                }
            }
        }
    }
}

/// The kernel of sparse input against the sums on the host, forward and backward.
fn rows_on(gpu: &Device) {
    use model::layers::rows::{row_gradient, row_gradient_on_device, row_sum, row_sum_on_device};
    let (columns, width) = (300, 70);
    let mut rows = RowBatch::new(columns);
    for b in 0..40u32 {
        // Some rows are empty, some columns are nobody's.
        let mut own: Vec<u32> = (0..(b * 5) % 23).map(|k| (k * 13 + b) % 299).collect();
        own.sort_unstable();
        let values: Vec<f32> = own.iter().map(|c| (*c as f32 * 0.7).sin()).collect();
        rows.push(&own, &values);
    }
    let made = |count: usize| (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
    let (weight, upstream) = (made(columns * width), made(40 * width));
    let tensor = |v: &[f32], shape: [usize; 2]| Tensor::<2>::from_data(TensorData::new(v.to_vec(), shape), gpu);
    let close = |found: Tensor<2>, expected: &[f32]| {
        let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).for_each(|(f, e)| assert!((f - e).abs() < 1e-4 * e.abs().max(1.0), "{f}, {e}"));
    };
    close(row_sum_on_device(&rows, tensor(&weight, [columns, width])), &row_sum(&rows, &weight, width));
    let expected = row_gradient(&rows, &upstream, width, Vec::new());
    let (touched, found) = row_gradient_on_device(&rows, tensor(&upstream, [40, width]));
    assert_eq!(touched, expected.rows);
    close(found, &expected.values);
    let mut none = RowBatch::new(columns);
    (0..3).for_each(|_| none.push(&[], &[]));
    close(row_sum_on_device(&none, tensor(&weight, [columns, width])), &vec![0.0; 3 * width]);
}

/// Blocks of operations that a GPU runs as one, by the names of the operations.
struct Blocks(Mutex<Vec<String>>);

impl FusionObserver for Blocks {
    fn registered(&self, _operation: &OperationIr) {}

    fn block_starts(&self, block: BlockOperations<'_>) {
        let names = block.iter().map(|operation| format!("{operation:?}")).collect();
        self.0.lock().unwrap().push(names);
    }

    fn block_ran(&self) {}
}

/// A hidden layer's bias and activation ride along with its matrix product: no pass of their own.
fn bias_and_activation_are_part_of_the_product(gpu: &Device) {
    let config: ModelConfig = serde_json::from_value(json!({"kind": "mlp", "hidden": [64]})).unwrap();
    let model = config.init(Task { features: 100, labels: 30, graph: None }, 3, gpu).unwrap();
    let x = Tensor::<2>::from_data(TensorData::new(vec![0.5f32; 32 * 100], [32, 100]), gpu);
    let none = Tensor::zeros([32, 30], gpu);
    gpu.sync().unwrap();
    let seen = Arc::new(Blocks(Mutex::default()));
    let observation = FusionObservation::new(seen.clone());
    let logits = model.outputs(&Features::Dense(x), &none, &mut Pass::predict()).logits;
    logits.into_data();
    drop(observation);
    let blocks = seen.0.lock().unwrap();
    let is_layer = |block: &&String| ["Matmul(", "Add(", "MaskFill("].iter().all(|name| block.contains(name));
    assert_eq!(blocks.iter().filter(is_layer).count(), 1, "{blocks:#?}");
}

#[test]
fn gradients_on_wgpu_are_those_on_flex() {
    let Some(device) = adapter::gpu("the models are not run") else { return };
    rows_on(&device);
    bias_and_activation_are_part_of_the_product(&device);
    let (flex, gpu) = (Device::flex().autodiff(), device.autodiff());
    // One of each kind: kernels take their time to compile.
    let all = small();
    for config in [1, 3, 4, 5, 6].map(|i| &all[i]) {
        let way = Way { room: 1, ..COMPOSED };
        let (loss, gradients) = run(&make(config, &flex), &way, &flex);
        let way = Way { sparse: true, fused: true, ..way };
        let (other, found) = run(&make(config, &gpu), &way, &gpu);
        assert!((loss - other).abs() < 1e-4 * loss.abs().max(1.0), "{config:?}: {loss}, on wgpu {other}");
        for (name, expected) in &gradients {
            let largest = expected.iter().fold(1e-1f32, |m, v| m.max(v.abs()));
            for (a, b) in expected.iter().zip(&found[name]) {
                assert!((a - b).abs() < 1e-3 * largest, "{config:?} {name}: {a}, on wgpu {b}");
            }
        }
    }
}

#[test]
fn a_batch_without_positives_has_finite_losses_and_gradients() {
    let device = Device::flex().autodiff();
    let plain = device.clone().without_autodiff();
    let mut none = LabelRows::new(LABELS);
    (0..BATCH).for_each(|_| none.push(&[]));
    for config in small() {
        let model = make(&config, &device);
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut pass = Pass::train(&mut rng);
        pass.fused = false;
        let targets = dense(&none, &plain);
        let outputs = model.outputs(&features(false, &plain), &targets, &mut pass);
        let (label, own) = losses(outputs, targets);
        let root = label.into_iter().chain(own).reduce(|a, b| a + b).unwrap();
        assert!(root.clone().into_data().try_into_vec::<f32>().unwrap()[0].is_finite(), "{config:?}");
        let mut visitor = ByName {
            path: Vec::new(),
            names: BTreeMap::new(),
            gradients: vec![root.backward()],
            found: BTreeMap::new(),
        };
        model.visit(&mut visitor);
        assert!(visitor.found.values().flatten().all(|g| g.is_finite()), "{config:?}");
    }
}

#[test]
fn prediction_depends_on_the_weights_alone_and_survives_a_journey_through_bytes() {
    let device = Device::flex();
    for config in small() {
        let model = make(&config, &device);
        let predict = |model: &Model, sparse: bool| -> Vec<f32> {
            let logits = model.forward(&features(sparse, &device), &mut Pass::predict());
            assert_eq!(logits.dims(), [BATCH, LABELS], "{config:?}");
            logits.into_data().try_into_vec().unwrap()
        };
        let expected = predict(&model, false);
        assert_eq!(expected, predict(&model, false), "{config:?}");
        let bytes = Weights::of(&model).to_bytes().unwrap();
        let task = Task { features: FEATURES, labels: LABELS, graph: None };
        let fresh = config.init(task, 99, &device).unwrap();
        assert_ne!(predict(&fresh, false), expected, "{config:?}");
        let stored = Weights::from_bytes(&bytes).unwrap().apply(fresh, &[]).unwrap();
        for (a, b) in predict(&stored, true).iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4, "{config:?}: {a} against {b}");
        }
    }
}

#[test]
fn a_model_says_how_wide_the_layer_is_that_neighbours_are_found_by() {
    let device = Device::flex();
    for config in small() {
        let mut pass = Pass::predict();
        make(&config, &device).forward(&features(false, &device), &mut pass);
        let found = pass.embedding.map(|e| e.dims()[1]);
        assert_eq!(found, config.embedding_width(FEATURES, LABELS), "{config:?}");
    }
}

#[test]
fn settings_out_of_range_and_data_that_does_not_fit_are_refused_by_name() {
    let task = Task { features: FEATURES, labels: LABELS, graph: None };
    let refused = |config: Value, task: Task| {
        let config: ModelConfig = serde_json::from_value(config).unwrap();
        config.init(task, 0, &Device::flex()).err().map(|e| e.to_string()).unwrap()
    };
    for (config, message) in [
        (json!({"kind": "dela", "latent": 0}), "model.latent = 0 is out of range: 1 to 4096, or \"auto\""),
        (json!({"kind": "paca", "latent": 5000}), "model.latent = 5000 is out of range: 1 to 4096, or \"auto\""),
        (json!({"kind": "mpvae", "samples": 0}), "model.samples = 0 is out of range: at least 1"),
        (json!({"kind": "clif", "dropout": 1.0}), "model.dropout = 1 is out of range: at least 0 and below 1"),
        (json!({"kind": "c2ae", "alpha": 0.0}), "model.alpha = 0 is out of range: above 0"),
        (
            json!({"kind": "c2ae", "hidden": []}),
            "model.hidden = [] is out of range: at least one layer, every layer at least 1",
        ),
    ] {
        assert_eq!(refused(config, task), message);
    }
    let one = Task { labels: 1, ..task };
    let message = "model.kind = c2ae: it ranks labels against each other, and the data has only one; \
                   set model.label_loss = \"configured\"";
    assert_eq!(refused(json!({"kind": "c2ae"}), one), message);
    let many = Task { labels: 10_000, ..task };
    let message = "model.kind = clif: its graph is a matrix of labels × labels, for at most 8192 labels; the data has \
                   10000 (data.min_positives leaves out the rarest)";
    assert_eq!(refused(json!({"kind": "clif"}), many), message);
    for config in ModelConfig::all().into_iter().filter(|c| !matches!(c.label_loss(), LabelLoss::Own { .. })) {
        assert!(config.init(one, 0, &Device::flex()).is_ok(), "{config:?}");
    }
}
