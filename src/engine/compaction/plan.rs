//! [`Plan`]: what one compaction reads, and where it writes.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::table::Table;
use crate::engine::tree::{Filed, Tree};
use crate::manifest::LEVELS;

/// What is done with the inputs of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// They are merged into new files.
    Merge,
    /// They come to lie in the output level as they are: one edit, no byte read or written.
    Move,
    /// They go: they have nothing but tombstones, and nothing that these could hide is left.
    Delete,
}

/// One compaction.
#[derive(Clone, Debug)]
pub(crate) struct Plan<T = Arc<Table>> {
    pub(crate) action: Action,
    /// The inputs, with their levels.
    pub(crate) inputs: Vec<(usize, T)>,
    pub(crate) output_level: usize,
    /// The bounds of the inputs' keys, both inclusive.
    pub(crate) least: Vec<u8>,
    pub(crate) greatest: Vec<u8>,
}

impl<T: Filed> Plan<T> {
    /// `None` without inputs.
    pub(crate) fn new(action: Action, inputs: Vec<(usize, T)>, output_level: usize) -> Option<Self> {
        let (least, greatest) = bounds(inputs.iter().map(|(_, table)| table))?;
        Some(Plan {
            action,
            inputs,
            output_level,
            least,
            greatest,
        })
    }

    /// The inputs of a level, in the tree's order.
    pub(crate) fn level(&self, level: usize) -> Vec<T> {
        let of_level = self.inputs.iter().filter(|(l, _)| *l == level);
        of_level.map(|(_, table)| table.clone()).collect()
    }

    /// Bytes of the inputs.
    pub(crate) fn bytes(&self) -> u64 {
        self.inputs.iter().map(|(_, table)| table.meta().size).sum()
    }

    /// How many cursors read the inputs: one for each file of level 0, and one for each deeper level.
    pub(crate) fn sources(&self) -> usize {
        let level_0 = self.inputs.iter().filter(|(level, _)| *level == 0).count();
        let deeper = (1..LEVELS).filter(|level| self.inputs.iter().any(|(of, _)| of == level));
        level_0 + deeper.count()
    }

    /// The files' numbers.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.inputs.iter().map(|(_, table)| table.meta().number)
    }
}

/// The tables of a run of a level, each with the level.
pub(super) fn run_of<T: Filed>(tree: &Tree<T>, level: usize, run: Range<usize>) -> Vec<(usize, T)> {
    let tables = tree.level(level).get(run).unwrap_or_default();
    tables.iter().map(|table| (level, table.clone())).collect()
}

/// The least and the greatest key of some tables.
pub(super) fn bounds<'a, T: Filed + 'a>(
    tables: impl Iterator<Item = &'a T> + Clone,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let least = tables.clone().map(|table| &table.meta().min_key).min()?;
    let greatest = tables.map(|table| &table.meta().max_key).max()?;
    Some((least.to_vec(), greatest.to_vec()))
}

/// Bytes of some tables.
pub(super) fn bytes<T: Filed>(tables: &[T]) -> u64 {
    tables.iter().map(|table| table.meta().size).sum()
}

/// Whether the table has a key between the bounds, as far as its own bounds tell.
pub(super) fn overlaps<T: Filed>(table: &T, least: &[u8], greatest: &[u8]) -> bool {
    let meta = table.meta();
    &meta.min_key[..] <= greatest && &meta.max_key[..] >= least
}
