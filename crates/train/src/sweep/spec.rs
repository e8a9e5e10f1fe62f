//! The file of a sweep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use toml::{Table, Value};

use crate::error::{Error, Result};

/// A sweep as its file says it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What every trial begins with: a config file, or its content.
    pub base: Base,
    /// What trials are compared by.
    #[serde(default = "macro_f1")]
    pub metric: String,
    /// Seeds, each with every setting.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Folds, each held back in a trial of its own.
    #[serde(default)]
    pub folds: Option<usize>,
    /// Data sets by name: the settings of each.
    #[serde(default)]
    pub data: BTreeMap<String, Table>,
    /// Values of settings, in all combinations.
    #[serde(default)]
    pub grid: Table,
    /// Settings drawn at random.
    #[serde(default)]
    pub random: Option<Random>,
    /// Settings chosen by what came of earlier ones on validation data, in the place of grid and random.
    #[serde(default)]
    pub tpe: Option<Random>,
    /// Settings that go only with some values of others.
    #[serde(default)]
    pub conditions: BTreeMap<String, BTreeMap<String, Value>>,
    /// Early stopping of losers.
    #[serde(default)]
    pub halving: Option<Halving>,
    /// The cluster's queue.
    #[serde(default)]
    pub slurm: Slurm,
}

fn macro_f1() -> String {
    "f1_macro".into()
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

/// What trials begin with.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Base {
    /// A config file; its path is relative to the sweep's file.
    File(PathBuf),
    /// A config.
    Table(Table),
}

/// Settings drawn at random.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// Draws, each with every combination of the grid.
    pub budget: usize,
    /// Seed of the draws.
    #[serde(default)]
    pub seed: u64,
    /// From what each setting is drawn.
    pub space: Table,
}

/// Successive halving, asynchronous (ASHA, arXiv 1810.05934).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halving {
    /// Epochs before the first look.
    pub first: usize,
    /// Of so many that were looked at, one goes on, for so many times the epochs.
    #[serde(default = "three")]
    pub factor: usize,
}

fn three() -> usize {
    3
}

/// What a job of the array asks the cluster for; absent: the cluster's defaults.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slurm {
    /// Partition.
    pub partition: Option<String>,
    /// Time limit, as `sbatch --time` takes it.
    pub time: Option<String>,
    /// Memory of a job, as `sbatch --mem` takes it.
    pub memory: Option<String>,
    /// CPU cores of a job.
    pub cpus: Option<usize>,
    /// GPUs of a job.
    pub gpus: Option<usize>,
    /// Jobs at the same time; absent: as many as the cluster runs.
    pub at_once: Option<usize>,
}

/// A distribution that a setting is drawn from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Draw {
    /// Evenly between two numbers.
    Uniform([f64; 2]),
    /// Evenly between the logarithms of two numbers.
    Log([f64; 2]),
    /// Whole numbers from the first to the second.
    Integers([i64; 2]),
    /// One of these.
    Choices(Vec<Value>),
}

