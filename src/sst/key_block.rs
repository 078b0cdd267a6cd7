//! Key blocks and index blocks: sorted keys with what is said about each, column by column.
//!
//! The bytes that a search touches lie densely together in front, everything else behind them. All integers are little
//! endian; positions count from the block's first byte.
//!
//! ```text
//!   0  type u8           1 variable keys, 2 keys of one length, 3 index; 4 to 7 reserved for hash order
//!   1  end width u8      2 or 4: bytes of a suffix's end offset; 0 when all suffixes have one length
//!   2  prefix length u16
//!   4  count u32
//!   8  suffix bytes u32  all suffixes together
//!  12  stride u32        the length of every suffix, when they have one length; else 0
//!  16  inline area u32   where it starts; it reaches to the block's end
//!  20  reserved u32 = 0
//!  24  5 column descriptors of 16 bytes: entry kind, sequence number, value block, value offset, value length
//! 104  prefix            the bytes that all keys share, once
//!      end offsets       count x end width (only if the suffixes differ in length)
//!      suffixes
//!      column bodies     in the order of the descriptors
//!      inline area       values of at most 8 bytes
//! ```
//!
//! | kind | meaning | value block | value offset | value length |
//! | --- | --- | --- | --- | --- |
//! | 0x10 + n | inline value of n bytes, n = 0 to 8 | - | within the inline area | - |
//! | 1 | small value | block number | within the block | bytes |
//! | 2 | medium value | block number | - | bytes, uncompressed |
//! | 3 | tombstone | - | - | - |
//! | 4, 5, 6 | reserved: large value, range tombstone, merge operand | | | |
//!
//! Columns that an entry does not use repeat their neighbour, so that they do not widen the column.
//! In an index block a key is a separator, and the value block column holds the key block's number.
//!
//! Invariants: entries ascend by key, then descend by sequence number. [`KeyBlock::parse`] checks every region against
//! the block's length; suffix ends are checked as they are used. A function that meets bytes that no writer writes
//! answers `None` (or [`EntryError`]), never panics.
//!
//! Callers: `key_block_builder` writes; `reader`, `cursor` and `verify` read.

use std::cmp::Ordering;
use std::hint::select_unpredictable;
use std::ops::Range;

use super::column::{Column, DESCRIPTOR_LEN};
use crate::coding::{array_at, u16_at, u32_at};
use crate::types::{MAX_INLINE_LEN, MAX_SEQ, SeqNo, ValuePlace};

pub(super) const TYPE_VARIABLE: u8 = 1;
pub(super) const TYPE_FIXED: u8 = 2;
pub(super) const TYPE_INDEX: u8 = 3;

pub(super) const KIND_SMALL: u8 = 1;
pub(super) const KIND_MEDIUM: u8 = 2;
pub(super) const KIND_TOMBSTONE: u8 = 3;
/// Kinds from here to [`KIND_RESERVED_LAST`] are spoken for: large value, range tombstone, merge operand.
const KIND_RESERVED_FIRST: u8 = 4;
const KIND_RESERVED_LAST: u8 = 6;
/// An inline value of `n` bytes has the kind `INLINE_MIN + n`.
pub(super) const INLINE_MIN: u8 = 0x10;
const INLINE_MAX: u8 = INLINE_MIN + MAX_INLINE_LEN as u8;

pub(super) const COLUMNS: usize = 5;
const DESCRIPTORS_AT: usize = 24;
pub(super) const HEADER_LEN: usize = DESCRIPTORS_AT + COLUMNS * DESCRIPTOR_LEN;

/// What an entry weighs in a key block besides its key, in bytes, when blocks are cut (spec/sst.md). It is close to
/// the truth for wide columns and generous for narrow ones, and it bounds the count of entries in a block.
pub(crate) const ENTRY_OVERHEAD: usize = 20;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockUse {
    Keys,
    Index,
}

/// Why an entry could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryError {
    /// Bytes that no writer writes.
    Damaged,
    /// An entry kind that only newer releases know.
    Newer(u8),
}

/// Where everything lies in a parsed block. Plain positions: the bytes are passed to every call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyBlock {
    count: u32,
    prefix_len: usize,
    end_width: u8,
    ends_at: usize,
    suffixes_at: usize,
    suffixes_len: usize,
    stride: usize,
    kind: Column,
    seq: Column,
    value_block: Column,
    value_offset: Column,
    value_len: Column,
    inline_at: usize,
}

