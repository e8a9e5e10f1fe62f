//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use losses::NeighbourSource;
use metrics::thresholds::Objective;

use crate::backend::Backend;
use crate::checkpoint::Which;

/// longtail: train multi-label classifiers where labels are rare.
#[derive(Debug, Parser)]
#[command(name = "train", version, about, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// What to do; without a subcommand it trains.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Training.
    #[command(flatten)]
    pub train: TrainArgs,
    /// What it says while it works.
    #[command(flatten)]
    pub talk: Talk,
}

/// How much is said, and how.
#[derive(Debug, Clone, Args)]
pub struct Talk {
    /// Only warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// More detail; twice for most
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// How log lines are written to standard error
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Layout of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where it runs.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// auto, wgpu, ndarray, flex, and where built cuda, metal, vulkan, rocm
    #[arg(long, default_value = "auto")]
    pub backend: Backend,
    /// Which adapter, as `train devices` numbers them
    #[arg(long, value_name = "N")]
    pub device: Option<usize>,
}

/// Arguments of the main job.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Config file; without it configs/default.toml on made data
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Backend and adapter.
    #[command(flatten)]
    pub place: Place,
    /// Override a setting, as in --set loss.lambda=0.05; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Train K times, each fold held back once (half of it for validation), as --set data.folds=K
    #[arg(long, value_name = "K")]
    pub folds: Option<usize>,
    /// Run folder; by default the next free one below runs/
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue the run in --out from its last (or best) checkpoint
    #[arg(long, value_enum, value_name = "STATE", num_args = 0..=1, default_missing_value = "last", requires = "out")]
    pub resume: Option<Which>,
    /// Where events of epochs go; events.jsonl is always written
    #[arg(long, value_enum, value_name = "LOG", value_delimiter = ',', default_value = "jsonl")]
    pub log: Vec<EventLog>,
    /// Replace the run in --out
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
}

/// Where events of epochs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventLog {
    /// `events.jsonl`.
    Jsonl,
    /// Also `tensorboard/`, which TensorBoard opens.
    Tensorboard,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Metrics of a stored model
    Evaluate(EvaluateArgs),
    /// Labels and scores for new data
    Predict(PredictArgs),
    /// Thresholds and calibration on validation data, stored in the run
    Tune(TuneArgs),
    /// Many trainings from one file, compared; resumable
    Sweep(SweepArgs),
    /// Look at, convert, split and make data
    #[command(subcommand)]
    Data(DataCommand),
    /// The backends in this build and the adapters found
    Devices {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The models, their settings, and what a step of each costs here
    Models(ModelsArgs),
    /// Write one HTML file for a run, or for several side by side
    Report {
        /// The run folders
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// Of several: the page
        #[arg(long, value_name = "FILE", default_value = "comparison.html")]
        output: PathBuf,
    },
    /// Shell completions on standard output
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Only these kinds; by default all
    #[arg(value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Features of the made data that steps are timed on
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    pub features: usize,
    /// Labels of the made data
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = at_least_one)]
    pub labels: usize,
    /// Instances of a batch
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = at_least_one)]
    pub batch: usize,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Backend and adapter.
    #[command(flatten)]
    pub place: Place,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number, at least 1".into()),
        Ok(n) => Ok(n),
    }
}

/// Arguments of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The run folder
    pub run: PathBuf,
    /// A labelled file instead of one of the run's splits
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    pub data: Option<PathBuf>,
    /// train, validation or test
    #[arg(long, default_value = "test")]
    pub split: SplitName,
    /// Metrics as JSON
    #[arg(long)]
    pub json: bool,
    /// Let the true labels help, as the loss was trained: every number is then marked as an oracle's
    #[arg(long)]
    pub oracle: bool,
    /// Whose labels vote, where the thresholds listen to neighbours: features, embedding or predicted; with --oracle
    /// also batch_labels or authors
    #[arg(long, value_name = "SOURCE", value_parser = source)]
    pub neighbours: Option<NeighbourSource>,
    /// Also write the predictions, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    /// Backend and adapter.
    #[command(flatten)]
    pub place: Place,
}

