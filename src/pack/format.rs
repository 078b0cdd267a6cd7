//! The fixed parts of a pack, byte by byte: file header, record header and trailer, chunk tables, section table, footer.
//!
//! All integers are little endian. `sum` is always CRC-32 of the file's identity, the place of what it covers (u64), and that
//! ([`Seed`]), so that a part of another file, or one at another place, does not validate.
//!
//! ```text
//! file header (80)    0 magic "PKSTPACK" | 8 version u32 | 12 feature bits u32 (none yet) | 16 identity 16
//!                    32 number u64 (0: in no database) | 40 zeros 20 | 60 sum
//!                    64 length of the file when it was sealed last, or before that, u64
//!                    72 whose it is u32 (0: as the number says, 1: a database has taken it over) | 76 sum of bytes 64 to 75
//! record header (20)  0 magic "PKob" | 4 flags u8 (bit 0: salted) | 5 log2 of the chunk size u8 | 6 zeros 2
//!                     8 length of the record u64 | 16 sum
//! chunk table         for each chunk of its group: stored length u32 (top bit: stored raw), sum; then the table's sum
//! top                 (with two groups or more) for each group where its table lies, from the record's begin, u64; then the top's sum
//! record trailer (64) 0 id 16 | 16 salt 16 | 32 length of the content u64 | 40 bytes of all stored chunks u64
//!                    48 length of the record u64 | 56 magic "PKoe" | 60 sum
//! section (32)        0 kind u32 (1 ids, 2 names) | 4 zeros 4 | 8 offset u64 | 16 length u64 | 24 rows u64
//! seal (256)          the footer, twice, each with its own sum
//! footer (128)        0 magic "PKSTSEAL" | 8 version u32 | 12 feature bits u32 | 16 identity 16
//!                    32 first record u64 | 40 end of the records u64 | 48 objects u64 | 56 bytes of their contents u64
//!                    64 bytes of their chunks u64 | 72 digest u64 | 80 section table u64 | 88 sections u32
//!                    92 segment u32 (0, 1, ...) | 96 previous footer u64 (0: none) | 104 rows of how many earlier segments
//!                       the sections repeat u32 | 108 which copy u32 (0, 1) | 112 names in the whole file u64 | 120 zeros 4 | 124 sum
//! ```
//!
//! The digest is a chain of XXH3-64 over the segment's record trailers in order. Trailers and tables cover the sums of all that is in a record, so it
//! covers every byte, although the body is written once and not read again.
//!
//! The length in the header is the one place of a file that is written again: once a seal is durable. A file that has no seal where this says that there was one
//! is damaged; behind it, what is not sealed is what an append has left that was cut off.
//!
//! Callers: the rest of this module.

mod records;

pub(crate) use records::{
    ChunkEntry, RecordHeader, Shape, Trailer, decode_table, decode_top, encode_table, encode_top, next_digest,
};

use crate::coding::Decoder;

pub(crate) const FILE_MAGIC: &[u8; 8] = b"PKSTPACK";
pub(crate) const SEAL_MAGIC: &[u8; 8] = b"PKSTSEAL";
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"PKob");
const TRAILER_MAGIC: u32 = u32::from_le_bytes(*b"PKoe");

pub(crate) const FORMAT_VERSION: u32 = 1;
pub(crate) const FILE_HEADER_LEN: u64 = 80;
/// Where the header's own sum ends, and the sealed length begins.
pub(crate) const SEALED_LEN_AT: u64 = 64;
pub(crate) const RECORD_HEADER_LEN: u64 = 20;
pub(crate) const TRAILER_LEN: u64 = 64;
pub(crate) const FOOTER_LEN: u64 = 128;
/// The copies of the footer, and their length together.
const COPIES: u64 = 2;
pub(crate) const SEAL_LEN: u64 = COPIES * FOOTER_LEN;
const SUM_LEN: u64 = 4;
/// One chunk's entry of a table.
pub(crate) const CHUNK_ENTRY_LEN: u64 = 8;
const SECTION_LEN: usize = 32;
const SALTED: u8 = 1;
/// Chunks of a group: what one table describes. 64 MiB of content at the default chunk size.
pub(crate) const GROUP_CHUNKS: u64 = 1024;
/// The smallest and the largest chunk, as powers of two: 4 KiB and 4 MiB.
pub(crate) const CHUNK_SHIFTS: std::ops::RangeInclusive<u8> = 12..=22;
/// Content for one stored byte, at most: LZ4 can't do better (255), so what claims more is damage.
const MOST_RATIO: u64 = 256;
/// No length or offset is greater, so that sums of several can't overflow.
const MOST: u64 = 1 << 60;
/// Sections of one segment: far more than any file has.
const MOST_SECTIONS: u32 = 1 << 16;