impl KeyBlock {
    /// Checks the regions of a block and notes where they lie.
    pub(crate) fn parse(bytes: &[u8], usage: BlockUse) -> Option<KeyBlock> {
        let header = bytes.first_chunk::<HEADER_LEN>()?;
        let (block_type, end_width) = (header[0], header[1]);
        let count = u32_at(header, 4)?;
        let prefix_len = usize::from(u16_at(header, 2)?);
        let suffixes_len = u32_at(header, 8)? as usize;
        let stride = u32_at(header, 12)? as usize;
        let inline_at = u32_at(header, 16)? as usize;
        let type_fits = match usage {
            BlockUse::Keys => {
                (block_type == TYPE_VARIABLE && end_width != 0)
                    || (block_type == TYPE_FIXED && end_width == 0)
            }
            BlockUse::Index => block_type == TYPE_INDEX,
        };
        if !type_fits || !matches!(end_width, 0 | 2 | 4) || u32_at(header, 20)? != 0 || count == 0 {
            return None;
        }
        if (end_width == 0 && count as usize * stride != suffixes_len) || (end_width > 0 && stride > 0) {
            return None;
        }
        // Neighbours differ in their keys or their numbers, which takes a byte an entry: without this a few bytes could
        // stand for four billion equal entries. (Equal separators are possible; `reader` bounds them by the blocks.)
        if usage == BlockUse::Keys && count as usize > bytes.len() {
            return None;
        }
        // All of these are sums and products of u32s: no overflow in 64 bits.
        let ends_at = HEADER_LEN + prefix_len;
        let suffixes_at = ends_at + count as usize * usize::from(end_width);
        let mut at = suffixes_at + suffixes_len;
        let mut columns = [Column::default(); COLUMNS];
        let mut descriptor = DESCRIPTORS_AT;
        for column in &mut columns {
            (*column, at) = Column::parse(bytes, descriptor, at, count)?;
            descriptor += DESCRIPTOR_LEN;
        }
        if at != inline_at || inline_at > bytes.len() {
            return None;
        }
        let [kind, seq, value_block, value_offset, value_len] = columns;
        Some(KeyBlock {
            count,
            prefix_len,
            end_width,
            ends_at,
            suffixes_at,
            suffixes_len,
            stride,
            kind,
            seq,
            value_block,
            value_offset,
            value_len,
            inline_at,
        })
    }

    /// The number of entries, at least one.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes an entry in each part, for descriptions: suffix ends, then the columns in the order of the drawing.
    pub(crate) fn widths(&self) -> (u8, [u8; COLUMNS]) {
        let columns = [
            &self.kind,
            &self.seq,
            &self.value_block,
            &self.value_offset,
            &self.value_len,
        ];
        (self.end_width, columns.map(Column::width))
    }

