//! The chain variant of adaptive selection: batches follow chains of labels that come together.
//!
//! A chain starts at an instance drawn by p, with its rarest label; the next label is drawn by the label graph from the
//! current one, among labels not yet in the chain; the next instance is drawn by p among those that carry it and are
//! not in the batch. A chain that cannot go on ends and another starts; an instance without labels is a chain of one.
//! Source: arXiv 2403.18192, §3.4.

use data::{Dataset, LabelRows};
use rand_chacha::ChaCha8Rng;

use super::links::Links;
use super::scored::weighed;
use super::selection::{Marks, Plan, Selection};
use super::{Refresh, Sampler, SamplerState, Seen, Wants};

/// Selects along chains.
pub(super) struct Chain {
    selection: Selection,
    labels: LabelRows,
    counts: Vec<usize>,
    links: Links,
    /// Instances of each label, ascending.
    carriers: Vec<Vec<u32>>,
    /// Labels of the current chain.
    used: Marks,
    /// Imbalance weights; none: 1.
    weights: Vec<f32>,
    refresh: Refresh,
}

impl Chain {
    pub(super) fn new(train: &Dataset, plan: Plan, weights: Vec<f32>, refresh: Refresh) -> Self {
        Self {
            selection: Selection::new(train.len(), plan),
            links: Links::new(&train.labels),
            counts: train.labels.counts(),
            carriers: train.labels.by_label(),
            used: Marks::new(train.labels.columns()),
            labels: train.labels.clone(),
            weights,
            refresh,
        }
    }

    /// One batch of chains.
    fn chains(&mut self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let size = self.selection.batch();
        let mut out = Vec::with_capacity(size);
        self.selection.begin();
        while out.len() < size
            && let Some(first) = self.selection.take(rng)
        {
            out.push(first);
            self.used.clear();
            let mut label = self.rarest(first);
            while let Some(current) = label.filter(|_| out.len() < size) {
                self.used.insert(current as usize);
                label = self.links.draw(current, |l| self.used.contains(l as usize), rng);
                let Some(next) = label else { break };
                let Some(instance) = self.selection.take_among(&self.carriers[next as usize], rng) else { break };
                out.push(instance);
            }
        }
        self.selection.end();
        out
    }

    fn rarest(&self, instance: usize) -> Option<u32> {
        self.labels.row(instance).iter().copied().min_by_key(|l| (self.counts[*l as usize], *l))
    }
}

impl Sampler for Chain {
    fn start(&mut self, epoch: usize, rng: &mut ChaCha8Rng) {
        self.selection.start(epoch, rng);
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<Vec<usize>> {
        if let Some(ordinary) = self.selection.next_ordinary(rng) {
            return ordinary;
        }
        self.selection.another().then(|| self.chains(rng))
    }

    fn wants(&self) -> Wants {
        Wants { losses: true, probabilities: false, soon: self.refresh == Refresh::Batch }
    }

    fn observe(&mut self, instances: &[usize], seen: Seen) {
        let now = self.refresh == Refresh::Batch;
        for (&i, &loss) in instances.iter().zip(seen.losses) {
            self.selection.note(i, weighed(&self.weights, i, loss), now);
        }
    }

    fn state(&self) -> SamplerState {
        let mut state = SamplerState::default();
        self.selection.save(&mut state, self.refresh == Refresh::Batch);
        state
    }

    fn restore(&mut self, mut state: SamplerState) {
        self.selection.load(&mut state);
    }
}
