//! The record of one entry: number, kind, key and value in one piece. It is written whole before anybody learns of it, and
//! never changes.
//!
//! ```text
//! record: | seq << 8 | flags u64 | key_len u16 | value_len u16 | value_len u32, if WIDE | key | value |
//! ```
//!
//! Twelve bytes beside key and value; sixteen if the value is longer than 65,535 bytes.
//!
//! Callers: the radix tree.

use std::cmp::Ordering as Order;
use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr::{self, NonNull};

use super::super::Held;
use super::super::arena::{Arena, Bump, Place};
use super::link::Link;
use crate::Result;
use crate::sync::lock_free::Witness;
use crate::types::{EntryKind, SeqNo};

/// The value counts; without this and `OBJECT` the entry is a tombstone.
const PUT: u64 = 1;
/// The length of the value has a word of its own.
const WIDE: u64 = 2;
/// The value is a reference to an object in a pack.
const OBJECT: u64 = 4;

/// Only a model checker has a witness in front; otherwise this is zero.
const STAMP_OFFSET: usize = size_of::<Witness>();
const KEY_LEN_OFFSET: usize = STAMP_OFFSET + 8;
const VALUE_LEN_OFFSET: usize = STAMP_OFFSET + 10;
const WIDE_LEN_OFFSET: usize = STAMP_OFFSET + 12;
const NARROW_HEADER: usize = STAMP_OFFSET + 12;
const WIDE_HEADER: usize = STAMP_OFFSET + 16;

/// A whole record.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    at: NonNull<u8>,
    place: Place,
    arena: PhantomData<&'a Arena>,
}

/// Length of the fixed part, by the flags.
#[inline]
fn header_len(stamp: u64) -> usize {
    if stamp & WIDE == 0 {
        NARROW_HEADER
    } else {
        WIDE_HEADER
    }
}

impl<'a> Record<'a> {
    /// Writes a record that nobody knows yet, and notes that a whole entry starts there.
    ///
    /// # Safety
    /// As for `Arena::allocate`; `bump` is one for entries. The lengths of key and value were checked.
    pub(super) unsafe fn write(
        arena: &'a Arena,
        bump: &mut Bump,
        key: &[u8],
        seq: SeqNo,
        kind: EntryKind,
        value: &[u8],
    ) -> Result<Record<'a>> {
        let (mut stamp, value) = match kind {
            EntryKind::Put => (seq << 8 | PUT, value),
            EntryKind::Object => (seq << 8 | OBJECT, value),
            EntryKind::Tombstone => (seq << 8, &[][..]),
        };
        if value.len() > usize::from(u16::MAX) {
            stamp |= WIDE;
        }
        let header = header_len(stamp);
        // SAFETY: the caller's promise.
        let (place, at) = unsafe { arena.allocate(bump, header + key.len() + value.len()) }?;
        // SAFETY: as many fresh bytes, aligned to 8, known to this thread only; the parts lie in them one after another,
        // the numbers at offsets that suit their alignment, and don't overlap the sources.
        unsafe {
            at.cast().write(Witness::new());
            at.add(STAMP_OFFSET).cast().write(stamp);
            at.add(KEY_LEN_OFFSET).cast().write(key.len() as u16);
            at.add(VALUE_LEN_OFFSET).cast().write(value.len() as u16);
            if stamp & WIDE != 0 {
                at.add(WIDE_LEN_OFFSET).cast().write(value.len() as u32);
            }
            let to = at.add(header);
            ptr::copy_nonoverlapping(key.as_ptr(), to.as_ptr(), key.len());
            ptr::copy_nonoverlapping(value.as_ptr(), to.add(key.len()).as_ptr(), value.len());
        }
        arena.mark_start(place);
        Ok(Record {
            at,
            place,
            arena: PhantomData,
        })
    }

    /// The record at a place.
    ///
    /// # Safety
    /// A record of this arena was written there, and this thread learned of it through an Acquire load or a lock.
    #[inline]
    pub(super) unsafe fn at(arena: &'a Arena, place: Place) -> Record<'a> {
        Record {
            // SAFETY: the caller's promise is the one that `resolve` asks for.
            at: unsafe { arena.resolve(place) },
            place,
            arena: PhantomData,
        }
    }

    #[inline]
    fn stamp(self) -> u64 {
        // SAFETY: a `Record` is a whole one, which starts with its witness and its stamp and never changes.
        unsafe {
            self.at.cast::<Witness>().as_ref().read();
            self.at.add(STAMP_OFFSET).cast().read()
        }
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Safety
    /// They lie within the record.
    #[inline]
    unsafe fn bytes(self, offset: usize, len: usize) -> &'a [u8] {
        // SAFETY: the caller's promise; the record is whole, never changes, and lives as long as the arena.
        unsafe { NonNull::slice_from_raw_parts(self.at.add(offset), len).as_ref() }
    }

    #[inline]
    fn key_len(self) -> usize {
        // SAFETY: part of every record.
        usize::from(unsafe { self.at.add(KEY_LEN_OFFSET).cast::<u16>().read() })
    }

    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        // SAFETY: the key follows the header.
        unsafe { self.bytes(header_len(self.stamp()), self.key_len()) }
    }

    #[inline]
    pub(super) fn value(self) -> &'a [u8] {
        let stamp = self.stamp();
        // SAFETY: the lengths are the ones that `write` left; the value follows the key.
        unsafe {
            let len = if stamp & WIDE == 0 {
                usize::from(self.at.add(VALUE_LEN_OFFSET).cast::<u16>().read())
            } else {
                self.at.add(WIDE_LEN_OFFSET).cast::<u32>().read() as usize
            };
            self.bytes(header_len(stamp) + self.key_len(), len)
        }
    }

    #[inline]
    pub(super) fn seq(self) -> SeqNo {
        self.stamp() >> 8
    }

    #[inline]
    pub(super) fn kind(self) -> EntryKind {
        match self.stamp() & (PUT | OBJECT) {
            PUT => EntryKind::Put,
            OBJECT => EntryKind::Object,
            _ => EntryKind::Tombstone,
        }
    }

    #[inline]
    pub(super) fn place(self) -> Place {
        self.place
    }

    #[inline]
    pub(super) fn link(self) -> Link {
        Link::to_record(self.place)
    }

    /// Whether this entry comes before (`key`, `seq`).
    #[inline]
    pub(super) fn is_before(self, key: &[u8], seq: SeqNo) -> bool {
        match self.key().cmp(key) {
            Order::Less => true,
            Order::Greater => false,
            Order::Equal => self.seq() > seq,
        }
    }

    /// What a look-up that ends here has found: the number, and what the entry holds.
    #[inline]
    pub(super) fn found(self) -> (SeqNo, Held<'a>) {
        let held = match self.kind() {
            EntryKind::Put => Held::Value(self.value()),
            EntryKind::Object => Held::Object(self.value()),
            EntryKind::Tombstone => Held::Tombstone,
        };
        (self.seq(), held)
    }
}
