//! The skip list: a memtable with one writer at a time and lock-free readers.
//!
//! ```text
//! node:  | prefix u64 | seq << 8 | kind u64 | value_len u32 | key_len u16 | height u8 | - | links u32 x height | key | value |
//! ```
//!
//! Entries are ordered by key ascending, then by sequence number descending. `prefix` is the key's first eight bytes as
//! a big-endian number, padded with zeros: if two prefixes differ they decide (padding with the smallest byte never
//! turns an order round), so that most comparisons touch one cache line; if they are equal the keys decide, so that "a"
//! and "a\0" stay two keys.
//!
//! Invariants:
//! 1. A node is written whole before its first link is published (Release), and its key, number and value never change.
//! 2. Links are followed with Acquire loads. Whoever holds a node's place therefore sees the node, and its chunk.
//! 3. Nodes are never unlinked. The list at level n + 1 is a part of the list at level n.
//! 4. Links are published from the bottom up: a reader that misses an unpublished upper link still finds the node
//!    on level 0.
//! 5. The writer's splice names, for each level, the last node at or before the place of the last insert.
//!
//! Heights come from a generator with a fixed seed: the same inserts build the same list.
//!
//! Callers: the engine, through `SortedTable`.
#![allow(
    unsafe_code,
    reason = "nodes are raw memory in the arena, shared between one writer and lock-free readers"
)]

use std::cmp::Ordering as Order;
use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::arena::{Arena, Bump, Place, prefetch};
use super::entry;
use super::{Held, SortedTable};
use crate::cursor::Cursor;
use crate::sync::lock_free::{AtomicU32, AtomicUsize, Mutex, Ordering, Witness, atomics};
use crate::types::{EntryKind, SeqNo, ValuePlace, ValueRef};
use crate::{Result, Slice};

/// The tallest tower. With one node in four rising a level, 4^14 = 268 million entries keep the search logarithmic.
const MAX_HEIGHT: usize = if cfg!(packstone_loom) { 3 } else { 14 };

/// The seed of the heights. Any odd number does. (Under loom the first towers are 2, 1, 2, 1 high.)
const SEED: u64 = if cfg!(packstone_loom) {
    19
} else {
    0x9e37_79b9_7f4a_7c15
};

const PREFIX_LEN: usize = 8;

/// No node; as a predecessor: the head.
const NONE: Place = 0;

/// The fixed part of a node. The links follow, then key and value.
#[repr(C)]
struct Header {
    prefix: u64,
    /// The sequence number in the upper 56 bits, the kind in the lowest byte.
    stamp: u64,
    value_len: u32,
    key_len: u16,
    height: u8,
    witness: Witness,
}

const LINKS_OFFSET: usize = size_of::<Header>();
const TOMBSTONE: u64 = 0;
const PUT: u64 = 1;
const OBJECT: u64 = 2;

/// A memtable. See the module's comment.
pub(crate) struct SkipList {
    head: [AtomicU32; MAX_HEIGHT],
    /// Levels in use. A reader that sees an old value starts lower and finds the same.
    height: AtomicUsize,
    arena: Arena,
    len: AtomicUsize,
    writer: Mutex<Writer>,
}

struct Writer {
    bump: Bump,
    random: u64,
    /// Invariant 5; `NONE` is the head.
    splice: [Place; MAX_HEIGHT],
}

/// What a search looks for.
#[derive(Clone, Copy)]
struct Target<'a> {
    prefix: u64,
    key: &'a [u8],
    seq: SeqNo,
}

impl<'a> Target<'a> {
    fn new(key: &'a [u8], seq: SeqNo) -> Self {
        Target {
            prefix: prefix_of(key),
            key,
            seq,
        }
    }
}

/// A whole node.
#[derive(Clone, Copy)]
struct Node<'a> {
    header: NonNull<Header>,
    list: PhantomData<&'a SkipList>,
}

