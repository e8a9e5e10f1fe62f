//! Every instance once an epoch, in a new order each time; also the warm-up of the samplers that select.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Sampler, SamplerState};

/// Shuffles and deals out.
#[derive(Debug, Clone)]
pub(super) struct Random {
    order: Vec<u32>,
    at: usize,
    batch: usize,
}

impl Random {
    pub(super) fn new(instances: usize, batch: usize) -> Self {
        Self { order: (0..instances as u32).collect(), at: instances, batch }
    }

    /// Puts its state beside another sampler's.
    pub(super) fn save(&self, state: &mut SamplerState) {
        state.indices.insert("order".into(), self.order.clone());
        state.indices.insert("at".into(), vec![self.at as u32]);
    }

    /// Takes its state from among another sampler's.
    pub(super) fn load(&mut self, state: &mut SamplerState) {
        self.order = state.take_indices("order");
        self.at = state.take_number("at");
    }
}

impl Sampler for Random {
    fn start(&mut self, _epoch: usize, rng: &mut ChaCha8Rng) {
        // From the same start every time: the order depends on the generator alone.
        self.order.sort_unstable();
        self.order.shuffle(rng);
        self.at = 0;
    }

    fn next(&mut self, _rng: &mut ChaCha8Rng) -> Option<Vec<usize>> {
        let batch = self.order[self.at..].chunks(self.batch).next()?;
        self.at += batch.len();
        Some(batch.iter().map(|&i| i as usize).collect())
    }

    fn state(&self) -> SamplerState {
        let mut state = SamplerState::default();
        self.save(&mut state);
        state
    }

    fn restore(&mut self, mut state: SamplerState) {
        self.load(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn epoch(sampler: &mut Random, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
        sampler.start(0, rng);
        std::iter::from_fn(|| sampler.next(rng)).collect()
    }

    #[test]
    fn every_instance_comes_once_an_epoch_in_a_new_order() {
        let mut sampler = Random::new(10, 4);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let first = epoch(&mut sampler, &mut rng);
        let second = epoch(&mut sampler, &mut rng);
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert_ne!(first, second);
        let mut all = first.concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }
}
