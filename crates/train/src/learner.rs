//! What is trained: the model, and the thresholds learnt with it where the loss has some.

use burn::module::Module;
use burn::tensor::Device;
use data::LabelGraph;
use losses::AdaptiveThresholds;
use model::{Model, ModelError, Task, Weights, WeightsError};

use crate::config::Config;
use crate::splits::Splits;

/// A model and its thresholds, on one device.
#[derive(Debug, Clone)]
pub struct Learner {
    /// Features to logits.
    pub model: Model,
    /// Logits to distances from a threshold.
    pub thresholds: Option<AdaptiveThresholds>,
}

impl Learner {
    /// What the names of the thresholds' parameters begin with.
    pub const THRESHOLDS: &'static str = "thresholds";

    /// With fresh weights, which depend on the config's seed and the training split's labels alone.
    ///
    /// # Errors
    /// For a setting out of range, or data that the model is not made for.
    pub fn new(config: &Config, splits: &Splits, device: &Device) -> Result<Self, ModelError> {
        let graph = config.model.wants_graph().then(|| LabelGraph::new(&splits.train.labels));
        let (features, labels) = (splits.schema().features, splits.schema().labels);
        let task = Task { features, labels, graph: graph.as_ref() };
        let thresholds = config.loss.config.thresholds();
        Ok(Self {
            model: config.model.init(task, config.seed, device)?,
            thresholds: thresholds.map(|t| t.init_thresholds(&splits.counts, config.seed, device)),
        })
    }

    /// Running statistics take in what the last steps left for them, which they do on the thread of those steps alone.
    pub fn settle_statistics(&self) {
        drop(self.model.valid());
    }

    /// All parameters and running statistics by name.
    pub fn weights(&self) -> Weights {
        self.settle_statistics();
        let mut weights = Weights::of(&self.model);
        if let Some(thresholds) = &self.thresholds {
            weights.add(thresholds, &[Self::THRESHOLDS]);
        }
        weights
    }

    /// With these numbers instead of its own.
    ///
    /// # Errors
    /// For an absent number or another shape.
    pub fn with(self, weights: &Weights) -> Result<Self, WeightsError> {
        let thresholds = self.thresholds.map(|t| weights.apply(t, &[Self::THRESHOLDS])).transpose()?;
        Ok(Self { model: weights.apply(self.model, &[])?, thresholds })
    }

    /// Without autodiff.
    pub fn valid(&self) -> Self {
        Self { model: self.model.valid(), thresholds: self.thresholds.as_ref().map(Module::valid) }
    }
}
