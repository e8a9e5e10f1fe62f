//! Quantised selection: from what is known of every instance to weights, and from weights to batches without
//! replacement.
//!
//! `p_i ∝ s_e^{Q_i/N}`, `Q_i = ⌈v_i/Δ⌉`, `Δ = max v / N`. Source: arXiv 2403.18192, §3.2.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::random::Random;
use super::weighted::Weighted;
use super::{Pressure, Sampler, SamplerState};

/// `Q_i = ⌈v_i/Δ⌉`, at most `instances`; 0 for all where Δ is 0. A value that is not known yet (NaN) counts as the
/// largest.
pub fn quantise(value: f64, step: f64, instances: usize) -> usize {
    if value.is_nan() {
        return instances;
    }
    if step <= 0.0 { 0 } else { ((value / step).ceil() as usize).min(instances) }
}

/// `p_i ∝ s_e^{Q_i/N}` of values that are all known, and their indices Q.
pub fn probabilities(values: &[f64], pressure: f64) -> (Vec<f64>, Vec<usize>) {
    let n = values.len();
    let step = values.iter().copied().fold(0.0, f64::max) / n as f64;
    let indices: Vec<usize> = values.iter().map(|v| quantise(*v, step, n)).collect();
    let raw: Vec<f64> = indices.iter().map(|q| pressure.powf(*q as f64 / n as f64)).collect();
    let total: f64 = raw.iter().sum();
    (raw.iter().map(|p| p / total).collect(), indices)
}

/// How batches are selected over a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Instances of a batch.
    pub batch: usize,
    /// Ordinary epochs at the start.
    pub warmup: usize,
    /// s_e.
    pub pressure: Pressure,
    /// Epochs after the warm-up.
    pub after: usize,
}

/// The values of all instances, their weights of the current epoch, and how far the epoch is.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    plan: Plan,
    warmup: Random,
    /// Last value of each instance; NaN before the first.
    values: Vec<f32>,
    weighted: Weighted,
    /// In the warm-up nothing is selected.
    selecting: bool,
    pressure: f64,
    step: f64,
    /// Batches drawn in this epoch.
    drawn: usize,
    taken: Marks,
    /// Taken instances that came up again, with the weights they get back when the batch is whole.
    aside: Vec<(usize, u64)>,
}

/// A set of small numbers that is emptied in O(1).
#[derive(Debug, Clone)]
pub(super) struct Marks {
    stamps: Vec<u32>,
    now: u32,
}

impl Marks {
    pub(super) fn new(len: usize) -> Self {
        Self { stamps: vec![0; len], now: 1 }
    }

    pub(super) fn clear(&mut self) {
        self.now = self.now.wrapping_add(1);
        if self.now == 0 {
            self.stamps.fill(0);
            self.now = 1;
        }
    }

    pub(super) fn insert(&mut self, i: usize) {
        self.stamps[i] = self.now;
    }

    pub(super) fn contains(&self, i: usize) -> bool {
        self.stamps[i] == self.now
    }
}

impl Selection {
    pub(super) fn new(instances: usize, plan: Plan) -> Self {
        Self {
            plan,
            warmup: Random::new(instances, plan.batch),
            values: vec![f32::NAN; instances],
            weighted: Weighted::default(),
            selecting: false,
            pressure: 1.0,
            step: 0.0,
            drawn: 0,
            taken: Marks::new(instances),
            aside: Vec::new(),
        }
    }

    pub(super) fn instances(&self) -> usize {
        self.values.len()
    }

    pub(super) fn batch(&self) -> usize {
        self.plan.batch
    }

    /// Starts an epoch; true where it selects.
    pub(super) fn start(&mut self, epoch: usize, rng: &mut ChaCha8Rng) -> bool {
        self.selecting = epoch >= self.plan.warmup;
        self.drawn = 0;
        if !self.selecting {
            self.warmup.start(epoch, rng);
            return false;
        }
        self.pressure = self.plan.pressure.at(epoch - self.plan.warmup, self.plan.after);
        let known = self.values.iter().filter(|v| !v.is_nan());
        self.step = known.fold(0.0, |max: f64, v| max.max(f64::from(*v))) / self.instances() as f64;
        self.weigh();
        true
    }

    /// The weights of all values.
    fn weights(&self) -> Vec<u64> {
        self.values.par_iter().with_min_len(1 << 12).map(|v| self.weight(f64::from(*v))).collect()
    }

    fn weigh(&mut self) {
        self.weighted = Weighted::new(self.weights());
    }