    /// The bytes that all keys start with.
    #[inline]
    pub(crate) fn prefix<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(HEADER_LEN..self.ends_at)
    }

    /// What follows the prefix in key `i`.
    #[inline]
    pub(crate) fn suffix<'a>(&self, bytes: &'a [u8], i: u32) -> Option<&'a [u8]> {
        bytes.get(self.suffix_range(bytes, i)?)
    }

    #[inline]
    fn suffix_range(&self, bytes: &[u8], i: u32) -> Option<Range<usize>> {
        let i = i as usize;
        let (start, end) = match self.end_width {
            0 => (i * self.stride, (i + 1) * self.stride),
            2 => {
                let at = self.ends_at + i * 2;
                let start = if i == 0 { 0 } else { u16_at(bytes, at - 2)? };
                (usize::from(start), usize::from(u16_at(bytes, at)?))
            }
            _ => {
                let at = self.ends_at + i * 4;
                let start = if i == 0 { 0 } else { u32_at(bytes, at - 4)? };
                (start as usize, u32_at(bytes, at)? as usize)
            }
        };
        if end > self.suffixes_len {
            return None;
        }
        Some(self.suffixes_at + start..self.suffixes_at + end)
    }

    /// The sequence number of entry `i`.
    #[inline]
    pub(crate) fn seq(&self, bytes: &[u8], i: u32) -> Option<SeqNo> {
        self.seq.get(bytes, i)
    }

    /// In an index block: the key block that separator `i` stands for.
    #[inline]
    pub(crate) fn child(&self, bytes: &[u8], i: u32) -> Option<u32> {
        u32::try_from(self.value_block.get(bytes, i)?).ok()
    }

    /// Whether key `i` is `key`.
    #[inline]
    pub(crate) fn key_equals(&self, bytes: &[u8], i: u32, key: &[u8]) -> Option<bool> {
        let suffix = self.suffix(bytes, i)?;
        Some(
            key.split_at_checked(self.prefix_len)
                .is_some_and(|(_, rest)| rest == suffix)
                && key.starts_with(self.prefix(bytes)?),
        )
    }

    /// The first entry at or after (`key`, `seq`) in the order of the block; `count` when all lie before it.
    #[inline]
    pub(crate) fn lower_bound(&self, bytes: &[u8], key: &[u8], seq: SeqNo) -> Option<u32> {
        let prefix = self.prefix(bytes)?;
        let shared = prefix.len().min(key.len());
        let (head, target) = key.split_at_checked(shared)?;
        match head.cmp(prefix.get(..shared)?) {
            Ordering::Less => return Some(0),
            Ordering::Greater => return Some(self.count),
            Ordering::Equal if shared < prefix.len() => return Some(0),
            Ordering::Equal => {}
        }
        // Bisection over the first eight bytes as numbers: the outcome of a comparison is a coin toss, and choosing by a
        // conditional move instead of a branch costs no misprediction (12 to 16 % of a look-up, measured). Equal numbers
        // are compared in full.
        let wanted = leading(target);
        let (mut low, mut size) = (0, self.count);
        while size > 0 {
            let half = size / 2;
            let middle = low + half;
            let (word, suffix) = self.leading_suffix(bytes, middle)?;
            let before = if word == wanted {
                self.before(bytes, middle, suffix, target, seq)?
            } else {
                word < wanted
            };
            low = select_unpredictable(before, middle + 1, low);
            size = select_unpredictable(before, size - half - 1, half);
        }
        Some(low)
    }

    #[inline]
    fn before(&self, bytes: &[u8], i: u32, suffix: &[u8], target: &[u8], seq: SeqNo) -> Option<bool> {
        Some(match suffix.cmp(target) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => self.seq(bytes, i)? > seq,
        })
    }

    /// Suffix `i` and its [`leading`] number.
    #[inline]
    fn leading_suffix<'a>(&self, bytes: &'a [u8], i: u32) -> Option<(u64, &'a [u8])> {
        let range = self.suffix_range(bytes, i)?;
        let suffix = bytes.get(range.clone())?;
        let word = match array_at(bytes, range.start) {
            // What the eight bytes hold beyond a short suffix is masked out.
            Some(word) => {
                let beyond = 8 * 8u32.saturating_sub(suffix.len() as u32);
                u64::from_be_bytes(word) & u64::MAX.checked_shl(beyond).unwrap_or(0)
            }
            None => leading(suffix),
        };
        Some((word, suffix))
    }

    /// The sequence number of entry `i` and where its value lies.
    #[inline]
    pub(crate) fn entry(&self, bytes: &[u8], i: u32) -> Result<(SeqNo, ValuePlace), EntryError> {
        let seq = self
            .seq(bytes, i)
            .filter(|&seq| seq <= MAX_SEQ)
            .ok_or(EntryError::Damaged)?;
        let kind = self
            .kind
            .get(bytes, i)
            .and_then(|kind| u8::try_from(kind).ok())
            .ok_or(EntryError::Damaged)?;
        if (KIND_RESERVED_FIRST..=KIND_RESERVED_LAST).contains(&kind) {
            return Err(EntryError::Newer(kind));
        }
        let place = self.place(bytes, i, kind).ok_or(EntryError::Damaged)?;
        Ok((seq, place))
    }

    #[inline]
    fn place(&self, bytes: &[u8], i: u32, kind: u8) -> Option<ValuePlace> {
        let number = |column: &Column| u32::try_from(column.get(bytes, i)?).ok();
        Some(match kind {
            KIND_SMALL => ValuePlace::Small {
                block: number(&self.value_block)?,
                offset: number(&self.value_offset)?,
                len: number(&self.value_len)?,
            },
            KIND_MEDIUM => ValuePlace::Medium {
                block: number(&self.value_block)?,
                len: number(&self.value_len)?,
            },
            KIND_TOMBSTONE => ValuePlace::Tombstone,
            INLINE_MIN..=INLINE_MAX => {
                let len = kind - INLINE_MIN;
                let start = self.inline_at + number(&self.value_offset)? as usize;
                let value = bytes.get(start..start + usize::from(len))?;
                let mut inline = [0; MAX_INLINE_LEN];
                inline.get_mut(..value.len())?.copy_from_slice(value);
                ValuePlace::Inline { len, bytes: inline }
            }
            _ => return None,
        })
    }
}

