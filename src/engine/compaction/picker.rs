//! What to compact next: a pure function of the tree, of what runs already, and of the oldest snapshot.
//!
//! In this order:
//!
//! 1. Files that can go whole (`elision`): an edit, and space comes back.
//! 2. Levels that are too large, the one furthest over its target first: level 0 into the base (`level_0`), any other into the
//!    next. In a level that unit of files goes which rewrites least of the next level for what it takes there. A unit that meets
//!    nothing is moved.
//! 3. Files that are mostly tombstones, which scans have to step over; files with entries that nobody can see any more (`elision`).
//! 4. Level 0 within itself, where writers are about to be slowed and its way down is taken.

use std::ops::Range;

use super::claims::Claims;
use super::plan::{Action, Plan, bounds, bytes, run_of};
use super::shape::{NO_TARGET, Shape};
use super::{elision, level_0};
use crate::engine::tree::{Filed, Tree, unit};
use crate::manifest::LEVELS;
use crate::planted::{self, Bug};
use crate::types::SeqNo;

/// Level-0 SSTs that start a compaction: RocksDB's and LevelDB's number. Fewer would merge the base too often, more cost
/// every read one more file.
pub(crate) const COMPACT_L0: usize = 4;

/// A file is not moved, and an output is cut, where it would overlap more than this many full files of the level after the next:
/// its own compaction would have to rewrite them all. RocksDB's and LevelDB's number.
pub(crate) const MAX_GRANDPARENTS: u64 = 10;

/// Inputs are widened, where that takes nothing more of the next level along, up to this many full files.
const MAX_WIDENED: u64 = 25;

/// What a keyspace's compactions go by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) write_buffer_size: u64,
    pub(crate) max_file_size: u64,
    /// A level 0 whose entries refer to so many bytes of objects is due.
    pub(crate) max_referenced: u64,
}

impl Limits {
    /// Bytes that level 0 has when its compaction starts.
    pub(crate) fn handed_down(&self) -> u64 {
        self.write_buffer_size.saturating_mul(COMPACT_L0 as u64)
    }

    /// Bytes of a file's grandparents at most.
    pub(crate) fn max_grandparents(&self) -> u64 {
        self.max_file_size.saturating_mul(MAX_GRANDPARENTS)
    }
}

/// The choice among plans for one tree.
pub(crate) struct Picker<'a, T> {
    pub(crate) tree: &'a Tree<T>,
    pub(crate) claims: &'a Claims,
    pub(crate) limits: Limits,
    /// The oldest number that somebody reads at; the greatest of all when nobody does.
    pub(crate) oldest_snapshot: SeqNo,
    /// For each level the greatest key of the compaction before: among equals the next one goes on behind it.
    pub(crate) cursors: &'a [Vec<u8>; LEVELS],
}

/// The tree's shape and sizes.
pub(crate) fn shape_of<T: Filed>(tree: &Tree<T>, limits: Limits) -> (Shape, [u64; LEVELS]) {
    let sizes = std::array::from_fn(|level| tree.level_bytes(level));
    (Shape::new(&sizes, limits.handed_down()), sizes)
}

/// Bytes that compaction has still to write until nothing is due.
pub(crate) fn pending_bytes<T: Filed>(tree: &Tree<T>, limits: Limits) -> u64 {
    let (shape, sizes) = shape_of(tree, limits);
    let level_0 = match tree.level(0).len() {
        files if files >= COMPACT_L0 => tree.level_bytes(0),
        _ => 0,
    };
    shape.owed(&sizes, level_0, limits.handed_down())
}

