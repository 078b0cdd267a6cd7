//! The parts of a record: header, tables of chunks, trailer.
//!
//! Drawn in the module above.

use super::{
    CHUNK_ENTRY_LEN, CHUNK_SHIFTS, GROUP_CHUNKS, MOST_RATIO, RECORD_HEADER_LEN, RECORD_MAGIC, SALTED,
    SUM_LEN, Seed, TRAILER_LEN, TRAILER_MAGIC, length, seal, unseal, zeros,
};
use crate::coding::Decoder;
use crate::pack::id::{ObjectId, Salt};

/// What a record begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) salted: bool,
    pub(crate) chunk_shift: u8,
    /// From this header to the end of the trailer.
    pub(crate) record_len: u64,
}

impl RecordHeader {
    pub(crate) fn encode(&self, seed: Seed, offset: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_HEADER_LEN as usize);
        out.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
        out.push(if self.salted { SALTED } else { 0 });
        out.push(self.chunk_shift);
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.record_len.to_le_bytes());
        seal(out, seed, offset)
    }

    pub(crate) fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Option<RecordHeader> {
        let mut input = Decoder::new(unseal(bytes, seed, offset)?);
        (input.u32()? == RECORD_MAGIC).then_some(())?;
        let flags = input.u8().filter(|flags| flags & !SALTED == 0)?;
        let chunk_shift = input.u8().filter(|shift| CHUNK_SHIFTS.contains(shift))?;
        zeros(&mut input, 2)?;
        let record_len = length(&mut input)?;
        (input.is_empty() && record_len >= RECORD_HEADER_LEN + TRAILER_LEN).then_some(RecordHeader {
            salted: flags & SALTED != 0,
            chunk_shift,
            record_len,
        })
    }
}

/// What a record ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) id: ObjectId,
    pub(crate) salt: Salt,
    pub(crate) content_len: u64,
    pub(crate) stored_len: u64,
    pub(crate) record_len: u64,
}

impl Trailer {
    pub(crate) fn encode(&self, seed: Seed, offset: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(TRAILER_LEN as usize);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.salt);
        for len in [self.content_len, self.stored_len, self.record_len] {
            out.extend_from_slice(&len.to_le_bytes());
        }
        out.extend_from_slice(&TRAILER_MAGIC.to_le_bytes());
        seal(out, seed, offset)
    }

    pub(crate) fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Option<Trailer> {
        let mut input = Decoder::new(unseal(bytes, seed, offset)?);
        let trailer = Trailer {
            id: ObjectId(input.array()?),
            salt: input.array()?,
            content_len: length(&mut input)?,
            stored_len: length(&mut input)?,
            record_len: length(&mut input)?,
        };
        (input.u32()? == TRAILER_MAGIC && input.is_empty()).then_some(trailer)
    }

    /// What the digest of a segment is made of.
    pub(crate) fn hash_of(encoded: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(encoded)
    }
}

/// The digest of a segment after one more record.
pub(crate) fn next_digest(digest: u64, trailer_hash: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&trailer_hash.to_le_bytes(), digest)
}

/// Where the parts of a record lie, as its header and trailer say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) chunk_shift: u8,
    pub(crate) content_len: u64,
    /// Bytes of all chunks as stored.
    pub(crate) stored_len: u64,
}

impl Shape {
    pub(crate) fn chunks(&self) -> u64 {
        self.content_len.div_ceil(1 << self.chunk_shift)
    }

    pub(crate) fn groups(&self) -> u64 {
        self.chunks().div_ceil(GROUP_CHUNKS)
    }

    /// How many chunks group `group` has.
    pub(crate) fn chunks_in(&self, group: u64) -> u64 {
        let before = group.saturating_mul(GROUP_CHUNKS);
        self.chunks().saturating_sub(before).min(GROUP_CHUNKS)
    }

    /// Bytes of content in chunk `chunk`.
    pub(crate) fn content_of(&self, chunk: u64) -> usize {
        let size = 1u64 << self.chunk_shift;
        let before = chunk.saturating_mul(size);
        self.content_len.saturating_sub(before).min(size) as usize
    }

    pub(crate) const fn table_len(chunks: u64) -> u64 {
        chunks * CHUNK_ENTRY_LEN + SUM_LEN
    }

    pub(crate) fn top_len(&self) -> u64 {
        match self.groups() {
            0 | 1 => 0,
            groups => groups * 8 + SUM_LEN,
        }
    }

    /// How long a record of this shape is.
    pub(crate) fn record_len(&self) -> u64 {
        let tables = self.chunks() * CHUNK_ENTRY_LEN + self.groups() * SUM_LEN;
        RECORD_HEADER_LEN + self.stored_len + tables + self.top_len() + TRAILER_LEN
    }

    /// The shape that a record's two ends state, if they agree and can be true.
    pub(crate) fn of(header: &RecordHeader, trailer: &Trailer) -> Option<Shape> {
        let shape = Shape {
            chunk_shift: header.chunk_shift,
            content_len: trailer.content_len,
            stored_len: trailer.stored_len,
        };
        let salted = trailer.salt != Salt::default();
        (header.record_len == trailer.record_len
            && header.salted == salted
            && shape.content_len <= shape.stored_len.saturating_mul(MOST_RATIO)
            && shape.record_len() == header.record_len)
            .then_some(shape)
    }
}

/// One chunk, as a table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkEntry {
    pub(crate) stored_len: u32,
    pub(crate) raw: bool,
    pub(crate) sum: u32,
}

const RAW: u32 = 1 << 31;

pub(crate) fn encode_table(chunks: &[ChunkEntry], seed: Seed, offset: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(Shape::table_len(chunks.len() as u64) as usize);
    for chunk in chunks {
        let len = chunk.stored_len | if chunk.raw { RAW } else { 0 };
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&chunk.sum.to_le_bytes());
    }
    seal(out, seed, offset)
}

pub(crate) fn decode_table(bytes: &[u8], seed: Seed, offset: u64) -> Option<Vec<ChunkEntry>> {
    let entries = unseal(bytes, seed, offset)?;
    let (entries, rest) = entries.as_chunks::<{ CHUNK_ENTRY_LEN as usize }>();
    rest.is_empty().then_some(())?;
    entries
        .iter()
        .map(|entry| {
            let mut input = Decoder::new(entry);
            let len = input.u32()?;
            Some(ChunkEntry {
                stored_len: len & !RAW,
                raw: len & RAW != 0,
                sum: input.u32()?,
            })
        })
        .collect()
}

pub(crate) fn encode_top(tables: &[u64], seed: Seed, offset: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(tables.len() * 8 + SUM_LEN as usize);
    for at in tables {
        out.extend_from_slice(&at.to_le_bytes());
    }
    seal(out, seed, offset)
}

pub(crate) fn decode_top(bytes: &[u8], seed: Seed, offset: u64) -> Option<Vec<u64>> {
    let (entries, rest) = unseal(bytes, seed, offset)?.as_chunks::<8>();
    let tables = entries.iter().map(|at| u64::from_le_bytes(*at)).collect();
    rest.is_empty().then_some(tables)
}
