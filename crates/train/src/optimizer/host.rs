//! Updates on host memory: in place, in blocks on all threads, and for gradients of rows only where there is one.

use std::collections::BTreeMap;

use model::layers::rows::RowGradient;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What happens to rows of the first layer that no instance of a batch names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Nothing: neither moments nor weights change until a batch names the row, and weight decay waits too.
    #[default]
    Lazy,
    /// What an update with gradient 0 does to them, made up for when they are named next: the numbers of a dense update.
    Exact,
}

/// One step of an update rule.
///
/// `slots` are the rule's arrays of the same values; every rule has a fixed number of them.
pub(super) trait Rule: Sync {
    /// What a row missed while it had no gradient.
    type Missed: Sync;

    /// With a gradient.
    fn update(&self, values: &mut [f32], slots: &mut [&mut [f32]], gradient: &[f32]);

    /// With gradient 0.
    fn idle(&self, values: &mut [f32], slots: &mut [&mut [f32]]);

    /// What happened with gradient 0 after step `since` and before this one; none where nothing did, or where an update
    /// with gradient 0 has no closed form and every step has to be taken.
    fn missed(&self, history: &History, since: u64) -> Option<Self::Missed>;

    /// Makes up for it.
    fn catch_up(&self, missed: &Self::Missed, values: &mut [f32], slots: &mut [&mut [f32]]);

    /// True where gradient 0 changes nothing that [`Self::missed`] could not make up for.
    fn can_wait(&self) -> bool;
}

/// The numbers of past steps that rows may have missed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct History {
    /// Number of the step before the first of `steps`.
    pub base: u64,
    /// Learning rates, one a step.
    pub learning_rates: Vec<f64>,
}

impl History {
    /// Steps after `since` with their learning rates.
    pub(super) fn after(&self, since: u64) -> impl Iterator<Item = (u64, f64)> + '_ {
        let skip = since.saturating_sub(self.base) as usize;
        let first = self.base + skip as u64 + 1;
        (first..).zip(self.learning_rates.iter().copied().skip(skip))
    }
}

/// Values that a thread takes at once, at least.
const FEW: usize = 1 << 14;

/// Consecutive rows of a parameter and of its slots.
struct Block<'a> {
    first_row: usize,
    values: &'a mut [f32],
    slots: Vec<&'a mut [f32]>,
}

/// Cuts values and slots at the same rows, into some blocks for every thread.
fn blocks<'a>(values: &'a mut [f32], slots: &'a mut [Vec<f32>], width: usize) -> Vec<Block<'a>> {
    let width = width.max(1);
    let pieces = 4 * rayon::current_num_threads();
    let rows = (values.len() / width).div_ceil(pieces).max(FEW.div_ceil(width)).max(1);
    let mut slots: Vec<_> = slots.iter_mut().map(|s| s.chunks_mut(rows * width)).collect();
    let blocks = values.chunks_mut(rows * width).enumerate();
    blocks
        .map(|(b, values)| Block {
            first_row: b * rows,
            values,
            slots: slots.iter_mut().filter_map(Iterator::next).collect(),
        })
        .collect()
}

/// Every value has a gradient.
pub(super) fn update_all(rule: &impl Rule, values: &mut [f32], slots: &mut [Vec<f32>], gradient: &[f32]) {
    blocks(values, slots, 1).into_par_iter().for_each(|block| {
        let Block { first_row, values, mut slots } = block;
        let gradient = &gradient[first_row..][..values.len()];
        host::simd::vectorised(
            #[inline(always)]
            || rule.update(values, &mut slots, gradient),
        );
    });
}

/// The rows of a block that have a gradient, with it and with their values and slots.
fn touched<'b>(
    block: &'b mut Block,
    gradient: &'b RowGradient,
    mut each: impl FnMut(usize, &mut [f32], &mut [&mut [f32]], &[f32]),
) {
    let width = gradient.width.max(1);
    let rows = block.values.len() / width;
    let from = gradient.rows.partition_point(|&r| (r as usize) < block.first_row);
    for (k, &r) in gradient.rows.iter().enumerate().skip(from) {
        let r = r as usize - block.first_row;
        if r >= rows {
            break;
        }
        let range = r * width..(r + 1) * width;
        let mut own: Vec<&mut [f32]> = block.slots.iter_mut().map(|s| &mut s[range.clone()]).collect();
        each(r, &mut block.values[range.clone()], &mut own, &gradient.values[k * width..][..width]);
    }
}

