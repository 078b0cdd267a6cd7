//! The nodes of the radix tree: raw memory in the arena, read without a lock while one writer adds to it.
//!
//! ```text
//! list:  | head u64 | skip, if SKIP | key bytes 7 and on, u64 x words | links u32 x capacity | link of END, if TERMINAL |
//! table: | head u64 | skip, if SKIP | bitmap u64 x 4                  | links u32 x 256      | link of END, if TERMINAL |
//!
//! head:  | key bytes 1 to 6 | count u8 | flags, words u8 |   (from the upper bits down)
//! skip:  | six bytes of the path before `depth` | depth u16 |   | witness u32 | - |
//! ```
//!
//! A node tells keys apart by one byte, the one at its depth, or END where a key ends there; it comes before all
//! bytes. A list has its bytes in the order of their arrival, and finds one by comparing all at once. A table has a link
//! for each byte, and a bit for each link that leads somewhere.
//!
//! A node whose keys share bytes between its parent's depth and its own has a `skip`. The bytes are not in it: the witness
//! is a record below the node that has them; the six before `depth` are there as well, since that is mostly all of them. The
//! depth is absolute, so a node stays as it is when another one is put between its parent and itself.
//!
//! Invariants:
//! 1. The first six bytes and their count change by one Release store of `head`, after the byte's link; further bytes are
//!    stored before it. A reader looks at the `count` first ones of the head that it has loaded.
//! 2. In a table a link is stored (Release) before its bit. The writer is done with both before `insert` returns.
//! 3. Bytes are only added. A node that is full stays as it is; a larger copy takes its place in the parent's link.
//! 4. Flags, words, skip and the presence of the link of END never change.
//!
//! Callers: the radix tree and its cursor.

use std::mem::size_of;
use std::ptr::NonNull;

use super::super::arena::{Arena, Bump, Place};
use super::link::{Link, Slot};
use super::path::{self, END, Symbol};
use super::record::Record;
use crate::Result;
use crate::sync::lock_free::{AtomicU32, AtomicU64, Ordering, Witness};

/// How many key words a list has, or the bitmap of a table.
const WORDS: u64 = 0x07;
pub(super) const TABLE: u64 = 0x08;
const SKIP: u64 = 0x10;
const TERMINAL: u64 = 0x20;
/// Not a node at all but the versions of one key: `versions`.
pub(super) const VERSIONS: u64 = 0x40;

const COUNT_SHIFT: u32 = 8;
pub(super) const BYTES_SHIFT: u32 = 16;
/// Key bytes in the head.
pub(super) const HEAD_BYTES: usize = 6;

const HEAD_LEN: usize = size_of::<AtomicU64>();
const WORD_LEN: usize = size_of::<AtomicU64>();
const LINK_LEN: usize = size_of::<AtomicU32>();
const SKIP_LEN: usize = size_of::<Skip>();

pub(super) const TABLE_WORDS: u64 = 4;
const TABLE_LINKS: usize = 256;

/// The capacity of a list by its number of words. Few steps, since a node that has been outgrown stays in the arena: with
/// these, half a million keys of 16 digits have 12.7 bytes of nodes a key and 2.2 that were outgrown; two links to start
/// with have 10.7 and 4.4, doubling from two on 11.2 and 5.6.
const CAPACITY: [usize; 6] = [4, 10, 16, 30, 30, 46];
/// What follows on a list of so many words that is full.
const LARGER: [u64; 6] = [1, 2, 3, 5, 5, TABLE | TABLE_WORDS];

/// The immutable part of a node whose keys share bytes before it.
#[repr(C)]
pub(super) struct Skip {
    tail_and_depth: u64,
    witness: Place,
    watched: Witness,
}

impl Skip {
    /// For a node at `depth`, through which `witness`, a record with this key, will be reached.
    pub(super) fn new(key: &[u8], depth: usize, witness: Place) -> Skip {
        Skip {
            tail_and_depth: path::tail(key, depth) & !0xffff | depth as u64,
            witness,
            watched: Witness::new(),
        }
    }

