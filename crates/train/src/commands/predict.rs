//! Labels, scores and thresholds for new data, read and written as a stream.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use data::formats::{ReadOptions, Row, rows};
use data::{FeatureRows, Schema};
use metrics::Scores;
use model::{Model, Pass, host};
use serde_json::{Map, Value, json};

use crate::cli::{PredictArgs, PredictFormat};
use crate::config::{self, Source};
use crate::error::{Error, Result};
use crate::evaluation::sigmoid;
use crate::run_folder::RunFolder;
use crate::stored_model::{self, Description};
use crate::{backend, batches};

/// Instances scored at once.
const BATCH: usize = 512;

/// Predicts.
pub fn run(args: &PredictArgs) -> Result<()> {
    let folder = RunFolder::open(&args.run)?;
    let description = stored_model::describe(folder.path())?;
    let config = config::load(Source::File(&folder.path().join("config.toml")), &[])?;
    let chosen = backend::choose(args.place.backend, args.place.device)?;
    let model = stored_model::load(folder.path(), &description, &chosen.device)?.valid();
    // Labels may be absent from the input; where they are there, their names tell them from features.
    let options = ReadOptions { format: args.input_format, unlabelled: true, ..config.data.read_options() };
    let options = ReadOptions { labels: options.labels.filter(|p| p.exists()), ..options };
    let schema = description.schema();
    let mut reader = rows(&args.input, &options, Some(&schema))?;
    let mut sink = Sink::open(&args.output)?;
    let mut writer = Predictions::new(&mut sink.out, args.format, args.top_k, &description, schema.clone());
    let mut row = Row::default();
    let result = (|| {
        writer.head()?;
        loop {
            let mut features = FeatureRows::new(description.features);
            while features.len() < BATCH && reader.next_row(&mut row)? {
                features.push(&row.features);
            }
            if features.is_empty() {
                break;
            }
            let count = features.len();
            let scores = forward(&model, &description, features, count, &chosen.device);
            for i in 0..count {
                writer.write(&scores[i * description.labels..(i + 1) * description.labels])?;
            }
        }
        let summary = reader.finish()?;
        if writer.instance == 0 {
            return Err(Error::Request(format!("{}: no instances", args.input.display())));
        }
        if summary.unknown_features > 0 {
            tracing::warn!("{} feature entries are unknown to the model and were left out", summary.unknown_features);
        }
        Ok(())
    })();
    sink.close(result)
}

fn forward(model: &Model, description: &Description, features: FeatureRows, count: usize, device: &Device) -> Vec<f32> {
    let features = description.preprocess.apply(features);
    let instances: Vec<usize> = (0..count).collect();
    let features = batches::features(&features, &instances, description.dense, device);
    let logits = model.forward(&features, &mut Pass::predict());
    host::HostView::of(&logits).as_slice().iter().map(|&z| sigmoid(z)).collect()
}

/// Predictions of a split whose scores are at hand.
pub fn write_split(path: &Path, description: &Description, scores: &Scores<f32>) -> Result<()> {
    let mut sink = Sink::open(path)?;
    let mut writer = Predictions::new(&mut sink.out, PredictFormat::Jsonl, None, description, description.schema());
    let result = (0..scores.len()).try_for_each(|i| match scores {
        Scores::Dense { columns, values } => writer.write(&values[i * columns..(i + 1) * columns]),
        Scores::Top { columns, rows } => {
            let mut row = vec![0.0; *columns];
            rows[i].iter().for_each(|&(l, s)| row[l as usize] = s);
            writer.write(&row)
        }
    });
    sink.close(result)
}

