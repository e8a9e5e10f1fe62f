//! Losses on host memory: values and the gradient by the logits in one pass, on all threads and in vector instructions.
//!
//! Each loss keeps its kernel beside its composed form, which is the reference in the tests. A kernel sees the logits of
//! one instance, all labels taken as absent first; the few present ones are put right after it.

use data::LabelRows;
use host::simd::{self, LANES, each};
use rayon::prelude::*;

use crate::logits::NEVER;

/// The fast form of a loss.
pub enum Fused<'a> {
    /// Instance by instance.
    Rows(&'a dyn RowLoss),
    /// Instances depend on each other.
    Batch(&'a dyn BatchLoss),
}

/// What one pass over a batch gives.
#[derive(Debug, Clone, PartialEq)]
pub struct FusedValues {
    /// Loss of each instance, the sum of its parts, `[batch]`.
    pub per_instance: Vec<f32>,
    /// Parts, instance weights applied, `[batch, parts]`.
    pub parts: Vec<f32>,
    /// Their names.
    pub names: &'static [&'static str],
}

/// One instance before a kernel.
pub struct Row<'a> {
    /// Logits `[labels]`; their gradient after the kernel.
    pub values: &'a mut [f32],
    /// Labels it carries, ascending.
    pub present: &'a [u32],
    /// Weight of each label's part, `[labels]`; none: 1.
    pub weights: Option<&'a [f32]>,
    /// Factor on the gradient.
    pub scale: f32,
}

/// A loss of instances that do not depend on each other.
pub trait RowLoss: Send + Sync {
    /// Names of the parts that an instance's loss is the sum of.
    fn parts(&self) -> &'static [&'static str];

    /// Parts of one instance into `parts`; its logits become `scale · ∂L/∂z`.
    fn row(&self, row: Row, parts: &mut [f32]);
}

/// A loss over a whole batch.
pub trait BatchLoss: Send + Sync {
    /// Names of the parts that an instance's loss is the sum of.
    fn parts(&self) -> &'static [&'static str];

    /// Parts of all instances into `parts` `[batch, parts]`; logits `[batch, labels]` become `scale · ∂(Σ_i L_i)/∂z`.
    fn batch(&self, logits: &mut [f32], targets: &LabelRows, scale: f32, parts: &mut [f32]);
}

/// Turns the logits of a batch into `scale · ∂(Σ_i L_i)/∂z`, and returns the losses.
///
/// `weights`: of each label's part, for a loss of instances that are independent of each other; none: 1.
///
/// Shapes: `logits` `[targets.len(), labels]`, `weights` `[labels]`.
pub fn fused_pass(
    loss: &Fused,
    logits: &mut [f32],
    targets: &LabelRows,
    weights: Option<&[f32]>,
    scale: f32,
) -> FusedValues {
    let labels = targets.columns().max(1);
    let names = match loss {
        Fused::Rows(rows) => rows.parts(),
        Fused::Batch(batch) => batch.parts(),
    };
    let mut parts = vec![0.0; targets.len() * names.len()];
    match loss {
        Fused::Rows(loss) => {
            // Enough work for a thread to be worth waking.
            let few = ((1 << 14) / labels).max(1);
            let rows = logits.par_chunks_exact_mut(labels).zip(parts.par_chunks_exact_mut(names.len().max(1)));
            rows.enumerate().with_min_len(few).for_each(|(i, (values, parts))| {
                loss.row(Row { values, present: targets.row(i), weights, scale }, parts);
            });
        }
        Fused::Batch(loss) => loss.batch(logits, targets, scale, &mut parts),
    }
    let per_instance = parts.chunks(names.len().max(1)).map(|p| p.iter().sum()).collect();
    FusedValues { per_instance, parts, names }
}

/// A loss that is a function of each logit alone.
pub(crate) trait Element {
    /// Value and derivative by the logit of an absent label; both 0 at minus infinity.
    fn absent(&self, z: f32) -> (f32, f32);

    /// The same of present label `label`.
    fn present(&self, z: f32, label: usize) -> (f32, f32);
}

/// The kernel of an elementwise loss; returns the sum of its values.
pub(crate) fn elements(loss: &impl Element, row: Row) -> f32 {
    let Row { values, present, weights, scale } = row;
    let kept = set_aside(values, present);
    let sums = simd::vectorised(
        #[inline(always)]
        || {
            let mut sums = [0.0; LANES];
            match weights {
                None => each(
                    values,
                    #[inline(always)]
                    |v, lane| {
                        let (value, slope) = loss.absent(*v);
                        sums[lane] += value;
                        *v = slope * scale;
                    },
                ),
                Some(weights) => simd::each_with(
                    values,
                    weights,
                    #[inline(always)]
                    |v, w, lane| {
                        let (value, slope) = loss.absent(*v);
                        sums[lane] += value * w;
                        *v = slope * scale * w;
                    },
                ),
            }
            sums
        },
    );
    let mut sum = simd::sum_lanes(&sums);
    for (&l, z) in present.iter().zip(kept) {
        let l = l as usize;
        let (value, slope) = loss.present(z, l);
        let weight = weights.map_or(1.0, |w| w[l]);
        sum += value * weight;
        values[l] = slope * scale * weight;
    }
    sum
}

/// Logits of present labels, each replaced by minus infinity: as absent labels they then cost nothing.
pub(crate) fn set_aside(values: &mut [f32], present: &[u32]) -> Vec<f32> {
    present.iter().map(|&l| std::mem::replace(&mut values[l as usize], NEVER as f32)).collect()
}

/// `x^γ`, where `ln x` is at hand; by multiplication where G is γ, `G = ANY`: any γ.
#[inline(always)]
pub(crate) fn power<const G: u8>(x: f32, ln_x: f32, gamma: f32) -> f32 {
    match G {
        0 => 1.0,
        1 => x,
        2 => x * x,
        4 => (x * x) * (x * x),
        _ => simd::exp(gamma * ln_x),
    }
}

/// Stands for a γ that is no small whole number.
pub(crate) const ANY: u8 = u8::MAX;

/// Value and derivative by x of `σ(x)^γ softplus(x)`: the loss of an absent label at logit x, focused.
#[inline(always)]
pub(crate) fn focused<const G: u8>(x: f32, gamma: f32) -> (f32, f32) {
    let (plain, q) = simd::softplus_and_sigmoid(x);
    let factor = power::<G>(q, x - plain, gamma);
    (factor * plain, factor * (q + gamma * (1.0 - q) * plain))
}