    /// The weight of a value, in whole units small enough that all weights together fit 63 bits.
    fn weight(&self, value: f64) -> u64 {
        let n = self.instances();
        let power = quantise(value, self.step, n) as f64 / n as f64;
        let room = 62.0 - (n as f64 * self.pressure).log2();
        (self.pressure.powf(power) * room.clamp(1.0, 32.0).exp2()) as u64
    }

    /// The next ordinary batch in the warm-up; none where the epoch selects.
    pub(super) fn next_ordinary(&mut self, rng: &mut ChaCha8Rng) -> Option<Option<Vec<usize>>> {
        (!self.selecting).then(|| self.warmup.next(rng))
    }

    /// True while the epoch has batches; counts this one.
    pub(super) fn another(&mut self) -> bool {
        let more = self.drawn < self.instances().div_ceil(self.plan.batch);
        self.drawn += usize::from(more);
        more
    }

    /// The next batch: in the warm-up an ordinary one, else one drawn by the weights; none at the end of the epoch.
    pub(super) fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<Vec<usize>> {
        if let Some(ordinary) = self.next_ordinary(rng) {
            return ordinary;
        }
        self.another().then(|| self.draw(rng))
    }

    /// A batch drawn without replacement.
    fn draw(&mut self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        self.begin();
        let mut out = Vec::with_capacity(self.plan.batch);
        while out.len() < self.plan.batch
            && let Some(i) = self.take(rng)
        {
            out.push(i);
        }
        self.end();
        out
    }

    /// Begins a batch: nothing is taken.
    pub(super) fn begin(&mut self) {
        self.taken.clear();
    }

    /// Takes an instance that the batch has not, drawn by the weights; none where the batch has all.
    pub(super) fn take(&mut self, rng: &mut ChaCha8Rng) -> Option<usize> {
        let taken = &self.taken;
        let i = self.weighted.draw_free(|i| taken.contains(i), &mut self.aside, rng)?;
        self.taken.insert(i);
        Some(i)
    }

    /// The same among `candidates`, which are some of the instances.
    ///
    /// Even draws, kept with a probability of weight by largest weight; where chance fails that long, or candidates are
    /// few, their weights are summed.
    pub(super) fn take_among(&mut self, candidates: &[u32], rng: &mut ChaCha8Rng) -> Option<usize> {
        let tries = (4.0 * self.pressure).ceil() as usize;
        let mut found = None;
        if candidates.len() > tries {
            let largest = self.weight(f64::INFINITY);
            found = (0..tries).find_map(|_| {
                let i = candidates[rng.random_range(0..candidates.len())] as usize;
                (!self.taken.contains(i) && rng.random_range(0..largest) < self.weighted.weight(i)).then_some(i)
            });
        }
        let i = found.or_else(|| self.scan(candidates, rng))?;
        self.taken.insert(i);
        Some(i)
    }

    fn scan(&self, candidates: &[u32], rng: &mut ChaCha8Rng) -> Option<usize> {
        let free = || candidates.iter().map(|&i| i as usize).filter(|&i| !self.taken.contains(i));
        let total: u64 = free().map(|i| self.weighted.weight(i)).sum();
        let mut left = if total > 0 { rng.random_range(0..total) } else { return None };
        free().find(|&i| {
            let weight = self.weighted.weight(i);
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        })
    }

    /// Ends a batch: every instance has its weight again.
    pub(super) fn end(&mut self) {
        for (i, weight) in self.aside.drain(..) {
            self.weighted.set(i, weight);
        }
    }

    /// A new value of an instance; it counts at once if `now`.
    pub(super) fn note(&mut self, instance: usize, value: f32, now: bool) {
        self.values[instance] = value;
        if self.selecting && now {
            self.weighted.set(instance, self.weight(f64::from(value)));
        }
    }

    pub(super) fn save(&self, state: &mut SamplerState, refreshed_at_once: bool) {
        self.warmup.save(state);
        state.floats.insert("values".into(), self.values.clone());
        let flags = [self.drawn as u32, u32::from(self.selecting)];
        state.indices.insert("epoch".into(), flags.to_vec());
        let numbers = [self.pressure, self.step].map(f64::to_bits);
        let halves = numbers.iter().flat_map(|b| [(*b >> 32) as u32, *b as u32]).collect();
        state.indices.insert("selection".into(), halves);
        if !self.selecting {
            return;
        }
        state.indices.insert("order of weights".into(), self.weighted.order());
        if !refreshed_at_once {
            // Weights still are those of the epoch's start.
            let words = (0..self.instances()).map(|i| self.weighted.weight(i));
            state.indices.insert("weights".into(), words.flat_map(|w| [(w >> 32) as u32, w as u32]).collect());
        }
    }

