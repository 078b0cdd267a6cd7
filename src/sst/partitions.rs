//! Partitions: filter and index of a large file in pieces, so that opening it reads little, and what is held of it is what
//! the cache has room for.
//!
//! A partition is a range of neighbouring key blocks (in hash order: of hashes). It has a filter of the keys that begin in it,
//! and an index of its key blocks, each a block like any other, stored raw. The writer ends a partition when its keys fill
//! one table of the filter, or its index has the size that was asked for. So it holds the hashes of one partition at a time, and no table of a
//! filter but the last is less than full. A file that comes to its end within its first partition has none: it keeps
//! filter and index in the sections of these names.
//!
//! A file with partitions has an empty filter section, and in place of its index the *top*:
//!
//! ```text
//!   0  type u8 = 9
//!   1  reserved [u8; 3] = 0
//!   4  partitions u32
//!   8  rows                 partitions x 20 bytes
//!      separators           an index in the form of `index`; its children are the numbers of the partitions, from 0 on
//!
//! row: number u32           of the block that holds the partition's index; its filter is the block before
//!      start u32            of the filter's frame; of the index's, if there is no filter
//!      filter length u32    with frame; 0: no filter
//!      index length u32     with frame; it follows the filter
//!      key blocks u32       of this and all earlier partitions
//! ```
//!
//! Rows repeat what the offset table says, so that a look-up finds a partition without a page of the table.
//!
//! A separator is that of the partition's last key block. A key may go on from one partition to the next as it may from one key
//! block to the next; a look-up begins in the first partition that can have it, and only there the filter is asked.
//!
//! Callers: `partition_builder` writes; `reader`, `index_reader` and `verify` read.

use super::footer::{Footer, HEADER_LEN};
use super::frame::{BlockKind, Codec};
use super::index::Index;
use super::offset_table::BlockPlace;
use super::order::SortOrder;
use crate::coding::{Decoder, array_at, u32_at};
use crate::planted::{self, Bug};

pub(super) const TYPE_TOP: u8 = 9;
const ROWS_AT: usize = 8;
const ROW_LEN: usize = 20;
/// Where in a row the number of key blocks is.
const KEY_BLOCKS_AT: usize = 16;

/// One partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// Of the index; the filter's is one less.
    pub(crate) number: u32,
    pub(crate) start: u32,
    pub(crate) filter_len: u32,
    pub(crate) index_len: u32,
    /// Of this and all earlier partitions.
    pub(crate) key_blocks: u32,
}

impl Row {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let fields = [
            self.number,
            self.start,
            self.filter_len,
            self.index_len,
            self.key_blocks,
        ];
        out.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    }

    fn decode(bytes: [u8; ROW_LEN]) -> Option<Row> {
        let mut decoder = Decoder::new(&bytes);
        Some(Row {
            number: decoder.u32()?,
            start: decoder.u32()?,
            filter_len: decoder.u32()?,
            index_len: decoder.u32()?,
            key_blocks: decoder.u32()?,
        })
    }

    /// Number and place of the filter's block.
    #[inline]
    pub(crate) fn filter(&self) -> Option<(u32, BlockPlace)> {
        let place = BlockPlace {
            start: self.start,
            len: self.filter_len,
            kind: BlockKind::Filter,
            codec: Codec::Raw,
        };
        (self.filter_len > 0).then_some((self.number.wrapping_sub(1), place))
    }

    /// Number and place of the index's block.
    #[inline]
    pub(crate) fn index(&self) -> (u32, BlockPlace) {
        let place = BlockPlace {
            // `Top::parse` has checked the sum.
            start: self.start.saturating_add(self.filter_len),
            len: self.index_len,
            kind: BlockKind::Index,
            codec: Codec::Raw,
        };
        (self.number, place)
    }
}

/// A parsed top: positions only, the bytes are passed to every call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Top {
    count: u32,
    key_blocks: u32,
}

impl Top {
    /// The top that an index section holds, the index of the partitions' separators, and where that begins. `None`: it is the index
    /// of a file without partitions, or damaged; an index does not begin as a top does.
    pub(crate) fn parse(bytes: &[u8], footer: &Footer, order: SortOrder) -> Option<(Top, Index, usize)> {
        let (front, count) = (u32_at(bytes, 0)?, u32_at(bytes, 4)?);
        let separators_at = ROWS_AT + count as usize * ROW_LEN;
        if front != u32::from(TYPE_TOP) || footer.filter.len != 0 {
            return None;
        }
        let index = Index::parse(bytes.get(separators_at..)?, order)?;
        let mut before = Row {
            start: HEADER_LEN as u32,
            ..Row::default()
        };
        let mut top = Top { count, key_blocks: 0 };
        for at in 0..count {
            let row = top.row(bytes, at)?;
            let end = u64::from(row.start) + u64::from(row.filter_len) + u64::from(row.index_len);
            let fits = row.number < footer.block_count
                && (row.number > before.number || at == 0)
                && (row.filter_len == 0 || row.number > 0)
                && row.start >= before.start
                && end <= footer.filter.offset
                && row.key_blocks > before.key_blocks;
            if !fits {
                return None;
            }
            before = row;
        }
        top.key_blocks = before.key_blocks;
        let fits = index.count() == count && top.key_blocks <= footer.block_count;
        fits.then_some((top, index, separators_at))
    }

    /// Whether an index section begins as a top.
    pub(crate) fn is_one(bytes: &[u8]) -> bool {
        u32_at(bytes, 0) == Some(TYPE_TOP.into())
    }

    /// Partitions, at least one.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Key blocks of all partitions.
    #[inline]
    pub(crate) fn key_blocks(&self) -> u32 {
        self.key_blocks
    }

    #[inline]
    pub(crate) fn row(&self, bytes: &[u8], partition: u32) -> Option<Row> {
        if partition >= self.count {
            return None;
        }
        array_at(bytes, ROWS_AT + partition as usize * ROW_LEN).and_then(Row::decode)
    }

    /// The partition that key block `at` of the file is in.
    pub(crate) fn partition_of(&self, bytes: &[u8], at: u32) -> Option<u32> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let key_blocks = u32_at(bytes, ROWS_AT + middle as usize * ROW_LEN + KEY_BLOCKS_AT)?;
            (low, high) = if key_blocks <= at {
                (middle + 1, high)
            } else {
                (low, middle)
            };
        }
        (low < self.count).then_some(low)
    }

    /// Key blocks in front of a partition.
    #[inline]
    pub(crate) fn first_of(&self, bytes: &[u8], partition: u32) -> Option<u32> {
        match partition.checked_sub(1) {
            None => Some(0),
            Some(before) => Some(self.row(bytes, before)?.key_blocks),
        }
    }

    /// The partition to look in for what the separators say is in `found`.
    #[inline]
    pub(crate) fn planted_miss(&self, found: u32) -> u32 {
        let last = self.count.saturating_sub(1);
        if planted::is(Bug::LastPartitionMissed) && found == last && last > 0 {
            return self.count;
        }
        found
    }

    /// The partition whose filter to ask about what may be in `found`.
    #[inline]
    pub(crate) fn planted_neighbour(&self, found: u32) -> u32 {
        if planted::is(Bug::FilterOfNeighbour) && self.count > 1 {
            return found.checked_sub(1).unwrap_or(1);
        }
        found
    }
}