/// The first eight bytes as a number that orders as they do; zeros stand for missing ones.
#[inline]
fn leading(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sst::key_block_builder::KeyBlockBuilder;

    fn block(entries: &[(&[u8], SeqNo, ValuePlace)]) -> Vec<u8> {
        let mut builder = KeyBlockBuilder::default();
        for (key, seq, place) in entries {
            builder.push(key, *seq, place);
        }
        let mut out = Vec::new();
        builder.encode(BlockUse::Keys, &mut out);
        out
    }

    fn inline(value: &[u8]) -> ValuePlace {
        let mut bytes = [0; 8];
        bytes[..value.len()].copy_from_slice(value);
        ValuePlace::Inline {
            len: value.len() as u8,
            bytes,
        }
    }

    #[test]
    fn entries_of_every_kind_come_back() {
        let entries: Vec<(&[u8], SeqNo, ValuePlace)> = vec![
            (b"user/", 9, ValuePlace::Tombstone),
            (b"user/a", 900_000, inline(b"12345678")),
            (b"user/a", 3, inline(b"")),
            (
                b"user/bb",
                0,
                ValuePlace::Small {
                    block: 77_000,
                    offset: 8191,
                    len: 4096,
                },
            ),
            (
                b"user/c",
                1,
                ValuePlace::Medium {
                    block: 3,
                    len: 1 << 26,
                },
            ),
        ];
        let bytes = block(&entries);
        let parsed = KeyBlock::parse(&bytes, BlockUse::Keys).unwrap();
        assert_eq!(parsed.prefix(&bytes), Some(&b"user/"[..]));
        for (i, (key, seq, place)) in entries.iter().enumerate() {
            assert_eq!(parsed.suffix(&bytes, i as u32), Some(&key[5..]));
            assert_eq!(parsed.entry(&bytes, i as u32), Ok((*seq, *place)));
            assert_eq!(parsed.lower_bound(&bytes, key, *seq), Some(i as u32));
        }
        assert_eq!(
            parsed.lower_bound(&bytes, b"user/a", 5),
            Some(2),
            "the version that the snapshot sees"
        );
        assert_eq!(parsed.lower_bound(&bytes, b"use", 5), Some(0));
        assert_eq!(parsed.lower_bound(&bytes, b"usf", 5), Some(5));
        assert_eq!(parsed.lower_bound(&bytes, b"user0", 5), Some(5));
    }

    #[test]
    fn short_references_cost_a_few_bytes_an_entry() {
        let mut builder = KeyBlockBuilder::default();
        for i in 0..400u32 {
            let place = ValuePlace::Small {
                block: 9_000_000 + i / 80,
                offset: i % 80 * 100,
                len: 100,
            };
            builder.push(format!("{i:016}").as_bytes(), 1 << 40, &place);
        }
        let mut out = Vec::new();
        builder.encode(BlockUse::Keys, &mut out);
        // Three digits of suffix, one byte of block number, two of offset; number, kind and length are constants.
        assert_eq!(out.len(), HEADER_LEN + 13 + 400 * (3 + 1 + 2));
    }

    #[test]
    fn reserved_kinds_are_refused_as_newer() {
        let mut bytes = block(&[(b"k", 1, ValuePlace::Tombstone)]);
        for kind in [4, 5, 6] {
            bytes[DESCRIPTORS_AT] = kind;
            let parsed = KeyBlock::parse(&bytes, BlockUse::Keys).unwrap();
            assert_eq!(parsed.entry(&bytes, 0), Err(EntryError::Newer(kind)));
        }
        bytes[DESCRIPTORS_AT] = 0x19;
        assert_eq!(
            KeyBlock::parse(&bytes, BlockUse::Keys).unwrap().entry(&bytes, 0),
            Err(EntryError::Damaged)
        );
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let bytes = block(&[
            (b"a", 9, ValuePlace::Tombstone),
            (b"abc", 5, inline(b"1234")),
            (
                b"abd",
                1000,
                ValuePlace::Small {
                    block: 1,
                    offset: 2,
                    len: 3,
                },
            ),
        ]);
        for at in 0..bytes.len() {
            for value in [0, 1, 2, 4, 0x7f, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = value;
                let Some(parsed) = KeyBlock::parse(&bad, BlockUse::Keys) else {
                    continue;
                };
                for i in 0..parsed.count().min(5) {
                    let _ = (
                        parsed.suffix(&bad, i),
                        parsed.entry(&bad, i),
                        parsed.key_equals(&bad, i, b"abc"),
                    );
                }
                let _ = parsed.lower_bound(&bad, b"abc", 3);
            }
        }
        for len in 0..bytes.len() {
            if let Some(parsed) = KeyBlock::parse(&bytes[..len], BlockUse::Keys) {
                assert!(
                    (0..3).any(|i| parsed.entry(&bytes[..len], i).is_err()),
                    "cut to {len}"
                );
            }
        }
    }

    #[test]
    fn a_block_cannot_claim_more_entries_than_it_has_bytes() {
        // One key, all columns constant: the count stands for nothing but itself. A scan would see it four billion times.
        let mut bytes = block(&[(b"k", 1, ValuePlace::Tombstone)]);
        assert!(KeyBlock::parse(&bytes, BlockUse::Keys).is_some());
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(KeyBlock::parse(&bytes, BlockUse::Keys).is_none());
    }
}
