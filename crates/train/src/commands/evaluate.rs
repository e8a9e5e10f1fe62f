//! Metrics of a stored model.

use burn::module::Module;

use crate::backend;
use crate::cli::{EvaluateArgs, SplitName};
use crate::commands::table;
use crate::config::{self, Source};
use crate::error::{Error, Result};
use crate::evaluation::{Judge, frequency_scores, score};
use crate::run_folder::RunFolder;
use crate::splits::{Splits, read_like};
use crate::stored_model;

/// Evaluates.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let folder = RunFolder::open(&args.run)?;
    let config = config::load(Source::File(&folder.path().join("config.toml")), &[])?;
    let description = stored_model::describe(folder.path())?;
    let chosen = backend::choose(args.place.backend, args.place.device)?;
    let (name, set) = match &args.data {
        Some(path) => {
            let set = read_like(path, &config.data, &description.schema(), &description.preprocess)?;
            (path.display().to_string(), set)
        }
        None => {
            let splits = Splits::load(&config)?;
            let (name, set) = match args.split {
                SplitName::Train => ("train", Some(splits.train)),
                SplitName::Validation => ("validation", splits.validation),
                SplitName::Test => ("test", splits.test),
            };
            let missing = || Error::Request(format!("{}: the run has no {name} split", args.run.display()));
            (name.to_owned(), set.ok_or_else(missing)?)
        }
    };
    let model = stored_model::load(folder.path(), &description, &chosen.device)?.valid();
    let mut judge = Judge::new(&config.thresholds, &config.report, &description.counts);
    judge.thresholds.clone_from(&description.thresholds);
    let scored = score(&model, &set, description.dense, &chosen.device, None);
    let found = judge.metrics(&scored.scores, &set.labels)?;
    if args.json {
        let text = serde_json::to_string_pretty(&found).map_err(|e| Error::Job(e.to_string()))?;
        return table::say(&format!("{text}\n"));
    }
    let baseline = judge.metrics(&frequency_scores(&description.counts, set.len()), &set.labels)?;
    table::say(&table::metrics(&name, &found, Some(&baseline)))
}
