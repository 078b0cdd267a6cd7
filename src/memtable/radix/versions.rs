//! The versions of one key: its records by number, for keys that have several.
//!
//! ```text
//! versions: | head u64 | places of records u32 x capacity |      head: | count u32 | - | log2 capacity u8 | VERSIONS u8 |
//! ```
//!
//! Invariants:
//! 1. The places are ordered by number, the oldest first. Those below the count never change.
//! 2. A newer record is appended: its place first, then the count (Release). When there is no room, or a record comes
//!    that is not the newest (the engine's never are), a new list takes this one's place in the parent's link.
//!
//! Callers: the radix tree and its cursor.

use std::mem::size_of;

use super::super::arena::{Arena, Bump};
use super::link::Link;
use super::node::{Node, VERSIONS};
use super::record::Record;
use crate::Result;
use crate::sync::lock_free::{AtomicU32, AtomicU64, Ordering};
use crate::types::SeqNo;

const CAPACITY_SHIFT: u32 = 8;
const COUNT_SHIFT: u32 = 32;
const HEAD_LEN: usize = size_of::<AtomicU64>();

/// The versions of a key as they were when the head was loaded. There is at least one.
#[derive(Clone, Copy)]
pub(super) struct Versions<'a>(Node<'a>);

impl<'a> Versions<'a> {
    #[inline]
    pub(super) fn from_node(node: Node<'a>) -> Option<Versions<'a>> {
        (node.head() & VERSIONS != 0).then_some(Versions(node))
    }

    /// Makes a list of records that nobody knows yet.
    ///
    /// # Safety
    /// As for `Arena::allocate`. The records are whole, of this arena and of one key; the numbers ascend.
    pub(super) unsafe fn make<'r>(
        arena: &'a Arena,
        bump: &mut Bump,
        count: usize,
        records: impl Iterator<Item = Record<'r>>,
    ) -> Result<Link> {
        let capacity = count.next_power_of_two();
        let bytes = HEAD_LEN + capacity * size_of::<AtomicU32>();
        // SAFETY: the caller's promise.
        let (place, at) = unsafe { arena.allocate(bump, bytes) }?;
        let mut written = 0u64;
        // SAFETY: `bytes` fresh bytes, aligned to 8, known to this thread only; at most `capacity` places are written.
        unsafe {
            let places = at.add(HEAD_LEN).cast::<AtomicU32>();
            for (i, record) in records.take(capacity).enumerate() {
                places.add(i).write(AtomicU32::new(record.place()));
                written += 1;
            }
            for i in written as usize..capacity {
                places.add(i).write(AtomicU32::new(0));
            }
            let head = VERSIONS | u64::from(capacity.ilog2()) << CAPACITY_SHIFT | written << COUNT_SHIFT;
            at.cast().write(AtomicU64::new(head));
        }
        Ok(Link::to_node(place))
    }

    /// Appends a record, if it is the newest and there is room.
    ///
    /// # Safety
    /// The caller is the writer, and this is the newest state. The record is whole, of this arena and of this key.
    pub(super) unsafe fn append(self, record: Record<'_>) -> bool {
        let (head, count) = (self.0.head(), self.count());
        let capacity = 1 << (head >> CAPACITY_SHIFT & 0xff);
        if count >= capacity || self.newest().seq() > record.seq() {
            return false;
        }
        // SAFETY: `count` is below the capacity.
        unsafe { self.place_at(count) }.store(record.place(), Ordering::Relaxed);
        // SAFETY: the list starts with its head.
        let published = unsafe { self.0.address().cast::<AtomicU64>().as_ref() };
        published.store(head + (1 << COUNT_SHIFT), Ordering::Release);
        true
    }

    /// Makes a copy that has the record, too. Nobody knows it yet.
    ///
    /// # Safety
    /// As for `append` and `make`.
    pub(super) unsafe fn with(self, bump: &mut Bump, record: Record<'_>) -> Result<Link> {
        let older = self.newer_than(record.seq());
        let before = (0..older).filter_map(|i| self.get(i));
        let after = (older..self.count()).filter_map(|i| self.get(i));
        let all = before.chain(std::iter::once(record)).chain(after);
        // SAFETY: the caller's promise.
        unsafe { Versions::make(self.0.arena(), bump, self.count() + 1, all) }
    }

    /// # Safety
    /// `i` is below the capacity.
    #[inline]
    unsafe fn place_at(self, i: usize) -> &'a AtomicU32 {
        // SAFETY: the caller's promise; places are used through atomics only.
        unsafe { self.0.address().add(HEAD_LEN).cast::<AtomicU32>().add(i).as_ref() }
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        (self.0.head() >> COUNT_SHIFT) as usize
    }

    /// A version, counted from the oldest.
    #[inline]
    pub(super) fn get(self, i: usize) -> Option<Record<'a>> {
        // SAFETY: below the count lie places of whole records, stored before the count was.
        (i < self.count()).then(|| unsafe {
            let place = self.place_at(i).load(Ordering::Relaxed);
            Record::at(self.0.arena(), place)
        })
    }

    /// The newest version.
    #[inline]
    pub(super) fn newest(self) -> Record<'a> {
        let last = self.count().saturating_sub(1);
        // SAFETY: there is at least one, so this is below the count.
        unsafe {
            let place = self.place_at(last).load(Ordering::Relaxed);
            Record::at(self.0.arena(), place)
        }
    }

    /// The index of the oldest version that is newer than `seq`, or the count.
    pub(super) fn newer_than(self, seq: SeqNo) -> usize {
        if self.newest().seq() <= seq {
            return self.count();
        }
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle) {
                Some(record) if record.seq() <= seq => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    #[inline]
    pub(super) fn link(self) -> Link {
        self.0.link()
    }
}
