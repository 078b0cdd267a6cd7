//! [`Merge`]: the entries of several sources in one order, in one direction.
//!
//! ```text
//!   memtable   ──┐
//!   frozen     ──┤
//!   SST of L0  ──┼──>  heap of source indices  ──>  (key asc, seq desc), every version
//!   level 1    ──┤
//!   level 2    ──┘
//! ```
//!
//! Every version of every key comes out; choosing among them is the caller's business (`visible`, `compaction`).

use std::cmp::Ordering;
use std::sync::Arc;

use super::level_cursor::LevelCursor;
use super::table::Table;
use crate::cursor::Cursor;
use crate::memtable::{Memtable, SortedTable};
use crate::sst::SstCursor;
use crate::types::{MAX_SEQ, ObjectRef, SeqNo, ValueRef};
use crate::{Error, Result, Slice};

/// A source of entries. An enum and not a `dyn Cursor`: these calls are the inner loop of scans and compactions.
pub(crate) enum Source {
    Memory(<Memtable as SortedTable>::Cursor),
    Table(Arc<Table>, Box<SstCursor>),
    Level(Box<LevelCursor>),
}

macro_rules! each {
    ($self:expr, $cursor:ident => $call:expr) => {
        match $self {
            Source::Memory($cursor) => $call,
            Source::Table(_, $cursor) => $call,
            Source::Level($cursor) => $call,
        }
    };
}

impl Source {
    /// The table that a value of this source lies in, if it lies in one.
    pub(crate) fn table_of(&self, value: ValueRef) -> Option<&Arc<Table>> {
        match self {
            Source::Memory(_) => None,
            Source::Table(table, _) => Some(table),
            Source::Level(cursor) => cursor.tables().get(value.source as usize),
        }
    }

    fn valid(&self) -> bool {
        each!(self, cursor => cursor.valid())
    }

    fn key(&self) -> &[u8] {
        each!(self, cursor => cursor.key())
    }

    fn seq(&self) -> SeqNo {
        each!(self, cursor => cursor.seq())
    }

    fn value(&self) -> ValueRef {
        each!(self, cursor => cursor.value())
    }

    fn load(&self, value: ValueRef) -> Result<Slice> {
        each!(self, cursor => cursor.load(value))
    }

    fn load_into(&self, value: ValueRef, out: &mut Vec<u8>) -> Result<()> {
        each!(self, cursor => cursor.load_into(value, out))
    }

    fn position(&mut self, direction: Direction, bound: Option<&[u8]>) -> Result<()> {
        match (direction, bound) {
            (Direction::Forward, None) => each!(self, cursor => cursor.seek_to_first()),
            (Direction::Forward, Some(key)) => each!(self, cursor => cursor.seek(key, MAX_SEQ)),
            (Direction::Backward, None) => each!(self, cursor => cursor.seek_to_last()),
            (Direction::Backward, Some(key)) => each!(self, cursor => cursor.seek_before(key, MAX_SEQ)),
        }
    }

    fn step(&mut self, direction: Direction) -> Result<()> {
        match direction {
            Direction::Forward => each!(self, cursor => cursor.next()),
            Direction::Backward => each!(self, cursor => cursor.prev()),
        }
    }
}

/// Which way a merge runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// A value that a merge gave: which source, and where in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergedValue {
    source: usize,
    pub(crate) value: ValueRef,
}

/// The merge. Its first entry is current as soon as it is made.
pub(crate) struct Merge {
    sources: Vec<Source>,
    /// A binary heap of indices into `sources`; all of them are valid, the first is the current one.
    heap: Vec<usize>,
    direction: Direction,
}

impl Merge {
    /// A merge from `bound` on: forwards the first entry is the newest of the first key at or after it, backwards the
    /// oldest of the last key before it. No bound means from the end that the direction starts at.
    pub(crate) fn new(sources: Vec<Source>, direction: Direction, bound: Option<&[u8]>) -> Result<Self> {
        let mut merge = Merge::of(sources, direction);
        merge.seek(direction, bound)?;
        Ok(merge)
    }

