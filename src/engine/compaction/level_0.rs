//! Plans for level 0, whose files overlap and are ordered by age.
//!
//! Two rules keep the recency invariant:
//! * Down goes, with each file, every older one of level 0 that overlaps it. Whole merges take the oldest files, up to the first that is
//!   busy; a file that overlaps no older one, busy or not, may be moved on its own.
//! * Within level 0 a run goes that is contiguous in age: no other file has numbers between those of the run.

use super::picker::{COMPACT_L0, Limits, Picker};
use super::plan::{Action, Plan, bounds, overlaps, run_of};
use crate::engine::pressure::SLOW_L0;
use crate::engine::tree::{Filed, Tree};
use crate::manifest::LEVELS;
use crate::planted::{self, Bug};

/// Tombstones of level 0 start a compaction when there is one for this many entries below: then a tombstone causes the
/// rewriting of at most so many.
const TOMBSTONES_SHARE: u64 = 4;

/// A compaction within level 0 takes so many files at least: fewer are not worth writing them once more.
const LEAST_WITHIN: usize = 4;

/// The most that a compaction within level 0 writes, in full files: it makes one file, whose filter is held in memory.
pub(crate) const MOST_WITHIN: u64 = 4;

/// Level 0 into the base: moves where possible, else a merge of what is free.
pub(super) fn into_base<T: Filed>(picker: &Picker<'_, T>, base: usize) -> Option<Plan<T>> {
    let tables = picker.tree.level(0);
    // Newest first: the oldest are at the end.
    let busy = tables.iter().rposition(|table| !picker.is_free(table));
    let oldest = tables.get(busy.map_or(0, |at| at + 1)..)?;
    moves(picker, base).or_else(|| {
        let mut inputs: Vec<(usize, T)> = oldest.iter().map(|table| (0, table.clone())).collect();
        if planted::is(Bug::LevelZeroNotContiguous) {
            inputs = inputs.into_iter().step_by(2).collect();
        }
        let (least, greatest) = bounds(oldest.iter())?;
        let meets = picker.tree.overlapping(base, &least, &greatest);
        inputs.extend(run_of(picker.tree, base, meets));
        let plan = Plan::new(Action::Merge, inputs, base)?;
        picker.claims.permits(&plan).then_some(plan)
    })
}

/// Files that can lie in the base as they are: none overlaps an older one of level 0, so they do not overlap each other either.
fn moves<T: Filed>(picker: &Picker<'_, T>, base: usize) -> Option<Plan<T>> {
    let tables = picker.tree.level(0);
    let mut inputs = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let (least, greatest) = (&table.meta().min_key, &table.meta().max_key);
        let older = tables.get(at + 1..).unwrap_or_default();
        let over_older = older.iter().any(|older| overlaps(older, least, greatest));
        if !over_older && picker.is_free(table) && picker.can_move(0, base, std::slice::from_ref(table)) {
            inputs.push((0, table.clone()));
        }
    }
    let plan = Plan::new(Action::Move, inputs, base)?;
    picker.claims.permits(&plan).then_some(plan)
}

/// Level 0 within itself: the newest files become one, so that reads have fewer to ask while the way down is taken.
///
/// The run grows while the next older file is no larger than the run so far, so that what has been merged here is not merged
/// again with each handful of new files.
pub(super) fn within<T: Filed>(picker: &Picker<'_, T>) -> Option<Plan<T>> {
    let tables = picker.tree.level(0);
    if tables.len() < SLOW_L0 {
        return None;
    }
    let start = tables.iter().position(|table| picker.is_free(table))?;
    let tables = tables.get(start..)?;
    let most = most_within(picker.limits);
    let (mut taken, mut sum) = (0, 0u64);
    for table in tables.iter().take_while(|table| picker.is_free(table)) {
        let size = table.meta().size;
        if sum + size > most || taken >= LEAST_WITHIN && size > sum {
            break;
        }
        sum += size;
        taken += 1;
    }
    let taken = contiguous(tables, taken);
    if taken < LEAST_WITHIN {
        return None;
    }
    let run = tables.get(..taken)?;
    if are_disjoint(run) {
        return None;
    }
    let mut inputs: Vec<(usize, T)> = run.iter().map(|table| (0, table.clone())).collect();
    if planted::is(Bug::WithinLevelZeroWithGaps) {
        inputs.remove(taken / 2);
    }
    let plan = Plan::new(Action::Merge, inputs, 0)?;
    picker.claims.permits(&plan).then_some(plan)
}

/// Whether no two of the tables overlap: a read asks one of them at most, however many there are.
fn are_disjoint<T: Filed>(tables: &[T]) -> bool {
    let mut sorted: Vec<_> = tables.iter().map(Filed::meta).collect();
    sorted.sort_by(|a, b| a.min_key.cmp(&b.min_key));
    sorted
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.max_key < b.min_key))
}

/// Bytes of the file that a compaction within level 0 writes, at most.
pub(crate) fn most_within(limits: Limits) -> u64 {
    limits.max_file_size.saturating_mul(MOST_WITHIN)
}

/// The most files, up to `taken`, whose numbers do not interleave with those of the files left (as those of one flush's files do).
fn contiguous<T: Filed>(tables: &[T], mut taken: usize) -> usize {
    while taken > 0 {
        let least = tables.iter().take(taken).map(|table| table.meta().min_seq).min();
        match tables.get(taken) {
            Some(next) if Some(next.meta().max_seq) >= least => taken -= 1,
            _ => break,
        }
    }
    taken
}

/// Whether level 0 is mostly tombstones, and they are many beside what lies below.
pub(super) fn tombstones_outweigh<T: Filed>(tree: &Tree<T>) -> bool {
    let count = |tables: &[T]| {
        let entries = tables.iter().map(|table| table.meta().entries).sum::<u64>();
        let tombstones = tables.iter().map(|table| table.meta().tombstones).sum::<u64>();
        (entries, tombstones)
    };
    let (entries, tombstones) = count(tree.level(0));
    let below: u64 = (1..LEVELS).map(|level| count(tree.level(level)).0).sum();
    tombstones >= entries.div_ceil(2) && tombstones >= below / TOMBSTONES_SHARE
}

const _: () = assert!(LEAST_WITHIN <= COMPACT_L0);
