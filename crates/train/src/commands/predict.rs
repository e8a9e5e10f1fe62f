//! Labels, scores and thresholds for new data, read and written as a stream.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use data::formats::{ReadOptions, Row, rows};
use data::{FeatureRows, Schema};
use losses::{Explainer, NeighbourSource};
use metrics::{Decision, Scores};
use serde_json::{Map, Value, json};

use crate::backend;
use crate::cli::{PredictArgs, PredictFormat};
use crate::config::{self, Source};
use crate::error::{Error, Result};
use crate::evaluation::probabilities;
use crate::predictor::{Predictor, Sight};
use crate::run_folder::{Protocol, RunFolder};
use crate::stored_model::{self, Description};

/// Predicts.
pub fn run(args: &PredictArgs) -> Result<()> {
    if args.oracle {
        let message = "predict never sees true labels; an oracle is an option of evaluate alone";
        return Err(Error::Request(format!("--oracle: {message}")));
    }
    if args.explain && args.format != PredictFormat::Jsonl {
        return Err(Error::Request("--explain needs --format jsonl".into()));
    }
    let folder = RunFolder::open(&args.run)?;
    let description = stored_model::describe(folder.path())?;
    let config = config::load(Source::File(&folder.path().join("config.toml")), &[])?;
    let source = source(args, &description)?;
    let chosen = backend::choose(args.place.backend, args.place.device)?;
    let predictor = stored_model::load(folder.path(), &description, source, &chosen.device)?;
    // Labels may be absent from the input; where they are there, their names tell them from features.
    let options = ReadOptions { format: args.input_format, unlabelled: true, ..config.data.read_options() };
    let options = ReadOptions { labels: options.labels.filter(|p| p.exists()), ..options };
    let schema = description.schema();
    let mut reader = rows(&args.input, &options, Some(&description.file_schema()))?;
    let explanations = args.explain.then(|| Explanations::new(&predictor, &description));
    let mut sink = Sink::open(&args.output)?;
    let mut writer =
        Predictions::new(&mut sink.out, args.format, args.top_k, &description, schema.clone(), Protocol::Standard);
    let mut row = Row::default();
    let result = (|| {
        writer.head()?;
        loop {
            let mut features = FeatureRows::new(description.features);
            while features.len() < predictor.batch() && reader.next_row(&mut row)? {
                features.push(&row.features);
            }
            if features.is_empty() {
                break;
            }
            let features = description.preprocess.apply(features);
            let instances: Vec<usize> = (0..features.len()).collect();
            let sight = predictor.look(&features, &instances, false, None)?;
            let distances = host::HostView::of(&sight.distances);
            let scores = probabilities(distances.as_slice(), description.labels, &description.rules.calibration);
            let explain = explanations.as_ref().map(|e| e.of(&sight));
            for (i, scores) in scores.chunks(description.labels).enumerate() {
                writer.write(scores, explain.as_ref().map(|e| (e, i)))?;
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

/// The neighbours asked for, or those the model was trained to predict with.
fn source(args: &PredictArgs, description: &Description) -> Result<Option<NeighbourSource>> {
    let run = args.run.display();
    match (args.neighbours, &description.adaptive_threshold) {
        (Some(_), None) => Err(Error::Request(format!("{run}: the model has no thresholds that use neighbours"))),
        (Some(source), _) if source.is_oracle() => {
            let message = "needs the true labels and may not predict; features, embedding and predicted may";
            Err(Error::Request(format!("--neighbours {} {message}", source.name())))
        }
        (Some(source), Some(config)) if !config.has_oracle_rarity() => Ok(Some(source)),
        _ => stored_model::source_of_prediction(description).map_err(|e| {
            let advice = "give a source that may predict: --neighbours features, embedding or predicted";
            Error::Request(format!("{run}: {e}; here: {advice}"))
        }),
    }
}

/// Predictions of a split whose scores are at hand.
pub fn write_split(path: &Path, description: &Description, scores: &Scores<f32>, protocol: Protocol) -> Result<()> {
    let mut sink = Sink::open(path)?;
    let schema = description.schema();
    let mut writer = Predictions::new(&mut sink.out, PredictFormat::Jsonl, None, description, schema, protocol);
    let result = (0..scores.len()).try_for_each(|i| match scores {
        Scores::Dense { columns, values } => writer.write(&values[i * columns..(i + 1) * columns], None),
        Scores::Top { columns, rows } => {
            let mut row = vec![0.0; *columns];
            rows[i].iter().for_each(|&(l, s)| row[l as usize] = s);
            writer.write(&row, None)
        }
    });
    sink.close(result)
}

/// What is needed to say why a label was predicted.
struct Explanations<'a> {
    predictor: &'a Predictor,
    description: &'a Description,
    explainer: Option<Explainer>,
}

impl<'a> Explanations<'a> {
    fn new(predictor: &'a Predictor, description: &'a Description) -> Self {
        let explainer = predictor.learner().thresholds.as_ref().map(losses::AdaptiveThresholds::explainer);
        Self { predictor, description, explainer }
    }

    fn of<'s>(&'s self, sight: &'s Sight) -> Explained<'s> {
        let view = |t: &burn::tensor::Tensor<2>| host::HostView::of(t).as_slice().to_vec();
        Explained {
            from: self,
            sight,
            distances: view(&sight.distances),
            votes: sight.signals.votes.as_ref().map(view),
            rarity: sight.signals.rarity.as_ref().map(view),
        }
    }
}

/// The numbers of some instances, on the host.
struct Explained<'s> {
    from: &'s Explanations<'s>,
    sight: &'s Sight,
    distances: Vec<f32>,
    votes: Option<Vec<f32>>,
    rarity: Option<Vec<f32>>,
}

impl Explained<'_> {
    /// Logit, threshold, its parts and who voted, of label `l` of instance `i`; a label is predicted where its logit
    /// reaches its threshold. `at`: the score at which the rule decides for it.
    fn say(&self, i: usize, l: usize, at: f64) -> Value {
        let labels = self.from.description.labels;
        let distance = f64::from(self.distances[i * labels + l]);
        let rule = self.from.description.rules.calibration.logit(l, at);
        let Some(explainer) = &self.from.explainer else { return json!({"logit": distance, "threshold": rule}) };
        let value = |of: &Option<Vec<f32>>| {
            let row = |v: &[f32]| if v.len() == labels { 0 } else { i };
            of.as_ref().map_or(0.0, |v| f64::from(v[row(v) * labels + l]))
        };
        let parts = explainer.parts(l, value(&self.rarity), value(&self.votes));
        let theta = explainer.threshold(parts);
        let mut out = json!({
            "logit": distance + theta,
            "threshold": theta + rule,
            "theta": theta,
            "rule": rule,
            "parts": parts,
        });
        if let (Some(found), Some(signals)) = (&self.sight.signals.neighbours, self.from.predictor.signals()) {
            let voters = signals.voters(found.of(i), l as u32);
            let list = voters.iter().map(|(row, weight)| json!({"instance": row, "weight": weight}));
            out["neighbours"] = list.collect();
        }
        out
    }
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
    decision: &'a Decision,
    schema: Schema,
    protocol: Protocol,
    instance: usize,
}

/// One label of one instance.
#[derive(Clone, Copy)]
struct Listed {
    label: u32,
    score: f32,
    threshold: f64,
    decided: bool,
}

impl<'a> Predictions<'a> {
    fn new(
        out: &'a mut dyn Write,
        format: PredictFormat,
        top_k: Option<usize>,
        description: &'a Description,
        schema: Schema,
        protocol: Protocol,
    ) -> Self {
        Self { out, format, top_k, decision: &description.rules.decision, schema, protocol, instance: 0 }
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
    fn listed(&self, scores: &[f32]) -> Vec<Listed> {
        let all = Scores::Dense { columns: scores.len(), values: scores.to_vec() };
        let keep = self.top_k.unwrap_or(0);
        let of = |(rank, (label, score)): (usize, (u32, f32))| {
            let threshold = self.decision.threshold(label as usize, scores);
            let decided = match self.decision {
                Decision::Thresholds(_) => f64::from(score) >= threshold,
                Decision::TopK(k) => rank < *k,
            };
            (decided || rank < keep).then_some(Listed { label, score, threshold, decided })
        };
        all.top(0, scores.len()).into_iter().enumerate().filter_map(of).collect()
    }

    fn write(&mut self, scores: &[f32], explain: Option<(&Explained, usize)>) -> Result<()> {
        let listed = self.listed(scores);
        let text = match self.format {
            PredictFormat::Jsonl => self.object(&listed, explain).to_string(),
            PredictFormat::Csv => {
                let quoted = |l: u32| format!("\"{}\"", self.schema.label_name(l as usize).replace('"', "\"\""));
                let line = |e: &Listed| {
                    let decided = u8::from(e.decided);
                    format!("{},{},{},{},{decided}", self.instance, quoted(e.label), e.score, e.threshold)
                };
                listed.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            PredictFormat::Svmlight => {
                let mut sorted = listed.clone();
                sorted.sort_unstable_by_key(|e| e.label);
                sorted.iter().map(|e| format!("{}:{}", e.label, e.score)).collect::<Vec<_>>().join(" ")
            }
        };
        self.instance += 1;
        if text.is_empty() && self.format == PredictFormat::Csv {
            return Ok(());
        }
        self.line(&text)
    }

    fn object(&self, listed: &[Listed], explain: Option<(&Explained, usize)>) -> Value {
        let name = |l: u32| self.schema.label_name(l as usize);
        let decided = || listed.iter().filter(|e| e.decided);
        let labels: Vec<Value> = decided()
            .map(|e| if self.schema.label_names.is_some() { json!(name(e.label)) } else { json!(e.label) })
            .collect();
        let scores: Map<String, Value> = listed.iter().map(|e| (name(e.label), json!(e.score))).collect();
        let thresholds: Map<String, Value> = listed.iter().map(|e| (name(e.label), json!(e.threshold))).collect();
        let instance = self.instance;
        let mut out = json!({"instance": instance, "labels": labels, "scores": scores, "thresholds": thresholds});
        if let Some((explained, i)) = explain {
            let say = |e: &Listed| (name(e.label), explained.say(i, e.label as usize, e.threshold));
            out["explain"] = Value::Object(decided().map(say).collect());
        }
        if self.protocol == Protocol::Oracle {
            out["protocol"] = "oracle".into();
        }
        out
    }
}
