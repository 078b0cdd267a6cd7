//! [`RecordWriter`]: writes one object as a record, chunk by chunk, in memory that does not grow with the object's length but by
//! 8 bytes for each 1,024 chunks (64 MiB of content at the default chunk size).
//!
//! A chunk is stored compressed if that saves an eighth, raw otherwise. The id is computed along the way; the record's length, which
//! its header names so that a scan can step from record to record, is patched in at the end.
//!
//! Until [`RecordWriter::commit`] nothing knows of the record; [`RecordWriter::abort`] takes it back.
//!
//! Callers: `segment`, `shared`.

use std::borrow::BorrowMut;

use super::format::{
    CHUNK_SHIFTS, ChunkEntry, GROUP_CHUNKS, RECORD_HEADER_LEN, RecordHeader, Seed, TRAILER_LEN, Trailer,
    encode_table, encode_top,
};
use super::id::{IdHasher, ObjectId, Salt};
use super::object::RecordPlace;
use super::output::Output;
use crate::sst::Compression;
use crate::{Error, Result, codec};

/// How objects are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordOptions {
    pub(super) chunk_shift: u8,
    pub(super) compression: Compression,
    pub(super) salt: Salt,
}

impl RecordOptions {
    /// REQUIRES: nothing; a size that is no power of two or out of range is refused.
    pub(crate) fn new(chunk_size: u32, compression: Compression) -> Result<Self> {
        let shift = chunk_size.trailing_zeros() as u8;
        if !chunk_size.is_power_of_two() || !CHUNK_SHIFTS.contains(&shift) {
            return Err(Error::InvalidOption {
                name: "chunk_size",
                what: format!("{chunk_size} bytes given, a power of two from 4096 to 4194304 is allowed"),
            });
        }
        Ok(RecordOptions {
            chunk_shift: shift,
            compression,
            salt: Salt::default(),
        })
    }

    /// The same with bytes that go into each id; zeros for none.
    pub(crate) fn salted(self, salt: Salt) -> Self {
        RecordOptions { salt, ..self }
    }
}

/// A record that has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrittenRecord {
    pub(super) id: ObjectId,
    pub(super) place: RecordPlace,
    pub(super) content_len: u64,
    pub(super) stored_len: u64,
    /// What the digest needs of its trailer.
    pub(super) trailer_hash: u64,
}

/// Buffers that one record after the other uses.
#[derive(Default)]
pub(super) struct Buffers {
    chunk: Vec<u8>,
    compressed: Vec<u8>,
}

/// Writes one record. See the module's comment. It has the output and the buffers for itself, or borrows them.
pub(super) struct RecordWriter<O, B> {
    output: O,
    buffers: B,
    options: RecordOptions,
    seed: Seed,
    /// Where the record begins.
    offset: u64,
    /// `None` where the id is known beforehand.
    hasher: Option<IdHasher>,
    content_len: u64,
    stored_len: u64,
    /// Of the open group.
    table: Vec<ChunkEntry>,
    /// Where the tables of the groups before lie, from `offset`.
    tables: Vec<u64>,
}

impl<O: BorrowMut<Output>, B: BorrowMut<Buffers>> RecordWriter<O, B> {
    pub(super) fn begin(output: O, mut buffers: B, options: RecordOptions, seed: Seed) -> Result<Self> {
        let offset = output.borrow().position();
        buffers.borrow_mut().chunk.clear();
        let mut writer = RecordWriter {
            output,
            buffers,
            options,
            seed,
            offset,
            hasher: Some(IdHasher::default()),
            content_len: 0,
            stored_len: 0,
            table: Vec::new(),
            tables: Vec::new(),
        };
        // Not a header yet: a scan that finds it stops here.
        writer.output().push(&[0; RECORD_HEADER_LEN as usize])?;
        Ok(writer)
    }

    pub(super) fn output(&mut self) -> &mut Output {
        self.output.borrow_mut()
    }

    fn chunk(&mut self) -> &mut Vec<u8> {
        &mut self.buffers.borrow_mut().chunk
    }

    /// Writes the whole content of an object whose id has been computed.
    pub(super) fn write_whole(mut self, content: &[u8], id: ObjectId) -> Result<WrittenRecord> {
        self.hasher = None;
        self.write(content)?;
        self.store_rest()?;
        self.commit(id)
    }

