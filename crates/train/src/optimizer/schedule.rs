//! The learning rate over time.

use serde::{Deserialize, Serialize};

/// Which schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// The base rate throughout.
    Constant {
        /// Epochs in which the rate grows linearly from 0.
        #[serde(default)]
        warmup: f64,
    },
    /// Half a cosine from the base rate to `minimum` × the base rate at the last step.
    Cosine {
        /// Epochs in which the rate grows linearly from 0.
        #[serde(default)]
        warmup: f64,
        /// Share of the base rate at the end, in [0, 1].
        #[serde(default)]
        minimum: f64,
    },
    /// Times `factor` after every `every` epochs.
    Step {
        /// Epochs in which the rate grows linearly from 0.
        #[serde(default)]
        warmup: f64,
        /// Epochs between two reductions.
        every: usize,
        /// What the rate is multiplied by.
        #[serde(default = "tenth")]
        factor: f64,
    },
}

fn tenth() -> f64 {
    0.1
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self::Constant { warmup: 0.0 }
    }
}

impl ScheduleConfig {
    fn warmup(&self) -> f64 {
        match self {
            Self::Constant { warmup } | Self::Cosine { warmup, .. } | Self::Step { warmup, .. } => *warmup,
        }
    }

    /// Ranges.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(self.warmup() >= 0.0 && self.warmup().is_finite()) {
            return Err(format!("schedule.warmup = {} is out of range: at least 0", self.warmup()));
        }
        match self {
            Self::Cosine { minimum, .. } if !(0.0..=1.0).contains(minimum) => {
                Err(format!("schedule.minimum = {minimum} is out of range: between 0 and 1"))
            }
            Self::Step { every: 0, .. } => Err("schedule.every = 0 is out of range: at least 1".into()),
            Self::Step { factor, .. } if !(*factor > 0.0 && *factor <= 1.0) => {
                Err(format!("schedule.factor = {factor} is out of range: above 0 and at most 1"))
            }
            _ => Ok(()),
        }
    }
}

/// A schedule for a run of known length.
#[derive(Debug, Clone)]
pub struct Schedule {
    config: ScheduleConfig,
    base: f64,
    steps_per_epoch: usize,
    steps: usize,
}

impl Schedule {
    /// For `epochs` epochs of `steps_per_epoch` steps.
    pub fn new(config: ScheduleConfig, base: f64, steps_per_epoch: usize, epochs: usize) -> Self {
        let steps_per_epoch = steps_per_epoch.max(1);
        Self { config, base, steps_per_epoch, steps: steps_per_epoch * epochs }
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: usize) -> f64 {
        let warm = (self.config.warmup() * self.steps_per_epoch as f64).round();
        let warmth = if (step as f64) < warm { (step as f64 + 1.0) / warm } else { 1.0 };
        let factor = match &self.config {
            ScheduleConfig::Constant { .. } => 1.0,
            ScheduleConfig::Cosine { minimum, .. } => {
                let span = (self.steps as f64 - warm - 1.0).max(1.0);
                let done = ((step as f64 - warm) / span).clamp(0.0, 1.0);
                minimum + (1.0 - minimum) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            ScheduleConfig::Step { every, factor, .. } => factor.powi((step / self.steps_per_epoch / every) as i32),
        };
        self.base * warmth * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmup_grows_linearly_to_the_base_rate() {
        let s = Schedule::new(ScheduleConfig::Constant { warmup: 2.0 }, 1.0, 5, 10);
        assert!((s.rate(0) - 0.1).abs() < 1e-12 && (s.rate(4) - 0.5).abs() < 1e-12);
        assert_eq!((s.rate(9), s.rate(49)), (1.0, 1.0));
    }

    #[test]
    fn cosine_ends_at_its_minimum() {
        let s = Schedule::new(ScheduleConfig::Cosine { warmup: 0.0, minimum: 0.1 }, 2.0, 10, 3);
        assert_eq!(s.rate(0), 2.0);
        assert!((s.rate(29) - 0.2).abs() < 1e-12);
        assert!((0..29).all(|i| s.rate(i) >= s.rate(i + 1)));
    }

    #[test]
    fn steps_reduce_by_their_factor() {
        let s = Schedule::new(ScheduleConfig::Step { warmup: 0.0, every: 2, factor: 0.5 }, 1.0, 3, 6);
        assert_eq!((s.rate(5), s.rate(6), s.rate(12)), (1.0, 0.5, 0.25));
    }
}
