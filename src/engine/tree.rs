//! [`Tree`]: the SSTs of one keyspace, by level, at one moment. Immutable: changes make a new one.
//!
//! Level 0 holds flushed SSTs, newest first; they may overlap. The levels below are sorted by key and do not overlap,
//! but for one case: the versions of a single key that exceed a file's limit span several files, which then share that
//! border key, and which move and compact as one unit (`unit` below).
//!
//! Recency invariant: for any key, all versions in a newer source (memtables, then level 0 by age, then levels
//! downwards) are newer than all versions in an older one. So the first source that has a visible version of a key has
//! the newest. `check` asserts what can be seen from the files' bounds.

use std::ops::Range;
use std::sync::Arc;

use super::keyspace::Sought;
use super::latency::FilterCounts;
use super::table::Table;
use crate::Result;
use crate::manifest::{FileMeta, LEVELS};
use crate::planted::{self, Bug};
use crate::types::{SeqNo, ValuePlace};

/// What a tree is made of: an open table, or in tests of the picker a description of one.
pub(crate) trait Filed: Clone {
    fn meta(&self) -> &FileMeta;
    /// How many different keys it has.
    fn keys(&self) -> u64;
}

impl Filed for Arc<Table> {
    fn meta(&self) -> &FileMeta {
        &self.meta
    }

    fn keys(&self) -> u64 {
        self.sst.properties().key_count
    }
}

/// The tables of one keyspace.
#[derive(Clone)]
pub(crate) struct Tree<T = Arc<Table>> {
    levels: [Vec<T>; LEVELS],
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Tree {
            levels: std::array::from_fn(|_| Vec::new()),
        }
    }
}

impl<T: Filed> Tree<T> {
    /// A tree of these tables, given with their levels in any order.
    pub(crate) fn new(tables: impl IntoIterator<Item = (usize, T)>) -> Self {
        let mut tree = Tree::default();
        for (level, table) in tables {
            if let Some(tables) = tree.levels.get_mut(level) {
                tables.push(table);
            }
        }
        tree.sort();
        tree
    }

    /// This tree without the tables of the numbers in `removed`, and with those in `added`.
    pub(crate) fn with(&self, removed: &[(usize, u64)], added: &[(usize, T)]) -> Self {
        let kept = (0..).zip(&self.levels).flat_map(|(level, tables)| {
            tables
                .iter()
                .filter(move |table| !removed.contains(&(level, table.meta().number)))
                .map(move |table| (level, table.clone()))
        });
        Tree::new(kept.chain(added.iter().cloned()))
    }

    fn sort(&mut self) {
        for (level, tables) in self.levels.iter_mut().enumerate() {
            if level == 0 {
                tables.sort_by_key(|table| std::cmp::Reverse((table.meta().max_seq, table.meta().number)));
            } else {
                // Files that share a border key hold that key's versions newest first.
                tables.sort_by(|a, b| {
                    let (a, b) = (a.meta(), b.meta());
                    (&a.min_key, &a.max_key)
                        .cmp(&(&b.min_key, &b.max_key))
                        .then(b.max_seq.cmp(&a.max_seq))
                });
            }
        }
    }