    /// One for a copy of the node.
    fn copy(&self) -> Skip {
        Skip {
            watched: Witness::new(),
            ..*self
        }
    }

    #[inline]
    fn depth(&self) -> usize {
        (self.tail_and_depth & 0xffff) as usize
    }

    /// Whether the key has the node's bytes from `from` on, as far as the last six tell. REQUIRES: the key is at least
    /// `depth` long.
    #[inline]
    fn tail_matches(&self, key: &[u8], from: usize) -> bool {
        let len = self.depth().saturating_sub(from).min(path::TAIL_LEN) as u32;
        let differing = self.tail_and_depth ^ path::tail(key, self.depth());
        differing.checked_shr(64 - 8 * len).unwrap_or(0) == 0
    }
}

/// Where a key leaves the path to a node.
pub(super) struct Parting {
    /// The first position at which they differ.
    pub(super) at: usize,
    /// The byte that the keys below the node have there.
    pub(super) byte: u8,
}

/// A node as it was when its head was loaded; links are loaded when asked for.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    at: NonNull<u8>,
    head: u64,
    link: Link,
    arena: &'a Arena,
}

impl<'a> Node<'a> {
    /// # Safety
    /// The link leads to a whole node of this arena, and this thread learned of it through an Acquire load or a lock.
    #[inline]
    pub(super) unsafe fn at(arena: &'a Arena, link: Link) -> Node<'a> {
        // SAFETY: the caller's promise is the one that `resolve` asks for. Every node starts with its head.
        unsafe {
            let at = arena.resolve(link.node_place());
            let head = at.cast::<AtomicU64>().as_ref().load(Ordering::Acquire);
            Node {
                at,
                head,
                link,
                arena,
            }
        }
    }

    /// Makes an empty node that nobody knows yet.
    ///
    /// # Safety
    /// As for `Arena::allocate`.
    unsafe fn make(arena: &'a Arena, bump: &mut Bump, flags: u64, skip: Option<Skip>) -> Result<Node<'a>> {
        let head = if skip.is_some() { flags | SKIP } else { flags };
        let mut node = Node {
            at: NonNull::dangling(),
            head,
            link: Link::NONE,
            arena,
        };
        let links = node.link_count();
        let bytes = node.links_offset() + links * LINK_LEN;
        // SAFETY: the caller's promise.
        let (place, at) = unsafe { arena.allocate(bump, bytes) }?;
        (node.at, node.link) = (at, Link::to_node(place));
        // SAFETY: `bytes` fresh bytes, aligned to 8, known to this thread only, in which the parts lie one after another at
        // offsets that suit them.
        unsafe {
            at.cast().write(AtomicU64::new(head));
            if let Some(skip) = skip {
                at.add(HEAD_LEN).cast().write(skip);
            }
            let words = at.add(node.words_offset()).cast::<AtomicU64>();
            for i in 0..node.words() {
                words.add(i).write(AtomicU64::new(0));
            }
            let first = at.add(node.links_offset()).cast::<AtomicU32>();
            for i in 0..links {
                first.add(i).write(AtomicU32::new(0));
            }
        }
        Ok(node)
    }

    /// Makes a node that leads on from `depth` to what was there and to what is new. Nobody knows it yet.
    ///
    /// # Safety
    /// As for `Arena::allocate`; the symbols differ; the links lead to whole nodes or records of this arena; nobody
    /// else adds to the node.
    pub(super) unsafe fn fork(
        arena: &'a Arena,
        bump: &mut Bump,
        skip: Option<Skip>,
        old: (Symbol, Link),
        new: (Symbol, Link),
    ) -> Result<Node<'a>> {
        let flags = if old.0 == END || new.0 == END { TERMINAL } else { 0 };
        // SAFETY: the caller's promise. A new node has room for two.
        unsafe {
            let mut node = Node::make(arena, bump, flags, skip)?;
            node.add(old.0, old.1);
            node.add(new.0, new.1);
            Ok(node)
        }
    }

    /// Makes a copy that has room for `symbol`, and puts `link` there. Nobody knows it yet.
    ///
    /// # Safety
    /// The caller is the writer; else as for `fork`. The node has no room for `symbol`.
    pub(super) unsafe fn grow(self, bump: &mut Bump, symbol: Symbol, link: Link) -> Result<Node<'a>> {
        let kind = if symbol == END {
            self.head & (TABLE | WORDS) | TERMINAL
        } else {
            let larger = LARGER.get(self.words()).copied();
            self.head & TERMINAL | larger.unwrap_or(TABLE | TABLE_WORDS)
        };
        // SAFETY: the caller's promise. What fits the smaller node fits the larger one.
        unsafe {
            let mut node = Node::make(self.arena, bump, kind, self.skip().map(Skip::copy))?;
            if self.has(TABLE) {
                for byte in 0..=u8::MAX {
                    let link = self.slot_at(usize::from(byte)).load();
                    if link != Link::NONE {
                        node.add(path::symbol_of(byte), link);
                    }
                }
            } else {
                for i in 0..self.count() {
                    node.add(path::symbol_of(self.listed(i)), self.slot_at(i).load());
                }
            }
            if let Some(slot) = self.terminal() {
                node.add(END, slot.load());
            }
            node.add(symbol, link);
            Ok(node)
        }
    }

