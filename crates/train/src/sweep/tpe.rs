//! Settings chosen by what came of earlier ones: the tree-structured Parzen estimator of the library `tpe`.
//!
//! Source: Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tpe::density_estimation::DefaultEstimatorBuilder;
use tpe::{TpeOptimizer, categorical_range, histogram_estimator, parzen_estimator, range};

use super::spec::{Draw, Random, Setting, draws_of};
use crate::error::{Error, Result};

/// Proposes settings, and hears what came of them.
pub struct Guide {
    axes: Vec<Axis>,
    rng: ChaCha8Rng,
    budget: usize,
}

struct Axis {
    key: String,
    draw: Draw,
    optimizer: TpeOptimizer<DefaultEstimatorBuilder>,
}

/// Proposed settings, and the numbers the estimator knows them by.
pub struct Proposal {
    /// The settings.
    pub settings: Vec<Setting>,
    numbers: Vec<f64>,
}

impl Guide {
    /// Over a space; its proposals depend on the seed and on what it hears alone.
    ///
    /// # Errors
    /// For a distribution that makes no sense.
    pub fn new(random: &Random) -> Result<Self> {
        let fail = |key: &str, e: &dyn std::fmt::Display| Error::Request(format!("tpe.space.{key}: {e}"));
        let mut axes = Vec::new();
        for (key, draw) in draws_of(random, "tpe")? {
            let numeric = |low: f64, high: f64| range(low, high).map(|r| TpeOptimizer::new(parzen_estimator(), r));
            let optimizer = match &draw {
                Draw::Uniform([a, b]) => numeric(*a, *b),
                Draw::Log([a, b]) => numeric(a.ln(), b.ln()),
                Draw::Integers([a, b]) => numeric(*a as f64, *b as f64 + 1.0),
                Draw::Choices(values) => {
                    categorical_range(values.len()).map(|r| TpeOptimizer::new(histogram_estimator(), r))
                }
            };
            let optimizer = optimizer.map_err(|e| fail(&key, &e))?;
            axes.push(Axis { key, draw, optimizer });
        }
        Ok(Self { axes, rng: ChaCha8Rng::seed_from_u64(random.seed), budget: random.budget })
    }

    /// Proposals in all.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// The next settings.
    ///
    /// # Errors
    /// When the estimator has nothing to propose.
    pub fn ask(&mut self) -> Result<Proposal> {
        let mut out = Proposal { settings: Vec::new(), numbers: Vec::new() };
        for axis in &mut self.axes {
            let fail = |e: &dyn std::fmt::Display| Error::Job(format!("tpe, {}: {e}", axis.key));
            let number = axis.optimizer.ask(&mut self.rng).map_err(|e| fail(&e))?;
            out.settings.push((axis.key.clone(), axis.draw.at(number)));
            out.numbers.push(number);
        }
        Ok(out)
    }

    /// What came of a proposal: the smaller, the better. One that failed is as good as the worst.
    ///
    /// # Errors
    /// When the estimator refuses a number of its own.
    pub fn tell(&mut self, proposal: &Proposal, value: Option<f64>) -> Result<()> {
        let value = value.filter(|v| v.is_finite()).unwrap_or(f64::MAX);
        for (axis, number) in self.axes.iter_mut().zip(&proposal.numbers) {
            axis.optimizer.tell(*number, value).map_err(|e| Error::Job(format!("tpe, {}: {e}", axis.key)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_gather_where_values_are_small() {
        let space =
            "x = { uniform = [-5.0, 5.0] }\nrate = { log = [1e-4, 1.0] }\nkind = { choices = [\"a\", \"b\", \"c\"] }";
        let random = Random { budget: 80, seed: 3, space: toml::from_str(space).unwrap() };
        let run = || {
            let mut guide = Guide::new(&random).unwrap();
            let mut best = Vec::new();
            for _ in 0..guide.budget() {
                let proposal = guide.ask().unwrap();
                let get = |key: &str| &proposal.settings.iter().find(|s| s.0 == key).unwrap().1;
                let (x, rate) = (get("x").as_float().unwrap(), get("rate").as_float().unwrap());
                let penalty = if get("kind").as_str() == Some("b") { 0.0 } else { 4.0 };
                let value = (x - 2.0).powi(2) + (rate.log10() + 2.0).powi(2) + penalty;
                guide.tell(&proposal, Some(value)).unwrap();
                best.push(value);
            }
            best
        };
        let values = run();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        assert!(mean(&values[60..]) < 0.5 * mean(&values[..20]), "{values:?}");
        assert_eq!(run(), values, "proposals depend on the seed and the values alone");
    }
}
