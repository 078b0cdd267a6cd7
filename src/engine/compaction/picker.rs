//! What to compact: the level that is furthest over its target, and in it the files that drag least along; else files that
//! are mostly tombstones.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::table::Table;
use crate::engine::tree::{Tree, unit};
use crate::manifest::LEVELS;
use crate::planted::{self, Bug};

/// Level-0 SSTs that start a compaction: RocksDB's and LevelDB's number. Fewer would merge level 1 too often, more cost
/// every read one more file.
pub(crate) const COMPACT_L0: usize = 4;

/// Each level is meant to hold this many times the one above.
const LEVEL_FACTOR: u64 = 10;

/// Tombstones of level 0 start a compaction when there is one for this many entries below: then a tombstone causes the
/// rewriting of at most so many.
const LEVEL_0_SHARE: u64 = 4;

/// What one compaction reads, and where it writes.
pub(crate) struct Plan {
    /// The inputs, with their levels.
    pub(crate) inputs: Vec<(usize, Arc<Table>)>,
    pub(crate) output_level: usize,
}

impl Plan {
    pub(crate) fn level(&self, level: usize) -> Vec<Arc<Table>> {
        self.inputs
            .iter()
            .filter(|(l, _)| *l == level)
            .map(|(_, table)| table.clone())
            .collect()
    }
}

/// Bytes that level `level` is meant to hold. Level 1 holds what starts a compaction of level 0, so that the two merge
/// at about equal sizes.
pub(crate) fn target_bytes(level: usize, write_buffer_size: u64) -> u64 {
    let base = write_buffer_size.saturating_mul(COMPACT_L0 as u64);
    (1..level).fold(base, |bytes, _| bytes.saturating_mul(LEVEL_FACTOR))
}

/// Bytes that compaction has still to take out of levels that are over their targets.
pub(crate) fn pending_bytes(tree: &Tree, write_buffer_size: u64) -> u64 {
    let level_0 = match tree.level(0).len() {
        files if files >= COMPACT_L0 => tree.level_bytes(0),
        _ => 0,
    };
    let deeper = (1..LEVELS - 1).map(|level| {
        tree.level_bytes(level)
            .saturating_sub(target_bytes(level, write_buffer_size))
    });
    level_0 + deeper.sum::<u64>()
}

/// The most urgent compaction, if any level is over its target.
pub(crate) fn pick(tree: &Tree, write_buffer_size: u64) -> Option<Plan> {
    let score_0 = tree.level(0).len() as f64 / COMPACT_L0 as f64;
    let scores = (1..LEVELS - 1).map(|level| {
        (
            level,
            tree.level_bytes(level) as f64 / target_bytes(level, write_buffer_size) as f64,
        )
    });
    let (level, score) = scores.fold(
        (0, score_0),
        |best, next| if next.1 > best.1 { next } else { best },
    );
    // Level 0 counts files and is due at its number; the others are due when they exceed their bytes.
    let due = if level == 0 { score >= 1.0 } else { score > 1.0 };
    if !due {
        return pick_tombstones(tree);
    }
    Some(match level {
        0 => plan_level_0(tree),
        level => {
            let every = 0..tree.level(level).len();
            plan_level(tree, level, every)
        }
    })
}

/// A compaction that nothing else asks for: of files that are mostly tombstones, which every scan of their range has to step
/// over. Each one moves its tombstones a level down, and into the deepest level none go, so it comes to an end.
///
/// Level 0 takes much of level 1 along, so its tombstones must also outweigh a part of everything below. In the deepest
/// level tombstones are left only for snapshots.
fn pick_tombstones(tree: &Tree) -> Option<Plan> {
    let count = |tables: &[Arc<Table>]| {
        let (entries, tombstones) = (
            tables.iter().map(|table| table.meta.entries),
            tables.iter().map(|table| table.meta.tombstones),
        );
        (entries.sum::<u64>(), tombstones.sum::<u64>())
    };
    let (entries, tombstones) = count(tree.level(0));
    let below: u64 = (1..LEVELS).map(|level| count(tree.level(level)).0).sum();
    if tombstones > 0 && is_dense(entries, tombstones) && tombstones >= below / LEVEL_0_SHARE {
        return Some(plan_level_0(tree));
    }
    for level in 1..tree.deepest().unwrap_or(0) {
        let tables = tree.level(level);
        let dense = tables
            .iter()
            .position(|table| is_dense(table.meta.entries, table.meta.tombstones));
        if let Some(at) = dense {
            return Some(plan_level(tree, level, unit(tables, at..at + 1)));
        }
    }
    None
}

fn is_dense(entries: u64, tombstones: u64) -> bool {
    tombstones >= entries.div_ceil(2)
}