    /// The tables of a level; none for a level that does not exist.
    pub(crate) fn level(&self, level: usize) -> &[T] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn levels(&self) -> impl Iterator<Item = (usize, &[T])> {
        self.levels
            .iter()
            .enumerate()
            .map(|(level, tables)| (level, tables.as_slice()))
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &T> + Clone {
        self.levels.iter().flatten()
    }

    /// Bytes of a level's files.
    pub(crate) fn level_bytes(&self, level: usize) -> u64 {
        self.level(level).iter().map(|table| table.meta().size).sum()
    }

    /// The indices of a sorted level's tables that overlap `least..=greatest`, widened to whole units: tables that
    /// share a border key stay together.
    pub(crate) fn overlapping(&self, level: usize, least: &[u8], greatest: &[u8]) -> Range<usize> {
        let tables = self.level(level);
        let start = first_reaching(tables, least);
        let end = start
            + tables
                .get(start..)
                .unwrap_or_default()
                .partition_point(|table| &table.meta().min_key[..] <= greatest);
        unit(tables, start..end)
    }

    /// Whether any table below `level` (deeper) may hold `key`.
    pub(crate) fn may_hold_below(&self, level: usize, key: &[u8]) -> bool {
        (level + 1..LEVELS).any(|deeper| {
            let tables = self.level(deeper);
            tables
                .get(first_reaching(tables, key))
                .is_some_and(|table| &table.meta().min_key[..] <= key)
        })
    }

    /// What is wrong with this tree, if anything: for debug builds and `verify`.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (level, tables) in self.levels().skip(1) {
            for pair in tables.windows(2) {
                let [a, b] = pair else { continue };
                let (a, b) = (a.meta(), b.meta());
                if a.max_key > b.min_key {
                    return Err(format!(
                        "SSTs {} and {} overlap in level {level}",
                        a.number, b.number
                    ));
                }
            }
        }
        for pair in self.level(0).windows(2) {
            let [newer, older] = pair else { continue };
            let (newer, older) = (newer.meta(), older.meta());
            let disjoint = newer.max_key < older.min_key || older.max_key < newer.min_key;
            // The rest of a key that spans files follows the file that it began in.
            let rest = older.min_key == older.max_key
                && older.min_key == newer.max_key
                && older.max_seq < newer.max_seq;
            if !disjoint && !rest && newer.min_seq <= older.max_seq {
                return Err(format!(
                    "SSTs {} and {} of level 0 overlap in age",
                    newer.number, older.number
                ));
            }
        }
        Ok(())
    }
}

impl Tree {
    /// The newest entry of a key at or below `snapshot`: its table, and where its value lies. Newer tables first, the first answer of those
    /// that may hold the key decides. What their filters say is counted in `filters`; they are asked twice then.
    pub(crate) fn find(
        &self,
        sought: &Sought<'_>,
        snapshot: SeqNo,
        filters: Option<&FilterCounts>,
    ) -> Result<Option<(&Table, ValuePlace)>> {
        let key = sought.sort_key;
        for (level, tables) in self.levels() {
            let candidates = match level {
                0 => tables,
                _ => tables.get(first_reaching(tables, key)..).unwrap_or_default(),
            };
            for table in candidates {
                let meta = &table.meta;
                if key < &meta.min_key[..] {
                    if level == 0 {
                        continue;
                    }
                    break;
                }
                if key > &meta.max_key[..] || meta.min_seq > snapshot {
                    continue;
                }
                if let Some(filters) = filters
                    && !table.sst.may_contain(sought.key, sought.hash)?
                {
                    filters.kept_away();
                    continue;
                }
                let found = table.sst.find(sought.key, sought.hash, snapshot)?;
                if let Some(filters) = filters {
                    filters.searched(found.is_some());
                }
                if let Some((_, place)) = found {
                    return Ok(Some((table, place)));
                }
            }
        }
        Ok(None)
    }
}

/// The index of the first table of a sorted level that ends at or behind `key`.
pub(crate) fn first_reaching<T: Filed>(tables: &[T], key: &[u8]) -> usize {
    tables.partition_point(|table| &table.meta().max_key[..] < key)
}

/// Widens a run of a sorted level until no table outside shares a border key with one inside.
pub(crate) fn unit<T: Filed>(tables: &[T], mut run: Range<usize>) -> Range<usize> {
    if run.is_empty() || planted::is(Bug::BorderKeySplit) {
        return run;
    }
    let shares = |left: usize| match (tables.get(left), tables.get(left + 1)) {
        (Some(a), Some(b)) => a.meta().max_key == b.meta().min_key,
        _ => false,
    };
    while run.start > 0 && shares(run.start - 1) {
        run.start -= 1;
    }
    while shares(run.end - 1) {
        run.end += 1;
    }
    run
}