    /// A merge that is at its end: `seek` has to come first.
    pub(crate) fn of(sources: Vec<Source>, direction: Direction) -> Self {
        Merge {
            heap: Vec::with_capacity(sources.len()),
            sources,
            direction,
        }
    }

    /// Goes to `bound`, as a new merge would. After an error it is at its end.
    pub(crate) fn seek(&mut self, direction: Direction, bound: Option<&[u8]>) -> Result<()> {
        self.direction = direction;
        self.heap.clear();
        for source in &mut self.sources {
            source.position(direction, bound)?;
        }
        let valid = self
            .sources
            .iter()
            .enumerate()
            .filter(|(_, source)| source.valid());
        self.heap.extend(valid.map(|(i, _)| i));
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
        Ok(())
    }

    /// Which way it runs.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    fn top(&self) -> Option<&Source> {
        self.sources.get(*self.heap.first()?)
    }

    /// Whether there is a current entry.
    pub(crate) fn valid(&self) -> bool {
        !self.heap.is_empty()
    }

    /// The current key; empty at the end.
    pub(crate) fn key(&self) -> &[u8] {
        self.top().map_or(&[], Source::key)
    }

    /// The current number.
    pub(crate) fn seq(&self) -> SeqNo {
        self.top().map_or(0, Source::seq)
    }

    /// Where the current value lies. Good for `load` and `table_of` after the merge has moved on, too.
    pub(crate) fn value(&self) -> MergedValue {
        let value = self
            .top()
            .map_or(ValueRef::new(crate::types::ValuePlace::Tombstone), Source::value);
        MergedValue {
            source: self.heap.first().copied().unwrap_or(0),
            value,
        }
    }

    /// Reads a value.
    pub(crate) fn load(&self, value: MergedValue) -> Result<Slice> {
        match self.sources.get(value.source) {
            Some(source) => source.load(value.value),
            None => Ok(Slice::default()),
        }
    }

    /// Reads a value into the caller's buffer, whose contents are replaced.
    pub(crate) fn load_into(&self, value: MergedValue, out: &mut Vec<u8>) -> Result<()> {
        match self.sources.get(value.source) {
            Some(source) => source.load_into(value.value, out),
            None => {
                out.clear();
                Ok(())
            }
        }
    }

    /// Reads the reference of an entry of kind `Object`.
    pub(crate) fn object(&self, value: MergedValue) -> Result<ObjectRef> {
        let bytes = self.load(value)?;
        ObjectRef::from_bytes(&bytes)
            .ok_or_else(|| Error::corruption("(merge)".as_ref(), 0, "expected a reference of 24 bytes"))
    }

    /// The table that a value lies in, if it lies in one.
    pub(crate) fn table_of(&self, value: MergedValue) -> Option<&Arc<Table>> {
        self.sources.get(value.source)?.table_of(value.value)
    }

    /// Goes to the next entry in the merge's direction.
    pub(crate) fn advance(&mut self) -> Result<()> {
        let Some(source) = self.heap.first().and_then(|top| self.sources.get_mut(*top)) else {
            return Ok(());
        };
        if let Err(e) = source.step(self.direction) {
            self.heap.clear();
            return Err(e);
        }
        if !source.valid() {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(())
    }

    /// Whether the source at heap position `a` comes before the one at `b`.
    fn before(&self, a: usize, b: usize) -> bool {
        let source = |at: usize| self.heap.get(at).and_then(|index| self.sources.get(*index));
        let (Some(left), Some(right)) = (source(a), source(b)) else {
            return false;
        };
        let order = left
            .key()
            .cmp(right.key())
            .then_with(|| right.seq().cmp(&left.seq()));
        match self.direction {
            Direction::Forward => order == Ordering::Less,
            Direction::Backward => order == Ordering::Greater,
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.heap.len() {
                return;
            }
            let child = if right < self.heap.len() && self.before(right, left) {
                right
            } else {
                left
            };
            if !self.before(child, at) {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }
}
