//! [`Prepared`]: everything of a record that does not depend on its place: chunks, compressed where that pays, and their CRC-32, which the
//! place changes by a few multiplications (`Seed::sum_of`). So what is left to do under the lock of a [`SharedPack`](super::SharedPack) is
//! header, tables, trailer, and the writing itself. Content that stays raw is not copied but by the kernel.

use std::io::IoSlice;

use super::super::format::{
    ChunkEntry, GROUP_CHUNKS, RecordHeader, Shape, Trailer, encode_table, encode_top,
};
use super::super::id::{ObjectId, Salt};
use super::super::object::{ObjectReader, RecordFile, RecordPlace};
use super::super::record::{RecordOptions, compress_to};
use crate::Result;
use crate::sst::Compression;

/// Parts of a record from this length on are written from where they are; shorter ones are gathered, because a call costs more than
/// copying them: 32 KiB.
const DIRECT: usize = 32 << 10;
/// Shorter chunks are summed under the lock: 8 KiB takes 0.2 µs, and changing a sum by a place 0.05 to 0.4 µs (100 kB: 2.7 and 0.4).
const SUMMED_LATE: usize = 8 << 10;
/// So much is gathered at most: 256 KiB.
const GATHERED: usize = 256 << 10;
/// Parts that are written by one call at most, nearly: the kernel takes 1024.
const MOST_PARTS: usize = 256;

/// Buffers that one record after the other uses.
#[derive(Default)]
pub(crate) struct RecordBuffers {
    chunks: Vec<Chunk>,
    /// Chunks as stored, one behind the other; behind them anything.
    stored: Vec<u8>,
    window: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Chunk {
    stored_len: u32,
    raw: bool,
    /// CRC-32 of what is stored; of short chunks nobody asks for it.
    crc: u32,
}

/// A record that has no place yet.
pub(crate) struct Prepared<'a> {
    id: ObjectId,
    salt: Salt,
    shape: Shape,
    chunks: &'a [Chunk],
    /// Where raw chunks are, at their places in the content.
    content: Option<&'a [u8]>,
    /// Where all others are, one behind the other.
    stored: &'a [u8],
}

/// Where a record has been written, and what the digest needs of it.
pub(super) struct Placed {
    pub(super) place: RecordPlace,
    pub(super) trailer_hash: u64,
}

impl RecordBuffers {
    /// Makes a record of this content, whose id is `id`. No lock is needed, and none is taken.
    pub(crate) fn prepare<'a>(
        &'a mut self,
        content: &'a [u8],
        id: ObjectId,
        options: &RecordOptions,
    ) -> Prepared<'a> {
        self.chunks.clear();
        let (mut end, mut stored_len) = (0, 0);
        for chunk in content.chunks(1 << options.chunk_shift) {
            let compressed = match options.compression {
                Compression::None => None,
                Compression::Lz4 => compress_to(chunk, &mut self.stored, end),
            };
            let stored = match compressed {
                Some(len) => self.stored.get(end..end + len).unwrap_or_default(),
                None => chunk,
            };
            end += compressed.unwrap_or(0);
            stored_len += stored.len() as u64;
            self.chunks.push(Chunk {
                stored_len: stored.len() as u32,
                raw: compressed.is_none(),
                crc: match stored.len() < SUMMED_LATE {
                    true => 0,
                    false => crc32fast::hash(stored),
                },
            });
        }
        Prepared {
            id,
            salt: options.salt,
            shape: Shape {
                chunk_shift: options.chunk_shift,
                content_len: content.len() as u64,
                stored_len,
            },
            chunks: &self.chunks,
            content: Some(content),
            stored: self.stored.get(..end).unwrap_or_default(),
        }
    }

    /// Memory for a record as it is stored.
    pub(super) fn window(&mut self) -> &mut Vec<u8> {
        &mut self.window
    }

    /// Takes over the record of an open object as it is stored, each chunk checked.
    pub(super) fn copy(&mut self, mut object: ObjectReader) -> Result<Prepared<'_>> {
        self.chunks.clear();
        self.stored.clear();
        object.preload(std::mem::take(&mut self.window))?;
        let info = *object.info();
        for number in 0..info.shape.chunks() {
            let chunk = object.stored(number)?;
            self.chunks.push(Chunk {
                stored_len: chunk.bytes.len() as u32,
                raw: chunk.raw,
                crc: chunk.crc,
            });
            self.stored.extend_from_slice(chunk.bytes);
        }
        self.window = object.into_buffer();
        Ok(Prepared {
            id: info.id,
            salt: info.salt,
            shape: info.shape,
            chunks: &self.chunks,
            content: None,
            stored: &self.stored,
        })
    }
}

/// Writes parts one behind the other by few calls.
struct Gather<'a> {
    file: &'a RecordFile,
    /// The short ones of the parts.
    buffer: &'a mut Vec<u8>,
    parts: Vec<Part<'a>>,
    /// Where the first part goes.
    at: u64,
    /// Bytes of all parts.
    len: u64,
}

/// What is still to be written.
enum Part<'a> {
    /// The next bytes of the buffer.
    Gathered(usize),
    /// Written from where it is.
    Direct(&'a [u8]),
}

