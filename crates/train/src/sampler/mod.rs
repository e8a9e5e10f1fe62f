//! Which instances a batch holds: the samplers of METHODS §4, one file each.
//!
//! A sampler draws the batches of an epoch one after the other and is told what training on each of them showed. What
//! it draws depends on the random generator it is given and on its own state alone; the state travels in checkpoints.

mod chain;
mod hardest;
mod imbalance;
mod links;
mod random;
mod scored;
mod selection;
mod uncertainty;
mod weighted;

use std::collections::BTreeMap;

use burn::tensor::Device;
use data::Dataset;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use imbalance::{Imbalance, instance_weights, local_imbalance};
pub use selection::{probabilities, quantise};
pub use weighted::Weighted;

/// Selection pressure: the ratio of the largest to the smallest probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pressure {
    /// The same throughout.
    Fixed(f64),
    /// Falling exponentially over the epochs after the warm-up.
    Decaying(Decay),
}

/// A pressure that falls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decay {
    /// At the first epoch after the warm-up.
    pub from: f64,
    /// At the last epoch.
    pub to: f64,
}

impl Pressure {
    /// The pressure of `epoch` (from 0) of `epochs` epochs after the warm-up.
    fn at(self, epoch: usize, epochs: usize) -> f64 {
        match self {
            Self::Fixed(value) => value,
            Self::Decaying(Decay { from, to }) => {
                let share = if epochs > 1 { epoch as f64 / (epochs - 1) as f64 } else { 0.0 };
                from * (to / from).powf(share)
            }
        }
    }

    fn check(self) -> std::result::Result<(), String> {
        let values = match self {
            Self::Fixed(value) => vec![("pressure", value)],
            Self::Decaying(d) => vec![("pressure.from", d.from), ("pressure.to", d.to)],
        };
        match values.into_iter().find(|v| !(v.1 >= 1.0 && v.1.is_finite())) {
            Some((key, value)) => Err(format!("sampler.{key} = {value} is out of range: at least 1")),
            None => Ok(()),
        }
    }
}

/// When what training showed changes the probabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refresh {
    /// At once, as the authors do; on a GPU one batch later, so that nothing waits.
    #[default]
    Batch,
    /// At the next epoch: numbers stay on the device and are read back once an epoch.
    Epoch,
}

/// Settings of [`SamplerConfig::Adaptive`] and [`SamplerConfig::Chain`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveConfig {
    /// s_e, at least 1.
    pub pressure: Pressure,
    /// Ordinary epochs at the start.
    pub warmup: usize,
    /// Losses of instances with minority labels among strangers weigh more.
    pub imbalance: bool,
    /// When losses change the probabilities.
    pub refresh: Refresh,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self { pressure: Pressure::Fixed(4.0), warmup: 3, imbalance: true, refresh: Refresh::Batch }
    }
}

/// Settings of [`SamplerConfig::Hardest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HardestConfig {
    /// Batches' worth of candidates drawn evenly, of which the hardest make the batch.
    pub pool: usize,
    /// Ordinary epochs at the start.
    pub warmup: usize,
}

impl Default for HardestConfig {
    fn default() -> Self {
        Self { pool: 4, warmup: 3 }
    }
}

/// Settings of [`SamplerConfig::Boundary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoundaryConfig {
    /// s_e, at least 1.
    pub pressure: Pressure,
    /// Ordinary epochs at the start.
    pub warmup: usize,
}

impl Default for BoundaryConfig {
    fn default() -> Self {
        Self { pressure: Pressure::Fixed(4.0), warmup: 3 }
    }
}

/// Settings of [`SamplerConfig::Uncertainty`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UncertaintyConfig {
    /// s_e, at least 1.
    pub pressure: Pressure,
    /// Predictions of an instance that are compared.
    pub window: usize,
    /// Ordinary epochs at the start.
    pub warmup: usize,
}

impl Default for UncertaintyConfig {
    fn default() -> Self {
        Self { pressure: Pressure::Decaying(Decay { from: 8.0, to: 1.0 }), window: 5, warmup: 3 }
    }
}

/// Which sampler, with its settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SamplerConfig {
    /// Every instance once an epoch, in a new order each time.
    #[default]
    Random,
    /// Hard instances of rare labels more often (arXiv 2403.18192).
    Adaptive(AdaptiveConfig),
    /// The same along chains of linked labels.
    Chain(AdaptiveConfig),
    /// The hardest of some candidates (online hard example mining).
    Hardest(HardestConfig),
    /// Instances whose scores are close to one half (Ada-Boundary).
    Boundary(BoundaryConfig),
    /// Instances whose predictions change or are undecided (arXiv 2412.16521).
    Uncertainty(UncertaintyConfig),
}

/// What a sampler wants to know of the batches it drew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// Losses of instances.
    pub losses: bool,
    /// Probabilities of labels.
    pub probabilities: bool,
    /// Before the next batch but one; else before the next epoch.
    pub soon: bool,
}

