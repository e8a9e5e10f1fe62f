//! Rarity signals: how rare a label is in the training data, as a whole or among the instances that share one's terms.

use data::{FeatureRows, LabelRows};

use crate::TrainingCounts;

/// `IDF_l = ln((1 + N) / (1 + n_l))`: finite, `ln(1 + N)`, for a label without positives.
///
/// Source: arXiv 2505.03118, from the training set alone.
pub fn idf(counts: &TrainingCounts) -> Vec<f64> {
    let n = counts.instances as f64;
    counts.labels.iter().map(|&l| ((1.0 + n) / (1.0 + l as f64)).ln()).collect()
}

/// Rarity of each label among the training instances that share an instance's terms.
///
/// `R_il = Σ_t tf_it · ln((1 + n_t) / (1 + n_tl))`, with `n_t` the training instances that hold term t, `n_tl` those of
/// them that carry label l, and `tf_it = |x_it| / Σ_t |x_it|` the instance's own term frequencies. It is the IDF of the
/// label inside the sub-collection of each term, averaged by how much the instance speaks of the term: near 0 for
/// labels that come with the instance's terms, large for those that never do, and on the scale of [`idf`]. An instance
/// without terms has the IDF of the whole collection. A training instance is counted out of its own `n_t` and `n_tl`.
#[derive(Debug, Clone)]
pub struct TermRarity {
    /// Labels of term `t` are `starts[t]..starts[t + 1]`.
    starts: Vec<usize>,
    /// Label and `n_tl`, labels ascending.
    joint: Vec<(u32, u32)>,
    /// `n_t`.
    terms: Vec<u32>,
    idf: Vec<f32>,
    /// `ln(1 + n)` for every count n.
    logs: Vec<f32>,
}

impl TermRarity {
    /// Counts terms and labels of the training rows.
    pub fn new(features: &FeatureRows, labels: &LabelRows, counts: &TrainingCounts) -> Self {
        let mut holders: Vec<Vec<u32>> = vec![Vec::new(); features.columns()];
        for i in 0..features.len() {
            let (terms, values) = features.row(i);
            terms.iter().zip(values).filter(|e| *e.1 != 0.0).for_each(|e| holders[*e.0 as usize].push(i as u32));
        }
        let (mut starts, mut joint) = (vec![0], Vec::new());
        let mut sums = vec![0u32; labels.columns()];
        for rows in &holders {
            let mut touched = Vec::new();
            for &l in rows.iter().flat_map(|&i| labels.row(i as usize)) {
                if sums[l as usize] == 0 {
                    touched.push(l);
                }
                sums[l as usize] += 1;
            }
            touched.sort_unstable();
            joint.extend(touched.iter().map(|&l| (l, std::mem::take(&mut sums[l as usize]))));
            starts.push(joint.len());
        }
        Self {
            starts,
            joint,
            terms: holders.iter().map(|h| h.len() as u32).collect(),
            idf: idf(counts).iter().map(|v| *v as f32).collect(),
            logs: (0..=counts.instances).map(|n| (n as f32).ln_1p()).collect(),
        }
    }

    /// `R_i` of one instance into `out` `[labels]`; `own`: its labels where it is a training instance.
    pub fn of(&self, terms: &[u32], values: &[f32], own: Option<&[u32]>, out: &mut [f32]) {
        let total: f32 = values.iter().map(|v| v.abs()).sum();
        if total == 0.0 {
            out.copy_from_slice(&self.idf);
            return;
        }
        let mut level = 0.0;
        out.fill(0.0);
        for (&t, &v) in terms.iter().zip(values).filter(|e| *e.1 != 0.0) {
            let (share, t) = (v.abs() / total, t as usize);
            level += share * self.logs[(self.terms[t] as usize).saturating_sub(usize::from(own.is_some()))];
            for &(l, n) in &self.joint[self.starts[t]..self.starts[t + 1]] {
                let itself = own.is_some_and(|o| o.binary_search(&l).is_ok());
                out[l as usize] -= share * self.logs[n as usize - usize::from(itself)];
            }
        }
        out.iter_mut().for_each(|r| *r += level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (FeatureRows, LabelRows, TrainingCounts) {
        let (mut features, mut labels) = (FeatureRows::new(3), LabelRows::new(2));
        for (row, truth) in [
            (&[(0, 1.0), (1, 3.0)][..], &[0u32][..]),
            (&[(0, 2.0)], &[0, 1]),
            (&[(1, 1.0), (2, 1.0)], &[]),
            (&[(0, 1.0)], &[]),
        ] {
            features.push(row);
            labels.push(truth);
        }
        let counts = TrainingCounts { labels: labels.counts(), negatives: 2, instances: 4 };
        (features, labels, counts)
    }

    #[test]
    fn a_new_instance_gets_the_rarity_among_those_that_share_its_terms() {
        let (features, labels, counts) = made();
        let rarity = TermRarity::new(&features, &labels, &counts);
        let mut out = [0.0; 2];
        rarity.of(&[0, 2], &[1.0, 3.0], None, &mut out);
        // Term 0: three instances, two with label 0, one with label 1. Term 2: one instance without labels.
        let expected = [0.25 * (4f32 / 3.0).ln() + 0.75 * 2f32.ln(), 0.25 * (4f32 / 2.0).ln() + 0.75 * 2f32.ln()];
        out.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{out:?} {expected:?}"));
        rarity.of(&[], &[], None, &mut out);
        out.iter().zip(idf(&counts)).for_each(|(a, b)| assert!((f64::from(*a) - b).abs() < 1e-6));
    }

    #[test]
    fn a_training_instance_is_counted_out() {
        let (features, labels, counts) = made();
        let rarity = TermRarity::new(&features, &labels, &counts);
        let others: Vec<usize> = vec![0, 2, 3];
        let left = TrainingCounts { labels: labels.select(&others).counts(), negatives: 2, instances: 3 };
        let without = TermRarity::new(&features.select(&others), &labels.select(&others), &left);
        let (mut with, mut expected) = ([0.0; 2], [0.0; 2]);
        let (terms, values) = features.row(1);
        rarity.of(terms, values, Some(labels.row(1)), &mut with);
        without.of(terms, values, None, &mut expected);
        with.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{with:?} {expected:?}"));
    }
}
