//! The training, validation and test data of a run, scaled alike.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data::formats::{read, read_together};
use data::preprocess::Preprocess;
use data::{DataError, Dataset, Schema, generate, split};
use losses::TrainingCounts;
use serde::{Deserialize, Serialize};

use crate::config::{Config, DataConfig, HoldBack, Part};
use crate::error::{Error, Result};
use crate::kept_data::KeptData;
use crate::stored_model::Description;

/// Data of a run. The validation split never touches the test split.
#[derive(Debug)]
pub struct Splits {
    /// Trained on.
    pub train: Dataset,
    /// Where each training instance stands in the training file (or the made data), from 0.
    pub origin: Vec<usize>,
    /// Watched while training, where asked for.
    pub validation: Option<Dataset>,
    /// Looked at once, at the end.
    pub test: Option<Dataset>,
    /// Fitted on the training split.
    pub preprocess: Preprocess,
    /// What is counted in the training split.
    pub counts: TrainingCounts,
    /// The labels that were kept, and the columns before, where some were left out.
    pub kept: Option<Kept>,
    /// Files and their checksums.
    pub checksums: Vec<(PathBuf, String)>,
}

impl Splits {
    /// Reads or makes the data of `config`, splits and scales it.
    ///
    /// # Errors
    /// Whatever is wrong with a file, or data that cannot be trained on.
    pub fn load(config: &Config) -> Result<Self> {
        let mut data = config.data.clone();
        if let Some(recipe) = &mut data.generate
            && recipe.seed == 0
        {
            recipe.seed = config.seed;
        }
        let paths: Vec<PathBuf> = files(&data).collect();
        let kept_data = KeptData::of(&data, config.seed, &paths);
        if let Some(splits) = kept_data.as_ref().and_then(KeptData::load) {
            check(&splits.counts)?;
            return Ok(splits);
        }
        let (mut train, mut validation, mut test) = gather(&data)?;
        if let Some(limit) = data.limit.filter(|&l| l < train.len()) {
            train = train.select(&(0..limit).collect::<Vec<_>>());
        }
        let kept = keep_frequent(data.min_positives, [Some(&mut train), validation.as_mut(), test.as_mut()])?;
        let mut origin: Vec<usize> = (0..train.len()).collect();
        if let Some(folds) = data.folds {
            validation.iter().chain(&test).for_each(|set| train.append(set));
            let [own, watched, held] = fold(&train, folds, data.fold.unwrap_or(0), config.seed)?;
            (validation, test) = (Some(train.select(&watched)), Some(train.select(&held)));
            train = train.select(&own);
            origin = own;
        }
        for (part, held, seed) in
            [(&data.test, &mut test, config.seed), (&data.validation, &mut validation, config.seed.wrapping_add(1))]
        {
            if let (Part::Share(share), None) = (part, &held)
                && *share > 0.0
            {
                let [kept, given] = hold_back(&train, *share, data.hold_back, seed)?;
                *held = Some(train.select(&given));
                train = train.select(&kept);
                origin = kept.iter().map(|&i| origin[i]).collect();
            }
        }
        let counts = TrainingCounts {
            labels: train.labels.counts(),
            negatives: train.labels.negatives(),
            instances: train.len(),
        };
        check(&counts)?;
        let preprocess = Preprocess::fit(data.scale, &train.features);
        let missing = train.missing + [&validation, &test].into_iter().flatten().map(|d| d.missing).sum::<usize>();
        if missing > 0 {
            tracing::info!("{missing} missing feature values take the mean of the training split");
        }
        let apply = |mut set: Dataset| {
            set.features = preprocess.apply(set.features);
            set
        };
        let checksums = paths.into_iter().map(|p| Ok((p.clone(), data::checksum(&p)?))).collect::<Result<_>>()?;
        let splits = Self {
            train: apply(train),
            origin,
            validation: validation.map(apply),
            test: test.map(apply),
            counts,
            kept,
            checksums,
            preprocess,
        };
        if let Some(kept_data) = kept_data {
            kept_data.keep(&splits);
        }
        Ok(splits)
    }

    /// The columns that all splits share.
    pub fn schema(&self) -> &Schema {
        &self.train.schema
    }
}

/// Labels that are kept of a file's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Their indices among the file's labels, ascending.
    pub labels: Vec<u32>,
    /// How many labels the file has.
    pub of: usize,
    /// The names of all of them, where they have names.
    pub names: Option<Vec<String>>,
}

impl Kept {
    /// The columns of a file, given those of the model.
    pub fn file_schema(&self, schema: &Schema) -> Schema {
        let names = self.names.as_ref().map(|n| Arc::new(n.iter().collect()));
        Schema { labels: self.of, label_names: names, ..schema.clone() }
    }
}

