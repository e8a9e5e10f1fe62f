//! How much an instance's loss weighs: more where it carries rare labels that its neighbours lack.
//!
//! Source: arXiv 2403.18192, §3.3; IRLbl as in METHODS §7.

use std::path::PathBuf;

use burn::tensor::Device;
use data::statistics::imbalance_ratios;
use data::{Dataset, FeatureRows, LabelRows};
use losses::neighbours::{FeatureBank, MemoryLimit, Metric};
use sha2::{Digest, Sha256};

use crate::checkpoint::write_atomically;
use crate::error::Result;
use crate::memory::share;

/// Neighbours looked at.
const K: usize = 5;
/// What bank and search may take.
const LIMIT: MemoryLimit = MemoryLimit { mebibytes: 4096 };

/// Minority labels and how alone their instances are with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Imbalance {
    /// Labels with `IRLbl` above its mean.
    pub minority: Vec<u32>,
    /// `C_ij` of each instance for the minority labels it carries: the share of its nearest neighbours without them.
    pub local: Vec<Vec<(u32, f64)>>,
}

/// `C_ij` of every instance, given its nearest neighbours.
pub fn local_imbalance(labels: &LabelRows, neighbours: &[Vec<u32>]) -> Imbalance {
    let ratios = imbalance_ratios(&labels.counts());
    let known: Vec<f64> = ratios.iter().copied().flatten().collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let minority: Vec<u32> = (0..).zip(&ratios).filter(|r| r.1.is_some_and(|r| r > mean)).map(|r| r.0).collect();
    let local = labels
        .rows()
        .zip(neighbours)
        .map(|(own, near)| {
            let share = |l: u32| {
                let without = near.iter().filter(|j| labels.row(**j as usize).binary_search(&l).is_err()).count();
                without as f64 / near.len().max(1) as f64
            };
            own.iter().filter(|l| minority.binary_search(l).is_ok()).map(|&l| (l, share(l))).collect()
        })
        .collect();
    Imbalance { minority, local }
}

/// `w_i = 1 + Σ_j C_ij / Σ_i C_ij` over entries with `0 < C < 1`.
pub fn instance_weights(imbalance: &Imbalance, labels: usize) -> Vec<f64> {
    let counts = |c: f64| c > 0.0 && c < 1.0;
    let mut sums = vec![0.0; labels];
    for &(l, c) in imbalance.local.iter().flatten().filter(|e| counts(e.1)) {
        sums[l as usize] += c;
    }
    let weight = |own: &Vec<(u32, f64)>| -> f64 {
        1.0 + own.iter().filter(|e| counts(e.1)).map(|e| e.1 / sums[e.0 as usize]).sum::<f64>()
    };
    imbalance.local.iter().map(weight).collect()
}

/// The weights of a training split, from the cache where it was seen before.
///
/// # Errors
/// When neighbours cannot be found.
pub(super) fn of_training(train: &Dataset, device: &Device) -> Result<Vec<f32>> {
    let path = cache(train);
    if let Some(weights) = path.as_ref().and_then(|p| read(p, train.len())) {
        return Ok(weights);
    }
    let started = std::time::Instant::now();
    let near = nearest(&train.features, device)?;
    let imbalance = local_imbalance(&train.labels, &near);
    let weights: Vec<f32> = instance_weights(&imbalance, train.labels.columns()).iter().map(|w| *w as f32).collect();
    let (labels, seconds) = (imbalance.minority.len(), started.elapsed().as_secs_f64());
    tracing::debug!("imbalance weights of {} instances, {labels} minority labels: {seconds:.2} s", train.len());
    if let Some(path) = path {
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        if let Err(error) = write_atomically(&path, &[&bytes]) {
            tracing::debug!("imbalance weights are not kept: {error}");
        }
    }
    Ok(weights)
}

/// The five nearest other instances of each by Euclidean distance, ties by index.
fn nearest(features: &FeatureRows, device: &Device) -> Result<Vec<Vec<u32>>> {
    let all: Vec<usize> = (0..features.len()).collect();
    let bank = FeatureBank::new(Metric::Euclidean, features, device, share(LIMIT))?;
    let found = bank.closest(features, K, Some(&all), device);
    Ok(found.iter().map(|near| near.iter().map(|n| n.1).collect()).collect())
}

/// Where weights of this very data are kept.
fn cache(train: &Dataset) -> Option<PathBuf> {
    let folder = crate::cache::folder()?;
    let mut hasher = Sha256::new();
    let (features, labels) = (&train.features, &train.labels);
    for starts in [features.starts(), labels.starts()] {
        starts.iter().for_each(|s| hasher.update((*s as u64).to_le_bytes()));
    }
    for indices in [features.indices(), labels.indices()] {
        hasher.update(bytemuck::cast_slice::<u32, u8>(indices));
    }
    hasher.update(bytemuck::cast_slice::<f32, u8>(features.values()));
    let sum: String = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Some(folder.join(format!("imbalance-{K}-{sum}.f32")))
}

fn read(path: &std::path::Path, instances: usize) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).ok().filter(|b| b.len() == 4 * instances)?;
    Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}
