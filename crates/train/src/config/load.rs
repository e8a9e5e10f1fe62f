//! Reading a config: TOML, then `--set` on top, every mistake named with its line, its key and what was meant.

use std::path::{Path, PathBuf};

use losses::LossConfig;
use model::LabelLoss;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Config, DataConfig, Part};
use crate::error::{Error, Result};
use crate::rules::Rules;

/// The config that runs without `--config`.
const DEFAULT: &str = include_str!("../../../../configs/default.toml");

const SECTIONS: &[&str] = &[
    "seed",
    "data",
    "model",
    "loss",
    "sampler",
    "optimizer",
    "schedule",
    "train",
    "calibration",
    "thresholds",
    "report",
];

/// Where a config comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// The built-in `configs/default.toml`.
    Default,
    /// A file.
    File(&'a Path),
}

/// Text of a config and its name, with what `--set` adds, to find places in.
struct Text {
    name: String,
    text: String,
    settings: Vec<String>,
}

/// Reads a config and applies the `key=value` settings.
///
/// # Errors
/// When it cannot be read, has unknown keys or values outside their ranges.
pub fn load(source: Source, settings: &[String]) -> Result<Config> {
    let text = match source {
        Source::Default => {
            Text { name: "configs/default.toml".into(), text: DEFAULT.into(), settings: settings.to_vec() }
        }
        Source::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Error::Request(format!("{}: no such config file", path.display())),
                _ => Error::Request(format!("{}: {e}", path.display())),
            })?;
            Text { name: path.display().to_string(), text, settings: settings.to_vec() }
        }
    };
    let mut table: Table = toml::from_str(&text.text).map_err(|e| syntax_error(&text, &e))?;
    for setting in settings {
        set(&mut table, setting)?;
    }
    let config = from_table(&text, table)?;
    check(&config).map_err(Error::Request)?;
    Ok(config)
}

/// Paths in a config file are relative to that file; the run folder keeps absolute ones.
pub fn resolve_paths(config: &mut Config, source: Source) {
    let Source::File(file) = source else { return };
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    let resolve = |path: &mut PathBuf| {
        // A path that exists as it is given, seen from the working directory, is meant so.
        if path.is_relative() && !path.exists() {
            *path = folder.join(&*path);
        }
        if let Ok(absolute) = std::path::absolute(&*path) {
            *path = absolute;
        }
    };
    let data = &mut config.data;
    for path in data.train.iter_mut().chain(data.labels.iter_mut()) {
        resolve(path);
    }
    for part in [&mut data.test, &mut data.validation] {
        if let Part::File(path) = part {
            resolve(path);
        }
    }
}

/// `${NAME}` in a path stands for an environment variable.
fn expand(value: &mut Value) -> std::result::Result<(), String> {
    match value {
        Value::String(text) => {
            while let Some(start) = text.find("${") {
                let Some(length) = text[start..].find('}') else { return Ok(()) };
                let name = text[start + 2..start + length].to_owned();
                let replacement =
                    std::env::var(&name).map_err(|_| format!("the environment variable {name} is not set"))?;
                text.replace_range(start..=start + length, &replacement);
            }
            Ok(())
        }
        Value::Array(list) => list.iter_mut().try_for_each(expand),
        Value::Table(table) => table.iter_mut().try_for_each(|(_, v)| expand(v)),
        _ => Ok(()),
    }
}

/// Applies `a.b=value`; the value is TOML where it parses as such, else text.
fn set(table: &mut Table, setting: &str) -> Result<()> {
    let Some((key, value)) = setting.split_once('=') else {
        return Err(Error::Request(format!("--set {setting}: expected key=value, as in loss.lambda=0.05")));
    };
    let value = match toml::from_str::<Table>(&format!("value = {value}")) {
        Ok(mut parsed) => parsed.remove("value").unwrap_or_else(|| Value::String(value.into())),
        Err(_) => Value::String(value.into()),
    };
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let Some(last) = parts.pop().filter(|k| !k.is_empty()) else {
        return Err(Error::Request(format!("--set {setting}: the key is empty")));
    };
    let mut at = table;
    for part in parts {
        let entry = at.entry(part).or_insert_with(|| Value::Table(Table::new()));
        at = match entry {
            Value::Table(inner) => inner,
            _ => return Err(Error::Request(format!("--set {setting}: `{part}` has a value, not settings of its own"))),
        };
    }
    // Another kind of loss, model or sampler has other settings: those of the old kind go.
    if last == "kind" && at.get("kind").is_some_and(|old| *old != value) {
        at.clear();
    }
    at.insert(last.into(), value);
    Ok(())
}

