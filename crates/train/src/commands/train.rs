//! The main job.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data::Dataset;
use metrics::ThresholdsConfig;
use metrics::calibration::scaling::ScalingMethod;

use crate::backend::{self, Chosen};
use crate::checkpoint::Which;
use crate::cli::{EventLog, TrainArgs};
use crate::commands::{folds, predict, table};
use crate::config::{self, Config, Source};
use crate::error::{Error, Result};
use crate::progress::Display;
use crate::report;
use crate::results;
use crate::rules::Rules;
use crate::run_folder::{Existing, Metrics, Protocol, RunFolder};
use crate::sampler::SamplerConfig;
use crate::splits::Splits;
use crate::stored_bank;
use crate::stored_model::{self, Description};
use crate::trainer::{Outcome, Trainer};

pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Trains.
pub fn run(args: &TrainArgs, display: Display) -> Result<()> {
    let config = read_config(args)?;
    let chosen = backend::choose(args.place.backend, args.place.device)?;
    let folder = open_folder(args)?.with_tensorboard(args.log.contains(&EventLog::Tensorboard));
    watch_for_interrupts()?;
    let outcome = match (config.data.folds, config.data.fold) {
        (Some(folds), None) => folds::run(args.resume.is_some(), &config, folds, &chosen, &folder, display),
        _ => in_folder(args.resume, &config, &chosen, &folder, display).and_then(|text| table::say(&text)),
    };
    if outcome.is_err() {
        // A request refused before anything was written leaves no empty folder behind.
        folder.discard();
    }
    outcome
}

/// One run in its folder, new or continued; returns what to say of it.
pub(super) fn in_folder(
    resume: Option<Which>,
    config: &Config,
    chosen: &Chosen,
    folder: &RunFolder,
    display: Display,
) -> Result<String> {
    let splits = Splits::load(config)?;
    announce(config, chosen, &splits);
    let (mut trainer, mut learner) = Trainer::new(config, &splits, folder, &chosen.device, &INTERRUPTED)?;
    match resume {
        Some(which) => learner = trainer.resume(learner, which)?,
        None => {
            folder.write_config(config)?;
            folder.write_environment(chosen, config.seed, &splits)?;
        }
    }
    let trained = Trained { dense: trainer.is_dense(), predicts: trainer.predicts() };
    let outcome = trainer.run(learner, display)?;
    finish(&Run { config, chosen, splits: &splits, folder }, &outcome, &trained)
}

pub(super) fn watch_for_interrupts() -> Result<()> {
    let handler = || {
        // The second one does not wait for a checkpoint.
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Job(format!("cannot watch for interrupts: {e}")))
}

/// What a run is made of.
struct Run<'a> {
    config: &'a Config,
    chosen: &'a Chosen,
    splits: &'a Splits,
    folder: &'a RunFolder,
}

/// What the trainer knows of the model it made.
struct Trained {
    /// Features reach it as a matrix.
    dense: bool,
    /// It can be evaluated without true labels.
    predicts: bool,
}

/// The config of a new run, or the stored one of a run that goes on.
fn read_config(args: &TrainArgs) -> Result<Config> {
    let source = args.config.as_deref().map_or(Source::Default, Source::File);
    let (Some(_), Some(out)) = (args.resume, &args.out) else {
        let folds = args.folds.map(|k| format!("data.folds={k}"));
        let mut config = config::load(source, &[&args.set[..], folds.as_slice()].concat())?;
        config::resolve_paths(&mut config, source);
        return Ok(config);
    };
    RunFolder::open(out)?;
    let file = out.join("config.toml");
    let stored = config::load(Source::File(&file), &[])?;
    let source = args.config.as_deref().map_or(Source::File(&file), Source::File);
    let mut wanted = config::load(source, &args.set)?;
    if args.config.is_some() {
        config::resolve_paths(&mut wanted, source);
    }
    let mut same = wanted.clone();
    same.train.epochs = stored.train.epochs;
    same.train.checkpoint_seconds = stored.train.checkpoint_seconds;
    if same != stored {
        let message =
            "the settings differ from the run's; only train.epochs and train.checkpoint_seconds may change on --resume";
        return Err(Error::Request(format!("{}: {message}", file.display())));
    }
    Ok(wanted)
}