    /// Adds a link, if there is room.
    ///
    /// # Safety
    /// The caller is the writer, and this is the node's newest state. The link leads to a whole node or record of this
    /// arena. There is none for `symbol` yet.
    pub(super) unsafe fn add(&mut self, symbol: Symbol, link: Link) -> bool {
        // SAFETY: indices are below the number of words or links of this kind of node: a byte's in a table, the count
        // of a list that is not full, and the words that hold the byte of that index.
        unsafe {
            let Some(byte) = path::byte(symbol) else {
                let Some(slot) = self.terminal() else { return false };
                slot.publish(link);
                return true;
            };
            if self.has(TABLE) {
                self.slot_at(usize::from(byte)).publish(link);
                let word = self.word(usize::from(byte / 64));
                word.store(word.load(Ordering::Relaxed) | 1 << (byte % 64), Ordering::Release);
                return true;
            }
            let count = self.count();
            if count >= self.capacity() {
                return false;
            }
            self.slot_at(count).publish(link);
            let mut head = self.head + (1 << COUNT_SHIFT);
            match count.checked_sub(HEAD_BYTES) {
                None => head |= u64::from(byte) << (BYTES_SHIFT as usize + 8 * count),
                Some(further) => {
                    let word = self.word(further / 8);
                    let bit = u64::from(byte) << (8 * (further % 8));
                    word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
                }
            }
            self.at
                .cast::<AtomicU64>()
                .as_ref()
                .store(head, Ordering::Release);
            self.head = head;
            true
        }
    }

    #[inline]
    pub(super) fn has(self, flag: u64) -> bool {
        self.head & flag != 0
    }

    #[inline]
    pub(super) fn words(self) -> usize {
        (self.head & WORDS) as usize
    }

    /// The bytes of a list.
    #[inline]
    pub(super) fn count(self) -> usize {
        (self.head >> COUNT_SHIFT & 0xff) as usize
    }

    fn capacity(self) -> usize {
        if self.has(TABLE) {
            TABLE_LINKS
        } else {
            CAPACITY.get(self.words()).copied().unwrap_or(0)
        }
    }

    /// All links, that of END included.
    fn link_count(self) -> usize {
        self.capacity() + usize::from(self.has(TERMINAL))
    }

