//! The signals of one run: those its thresholds are trained with, and those its model is evaluated with meanwhile.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use losses::neighbours::DenseBank;
use losses::{AdaptiveThresholdConfig, LossError, NeighbourSource};

use super::{Query, SignalSource, TrainingRows, no_hidden_layer};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::learner::Learner;
use crate::memory::share;
use crate::splits::Splits;

/// Where the signals of a run come from; nowhere, for a loss without learnt thresholds.
#[derive(Debug)]
pub struct RunSignals {
    training: Option<Arc<SignalSource>>,
    prediction: Option<Arc<SignalSource>>,
    predict: bool,
}

impl RunSignals {
    /// The signals that the config asks for.
    ///
    /// # Errors
    /// For a source that may not predict where there is data to evaluate, and whatever [`SignalSource::new`] refuses.
    pub fn new(config: &Config, splits: &Splits, device: &Device) -> Result<Self> {
        let Some(settings) = config.loss.config.thresholds() else {
            return Ok(Self { training: None, prediction: None, predict: true });
        };
        let prediction = source_of_prediction(settings, splits)?;
        if prediction.is_none() && config.train.early_stopping.is_some() {
            let message = "train.early_stopping needs a model that predicts; set loss.predict_neighbours";
            return Err(Error::Request(message.into()));
        }
        let unseen = splits.counts.labels.iter().filter(|&&n| n == 0).count();
        if unseen > 0 {
            let fixed = settings.static_threshold;
            tracing::info!("{unseen} labels without a positive in training keep the static threshold, {fixed}");
        }
        let train = &splits.train;
        let source = settings.uses_neighbours().then_some(settings.neighbours);
        if [source, prediction.flatten()].contains(&Some(NeighbourSource::Embedding)) {
            let width = config
                .model
                .embedding_width(splits.schema().features, splits.schema().labels)
                .ok_or_else(no_hidden_layer)?;
            DenseBank::fits(train.len(), width, share(settings.limit()))?;
        }
        let rows = TrainingRows {
            labels: Arc::new(train.labels.clone()),
            origin: splits.origin.clone(),
            features: Some(Cow::Borrowed(&train.features)),
            embedding: None,
        };
        let make = |source| SignalSource::new(settings, source, &rows, &splits.counts, device);
        let started = Instant::now();
        let mut training = make(source)?;
        training.remember(&train.features);
        tracing::debug!("neighbours of {} training instances: {:.2} s", train.len(), started.elapsed().as_secs_f64());
        let training = Arc::new(training);
        let for_prediction = match prediction {
            Some(other) if other != training.source() => Some(Arc::new(make(other)?)),
            Some(_) => Some(training.clone()),
            None => None,
        };
        Ok(Self { training: Some(training), prediction: for_prediction, predict: prediction.is_some() })
    }

    /// Whether the model can be evaluated without true labels.
    pub fn predict(&self) -> bool {
        self.predict
    }

    /// The signals of instances whose labels nobody knows.
    pub fn of_prediction(&self) -> Option<Arc<SignalSource>> {
        self.prediction.clone()
    }

    /// True where the training rows' last hidden layer has to be looked at again, with validation data or without.
    pub fn want_embedding(&self, validates: bool) -> bool {
        let by_embedding = |s: &Option<Arc<SignalSource>>| s.as_ref().is_some_and(|s| s.is_embedding());
        by_embedding(&self.training) || (validates && by_embedding(&self.prediction))
    }

    /// Takes a new look at the training rows' last hidden layer, `[rows, width]`.
    ///
    /// # Errors
    /// When it does not fit the memory limit.
    pub fn see(&mut self, rows: &[f32], width: usize) -> Result<()> {
        for signals in [&mut self.training, &mut self.prediction] {
            if let Some(old) = signals.as_ref().filter(|s| s.is_embedding()) {
                *signals = Some(Arc::new(old.with_embedding(rows.to_vec(), width)?));
            }
        }
        Ok(())
    }

    /// The bank of the last hidden layer that training uses, and the layer's width.
    pub fn embedding(&self) -> Option<(&[f32], usize)> {
        self.training.as_ref()?.embedding()
    }

    /// How far logits lie above the thresholds learnt with the model; none where there are none.
    ///
    /// # Errors
    /// When the signals cannot be made.
    pub fn distances(&self, learner: &Learner, query: Query) -> Result<Option<Tensor<2>>> {
        let (Some(thresholds), Some(signals)) = (&learner.thresholds, &self.training) else { return Ok(None) };
        let seen = signals.look(query)?;
        Ok(Some(thresholds.distance(query.logits.clone(), seen.rarity, seen.votes)))
    }
}

/// The neighbours of evaluation; none where nothing is evaluated.
fn source_of_prediction(
    settings: &AdaptiveThresholdConfig,
    splits: &Splits,
) -> Result<Option<Option<NeighbourSource>>> {
    let to_evaluate = splits.validation.is_some() || splits.test.is_some();
    match settings.source_of_prediction() {
        Ok(source) => Ok(Some(source)),
        // Nothing is asked to predict, yet.
        Err(LossError::Oracle(_) | LossError::OracleRarity) if !to_evaluate => Ok(None),
        Err(LossError::NoPrediction(_)) => {
            if to_evaluate {
                tracing::warn!("loss.predict_neighbours = none: validation and test data are not evaluated");
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
