//! Samplers that select instances by one number each: their loss (adaptive) or how close their scores are to one half.

use rand_chacha::ChaCha8Rng;

use super::selection::{Plan, Selection};
use super::{Refresh, Sampler, SamplerState, Seen, Wants};

/// What an instance's number is.
#[derive(Debug, Clone)]
enum Score {
    /// Its loss times its imbalance weight; no weights: 1.
    Loss(Vec<f32>),
    /// `½ - mean_l |p_l - ½|`.
    Boundary,
}

/// Selects by one number an instance.
pub(super) struct Scored {
    selection: Selection,
    score: Score,
    refresh: Refresh,
}

impl Scored {
    /// Hard instances more often. Source: arXiv 2403.18192, §3.
    pub(super) fn by_loss(instances: usize, plan: Plan, weights: Vec<f32>, refresh: Refresh) -> Self {
        Self { selection: Selection::new(instances, plan), score: Score::Loss(weights), refresh }
    }

    /// Undecided instances more often. Source: Song et al., "Ada-boundary", Data Mining and Knowledge Discovery 34, 2020;
    /// over labels as arXiv 2403.18192 compares it, the distance is the mean over the labels.
    pub(super) fn by_boundary(instances: usize, plan: Plan) -> Self {
        Self { selection: Selection::new(instances, plan), score: Score::Boundary, refresh: Refresh::Batch }
    }
}

/// The loss of an instance times its weight; no weights: 1.
pub(super) fn weighed(weights: &[f32], instance: usize, loss: f32) -> f32 {
    weights.get(instance).map_or(loss, |w| w * loss)
}

impl Sampler for Scored {
    fn start(&mut self, epoch: usize, rng: &mut ChaCha8Rng) {
        self.selection.start(epoch, rng);
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<Vec<usize>> {
        self.selection.next(rng)
    }

    fn wants(&self) -> Wants {
        let losses = matches!(self.score, Score::Loss(_));
        Wants { losses, probabilities: !losses, soon: self.refresh == Refresh::Batch }
    }

    fn observe(&mut self, instances: &[usize], seen: Seen) {
        let now = self.refresh == Refresh::Batch;
        let labels = seen.probabilities.len() / instances.len().max(1);
        for (b, &i) in instances.iter().enumerate() {
            let value = match &self.score {
                Score::Loss(weights) => weighed(weights, i, seen.losses[b]),
                Score::Boundary => {
                    let row = &seen.probabilities[b * labels..(b + 1) * labels];
                    0.5 - row.iter().map(|p| (p - 0.5).abs()).sum::<f32>() / labels as f32
                }
            };
            self.selection.note(i, value, now);
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