impl<'a> Node<'a> {
    #[inline]
    fn header(self) -> &'a Header {
        // SAFETY: a `Node` is made from a whole node only; its header never changes and lives as long as the list.
        let header = unsafe { self.header.as_ref() };
        header.witness.read();
        header
    }

    /// The link at `level`.
    ///
    /// # Safety
    /// `level` is below the node's height.
    #[inline]
    unsafe fn link(self, level: usize) -> &'a AtomicU32 {
        // SAFETY: `height` links follow the header, aligned to 4, used through atomics only.
        unsafe {
            self.header
                .byte_add(LINKS_OFFSET)
                .cast::<AtomicU32>()
                .add(level)
                .as_ref()
        }
    }

    /// `len` bytes at `offset` behind the links.
    ///
    /// # Safety
    /// The range lies within the node's key and value.
    #[inline]
    unsafe fn bytes(self, offset: usize, len: usize) -> &'a [u8] {
        let links = usize::from(self.header().height) * size_of::<AtomicU32>();
        // SAFETY: key and value follow the links, were written before the node was published and never change; the
        // pointer comes from the chunk's allocation, so it may reach the whole node.
        unsafe {
            NonNull::slice_from_raw_parts(self.header.cast::<u8>().add(LINKS_OFFSET + links + offset), len)
                .as_ref()
        }
    }

    #[inline]
    fn key(self) -> &'a [u8] {
        // SAFETY: the first `key_len` bytes behind the links.
        unsafe { self.bytes(0, usize::from(self.header().key_len)) }
    }

    fn value(self) -> &'a [u8] {
        let header = self.header();
        // SAFETY: the `value_len` bytes behind the key.
        unsafe { self.bytes(usize::from(header.key_len), header.value_len as usize) }
    }

    #[inline]
    fn seq(self) -> SeqNo {
        self.header().stamp >> 8
    }

    fn kind(self) -> EntryKind {
        match self.header().stamp & 0xff {
            PUT => EntryKind::Put,
            OBJECT => EntryKind::Object,
            _ => EntryKind::Tombstone,
        }
    }

    /// Whether this entry comes before the target.
    #[inline]
    fn is_before(self, target: &Target<'_>) -> bool {
        let prefix = self.header().prefix;
        if prefix != target.prefix {
            return prefix < target.prefix;
        }
        match self.key().cmp(target.key) {
            Order::Less => true,
            Order::Greater => false,
            Order::Equal => self.seq() > target.seq,
        }
    }
}

impl SkipList {
    /// The node at a place.
    ///
    /// # Safety
    /// `place` is not `NONE` and was published in this list; this thread learned of it through an Acquire load, the
    /// writer's lock, or the arena's start bits.
    #[inline]
    unsafe fn node(&self, place: Place) -> Node<'_> {
        // SAFETY: the caller's promise is the one that `resolve` asks for.
        Node {
            header: unsafe { self.arena.resolve(place) }.cast(),
            list: PhantomData,
        }
    }

    /// The link that leaves `place` (or the head) at `level`.
    ///
    /// # Safety
    /// `level < MAX_HEIGHT`; `place` is `NONE`, or as for `node` and taller than `level`.
    #[inline]
    unsafe fn link(&self, place: Place, level: usize) -> &AtomicU32 {
        // SAFETY: the caller's promise.
        unsafe {
            if place == NONE {
                self.head.get_unchecked(level)
            } else {
                self.node(place).link(level)
            }
        }
    }

    /// Asks for the node that the search looks at next if `next` turns out to lie too far. That is as often as not, and
    /// then its cache miss runs beside that of `next` (`cargo bench --bench memtable` measures inserts).
    #[inline]
    fn prefetch_below(&self, before: Place, level: usize, next: Place) {
        if level > 0 {
            // SAFETY: as in `search`: what is tall enough for a level is so for the level below.
            let below = unsafe { self.link(before, level - 1) }.load(Ordering::Acquire);
            if below != next && below != NONE {
                // SAFETY: loaded with Acquire.
                prefetch(unsafe { self.node(below) }.header);
            }
        }
    }

    /// For each level, the last node before the target (`NONE`: the head), handed to `record` from the top down;
    /// gives the one on level 0 and the node after it.
    #[inline]
    fn search(&self, target: &Target<'_>, mut record: impl FnMut(usize, Place)) -> (Place, Place) {
        let mut before = NONE;
        // The last node found not to be before the target: on the level below it needs no second look.
        let mut bound = NONE;
        for level in (0..self.height.load(Ordering::Relaxed)).rev() {
            loop {
                // SAFETY: `before` is the head or was reached over a link of `level` or above, so it is tall enough.
                // `next` was loaded with Acquire.
                let next = unsafe { self.link(before, level) }.load(Ordering::Acquire);
                self.prefetch_below(before, level, next);
                if next == bound || next == NONE {
                    bound = next;
                    break;
                }
                // SAFETY: as above.
                if !unsafe { self.node(next) }.is_before(target) {
                    bound = next;
                    break;
                }
                before = next;
            }
            record(level, before);
        }
        (before, bound)
    }

    /// The last node of all.
    fn last(&self) -> Place {
        let mut at = NONE;
        for level in (0..self.height.load(Ordering::Relaxed)).rev() {
            loop {
                // SAFETY: `at` is the head or was reached over a link of `level` or above.
                let next = unsafe { self.link(at, level) }.load(Ordering::Acquire);
                if next == NONE {
                    break;
                }
                at = next;
            }
        }
        at
    }

    /// Whether the target belongs right behind the entry inserted last, so that the splice serves it too.
    fn follows_splice(&self, splice: &[Place; MAX_HEIGHT], target: &Target<'_>) -> bool {
        let before = splice[0];
        // SAFETY: the splice names published nodes, each tall enough for its level, and is read under the lock.
        unsafe {
            if before == NONE || !self.node(before).is_before(target) {
                return false;
            }
            let next = self.link(before, 0).load(Ordering::Relaxed);
            next == NONE || !self.node(next).is_before(target)
        }
    }

    /// Writes a node that nobody knows yet; its links already lead where they will.
    fn make_node(
        &self,
        writer: &mut Writer,
        target: &Target<'_>,
        kind: u64,
        value: &[u8],
        height: usize,
    ) -> Result<Place> {
        let links = height * size_of::<AtomicU32>();
        let bytes = LINKS_OFFSET + links + target.key.len() + value.len();
        // SAFETY: the writer's bump pointer is the arena's only one.
        let (place, memory) = unsafe { self.arena.allocate(&mut writer.bump, bytes) }?;
        let header = Header {
            prefix: target.prefix,
            stamp: target.seq << 8 | kind,
            value_len: value.len() as u32,
            key_len: target.key.len() as u16,
            height: height as u8,
            witness: Witness::new(),
        };
        // SAFETY: `bytes` fresh bytes, aligned to 8, known to this thread only; the parts lie in them one after another
        // and don't overlap the sources. Links of the splice: tall enough (invariant 5), under the lock.
        unsafe {
            memory.cast::<Header>().write(header);
            let tower = memory.add(LINKS_OFFSET).cast::<AtomicU32>();
            for (level, &before) in writer.splice.iter().enumerate().take(height) {
                let next = self.link(before, level).load(Ordering::Relaxed);
                tower.add(level).write(AtomicU32::new(next));
            }
            let key = memory.add(LINKS_OFFSET + links);
            ptr::copy_nonoverlapping(target.key.as_ptr(), key.as_ptr(), target.key.len());
            ptr::copy_nonoverlapping(value.as_ptr(), key.add(target.key.len()).as_ptr(), value.len());
        }
        Ok(place)
    }

    /// Where the cursor of (`key`, `seq`) goes.
    fn lower_bound(&self, key: &[u8], seq: SeqNo) -> Place {
        self.search(&Target::new(key, seq), |_, _| {}).1
    }
}