impl Draw {
    fn check(&self, key: &str, part: &str) -> Result<()> {
        let fails = match self {
            Self::Uniform([a, b]) => {
                (a.is_nan() || b.is_nan() || a >= b).then_some("the first number must be below the second")
            }
            Self::Log([a, b]) => (a.is_nan() || b.is_nan() || *a <= 0.0 || a >= b)
                .then_some("both numbers must be above 0, the first below the second"),
            Self::Integers([a, b]) => (a > b).then_some("the first number must not be above the second"),
            Self::Choices(values) => values.is_empty().then_some("there is nothing to choose from"),
        };
        fails.map_or(Ok(()), |what| Err(Error::Request(format!("{part}.space.{key}: {what}"))))
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Value {
        let share = rng.random::<f64>();
        self.at(match self {
            Self::Uniform([a, b]) => a + (b - a) * share,
            Self::Log([a, b]) => a.ln() + (b / a).ln() * share,
            Self::Integers([a, b]) => *a as f64 + (b - a + 1) as f64 * share,
            Self::Choices(values) => values.len() as f64 * share,
        })
    }

    /// The value at a number: the value itself, its logarithm, or the whole number or choice below it.
    pub(super) fn at(&self, number: f64) -> Value {
        match self {
            Self::Uniform(_) => Value::Float(round(number)),
            Self::Log(_) => Value::Float(round(number.exp())),
            Self::Integers([a, b]) => Value::Integer((number.floor() as i64).clamp(*a, *b)),
            Self::Choices(values) => values[(number.max(0.0) as usize).min(values.len() - 1)].clone(),
        }
    }
}

/// To four significant digits: a setting a person can read and type.
fn round(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// One setting and its value.
pub type Setting = (String, Value);

impl Spec {
    /// Reads a sweep's file.
    ///
    /// # Errors
    /// When it cannot be read, has unknown keys, or nothing to do.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::Request(format!("{}: no such sweep file", path.display())),
            _ => Error::Request(format!("{}: {e}", path.display())),
        })?;
        let named = |what: String| Error::Request(format!("{}: {what}", path.display()));
        let spec: Self = toml::from_str(&text).map_err(|e| named(e.to_string().trim_end().replace('\n', "\n  ")))?;
        if metrics::direction(&spec.metric).is_err() {
            let guess = crate::config::nearest(&spec.metric, metrics::names());
            let guess = guess.map(|g| format!("; did you mean `{g}`?")).unwrap_or_default();
            return Err(named(format!("metric = `{}` is no metric{guess}", spec.metric)));
        }
        if spec.seeds.is_empty() {
            return Err(named("seeds is empty: nothing to run".into()));
        }
        if spec.tpe.is_some() && (!spec.grid.is_empty() || spec.random.is_some() || spec.halving.is_some()) {
            return Err(named(
                "tpe goes without grid, random and halving; choices in tpe.space take their place".into(),
            ));
        }
        if let Some(halving) = &spec.halving
            && (halving.first == 0 || halving.factor < 2)
        {
            return Err(named("halving.first must be at least 1 and halving.factor at least 2".into()));
        }
        Ok(spec)
    }

    /// The settings of the grid with their values.
    ///
    /// # Errors
    /// For a setting without values.
    pub fn grid(&self) -> Result<Vec<(String, Vec<Value>)>> {
        let mut out = Vec::new();
        flatten("", &self.grid, &|v| v.is_array(), &mut out);
        out.into_iter()
            .map(|(key, value)| match value {
                Value::Array(values) if values.is_empty() => {
                    Err(Error::Request(format!("grid.{key} is empty: nothing to run")))
                }
                Value::Array(values) => Ok((key, values)),
                other => Err(Error::Request(format!("grid.{key} = {other} is no list of values"))),
            })
            .collect()
    }

    /// The draws of the random part, each a list of settings; one without settings where there is none.
    ///
    /// # Errors
    /// For a distribution that makes no sense.
    pub fn draws(&self) -> Result<Vec<Vec<Setting>>> {
        use rand::SeedableRng;
        let Some(random) = &self.random else { return Ok(vec![Vec::new()]) };
        let space = draws_of(random, "random")?;
        let mut rng = ChaCha8Rng::seed_from_u64(random.seed);
        Ok((0..random.budget)
            .map(|_| space.iter().map(|(key, draw)| (key.clone(), draw.draw(&mut rng))).collect())
            .collect())
    }

    /// The data sets with their settings; one without a name where there are none.
    pub fn data_sets(&self) -> Vec<(String, Vec<Setting>)> {
        if self.data.is_empty() {
            return vec![(String::new(), Vec::new())];
        }
        let settings = |table: &Table| {
            let mut out = Vec::new();
            flatten("", table, &|v| !v.is_table(), &mut out);
            out
        };
        self.data.iter().map(|(name, table)| (name.clone(), settings(table))).collect()
    }

    /// Whether a setting goes with the others: every condition on it must hold.
    pub fn applies(&self, key: &str, settings: &[Setting]) -> bool {
        let Some(conditions) = self.conditions.get(key) else { return true };
        conditions.iter().all(|(other, wanted)| {
            let value = settings.iter().find(|s| s.0 == *other).map(|s| &s.1);
            match (value, wanted) {
                (Some(value), Value::Array(several)) => several.contains(value),
                (Some(value), one) => value == one,
                (None, _) => false,
            }
        })
    }
}

/// The distributions of a space by their settings. `part`: the table it stands in.
///
/// # Errors
/// For a distribution that makes no sense, or nothing to draw.
pub fn draws_of(random: &Random, part: &str) -> Result<Vec<(String, Draw)>> {
    if random.budget == 0 {
        return Err(Error::Request(format!("{part}.budget = 0: nothing to run")));
    }
    let is_draw = |v: &Value| v.as_table().is_some_and(|t| t.values().all(|v| !v.is_table()));
    let mut flat = Vec::new();
    flatten("", &random.space, &is_draw, &mut flat);
    let mut space = Vec::new();
    for (key, value) in flat {
        let draw: Draw = value.try_into().map_err(|e: toml::de::Error| {
            Error::Request(format!(
                "{part}.space.{key}: {}; known: uniform, log, integers, choices",
                e.message().lines().next().unwrap_or_default()
            ))
        })?;
        draw.check(&key, part)?;
        space.push((key, draw));
    }
    Ok(space)
}

/// `a.b.c` of nested tables, down to what `is_leaf` holds.
pub(crate) fn flatten(prefix: &str, table: &Table, is_leaf: &impl Fn(&Value) -> bool, out: &mut Vec<Setting>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !is_leaf(value) => flatten(&key, inner, is_leaf, out),
            other => out.push((key, other.clone())),
        }
    }
}
