//! Updates on host memory: in place, in blocks on all threads, and for gradients of rows only where there is one.

use std::collections::BTreeMap;

use model::ColumnGradient;
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
    /// Number of the last step.
    pub(super) fn now(&self) -> u64 {
        self.base + self.learning_rates.len() as u64
    }

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

impl Block<'_> {
    /// Values and slots of its row `r`.
    fn row(&mut self, r: usize, width: usize) -> (&mut [f32], Vec<&mut [f32]>) {
        let range = r * width..(r + 1) * width;
        let slots = self.slots.iter_mut().map(|s| &mut s[range.clone()]).collect();
        (&mut self.values[range.clone()], slots)
    }
}

/// Cuts values and slots at the same rows, into some blocks for every thread.
fn blocks<'a>(values: &'a mut [f32], slots: &'a mut [Vec<f32>], width: usize) -> Vec<Block<'a>> {
    let width = width.max(1);
    blocks_of(values, slots, width, FEW.div_ceil(width))
}

/// The same, of `few` rows at least.
fn blocks_of<'a>(values: &'a mut [f32], slots: &'a mut [Vec<f32>], width: usize, few: usize) -> Vec<Block<'a>> {
    let pieces = 4 * rayon::current_num_threads();
    let rows = (values.len() / width).div_ceil(pieces).max(few).max(1);
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

/// `each(k, values, slots)` for the rows `rows[k]` of a block, with their values and slots.
fn named(block: &mut Block, rows: &[u32], width: usize, mut each: impl FnMut(usize, &mut [f32], &mut [&mut [f32]])) {
    let width = width.max(1);
    let len = block.values.len() / width;
    let from = rows.partition_point(|&r| (r as usize) < block.first_row);
    for (k, &r) in rows.iter().enumerate().skip(from) {
        let r = r as usize - block.first_row;
        if r >= len {
            break;
        }
        let (values, mut slots) = block.row(r, width);
        each(k, values, &mut slots);
    }
}

/// Updates the rows of a block that have a gradient.
fn update_named(rule: &impl Rule, block: &mut Block, gradient: &RowGradient) {
    named(block, &gradient.rows, gradient.width, |k, values, slots| {
        let gradient = &gradient.values[k * values.len()..][..values.len()];
        host::simd::vectorised(
            #[inline(always)]
            || rule.update(values, slots, gradient),
        );
    });
}

/// Rows without a gradient stay as they are.
pub(super) fn update_touched(rule: &impl Rule, values: &mut [f32], slots: &mut [Vec<f32>], gradient: &RowGradient) {
    let blocks = blocks(values, slots, gradient.width);
    blocks.into_par_iter().for_each(|mut block| update_named(rule, &mut block, gradient));
}

/// Columns without a gradient stay as they are.
pub(super) fn update_columns(rule: &impl Rule, values: &mut [f32], slots: &mut [Vec<f32>], gradient: &ColumnGradient) {
    let (columns, width) = (&gradient.columns, gradient.width.max(1));
    let blocks = blocks_of(values, slots, width, FEW.div_ceil(columns.len().max(1)));
    blocks.into_par_iter().for_each(|mut block| {
        // A row's columns side by side: the rule's loop is then the same as everywhere.
        let mut own = vec![vec![0.0; columns.len()]; 1 + block.slots.len()];
        for r in 0..block.values.len() / width {
            let line = r * width..(r + 1) * width;
            let gradient = &gradient.values[(block.first_row + r) * columns.len()..][..columns.len()];
            let (head, rest) = own.split_at_mut(1);
            gather(&block.values[line.clone()], columns, &mut head[0]);
            rest.iter_mut().zip(&block.slots).for_each(|(own, slot)| gather(&slot[line.clone()], columns, own));
            let mut views: Vec<&mut [f32]> = rest.iter_mut().map(Vec::as_mut_slice).collect();
            host::simd::vectorised(
                #[inline(always)]
                || rule.update(&mut head[0], &mut views, gradient),
            );
            scatter(&head[0], columns, &mut block.values[line.clone()]);
            rest.iter().zip(&mut block.slots).for_each(|(own, slot)| scatter(own, columns, &mut slot[line.clone()]));
        }
    });
}

fn gather(line: &[f32], columns: &[u32], out: &mut [f32]) {
    out.iter_mut().zip(columns).for_each(|(v, c)| *v = line[*c as usize]);
}

fn scatter(values: &[f32], columns: &[u32], line: &mut [f32]) {
    values.iter().zip(columns).for_each(|(v, c)| line[*c as usize] = *v);
}

/// The gradient of all columns.
pub(super) fn spread(gradient: &ColumnGradient) -> Vec<f32> {
    let (count, width) = (gradient.columns.len().max(1), gradient.width);
    let mut out = vec![0.0; gradient.values.len() / count * width];
    for (line, values) in out.chunks_exact_mut(width.max(1)).zip(gradient.values.chunks_exact(count)) {
        scatter(values, &gradient.columns, line);
    }
    out
}

/// Rows without a gradient are updated with gradient 0.
pub(super) fn update_every_row(rule: &impl Rule, values: &mut [f32], slots: &mut [Vec<f32>], gradient: &RowGradient) {
    let width = gradient.width.max(1);
    let nothing = vec![0.0; width];
    blocks(values, slots, width).into_par_iter().for_each(|mut block| {
        update_named(rule, &mut block, gradient);
        let mut next = gradient.rows.partition_point(|&r| (r as usize) < block.first_row);
        for r in 0..block.values.len() / width {
            if gradient.rows.get(next) == Some(&((block.first_row + r) as u32)) {
                next += 1;
                continue;
            }
            let (values, mut slots) = block.row(r, width);
            host::simd::vectorised(
                #[inline(always)]
                || rule.update(values, &mut slots, &nothing),
            );
        }
    });
}

/// The named rows make up for what they missed since their step of `last`.
pub(super) fn catch_up(
    rule: &impl Rule,
    values: &mut [f32],
    slots: &mut [Vec<f32>],
    rows: &[u32],
    (history, last): (&History, &mut [u32]),
) {
    let missed = missed_since(rule, history, rows.iter().map(|&r| last[r as usize]));
    let width = values.len() / last.len().max(1);
    let seen: &[u32] = last;
    blocks(values, slots, width).into_par_iter().for_each(|mut block| {
        named(&mut block, rows, width, |k, values, slots| {
            if let Some(missed) = missed.get(&seen[rows[k] as usize]).and_then(Option::as_ref) {
                host::simd::vectorised(
                    #[inline(always)]
                    || rule.catch_up(missed, values, slots),
                );
            }
        });
    });
    rows.iter().for_each(|&r| last[r as usize] = history.now() as u32);
}

/// What rows last updated at these steps missed, each step once.
fn missed_since<R: Rule>(
    rule: &R,
    history: &History,
    last: impl Iterator<Item = u32>,
) -> BTreeMap<u32, Option<R::Missed>> {
    let mut out = BTreeMap::new();
    for since in last {
        out.entry(since).or_insert_with(|| rule.missed(history, u64::from(since)));
    }
    out
}