/// Leaves out labels with fewer than `least` positives in all sets together.
fn keep_frequent(least: usize, mut sets: [Option<&mut Dataset>; 3]) -> Result<Option<Kept>> {
    let mut counts = vec![0; sets[0].as_ref().map_or(0, |s| s.labels.columns())];
    for set in sets.iter().flatten() {
        counts.iter_mut().zip(set.labels.counts()).for_each(|(c, n)| *c += n);
    }
    let labels: Vec<u32> = (0..).zip(&counts).filter(|c| *c.1 >= least).map(|c| c.0).collect();
    if labels.len() == counts.len() {
        return Ok(None);
    }
    if labels.is_empty() {
        return Err(Error::Request(format!("data.min_positives = {least}: no label has as many positives")));
    }
    tracing::info!("{} of {} labels have at least {least} positives and are kept", labels.len(), counts.len());
    let names = sets[0].as_ref().and_then(|s| s.schema.label_names.as_ref()).map(|n| n.list().to_vec());
    let kept = Kept { of: counts.len(), names, labels };
    for set in sets.iter_mut().flatten() {
        set.keep_labels(&kept.labels);
    }
    Ok(Some(kept))
}

/// Instances trained on, watched and tested on when fold `held` is held back: a half of it each for the last two.
fn fold(data: &Dataset, folds: usize, held: usize, seed: u64) -> Result<[Vec<usize>; 3]> {
    let parts = split::folds(&data.labels, folds, seed)?;
    let given = &parts[held];
    let halves = split::stratify(&data.labels.select(given), &[0.5, 0.5], seed.wrapping_add(1))?;
    let half = |h: usize| halves[h].iter().map(|&i| given[i]).collect::<Vec<_>>();
    let mut own: Vec<usize> = parts.iter().enumerate().filter(|p| p.0 != held).flat_map(|p| p.1).copied().collect();
    own.sort_unstable();
    let out = [own, half(0), half(1)];
    if out.iter().any(Vec::is_empty) {
        return Err(Error::Request(format!("{} instances are too few for {folds} folds", data.len())));
    }
    Ok(out)
}

/// Training data, and validation and test data where they are files.
type Gathered = (Dataset, Option<Dataset>, Option<Dataset>);

fn gather(data: &DataConfig) -> Result<Gathered> {
    let Some(train) = &data.train else {
        let recipe = data.generate.clone().unwrap_or_default();
        return Ok((generate::dataset(&recipe)?, None, None));
    };
    let options = data.read_options();
    let file = |part: &Part| match part {
        Part::File(path) => Some(path.clone()),
        Part::Share(_) => None,
    };
    let (validation, test) = (file(&data.validation), file(&data.test));
    let paths: Vec<&Path> =
        [Some(train), validation.as_ref(), test.as_ref()].into_iter().flatten().map(|p| &**p).collect();
    let mut sets = read_together(&paths, &options)?.into_iter();
    let lost = |set: &Dataset, path: &Path| {
        if set.unknown_features > 0 {
            let n = set.unknown_features;
            tracing::warn!("{}: {n} features are not in the training file and are left out", path.display());
        }
    };
    let Some(first) = sets.next() else { return Err(Error::Request("no training data".into())) };
    let mut take = |path: &Option<PathBuf>| path.as_ref().and_then(|p| sets.next().inspect(|set| lost(set, p)));
    let validation = take(&validation);
    let test = take(&test);
    Ok((first, validation, test))
}

/// The instances that stay and those held back.
fn hold_back(data: &Dataset, share: f64, how: HoldBack, seed: u64) -> std::result::Result<[Vec<usize>; 2], DataError> {
    let parts = match how {
        HoldBack::Stratified => split::stratify(&data.labels, &[1.0 - share, share], seed)?,
        HoldBack::Random => split::at_random(data.len(), share, seed),
    };
    match <[Vec<usize>; 2]>::try_from(parts) {
        Ok(parts) if parts.iter().all(|p| !p.is_empty()) => Ok(parts),
        _ => {
            let message = format!("{} instances are too few to hold back a share of {share}", data.len());
            Err(DataError::Request(message))
        }
    }
}

fn check(counts: &TrainingCounts) -> Result<()> {
    let labels = counts.labels.len();
    if labels == 0 {
        return Err(Error::Request("the data has 0 labels".into()));
    }
    if counts.negatives == counts.instances {
        let message = format!("all {} training instances are negative: none has a label", counts.instances);
        return Err(Error::Request(message));
    }
    let unseen = counts.labels.iter().filter(|&&n| n == 0).count();
    if unseen > 0 {
        tracing::warn!("{unseen} of {labels} labels have no positive in the training split");
    }
    Ok(())
}

/// The files a config names.
fn files(data: &DataConfig) -> impl Iterator<Item = PathBuf> + use<> {
    let part = |p: &Part| match p {
        Part::File(path) => Some(path.clone()),
        Part::Share(_) => None,
    };
    [data.train.clone(), part(&data.validation), part(&data.test), data.labels.clone()].into_iter().flatten()
}

/// Reads one more file as the run's data: same columns, same scaling.
///
/// # Errors
/// As reading does.
pub fn read_like(path: &Path, config: &DataConfig, description: &Description) -> Result<Dataset> {
    let schema = &description.file_schema();
    let mut set = read(path, &config.read_options(), Some(schema))?;
    if set.schema.labels > schema.labels {
        let new = set.schema.label_name(schema.labels);
        let count = set.schema.labels - schema.labels;
        let message = format!("{count} labels are unknown to the model, the first is `{new}`");
        return Err(Error::Request(format!("{}: {message}", path.display())));
    }
    set.widen_labels(schema);
    if let Some(kept) = &description.kept {
        set.keep_labels(&kept.labels);
    }
    set.features = description.preprocess.apply(set.features);
    Ok(set)
}
