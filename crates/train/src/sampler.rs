//! Which instances a batch holds.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Which sampler, with its settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SamplerConfig {
    /// Every instance once an epoch, in a new order each time.
    #[default]
    Random,
}

impl SamplerConfig {
    /// A sampler over `instances` instances.
    pub fn init(&self, instances: usize, batch_size: usize) -> Box<dyn Sampler> {
        match self {
            Self::Random => Box::new(Random { order: (0..instances).collect(), batch_size }),
        }
    }
}

/// Draws the batches of an epoch. What it draws depends on the random generator it is given and its own state alone.
pub trait Sampler {
    /// Starts an epoch; returns its batches, in order.
    fn epoch(&mut self, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>>;
}

struct Random {
    order: Vec<usize>,
    batch_size: usize,
}

impl Sampler for Random {
    fn epoch(&mut self, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
        // From the same start every time: the order depends on the generator alone, also after a resume.
        self.order.sort_unstable();
        self.order.shuffle(rng);
        self.order.chunks(self.batch_size).map(<[usize]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_instance_comes_once_an_epoch_in_a_new_order() {
        let mut sampler = SamplerConfig::Random.init(10, 4);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let first = sampler.epoch(&mut rng);
        let second = sampler.epoch(&mut rng);
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert_ne!(first, second);
        let mut all = first.concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }
}