    pub(super) fn write(&mut self, mut content: &[u8]) -> Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(content);
        }
        self.content_len += content.len() as u64;
        let size = 1usize << self.options.chunk_shift;
        while !content.is_empty() {
            if self.chunk().is_empty() && content.len() >= size {
                // A whole chunk needs no copy.
                let (chunk, rest) = content.split_at(size);
                self.store(chunk)?;
                content = rest;
                continue;
            }
            let room = size - self.chunk().len();
            let (part, rest) = content.split_at(room.min(content.len()));
            self.chunk().extend_from_slice(part);
            content = rest;
            if self.chunk().len() == size {
                self.store_gathered()?;
            }
        }
        Ok(())
    }

    fn store_gathered(&mut self) -> Result<()> {
        let mut chunk = std::mem::take(self.chunk());
        let stored = self.store(&chunk);
        chunk.clear();
        *self.chunk() = chunk; // used again
        stored
    }

    fn store(&mut self, chunk: &[u8]) -> Result<()> {
        if self.table.len() as u64 == GROUP_CHUNKS {
            self.close_group()?;
        }
        let buffers: &mut Buffers = self.buffers.borrow_mut();
        let compressed = match self.options.compression {
            Compression::None => None,
            Compression::Lz4 => compress(chunk, &mut buffers.compressed),
        };
        let stored = compressed.unwrap_or(chunk);
        let output: &mut Output = self.output.borrow_mut();
        self.table.push(ChunkEntry {
            stored_len: stored.len() as u32,
            raw: compressed.is_none(),
            sum: self.seed.sum(output.position(), stored),
        });
        self.stored_len += stored.len() as u64;
        output.push(stored)
    }

    /// The record becomes a copy of one that has chunks of this size, and this salt. REQUIRES: nothing has been written to it; chunks come by
    /// [`Self::copy_chunk`].
    pub(super) fn copy_of(&mut self, chunk_shift: u8, salt: Salt) {
        self.options.chunk_shift = chunk_shift;
        self.options.salt = salt;
        self.hasher = None;
    }

    /// Writes a chunk as it is stored elsewhere.
    pub(super) fn copy_chunk(&mut self, raw: bool, stored: &[u8], content_len: usize) -> Result<()> {
        if self.table.len() as u64 == GROUP_CHUNKS {
            self.close_group()?;
        }
        let sum = self.seed.sum(self.output().position(), stored);
        self.table.push(ChunkEntry {
            stored_len: stored.len() as u32,
            raw,
            sum,
        });
        self.content_len += content_len as u64;
        self.stored_len += stored.len() as u64;
        self.output().push(stored)
    }

    fn close_group(&mut self) -> Result<()> {
        let at = self.output().position();
        self.tables.push(at - self.offset);
        let table = encode_table(&self.table, self.seed, at);
        self.table.clear();
        self.output().push(&table)
    }

    fn store_rest(&mut self) -> Result<()> {
        match self.chunk().is_empty() {
            true => Ok(()),
            false => self.store_gathered(),
        }
    }

    /// The content is complete: its id. The record is to be committed or aborted next.
    pub(super) fn end_content(&mut self) -> Result<ObjectId> {
        self.store_rest()?;
        Ok(self.hasher.take().unwrap_or_default().finish(&self.options.salt))
    }

    /// Takes back what has been written of it.
    pub(super) fn abort(mut self) -> Result<()> {
        let offset = self.offset;
        self.output().rewind(offset)
    }

    /// Writes the rest of the record, and its header. REQUIRES: the content is complete; nothing is written to it afterwards.
    pub(super) fn commit(&mut self, id: ObjectId) -> Result<WrittenRecord> {
        if !self.table.is_empty() {
            self.close_group()?;
        }
        if self.tables.len() > 1 {
            let at = self.output().position();
            let top = encode_top(&self.tables, self.seed, at);
            self.output().push(&top)?;
        }
        let at = self.output().position();
        let record_len = at + TRAILER_LEN - self.offset;
        let trailer = Trailer {
            id,
            salt: self.options.salt,
            content_len: self.content_len,
            stored_len: self.stored_len,
            record_len,
        }
        .encode(self.seed, at);
        self.output().push(&trailer)?;
        let header = RecordHeader {
            salted: self.options.salt != Salt::default(),
            chunk_shift: self.options.chunk_shift,
            record_len,
        };
        let (offset, header) = (self.offset, header.encode(self.seed, self.offset));
        self.output().patch(offset, &header)?;
        Ok(WrittenRecord {
            id,
            place: RecordPlace {
                offset: self.offset,
                record_len,
            },
            content_len: self.content_len,
            stored_len: self.stored_len,
            trailer_hash: Trailer::hash_of(&trailer),
        })
    }
}

/// The chunk compressed into `buffer`, if that saves an eighth.
fn compress<'b>(chunk: &[u8], buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    let len = compress_to(chunk, buffer, 0)?;
    buffer.get(..len)
}

/// Compresses the chunk into `buffer` from `at` on, if that saves an eighth: the length.
pub(super) fn compress_to(chunk: &[u8], buffer: &mut Vec<u8>, at: usize) -> Option<usize> {
    let end = at + codec::most_compressed(chunk.len());
    if buffer.len() < end {
        buffer.resize(end, 0); // zeroed once: it is used again
    }
    let len = codec::compress(chunk, buffer.get_mut(at..end)?)?;
    (len <= chunk.len() - chunk.len() / 8).then_some(len)
}