impl<T: Filed> Picker<'_, T> {
    /// The most urgent compaction that can run now, if any is due.
    pub(crate) fn pick(&self) -> Option<Plan<T>> {
        let (mut shape, _) = shape_of(self.tree, self.limits);
        // Nothing may pass a level that is being written to.
        shape.base = self
            .claims
            .highest_output()
            .map_or(shape.base, |level| level.min(shape.base));
        elision::dead_files(self)
            .or_else(|| self.pick_by_size(&shape))
            .or_else(|| self.pick_tombstones(&shape))
            .or_else(|| elision::hidden_entries(self))
            .or_else(|| level_0::within(self))
    }

    fn pick_by_size(&self, shape: &Shape) -> Option<Plan<T>> {
        // The last level has no target, so it is never due.
        let mut due: Vec<(f64, usize)> = (0..LEVELS)
            .map(|level| (self.score(level, shape), level))
            .filter(|(score, _)| *score >= 1.0)
            .collect();
        due.sort_by(|a, b| b.0.total_cmp(&a.0));
        due.into_iter().find_map(|(_, level)| match level {
            0 => level_0::into_base(self, shape.base),
            level => self.plan_level(level, 0..self.tree.level(level).len(), shape.target(level)),
        })
    }

    /// How urgent a level is; due from 1 on. What running compactions take away does not count.
    fn score(&self, level: usize, shape: &Shape) -> f64 {
        let free = self.tree.level(level).iter().filter(|table| self.is_free(table));
        if level == 0 {
            let (files, referenced) = free.fold((0, 0u64), |(files, referenced), table| {
                (
                    files + 1,
                    referenced.saturating_add(table.meta().referenced_bytes),
                )
            });
            let by_objects = referenced as f64 / self.limits.max_referenced as f64;
            // Squared: at twice the number that starts a compaction writers begin to be slowed.
            return (f64::from(files) / COMPACT_L0 as f64).powi(2).max(by_objects);
        }
        let bytes: u64 = free.map(|table| table.meta().size).sum();
        if bytes <= shape.target(level) {
            return 0.0;
        }
        match shape.target(level) {
            // A level that is to be empty: it hinders nobody.
            0 => 1.0,
            target => bytes as f64 / target as f64,
        }
    }

    pub(super) fn is_free(&self, table: &T) -> bool {
        !self.claims.is_busy(table.meta().number)
    }

    pub(super) fn all_free(&self, tables: &[T]) -> bool {
        tables.iter().all(|table| self.is_free(table))
    }

    /// A compaction that nothing else asks for: of files that are mostly tombstones, which every scan of their range has to step
    /// over. Each one takes its tombstones a level down, and where nothing lies below none are left, so it comes to an end.
    ///
    /// Level 0 takes much of the base along, so its tombstones must also outweigh a part of everything below.
    fn pick_tombstones(&self, shape: &Shape) -> Option<Plan<T>> {
        if level_0::tombstones_outweigh(self.tree)
            && let Some(plan) = level_0::into_base(self, shape.base)
        {
            return Some(plan);
        }
        (1..LEVELS).find_map(|level| {
            let tables = self.tree.level(level);
            let dense = |at: &usize| tables.get(*at).is_some_and(is_dense);
            (0..tables.len()).filter(dense).find_map(|at| {
                let run = unit(tables, at..at + 1);
                self.something_below(level, tables.get(run.clone())?)
                    .then(|| self.plan_level(level, run, NO_TARGET))?
            })
        })
    }

    /// Whether a deeper level than `level` has a file that overlaps these.
    pub(super) fn something_below(&self, level: usize, tables: &[T]) -> bool {
        bounds(tables.iter()).is_some_and(|(least, greatest)| {
            (level + 1..LEVELS).any(|deeper| !self.tree.overlapping(deeper, &least, &greatest).is_empty())
        })
    }

    /// The unit, of those that begin in `candidates`, that rewrites the least of the next level for its size; moved if it meets
    /// nothing there, with as many others like it as bring the level to its target.
    fn plan_level(&self, level: usize, candidates: Range<usize>, target: u64) -> Option<Plan<T>> {
        let mut units: Vec<Unit> = Vec::new();
        let mut at = candidates.start;
        while at < candidates.end {
            let run = unit(self.tree.level(level), at..at + 1);
            at = run.end.max(at + 1);
            units.extend(self.candidate(level, run));
        }
        self.plan_moves(level, &units, target)
            .or_else(|| self.plan_merge(level, units))
    }

    /// A unit that can be compacted now, and what that costs.
    fn candidate(&self, level: usize, run: Range<usize>) -> Option<Unit> {
        let tables = self.tree.level(level).get(run.clone())?;
        let (least, greatest) = bounds(tables.iter())?;
        let below = self.tree.overlapping(level + 1, &least, &greatest);
        let next = self.tree.level(level + 1).get(below.clone())?;
        if !self.all_free(tables) || !self.all_free(next) {
            return None;
        }
        let cost = bytes(next) as f64 / self.compensated(level, tables).max(1.0);
        let passed = self
            .cursors
            .get(level)
            .is_some_and(|cursor| !cursor.is_empty() && least <= *cursor);
        Some(Unit {
            run,
            below,
            cost,
            passed,
        })
    }

    /// The bytes of these tables, and those that their tombstones and old versions will free.
    fn compensated(&self, level: usize, tables: &[T]) -> f64 {
        let below = self.tree.level(level + 1);
        let entries: u64 = below.iter().map(|table| table.meta().entries).sum();
        let mean_below = bytes(below) as f64 / entries.max(1) as f64;
        let weigh = |table: &T| {
            let meta = table.meta();
            let mean = meta.size as f64 / meta.entries.max(1) as f64;
            let old = meta.entries.saturating_sub(table.keys());
            meta.size as f64 + meta.tombstones as f64 * mean_below + old as f64 * mean
        };
        tables.iter().map(weigh).sum()
    }

    fn plan_moves(&self, level: usize, units: &[Unit], target: u64) -> Option<Plan<T>> {
        let tables = self.tree.level(level);
        let mut left = bytes(tables);
        let mut inputs = Vec::new();
        for unit in units {
            if inputs.is_empty() || left > target {
                let chosen = tables.get(unit.run.clone()).unwrap_or_default();
                if self.can_move(level, level + 1, chosen) {
                    left = left.saturating_sub(bytes(chosen));
                    inputs.extend(run_of(self.tree, level, unit.run.clone()));
                }
            }
        }
        let plan = Plan::new(Action::Move, inputs, level + 1)?;
        self.claims.permits(&plan).then_some(plan)
    }

    /// Whether these tables of `from` (a unit, or one of level 0) can lie in `to` as they are.
    ///
    /// They may not overlap anything on the way. They may not overlap too much of the level behind, which their next compaction would
    /// have to rewrite. And they may have nothing that a merge would be rid of for good.
    pub(super) fn can_move(&self, from: usize, to: usize, tables: &[T]) -> bool {
        let Some((least, greatest)) = bounds(tables.iter()) else {
            return false;
        };
        let free_way =
            (from + 1..=to).all(|level| self.tree.overlapping(level, &least, &greatest).is_empty());
        let free_way = free_way || planted::is(Bug::MovedAcrossOverlap);
        let behind = self.tree.overlapping(to + 1, &least, &greatest);
        let behind = bytes(self.tree.level(to + 1).get(behind).unwrap_or_default());
        let stays = self.something_below(to, tables) || !tables.iter().any(elision::has_dead_weight);
        free_way && behind <= self.limits.max_grandparents() && stays
    }

    fn plan_merge(&self, level: usize, mut units: Vec<Unit>) -> Option<Plan<T>> {
        units.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.passed.cmp(&b.passed)));
        units.into_iter().find_map(|chosen| {
            let run = self.widen(level, &chosen);
            let mut inputs = run_of(self.tree, level, run);
            if !planted::is(Bug::OverlapLeftOut) {
                inputs.extend(run_of(self.tree, level + 1, chosen.below));
            }
            let plan = Plan::new(Action::Merge, inputs, level + 1)?;
            self.claims.permits(&plan).then_some(plan)
        })
    }

    /// Takes neighbours along that need nothing more of the next level: that is rewritten anyhow.
    fn widen(&self, level: usize, chosen: &Unit) -> Range<usize> {
        let tables = self.tree.level(level);
        let next = self.tree.level(level + 1);
        let mut run = chosen.run.clone();
        if chosen.below.is_empty() {
            return run;
        }
        let most = self.limits.max_file_size.saturating_mul(MAX_WIDENED);
        let fits = |wider: &Range<usize>| {
            let wider_tables = tables.get(wider.clone()).unwrap_or_default();
            let all = bytes(wider_tables) + bytes(next.get(chosen.below.clone()).unwrap_or_default());
            let below = bounds(wider_tables.iter())
                .map(|(least, greatest)| self.tree.overlapping(level + 1, &least, &greatest));
            self.all_free(wider_tables) && all <= most && below.as_ref() == Some(&chosen.below)
        };
        loop {
            let before = (run.start > 0).then(|| unit(tables, run.start - 1..run.end));
            let after = (run.end < tables.len()).then(|| unit(tables, run.start..run.end + 1));
            match [after, before].into_iter().flatten().find(&fits) {
                Some(wider) => run = wider,
                None => return run,
            }
        }
    }
}

/// Some files of a level that go together, and what they meet in the next.
struct Unit {
    run: Range<usize>,
    below: Range<usize>,
    /// Bytes rewritten for each byte that goes down.
    cost: f64,
    /// The round has come by it already.
    passed: bool,
}

pub(super) fn is_dense<T: Filed>(table: &T) -> bool {
    let meta = table.meta();
    meta.tombstones >= meta.entries.div_ceil(2)
}
