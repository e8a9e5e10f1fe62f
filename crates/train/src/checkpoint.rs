//! States of a run on disk: written whole or not at all, checksummed, read back bit for bit.
//!
//! A checkpoint is a safetensors file and then one line `longtail-checkpoint 3 <sha-256 of what is before it>`: the
//! model's weights under `model.`, the optimizer's arrays under `optimizer.N.` and `waiting.`, the sampler's under
//! `sampler.`, how often instances were trained on as `seen`, the bank of embedding neighbours as `embedding`,
//! everything else as JSON in its metadata. Arrays go to the file from where they are, one after the other.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use model::Weights;
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::optimizer::{Optimizer, OptimizerState};
use crate::sampler::SamplerState;

const MAGIC: &str = "longtail-checkpoint 3 ";
/// Name of the bank in the file.
const EMBEDDING: &str = "embedding";
/// Name of the counts of instances.
const SEEN: &str = "seen";

/// Which of the two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// The most recent.
    Last,
    /// The best by the monitored metric.
    Best,
}

impl Which {
    fn file(self) -> &'static str {
        match self {
            Self::Last => "last.ckpt",
            Self::Best => "best.ckpt",
        }
    }

    /// Its file in a run folder.
    pub fn path(self, run: &Path) -> PathBuf {
        run.join("checkpoint").join(self.file())
    }
}

/// Where a run stands, besides its arrays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs completed.
    pub epoch: usize,
    /// Steps done in the epoch after those.
    pub step_in_epoch: usize,
    /// Steps done in all.
    pub step: usize,
    /// The sampler's generator.
    pub sampler_rng: ChaCha8Rng,
    /// The generator of dropout masks.
    pub dropout_rng: ChaCha8Rng,
    /// The generator of label samples.
    pub labels_rng: ChaCha8Rng,
    /// Sums of the loss and its parts over the current epoch.
    pub sums: LossSums,
    /// Best epoch and value of the monitored metric.
    pub best: Option<(usize, f64)>,
    /// Seconds spent training.
    pub seconds: f64,
    /// Instances trained on.
    pub instances: u64,
}

/// Loss of an epoch so far, weighted by instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LossSums {
    /// Instances counted.
    pub instances: u64,
    /// Sum of the loss.
    pub loss: f64,
    /// Sums of its parts.
    pub parts: BTreeMap<String, f64>,
}

/// A whole state, read back.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The model's numbers.
    pub weights: Weights,
    /// The optimizer's.
    pub optimizer: OptimizerState,
    /// The sampler's.
    pub sampler: SamplerState,
    /// How often each instance was trained on.
    pub seen: Vec<u32>,
    /// Inside an epoch: the bank of the training rows' last hidden layer at its start, and the layer's width.
    pub embedding: Option<(Vec<f32>, usize)>,
    /// Everything else.
    pub progress: Progress,
}

/// A whole state where it lives.
pub struct Snapshot<'a> {
    /// The model's numbers.
    pub weights: &'a Weights,
    /// The optimizer.
    pub optimizer: &'a Optimizer,
    /// The sampler's state.
    pub sampler: SamplerState,
    /// How often each instance was trained on.
    pub seen: &'a [u32],
    /// Inside an epoch: the bank of the training rows' last hidden layer at its start, and the layer's width.
    pub embedding: Option<(&'a [f32], usize)>,
    /// Everything else.
    pub progress: &'a Progress,
}

/// Numbers of a state.
#[derive(Debug, Clone, Copy)]
pub enum Array<'a> {
    /// On the host.
    Floats(&'a [f32]),
    /// On the host.
    Words(&'a [u32]),
    /// On a device, flat.
    Device(&'a Tensor<1>),
}

/// An array with its shape, as safetensors writes it.
struct Entry<'a> {
    shape: Vec<usize>,
    array: Array<'a>,
}

impl<'a> Entry<'a> {
    fn flat(array: Array<'a>) -> Self {
        let len = match array {
            Array::Floats(values) => values.len(),
            Array::Words(values) => values.len(),
            Array::Device(tensor) => tensor.dims()[0],
        };
        Self { shape: vec![len], array }
    }
}

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        if matches!(self.array, Array::Words(_)) { Dtype::U32 } else { Dtype::F32 }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // Memory holds the bytes as the format wants them: every machine with a backend is little-endian.
        match self.array {
            Array::Floats(values) => Cow::Borrowed(bytemuck::cast_slice(values)),
            Array::Words(values) => Cow::Borrowed(bytemuck::cast_slice(values)),
            Array::Device(tensor) => Cow::Owned(bytemuck::cast_slice(host::HostView::of(tensor).as_slice()).to_vec()),
        }
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    progress: Progress,
    optimizer_steps: u64,
    missed_rates: Vec<f64>,
}

/// Writes a state to the run folder under a temporary name, then renames it: the old one stays whole until then.
///
/// # Errors
/// When the disk refuses.
pub fn save(run: &Path, which: Which, state: &Snapshot) -> Result<()> {
    let path = which.path(run);
    let folder = run.join("checkpoint");
    let fail = |e: std::io::Error| Error::write(&path, &e);
    std::fs::create_dir_all(&folder).map_err(fail)?;
    let part = part().tempfile_in(&folder).map_err(fail)?.into_temp_path();
    let broken = |m: String| Error::Job(format!("{}: {m}", path.display()));
    let metadata = Metadata {
        progress: state.progress.clone(),
        optimizer_steps: state.optimizer.steps(),
        missed_rates: state.optimizer.missed().to_vec(),
    };
    let metadata = serde_json::to_string(&metadata).map_err(|e| broken(e.to_string()))?;
    let information = HashMap::from([("state".to_owned(), metadata)]);
    safetensors::serialize_to_file(entries(state), Some(information), &part).map_err(|e| match e {
        SafeTensorError::IoError(e) => fail(e),
        other => broken(other.to_string()),
    })?;
    let mut file = std::fs::File::options().append(true).open(&part).map_err(fail)?;
    let checksum = data::checksum(&part).map_err(|e| broken(e.to_string()))?;
    file.write_all(format!("{MAGIC}{checksum}\n").as_bytes()).map_err(fail)?;
    file.sync_data().map_err(fail)?;
    part.persist(&path).map_err(|e| fail(e.error))
}