    #[inline]
    fn words_offset(self) -> usize {
        HEAD_LEN + if self.has(SKIP) { SKIP_LEN } else { 0 }
    }

    #[inline]
    fn links_offset(self) -> usize {
        self.words_offset() + self.words() * WORD_LEN
    }

    #[inline]
    fn skip(self) -> Option<&'a Skip> {
        // SAFETY: with the flag, a skip follows the head; it never changes.
        let skip: &Skip = self
            .has(SKIP)
            .then(|| unsafe { self.at.add(HEAD_LEN).cast().as_ref() })?;
        skip.watched.read();
        Some(skip)
    }

    /// # Safety
    /// `i` is below the number of words.
    #[inline]
    pub(super) unsafe fn word(self, i: usize) -> &'a AtomicU64 {
        // SAFETY: the caller's promise; words are used through atomics only.
        unsafe {
            self.at
                .add(self.words_offset())
                .cast::<AtomicU64>()
                .add(i)
                .as_ref()
        }
    }

    /// # Safety
    /// `i` is below the number of links.
    #[inline]
    pub(super) unsafe fn slot_at(self, i: usize) -> Slot<'a> {
        // SAFETY: the caller's promise; links are used through atomics only.
        unsafe {
            let link = self
                .at
                .add(self.links_offset())
                .cast::<AtomicU32>()
                .add(i)
                .as_ref();
            Slot::new(link, self.arena)
        }
    }

    #[inline]
    pub(super) fn link(self) -> Link {
        self.link
    }

    #[inline]
    pub(super) fn head(self) -> u64 {
        self.head
    }

    #[inline]
    pub(super) fn address(self) -> NonNull<u8> {
        self.at
    }

    #[inline]
    pub(super) fn arena(self) -> &'a Arena {
        self.arena
    }

    /// The node's depth, if a key that shares `from` bytes with the path to it can be below it. It may still not be:
    /// whoever arrives at a record has to compare.
    #[inline]
    pub(super) fn probable_depth(self, key: &[u8], from: usize) -> Option<usize> {
        match self.skip() {
            None => Some(from),
            Some(skip) => (key.len() >= skip.depth() && skip.tail_matches(key, from)).then_some(skip.depth()),
        }
    }

    /// The node's depth, if a key that shares `from` bytes with the path to it shares all bytes up to there.
    #[inline]
    pub(super) fn depth(self, key: &[u8], from: usize) -> std::result::Result<usize, Parting> {
        let Some(skip) = self.skip() else { return Ok(from) };
        let depth = skip.depth();
        if key.len() >= depth && depth.saturating_sub(from) <= path::TAIL_LEN && skip.tail_matches(key, from)
        {
            return Ok(depth);
        }
        // SAFETY: the witness was whole before the node was published.
        let witness = unsafe { Record::at(self.arena, skip.witness) }.key();
        let at = path::common_len(witness, key, from);
        match witness.get(at) {
            Some(&byte) if at < depth => Err(Parting { at, byte }),
            _ => Ok(depth),
        }
    }

    /// The link of a key that ends here, if the node has room for one.
    #[inline]
    pub(super) fn terminal(self) -> Option<Slot<'a>> {
        // SAFETY: with the flag, one link follows the others.
        self.has(TERMINAL)
            .then(|| unsafe { self.slot_at(self.capacity()) })
    }

    /// The byte of a list that arrived as the `i`th.
    ///
    /// # Safety
    /// `i` is below the count.
    pub(super) unsafe fn listed(self, i: usize) -> u8 {
        match i.checked_sub(HEAD_BYTES) {
            None => (self.head >> (BYTES_SHIFT as usize + 8 * i)) as u8,
            // SAFETY: bytes below the count lie in the head or in a word of the node.
            Some(further) => {
                (unsafe { self.word(further / 8) }.load(Ordering::Relaxed) >> (8 * (further % 8))) as u8
            }
        }
    }
}