    pub(super) fn load(&mut self, state: &mut SamplerState) {
        self.warmup.load(state);
        self.values = state.take_floats("values");
        let flags = state.take_indices("epoch");
        self.drawn = flags.first().map_or(0, |d| *d as usize);
        self.selecting = flags.get(1) == Some(&1);
        let word = |pair: &[u32]| (u64::from(pair[0]) << 32) | u64::from(pair[1]);
        let numbers: Vec<f64> =
            state.take_indices("selection").chunks_exact(2).map(|p| f64::from_bits(word(p))).collect();
        if let [pressure, step] = numbers[..] {
            (self.pressure, self.step) = (pressure, step);
        }
        let weights: Vec<u64> = state.take_indices("weights").chunks_exact(2).map(word).collect();
        let order = state.take_indices("order of weights");
        if self.selecting {
            let weights = if weights.is_empty() { self.weights() } else { weights };
            self.weighted = Weighted::in_order(weights, order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn selection(values: &[f32], batch: usize, pressure: f64) -> (Selection, Vec<f64>) {
        let plan = Plan { batch, warmup: 0, pressure: Pressure::Fixed(pressure), after: 10 };
        let mut selection = Selection::new(values.len(), plan);
        values.iter().enumerate().for_each(|(i, v)| selection.note(i, *v, false));
        selection.start(0, &mut ChaCha8Rng::seed_from_u64(0));
        let known: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        (selection, probabilities(&known, pressure).0)
    }

    fn chi_squared(counts: &[f64], shares: &[f64]) -> f64 {
        let total: f64 = counts.iter().sum();
        counts.iter().zip(shares).map(|(c, p)| (c - total * p).powi(2) / (total * p)).sum()
    }

    #[test]
    fn batches_are_successive_draws_among_those_left() {
        let values = [0.1, 0.9, 0.4, 0.0, 0.7];
        let (mut selection, p) = selection(&values, 3, 16.0);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut counts, mut shares) = (vec![0.0; 125], vec![0.0; 125]);
        for _ in 0..60_000 {
            let drawn = selection.draw(&mut rng);
            counts[drawn[0] * 25 + drawn[1] * 5 + drawn[2]] += 1.0;
        }
        for a in 0..5 {
            for b in (0..5).filter(|b| *b != a) {
                for c in (0..5).filter(|c| *c != a && *c != b) {
                    shares[a * 25 + b * 5 + c] = p[a] * p[b] / (1.0 - p[a]) * p[c] / (1.0 - p[a] - p[b]);
                }
            }
        }
        let possible: Vec<usize> = (0..125).filter(|i| shares[*i] > 0.0).collect();
        let pick = |v: &[f64]| -> Vec<f64> { possible.iter().map(|i| v[*i]).collect() };
        assert_eq!((possible.len(), pick(&counts).iter().sum::<f64>()), (60, 60_000.0));
        // 59 degrees of freedom: 98.3 is the 99.9 % point.
        let found = chi_squared(&pick(&counts), &pick(&shares));
        assert!(found < 98.3, "χ² = {found}");
        assert_eq!(selection.draw(&mut rng).len(), 3, "weights are back after every batch");
    }

    #[test]
    fn instances_of_a_label_are_drawn_by_their_weights_however_many() {
        for (pressure, candidates) in [(2.0, 30u32), (64.0, 30), (64.0, 300)] {
            let values: Vec<f32> = (0..400).map(|i| (i * 37 % 101) as f32 * 0.01).collect();
            let (mut selection, p) = selection(&values, 1, pressure);
            let among: Vec<u32> = (0..candidates).map(|i| i + 7).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let mut counts = vec![0.0; among.len()];
            for _ in 0..50_000 {
                selection.begin();
                selection.taken.insert(7);
                let drawn = selection.take_among(&among, &mut rng).unwrap();
                counts[drawn - 7] += 1.0;
                selection.end();
            }
            assert_eq!(counts[0], 0.0, "it is taken");
            let total: f64 = among[1..].iter().map(|i| p[*i as usize]).sum();
            let shares: Vec<f64> = among[1..].iter().map(|i| p[*i as usize] / total).collect();
            let found = chi_squared(&counts[1..], &shares);
            // 28 degrees of freedom: 56.9 is the 99.9 % point; 298: 377.
            let limit = if candidates == 30 { 56.9 } else { 377.0 };
            assert!(found < limit, "pressure {pressure}, {candidates} candidates: χ² = {found}");
        }
        let (mut selection, _) = selection(&[0.5; 4], 1, 2.0);
        selection.begin();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<_> = (0..3).map(|_| selection.take_among(&[1, 3], &mut rng)).collect();
        assert!(drawn[0].is_some() && drawn[1].is_some() && drawn[0] != drawn[1] && drawn[2].is_none(), "{drawn:?}");
    }
}