/// What training on a batch showed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// Mean loss over the labels of each instance; empty unless wanted.
    pub losses: &'a [f32],
    /// Probabilities `[instances, labels]`; empty unless wanted.
    pub probabilities: &'a [f32],
}

/// A sampler's state in a checkpoint, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SamplerState {
    /// Arrays of numbers.
    pub floats: BTreeMap<String, Vec<f32>>,
    /// Arrays of indices and counts.
    pub indices: BTreeMap<String, Vec<u32>>,
}

impl SamplerState {
    fn take_floats(&mut self, name: &str) -> Vec<f32> {
        self.floats.remove(name).unwrap_or_default()
    }

    fn take_indices(&mut self, name: &str) -> Vec<u32> {
        self.indices.remove(name).unwrap_or_default()
    }

    /// One number kept as an array.
    fn take_number(&mut self, name: &str) -> usize {
        self.take_indices(name).first().map_or(0, |n| *n as usize)
    }
}

/// Draws the batches of an epoch.
pub trait Sampler: Send {
    /// Starts `epoch`, from 0.
    fn start(&mut self, epoch: usize, rng: &mut ChaCha8Rng);

    /// The next batch; none at the end of the epoch.
    fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<Vec<usize>>;

    /// What it wants to know of its batches.
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// Takes note of what training on `instances` showed.
    fn observe(&mut self, _instances: &[usize], _seen: Seen) {}

    /// All that the next draws depend on, besides the generator.
    fn state(&self) -> SamplerState;

    /// Goes on from a state of the same sampler.
    fn restore(&mut self, state: SamplerState);
}

impl SamplerConfig {
    /// True where it selects by the probabilities of all labels.
    pub(crate) fn looks_at_scores(&self) -> bool {
        matches!(self, Self::Boundary(_) | Self::Uncertainty(_))
    }

    /// Ordinary epochs at the start.
    fn warmup(&self) -> usize {
        match self {
            Self::Random => 0,
            Self::Adaptive(c) | Self::Chain(c) => c.warmup,
            Self::Hardest(c) => c.warmup,
            Self::Boundary(c) => c.warmup,
            Self::Uncertainty(c) => c.warmup,
        }
    }

    /// Ranges.
    pub(crate) fn check(&self, epochs: usize) -> std::result::Result<(), String> {
        match self {
            Self::Random => {}
            Self::Adaptive(c) | Self::Chain(c) => c.pressure.check()?,
            Self::Hardest(c) if c.pool == 0 => return Err("sampler.pool = 0 is out of range: at least 1".into()),
            Self::Hardest(_) => {}
            Self::Boundary(c) => c.pressure.check()?,
            Self::Uncertainty(c) => {
                c.pressure.check()?;
                if c.window < 2 {
                    return Err(format!("sampler.window = {} is out of range: at least 2", c.window));
                }
            }
        }
        match self.warmup() {
            warmup if warmup > epochs => Err(format!(
                "sampler.warmup = {warmup} epochs are more than train.epochs = {epochs}: nothing would be selected"
            )),
            _ => Ok(()),
        }
    }

    /// A sampler over the training split.
    ///
    /// # Errors
    /// When a batch is larger than the data it is selected from.
    pub fn init(&self, train: &Dataset, batch: usize, epochs: usize, device: &Device) -> Result<Box<dyn Sampler>> {
        let instances = train.len();
        if *self != Self::Random && batch > instances {
            return Err(Error::Request(format!(
                "train.batch_size = {batch} is larger than the training data: {instances} instances to select from"
            )));
        }
        let after = epochs - self.warmup().min(epochs);
        let plan = |pressure: Pressure| selection::Plan { batch, warmup: self.warmup(), pressure, after };
        let weights = |c: &AdaptiveConfig| match c.imbalance {
            true => imbalance::of_training(train, device),
            false => Ok(Vec::new()),
        };
        Ok(match self {
            Self::Random => Box::new(random::Random::new(instances, batch)),
            Self::Adaptive(c) => Box::new(scored::Scored::by_loss(instances, plan(c.pressure), weights(c)?, c.refresh)),
            Self::Chain(c) => Box::new(chain::Chain::new(train, plan(c.pressure), weights(c)?, c.refresh)),
            Self::Hardest(c) => Box::new(hardest::Hardest::new(instances, batch, c)),
            Self::Boundary(c) => Box::new(scored::Scored::by_boundary(instances, plan(c.pressure))),
            Self::Uncertainty(c) => {
                let bytes = 2 * c.window * instances * train.labels.columns();
                if bytes > uncertainty::MOST {
                    let gibibytes = bytes >> 30;
                    return Err(Error::Request(format!(
                        "sampler.kind = uncertainty keeps {} predictions of {instances} instances and {} labels: \
                         {gibibytes} GiB, more than {} GiB; choose another sampler",
                        c.window,
                        train.labels.columns(),
                        uncertainty::MOST >> 30
                    )));
                }
                Box::new(uncertainty::Uncertainty::new(train, plan(c.pressure), c.window))
            }
        })
    }
}