/// What sums are seeded with: the state of CRC-32 behind the file's identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(identity: &[u8; 16]) -> Self {
        Seed(crc32fast::hash(identity))
    }

    /// The sum of what lies at `offset`.
    pub(crate) fn sum(self, offset: u64, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(&offset.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }

    /// The same, of `len` bytes whose CRC-32 is known: so the bytes need not be at hand when their place is.
    pub(crate) fn sum_of(self, offset: u64, crc: u32, len: u64) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.sum(offset, &[]));
        hasher.combine(&crc32fast::Hasher::new_with_initial_len(crc, len));
        hasher.finalize()
    }
}

/// Puts a sum behind `bytes`, which will lie at `offset`.
fn seal(mut bytes: Vec<u8>, seed: Seed, offset: u64) -> Vec<u8> {
    let sum = seed.sum(offset, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// What the sum behind it covers, if it is right.
fn unseal(bytes: &[u8], seed: Seed, offset: u64) -> Option<&[u8]> {
    let (covered, sum) = bytes.split_last_chunk::<4>()?;
    (seed.sum(offset, covered) == u32::from_le_bytes(*sum)).then_some(covered)
}

fn zeros(input: &mut Decoder<'_>, len: usize) -> Option<()> {
    input.bytes(len)?.iter().all(|byte| *byte == 0).then_some(())
}

fn length(input: &mut Decoder<'_>) -> Option<u64> {
    input.u64().filter(|len| *len <= MOST)
}

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) identity: [u8; 16],
    pub(crate) number: u64,
}

/// Why a header or footer can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not ours, or it is damaged: what was expected.
    Damaged(&'static str),
    /// A newer release wrote it: what was found.
    Newer(String),
}

/// REQUIRES: the magic has been looked at, and the sum.
fn known_version(input: &mut Decoder<'_>) -> Result<(), Unreadable> {
    const DAMAGED: Unreadable = Unreadable::Damaged("expected a version and feature bits");
    let (version, features) = (input.u32().ok_or(DAMAGED)?, input.u32().ok_or(DAMAGED)?);
    match (version, features) {
        (FORMAT_VERSION, 0) => Ok(()),
        (FORMAT_VERSION, bits) => Err(Unreadable::Newer(format!(
            "found feature bits {bits:#x}, and this release knows none"
        ))),
        (0, _) => Err(DAMAGED),
        (version, _) => Err(Unreadable::Newer(format!(
            "found pack format {version}, and this release reads {FORMAT_VERSION}"
        ))),
    }
}

impl FileHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FILE_HEADER_LEN as usize);
        out.extend_from_slice(FILE_MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.identity);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&[0; 20]);
        let seed = Seed::new(&self.identity);
        let mut out = seal(out, seed, 0);
        out.extend_from_slice(&encode_sealed_len(0, seed));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<FileHeader, Unreadable> {
        const DAMAGED: Unreadable = Unreadable::Damaged("expected a pack's header with a matching checksum");
        let bytes = bytes.get(..SEALED_LEN_AT as usize).ok_or(DAMAGED)?;
        let mut input = Decoder::new(bytes);
        if input.array::<8>().as_ref() != Some(FILE_MAGIC) {
            return Err(Unreadable::Damaged("expected the magic of a pack, PKSTPACK"));
        }
        let mut after = input;
        let identity = after.bytes(8).and_then(|_| after.array()).ok_or(DAMAGED)?;
        unseal(bytes, Seed::new(&identity), 0).ok_or(DAMAGED)?;
        known_version(&mut input)?;
        let number = after.u64().ok_or(DAMAGED)?;
        zeros(&mut after, 20).ok_or(DAMAGED)?;
        Ok(FileHeader { identity, number })
    }
}

/// The length of a sealed file, as it stands in its header.
pub(crate) fn encode_sealed_len(len: u64, seed: Seed) -> Vec<u8> {
    encode_owned_len(len, false, seed)
}

/// The same; `taken`: a database has taken the file over.
pub(crate) fn encode_owned_len(len: u64, taken: bool, seed: Seed) -> Vec<u8> {
    let mut out = len.to_le_bytes().to_vec();
    out.extend_from_slice(&u32::from(taken).to_le_bytes());
    seal(out, seed, SEALED_LEN_AT)
}

/// Reads it from a header; `None` if it is damaged.
pub(crate) fn decode_sealed_len(header: &[u8], seed: Seed) -> Option<u64> {
    decode_owned_len(header, seed).map(|(len, _)| len)
}

/// The same, and whether a database has taken the file over.
pub(crate) fn decode_owned_len(header: &[u8], seed: Seed) -> Option<(u64, bool)> {
    let bytes = header.get(SEALED_LEN_AT as usize..FILE_HEADER_LEN as usize)?;
    let mut input = Decoder::new(unseal(bytes, seed, SEALED_LEN_AT)?);
    let len = length(&mut input)?;
    let owner = input.u32().filter(|owner| *owner <= 1)?;
    input.is_empty().then_some((len, owner == 1))
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// Id -> place.
    Ids,
    /// Name -> entry.
    Names,
}

/// Where an SST of sorted rows lies in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: SectionKind,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) rows: u64,
}

