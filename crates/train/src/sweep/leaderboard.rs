//! Which settings are best, and which differences are more than chance.

use std::collections::{BTreeMap, HashMap};

use metrics::significance::{
    Friedman, average_ranks, critical_difference, friedman, holm, mean_and_deviation, wilcoxon,
};
use metrics::{Direction, direction};

use super::results::Finished;

/// Level of the tests.
const ALPHA: f64 = 0.05;

/// One setting's results.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its settings in words.
    pub label: String,
    /// For each data set mean, deviation and number of values; none where it has none.
    pub cells: Vec<Option<(f64, f64, usize)>>,
    /// Average rank over the data sets that all settings have; none without one.
    pub rank: Option<f64>,
    /// The best, or not distinguishable from it.
    pub among_best: bool,
}

/// Settings against each other.
#[derive(Debug, Clone)]
pub struct Leaderboard {
    /// What is compared.
    pub metric: String,
    /// Names of the data sets.
    pub data: Vec<String>,
    /// Best first.
    pub entries: Vec<Entry>,
    /// Over the data sets that all settings have, where there are two or more.
    pub friedman: Option<Friedman>,
    /// Nemenyi's at 0.05.
    pub critical_difference: Option<f64>,
    /// Data sets that all settings have.
    pub complete: usize,
    /// The best against each other one: its chance by the signed-rank test over data sets, seeds and folds, corrected.
    pub pairs: Vec<(String, f64)>,
}

/// A chance in words.
fn chance(p: f64) -> String {
    if p < 1e-4 { "p < 0.0001".into() } else { format!("p = {p:.4}") }
}

/// Where a value belongs: data set, seed, fold.
type Place<'a> = (&'a str, u64, Option<usize>);

impl Leaderboard {
    /// Of the finished trials; none where there are none with this metric.
    pub fn new(finished: &[Finished], metric: &str) -> Option<Self> {
        let up = direction(metric) != Ok(Direction::Down);
        let (mut labels, mut places) = (Vec::<String>::new(), HashMap::<String, usize>::new());
        let mut values: Vec<BTreeMap<Place, f64>> = Vec::new();
        let mut data: Vec<String> = Vec::new();
        for done in finished {
            let Some(value) = done.metric(metric).filter(|v| v.is_finite()) else { continue };
            let label = done.trial.label();
            let at = *places.entry(label).or_insert_with_key(|label| {
                labels.push(label.clone());
                values.push(BTreeMap::new());
                labels.len() - 1
            });
            values[at].insert((&done.trial.data, done.trial.seed, done.trial.fold), value);
            if !data.contains(&done.trial.data) {
                data.push(done.trial.data.clone());
            }
        }
        let of = |own: &BTreeMap<Place, f64>, set: &str| -> Vec<f64> {
            own.iter().filter(|(place, _)| place.0 == set).map(|(_, v)| *v).collect()
        };
        let cell = |own: &BTreeMap<Place, f64>, set: &String| {
            let values = of(own, set);
            let (mean, deviation) = mean_and_deviation(&values);
            (!values.is_empty()).then_some((mean, deviation, values.len()))
        };
        let mut entries: Vec<Entry> = labels
            .iter()
            .zip(&values)
            .map(|(label, own)| Entry {
                label: label.clone(),
                cells: data.iter().map(|set| cell(own, set)).collect(),
                rank: None,
                among_best: false,
            })
            .collect();
        if entries.is_empty() {
            return None;
        }
        let complete: Vec<usize> = (0..data.len()).filter(|d| entries.iter().all(|e| e.cells[*d].is_some())).collect();
        let table: Vec<Vec<f64>> =
            complete.iter().map(|&d| entries.iter().map(|e| e.cells[d].map_or(f64::NAN, |c| c.0)).collect()).collect();
        if !table.is_empty() {
            let ranks = average_ranks(&table, up);
            entries.iter_mut().zip(ranks).for_each(|(e, r)| e.rank = Some(r));
        }
        let mean = |e: &Entry| {
            let known: Vec<f64> = e.cells.iter().flatten().map(|c| if up { -c.0 } else { c.0 }).collect();
            known.iter().sum::<f64>() / known.len().max(1) as f64
        };
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|&a, &b| {
            let key = |i: usize| (entries[i].rank.unwrap_or(f64::INFINITY), mean(&entries[i]));
            let ((rank_a, mean_a), (rank_b, mean_b)) = (key(a), key(b));
            rank_a.total_cmp(&rank_b).then(mean_a.total_cmp(&mean_b))
        });
        let (others, best) = (&order[1..], &values[order[0]]);
        // Pairs of the same data set, seed and fold.
        let chances: Vec<f64> = others
            .iter()
            .map(|&o| {
                let both = best.iter().filter_map(|(place, a)| Some((*a, *values[o].get(place)?)));
                let (a, b): (Vec<f64>, Vec<f64>) = both.unzip();
                wilcoxon(&a, &b).map_or(1.0, |w| w.p)
            })
            .collect();
        let corrected = holm(&chances);
        let pairs: Vec<(String, f64)> =
            others.iter().map(|&o| labels[o].clone()).zip(corrected.iter().copied()).collect();
        let critical = critical_difference(entries.len(), complete.len(), ALPHA).filter(|_| complete.len() > 1);
        let friedman = friedman(&table, up);
        let top = entries[order[0]].rank;
        for (k, &i) in order.iter().enumerate() {
            // Over several data sets by ranks, on one by pairs of seeds and folds.
            entries[i].among_best = k == 0
                || match (critical, entries[i].rank, top) {
                    (Some(critical), Some(rank), Some(top)) => rank - top < critical,
                    _ => corrected[k - 1] >= ALPHA,
                };
        }
        let entries = order.into_iter().map(|i| entries[i].clone()).collect();
        let (metric, complete) = (metric.to_owned(), complete.len());
        Some(Self { metric, data, entries, friedman, critical_difference: critical, complete, pairs })
    }

    /// What the tests say, in words.
    pub fn words(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(f) = &self.friedman {
            out.push(format!(
                "Friedman over {} data sets: χ² = {:.3}, {}; Iman-Davenport F = {:.3}, {}",
                self.complete,
                f.chi_squared,
                chance(f.p_chi_squared),
                f.f,
                chance(f.p_f)
            ));
        }
        if let Some(critical) = self.critical_difference {
            out.push(format!("Nemenyi: ranks that differ by less than {critical:.3} are not distinguishable (0.05)"));
        }
        if let Some((label, p)) = self.pairs.iter().find(|p| p.1 < ALPHA) {
            let best = &self.entries[0].label;
            let many = self.pairs.iter().filter(|p| p.1 < ALPHA).count();
            out.push(format!(
                "Wilcoxon over data sets, seeds and folds, with Holm's correction: {best} differs from {many} of {} others \
                 at 0.05, the closest of them {label} ({})",
                self.pairs.len(),
                chance(*p)
            ));
        } else if !self.pairs.is_empty() {
            out.push("Wilcoxon over data sets, seeds and folds, with Holm's correction: nothing differs from the best at 0.05".into());
        }
        out
    }
}
