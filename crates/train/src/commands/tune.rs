//! Thresholds and calibration of a stored model, chosen on validation data.

use metrics::ThresholdsConfig;
use metrics::calibration::scaling::ScalingMethod;
use metrics::thresholds::Method;

use crate::backend;
use crate::cli::{CalibrationChoice, TuneArgs, TuneMethod};
use crate::commands::table;
use crate::config::{self, Source};
use crate::error::{Error, Result};
use crate::results;
use crate::rules::Rules;
use crate::run_folder::{Protocol, RunFolder};
use crate::splits::{Splits, read_like};
use crate::stored_model;

/// Tunes, stores the rules, and looks at the run's splits again.
pub fn run(args: &TuneArgs) -> Result<()> {
    let folder = RunFolder::open(&args.run)?;
    let config = config::load(Source::File(&folder.path().join("config.toml")), &[])?;
    let mut description = stored_model::describe(folder.path())?;
    let (thresholds, calibration) = (thresholds(args), calibration(args.calibration));
    thresholds.check()?;
    let source = stored_model::source_of_prediction(&description)?;
    let chosen = backend::choose(args.place.backend, args.place.device)?;
    let splits = Splits::load(&config)?;
    let predictor = stored_model::load(folder.path(), &description, source, &chosen.device)?;
    let given = match &args.data {
        Some(path) => Some(read_like(path, &config.data, &description)?),
        None => None,
    };
    description.rules = match given.as_ref().or(splits.validation.as_ref()) {
        Some(validation) => Rules::choose(&thresholds, calibration, &predictor, validation, &description.counts)?,
        None => Rules::without_validation(&thresholds, calibration).map_err(|_| {
            let message = "no validation data to choose on; train with data.validation, or give a file with --data";
            Error::Request(format!("{}: {message}", args.run.display()))
        })?,
    };
    let mut metrics = folder.metrics()?;
    let before = std::mem::take(&mut metrics.split);
    let comparable = metrics.protocol == Protocol::Standard;
    let method = metrics.thresholds.clone();
    metrics.baseline.clear();
    let mut last = None;
    let mut text = String::new();
    for (name, set) in [("validation", &splits.validation), ("test", &splits.test)] {
        let Some(set) = set else { continue };
        let result = results::look(name, set, false, &predictor, &description, &config.report)?;
        metrics.record(name, &result, &predictor, &description);
        let old = before.get(name).filter(|_| comparable);
        text += &table::before_after(name, &method, old, thresholds.name(), &result.table);
        last = Some(result);
    }
    stored_model::save_description(folder.path(), &description)?;
    let path = results::write(&folder, &metrics, last.as_ref())?;
    text += &format!("stored in {}\nreport: {}\n", args.run.join("model/model.json").display(), path.display());
    table::say(&text)
}

fn thresholds(args: &TuneArgs) -> ThresholdsConfig {
    let method = match args.method {
        TuneMethod::Fixed => Method::Fixed,
        TuneMethod::Global => Method::Global,
        TuneMethod::PerLabel => Method::PerLabel,
        TuneMethod::Cardinality => Method::Cardinality,
        TuneMethod::TopK => Method::TopK,
    };
    let (value, objective, min_positives, k) = (args.value, args.objective, args.min_positives, args.k);
    ThresholdsConfig { method, value, objective, min_positives, k }
}

fn calibration(choice: CalibrationChoice) -> ScalingMethod {
    match choice {
        CalibrationChoice::None => ScalingMethod::None,
        CalibrationChoice::Temperature => ScalingMethod::Temperature,
        CalibrationChoice::Platt => ScalingMethod::Platt,
    }
}
