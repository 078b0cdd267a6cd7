//! Looking for a byte in a node: this one, or the nearest to another.
//!
//! Nothing is sorted. A list's bytes are compared all at once; the nearest is the smallest of those that are large enough.
//! A table has a bit for each byte.
//!
//! Callers: the radix tree and its cursor.

use super::link::{Link, Slot};
use super::node::{BYTES_SHIFT, HEAD_BYTES, Node, TABLE, TABLE_WORDS};
use super::path::{self, END, Symbol};
use crate::sync::lock_free::Ordering;

impl<'a> Node<'a> {
    /// The link of a byte. In a table it may be there and lead nowhere.
    #[inline]
    pub(super) fn child(self, byte: u8) -> Option<Slot<'a>> {
        // SAFETY: a table has a link for each byte; a list has links for at least `count` bytes.
        unsafe {
            if self.has(TABLE) {
                return Some(self.slot_at(usize::from(byte)));
            }
            let found = self.positions(byte) & ((1 << self.count()) - 1);
            (found != 0).then(|| self.slot_at(found.trailing_zeros() as usize))
        }
    }

    /// The link of a symbol.
    #[inline]
    pub(super) fn slot(self, symbol: Symbol) -> Option<Slot<'a>> {
        match path::byte(symbol) {
            Some(byte) => self.child(byte),
            None => self.terminal(),
        }
    }

    /// A bit for each byte of the list that equals this one. Those at the count and above mean nothing.
    #[inline]
    fn positions(self, byte: u8) -> u64 {
        let word = |i| {
            // SAFETY: asked for below the number of words.
            unsafe { self.word(i) }.load(Ordering::Relaxed)
        };
        let first = |second| path::equal_bytes(self.head(), second, byte) >> (BYTES_SHIFT / 8);
        match self.words() {
            0 => first(0),
            1 => first(word(0)),
            words => {
                let mut found = first(word(0));
                let mut i = 1;
                while i < words {
                    let second = if i + 1 < words { word(i + 1) } else { 0 };
                    let at = HEAD_BYTES + 8 * i;
                    found |= path::equal_bytes(word(i), second, byte) << at;
                    i += 2;
                }
                found
            }
        }
    }

    /// Asks for the records that a cursor is about to visit: their cache misses then run beside each other.
    #[inline]
    pub(super) fn prefetch_records(self) {
        if self.has(TABLE) {
            return; // its links lead to nodes, mostly
        }
        for i in 0..self.count() {
            // SAFETY: a list has links for at least `count` bytes; they lead into the arena.
            unsafe { self.slot_at(i).load().prefetch_record(self.arena()) };
        }
    }

    /// The next symbol above (forward) or below, or the first or last one, and its link.
    #[inline]
    pub(super) fn neighbour(self, symbol: Option<Symbol>, forward: bool) -> Option<(Symbol, Link)> {
        if forward {
            let lowest = symbol.map_or(END, |symbol| symbol + 1);
            if lowest == END
                && let Some(link) = self.terminal().map(Slot::load)
                && link != Link::NONE
            {
                return Some((END, link));
            }
            self.nearest_byte(lowest.max(path::symbol_of(0)) - path::symbol_of(0), forward)
        } else {
            // Counted from the upper end: 0 is byte 255, 256 is END.
            let lowest = symbol.map_or(0, |symbol| path::symbol_of(u8::MAX) + 1 - symbol);
            self.nearest_byte(lowest, forward).or_else(|| {
                let link = self.terminal()?.load();
                (symbol != Some(END) && link != Link::NONE).then_some((END, link))
            })
        }
    }

    /// The byte nearest to one end (forward: the lower) among those at least `lowest` away from it.
    #[inline]
    fn nearest_byte(self, lowest: u32, forward: bool) -> Option<(Symbol, Link)> {
        // Backward, bytes are turned round: what is looked for is always the smallest.
        let turn = if forward { 0 } else { u64::MAX };
        let (distance, index) = if self.has(TABLE) {
            let distance = self.nearest_bit(lowest, forward)?;
            (distance, (distance as u8 ^ turn as u8).into())
        } else {
            self.nearest_listed(lowest, turn)?
        };
        // SAFETY: as in `child`; the index is that of a byte in the list, or a byte.
        let link = unsafe { self.slot_at(index) }.load();
        Some((path::symbol_of(distance as u8 ^ turn as u8), link))
    }

    /// The smallest byte (after the turn) from `lowest` on, and its index.
    #[inline]
    fn nearest_listed(self, lowest: u32, turn: u64) -> Option<(u32, usize)> {
        let mut best = u32::MAX;
        let mut bytes = (self.head() ^ turn) >> BYTES_SHIFT;
        for i in 0..self.count() {
            if i >= HEAD_BYTES && (i - HEAD_BYTES).is_multiple_of(8) {
                // SAFETY: bytes below the count lie in the head or in a word of the node.
                bytes = unsafe { self.word((i - HEAD_BYTES) / 8) }.load(Ordering::Relaxed) ^ turn;
            }
            let byte = (bytes & 0xff) as u32;
            bytes >>= 8;
            let candidate = byte << 8 | i as u32;
            if byte >= lowest && candidate < best {
                best = candidate;
            }
        }
        (best != u32::MAX).then_some((best >> 8, (best & 0xff) as usize))
    }

    /// The first set bit of a table from `lowest` on, counted from the lower end (forward) or the upper.
    fn nearest_bit(self, lowest: u32, forward: bool) -> Option<u32> {
        let mut mask = u64::MAX << (lowest % 64);
        for i in lowest / 64..TABLE_WORDS as u32 {
            // SAFETY: a table has that many words.
            let load = |i: u32| unsafe { self.word(i as usize) }.load(Ordering::Acquire);
            let word = if forward {
                load(i)
            } else {
                load(TABLE_WORDS as u32 - 1 - i).reverse_bits()
            };
            if word & mask != 0 {
                return Some(64 * i + (word & mask).trailing_zeros());
            }
            mask = u64::MAX;
        }
        None
    }
}
