//! Online hard example mining: of some candidates drawn evenly, those with the largest last loss make the batch.
//!
//! Source: Shrivastava, Gupta and Girshick, CVPR 2016, arXiv 1604.03540, with instances in the place of regions.

use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::random::Random;
use super::{HardestConfig, Sampler, SamplerState, Seen, Wants};

/// Keeps the hardest candidates.
pub(super) struct Hardest {
    ordinary: Random,
    losses: Vec<f32>,
    batch: usize,
    pool: usize,
    warmup: usize,
    selecting: bool,
    drawn: usize,
}

impl Hardest {
    pub(super) fn new(instances: usize, batch: usize, config: &HardestConfig) -> Self {
        Self {
            ordinary: Random::new(instances, batch),
            losses: vec![f32::INFINITY; instances],
            batch,
            pool: (config.pool * batch).min(instances),
            warmup: config.warmup,
            selecting: false,
            drawn: 0,
        }
    }
}

impl Sampler for Hardest {
    fn start(&mut self, epoch: usize, rng: &mut ChaCha8Rng) {
        self.selecting = epoch >= self.warmup;
        self.drawn = 0;
        if !self.selecting {
            self.ordinary.start(epoch, rng);
        }
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<Vec<usize>> {
        if !self.selecting {
            return self.ordinary.next(rng);
        }
        if self.drawn == self.losses.len().div_ceil(self.batch) {
            return None;
        }
        self.drawn += 1;
        let mut candidates = sample(rng, self.losses.len(), self.pool).into_vec();
        candidates.sort_unstable_by(|&a, &b| self.losses[b].total_cmp(&self.losses[a]).then(a.cmp(&b)));
        candidates.truncate(self.batch);
        Some(candidates)
    }

    fn wants(&self) -> Wants {
        Wants { losses: true, soon: true, ..Wants::default() }
    }

    fn observe(&mut self, instances: &[usize], seen: Seen) {
        instances.iter().zip(seen.losses).for_each(|(&i, &loss)| self.losses[i] = loss);
    }

    fn state(&self) -> SamplerState {
        let mut state = SamplerState::default();
        self.ordinary.save(&mut state);
        state.floats.insert("values".into(), self.losses.clone());
        state.indices.insert("epoch".into(), vec![self.drawn as u32, u32::from(self.selecting)]);
        state
    }

    fn restore(&mut self, mut state: SamplerState) {
        self.ordinary.load(&mut state);
        self.losses = state.take_floats("values");
        let flags = state.take_indices("epoch");
        self.drawn = flags.first().map_or(0, |d| *d as usize);
        self.selecting = flags.get(1) == Some(&1);
    }
}
