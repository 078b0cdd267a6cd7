//! Key blocks and index blocks: sorted keys with what is said about each, column by column.
//!
//! The bytes that a search touches lie densely together in front, everything else behind them. All integers are little
//! endian; positions count from the block's first byte.
//!
//! ```text
//!   0  type u8           key order: 1 variable keys, 2 keys of one length, 3 index; hash order: 4 variable keys, 5 keys of one length
//!   1  end width u8      2 or 4: bytes of a suffix's end offset; 0 when all suffixes have one length
//!   2  prefix length u16
//!   4  count u32
//!   8  suffix bytes u32  all suffixes together
//!  12  stride u32        the length of every suffix, when they have one length; else 0
//!  16  inline area u32   where it starts; it reaches to the block's end
//!  20  hash width u8     hash order: 2 or 8, see `hashes`; key order: 0
//!  21  reserved [u8; 3] = 0
//!  24  column descriptors of 16 bytes: entry kind, sequence number, value block, value offset, value length;
//!      hash order: key length
//! 104  hashes            hash order only (there at 120): what a search touches first, see `hashes`
//!      prefix            the bytes that all keys share, once
//!      end offsets       count x end width (only if the suffixes differ in length)
//!      suffixes
//!      column bodies     in the order of the descriptors
//!      inline area       values of at most 8 bytes, and references of 24; in hash order it is empty
//! ```
//!
//! | kind | meaning | value block | value offset | value length |
//! | --- | --- | --- | --- | --- |
//! | 0x10 + n | inline value of n bytes, n = 0 to 8 | - | within the inline area | - |
//! | 1 | small value | block number | within the block | bytes |
//! | 2 | medium value | block number | - | bytes, uncompressed |
//! | 3 | tombstone | - | - | - |
//! | 4 | reference to an object in a pack, 24 bytes | - | within the inline area; hash order: - | - |
//! | 5, 6 | reserved: range tombstone, merge operand | | | |
//! | 7 | hash order: the value is what follows the key in its suffix | - | - | - |
//!
//! A reference is drawn where `ObjectRef` makes it (`types`): the object's id, 16 bytes, and its length, u64. It lies in the key block,
//! so that a look-up touches nothing else.
//!
//! In hash order a suffix is a row: the rest of the key, and behind it the value, if that is a reference, at most 8 bytes long, or
//! small and the file is written without compression. The key length (without the prefix) says where one ends and the other begins. A look-up then finds the
//! value in the cache line, or at least the page, in which it has just compared the key: of a database larger than the processor's
//! caches every other place is a miss of cache and TLB, and a look-up consists of those. (With compression a whole
//! block of values would be decompressed for one; value blocks are smaller.)
//!
//! Columns that an entry does not use repeat their neighbour, so that they do not widen the column.
//! In an index block a key is a separator, and the value block column holds the key block's number. (Hash order has an index of
//! its own, see `index`.)
//!
//! Invariants: entries ascend by sort key (in hash order: by hash, then key), then descend by sequence number. [`KeyBlock::parse`] checks every region against
//! the block's length; suffix ends are checked as they are used. A function that meets bytes that no writer writes
//! answers `None` (or [`EntryError`]), never panics.
//!
//! Callers: `key_block_builder` writes; `reader`, `cursor` and `verify` read.

use std::cmp::Ordering;
use std::hint::select_unpredictable;
use std::ops::Range;

use super::column::{Column, DESCRIPTOR_LEN};
use super::hashes::Hashes;
use super::order::{HASH_LEN, SortOrder, split};
use crate::coding::{array_at, u16_at, u32_at};
use crate::types::{MAX_INLINE_LEN, MAX_SEQ, ObjectRef, SeqNo, ValuePlace};

pub(super) const TYPE_VARIABLE: u8 = 1;
pub(super) const TYPE_FIXED: u8 = 2;
pub(super) const TYPE_INDEX: u8 = 3;
pub(super) const TYPE_HASHED_VARIABLE: u8 = 4;
pub(super) const TYPE_HASHED_FIXED: u8 = 5;

