//! Instances whose predictions change from one look to the next, or are undecided, more often.
//!
//! `u_il = ½ · mean |difference of successive predictions| + ½ · entropy of the last one in bits`, over the last five
//! predictions, quantised in five steps and summed over the labels. Source: arXiv 2412.16521, §3.

use data::Dataset;
use rand_chacha::ChaCha8Rng;

use super::selection::{Plan, Selection};
use super::{Sampler, SamplerState, Seen, Wants};

/// Steps an uncertainty is quantised in.
const STEPS: f32 = 5.0;

/// Bytes of predictions at most.
pub(super) const MOST: usize = 4 << 30;

/// Selects by how uncertain the last predictions were.
pub(super) struct Uncertainty {
    selection: Selection,
    labels: usize,
    window: usize,
    /// The last predictions of each instance, `[instances, window, labels]` as shares of 65,535, oldest first from
    /// `looks % window` on.
    history: Vec<u16>,
    /// Predictions of each instance so far.
    looks: Vec<u32>,
}

impl Uncertainty {
    pub(super) fn new(train: &Dataset, plan: Plan, window: usize) -> Self {
        let (instances, labels) = (train.len(), train.labels.columns());
        Self {
            selection: Selection::new(instances, plan),
            labels,
            window,
            history: vec![0; instances * window * labels],
            looks: vec![0; instances],
        }
    }

    /// Keeps a prediction and returns the instance's uncertainty.
    fn look(&mut self, instance: usize, prediction: &[f32]) -> f32 {
        let (labels, window) = (self.labels, self.window);
        let of_instance = &mut self.history[instance * window * labels..(instance + 1) * window * labels];
        let newest = self.looks[instance] as usize % window;
        let slot = &mut of_instance[newest * labels..(newest + 1) * labels];
        slot.iter_mut().zip(prediction).for_each(|(s, p)| *s = (p * f32::from(u16::MAX)).round() as u16);
        self.looks[instance] += 1;
        let known = (self.looks[instance] as usize).min(window);
        let at = |age: usize, l: usize| f32::from(of_instance[(newest + window - age) % window * labels + l]);
        let uncertainty = |(l, p): (usize, &f32)| {
            let changes: f32 = (1..known).map(|age| (at(age - 1, l) - at(age, l)).abs()).sum();
            let change = if known > 1 { changes / f32::from(u16::MAX) / (known - 1) as f32 } else { 0.0 };
            let u = 0.5 * change + 0.5 * entropy(*p);
            (u * STEPS).ceil() / STEPS
        };
        prediction.iter().enumerate().map(uncertainty).sum()
    }
}

/// Entropy of a yes with probability `p`, in bits.
fn entropy(p: f32) -> f32 {
    let term = |p: f32| if p > 0.0 { -p * p.log2() } else { 0.0 };
    term(p) + term(1.0 - p)
}

impl Sampler for Uncertainty {
    fn start(&mut self, epoch: usize, rng: &mut ChaCha8Rng) {
        self.selection.start(epoch, rng);
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<Vec<usize>> {
        self.selection.next(rng)
    }

    fn wants(&self) -> Wants {
        Wants { probabilities: true, soon: true, ..Wants::default() }
    }

    fn observe(&mut self, instances: &[usize], seen: Seen) {
        for (&i, prediction) in instances.iter().zip(seen.probabilities.chunks(self.labels)) {
            let value = self.look(i, prediction);
            self.selection.note(i, value, true);
        }
    }

    fn state(&self) -> SamplerState {
        let mut state = SamplerState::default();
        self.selection.save(&mut state, true);
        state.indices.insert("looks".into(), self.looks.clone());
        state.indices.insert("history".into(), self.history.iter().map(|h| u32::from(*h)).collect());
        state
    }

    fn restore(&mut self, mut state: SamplerState) {
        self.selection.load(&mut state);
        self.looks = state.take_indices("looks");
        self.history = state.take_indices("history").into_iter().map(|h| h as u16).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Pressure;
    use data::{FeatureRows, LabelRows, Schema};

    #[test]
    fn changing_and_undecided_predictions_are_uncertain() {
        let (mut features, mut labels) = (FeatureRows::new(1), LabelRows::new(2));
        features.push(&[]);
        labels.push(&[]);
        let schema = Schema { features: 1, labels: 2, ..Schema::default() };
        let data = Dataset { features, labels, schema, missing: 0, unknown_features: 0 };
        let plan = Plan { batch: 1, warmup: 0, pressure: Pressure::Fixed(1.0), after: 1 };
        let mut sampler = Uncertainty::new(&data, plan, 5);
        // Certain and new: nothing. Undecided and new: half of the entropy of 1, quantised to 3/5.
        assert_eq!(sampler.look(0, &[1.0, 0.5]), 0.6);
        // The first went from 1 to 0: half of a change of 1. The second stayed.
        assert_eq!(sampler.look(0, &[0.0, 0.5]), 1.2);
        // Five looks later the change is forgotten.
        for _ in 0..4 {
            sampler.look(0, &[0.0, 0.0]);
        }
        assert!((sampler.look(0, &[0.0, 0.0])).abs() < 1e-6);
    }
}
