//! The signals that adaptive thresholds are made of: how rare labels are, and how an instance's neighbours vote.

mod of_run;

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use data::{FeatureRows, LabelRows};
use losses::neighbours::{DenseBank, FeatureBank, LabelBank, Metric, Neighbours, Own, batch};
use losses::rarity::{TermRarity, idf};
use losses::{AdaptiveThresholdConfig, Idf, LossError, NeighbourSource, TrainingCounts};

use crate::error::{Error, Result};
use crate::memory::share;

pub use of_run::RunSignals;

/// The training rows that neighbours and rarity come from, or as much of them as is needed.
#[derive(Debug, Clone, Default)]
pub struct TrainingRows<'a> {
    /// Labels of each row.
    pub labels: Arc<LabelRows>,
    /// Where each row stands in the training file, from 0.
    pub origin: Vec<usize>,
    /// Features of each row, scaled.
    pub features: Option<Cow<'a, FeatureRows>>,
    /// The last hidden layer of each row, `[rows, width]`, and its width.
    pub embedding: Option<(Vec<f32>, usize)>,
}

/// Instances whose signals are asked for.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// Features of a data set.
    pub features: &'a FeatureRows,
    /// The instances of it.
    pub instances: &'a [usize],
    /// The instances are training rows themselves.
    pub own: bool,
    /// What the model says of them, `[instances, labels]`.
    pub logits: &'a Tensor<2>,
    /// Their last hidden layer.
    pub embedding: Option<&'a Tensor<2>>,
    /// Their true labels, for training and oracles, `[instances, labels]`.
    pub targets: Option<&'a Tensor<2>>,
}

/// The signals of some instances.
#[derive(Default)]
pub struct Signals {
    /// The training rows that voted; none where neighbours are not training rows, or have no say.
    pub neighbours: Option<Neighbours>,
    /// `KNN`: how neighbours voted, `[instances, labels]`.
    pub votes: Option<Tensor<2>>,
    /// How rare labels are, `[1 or instances, labels]`.
    pub rarity: Option<Tensor<2>>,
}

/// Makes the signals of one source of neighbours and one kind of rarity.
#[derive(Debug, Clone)]
pub struct SignalSource {
    source: Option<NeighbourSource>,
    k: usize,
    labels: Arc<LabelRows>,
    origin: Arc<Vec<usize>>,
    search: Search,
    /// Neighbours of the training rows themselves, found once.
    fixed: Option<Arc<Neighbours>>,
    rarity: Rarity,
    limit: losses::neighbours::MemoryLimit,
    device: Device,
}

/// How the neighbours of new instances are found.
#[derive(Debug, Clone)]
enum Search {
    /// Not among training rows, or by predicted labels.
    Nothing,
    Features(Arc<FeatureBank>),
    /// The last hidden layer; none before the first look at it.
    Embedding(Option<Arc<DenseBank>>),
}

#[derive(Debug, Clone)]
enum Rarity {
    Nothing,
    /// `[1, labels]`.
    Labels(Box<Tensor<2>>),
    Terms(Arc<TermRarity>),
    Authors,
}

impl SignalSource {
    /// Signals with `source` for neighbours.
    ///
    /// # Errors
    /// For more neighbours than rows, rows that do not fit the memory limit, or rows that were not kept.
    pub fn new(
        config: &AdaptiveThresholdConfig,
        source: Option<NeighbourSource>,
        rows: &TrainingRows,
        counts: &TrainingCounts,
        device: &Device,
    ) -> Result<Self> {
        let source = source.filter(|_| config.uses_neighbours());
        let features = || rows.features.as_deref().ok_or_else(no_rows_kept);
        let count = counts.instances;
        if source.is_some_and(|s| !s.is_oracle()) && config.k >= count {
            return Err(LossError::Neighbours { k: config.k, rows: count }.into());
        }
        let search = match source {
            Some(NeighbourSource::Features) => Search::Features(Arc::new(FeatureBank::new(
                Metric::Cosine,
                features()?,
                device,
                share(config.limit()),
            )?)),
            Some(NeighbourSource::Embedding) => Search::Embedding(None),
            _ => Search::Nothing,
        };
        let rarity = match config.idf {
            _ if !config.uses_rarity() => Rarity::Nothing,
            Idf::Counts => {
                let values: Vec<f32> = idf(counts).iter().map(|v| *v as f32).collect();
                Rarity::Labels(Box::new(Tensor::<1>::from_floats(values.as_slice(), device).unsqueeze()))
            }
            Idf::Tfidf => Rarity::Terms(Arc::new(TermRarity::new(features()?, &rows.labels, counts))),
            Idf::Authors => Rarity::Authors,
        };
        let made = Self {
            source,
            k: config.k,
            labels: rows.labels.clone(),
            origin: Arc::new(rows.origin.clone()),
            search,
            fixed: None,
            rarity,
            limit: share(config.limit()),
            device: device.clone(),
        };
        match (&rows.embedding, source) {
            (Some((values, width)), Some(NeighbourSource::Embedding)) => made.with_embedding(values.clone(), *width),
            _ => Ok(made),
        }
    }

    /// The source of its neighbours.
    pub fn source(&self) -> Option<NeighbourSource> {
        self.source
    }

