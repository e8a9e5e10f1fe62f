//! The chain variant of adaptive selection: batches follow chains of labels that come together.
//!
//! A chain starts at an instance drawn by p, with its rarest label; the next label is drawn by the label graph from the
//! current one, among labels not yet in the chain; the next instance is drawn by p among those that carry it and are
//! not in the batch. A chain that cannot go on ends and another starts; an instance without labels is a chain of one.
//! Source: arXiv 2403.18192, §3.4.

use data::{Dataset, LabelRows};
use rand_chacha::ChaCha8Rng;

use super::fenwick::Fenwick;
use super::label_graph::LabelGraph;
use super::scored::weighed;
use super::selection::{Plan, Selection};
use super::{Refresh, Sampler, SamplerState, Seen, Wants};

/// Selects along chains.
pub(super) struct Chain {
    selection: Selection,
    labels: LabelRows,
    counts: Vec<usize>,
    graph: LabelGraph,
    /// Instances of each label, ascending.
    carriers: Vec<Vec<u32>>,
    /// Their weights.
    trees: Vec<Fenwick>,
    /// Imbalance weights; none: 1.
    weights: Vec<f32>,
    refresh: Refresh,
}

impl Chain {
    pub(super) fn new(train: &Dataset, plan: Plan, weights: Vec<f32>, refresh: Refresh) -> Self {
        Self {
            selection: Selection::new(train.len(), plan),
            graph: LabelGraph::new(&train.labels),
            counts: train.labels.counts(),
            carriers: train.labels.by_label(),
            trees: Vec::new(),
            labels: train.labels.clone(),
            weights,
            refresh,
        }
    }

    fn plant(&mut self) {
        let weight = |i: &u32| self.selection.tree.weight(*i as usize);
        self.trees = self.carriers.iter().map(|c| Fenwick::new(c.iter().map(weight).collect())).collect();
    }

    /// Gives an instance another weight among all and among the carriers of each of its labels; returns the old one.
    fn set(&mut self, instance: usize, weight: u64) -> u64 {
        for &l in self.labels.row(instance) {
            if let Ok(at) = self.carriers[l as usize].binary_search(&(instance as u32)) {
                self.trees[l as usize].set(at, weight);
            }
        }
        self.selection.tree.set(instance, weight)
    }

    /// One batch of chains, each instance with the label that led to it (none at the start of a chain without labels).
    fn chains(&mut self, rng: &mut ChaCha8Rng) -> Vec<(usize, Option<u32>)> {
        let size = self.selection.batch();
        let mut out: Vec<(usize, Option<u32>)> = Vec::with_capacity(size);
        let mut taken = Vec::with_capacity(size);
        while out.len() < size
            && let Some(first) = self.selection.tree.draw(rng)
        {
            let mut label = self.rarest(first);
            let mut used: Vec<u32> = label.into_iter().collect();
            let mut instance = first;
            loop {
                taken.push(self.set(instance, 0));
                out.push((instance, label));
                let next = label.filter(|_| out.len() < size).and_then(|l| self.graph.draw(l, &used, rng));
                let Some(next) = next else { break };
                used.push(next);
                let Some(at) = self.trees[next as usize].draw(rng) else { break };
                instance = self.carriers[next as usize][at] as usize;
                label = Some(next);
            }
        }
        for (&(instance, _), weight) in out.iter().zip(taken) {
            self.set(instance, weight);
        }
        out
    }

    fn rarest(&self, instance: usize) -> Option<u32> {
        self.labels.row(instance).iter().copied().min_by_key(|l| (self.counts[*l as usize], *l))
    }
}

impl Sampler for Chain {
    fn start(&mut self, epoch: usize, rng: &mut ChaCha8Rng) {
        if self.selection.start(epoch, rng) {
            self.plant();
        }
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<Vec<usize>> {
        if let Some(ordinary) = self.selection.next_ordinary(rng) {
            return ordinary;
        }
        self.selection.another().then(|| self.chains(rng).into_iter().map(|e| e.0).collect())
    }

    fn wants(&self) -> Wants {
        Wants { losses: true, probabilities: false, soon: self.refresh == Refresh::Batch }
    }

    fn observe(&mut self, instances: &[usize], seen: Seen) {
        let now = self.refresh == Refresh::Batch;
        for (&i, &loss) in instances.iter().zip(seen.losses) {
            if let Some(weight) = self.selection.note(i, weighed(&self.weights, i, loss), now) {
                self.set(i, weight);
            }
        }
    }

    fn state(&self) -> SamplerState {
        let mut state = SamplerState::default();
        self.selection.save(&mut state, self.refresh == Refresh::Batch);
        state
    }

    fn restore(&mut self, mut state: SamplerState) {
        self.selection.load(&mut state);
        if self.selection.tree.total() > 0 {
            self.plant();
        }
    }
}
