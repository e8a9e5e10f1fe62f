//! The models a config can name: what they are, and what a step of each costs here.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use losses::Reduction;
use model::ModelConfig;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::backend;
use crate::batches::is_dense;
use crate::cli::ModelsArgs;
use crate::commands::table::{say, table};
use crate::config::{self, Config, Source};
use crate::error::{Error, Result};
use crate::feeder::HostBatch;
use crate::learner::Learner;
use crate::optimizer::{Optimizer, Rates};
use crate::sampler::Wants;
use crate::signals::RunSignals;
use crate::splits::Splits;
use crate::step::{Batch, Context, Stepper};

/// Seconds that the steps of a model may take, about.
const PATIENCE: f64 = 0.5;
/// Steps that are timed, at most.
const STEPS: usize = 9;

/// What a model costs.
struct Cost {
    weights: usize,
    /// Median seconds of a step.
    step: f64,
}

/// Lists the models, and times a step of each.
pub fn run(args: &ModelsArgs) -> Result<()> {
    let all = ModelConfig::all();
    if let Some(unknown) = args.kinds.iter().find(|k| !all.iter().any(|m| m.about().kind == **k)) {
        let known: Vec<&str> = all.iter().map(|m| m.about().kind).collect();
        return Err(Error::Request(format!("no model `{unknown}`; known: {}", known.join(", "))));
    }
    let chosen = backend::choose(args.place.backend, args.place.device)?;
    let sets = [
        format!("data.generate.instances={}", args.batch),
        format!("data.generate.features={}", args.features),
        format!("data.generate.labels={}", args.labels),
        format!("data.generate.active={}", (args.features / 4).max(1)),
        "data.generate.negatives=0.2".into(),
        "data.generate.cardinality=2".into(),
        "data.test=0".into(),
        "data.validation=0".into(),
        format!("train.batch_size={}", args.batch),
    ];
    let config = config::load(Source::Default, &sets)?;
    let splits = Splits::load(&config)?;
    let device = chosen.device.autodiff();
    let mut rows = Vec::new();
    let wanted = |model: &ModelConfig| args.kinds.is_empty() || args.kinds.iter().any(|k| model.about().kind == k);
    // Everything is compared with the first: the MLP.
    for model in all.into_iter().enumerate().filter(|(i, m)| *i == 0 || wanted(m)).map(|(_, m)| m) {
        let cost = measure(&Config { model: model.clone(), ..config.clone() }, &splits, &device)?;
        rows.push((model, cost));
    }
    let base = rows.first().map_or(1.0, |r| r.1.step);
    if args.json {
        let list: Vec<Value> = rows.iter().map(|(m, c)| as_json(m, c, base)).collect();
        let text = serde_json::to_string_pretty(&list).map_err(|e| Error::Job(e.to_string()))?;
        return say(&format!("{text}\n"));
    }
    let mut text = String::new();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|(model, cost)| {
            vec![
                model.about().kind.into(),
                cost.weights.to_string(),
                format!("{:.2} ms", cost.step * 1e3),
                format!("{:.1} ×", cost.step / base),
            ]
        })
        .collect();
    text += &table(&["model.kind", "weights", "a step", "relative to mlp"], &cells);
    text += &format!(
        "measured now on {}: {} features, {} labels, batch {}, with bce and Adam\n",
        chosen.adapter, args.features, args.labels, args.batch
    );
    for (model, _) in &rows {
        let about = model.about();
        text += &format!("\n{}: {} ({})\n  good for: {}\n", about.kind, about.name, about.paper, about.good_for);
        text += &format!("  settings: {}\n", settings(model)?);
    }
    say(&text)
}

/// The default settings, as a config has them.
fn settings(model: &ModelConfig) -> Result<String> {
    let table = toml::Table::try_from(model).map_err(|e| Error::Job(e.to_string()))?;
    let each = table.iter().filter(|(key, _)| *key != "kind").map(|(key, value)| format!("{key} = {value}"));
    Ok(each.collect::<Vec<_>>().join(", "))
}

fn as_json(model: &ModelConfig, cost: &Cost, base: f64) -> Value {
    let mut settings = serde_json::to_value(model).unwrap_or_default();
    settings.as_object_mut().map(|s| s.remove("kind"));
    json!({
        "about": model.about(),
        "settings": settings,
        "weights": cost.weights,
        "step_seconds": cost.step,
        "relative_to_mlp": cost.step / base,
    })
}

/// Trains on one batch again and again.
fn measure(config: &Config, splits: &Splits, device: &Device) -> Result<Cost> {
    let plain = device.clone().without_autodiff();
    let mut learner = Learner::new(config, splits, device)?;
    let weights = learner.model.num_params();
    let loss = config.loss.config.init(&splits.counts, &plain)?;
    let signals = RunSignals::new(config, splits, &plain)?;
    let mut stepper = Stepper::new(&config.train, &learner, &*loss, splits.schema().labels, device);
    let mut optimizer = Optimizer::new(config.optimizer.clone(), config.train.kernels);
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let dense = is_dense(config.model.input(), &splits.train.features, device);
    let context = Context {
        splits,
        loss: &*loss,
        reduction: Reduction::Mean,
        signals: &signals,
        wants: Wants::default(),
        device,
    };
    let rate = config.optimizer.learning_rate();
    let mut times = Vec::new();
    let begun = Instant::now();
    // The first step is not counted: it makes what later ones use again.
    while times.len() < 2 || (times.len() <= STEPS && begun.elapsed().as_secs_f64() < PATIENCE) {
        let started = Instant::now();
        let HostBatch { instances, features, labels } =
            HostBatch::of(&splits.train, (0..splits.train.len()).collect(), dense);
        let features = features.on(device);
        let batch = Batch { instances: &instances, features: &features, labels: &labels, sample: None };
        let (losses, tail) = stepper.forward(context, &learner, &batch, &mut rng)?;
        let mut gradients = stepper.backward(&learner, &features, tail);
        learner = optimizer.step(Rates { model: rate, thresholds: rate }, learner, &mut gradients);
        stepper.recycle(gradients);
        // The device may still be at work: a number of the step waits for it.
        losses.loss.numbers();
        device.sync().map_err(|e| Error::Job(format!("the device: {e:?}")))?;
        times.push(started.elapsed().as_secs_f64());
    }
    let mut counted = times.split_off(1);
    counted.sort_by(f64::total_cmp);
    Ok(Cost { weights, step: counted[counted.len() / 2] })
}