fn from_table(text: &Text, mut table: Table) -> Result<Config> {
    if let Some(unknown) = table.keys().find(|k| !SECTIONS.contains(&k.as_str())) {
        return Err(unknown_key(text, "", unknown, "the config", SECTIONS.iter().map(|s| s.to_string()).collect()));
    }
    if let Some(data) = table.get_mut("data") {
        expand(data).map_err(|m| Error::Request(format!("{}: data: {m}", text.name)))?;
    }
    Ok(Config {
        seed: take(text, &mut table, "seed")?,
        data: take(text, &mut table, "data")?,
        model: take(text, &mut table, "model")?,
        loss: take(text, &mut table, "loss")?,
        sampler: take(text, &mut table, "sampler")?,
        optimizer: take(text, &mut table, "optimizer")?,
        schedule: take(text, &mut table, "schedule")?,
        train: take(text, &mut table, "train")?,
        calibration: take(text, &mut table, "calibration")?,
        thresholds: take(text, &mut table, "thresholds")?,
        report: take(text, &mut table, "report")?,
    })
}

/// One section of the table, or its default where it is absent.
fn take<T: DeserializeOwned + Default>(text: &Text, table: &mut Table, name: &str) -> Result<T> {
    table.remove(name).map_or_else(|| Ok(T::default()), |value| section(text, name, value))
}

/// One section as its type, with errors for the person at the terminal.
fn section<T: DeserializeOwned>(text: &Text, name: &str, value: Value) -> Result<T> {
    let kind = value.get("kind").or_else(|| value.get("method")).and_then(Value::as_str).map(str::to_owned);
    T::deserialize(value).map_err(|e| {
        let message = e.message().to_owned();
        let owner = kind.unwrap_or_else(|| format!("[{name}]"));
        let words: Vec<String> = message.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        if message.starts_with("unknown field") && !words.is_empty() {
            return unknown_key(text, name, &words[0], &owner, words[1..].to_vec());
        }
        if message.starts_with("unknown variant") && !words.is_empty() {
            let place = place(text, name, &["kind", "method"]);
            let message = format!("{place}: `{}` is no choice in [{name}]", words[0]);
            let known: Vec<String> = words[1..].iter().filter(|w| *w != "kind" && *w != "method").cloned().collect();
            return Error::Request(with_known(message, &words[0], &known));
        }
        let place = place(text, name, &[]);
        Error::Request(format!("{place}: [{name}] {}", message.replace('\n', " ").trim()))
    })
}

fn unknown_key(text: &Text, section: &str, key: &str, owner: &str, known: Vec<String>) -> Error {
    let place = place(text, section, &[key]);
    let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    Error::Request(with_known(format!("{place}: {path} is no setting of {owner}"), key, &known))
}

fn with_known(message: String, given: &str, known: &[String]) -> String {
    if known.is_empty() {
        return message;
    }
    let guess = nearest(given, known.iter().map(String::as_str));
    let guess = guess.map(|g| format!("      did you mean `{g}`?")).unwrap_or_default();
    format!("{message}\n  known: {}{guess}", known.join(", "))
}

/// The known name most like `given`, if any is like it.
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (strsim::normalized_damerau_levenshtein(given, k), k))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|e| e.1)
}

/// `file:line` of the first of `keys` inside `section`, or of the section, or the file alone; `--set` where that is
/// what gave the key.
fn place(text: &Text, section: &str, keys: &[&str]) -> String {
    let given = text.settings.iter().find(|s| {
        let mut path = s.split('=').next().unwrap_or_default().trim().split('.');
        let inside = section.is_empty() || path.next() == Some(section);
        inside && (keys.is_empty() || path.any(|p| keys.contains(&p)))
    });
    if let Some(setting) = given {
        return format!("--set {setting}");
    }
    let Ok(document) = toml_edit::Document::parse(text.text.as_str()) else { return text.name.clone() };
    let root = document.as_item();
    let owner = if section.is_empty() { Some(root) } else { root.get(section) };
    let found = owner.and_then(|item| keys.iter().find_map(|k| find_key(item, k)));
    let section_key = root.as_table().and_then(|t| t.key(section)).and_then(toml_edit::Key::span);
    match found.or(section_key) {
        Some(span) => format!("{}:{}", text.name, text.text[..span.start].matches('\n').count() + 1),
        None => text.name.clone(),
    }
}

