//! Asynchronous successive halving: trials begin with few epochs, and of those that were looked at the best go on.
//!
//! Source: Li et al., "A system for massively parallel hyperparameter tuning", arXiv 1810.05934, algorithm 2.

use super::Places;
use super::spec::Halving;
use super::trials::Trial;
use crate::run_folder::Event;

/// How far each trial is, and who goes on.
#[derive(Debug)]
pub struct Ladder {
    /// Epochs of each rung, ascending; the last one is the whole training.
    rungs: Vec<usize>,
    factor: usize,
    up: bool,
    metric: String,
    trials: Vec<Climber>,
    /// The order in which trials begin: by their names, which are as good as drawn. In the order of a grid each might be
    /// better than those before it, and all would go on.
    order: Vec<usize>,
}

/// One trial on it: its data set, the values of the rungs it ended, and how many rungs it was sent to.
#[derive(Debug)]
struct Climber {
    data: String,
    ended: Vec<f64>,
    sent: usize,
}

impl Ladder {
    /// Of these trials, as far as their folders say.
    pub fn new(halving: &Halving, trials: &[Trial], metric: &str, places: &Places) -> Self {
        let most = trials.iter().map(|t| t.config.train.epochs).max().unwrap_or(1);
        let mut rungs = vec![halving.first.min(most)];
        while rungs[rungs.len() - 1] < most {
            rungs.push((rungs[rungs.len() - 1] * halving.factor).min(most));
        }
        let mut order: Vec<usize> = (0..trials.len()).collect();
        order.sort_by(|&a, &b| trials[a].id.cmp(&trials[b].id));
        let up = metrics::direction(metric) == Ok(metrics::Direction::Up);
        let mut out = Self { rungs, factor: halving.factor, up, metric: metric.to_owned(), trials: Vec::new(), order };
        for trial in trials {
            let events = events(places, &trial.id);
            let ended: Vec<f64> = out.rungs.iter().map_while(|r| out.value(&events, *r)).collect();
            let sent = ended.len();
            out.trials.push(Climber { data: trial.data.clone(), ended, sent });
        }
        out
    }

    /// Epochs of a rung.
    pub fn epochs(&self, rung: usize) -> usize {
        self.rungs[rung]
    }

    /// The best value of the first `epochs` epochs; none before they are over.
    fn value(&self, events: &[Event], epochs: usize) -> Option<f64> {
        let seen = events.get(..epochs)?;
        let values = seen.iter().filter_map(|e| e.validation.as_ref()?.get(&self.metric)?.as_f64());
        values.reduce(|a, b| if self.up { a.max(b) } else { a.min(b) })
    }

    /// The next trial and rung to run; none while nobody may go on.
    pub fn climb(&mut self) -> Option<(usize, usize)> {
        for rung in (0..self.rungs.len() - 1).rev() {
            let candidate =
                (0..self.trials.len()).find(|&t| self.trials[t].sent == rung + 1 && self.may_go_on(t, rung));
            if let Some(t) = candidate {
                self.trials[t].sent += 1;
                return Some((t, rung + 1));
            }
        }
        let fresh = self.order.iter().copied().find(|&t| self.trials[t].sent == 0)?;
        self.trials[fresh].sent = 1;
        Some((fresh, 0))
    }

    /// Among the best share of those of its data set that ended this rung.
    fn may_go_on(&self, t: usize, rung: usize) -> bool {
        let Some(own) = self.trials[t].ended.get(rung) else { return false };
        let others = self.trials.iter().enumerate().filter(|(_, o)| o.data == self.trials[t].data);
        let values: Vec<(usize, f64)> = others.filter_map(|(i, o)| Some((i, *o.ended.get(rung)?))).collect();
        // Of equal ones the first counts as better.
        let is_better = |i: usize, v: f64| (if self.up { v > *own } else { v < *own }) || (v == *own && i < t);
        values.iter().filter(|(i, v)| is_better(*i, *v)).count() < values.len() / self.factor
    }

    /// Takes note of a rung that ended; a trial without a value goes no further.
    pub fn ended(&mut self, t: usize, rung: usize, places: &Places, id: &str) {
        let worst = if self.up { f64::NEG_INFINITY } else { f64::INFINITY };
        let value = self.value(&events(places, id), self.rungs[rung]).unwrap_or(worst);
        self.trials[t].ended.push(value);
    }
}

fn events(places: &Places, id: &str) -> Vec<Event> {
    let text = std::fs::read_to_string(places.run(id).join("events.jsonl")).unwrap_or_default();
    text.lines().map_while(|l| serde_json::from_str(l).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(trials: usize) -> Ladder {
        let climber = |_| Climber { data: String::new(), ended: Vec::new(), sent: 0 };
        let order = (0..trials).map(|i| i * 4 % trials).collect();
        let trials = (0..trials).map(climber).collect();
        Ladder { rungs: vec![1, 3, 9], factor: 3, up: true, metric: "f1_macro".into(), trials, order }
    }

    #[test]
    fn the_best_third_goes_on_and_the_best_of_it_again() {
        let mut ladder = ladder(9);
        let mut order = Vec::new();
        while let Some((t, rung)) = ladder.climb() {
            ladder.trials[t].ended.push(t as f64);
            order.push((t, rung));
        }
        let at = |rung: usize| order.iter().filter(|o| o.1 == rung).map(|o| o.0).collect::<Vec<_>>();
        // They begin as 0, 4, 8, 3, 7, 2, 6, 1, 5.
        assert_eq!(at(0), [0, 4, 8, 3, 7, 2, 6, 1, 5]);
        // The best of the first three goes on at once, one more when six ended, the third when all did.
        assert_eq!((at(1), at(2)), (vec![8, 7, 6], vec![8]), "{order:?}");
    }
}