fn open_folder(args: &TrainArgs) -> Result<RunFolder> {
    if let (Some(_), Some(out)) = (args.resume, &args.out) {
        return RunFolder::open(out);
    }
    let name = args.config.as_deref().and_then(Path::file_stem).and_then(|s| s.to_str()).unwrap_or("default");
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    RunFolder::create(args.out.as_deref(), name, existing)
}

fn announce(config: &Config, chosen: &Chosen, splits: &Splits) {
    let size = |set: &Option<Dataset>| set.as_ref().map_or(0, Dataset::len);
    let negatives = 100.0 * splits.counts.negatives as f64 / splits.counts.instances.max(1) as f64;
    tracing::info!(
        "{} training, {} validation, {} test instances; {} features, {} labels, {negatives:.0} % negatives; \
         {} on {}; batch {}, {} epochs",
        splits.train.len(),
        size(&splits.validation),
        size(&splits.test),
        splits.schema().features,
        splits.schema().labels,
        chosen.backend,
        chosen.adapter,
        config.train.batch_size,
        config.train.epochs,
    );
}

/// Stores the model, chooses its rules, evaluates it, writes the report and says where it is.
fn finish(run: &Run, outcome: &Outcome, trained: &Trained) -> Result<String> {
    let Run { config, chosen, splits, folder } = run;
    let schema = splits.schema();
    let list = |names: &Option<Arc<data::Names>>| names.as_ref().map(|n| n.list().to_vec());
    let adaptive = config.loss.config.thresholds();
    let mut description = Description {
        version: stored_model::VERSION,
        model: config.model.clone(),
        features: schema.features,
        labels: schema.labels,
        label_names: list(&schema.label_names),
        feature_names: list(&schema.feature_names),
        one_based: schema.one_based,
        preprocess: splits.preprocess.clone(),
        dense: trained.dense,
        rules: Rules::without_validation(&ThresholdsConfig::default(), ScalingMethod::None)?,
        adaptive_threshold: adaptive.cloned(),
        kept: splits.kept.clone(),
        counts: splits.counts.clone(),
    };
    stored_model::save(folder.path(), &description, &outcome.weights)?;
    if let Some(settings) = adaptive {
        stored_bank::keep(folder.path(), settings, splits, &description, &chosen.device)?;
    }
    let mut metrics = Metrics {
        thresholds: config.thresholds.name().to_owned(),
        epoch: outcome.epoch,
        train_seconds: outcome.seconds,
        instances_per_second: outcome.instances as f64 / outcome.seconds.max(1e-9),
        ..Metrics::default()
    };
    let mut last = None;
    let mut text = String::new();
    if trained.predicts {
        let source = stored_model::source_of_prediction(&description)?;
        let predictor = stored_model::load(folder.path(), &description, source, &chosen.device)?;
        let (thresholds, calibration) = (&config.thresholds, config.calibration.method);
        description.rules = match &splits.validation {
            Some(set) => Rules::choose(thresholds, calibration, &predictor, set, &splits.counts)?,
            None => Rules::without_validation(thresholds, calibration)?,
        };
        stored_model::save_description(folder.path(), &description)?;
        for (name, set) in [("validation", &splits.validation), ("test", &splits.test)] {
            let Some(set) = set else { continue };
            let result = results::look(name, set, false, &predictor, &description, &config.report)?;
            // The test split's table is the result; validation's is shown where there is no test data.
            text = table::metrics(name, &result.table, Some(&result.baseline), Protocol::Standard);
            if name == "test" && config.report.predictions {
                let path = folder.path().join("predictions.jsonl");
                predict::write_split(&path, &description, &result.scores, Protocol::Standard)?;
            }
            metrics.record(name, &result, &predictor, &description);
            last = Some(result);
        }
    }
    if config.sampler != SamplerConfig::Random {
        folder.write_json(report::SAMPLING, &report::Sampling::new(&outcome.seen, &splits.train))?;
    }
    let path = results::write(folder, &metrics, last.as_ref())?;
    let seconds = outcome.seconds;
    let speed = metrics.instances_per_second;
    text += &format!("trained in {seconds:.1} s ({speed:.0} instances/s), model of epoch {}\n", outcome.epoch);
    text += &format!("report: {}\n", path.display());
    Ok(text)
}