fn source(text: &str) -> Result<NeighbourSource, String> {
    let known = NeighbourSource::ALL.map(NeighbourSource::name);
    NeighbourSource::ALL
        .into_iter()
        .find(|s| s.name() == text)
        .ok_or_else(|| format!("no such source; known: {}", known.join(", ")))
}

/// Arguments of `sweep`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SweepArgs {
    /// Look at a sweep, or cancel it
    #[command(subcommand)]
    pub command: Option<SweepCommand>,
    /// The sweep's file: a base config and what to vary
    pub file: Option<PathBuf>,
    /// Trials side by side; threads are shared out among them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub jobs: usize,
    /// Where trials run
    #[arg(long, value_enum, default_value = "local")]
    pub launcher: Launcher,
    /// Only list the trials (and print the batch script)
    #[arg(long)]
    pub dry_run: bool,
    /// Run trials again that failed
    #[arg(long)]
    pub retry: bool,
    /// Folder of trials and sweeps; sweeps below the same one share equal trials
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// Backend and adapter.
    #[command(flatten)]
    pub place: Place,
}

/// `sweep …`.
#[derive(Debug, Subcommand)]
pub enum SweepCommand {
    /// How far a sweep is, and its leaderboard so far
    Status {
        /// The sweep's file
        file: PathBuf,
        /// Look again every two seconds, until it has ended
        #[arg(long)]
        watch: bool,
        /// Folder of trials and sweeps
        #[arg(long, value_name = "DIR", default_value = "runs")]
        out: PathBuf,
    },
    /// Cancel the job array of a sweep
    Cancel {
        /// The sweep's file
        file: PathBuf,
        /// Folder of trials and sweeps
        #[arg(long, value_name = "DIR", default_value = "runs")]
        out: PathBuf,
    },
}

/// Where trials run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Launcher {
    /// On this machine.
    Local,
    /// As a job array of a Slurm cluster.
    Slurm,
}

/// Arguments of `tune`.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// The run folder
    pub run: PathBuf,
    /// How thresholds are chosen
    #[arg(long, value_enum, default_value = "per_label")]
    pub method: TuneMethod,
    /// What they maximise: f<β>_macro or f<β>_micro, as f1_macro, f2_micro, f0.5_macro
    #[arg(long, default_value = "f1_macro")]
    pub objective: Objective,
    /// per_label: a label with fewer positives in the validation data takes the global threshold
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub min_positives: usize,
    /// fixed: a label is predicted at a score of at least this
    #[arg(long, default_value_t = 0.5)]
    pub value: f64,
    /// top_k: labels of every instance; by default the best number on the validation data
    #[arg(long, value_name = "K")]
    pub k: Option<usize>,
    /// From distances to probabilities
    #[arg(long, value_enum, default_value = "none")]
    pub calibration: CalibrationChoice,
    /// A labelled file that the run has not seen, instead of its validation split
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Backend and adapter.
    #[command(flatten)]
    pub place: Place,
}

/// How thresholds are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum TuneMethod {
    /// One value, given.
    Fixed,
    /// One value, the best.
    Global,
    /// Each label's best (SCut).
    PerLabel,
    /// As often as in the training data (PCut).
    Cardinality,
    /// The k best labels of every instance (RCut).
    TopK,
}

/// From distances to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CalibrationChoice {
    /// As they are.
    None,
    /// One temperature.
    Temperature,
    /// Slope and intercept of each label.
    Platt,
}

