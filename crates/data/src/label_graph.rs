//! How labels come together.

use crate::LabelRows;

/// The label graph: `A_ab = ½ (P(a|b) + P(b|a))`, with zero diagonal.
///
/// Source: arXiv 2403.18192, §3.4; the same graph leads CLIF's label embeddings (Hang and Zhang, TPAMI 2022).
#[derive(Debug, Clone, PartialEq)]
pub struct LabelGraph {
    starts: Vec<usize>,
    /// Label and A of each edge; within a label ascending.
    edges: Vec<(u32, f64)>,
}

impl LabelGraph {
    /// Counts which labels instances carry together.
    pub fn new(labels: &LabelRows) -> Self {
        Self::strongest(labels, usize::MAX)
    }

    /// The same with only the `keep` strongest neighbours of each label.
    pub fn strongest(labels: &LabelRows, keep: usize) -> Self {
        let counts = labels.counts();
        let (mut starts, mut edges) = (vec![0], Vec::new());
        let mut together = vec![0u32; labels.columns()];
        for (a, instances) in labels.by_label().iter().enumerate() {
            let mut touched = Vec::new();
            for &b in instances.iter().flat_map(|&i| labels.row(i as usize)).filter(|b| **b as usize != a) {
                if together[b as usize] == 0 {
                    touched.push(b);
                }
                together[b as usize] += 1;
            }
            let mut own: Vec<(u32, f64)> = touched
                .into_iter()
                .map(|b| {
                    let n = f64::from(std::mem::take(&mut together[b as usize]));
                    (b, 0.5 * (n / counts[b as usize] as f64 + n / counts[a] as f64))
                })
                .collect();
            own.sort_unstable_by(|x, y| y.1.total_cmp(&x.1).then(x.0.cmp(&y.0)));
            own.truncate(keep);
            own.sort_unstable_by_key(|e| e.0);
            edges.extend(own);
            starts.push(edges.len());
        }
        Self { starts, edges }
    }

    /// Number of labels.
    pub fn labels(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of edges, each counted from both ends.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// Neighbours of label `a` with their A, ascending.
    pub fn of(&self, a: u32) -> &[(u32, f64)] {
        &self.edges[self.span(a)]
    }

    /// Where the edges of label `a` stand among all.
    pub fn span(&self, a: u32) -> std::ops::Range<usize> {
        self.starts[a as usize]..self.starts[a as usize + 1]
    }

    /// A as a matrix `[labels, labels]`, row by row.
    pub fn dense(&self) -> Vec<f32> {
        let labels = self.labels();
        let mut out = vec![0.0; labels * labels];
        for a in 0..labels {
            self.of(a as u32).iter().for_each(|&(b, weight)| out[a * labels + b as usize] = weight as f32);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_symmetric_and_holds_every_edge() {
        let mut labels = LabelRows::new(5);
        for row in [&[0u32, 1][..], &[1, 2, 4], &[0, 1, 2], &[], &[4]] {
            labels.push(row);
        }
        let graph = LabelGraph::new(&labels);
        let matrix = graph.dense();
        for a in 0..5 {
            assert_eq!(matrix[a * 5 + a], 0.0);
            (0..5).for_each(|b| assert_eq!(matrix[a * 5 + b], matrix[b * 5 + a]));
        }
        // Together twice; label 0 comes twice, label 1 three times.
        assert_eq!(matrix[1], (0.5 * (2.0 / 3.0 + 2.0 / 2.0)) as f32);
        assert_eq!((graph.labels(), graph.edges()), (5, matrix.iter().filter(|v| **v > 0.0).count()));
        assert!(graph.of(3).is_empty());
    }
}