/// Rows without a gradient stay as they are.
pub(super) fn update_touched(rule: &impl Rule, values: &mut [f32], slots: &mut [Vec<f32>], gradient: &RowGradient) {
    blocks(values, slots, gradient.width).into_par_iter().for_each(|mut block| {
        touched(&mut block, gradient, |_, values, slots, gradient| {
            host::simd::vectorised(
                #[inline(always)]
                || rule.update(values, slots, gradient),
            );
        });
    });
}

/// Rows without a gradient are updated with gradient 0.
pub(super) fn update_every_row(rule: &impl Rule, values: &mut [f32], slots: &mut [Vec<f32>], gradient: &RowGradient) {
    let width = gradient.width.max(1);
    blocks(values, slots, width).into_par_iter().for_each(|mut block| {
        let mut has_gradient = vec![false; block.values.len() / width];
        touched(&mut block, gradient, |r, values, slots, gradient| {
            has_gradient[r] = true;
            host::simd::vectorised(
                #[inline(always)]
                || rule.update(values, slots, gradient),
            );
        });
        for r in has_gradient.iter().enumerate().filter(|(_, has)| !**has).map(|(r, _)| r) {
            let range = r * width..(r + 1) * width;
            let mut own: Vec<&mut [f32]> = block.slots.iter_mut().map(|s| &mut s[range.clone()]).collect();
            let values = &mut block.values[range.clone()];
            host::simd::vectorised(
                #[inline(always)]
                || rule.idle(values, &mut own),
            );
        }
    });
}

/// Rows without a gradient wait, and those with one first make up for what they missed since their step of `last`.
pub(super) fn update_waiting(
    rule: &impl Rule,
    values: &mut [f32],
    slots: &mut [Vec<f32>],
    gradient: &RowGradient,
    (history, last, now): (&History, &mut [u32], u64),
) {
    let missed = missed_since(rule, history, gradient.rows.iter().map(|&r| last[r as usize]));
    let seen: &[u32] = last;
    blocks(values, slots, gradient.width).into_par_iter().for_each(|mut block| {
        let first_row = block.first_row;
        touched(&mut block, gradient, |r, values, slots, gradient| {
            host::simd::vectorised(
                #[inline(always)]
                || {
                    if let Some(missed) = missed.get(&seen[first_row + r]).and_then(Option::as_ref) {
                        rule.catch_up(missed, values, slots);
                    }
                    rule.update(values, slots, gradient);
                },
            );
        });
    });
    gradient.rows.iter().for_each(|&r| last[r as usize] = now as u32);
}

/// All rows make up for what they missed.
pub(super) fn catch_up_all(
    rule: &impl Rule,
    values: &mut [f32],
    slots: &mut [Vec<f32>],
    history: &History,
    last: &mut [u32],
) {
    let missed = missed_since(rule, history, last.iter().copied());
    let width = values.len() / last.len().max(1);
    let seen: &[u32] = last;
    blocks(values, slots, width).into_par_iter().for_each(|block| {
        let Block { first_row, values, mut slots } = block;
        for (r, values) in values.chunks_exact_mut(width.max(1)).enumerate() {
            if let Some(missed) = missed.get(&seen[first_row + r]).and_then(Option::as_ref) {
                let range = r * width..(r + 1) * width;
                let mut own: Vec<&mut [f32]> = slots.iter_mut().map(|s| &mut s[range.clone()]).collect();
                host::simd::vectorised(
                    #[inline(always)]
                    || rule.catch_up(missed, values, &mut own),
                );
            }
        }
    });
    last.fill((history.base + history.learning_rates.len() as u64) as u32);
}

/// What rows last updated at these steps missed, each step once.
fn missed_since<R: Rule>(rule: &R, history: &History, last: impl Iterator<Item = u32>) -> BTreeMap<u32, Option<R::Missed>> {
    let mut out = BTreeMap::new();
    for since in last {
        out.entry(since).or_insert_with(|| rule.missed(history, u64::from(since)));
    }
    out
}