    /// Of the neighbours of one instance those that carry label `l`: their places in the training file, their weights.
    pub fn voters(&self, (rows, weights): (&[u32], &[f32]), l: u32) -> Vec<(usize, f32)> {
        let voted = rows.iter().zip(weights).filter(|r| self.labels.row(*r.0 as usize).binary_search(&l).is_ok());
        voted.map(|(&row, &weight)| (self.origin.get(row as usize).copied().unwrap_or(row as usize), weight)).collect()
    }

    /// True where it looks at true labels.
    pub fn is_oracle(&self) -> bool {
        self.source.is_some_and(NeighbourSource::is_oracle) || matches!(self.rarity, Rarity::Authors)
    }

    /// True where its bank is the model's own last hidden layer, which training changes.
    pub fn is_embedding(&self) -> bool {
        matches!(self.search, Search::Embedding(_))
    }

    /// The same with a new look at the training rows' last hidden layer.
    ///
    /// # Errors
    /// When it does not fit the memory limit.
    pub fn with_embedding(&self, rows: Vec<f32>, width: usize) -> Result<Self> {
        let bank = DenseBank::new(rows, width, &self.device, self.limit)?;
        Ok(Self { search: Search::Embedding(Some(Arc::new(bank))), ..self.clone() })
    }

    /// The training rows' last hidden layer as last seen, and its width.
    pub fn embedding(&self) -> Option<(&[f32], usize)> {
        match &self.search {
            Search::Embedding(Some(bank)) => Some((bank.rows(), bank.width())),
            _ => None,
        }
    }

    /// Finds the neighbours of the training rows by their features once and for all.
    pub fn remember(&mut self, features: &FeatureRows) {
        let all: Vec<usize> = (0..features.len()).collect();
        let found = match &self.search {
            Search::Features(bank) => Some(bank.nearest(features, self.k, Some(&all), &self.device)),
            _ => None,
        };
        self.fixed = found.map(Arc::new);
    }

    /// The signals of some instances.
    ///
    /// # Errors
    /// For a model without the hidden layer that is compared.
    pub fn look(&self, query: Query) -> Result<Signals> {
        let neighbours = self.neighbours(query)?;
        Ok(Signals { votes: self.votes(neighbours.as_ref(), query), rarity: self.rarity(query), neighbours })
    }

    fn neighbours(&self, query: Query) -> Result<Option<Neighbours>> {
        if let Some(fixed) = self.fixed.as_ref().filter(|_| query.own) {
            return Ok(Some(fixed.select(query.instances)));
        }
        let own: Own = query.own.then_some(query.instances);
        let found = match &self.search {
            Search::Features(bank) => bank.nearest(&query.features.select(query.instances), self.k, own, &self.device),
            Search::Embedding(bank) => {
                let (Some(bank), Some(embedding)) = (bank, query.embedding) else { return Err(no_hidden_layer()) };
                bank.nearest(host::HostView::of(embedding).as_slice(), self.k, own, &self.device)
            }
            Search::Nothing if self.source == Some(NeighbourSource::Predicted) => {
                let probabilities = burn::tensor::activation::sigmoid(host::plain(query.logits.clone()));
                let view = host::HostView::of(&probabilities);
                LabelBank::new(&self.labels).nearest(view.as_slice(), self.k, own)
            }
            Search::Nothing => return Ok(None),
        };
        Ok(Some(found))
    }

    fn votes(&self, neighbours: Option<&Neighbours>, query: Query) -> Option<Tensor<2>> {
        if let Some(neighbours) = neighbours {
            let data = TensorData::new(neighbours.votes(&self.labels), [neighbours.len(), self.labels.columns()]);
            return Some(Tensor::from_data(data, &self.device));
        }
        let targets = query.targets?.clone();
        match self.source? {
            NeighbourSource::BatchLabels => Some(batch::label_votes(targets)),
            NeighbourSource::Authors => Some(batch::authors_votes(targets)),
            _ => None,
        }
    }

    fn rarity(&self, query: Query) -> Option<Tensor<2>> {
        match &self.rarity {
            Rarity::Nothing => None,
            Rarity::Labels(values) => Some((**values).clone()),
            Rarity::Authors => query.targets.map(|t| batch::authors_rarity(t.clone())),
            Rarity::Terms(terms) => {
                use rayon::prelude::*;
                let columns = self.labels.columns();
                let mut values = vec![0f32; query.instances.len() * columns];
                values.par_chunks_mut(columns.max(1)).zip(query.instances).for_each(|(out, &i)| {
                    let (indices, values) = query.features.row(i);
                    terms.of(indices, values, query.own.then(|| self.labels.row(i)), out);
                });
                let data = TensorData::new(values, [query.instances.len(), columns]);
                Some(Tensor::from_data(data, &self.device))
            }
        }
    }
}

/// What a run lacks that was trained for another source.
pub fn no_rows_kept() -> Error {
    Error::Request("the run keeps no features of its training rows: it was trained for another source".into())
}

/// What embedding neighbours lack in a linear model.
pub fn no_hidden_layer() -> Error {
    Error::Request("loss.neighbours = embedding needs a hidden layer; model.hidden is empty".into())
}
