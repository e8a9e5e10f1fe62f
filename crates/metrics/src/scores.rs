//! Scores of instances and labels: all of them, or the best of each instance.

use rayon::prelude::*;

use data::LabelRows;

/// A number that scores are made of.
pub trait Score: Copy + PartialOrd + Into<f64> + Send + Sync {}
impl Score for f32 {}
impl Score for f64 {}

/// Scores `[instances, labels]`.
#[derive(Debug, Clone)]
pub enum Scores<S = f32> {
    /// Every score, row by row.
    Dense {
        /// Number of labels.
        columns: usize,
        /// `instances × labels` values.
        values: Vec<S>,
    },
    /// The best labels of each instance, best first; all others rank below them.
    Top {
        /// Number of labels.
        columns: usize,
        /// Label and score, best first, ties by lower label index.
        rows: Vec<Vec<(u32, S)>>,
    },
}

impl<S: Score> Scores<S> {
    /// Number of instances.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense { columns, values } => values.len() / (*columns).max(1),
            Self::Top { rows, .. } => rows.len(),
        }
    }

    /// True without any instance.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of labels.
    pub fn columns(&self) -> usize {
        match self {
            Self::Dense { columns, .. } | Self::Top { columns, .. } => *columns,
        }
    }

    /// The `k` best labels of instance `i`, best first; equal scores in the order of their labels.
    pub fn top(&self, i: usize, k: usize) -> Vec<(u32, S)> {
        match self {
            Self::Top { rows, .. } => rows[i][..k.min(rows[i].len())].to_vec(),
            Self::Dense { columns, values } => top_of(&values[i * columns..(i + 1) * columns], k),
        }
    }

    /// The labels of each instance whose score reaches its threshold.
    ///
    /// `thresholds` has one value for all labels or one a label.
    pub fn decide(&self, thresholds: &[f64]) -> LabelRows {
        let threshold = |l: usize| if thresholds.len() == 1 { thresholds[0] } else { thresholds[l] };
        let rows: Vec<Vec<u32>> = (0..self.len())
            .into_par_iter()
            .map(|i| match self {
                Self::Dense { columns, values } => {
                    let row = &values[i * columns..(i + 1) * columns];
                    (0..*columns).filter(|&l| row[l].into() >= threshold(l)).map(|l| l as u32).collect()
                }
                Self::Top { rows, .. } => {
                    let reached = rows[i].iter().filter(|(l, s)| (*s).into() >= threshold(*l as usize));
                    let mut labels: Vec<u32> = reached.map(|e| e.0).collect();
                    labels.sort_unstable();
                    labels
                }
            })
            .collect();
        self.as_labels(&rows)
    }

    /// The `k` best labels of each instance.
    pub fn best(&self, k: usize) -> LabelRows {
        let best = |i: usize| {
            let mut labels: Vec<u32> = self.top(i, k).iter().map(|e| e.0).collect();
            labels.sort_unstable();
            labels
        };
        let rows: Vec<Vec<u32>> = (0..self.len()).into_par_iter().map(best).collect();
        self.as_labels(&rows)
    }

    fn as_labels(&self, rows: &[Vec<u32>]) -> LabelRows {
        let mut out = LabelRows::new(self.columns());
        rows.iter().for_each(|r| out.push(r));
        out
    }
}

/// Total order of two entries: higher score first, then lower label.
pub(crate) fn better<S: Score>(a: &(u32, S), b: &(u32, S)) -> std::cmp::Ordering {
    b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal).then(a.0.cmp(&b.0))
}

/// The `k` best entries of one row, best first.
pub(crate) fn top_of<S: Score>(row: &[S], k: usize) -> Vec<(u32, S)> {
    let mut entries: Vec<(u32, S)> = (0..).zip(row.iter().copied()).collect();
    if k < entries.len() {
        if k == 0 {
            return Vec::new();
        }
        entries.select_nth_unstable_by(k - 1, better);
        entries.truncate(k);
    }
    entries.sort_unstable_by(better);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_rank_by_label_index() {
        let scores = Scores::Dense { columns: 4, values: vec![0.5f32, 0.7, 0.7, 0.5] };
        let order: Vec<u32> = scores.top(0, 4).iter().map(|e| e.0).collect();
        assert_eq!(order, [1, 2, 0, 3]);
        assert_eq!(scores.top(0, 1)[0].0, 1);
        assert!(scores.top(0, 0).is_empty());
    }

    #[test]
    fn a_score_at_its_threshold_is_decided_for() {
        let scores = Scores::Dense { columns: 2, values: vec![0.5f32, 0.4, 0.2, 0.9] };
        assert_eq!(scores.decide(&[0.5]).rows().collect::<Vec<_>>(), [&[0u32][..], &[1]]);
        assert_eq!(scores.decide(&[0.1, 0.95]).rows().collect::<Vec<_>>(), [&[0u32][..], &[0]]);
    }
}
