//! Looking at, converting, splitting and making data.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use data::formats::{self, Format, ReadOptions, Row, Writer};
use data::generate::{Generator, Recipe};
use data::statistics::Statistics;
use data::{DataError, Dataset, split};

use crate::cli::{DataCommand, GenerateArgs, ReadArgs};
use crate::commands::table::{say, table};
use crate::error::{Error, Result};

/// Runs a `data` command.
pub fn run(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::Stats { read, json } => stats(&load(read)?, *json),
        DataCommand::Convert { read, output } => {
            let format = written_format(output)?;
            let set = load(read)?;
            store(output, format, &set)?;
            say(&format!("{}: {} instances\n", output.display(), set.len()))
        }
        DataCommand::Split { read, output, share, folds, to, seed } => {
            let set = load(read)?;
            split_into(&set, output, *share, *folds, *to, *seed)
        }
        DataCommand::Generate(args) => generate(args),
    }
}

fn load(args: &ReadArgs) -> Result<Dataset> {
    let options = ReadOptions {
        format: args.format,
        labels: args.labels.clone(),
        label_columns: args.label_columns.clone(),
        label_column: args.label_column.clone(),
        label_delimiter: args.label_delimiter,
        ..ReadOptions::default()
    };
    Ok(formats::read(&args.input, &options, None)?)
}

/// Failing to write is the job's failure, not the request's.
fn written(error: DataError) -> Error {
    if error.is_io() { Error::Job(error.to_string()) } else { error.into() }
}

fn store(path: &Path, format: Format, set: &Dataset) -> Result<()> {
    formats::write(path, format, set).map_err(written)
}

fn written_format(path: &Path) -> Result<Format> {
    let format = Format::from_path(path).filter(|f| *f != Format::Arff);
    let plain = path.extension().is_none_or(|e| !["gz", "bz2", "xz", "zst"].iter().any(|p| e == *p));
    format.filter(|_| plain).ok_or_else(|| {
        let message = "the name must end in .txt, .svm (svmlight), .jsonl, .csv or .tsv";
        Error::Request(format!("{}: {message}", path.display()))
    })
}

fn stats(set: &Dataset, json: bool) -> Result<()> {
    let s = Statistics::of(set);
    if json {
        let text = serde_json::to_string_pretty(&s).map_err(|e| Error::Job(e.to_string()))?;
        return say(&format!("{text}\n"));
    }
    let rows: Vec<Vec<String>> = [
        ("instances", s.instances.to_string()),
        ("features", s.features.to_string()),
        ("feature density", format!("{:.4}", s.feature_density)),
        ("missing feature values", s.missing.to_string()),
        ("labels", s.labels.to_string()),
        ("label cardinality", format!("{:.3}", s.cardinality)),
        ("label density", format!("{:.4}", s.density)),
        ("negative instances", format!("{:.2} %", 100.0 * s.negatives)),
        ("mean IR", format!("{:.1}", s.mean_ir)),
        ("largest IRLbl", format!("{:.1}", s.max_ir)),
        ("CV of IR", format!("{:.3}", s.cv_ir)),
        ("SCUMBLE", format!("{:.4}", s.scumble)),
        ("distinct label sets", s.label_sets.to_string()),
        ("labels without positives", s.unseen_labels.to_string()),
        ("positives of a label: fewest", s.positives[0].to_string()),
        ("positives of a label: median", s.positives[1].to_string()),
        ("positives of a label: most", s.positives[2].to_string()),
    ]
    .map(|(name, value)| vec![name.to_owned(), value])
    .to_vec();
    say(&table(&["figure", "value"], &rows))
}

fn split_into(set: &Dataset, output: &Path, share: f64, folds: Option<usize>, format: Format, seed: u64) -> Result<()> {
    let extension = match format {
        Format::Svmlight => "txt",
        Format::Jsonl => "jsonl",
        Format::Csv => "csv",
        Format::Tsv => "tsv",
        Format::Arff => return Err(Error::Request("ARFF is read, not written; choose another --to".into())),
    };
    let parts: Vec<(String, Vec<usize>)> = match folds {
        Some(k) => {
            let folds = split::folds(&set.labels, k, seed)?;
            folds.into_iter().enumerate().map(|(f, rows)| (format!("fold-{f}"), rows)).collect()
        }
        None if share > 0.0 && share < 1.0 => {
            let parts = split::stratify(&set.labels, &[1.0 - share, share], seed)?;
            ["train", "test"].map(str::to_owned).into_iter().zip(parts).collect()
        }
        None => return Err(Error::Request(format!("--share {share} is out of range: above 0 and below 1"))),
    };
    let mut text = String::new();
    for (name, rows) in parts {
        let path = output.join(format!("{name}.{extension}"));
        store(&path, format, &set.select(&rows))?;
        text += &format!("{}: {} instances\n", path.display(), rows.len());
    }
    say(&text)
}

fn generate(args: &GenerateArgs) -> Result<()> {
    let recipe = Recipe {
        instances: args.instances,
        features: args.features,
        labels: args.labels,
        negatives: args.negatives,
        cardinality: args.cardinality,
        active: args.active,
        signal: args.signal,
        tail: args.tail,
        dense: args.dense,
        seed: args.seed,
    };
    let format = written_format(&args.output)?;
    let mut generator = Generator::new(&recipe)?;
    let fail = |e: std::io::Error| Error::write(&args.output, &e);
    let part = args.output.with_extension("part");
    let file = File::create(&part).map_err(fail)?;
    let result = (|| {
        let mut writer = Writer::new(BufWriter::new(file), format, &generator.schema(), recipe.instances)?;
        let mut row = Row::default();
        for _ in 0..recipe.instances {
            generator.next_row(&mut row);
            writer.write(&row)?;
        }
        writer.finish().map(|_| ())
    })();
    if let Err(error) = result {
        let _ = std::fs::remove_file(&part);
        return Err(written(error));
    }
    std::fs::rename(&part, &args.output).map_err(fail)?;
    say(&format!("{}: {} instances\n", args.output.display(), recipe.instances))
}