impl Writer {
    /// Three in four nodes have height 1, one in four of the others 3 or more, and so on.
    fn random_height(random: &mut u64) -> usize {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        // The upper bits of a multiplied xorshift are the good ones.
        let bits = (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32;
        (1 + bits.trailing_zeros() as usize / 2).min(MAX_HEIGHT)
    }
}

impl SortedTable for SkipList {
    type Cursor = SkipListCursor;

    fn new() -> Self {
        SkipList {
            head: atomics!(AtomicU32::new(NONE); MAX_HEIGHT),
            height: AtomicUsize::new(0),
            arena: Arena::new(),
            len: AtomicUsize::new(0),
            writer: Mutex::new(Writer {
                bump: Bump::new(),
                random: SEED,
                splice: [NONE; MAX_HEIGHT],
            }),
        }
    }

    fn insert(&self, key: &[u8], seq: SeqNo, kind: EntryKind, value: &[u8]) -> Result<()> {
        entry::check(key, seq, kind, value)?;
        let (kind, value) = match kind {
            EntryKind::Put => (PUT, value),
            EntryKind::Object => (OBJECT, value),
            EntryKind::Tombstone => (TOMBSTONE, &[][..]),
        };
        let target = Target::new(key, seq);
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        if !self.follows_splice(&writer.splice, &target) {
            // Levels not in use yet keep the head.
            let splice = &mut writer.splice;
            self.search(&target, |level, before| {
                if let Some(at) = splice.get_mut(level) {
                    *at = before;
                }
            });
        }
        let mut random = writer.random;
        let height = Writer::random_height(&mut random);
        let place = self.make_node(writer, &target, kind, value, height)?;
        writer.random = random;
        self.arena.mark_start(place);
        for (level, before) in writer.splice.iter_mut().enumerate().take(height) {
            // SAFETY: the splice names nodes tall enough for their level, read under the lock. The node is whole, so
            // Release publishes it.
            unsafe { self.link(*before, level) }.store(place, Ordering::Release);
            *before = place;
        }
        if height > self.height.load(Ordering::Relaxed) {
            self.height.store(height, Ordering::Relaxed);
        }
        self.len.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn find(&self, key: &[u8], snapshot: SeqNo) -> Option<(SeqNo, Held<'_>)> {
        let place = self.lower_bound(key, snapshot);
        if place == NONE {
            return None;
        }
        // SAFETY: the search loaded it with Acquire.
        let node = unsafe { self.node(place) };
        if node.key() != key {
            return None;
        }
        let held = match node.kind() {
            EntryKind::Put => Held::Value(node.value()),
            EntryKind::Object => Held::Object(node.value()),
            EntryKind::Tombstone => Held::Tombstone,
        };
        Some((node.seq(), held))
    }

    fn cursor(self: &Arc<Self>) -> SkipListCursor {
        SkipListCursor {
            list: Arc::clone(self),
            at: NONE,
        }
    }

    fn memory_usage(&self) -> usize {
        size_of::<Self>() + self.arena.allocated()
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

/// A position in a [`SkipList`]. Going back costs a search from the top; going forward follows a link.
pub(crate) struct SkipListCursor {
    list: Arc<SkipList>,
    /// `NONE`, or a place that this cursor got from the list by an Acquire load.
    at: Place,
}

impl SkipListCursor {
    #[inline]
    fn node(&self) -> Option<Node<'_>> {
        // SAFETY: `at` is as its comment says, and the list is the one it came from.
        (self.at != NONE).then(|| unsafe { self.list.node(self.at) })
    }
}

impl Cursor for SkipListCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        self.at = self.list.head[0].load(Ordering::Acquire);
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.at = self.list.last();
        Ok(())
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.at = self.list.lower_bound(key, seq);
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.at = self.list.search(&Target::new(key, seq), |_, _| {}).0;
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        if let Some(node) = self.node() {
            // SAFETY: every node has a link at level 0.
            let next = unsafe { node.link(0) }.load(Ordering::Acquire);
            self.at = next;
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        if let Some(node) = self.node() {
            let target = Target {
                prefix: node.header().prefix,
                key: node.key(),
                seq: node.seq(),
            };
            let before = self.list.search(&target, |_, _| {}).0;
            self.at = before;
        }
        Ok(())
    }

    fn valid(&self) -> bool {
        self.at != NONE
    }

    fn key(&self) -> &[u8] {
        self.node().map_or(&[], Node::key)
    }

    fn seq(&self) -> SeqNo {
        self.node().map_or(0, Node::seq)
    }

    fn value(&self) -> ValueRef {
        let place = match self.node() {
            Some(node) => entry::value_place(node.kind(), node.value(), u64::from(self.at)),
            None => ValuePlace::Tombstone,
        };
        ValueRef::new(place)
    }

    fn load(&self, value: ValueRef) -> Result<Slice> {
        match value.place {
            ValuePlace::Tombstone => Ok(Slice::default()),
            ValuePlace::Inline { len, bytes } => {
                Ok(Slice::from(bytes.get(..usize::from(len)).unwrap_or_default()))
            }
            ValuePlace::Memory { handle } | ValuePlace::MemoryObject { handle } => {
                let place = u32::try_from(handle).unwrap_or(NONE);
                // A handle is a number that anybody may make up, so it counts only if an entry starts there.
                if place != self.at && !self.list.arena.is_start(place) || place == NONE {
                    return Err(entry::foreign(handle));
                }
                // SAFETY: `place` is this cursor's own, or its start bit, set after the node was written, was just
                // read with Acquire.
                let node = unsafe { self.list.node(place) };
                entry::check_handle(&value.place, handle, node.kind())?;
                Ok(Slice::from(node.value()))
            }
            ValuePlace::InKeyBlock { .. }
            | ValuePlace::Small { .. }
            | ValuePlace::Medium { .. }
            | ValuePlace::Object { .. } => Err(entry::foreign(0)),
        }
    }
}

#[inline]
fn prefix_of(key: &[u8]) -> u64 {
    if let Some(head) = key.first_chunk::<PREFIX_LEN>() {
        return u64::from_be_bytes(*head);
    }
    let mut padded = [0; PREFIX_LEN];
    padded.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_inserts_build_the_same_list() {
        let heights = || {
            let list = Arc::new(SkipList::new());
            for seq in 0..2000u64 {
                let key = seq.wrapping_mul(SEED).to_be_bytes();
                list.insert(&key, seq, EntryKind::Put, b"").unwrap();
            }
            let mut cursor = list.cursor();
            cursor.seek_to_first().unwrap();
            let mut heights = Vec::new();
            while let Some(node) = cursor.node() {
                heights.push(node.header().height);
                cursor.next().unwrap();
            }
            heights
        };
        let first = heights();
        assert_eq!(first, heights());
        let share = first.iter().filter(|height| **height > 1).count() as f64 / first.len() as f64;
        assert!(
            (0.2..0.3).contains(&share),
            "one node in four rises a level, here {share}"
        );
    }
}