impl Section {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// How long the table of so many sections is.
pub(crate) fn section_table_len(sections: u32) -> u64 {
    u64::from(sections) * SECTION_LEN as u64 + SUM_LEN
}

pub(crate) fn encode_sections(sections: &[Section], seed: Seed, offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for section in sections {
        let kind: u32 = match section.kind {
            SectionKind::Ids => 1,
            SectionKind::Names => 2,
        };
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for number in [section.offset, section.len, section.rows] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    seal(out, seed, offset)
}

pub(crate) fn decode_sections(bytes: &[u8], seed: Seed, offset: u64) -> Option<Vec<Section>> {
    let (sections, rest) = unseal(bytes, seed, offset)?.as_chunks::<SECTION_LEN>();
    rest.is_empty().then_some(())?;
    sections
        .iter()
        .map(|section| {
            let mut input = Decoder::new(section);
            let kind = match input.u32()? {
                1 => SectionKind::Ids,
                2 => SectionKind::Names,
                _ => return None,
            };
            zeros(&mut input, 4)?;
            Some(Section {
                kind,
                offset: length(&mut input)?,
                len: length(&mut input)?,
                rows: length(&mut input)?,
            })
        })
        .collect()
}

/// What a sealed file, and each segment of it, ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) identity: [u8; 16],
    pub(crate) records_at: u64,
    pub(crate) records_end: u64,
    pub(crate) objects: u64,
    pub(crate) content_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) digest: u64,
    pub(crate) table_at: u64,
    pub(crate) sections: u32,
    pub(crate) segment: u32,
    pub(crate) previous: u64,
    pub(crate) covers: u32,
    pub(crate) names: u64,
}

impl Footer {
    /// All copies, the first of which will lie at `offset`.
    pub(crate) fn encode(&self, offset: u64) -> Vec<u8> {
        let copy = |copy| self.encode_copy(copy, offset + copy * FOOTER_LEN);
        (0..COPIES).flat_map(copy).collect()
    }

    fn encode_copy(&self, copy: u64, offset: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_LEN as usize);
        out.extend_from_slice(SEAL_MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.identity);
        for number in [
            self.records_at,
            self.records_end,
            self.objects,
            self.content_bytes,
            self.stored_bytes,
            self.digest,
            self.table_at,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.sections.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&self.covers.to_le_bytes());
        out.extend_from_slice(&(copy as u32).to_le_bytes());
        out.extend_from_slice(&self.names.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        seal(out, Seed::new(&self.identity), offset)
    }

    /// Reads the copy of a footer that lies at `offset` of the file that has this identity, and checks that what it names lies before it.
    /// Gives the footer, and where its first copy lies.
    pub(crate) fn decode(
        bytes: &[u8],
        identity: &[u8; 16],
        offset: u64,
    ) -> Result<(Footer, u64), Unreadable> {
        const DAMAGED: Unreadable = Unreadable::Damaged("expected a footer with a matching checksum");
        let covered = unseal(bytes, Seed::new(identity), offset).ok_or(DAMAGED)?;
        let mut input = Decoder::new(covered);
        if input.array::<8>().as_ref() != Some(SEAL_MAGIC) {
            return Err(DAMAGED);
        }
        known_version(&mut input)?;
        let found = Self::fields(&mut input).and_then(|(footer, copy)| {
            let first = offset.checked_sub(u64::from(copy) * FOOTER_LEN)?;
            (footer.identity == *identity && footer.is_possible(first)).then_some((footer, first))
        });
        found.ok_or(Unreadable::Damaged("expected places that lie before the footer"))
    }

    fn fields(input: &mut Decoder<'_>) -> Option<(Footer, u32)> {
        let mut footer = Footer {
            identity: input.array()?,
            records_at: length(input)?,
            records_end: length(input)?,
            objects: length(input)?,
            content_bytes: input.u64()?,
            stored_bytes: length(input)?,
            digest: input.u64()?,
            table_at: length(input)?,
            sections: input.u32()?,
            segment: input.u32()?,
            previous: length(input)?,
            covers: input.u32()?,
            names: 0,
        };
        let copy = input.u32().filter(|copy| u64::from(*copy) < COPIES)?;
        footer.names = length(input)?;
        zeros(input, 4)?;
        input.is_empty().then_some((footer, copy))
    }

    fn is_possible(&self, offset: u64) -> bool {
        // Where a segment begins: behind the header, or behind the footer before it.
        let begins = match self.previous {
            0 => FILE_HEADER_LEN,
            at => at + SEAL_LEN,
        };
        self.records_at == begins
            && self.records_at <= self.records_end
            && self.records_end <= self.table_at
            && self.sections <= MOST_SECTIONS
            && self.table_at + section_table_len(self.sections) == offset
            && (self.segment == 0) == (self.previous == 0)
            && self.covers <= self.segment
            && self.objects <= (self.records_end - self.records_at) / (RECORD_HEADER_LEN + TRAILER_LEN)
    }
}

#[cfg(test)]
mod tests;
