//! Data as a run trains on it, kept in binary files: the next start with the same data maps them into memory and reads no
//! text again.
//!
//! An entry belongs to one content of the files (their paths, sizes and times of change), one `[data]` section and one
//! seed; anything else is another entry. It holds the split, scaled rows of [`data::store`] and a description.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use data::preprocess::Preprocess;
use data::{Dataset, Names, Schema, store};
use losses::TrainingCounts;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::config::DataConfig;
use crate::error::{Error, Result};
use crate::splits::{Kept, Splits};

/// Another one: older entries are not understood, and not used.
const VERSION: u32 = 1;
/// Bytes of text below which reading it again takes no time.
const SMALL: u64 = 4 << 20;
const ABOUT: &str = "about.json";

/// Where the data of one run is kept, or would be.
pub struct KeptData {
    folder: PathBuf,
    key: String,
}

/// What an entry holds besides rows.
#[derive(Serialize, Deserialize)]
struct About {
    key: String,
    features: usize,
    labels: usize,
    feature_names: Option<Vec<String>>,
    label_names: Option<Vec<String>>,
    one_based: Option<bool>,
    /// Absent where it is 0, 1, 2, …
    origin: Option<Vec<usize>>,
    preprocess: Preprocess,
    counts: TrainingCounts,
    kept: Option<Kept>,
    checksums: Vec<(PathBuf, String)>,
    /// Missing and unknown entries of each set that there is: train, validation, test.
    sets: [Option<[usize; 2]>; 3],
}

const NAMES: [&str; 3] = ["train.rows", "validation.rows", "test.rows"];

impl KeptData {
    /// The entry of this data; none where it is not worth keeping, or must not be.
    pub fn of(data: &DataConfig, seed: u64, files: &[PathBuf]) -> Option<Self> {
        if !data.cache || data.folds.is_some() || files.is_empty() {
            return None;
        }
        let mut size = 0;
        let mut stamps = Vec::new();
        for file in files {
            let known = std::fs::metadata(file).ok()?;
            let changed = known.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            size += known.len();
            stamps.push((std::fs::canonicalize(file).ok()?, known.len(), changed.as_nanos().to_string()));
        }
        if size < SMALL {
            return None;
        }
        let key = serde_json::to_string(&(VERSION, data, seed, stamps)).ok()?;
        let name: String = Sha256::digest(key.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        Some(Self { folder: cache::folder()?.join("data").join(name), key })
    }

    /// The data, where it is kept.
    pub fn load(&self) -> Option<Splits> {
        if !self.folder.join(ABOUT).exists() {
            return None;
        }
        match self.read() {
            Ok(splits) => {
                tracing::info!("data as it was read before, from {}", self.folder.display());
                Some(splits)
            }
            Err(error) => {
                tracing::warn!("{error}: the data is read from its files");
                None
            }
        }
    }

    fn read(&self) -> Result<Splits> {
        let path = self.folder.join(ABOUT);
        let wrong = |what: String| Error::Job(format!("{}: {what}", path.display()));
        let bytes = std::fs::read(&path).map_err(|e| wrong(e.to_string()))?;
        let about: About = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        if about.key != self.key {
            return Err(wrong("of other data".into()));
        }
        let names = |list: Option<Vec<String>>| list.map(|l| Arc::new(l.iter().collect::<Names>()));
        let schema = Schema {
            features: about.features,
            labels: about.labels,
            feature_names: names(about.feature_names),
            label_names: names(about.label_names),
            one_based: about.one_based,
        };
        let set = |i: usize| -> Result<Option<Dataset>> {
            let Some([missing, unknown_features]) = about.sets[i] else { return Ok(None) };
            let (features, labels) = store::open(&self.folder.join(NAMES[i]))?;
            Ok(Some(Dataset { features, labels, schema: schema.clone(), missing, unknown_features }))
        };
        let train = set(0)?.ok_or_else(|| wrong("no training data".into()))?;
        Ok(Splits {
            origin: about.origin.unwrap_or_else(|| (0..train.len()).collect()),
            validation: set(1)?,
            test: set(2)?,
            train,
            preprocess: about.preprocess,
            counts: about.counts,
            kept: about.kept,
            checksums: about.checksums,
        })
    }

    /// Keeps the data for the next time, if the disk allows it.
    pub fn keep(&self, splits: &Splits) {
        match self.write(splits) {
            Ok(()) => tracing::info!("data kept for the next start: {}", self.folder.display()),
            Err(error) => tracing::warn!("the data is not kept for the next start: {error}"),
        }
    }

    fn write(&self, splits: &Splits) -> Result<()> {
        let parent = self.folder.parent().unwrap_or(Path::new("."));
        let fail = |e: std::io::Error| Error::write(&self.folder, &e);
        std::fs::create_dir_all(parent).map_err(fail)?;
        let part = tempfile::Builder::new().prefix(".part-").tempdir_in(parent).map_err(fail)?;
        let sets = [Some(&splits.train), splits.validation.as_ref(), splits.test.as_ref()];
        for (set, name) in sets.iter().zip(NAMES) {
            if let Some(set) = set {
                store::write(&part.path().join(name), &set.features, &set.labels)?;
            }
        }
        let schema = splits.schema();
        let names = |names: &Option<Arc<Names>>| names.as_ref().map(|n| n.list().to_vec());
        let is_plain = splits.origin.iter().enumerate().all(|(i, o)| i == *o);
        let about = About {
            key: self.key.clone(),
            features: schema.features,
            labels: schema.labels,
            feature_names: names(&schema.feature_names),
            label_names: names(&schema.label_names),
            one_based: schema.one_based,
            origin: (!is_plain).then(|| splits.origin.clone()),
            preprocess: splits.preprocess.clone(),
            counts: splits.counts.clone(),
            kept: splits.kept.clone(),
            checksums: splits.checksums.clone(),
            sets: sets.map(|s| s.map(|s| [s.missing, s.unknown_features])),
        };
        let bytes = serde_json::to_vec(&about).map_err(|e| Error::Job(e.to_string()))?;
        std::fs::write(part.path().join(ABOUT), bytes).map_err(fail)?;
        // An entry that could not be read makes room for this one.
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).map_err(fail)?;
        }
        std::fs::rename(part.keep(), &self.folder).map_err(fail)
    }
}
