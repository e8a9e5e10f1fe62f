//! From a sweep's file to trials: every combination as a whole config.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::Value;

use super::Places;
use super::spec::{Base, Setting, Spec};
use crate::checkpoint::write_atomically;
use crate::config::{self, Config, Source};
use crate::error::{Error, Result};

/// One training of a sweep.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The first digits of its config's SHA-256: the name of its folder.
    pub id: String,
    /// Name of its data set; empty where the sweep has one only.
    pub data: String,
    /// Its seed.
    pub seed: u64,
    /// The fold held back.
    pub fold: Option<usize>,
    /// The settings that make it differ, besides data, seed and fold.
    pub settings: Vec<Setting>,
    /// The whole config.
    pub config: Config,
}

impl Trial {
    /// Its settings in words: what its results are compared by.
    pub fn label(&self) -> String {
        // The name of a kind says enough: `loss=focal` for `loss.kind`.
        let short = |key: &str| key.trim_end_matches(".kind").trim_end_matches(".method").to_owned();
        let words: Vec<String> = self.settings.iter().map(|(k, v)| format!("{}={}", short(k), plain(v))).collect();
        if words.is_empty() { "base".into() } else { words.join(" ") }
    }
}

/// A value without the quotes of text.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Makes trials of settings.
pub struct Maker<'a> {
    spec: &'a Spec,
    base: PathBuf,
    /// The file that relative paths are seen from.
    seen_from: PathBuf,
}

impl<'a> Maker<'a> {
    /// Of a sweep; a base config in the sweep's file is kept with its results.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn new(spec: &'a Spec, file: &Path, places: &Places) -> Result<Self> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let (base, seen_from) = match &spec.base {
            Base::File(path) => (folder.join(path), folder.join(path)),
            Base::Table(table) => {
                let path = places.sweep.join("base.toml");
                let text = toml::to_string(table).map_err(|e| Error::Request(format!("base: {e}")))?;
                write_atomically(&path, &[text.as_bytes()])?;
                (path, file.to_owned())
            }
        };
        Ok(Self { spec, base, seen_from })
    }

    /// The settings of `wanted` that go together, on every data set, with every seed and fold.
    ///
    /// # Errors
    /// For settings that are none, with the nearest known one.
    pub fn with(&self, wanted: &[Setting]) -> Result<Vec<Trial>> {
        let spec = self.spec;
        let mut settings: Vec<Setting> = wanted.iter().filter(|(key, _)| spec.applies(key, wanted)).cloned().collect();
        // A kind replaces the settings of another kind: it comes before them.
        settings.sort_by_key(|(key, _)| !key.ends_with("kind"));
        let folds: Vec<Option<usize>> = spec.folds.map_or_else(|| vec![None], |k| (0..k).map(Some).collect());
        let mut out = Vec::new();
        for (data, of_data) in spec.data_sets() {
            for &seed in &spec.seeds {
                for &fold in &folds {
                    let mut text: Vec<String> = of_data.iter().chain(&settings).map(written).collect();
                    text.push(format!("seed={seed}"));
                    if let (Some(folds), Some(fold)) = (spec.folds, fold) {
                        text.extend([format!("data.folds={folds}"), format!("data.fold={fold}")]);
                    }
                    let mut config = config::load(Source::File(&self.base), &text)?;
                    config::resolve_paths(&mut config, Source::File(&self.seen_from));
                    let (data, settings) = (data.clone(), settings.clone());
                    out.push(Trial { id: id_of(&config)?, data, seed, fold, settings, config });
                }
            }
        }
        Ok(out)
    }
}

/// All trials of grid and random, equal ones once.
///
/// # Errors
/// For settings that are none, with the nearest known one, and for conditions that leave a setting out of every trial.
pub fn all(spec: &Spec, maker: &Maker) -> Result<Vec<Trial>> {
    let (grid, draws) = (spec.grid()?, spec.draws()?);
    let (mut out, mut known, mut used) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for combination in combinations(&grid) {
        for draw in &draws {
            let wanted: Vec<Setting> = combination.iter().chain(draw).cloned().collect();
            for trial in maker.with(&wanted)? {
                used.extend(trial.settings.iter().map(|s| s.0.clone()));
                if known.insert(trial.id.clone()) {
                    out.push(trial);
                }
            }
        }
    }
    let keys = grid.iter().map(|g| &g.0).chain(draws.iter().flatten().map(|s| &s.0));
    if let Some(never) = keys.into_iter().find(|k| !used.contains(*k)) {
        return Err(Error::Request(format!("conditions.{never} excludes {never} from every trial")));
    }
    Ok(out)
}

fn written((key, value): &Setting) -> String {
    format!("{key}={value}")
}

/// The name of a config's run folder.
fn id_of(config: &Config) -> Result<String> {
    let text = toml::to_string(config).map_err(|e| Error::Job(format!("config: {e}")))?;
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().take(8).map(|b| format!("{b:02x}")).collect())
}

/// Every way to take one value of each axis.
fn combinations(axes: &[(String, Vec<Value>)]) -> Vec<Vec<Setting>> {
    axes.iter().fold(vec![Vec::new()], |sofar, (key, values)| {
        let with = |settings: &Vec<Setting>, value: &Value| {
            let mut settings = settings.clone();
            settings.push((key.clone(), value.clone()));
            settings
        };
        sofar.iter().flat_map(|settings| values.iter().map(move |value| with(settings, value))).collect()
    })
}
