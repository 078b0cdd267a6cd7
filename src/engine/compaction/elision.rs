//! Plans that get rid of what nobody can see: found by each file's counts and bounds, without reading it.
//!
//! ```text
//!   entries = newest versions of keys + older versions + tombstones     (counted when the file was written)
//! ```
//!
//! * A file of nothing but tombstones, below which no file overlaps it, hides nothing: it is deleted, by an edit. That holds whatever
//!   snapshots there are: each sees nothing there with or without it.
//! * Where no file below overlaps a file, its tombstones and older versions are there for snapshots only. Once all of these are newer than
//!   the file, it is written anew without them, if they are a tenth of it or more: less is not worth the writing. The file then
//!   has neither, so that this comes to an end.

use super::picker::Picker;
use super::plan::{Action, Plan, overlaps, run_of};
use crate::engine::tree::{Filed, unit};
use crate::manifest::LEVELS;
use crate::planted::{self, Bug};
use crate::types::SeqNo;

/// One entry in so many has to be superfluous before a file is rewritten for it: as much as the levels above the last one cost.
const SHARE: u64 = 10;

/// Tombstones and older versions.
fn superfluous<T: Filed>(table: &T) -> u64 {
    let meta = table.meta();
    meta.entries.saturating_sub(table.keys()) + meta.tombstones
}

/// Whether a merge into a place with nothing below would make the file notably smaller.
pub(super) fn has_dead_weight<T: Filed>(table: &T) -> bool {
    table.meta().tombstones > 0 || is_worth_it(std::slice::from_ref(table))
}

fn is_worth_it<T: Filed>(tables: &[T]) -> bool {
    let entries: u64 = tables.iter().map(|table| table.meta().entries).sum();
    let superfluous: u64 = tables.iter().map(superfluous).sum();
    superfluous.saturating_mul(SHARE) >= entries
}

/// Files that can be deleted as they are.
pub(super) fn dead_files<T: Filed>(picker: &Picker<'_, T>) -> Option<Plan<T>> {
    (0..LEVELS).find_map(|level| {
        let tables = picker.tree.level(level);
        let mut inputs = Vec::new();
        for at in 0..tables.len() {
            if !tables.get(at).is_some_and(|table| all_tombstones(table)) {
                continue;
            }
            let run = if level == 0 {
                at..at + 1
            } else {
                unit(tables, at..at + 1)
            };
            let chosen = tables.get(run.clone()).unwrap_or_default();
            let older = if level == 0 { tables.get(at + 1..) } else { None }.unwrap_or_default();
            let hides = || {
                let over_older = |table: &T| {
                    let (least, greatest) = (&table.meta().min_key, &table.meta().max_key);
                    older.iter().any(|older| overlaps(older, least, greatest))
                };
                chosen.iter().any(over_older) || picker.something_below(level, chosen)
            };
            let alone = run.start == at && chosen.iter().all(all_tombstones) && picker.all_free(chosen);
            if alone && (planted::is(Bug::DeletedWhileHiding) || !hides()) {
                inputs.extend(run_of(picker.tree, level, run));
            }
        }
        let plan = Plan::new(Action::Delete, inputs, level)?;
        picker.claims.permits(&plan).then_some(plan)
    })
}

fn all_tombstones<T: Filed>(table: &T) -> bool {
    table.meta().tombstones == table.meta().entries
}

/// A unit of files with entries that only snapshots could see which are closed by now.
pub(super) fn hidden_entries<T: Filed>(picker: &Picker<'_, T>) -> Option<Plan<T>> {
    wasteful(picker)
        .filter(|(.., newest)| *newest <= picker.oldest_snapshot)
        .find_map(|(level, run, _)| {
            let plan = Plan::new(Action::Merge, run_of(picker.tree, level, run), level)?;
            picker.claims.permits(&plan).then_some(plan)
        })
}

/// The number at which the oldest snapshot has to arrive before there is something to do for `hidden_entries`.
pub(crate) fn waits_for<T: Filed>(picker: &Picker<'_, T>) -> Option<SeqNo> {
    wasteful(picker)
        .map(|(.., newest)| newest)
        .filter(|newest| *newest > picker.oldest_snapshot)
        .min()
}

/// Units with nothing below that have many superfluous entries; for each its level, and its newest number.
fn wasteful<'a, T: Filed>(
    picker: &'a Picker<'_, T>,
) -> impl Iterator<Item = (usize, std::ops::Range<usize>, SeqNo)> + 'a {
    (1..LEVELS).flat_map(move |level| {
        let tables = picker.tree.level(level);
        (0..tables.len()).filter_map(move |at| {
            // Cheap questions first: this looks at every file.
            let one = tables.get(at).filter(|table| superfluous(*table) > 0)?;
            let run = unit(tables, at..at + 1);
            let chosen = tables.get(run.clone())?;
            let worth_it = picker.is_free(one) && is_worth_it(chosen) && picker.all_free(chosen);
            let newest = chosen.iter().map(|table| table.meta().max_seq).max()?;
            (worth_it && !picker.something_below(level, chosen)).then_some((level, run, newest))
        })
    })
}
