//! Draws along the label graph, as chains do.

use data::{LabelGraph, LabelRows};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Neighbours kept of each label: the strongest ones.
const KEPT: usize = 64;

/// Draws before the unused neighbours are summed.
const TRIES: usize = 8;

/// The strongest neighbours of each label, with running sums to draw by.
#[derive(Debug, Clone)]
pub(super) struct Links {
    graph: LabelGraph,
    /// Sum of the A of a label's edges up to and with each.
    sums: Vec<f64>,
}

impl Links {
    pub(super) fn new(labels: &LabelRows) -> Self {
        let graph = LabelGraph::strongest(labels, KEPT);
        let mut sums = Vec::with_capacity(graph.edges());
        for a in 0..graph.labels() {
            let running = graph.of(a as u32).iter().scan(0.0, |sum, e| {
                *sum += e.1;
                Some(*sum)
            });
            sums.extend(running);
        }
        Self { graph, sums }
    }

    /// A neighbour of `a` that is not used, drawn with a probability proportional to A.
    ///
    /// Used ones that come up are drawn again; where that takes too long, those left are summed.
    pub(super) fn draw(&self, a: u32, is_used: impl Fn(u32) -> bool, rng: &mut ChaCha8Rng) -> Option<u32> {
        let edges = self.graph.of(a);
        let sums = &self.sums[self.graph.span(a)];
        let all = *sums.last()?;
        for _ in 0..TRIES {
            let at = rng.random::<f64>() * all;
            let (label, _) = edges[sums.partition_point(|s| *s <= at).min(edges.len() - 1)];
            if !is_used(label) {
                return Some(label);
            }
        }
        let free = || edges.iter().filter(|e| !is_used(e.0));
        let total: f64 = free().map(|e| e.1).sum();
        if total <= 0.0 {
            return None;
        }
        let mut left = rng.random::<f64>() * total;
        // Rounding may leave a little at the end: the last one takes it.
        free()
            .find(|e| {
                left -= e.1;
                left < 0.0
            })
            .or_else(|| free().next_back())
            .map(|e| e.0)
    }
}