/// A split of the run's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// Trained on.
    Train,
    /// Held back from the training file.
    Validation,
    /// Test data.
    Test,
}

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// The run folder
    pub run: PathBuf,
    /// Data in any format that training reads; - for standard input
    pub input: PathBuf,
    /// Where predictions go; - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Layout of the predictions
    #[arg(long, value_enum, default_value = "jsonl")]
    pub format: PredictFormat,
    /// Layout of the input, where its name does not say it: svmlight, arff, jsonl, csv, tsv
    #[arg(long, value_name = "FORMAT")]
    pub input_format: Option<data::formats::Format>,
    /// Also the K best labels with their scores, decided for or not
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Say for every predicted label its logit, what its threshold is made of and which training instances voted
    #[arg(long)]
    pub explain: bool,
    /// Whose labels vote, where the thresholds listen to neighbours: features, embedding or predicted
    #[arg(long, value_name = "SOURCE", value_parser = source)]
    pub neighbours: Option<NeighbourSource>,
    /// Refused: prediction never sees true labels
    #[arg(long, hide = true)]
    pub oracle: bool,
    /// Backend and adapter.
    #[command(flatten)]
    pub place: Place,
}

/// Layout of predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PredictFormat {
    /// `{"instance": 0, "labels": […], "scores": {…}, "thresholds": {…}}`
    Jsonl,
    /// instance,label,score,threshold,predicted
    Csv,
    /// `label:score …`, one line an instance
    Svmlight,
}

/// `data …`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Sizes, imbalance, label concurrence
    Stats {
        /// How the file is read.
        #[command(flatten)]
        read: ReadArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Another format
    Convert {
        /// How the file is read.
        #[command(flatten)]
        read: ReadArgs,
        /// The new file; its name says the format (.txt, .jsonl, .csv, .tsv)
        output: PathBuf,
    },
    /// Parts in which every label keeps its share (iterative stratification)
    Split {
        /// How the file is read.
        #[command(flatten)]
        read: ReadArgs,
        /// Folder for the parts, in svmlight with the XMC header or the format of --to
        output: PathBuf,
        /// Share of the second part
        #[arg(long, conflicts_with = "folds", default_value_t = 0.2)]
        share: f64,
        /// K folds instead
        #[arg(long, value_name = "K")]
        folds: Option<usize>,
        /// Format of the parts: svmlight, jsonl, csv, tsv
        #[arg(long, default_value = "svmlight")]
        to: data::formats::Format,
        /// Seed
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Long-tailed, correlated labels and features that they cause; any size in constant memory
    Generate(GenerateArgs),
}

/// How a file is read.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    /// The file
    pub input: PathBuf,
    /// ARFF: the XML file of label names
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// svmlight, arff, jsonl, csv or tsv, where the name does not say it
    #[arg(long)]
    pub format: Option<data::formats::Format>,
    /// CSV, TSV: a column that is a label; may be repeated
    #[arg(long, value_name = "NAME")]
    pub label_columns: Vec<String>,
    /// CSV, TSV: the column that lists labels
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// CSV, TSV: what separates labels in that column
    #[arg(long, value_name = "CHAR")]
    pub label_delimiter: Option<char>,
}

/// Arguments of `data generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The file; its name says the format (.txt, .jsonl, .csv, .tsv)
    pub output: PathBuf,
    /// Number of instances
    #[arg(long, default_value_t = 20_000)]
    pub instances: usize,
    /// Number of features
    #[arg(long, default_value_t = 2_000)]
    pub features: usize,
    /// Number of labels
    #[arg(long, default_value_t = 200)]
    pub labels: usize,
    /// Share of instances without any label
    #[arg(long, default_value_t = 0.4)]
    pub negatives: f64,
    /// Mean labels of an instance that has some
    #[arg(long, default_value_t = 2.5)]
    pub cardinality: f64,
    /// Mean stored features of an instance
    #[arg(long, default_value_t = 40.0)]
    pub active: f64,
    /// Chance that a signature feature of a present label shows
    #[arg(long, default_value_t = 0.5)]
    pub signal: f64,
    /// Exponent of the label frequencies' Zipf law
    #[arg(long, default_value_t = 1.0)]
    pub tail: f64,
    /// Every feature has a value
    #[arg(long)]
    pub dense: bool,
    /// Seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}
