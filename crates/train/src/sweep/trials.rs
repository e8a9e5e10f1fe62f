//! From a sweep's file to trials: every combination as a whole config.

use std::collections::BTreeSet;
use std::path::Path;

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

/// All trials of a sweep, equal ones once.
///
/// # Errors
/// For settings that are none, with the nearest known one, and for sweeps without a trial.
pub fn all(spec: &Spec, file: &Path, places: &Places) -> Result<Vec<Trial>> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let base = match &spec.base {
        Base::File(path) => folder.join(path),
        // Beside the sweep's file, so that its paths mean the same; kept with the sweep's results.
        Base::Table(table) => {
            let path = places.sweep.join("base.toml");
            let text = toml::to_string(table).map_err(|e| Error::Request(format!("base: {e}")))?;
            write_atomically(&path, &[text.as_bytes()])?;
            path
        }
    };
    let seen_from = if matches!(spec.base, Base::File(_)) { base.clone() } else { file.to_owned() };
    let (grid, draws) = (spec.grid()?, spec.draws()?);
    let folds: Vec<Option<usize>> = spec.folds.map_or_else(|| vec![None], |k| (0..k).map(Some).collect());
    let mut used = BTreeSet::new();
    let (mut out, mut known) = (Vec::new(), BTreeSet::new());
    for (data, of_data) in spec.data_sets() {
        for combination in combinations(&grid) {
            for draw in &draws {
                let wanted: Vec<Setting> = combination.iter().chain(draw).cloned().collect();
                let mut settings: Vec<Setting> =
                    wanted.iter().filter(|(key, _)| spec.applies(key, &wanted)).cloned().collect();
                used.extend(settings.iter().map(|s| s.0.clone()));
                // A kind replaces the settings of another kind: it comes before them.
                settings.sort_by_key(|(key, _)| !key.ends_with("kind"));
                for &seed in &spec.seeds {
                    for &fold in &folds {
                        let mut text: Vec<String> = of_data.iter().chain(&settings).map(written).collect();
                        text.push(format!("seed={seed}"));
                        if let (Some(folds), Some(fold)) = (spec.folds, fold) {
                            text.extend([format!("data.folds={folds}"), format!("data.fold={fold}")]);
                        }
                        let mut config = config::load(Source::File(&base), &text)?;
                        config::resolve_paths(&mut config, Source::File(&seen_from));
                        let id = id_of(&config)?;
                        if known.insert(id.clone()) {
                            let (data, settings) = (data.clone(), settings.clone());
                            out.push(Trial { id, data, seed, fold, settings, config });
                        }
                    }
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
