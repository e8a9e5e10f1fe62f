//! How labels come together: the graph that chains follow.

use data::LabelRows;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Neighbours kept of each label: the strongest ones.
const KEPT: usize = 64;

/// Draws before the unused neighbours are summed.
const TRIES: usize = 8;

/// `A_ab = ½ (P(a|b) + P(b|a))`, zero diagonal, the strongest neighbours of each label.
///
/// Source: arXiv 2403.18192, §3.4.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelGraph {
    starts: Vec<usize>,
    /// Label and A of each edge; within a label ascending.
    edges: Vec<(u32, f64)>,
    /// Sum of the A of a label's edges up to and with each.
    sums: Vec<f64>,
}

impl LabelGraph {
    /// Counts which labels instances carry together.
    pub fn new(labels: &LabelRows) -> Self {
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
            own.truncate(KEPT);
            own.sort_unstable_by_key(|e| e.0);
            edges.extend(own);
            starts.push(edges.len());
        }
        let mut sums = Vec::with_capacity(edges.len());
        for span in starts.windows(2) {
            let running = edges[span[0]..span[1]].iter().scan(0.0, |sum, e| {
                *sum += e.1;
                Some(*sum)
            });
            sums.extend(running);
        }
        Self { starts, edges, sums }
    }

    /// Neighbours of label `a` with their A.
    pub fn of(&self, a: u32) -> &[(u32, f64)] {
        &self.edges[self.starts[a as usize]..self.starts[a as usize + 1]]
    }

    /// A neighbour of `a` that is not used, drawn with a probability proportional to A.
    ///
    /// Used ones that come up are drawn again; where that takes too long, those left are summed.
    pub(super) fn draw(&self, a: u32, is_used: impl Fn(u32) -> bool, rng: &mut ChaCha8Rng) -> Option<u32> {
        let edges = self.of(a);
        let sums = &self.sums[self.starts[a as usize]..self.starts[a as usize + 1]];
        let all = *sums.last()?;
        for _ in 0..TRIES {
            let at = rng.random::<f64>() * all;
            let (label, _) = edges[sums.partition_point(|s| *s <= at).min(edges.len() - 1)];
            if !is_used(label) {
                return Some(label);
            }
        }
        let free = || edges.iter().filter(|e| !is_used(e.0));
        let total: f64 = free().map(|e| e.1).sum();
        if total <= 0.0 {
            return None;
        }
        let mut left = rng.random::<f64>() * total;
        // Rounding may leave a little at the end: the last one takes it.
        free()
            .find(|e| {
                left -= e.1;
                left < 0.0
            })
            .or_else(|| free().next_back())
            .map(|e| e.0)
    }
}
