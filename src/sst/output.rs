//! [`Output`]: the file that a builder writes: block numbers, frames, sections, and one growing end.
//!
//! Bytes go to the file once, at increasing offsets, gathered to [`CHUNK`]s. What is held: the bytes not yet written, and 8 bytes a
//! block for the offset table.
//!
//! Callers: `builder`.

use std::path::PathBuf;
use std::sync::Arc;

use super::footer::{FOOTER_LEN, SectionPlace};
use super::frame::{self, BlockKind, Codec, FRAME_LEN, Frame, Seed};
use super::offset_table::{self, BlockPlace, PLACE_LEN};
use super::options::Compression;
use super::properties::BlockTotals;
use crate::env::File;
use crate::{Error, Result};

/// Writes are gathered up to this many bytes: 1 MiB, past which a write call's own cost no longer shows.
const CHUNK: usize = 1 << 20;
/// The same, for those who count.
pub(crate) const MOST_GATHERED: u64 = CHUNK as u64;
/// The largest file, in bytes: offsets are u32.
pub(super) const MAX_FILE_LEN: u64 = u32::MAX as u64;

/// How a block is stored.
pub(super) struct Stored<'a> {
    pub(super) codec: Codec,
    pub(super) bytes: &'a [u8],
    pub(super) uncompressed_len: u32,
}

/// A file that is being written.
pub(super) struct Output {
    file: Arc<dyn File>,
    pub(super) path: PathBuf,
    seed: Seed,
    compression: Compression,
    /// Bytes that are not yet written, and the offset where they go.
    pending: Vec<u8>,
    gathered: usize,
    written: u64,
    /// By block number; blocks that are open have zeros.
    places: Vec<[u8; PLACE_LEN]>,
    /// A block's compressed form: a buffer that is used again and again.
    compressed: Vec<u8>,
    /// A write has failed, or the builder is finished or abandoned.
    pub(super) ended: bool,
}

impl Output {
    /// REQUIRES: `file` is empty. `front` is what it begins with.
    pub(super) fn new(
        file: Arc<dyn File>,
        path: PathBuf,
        seed: Seed,
        compression: Compression,
        front: Vec<u8>,
    ) -> Self {
        Output {
            file,
            path,
            seed,
            compression,
            pending: front,
            gathered: CHUNK,
            written: 0,
            places: Vec::new(),
            compressed: Vec::new(),
            ended: false,
        }
    }

    /// Gathers so many bytes for a write, at most [`MOST_GATHERED`].
    pub(super) fn set_gathered(&mut self, bytes: u64) {
        self.gathered = bytes.min(MOST_GATHERED) as usize;
    }

    /// The next block number.
    pub(super) fn reserve(&mut self) -> Result<u32> {
        let number = u32::try_from(self.places.len()).map_err(|_| Error::LimitExceeded {
            what: "SST's number of blocks",
            size: self.places.len() as u64,
            limit: u32::MAX.into(),
        })?;
        self.places.push([0; PLACE_LEN]);
        Ok(number)
    }

    /// Block numbers given so far.
    pub(super) fn block_count(&self) -> u32 {
        self.places.len() as u32
    }

    /// Bytes of the offset table.
    pub(super) fn table_len(&self) -> usize {
        self.places.len() * PLACE_LEN
    }

    /// Bytes held in memory.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.pending.capacity() + self.table_len() + self.compressed.capacity()
    }

    /// Writes a block, compressed if that is wanted and helps.
    pub(super) fn write_block(
        &mut self,
        kind: BlockKind,
        number: u32,
        block: &[u8],
        compress: bool,
        totals: &mut BlockTotals,
    ) -> Result<()> {
        let uncompressed_len = block.len() as u32;
        let mut compressed = std::mem::take(&mut self.compressed);
        let smaller =
            compress && self.compression == Compression::Lz4 && frame::compress(block, &mut compressed);
        let (codec, bytes) = match smaller {
            true => (Codec::Lz4, compressed.as_slice()),
            false => (Codec::Raw, block),
        };
        let stored = Stored {
            codec,
            bytes,
            uncompressed_len,
        };
        let written = self.write_frame(kind, number, &stored, totals);
        self.compressed = compressed;
        written
    }

    /// Writes a block as it is stored, and counts it.
    pub(super) fn write_frame(
        &mut self,
        kind: BlockKind,
        number: u32,
        stored: &Stored<'_>,
        totals: &mut BlockTotals,
    ) -> Result<()> {
        let start = self.position();
        let frame_len = (stored.bytes.len() + FRAME_LEN) as u64;
        let Some(start) = u32::try_from(start)
            .ok()
            .filter(|_| start + frame_len <= MAX_FILE_LEN)
        else {
            self.ended = true;
            return Err(Error::LimitExceeded {
                what: "SST",
                size: start + frame_len,
                limit: MAX_FILE_LEN,
            });
        };
        let frame = Frame {
            kind,
            codec: stored.codec,
            stored_len: stored.bytes.len() as u32,
            uncompressed_len: stored.uncompressed_len,
        };
        frame.write(self.seed, number, stored.bytes, &mut self.pending);
        if let Some(place) = self.places.get_mut(number as usize) {
            let block_place = BlockPlace {
                start,
                len: frame_len as u32,
                kind,
                codec: stored.codec,
            };
            *place = block_place.encode();
        }
        *totals = BlockTotals {
            count: totals.count + 1,
            stored_bytes: totals.stored_bytes + stored.bytes.len() as u64,
            uncompressed_bytes: totals.uncompressed_bytes + u64::from(stored.uncompressed_len),
        };
        if self.pending.len() >= self.gathered {
            self.flush()?;
        }
        Ok(())
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Writes what is pending.
    pub(super) fn flush(&mut self) -> Result<()> {
        if let Err(e) = self.file.write_all_at(self.written, &self.pending) {
            self.ended = true;
            return Err(Error::io("write", &self.path, e));
        }
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Writes a section.
    pub(super) fn write_section(&mut self, bytes: &[u8]) -> Result<SectionPlace> {
        let offset = self.position();
        let end = offset + bytes.len() as u64 + FOOTER_LEN as u64;
        if end > MAX_FILE_LEN {
            return Err(Error::LimitExceeded {
                what: "SST",
                size: end,
                limit: MAX_FILE_LEN,
            });
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= self.gathered {
            self.flush()?;
        }
        Ok(SectionPlace {
            offset,
            len: bytes.len() as u32,
            crc: self.seed.section(bytes),
        })
    }

    /// Writes the offset table.
    pub(super) fn write_table(&mut self, page_places: u32) -> Result<SectionPlace> {
        let places = std::mem::take(&mut self.places);
        let sums = offset_table::sums(places.as_flattened(), page_places, self.seed);
        let sums = self.write_section(&sums)?;
        let pages = self.write_section(places.as_flattened())?;
        Ok(SectionPlace {
            len: sums.len + pages.len,
            ..sums
        })
    }

    /// Writes the footer.
    pub(super) fn write_footer(&mut self, footer: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(footer);
        self.flush()
    }

    /// Makes the contents durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }
}
