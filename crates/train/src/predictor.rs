//! A trained model at work: features in, distances from the thresholds out. What a score is follows from here alone,
//! in validation, evaluation and prediction alike.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use data::{Dataset, FeatureRows};
use model::Pass;

use crate::batches;
use crate::error::Result;
use crate::learner::Learner;
use crate::signals::{Query, SignalSource, Signals, no_hidden_layer};

/// Instances looked at together, at most.
const BATCH: usize = 512;
/// Scores made at once, about: with many labels fewer instances are looked at together.
const SCORES: usize = 1 << 24;

/// A model without autodiff, with all that its thresholds need.
#[derive(Debug, Clone)]
pub struct Predictor {
    learner: Learner,
    signals: Option<Arc<SignalSource>>,
    dense: bool,
    device: Device,
    batch: usize,
}

/// What is seen of some instances.
pub struct Sight {
    /// `[instances, labels]`, as the model gives them.
    pub logits: Tensor<2>,
    /// `z - θ`, the logits themselves in a model without adaptive thresholds.
    pub distances: Tensor<2>,
    /// What their thresholds are made of.
    pub signals: Signals,
}

impl Predictor {
    /// Of a learner without autodiff. `dense`: features reach the model as a matrix.
    pub fn new(learner: Learner, signals: Option<Arc<SignalSource>>, dense: bool, device: &Device) -> Self {
        let batch = (SCORES / learner.model.labels().max(1)).clamp(1, BATCH);
        Self { learner, signals, dense, device: device.clone().without_autodiff(), batch }
    }

    /// Looks at this many instances together: an oracle's neighbours are those of its batch.
    pub fn with_batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Instances looked at together.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The model and its thresholds.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Where the signals of its thresholds come from.
    pub fn signals(&self) -> Option<&SignalSource> {
        self.signals.as_deref()
    }

    /// Looks at some instances. `own`: they are the training rows; `targets`: their true labels, for oracles alone.
    ///
    /// # Errors
    /// When the signals cannot be made.
    pub fn look(
        &self,
        features: &FeatureRows,
        instances: &[usize],
        own: bool,
        targets: Option<&Tensor<2>>,
    ) -> Result<Sight> {
        let input = batches::features(features, instances, self.dense, &self.device);
        let mut pass = Pass::predict();
        let logits = self.learner.model.forward(&input, &mut pass);
        let (Some(thresholds), Some(signals)) = (&self.learner.thresholds, &self.signals) else {
            return Ok(Sight { distances: logits.clone(), logits, signals: Signals::default() });
        };
        let embedding = pass.embedding.as_ref();
        let targets = targets.filter(|_| signals.is_oracle());
        let signals = signals.look(Query { features, instances, own, logits: &logits, embedding, targets })?;
        let distances = thresholds.distance(logits.clone(), signals.rarity.clone(), signals.votes.clone());
        Ok(Sight { logits, distances, signals })
    }

    /// Distances of all instances of `data`, piece by piece, with the instances of each piece.
    ///
    /// # Errors
    /// When the signals cannot be made.
    pub fn look_at_all(
        &self,
        data: &Dataset,
        own: bool,
        mut each: impl FnMut(&[usize], Tensor<2>) -> Result<()>,
    ) -> Result<()> {
        let oracle = self.signals().is_some_and(SignalSource::is_oracle);
        for instances in batches::chunks(data, self.batch) {
            let targets = oracle.then(|| batches::targets(&data.labels.select(&instances), &self.device));
            let sight = self.look(&data.features, &instances, own, targets.as_ref())?;
            each(&instances, sight.distances)?;
        }
        Ok(())
    }

    /// The last hidden layer of all rows, `[rows, width]`, and its width.
    ///
    /// # Errors
    /// For a model without one.
    pub fn embed(&self, features: &FeatureRows) -> Result<(Vec<f32>, usize)> {
        let (mut out, mut width) = (Vec::new(), 0);
        let all: Vec<usize> = (0..features.len()).collect();
        for instances in all.chunks(BATCH) {
            let input = batches::features(features, instances, self.dense, &self.device);
            let mut pass = Pass::predict();
            self.learner.model.forward(&input, &mut pass);
            let embedding = pass.embedding.ok_or_else(no_hidden_layer)?;
            width = embedding.dims()[1];
            out.extend_from_slice(host::HostView::of(&embedding).as_slice());
        }
        Ok((out, width))
    }

    /// The same model whose signals see the training rows as it does.
    ///
    /// # Errors
    /// For a model without the hidden layer that is compared, or a bank beyond the memory limit.
    pub fn with_own_embedding(self, training: &FeatureRows) -> Result<Self> {
        let Some(signals) = self.signals.as_ref().filter(|s| s.is_embedding()) else { return Ok(self) };
        let (rows, width) = self.embed(training)?;
        let signals = Some(Arc::new(signals.with_embedding(rows, width)?));
        Ok(Self { signals, ..self })
    }
}