/// Temporary files that become others: with the permissions of those.
fn part() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".part-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When the disk refuses; the old file stays.
pub fn write_atomically(path: &Path, pieces: &[&[u8]]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let fail = |e: std::io::Error| Error::write(path, &e);
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut file = part().tempfile_in(folder).map_err(fail)?;
    for piece in pieces {
        file.write_all(piece).map_err(fail)?;
    }
    file.as_file().sync_data().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Reads a state back.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn load(run: &Path, which: Which) -> Result<State> {
    let path = which.path(run);
    let other = if which == Which::Last { Which::Best } else { Which::Last };
    let advice = match other.path(run).exists() {
        true => format!(
            "; --resume {} continues from {}",
            other.file().trim_end_matches(".ckpt"),
            other.path(run).display()
        ),
        false => String::new(),
    };
    let broken = |what: String| Error::Request(format!("{}: {what}{advice}", path.display()));
    let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => broken("no such checkpoint".into()),
        _ => broken(format!("the checkpoint cannot be read ({e})")),
    })?;
    let Some((payload, expected)) = split_end(&bytes) else {
        return Err(broken("not a checkpoint, or not whole".into()));
    };
    let found = hex(payload);
    if found != expected {
        return Err(broken(format!("the checkpoint is corrupted: checksum {found}, expected {expected}")));
    }
    decode(payload).map_err(broken)
}

/// What the last line is about, and its checksum.
fn split_end(bytes: &[u8]) -> Option<(&[u8], &str)> {
    let (payload, line) = bytes.split_at_checked(bytes.len().checked_sub(MAGIC.len() + 65)?)?;
    let line = std::str::from_utf8(line).ok()?;
    Some((payload, line.strip_prefix(MAGIC)?.strip_suffix('\n')?))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn entries<'a>(state: &'a Snapshot) -> Vec<(String, Entry<'a>)> {
    let mut out = Vec::new();
    for (name, (shape, values)) in &state.weights.0 {
        out.push((format!("model.{name}"), Entry { shape: shape.clone(), array: Array::Floats(values) }));
    }
    out.extend(state.optimizer.arrays().map(|(name, array)| (name, Entry::flat(array))));
    if let Some((values, width)) = state.embedding {
        let shape = vec![values.len() / width.max(1), width];
        out.push((EMBEDDING.into(), Entry { shape, array: Array::Floats(values) }));
    }
    for (name, values) in &state.sampler.floats {
        out.push((format!("sampler.{name}"), Entry::flat(Array::Floats(values))));
    }
    for (name, values) in &state.sampler.indices {
        out.push((format!("sampler.{name}"), Entry::flat(Array::Words(values))));
    }
    out.push((SEEN.into(), Entry::flat(Array::Words(state.seen))));
    out
}

fn decode(payload: &[u8]) -> std::result::Result<State, String> {
    let file = SafeTensors::deserialize(payload).map_err(|e| e.to_string())?;
    let (_, head) = SafeTensors::read_metadata(payload).map_err(|e| e.to_string())?;
    let text = head.metadata().as_ref().and_then(|m| m.get("state")).ok_or("no state in it")?;
    let metadata: Metadata = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let (mut weights, mut embedding) = (Weights::default(), None);
    let (steps, missed) = (metadata.optimizer_steps, metadata.missed_rates);
    let mut optimizer = OptimizerState { steps, missed, ..OptimizerState::default() };
    let (mut sampler, mut seen) = (SamplerState::default(), Vec::new());
    for (name, view) in file.tensors() {
        if view.dtype() == Dtype::U32 {
            let values: Vec<u32> = view.data().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            if let Some(name) = name.strip_prefix("sampler.") {
                sampler.indices.insert(name.to_owned(), values);
            } else if let Some(name) = name.strip_prefix("waiting.") {
                optimizer.waiting.insert(name.to_owned(), values);
            } else {
                seen = values;
            }
            continue;
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if let Some(name) = name.strip_prefix("sampler.") {
            sampler.floats.insert(name.to_owned(), values);
        } else if name == EMBEDDING {
            embedding = Some((values, view.shape().last().copied().unwrap_or(0)));
        } else if let Some(name) = name.strip_prefix("model.") {
            weights.0.insert(name.to_owned(), (view.shape().to_vec(), values));
        } else if let Some((slot, name)) = name.strip_prefix("optimizer.").and_then(|n| n.split_once('.')) {
            let slot: usize = slot.parse().map_err(|_| format!("tensor `{name}` is not expected"))?;
            let slots = optimizer.slots.entry(name.to_owned()).or_default();
            slots.resize(slots.len().max(slot + 1), Vec::new());
            slots[slot] = values;
        }
    }
    Ok(State { weights, optimizer, sampler, seen, embedding, progress: metadata.progress })
}
