//! Metrics of a stored model.

use data::Dataset;
use losses::NeighbourSource;
use metrics::MetricTable;
use serde_json::{Map, Value};

use crate::backend;
use crate::cli::{EvaluateArgs, SplitName};
use crate::commands::{predict, table};
use crate::config::{self, Config, Source};
use crate::error::{Error, Result};
use crate::results::{self, SplitResult};
use crate::run_folder::{Protocol, RunFolder};
use crate::splits::{Splits, read_like};
use crate::stored_model::{self, Description};

/// Evaluates. Results on one of the run's own splits are stored in the run too.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let folder = RunFolder::open(&args.run)?;
    let config = config::load(Source::File(&folder.path().join("config.toml")), &[])?;
    let description = stored_model::describe(folder.path())?;
    let source = source(args, &description)?;
    let chosen = backend::choose(args.place.backend, args.place.device)?;
    let (name, set) = data(args, &config, &description)?;
    let mut predictor = stored_model::load(folder.path(), &description, source, &chosen.device)?;
    let protocol = results::protocol(&predictor);
    if protocol == Protocol::Oracle {
        predictor = predictor.with_batch(config.train.batch_size);
    }
    let own = args.data.is_none() && args.split == SplitName::Train;
    let result = results::look(&name, &set, own, &predictor, &description, &config.report)?;
    if let Some(path) = &args.predictions {
        predict::write_split(path, &description, &result.scores, protocol)?;
    }
    if args.data.is_none() {
        let mut metrics = folder.metrics()?;
        metrics.record(&name, &result, &predictor, &description);
        results::write(&folder, &metrics, Some(&result))?;
    }
    say(args, &name, &result, protocol)
}

/// The neighbours asked for; true labels vote only where an oracle was asked for by name.
fn source(args: &EvaluateArgs, description: &Description) -> Result<Option<NeighbourSource>> {
    let Some(config) = &description.adaptive_threshold else {
        if args.oracle || args.neighbours.is_some() {
            return Err(Error::Request(format!(
                "{}: the model has no thresholds that use neighbours",
                args.run.display()
            )));
        }
        return Ok(None);
    };
    let source = match (args.neighbours, args.oracle) {
        (Some(source), _) => Some(source),
        (None, true) => config.uses_neighbours().then_some(config.neighbours),
        (None, false) => stored_model::source_of_prediction(description)?,
    };
    let is_oracle = source.is_some_and(NeighbourSource::is_oracle) || config.has_oracle_rarity();
    match (is_oracle, args.oracle) {
        (true, false) => {
            let name = source.filter(|s| s.is_oracle()).map_or("loss.idf = authors", NeighbourSource::name);
            Err(Error::Request(format!(
                "{name} needs the true labels; --oracle lets them help, and says so everywhere"
            )))
        }
        (false, true) => {
            let name = source.map_or("no neighbours", NeighbourSource::name);
            Err(Error::Request(format!(
                "--oracle: the thresholds use {name}, which need no true labels; name an oracle with --neighbours batch_labels"
            )))
        }
        _ => Ok(source),
    }
}

fn data(args: &EvaluateArgs, config: &Config, description: &Description) -> Result<(String, Dataset)> {
    if let Some(path) = &args.data {
        let set = read_like(path, &config.data, description)?;
        return Ok((path.display().to_string(), set));
    }
    let splits = Splits::load(config)?;
    let (name, set) = match args.split {
        SplitName::Train => ("train", Some(splits.train)),
        SplitName::Validation => ("validation", splits.validation),
        SplitName::Test => ("test", splits.test),
    };
    let missing = || Error::Request(format!("{}: the run has no {name} split", args.run.display()));
    Ok((name.to_owned(), set.ok_or_else(missing)?))
}

fn say(args: &EvaluateArgs, name: &str, result: &SplitResult, protocol: Protocol) -> Result<()> {
    if !args.json {
        return table::say(&table::metrics(name, &result.table, Some(&result.baseline), protocol));
    }
    let text = match protocol {
        Protocol::Standard => serde_json::to_string_pretty(&result.table),
        Protocol::Oracle => serde_json::to_string_pretty(&marked(&result.table)),
    };
    table::say(&format!("{}\n", text.map_err(|e| Error::Job(e.to_string()))?))
}

/// An oracle's metrics, which say what they are.
fn marked(table: &MetricTable) -> Map<String, Value> {
    let mut out = Map::from_iter([("protocol".to_owned(), Value::from("oracle"))]);
    out.extend(table.iter().map(|(name, value)| (name.to_owned(), value.into())));
    out
}