/// A file that appears under its name only when it is whole, or standard output.
struct Sink {
    out: Box<dyn Write>,
    rename: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Sink {
    fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { out: Box::new(BufWriter::new(std::io::stdout())), rename: None });
        }
        let part = path.with_extension("part");
        let file = File::create(&part).map_err(|e| Error::write(path, &e))?;
        Ok(Self { out: Box::new(BufWriter::new(file)), rename: Some((part, path.to_owned())) })
    }

    fn close(mut self, result: Result<()>) -> Result<()> {
        let flushed = self.out.flush();
        let Some((part, path)) = self.rename else {
            return match flushed {
                Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                    Err(Error::Job(format!("standard output: {e}")))
                }
                _ => result,
            };
        };
        let done = result.and_then(|()| flushed.map_err(|e| Error::write(&path, &e)));
        match done {
            Ok(()) => std::fs::rename(&part, &path).map_err(|e| Error::write(&path, &e)),
            Err(e) => {
                let _ = std::fs::remove_file(&part);
                Err(e)
            }
        }
    }
}

/// Writes one instance after the other.
struct Predictions<'a> {
    out: &'a mut dyn Write,
    format: PredictFormat,
    top_k: Option<usize>,
    description: &'a Description,
    schema: Schema,
    instance: usize,
}

impl<'a> Predictions<'a> {
    fn new(
        out: &'a mut dyn Write,
        format: PredictFormat,
        top_k: Option<usize>,
        description: &'a Description,
        schema: Schema,
    ) -> Self {
        Self { out, format, top_k, description, schema, instance: 0 }
    }

    fn threshold(&self, label: usize) -> f64 {
        let thresholds = &self.description.thresholds;
        if thresholds.len() == 1 { thresholds[0] } else { thresholds[label] }
    }

    fn head(&mut self) -> Result<()> {
        match self.format {
            PredictFormat::Csv => self.line("instance,label,score,threshold,predicted"),
            _ => Ok(()),
        }
    }

    fn line(&mut self, text: &str) -> Result<()> {
        match writeln!(self.out, "{text}") {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::Job("the reader went away".into())),
            Err(e) => Err(Error::Job(format!("writing predictions: {e}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Labels of one row, best first: those decided for, and the `top_k` best.
    fn listed(&self, scores: &[f32]) -> Vec<(u32, f32, bool)> {
        let all = Scores::Dense { columns: scores.len(), values: scores.to_vec() };
        let decided = |l: u32, s: f32| f64::from(s) >= self.threshold(l as usize);
        let keep = self.top_k.unwrap_or(0);
        let order = all.top(0, scores.len());
        let entries = order.into_iter().enumerate();
        entries
            .filter(|&(rank, (l, s))| rank < keep || decided(l, s))
            .map(|(_, (l, s))| (l, s, decided(l, s)))
            .collect()
    }

    fn write(&mut self, scores: &[f32]) -> Result<()> {
        let listed = self.listed(scores);
        let name = |l: u32| self.schema.label_name(l as usize);
        let text = match self.format {
            PredictFormat::Jsonl => {
                let labels: Vec<Value> = listed
                    .iter()
                    .filter(|e| e.2)
                    .map(|e| if self.schema.label_names.is_some() { json!(name(e.0)) } else { json!(e.0) })
                    .collect();
                let scores: Map<String, Value> = listed.iter().map(|e| (name(e.0), json!(e.1))).collect();
                let thresholds: Map<String, Value> =
                    listed.iter().map(|e| (name(e.0), json!(self.threshold(e.0 as usize)))).collect();
                let instance = self.instance;
                json!({"instance": instance, "labels": labels, "scores": scores, "thresholds": thresholds}).to_string()
            }
            PredictFormat::Csv => {
                let quoted = |l: u32| format!("\"{}\"", name(l).replace('"', "\"\""));
                let line = |e: &(u32, f32, bool)| {
                    format!(
                        "{},{},{},{},{}",
                        self.instance,
                        quoted(e.0),
                        e.1,
                        self.threshold(e.0 as usize),
                        u8::from(e.2)
                    )
                };
                listed.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            PredictFormat::Svmlight => {
                let mut sorted = listed.clone();
                sorted.sort_unstable_by_key(|e| e.0);
                sorted.iter().map(|e| format!("{}:{}", e.0, e.1)).collect::<Vec<_>>().join(" ")
            }
        };
        self.instance += 1;
        if text.is_empty() && self.format == PredictFormat::Csv {
            return Ok(());
        }
        self.line(&text)
    }
}