pub(super) const KIND_SMALL: u8 = 1;
pub(super) const KIND_MEDIUM: u8 = 2;
pub(super) const KIND_TOMBSTONE: u8 = 3;
pub(super) const KIND_OBJECT: u8 = 4;
/// Kinds from here to [`KIND_RESERVED_LAST`] are spoken for: range tombstone, merge operand.
const KIND_RESERVED_FIRST: u8 = 5;
const KIND_RESERVED_LAST: u8 = 6;
pub(super) const KIND_IN_ROW: u8 = 7;
/// An inline value of `n` bytes has the kind `INLINE_MIN + n`.
pub(super) const INLINE_MIN: u8 = 0x10;
const INLINE_MAX: u8 = INLINE_MIN + MAX_INLINE_LEN as u8;

pub(super) const COLUMNS: usize = 5;
/// In hash order: key length.
pub(super) const HASHED_COLUMNS: usize = COLUMNS + 1;
pub(super) const DESCRIPTORS_AT: usize = 24;
pub(super) const HEADER_LEN: usize = DESCRIPTORS_AT + COLUMNS * DESCRIPTOR_LEN;
pub(super) const HASHED_HEADER_LEN: usize = DESCRIPTORS_AT + HASHED_COLUMNS * DESCRIPTOR_LEN;

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
    hashes: Option<Hashes>,
    prefix_at: usize,
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
    /// In hash order.
    key_len: Column,
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
        let (hash_width, type_fits) = match (usage, block_type) {
            (BlockUse::Keys, TYPE_VARIABLE) => (0, end_width != 0),
            (BlockUse::Keys, TYPE_FIXED) => (0, end_width == 0),
            (BlockUse::Keys, TYPE_HASHED_VARIABLE) => (header[20], end_width != 0),
            (BlockUse::Keys, TYPE_HASHED_FIXED) => (header[20], end_width == 0),
            (usage, block_type) => (0, usage == BlockUse::Index && block_type == TYPE_INDEX),
        };
        let zeros_behind = u32_at(header, 20)? == u32::from(hash_width);
        if !type_fits || !matches!(end_width, 0 | 2 | 4) || !zeros_behind || count == 0 {
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
        let (hashes, prefix_at) = match block_type {
            TYPE_HASHED_VARIABLE | TYPE_HASHED_FIXED => {
                let (hashes, end) = Hashes::parse(bytes, HASHED_HEADER_LEN, hash_width, count)?;
                (Some(hashes), end)
            }
            _ => (None, HEADER_LEN),
        };
        let ends_at = prefix_at + prefix_len;
        let suffixes_at = ends_at + count as usize * usize::from(end_width);
        let mut at = suffixes_at + suffixes_len;
        let mut columns = [Column::default(); HASHED_COLUMNS];
        let used = if hashes.is_some() { HASHED_COLUMNS } else { COLUMNS };
        let mut descriptor = DESCRIPTORS_AT;
        for column in columns.iter_mut().take(used) {
            (*column, at) = Column::parse(bytes, descriptor, at, count)?;
            descriptor += DESCRIPTOR_LEN;
        }
        if at != inline_at || inline_at > bytes.len() {
            return None;
        }
        let [kind, seq, value_block, value_offset, value_len, key_len] = columns;
        Some(KeyBlock {
            count,
            hashes,
            prefix_at,
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
            key_len,
            inline_at,
        })
    }

    /// The number of entries, at least one.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes an entry of its hash, for descriptions; 0 in key order.
    pub(crate) fn hash_width(&self) -> u8 {
        self.hashes.as_ref().map_or(0, Hashes::width)
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
        bytes.get(self.prefix_at..self.ends_at)
    }

    #[inline]
    pub(super) fn prefix_len(&self) -> usize {
        self.prefix_len
    }

    /// In hash order the block's hashes.
    #[inline]
    pub(super) fn hashes(&self) -> Option<&Hashes> {
        self.hashes.as_ref()
    }

    /// Bytes of a sort key in front of the key.
    #[inline]
    pub(super) fn hash_len(&self) -> usize {
        if self.hashes.is_some() { HASH_LEN } else { 0 }
    }

    /// Whether the block is of this order.
    #[inline]
    pub(crate) fn is_of(&self, order: SortOrder) -> bool {
        self.hashes.is_some() == order.is_hash()
    }

    /// What follows the prefix in key `i`.
    #[inline]
    pub(crate) fn suffix<'a>(&self, bytes: &'a [u8], i: u32) -> Option<&'a [u8]> {
        bytes.get(self.suffix_range(bytes, i)?)
    }

    #[inline]
    fn suffix_range(&self, bytes: &[u8], i: u32) -> Option<Range<usize>> {
        let row = self.row_range(bytes, i)?;
        if self.hashes.is_none() {
            return Some(row);
        }
        let len = usize::try_from(self.key_len.get(bytes, i)?).ok()?;
        (len <= row.len()).then_some(row.start..row.start + len)
    }

    /// The suffix, and in hash order the value that may follow it.
    #[inline]
    fn row_range(&self, bytes: &[u8], i: u32) -> Option<Range<usize>> {
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
        if end > self.suffixes_len || start > end {
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

    /// The first entry at or after (sort key `key`, `seq`) in the order of the block; `count` when all lie before it.
    #[inline]
    pub(crate) fn lower_bound(&self, bytes: &[u8], key: &[u8], seq: SeqNo, order: SortOrder) -> Option<u32> {
        if let Some(hashes) = &self.hashes {
            // A bound that is shorter than a hash lies before everything that begins with it.
            let seq = if key.len() < HASH_LEN { SeqNo::MAX } else { seq };
            let (hash, key) = split(key);
            return self.hashed_lower_bound(hashes, bytes, (hash, key, seq), order);
        }
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

    /// The sequence number of entry `i` and where its value lies; `number` is the block's own.
    #[inline]
    pub(crate) fn entry(&self, bytes: &[u8], i: u32, number: u32) -> Result<(SeqNo, ValuePlace), EntryError> {
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
        let place = self.place(bytes, i, kind, number).ok_or(EntryError::Damaged)?;
        Ok((seq, place))
    }

    #[inline]
    fn place(&self, bytes: &[u8], i: u32, kind: u8, own: u32) -> Option<ValuePlace> {
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
            KIND_OBJECT => {
                let start = match self.hashes {
                    Some(_) => {
                        let (key, row) = (self.suffix_range(bytes, i)?, self.row_range(bytes, i)?);
                        (row.end - key.end == ObjectRef::LEN).then_some(key.end)?
                    }
                    None => self.inline_at + number(&self.value_offset)? as usize,
                };
                bytes.get(start..start + ObjectRef::LEN)?;
                ValuePlace::Object {
                    block: own,
                    offset: u32::try_from(start).ok()?,
                }
            }
            INLINE_MIN..=INLINE_MAX => {
                let len = kind - INLINE_MIN;
                let start = self.inline_at + number(&self.value_offset)? as usize;
                inline(bytes.get(start..start + usize::from(len))?)?
            }
            KIND_IN_ROW if self.hashes.is_some() => {
                let (key, row) = (self.suffix_range(bytes, i)?, self.row_range(bytes, i)?);
                match row.end - key.end {
                    ..=MAX_INLINE_LEN => inline(bytes.get(key.end..row.end)?)?,
                    len => ValuePlace::InKeyBlock {
                        block: own,
                        offset: key.end as u32,
                        len: len as u32,
                    },
                }
            }
            _ => return None,
        })
    }
}

/// The place of a value of at most eight bytes.
#[inline]
fn inline(value: &[u8]) -> Option<ValuePlace> {
    let mut bytes = [0; MAX_INLINE_LEN];
    bytes.get_mut(..value.len())?.copy_from_slice(value);
    Some(ValuePlace::Inline {
        len: value.len() as u8,
        bytes,
    })
}

/// The first eight bytes as a number that orders as they do; zeros stand for missing ones.
#[inline]
fn leading(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(word)
}