/// Where `key` stands in `item` or anything below it.
fn find_key(item: &toml_edit::Item, key: &str) -> Option<std::ops::Range<usize>> {
    let table = item.as_table_like()?;
    if let Some(span) = table.key(key).and_then(toml_edit::Key::span) {
        return Some(span);
    }
    table.iter().find_map(|(_, inner)| find_key(inner, key))
}

fn syntax_error(text: &Text, error: &toml::de::Error) -> Error {
    let message = error.message();
    match error.span() {
        Some(span) => {
            let before = &text.text[..span.start.min(text.text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1;
            Error::Request(format!("{}:{line}:{column}: {message}", text.name))
        }
        None => Error::Request(format!("{}: {message}", text.name)),
    }
}

/// Ranges that types alone do not hold.
fn check(config: &Config) -> std::result::Result<(), String> {
    let train = &config.train;
    if train.epochs == 0 {
        return Err("train.epochs = 0 is out of range: at least 1".into());
    }
    if train.batch_size == 0 {
        return Err("train.batch_size = 0 is out of range: at least 1".into());
    }
    if train.checkpoint_seconds.is_nan() || train.checkpoint_seconds < 0.0 {
        return Err(format!("train.checkpoint_seconds = {} is out of range: at least 0", train.checkpoint_seconds));
    }
    for (key, metric) in [("train.monitor", &train.monitor), ("train.early_stopping.metric", &train.monitored().into())]
    {
        if metrics::direction(metric).is_err() {
            let guess = nearest(metric, metrics::names()).map(|g| format!("; did you mean `{g}`?"));
            return Err(format!("{key} = `{metric}` is no metric{}", guess.unwrap_or_default()));
        }
    }
    for (key, part) in [("data.validation", &config.data.validation), ("data.test", &config.data.test)] {
        if let Part::Share(share) = part
            && !(0.0..1.0).contains(share)
        {
            return Err(format!("{key} = {share} is out of range: at least 0 and below 1, or a file"));
        }
    }
    check_folds(&config.data)?;
    if train.early_stopping.is_some() && !config.data.has_validation() {
        return Err("train.early_stopping needs validation data; set data.validation".into());
    }
    if config.data.train.is_none() && config.data.generate.is_none() {
        return Err("no data: set data.train to a file, or [data.generate]".into());
    }
    if config.data.train.is_some() && config.data.generate.is_some() {
        return Err("data.train and [data.generate] contradict each other: keep one".into());
    }
    if config.data.limit == Some(0) {
        return Err("data.limit = 0 is out of range: at least 1".into());
    }
    config.thresholds.check().map_err(|e| e.to_string())?;
    if !config.data.has_validation() {
        Rules::without_validation(&config.thresholds, config.calibration.method).map_err(|e| e.to_string())?;
    }
    if config.report.at_k.contains(&0) {
        return Err("report.at_k holds 0; every k is at least 1".into());
    }
    if train.log_every == 0 {
        return Err("train.log_every = 0 is out of range: at least 1".into());
    }
    config.sampler.check(train.epochs)?;
    check_label_loss(config)?;
    config.loss.negatives.check(&config.loss.config, &config.model, config.sampler.looks_at_scores())?;
    config.optimizer.check()?;
    config.schedule.check()
}

/// A model with a label loss of its own leaves nothing for another one to do.
fn check_label_loss(config: &Config) -> std::result::Result<(), String> {
    let LabelLoss::Own { instead } = config.model.label_loss() else { return Ok(()) };
    if config.loss.config == LossConfig::default() {
        return Ok(());
    }
    let kind = config.model.about().kind;
    let advice = instead.map(|setting| format!("set {setting}, or ")).unwrap_or_default();
    Err(format!(
        "model.kind = \"{kind}\" is trained by losses of its own, beside which this loss would do nothing; {advice}leave \
         loss.kind = \"bce\""
    ))
}

fn check_folds(data: &DataConfig) -> std::result::Result<(), String> {
    let Some(folds) = data.folds else {
        return match data.fold {
            Some(_) => Err("data.fold needs data.folds".into()),
            None => Ok(()),
        };
    };
    if folds < 2 {
        return Err(format!("data.folds = {folds} is out of range: at least 2"));
    }
    if let Some(fold) = data.fold.filter(|f| *f >= folds) {
        return Err(format!("data.fold = {fold} is out of range: 0 to {}", folds - 1));
    }
    let made = |part: &Part| matches!(part, Part::Share(share) if *share > 0.0);
    if made(&data.test) || made(&data.validation) {
        return Err("data.folds makes test and validation data itself; set data.test and data.validation to 0".into());
    }
    Ok(())
}
