//! What tools want to see of an SST and a reader never asks for: one block at a time with its frame, the entries of one
//! key block, the separators, the filter's tables.
//!
//! Everything is read by read calls and verified; nothing is cached. One block is held at a time.
//!
//! Callers: `inspect`, which makes it public.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::filter::Filter;
use super::frame::BlockKind;
use super::index_reader::IndexReader;
use super::key_block::KeyBlock;
use super::reader::{Access, BlockInfo, Sst};
use crate::Result;
use crate::types::{SeqNo, ValuePlace};

/// Who is told of a key block's entries: sort key, sequence number, place of the value.
pub type EntrySink<'a> = &'a mut dyn FnMut(&[u8], SeqNo, ValuePlace) -> ControlFlow<()>;

/// One block of an SST, read, verified and decompressed.
#[derive(Clone, Debug)]
pub struct SstBlock {
    /// As the offset table has it.
    pub info: BlockInfo,
    /// Its bytes after decompression.
    pub bytes: Arc<[u8]>,
}

/// How the entries of a key block are laid out: bytes an entry in each part, 0 where all entries share one number (or a
/// constant stride).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLayout {
    /// Entries.
    pub count: u32,
    /// Bytes that all keys share, stored once.
    pub prefix_len: usize,
    /// Of the hash, in hash order: 8 if it is stored, 2 for its place in the block; 0 in key order.
    pub hash_width: u8,
    /// Of the offset where a key's suffix ends; 0: all suffixes have one length.
    pub end_width: u8,
    /// Of the entry's kind.
    pub kind_width: u8,
    /// Of the sequence number.
    pub seq_width: u8,
    /// Of the number of the value's block.
    pub block_width: u8,
    /// Of the value's offset in its block.
    pub offset_width: u8,
    /// Of the value's length.
    pub len_width: u8,
}

/// One table of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterTable {
    /// Slots, a power of two.
    pub slots: u64,
    /// Bits of a remainder.
    pub remainder_bits: u32,
}

impl SstBlock {
    /// Reads block `number` of `sst`.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) for a block that does not exist or is damaged, with its offset.
    pub fn read(sst: &Sst, number: u32) -> Result<SstBlock> {
        let place = sst.block_place(number)?;
        let stored = sst.read_frame(place)?;
        let frame = sst.check_frame(number, place, &stored)?;
        let info = BlockInfo {
            number,
            offset: place.start.into(),
            kind: place.kind,
            codec: place.codec,
            stored_len: frame.stored_len,
        };
        let bytes = sst.decode_frame(number, frame, &stored)?;
        Ok(SstBlock { info, bytes })
    }

    fn keys(&self, sst: &Sst) -> Result<Option<KeyBlock>> {
        if self.info.kind != BlockKind::Key {
            return Ok(None);
        }
        sst.key_block(self.info.number, &self.bytes).map(Some)
    }

    /// How a key block's entries are laid out; `None` for a block of values.
    ///
    /// # Errors
    /// As [`SstBlock::entries`].
    pub fn layout(&self, sst: &Sst) -> Result<Option<KeyLayout>> {
        let Some(keys) = self.keys(sst)? else {
            return Ok(None);
        };
        let prefix_len = keys.prefix(&self.bytes).unwrap_or_default().len();
        let (end_width, [kind_width, seq_width, block_width, offset_width, len_width]) = keys.widths();
        Ok(Some(KeyLayout {
            count: keys.count(),
            prefix_len,
            hash_width: keys.hash_width(),
            end_width,
            kind_width,
            seq_width,
            block_width,
            offset_width,
            len_width,
        }))
    }

    /// Hands the entries of a key block to `sink`, in order: sort key, sequence number, place of the value. A block of values
    /// has none.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) with the block's offset, and
    /// [`Error::NewerFormat`](crate::Error::NewerFormat).
    pub fn entries(&self, sst: &Sst, sink: EntrySink<'_>) -> Result<()> {
        let Some(keys) = self.keys(sst)? else {
            return Ok(());
        };
        let damaged = || sst.block_damaged(self.info.number, "expected an entry");
        let mut key = Vec::new();
        keys.begin_key(&self.bytes, &mut key).ok_or_else(damaged)?;
        for i in 0..keys.count() {
            keys.sort_key(&self.bytes, i, sst.order(), &mut key)
                .ok_or_else(damaged)?;
            let entry = keys.entry(&self.bytes, i, self.info.number);
            let (seq, place) = entry.map_err(|e| sst.entry_refused(self.info.number, e))?;
            if sink(&key, seq, place).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A filter, or a partition of one, read and verified.
#[derive(Clone, Debug)]
pub struct FilterPiece {
    bytes: Arc<[u8]>,
    filter: Filter,
}

impl FilterPiece {
    /// Its bytes, frames not counted.
    pub fn stored_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Its tables, in the order of the hashes that they hold.
    pub fn tables(&self) -> Vec<FilterTable> {
        let table = |(slots, remainder_bits)| FilterTable {
            slots,
            remainder_bits,
        };
        self.filter.tables().map(table).collect()
    }

    /// False: no key of this hash is among those that it holds.
    pub fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(&self.bytes, hash)
    }
}

impl Sst {
    /// Hands the index to `sink`, in order: each separator (in hash order the last hash, big endian) and the number of
    /// its key block. A damaged partition is left out, and the error given when the others have been seen.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) with the offset of the index or its partition.
    pub fn separators(&self, sink: &mut dyn FnMut(&[u8], u32) -> ControlFlow<()>) -> Result<()> {
        let mut index = IndexReader::new(Access::Pread, false);
        let (mut at, mut first_error) = (0, Ok(()));
        while at < self.index_count() {
            let entry = index
                .separator(self, at)
                .and_then(|separator| Ok((separator, index.child(self, at)?)));
            match entry {
                Ok((separator, child)) => {
                    if sink(&separator, child).is_break() {
                        break;
                    }
                    at += 1;
                }
                Err(error) => {
                    at = self.partition_behind(at).unwrap_or(u32::MAX);
                    first_error = first_error.and(Err(error));
                }
            }
        }
        first_error
    }

    /// How many partitions filter and index have; 0: they are in one piece.
    pub fn partitions(&self) -> u32 {
        self.partition_count()
    }

    /// How many pieces the filter has; 0: the file has none.
    pub fn filter_pieces(&self) -> u32 {
        match self.partition_count() {
            0 => u32::from(self.filter.is_some()),
            _ if self.properties().filter_blocks.count == 0 => 0,
            partitions => partitions,
        }
    }

    /// Reads piece `piece` of the filter; `None`, if there is no such piece.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) with the piece's offset.
    pub fn filter_piece(&self, piece: u32) -> Result<Option<FilterPiece>> {
        if self.partition_count() == 0 {
            let filter = self.filter.clone().filter(|_| piece == 0);
            let bytes = Arc::from(self.filter_bytes());
            return Ok(filter.map(|filter| FilterPiece { bytes, filter }));
        }
        if piece >= self.partition_count() {
            return Ok(None);
        }
        let Some((number, _)) = self.row(piece)?.filter() else {
            return Ok(None);
        };
        let bytes = SstBlock::read(self, number)?.bytes;
        let filter = Filter::parse(&bytes).ok_or_else(|| self.block_damaged(number, "expected a filter"))?;
        Ok(Some(FilterPiece { bytes, filter }))
    }
}