impl<'a> Gather<'a> {
    fn position(&self) -> u64 {
        self.at + self.len
    }

    fn push_long(&mut self, bytes: &'a [u8]) -> Result<()> {
        if bytes.len() < DIRECT {
            return self.push(bytes);
        }
        self.parts.push(Part::Direct(bytes));
        self.len += bytes.len() as u64;
        match self.parts.len() < MOST_PARTS {
            true => Ok(()),
            false => self.write_out(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > GATHERED {
            self.write_out()?;
        }
        self.buffer.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        match self.parts.last_mut() {
            Some(Part::Gathered(len)) => *len += bytes.len(),
            _ => self.parts.push(Part::Gathered(bytes.len())),
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        let mut gathered = self.buffer.as_slice();
        let mut slices: Vec<_> = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Gathered(len) => {
                    let (bytes, rest) = gathered.split_at_checked(*len).unwrap_or_default();
                    gathered = rest;
                    IoSlice::new(bytes)
                }
                Part::Direct(bytes) => IoSlice::new(bytes),
            })
            .collect();
        let written = self.file.file.write_all_vectored_at(self.at, &mut slices);
        written.map_err(|e| self.file.failed("write", self.at, e))?;
        self.parts.clear();
        self.buffer.clear();
        self.at += self.len;
        self.len = 0;
        Ok(())
    }
}

/// Stored bytes that follow each other in memory and in the file.
#[derive(Clone, Copy, Default, PartialEq)]
struct Run {
    of_content: bool,
    from: usize,
    to: usize,
}

impl Prepared<'_> {
    pub(crate) fn id(&self) -> ObjectId {
        self.id
    }

    /// The length of the object, in bytes.
    pub(crate) fn content_len(&self) -> u64 {
        self.shape.content_len
    }

    /// What the record takes in the file, in bytes.
    pub(crate) fn record_len(&self) -> u64 {
        self.shape.record_len()
    }

    pub(super) fn stored_len(&self) -> u64 {
        self.shape.stored_len
    }

    /// Writes the record at this place; part of it may be there if this fails.
    pub(super) fn write<'a>(
        &'a self,
        file: &'a RecordFile,
        offset: u64,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Placed> {
        buffer.clear();
        let (seed, record_len) = (file.seed, self.record_len());
        let mut out = Gather {
            file,
            buffer,
            parts: Vec::new(),
            at: offset,
            len: 0,
        };
        let header = RecordHeader {
            salted: self.salt != Salt::default(),
            chunk_shift: self.shape.chunk_shift,
            record_len,
        };
        out.push(&header.encode(seed, offset))?;
        let (mut tables, mut within_content, mut within_stored) = (Vec::new(), 0, 0);
        for group in self.chunks.chunks(GROUP_CHUNKS as usize) {
            let mut entries = Vec::with_capacity(group.len());
            let (mut at, mut run) = (out.position(), Run::default());
            for chunk in group {
                let len = chunk.stored_len as usize;
                let of_content = chunk.raw && self.content.is_some();
                let from = match of_content {
                    true => within_content,
                    false => within_stored,
                };
                entries.push(ChunkEntry {
                    stored_len: chunk.stored_len,
                    raw: chunk.raw,
                    sum: match len < SUMMED_LATE {
                        true => seed.sum(at, self.bytes(of_content, from, from + len)),
                        false => seed.sum_of(at, chunk.crc, len as u64),
                    },
                });
                at += len as u64;
                if run.of_content != of_content || run.to != from {
                    self.push_run(&mut out, run)?;
                    run = Run {
                        of_content,
                        from,
                        to: from,
                    };
                }
                run.to += len;
                within_content += 1 << self.shape.chunk_shift;
                within_stored += if of_content { 0 } else { len };
            }
            self.push_run(&mut out, run)?;
            tables.push(out.position() - offset);
            let table = encode_table(&entries, seed, out.position());
            out.push(&table)?;
        }
        if tables.len() > 1 {
            let top = encode_top(&tables, seed, out.position());
            out.push(&top)?;
        }
        let trailer = Trailer {
            id: self.id,
            salt: self.salt,
            content_len: self.shape.content_len,
            stored_len: self.shape.stored_len,
            record_len,
        }
        .encode(seed, out.position());
        out.push(&trailer)?;
        out.write_out()?;
        debug_assert_eq!(out.position(), offset + record_len);
        Ok(Placed {
            place: RecordPlace { offset, record_len },
            trailer_hash: Trailer::hash_of(&trailer),
        })
    }

    fn push_run<'a>(&'a self, out: &mut Gather<'a>, run: Run) -> Result<()> {
        match run.from == run.to {
            true => Ok(()),
            false => out.push_long(self.bytes(run.of_content, run.from, run.to)),
        }
    }

    fn bytes(&self, of_content: bool, from: usize, to: usize) -> &[u8] {
        let source = match of_content {
            true => self.content.unwrap_or_default(),
            false => self.stored,
        };
        source.get(from..to).unwrap_or_default()
    }
}