/// All of level 0 (a part that is not contiguous in age would break the recency invariant), with what it overlaps.
fn plan_level_0(tree: &Tree) -> Plan {
    let mut inputs: Vec<_> = tree.level(0).iter().map(|table| (0, table.clone())).collect();
    if planted::is(Bug::LevelZeroNotContiguous) {
        inputs = inputs.into_iter().step_by(2).collect();
    }
    let bounds = key_bounds(tree.level(0));
    if let Some((least, greatest)) = bounds {
        add_run(&mut inputs, tree, 1, tree.overlapping(1, &least, &greatest));
    }
    Plan {
        inputs,
        output_level: 1,
    }
}

/// The unit of files, among those that begin in `candidates`, whose overlap with the next level is smallest for its size.
fn plan_level(tree: &Tree, level: usize, candidates: Range<usize>) -> Plan {
    let tables = tree.level(level);
    let mut best: Option<(f64, Range<usize>, Range<usize>)> = None;
    let mut at = candidates.start;
    while at < candidates.end {
        let run = unit(tables, at..at + 1);
        at = run.end;
        let chosen = tables.get(run.clone()).unwrap_or_default();
        let Some((least, greatest)) = key_bounds(chosen) else {
            continue;
        };
        let below = tree.overlapping(level + 1, &least, &greatest);
        let bytes = |tables: &[Arc<Table>]| tables.iter().map(|table| table.meta.size).sum::<u64>() as f64;
        let cost =
            bytes(tree.level(level + 1).get(below.clone()).unwrap_or_default()) / bytes(chosen).max(1.0);
        if best.as_ref().is_none_or(|(least_cost, ..)| cost < *least_cost) {
            best = Some((cost, run, below));
        }
    }
    let mut inputs = Vec::new();
    if let Some((_, run, below)) = best {
        add_run(&mut inputs, tree, level, run);
        if !planted::is(Bug::OverlapLeftOut) {
            add_run(&mut inputs, tree, level + 1, below);
        }
    }
    Plan {
        inputs,
        output_level: level + 1,
    }
}

/// Everything in every level that overlaps `least..=greatest`, merged into the deepest level that has anything. `None`
/// when nothing overlaps.
///
/// The range is widened until no file outside overlaps one inside: else an entry could sink below an older one.
pub(crate) fn plan_range(tree: &Tree, least: &[u8], greatest: Option<&[u8]>) -> Option<Plan> {
    let output_level = tree.deepest()?.max(1);
    let all = |level: usize| 0..tree.level(level).len();
    let Some(greatest) = greatest else {
        return plan_open_range(tree, least, output_level);
    };
    let (mut least, mut greatest) = (least.to_vec(), greatest.to_vec());
    loop {
        let mut inputs = Vec::new();
        // Level 0 goes whole or not at all.
        let touched = tree
            .level(0)
            .iter()
            .any(|table| overlaps(table, &least, &greatest));
        if touched {
            add_run(&mut inputs, tree, 0, all(0));
        }
        for level in 1..LEVELS {
            add_run(
                &mut inputs,
                tree,
                level,
                tree.overlapping(level, &least, &greatest),
            );
        }
        let (low, high) = key_bounds_of(inputs.iter().map(|(_, table)| table))?;
        if low >= least && high <= greatest {
            return Some(Plan { inputs, output_level });
        }
        least = least.min(low);
        greatest = greatest.max(high);
    }
}

/// A range without an upper bound ends with the greatest key that there is.
fn plan_open_range(tree: &Tree, least: &[u8], output_level: usize) -> Option<Plan> {
    let (_, greatest) = key_bounds_of(tree.tables())?;
    if greatest[..] < *least {
        return None;
    }
    plan_range(tree, least, Some(&greatest)).map(|plan| Plan { output_level, ..plan })
}

fn overlaps(table: &Table, least: &[u8], greatest: &[u8]) -> bool {
    &table.meta.min_key[..] <= greatest && &table.meta.max_key[..] >= least
}

fn add_run(inputs: &mut Vec<(usize, Arc<Table>)>, tree: &Tree, level: usize, run: Range<usize>) {
    let tables = tree.level(level).get(run).unwrap_or_default();
    inputs.extend(tables.iter().map(|table| (level, table.clone())));
}

fn key_bounds(tables: &[Arc<Table>]) -> Option<(Vec<u8>, Vec<u8>)> {
    key_bounds_of(tables.iter())
}

fn key_bounds_of<'a>(tables: impl Iterator<Item = &'a Arc<Table>> + Clone) -> Option<(Vec<u8>, Vec<u8>)> {
    let least = tables.clone().map(|table| &table.meta.min_key).min()?;
    let greatest = tables.map(|table| &table.meta.max_key).max()?;
    Some((least.to_vec(), greatest.to_vec()))
}
