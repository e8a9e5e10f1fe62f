//! `model/bank.safetensors` of a run folder: the training rows that the signals of adaptive thresholds come from.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use data::{FeatureRows, LabelRows};
use losses::{AdaptiveThresholdConfig, Idf, NeighbourSource};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::checkpoint::write_atomically;
use crate::error::{Error, Result};
use crate::signals::TrainingRows;
use crate::splits::Splits;
use crate::stored_model::{self, Description};

/// Its place in the model folder.
pub const FILE: &str = "bank.safetensors";

/// Writes the rows.
///
/// # Errors
/// When the disk refuses.
pub fn save(run: &Path, rows: &TrainingRows) -> Result<()> {
    let path = run.join("model").join(FILE);
    let mut arrays: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let starts = |s: &[usize]| s.iter().flat_map(|v| (*v as u64).to_le_bytes()).collect::<Vec<u8>>();
    let indices = |s: &[u32]| s.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let floats = |s: &[f32]| s.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let labels = &rows.labels;
    arrays.push(("labels.columns", Dtype::U64, vec![1], starts(&[labels.columns()])));
    arrays.push(("labels.starts", Dtype::U64, vec![labels.starts().len()], starts(labels.starts())));
    arrays.push(("labels.indices", Dtype::U32, vec![labels.nnz()], indices(labels.indices())));
    arrays.push(("origin", Dtype::U64, vec![rows.origin.len()], starts(&rows.origin)));
    if let Some(features) = &rows.features {
        arrays.push(("features.columns", Dtype::U64, vec![1], starts(&[features.columns()])));
        arrays.push(("features.starts", Dtype::U64, vec![features.starts().len()], starts(features.starts())));
        arrays.push(("features.indices", Dtype::U32, vec![features.nnz()], indices(features.indices())));
        arrays.push(("features.values", Dtype::F32, vec![features.nnz()], floats(features.values())));
    }
    if let Some((values, width)) = &rows.embedding {
        let shape = vec![values.len() / (*width).max(1), *width];
        arrays.push(("embedding", Dtype::F32, shape, floats(values)));
    }
    let fail = |e: safetensors::SafeTensorError| Error::Job(format!("{}: {e}", path.display()));
    let mut views = Vec::with_capacity(arrays.len());
    for (name, dtype, shape, bytes) in &arrays {
        views.push((*name, TensorView::new(*dtype, shape.clone(), bytes).map_err(fail)?));
    }
    let bytes = safetensors::serialize(views, None).map_err(fail)?;
    write_atomically(&path, &[&bytes])
}

/// Writes what prediction will need of the training rows, and nothing where it needs none.
///
/// # Errors
/// When the disk refuses.
pub fn keep(
    run: &Path,
    settings: &AdaptiveThresholdConfig,
    splits: &Splits,
    description: &Description,
    device: &Device,
) -> Result<()> {
    // A model that may not predict as it is may be told of a source later.
    let source = settings.source_of_prediction().unwrap_or(Some(NeighbourSource::Features));
    let terms = settings.uses_rarity() && settings.idf == Idf::Tfidf;
    if source.is_none() && !terms {
        return Ok(());
    }
    let features = &splits.train.features;
    let mut rows = TrainingRows {
        labels: Arc::new(splits.train.labels.clone()),
        origin: splits.origin.clone(),
        features: (terms || source == Some(NeighbourSource::Features)).then_some(Cow::Borrowed(features)),
        embedding: None,
    };
    if source == Some(NeighbourSource::Embedding) {
        // The model is read back from the run, and its rarity signal wants these rows.
        save(run, &rows)?;
        let predictor = stored_model::load(run, description, None, device)?;
        rows.embedding = Some(predictor.embed(features)?);
    }
    save(run, &rows)
}

/// Reads the rows.
///
/// # Errors
/// When the file is absent or holds no such rows.
pub fn load(run: &Path) -> Result<TrainingRows<'static>> {
    let path = run.join("model").join(FILE);
    let broken = |what: String| Error::Request(format!("{}: {what}", path.display()));
    let bytes = std::fs::read(&path).map_err(|e| broken(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?;
    let tensor = |name: &str, dtype: Dtype| {
        let view = file.tensor(name).map_err(|_| broken(format!("no tensor `{name}`")))?;
        if view.dtype() == dtype { Ok(view) } else { Err(broken(format!("tensor `{name}` is {:?}", view.dtype()))) }
    };
    let numbers = |name: &str| -> Result<Vec<usize>> {
        let view = tensor(name, Dtype::U64)?;
        let words = view.data().as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b) as usize);
        Ok(words.collect())
    };
    let indices = |name: &str| -> Result<Vec<u32>> {
        Ok(tensor(name, Dtype::U32)?.data().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
    };
    let floats = |name: &str| -> Result<Vec<f32>> {
        Ok(tensor(name, Dtype::F32)?.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    let columns = |name: &str| numbers(name).map(|n| n.first().copied().unwrap_or(0));
    let labels =
        LabelRows::from_parts(numbers("labels.starts")?, indices("labels.indices")?, columns("labels.columns")?)
            .ok_or_else(|| broken("its labels are no rows".into()))?;
    let origin = numbers("origin")?;
    let mut rows = TrainingRows { labels: Arc::new(labels), origin, ..TrainingRows::default() };
    if file.tensor("features.starts").is_ok() {
        let features = FeatureRows::from_parts(
            numbers("features.starts")?,
            indices("features.indices")?,
            floats("features.values")?,
            columns("features.columns")?,
        );
        rows.features = Some(Cow::Owned(features.ok_or_else(|| broken("its features are no rows".into()))?));
    }
    if let Ok(view) = file.tensor("embedding") {
        rows.embedding = Some((floats("embedding")?, view.shape().last().copied().unwrap_or(0)));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("model")).unwrap();
        let (mut labels, mut features) = (LabelRows::new(3), FeatureRows::new(4));
        labels.push(&[0, 2]);
        labels.push(&[]);
        features.push(&[(1, 0.5)]);
        features.push(&[(0, -1.0), (3, 2.0)]);
        let rows = TrainingRows {
            labels: Arc::new(labels.clone()),
            origin: vec![4, 7],
            features: Some(Cow::Borrowed(&features)),
            embedding: Some((vec![1.0, 2.0, 3.0, 4.0], 2)),
        };
        save(folder.path(), &rows).unwrap();
        let back = load(folder.path()).unwrap();
        assert_eq!((&*back.labels, back.features.as_deref()), (&labels, Some(&features)));
        assert_eq!((&back.embedding, &back.origin), (&rows.embedding, &rows.origin));
        save(folder.path(), &TrainingRows { labels: Arc::new(labels), ..TrainingRows::default() }).unwrap();
        assert!(load(folder.path()).unwrap().features.is_none());
    }
}
