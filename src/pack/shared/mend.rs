//! Damage in the middle of unsealed packs, for an opening that is to go on without what is damaged (`RecoveryMode::Salvage`).
//!
//! ```text
//! found     header | whole | damaged | damaged | whole | torn
//! mended    header | whole | filler            | whole | torn       places of whole records stay what they are
//! ```
//!
//! What lies between whole records becomes *fillers*: records of zeros, salted, which nobody refers to, and which a collection removes. So an ordinary reopening finds
//! nothing but whole records. What is damaged at the end is a torn tail, but for what the manifest knows to be durable: that is filled too, because lengths in the
//! manifest never shrink. A header that is lost is written again. A crash in the middle leaves damage, which the next opening mends.
//!
//! A reference to an object that is lost leads to a filler, whose id is another: reading it is an error that names the object.

use std::path::Path;
use std::sync::Arc;

use super::super::format::{
    CHUNK_ENTRY_LEN, CHUNK_SHIFTS, FILE_HEADER_LEN, FileHeader, RECORD_HEADER_LEN, SEALED_LEN_AT, Seed,
    Shape, decode_sealed_len, encode_sealed_len,
};
use super::super::id::{ObjectId, Salt};
use super::super::object::{ObjectReader, RecordFile, RecordInfo, shared_path};
use super::super::opening::read_header;
use super::super::reader::Pack;
use super::super::record::RecordOptions;
use super::super::scan::{Scan, find_record};
use super::RecordBuffers;
use super::file::another_file;
use crate::env::{File, FileSystem};
use crate::sst::Compression;
use crate::{Error, Result};

/// A longer gap gets several fillers: 1 MiB.
const FILLER: u64 = 1 << 20;
/// A tail that is filled may end so much further than it must: no record has between 84 and 97 bytes, or ends a few bytes behind a chunk.
const LOOSE: u64 = 256;

/// What is wrong with an unsealed pack, and what is whole.
#[derive(Debug, Default)]
pub(crate) struct Wreck {
    /// Where the last whole record ends.
    pub(crate) end: u64,
    /// What is damaged: nothing of what a crash leaves.
    pub(crate) damage: Vec<Error>,
    /// Between whole records.
    gaps: Vec<(u64, u64)>,
    header: bool,
    sealed_len: bool,
}

/// Looks for damage. Changes nothing.
///
/// # Errors
/// The file can't be read, or it is another one.
pub(crate) fn look(
    fs: &dyn FileSystem,
    path: &Path,
    identity: &[u8; 16],
    number: u64,
    known: u64,
) -> Result<Wreck> {
    let file = fs.open(path).map_err(|e| Error::io("open", path, e))?;
    examine(&record_file(file, path, identity), identity, number, known)
}

/// Makes whole what [`look`] finds damaged, durably, so that a reopening finds whole records up to `known` at least.
///
/// # Errors
/// The same; the file can't be written.
pub(crate) fn mend(
    fs: &dyn FileSystem,
    path: &Path,
    identity: &[u8; 16],
    number: u64,
    known: u64,
) -> Result<()> {
    let opened = fs.open_writable(path).map_err(|e| Error::io("open", path, e))?;
    let file = record_file(opened, path, identity);
    let wreck = examine(&file, identity, number, known)?;
    if wreck.damage.is_empty() {
        return Ok(());
    }
    let write = |at, bytes: &[u8]| {
        let written = file.file.write_all_at(at, bytes);
        written.map_err(|e| file.failed("write", at, e))
    };
    if wreck.header {
        let identity = *identity;
        write(0, &FileHeader { identity, number }.encode())?;
    } else if wreck.sealed_len {
        write(SEALED_LEN_AT, &encode_sealed_len(0, file.seed))?;
    }
    for (from, to) in &wreck.gaps {
        fill(&file, *from, *to..=*to)?;
    }
    if wreck.end < known {
        fill(&file, wreck.end, known..=known + LOOSE)?;
    }
    file.file.sync().map_err(|e| file.failed("sync", known, e))
}

fn record_file(file: Arc<dyn File>, path: &Path, identity: &[u8; 16]) -> RecordFile {
    RecordFile {
        file,
        path: shared_path(path),
        seed: Seed::new(identity),
    }
}

fn examine(file: &RecordFile, identity: &[u8; 16], number: u64, known: u64) -> Result<Wreck> {
    let len = file.file.len().map_err(|e| file.failed("measure", 0, e))?;
    let known = known.max(FILE_HEADER_LEN);
    let mut wreck = Wreck::default();
    match read_header(file, len) {
        Ok(found) if (found.identity, found.number) == (*identity, number) => {
            let stated = decode_sealed_len(&file.read(0, FILE_HEADER_LEN)?, file.seed);
            if stated != Some(0) {
                if let Some(end) = sealed(file, stated.unwrap_or(len), known) {
                    wreck.end = end;
                    return Ok(wreck);
                }
                wreck.sealed_len = true;
                let what = "expected the seal that the header knows of, or that there is none: what is whole is kept";
                wreck.damage.push(file.damaged(SEALED_LEN_AT, what));
            }
        }
        // Not the number 0 either: a pack that was taken over is sealed.
        Ok(found) => return Err(another_file(file, identity, number, &found)),
        Err(error @ Error::Corruption { .. }) => {
            wreck.header = true;
            wreck.damage.push(error);
        }
        Err(error) => return Err(error),
    }
    scan(file, len, &mut wreck);
    if wreck.header && wreck.end == FILE_HEADER_LEN && !resembles(file, len, identity, number)? {
        // Nothing says that it is this pack.
        return Err(wreck.damage.swap_remove(0));
    }
    if wreck.end < known {
        let what = format!("expected whole records up to {known}: what is damaged is given up");
        wreck.damage.push(file.damaged(wreck.end, what));
    }
    Ok(wreck)
}

/// Whether what there is of a header is, for the most part, that of this pack.
fn resembles(file: &RecordFile, len: u64, identity: &[u8; 16], number: u64) -> Result<bool> {
    let identity = *identity;
    let expected = FileHeader { identity, number }.encode();
    let found = file.read(0, len.min(SEALED_LEN_AT))?;
    let equal = found.iter().zip(&expected).filter(|(a, b)| a == b).count();
    Ok(equal * 4 >= found.len() * 3)
}

/// Where the records end of a pack that has been sealed, with the seal in order.
fn sealed(file: &RecordFile, sealed_len: u64, known: u64) -> Option<u64> {
    let pack = Pack::of_file(Arc::clone(&file.file), &file.path, 0, false).ok()?;
    let (_, footer) = pack.last_segment();
    let is_whole = pack.sealed_len() == sealed_len && pack.torn_bytes() == 0 && footer.records_end >= known;
    is_whole.then_some(footer.records_end)
}

/// Finds whole records and what lies between them.
fn scan(file: &RecordFile, len: u64, wreck: &mut Wreck) {
    let mut at = FILE_HEADER_LEN.min(len);
    wreck.end = FILE_HEADER_LEN;
    while let Some(found) = find_record(file, at, len) {
        // What can't be read is tried once more, and then as good as damaged.
        let read = || Scan::new(file, found, len).next();
        at = match read().or_else(|_| read()) {
            Ok(Some(info)) => {
                let end = found + info.place.record_len;
                if is_whole(file, info) || is_whole(file, info) {
                    if found > wreck.end {
                        let what =
                            format!("expected whole records up to {found}: what is damaged is given up");
                        wreck.damage.push(file.damaged(wreck.end, what));
                        wreck.gaps.push((wreck.end, found));
                    }
                    wreck.end = end;
                }
                end
            }
            Ok(None) => break,
            // Its other end is not there, or is damaged: what lies between may be records.
            Err(_) => found + RECORD_HEADER_LEN,
        };
    }
}

fn is_whole(file: &RecordFile, info: RecordInfo) -> bool {
    ObjectReader::of(file.clone(), info).verify().is_ok()
}

/// Writes fillers from `from` on, which end within `to`.
fn fill(file: &RecordFile, from: u64, to: std::ops::RangeInclusive<u64>) -> Result<()> {
    let mut at = from;
    let mut buffer = Vec::new();
    while at < *to.start() {
        let shape = match to.start() - at > 4 * FILLER {
            true => Shape {
                chunk_shift: 16,
                content_len: FILLER,
                stored_len: FILLER,
            },
            false => {
                let mut lens = to.clone().map(|end| end - at);
                lens.find_map(shape_of).ok_or_else(|| {
                    let what = format!(
                        "expected a whole record before {}; packstone-repair saves what there is",
                        to.start()
                    );
                    file.damaged(at, what)
                })?
            }
        };
        // What it is made of: the file's identity and the place, so that no two are equal.
        let mut salt: Salt = [0xa5; 16];
        let own = u128::from_le_bytes(salt) ^ u128::from(at);
        salt.copy_from_slice(&own.to_le_bytes());
        let content = vec![0; shape.content_len as usize];
        let options = RecordOptions::new(1 << shape.chunk_shift, Compression::None)?.salted(salt);
        let mut buffers = RecordBuffers::default();
        let record = buffers.prepare(&content, ObjectId::salted(&content, &salt), &options);
        record.write(file, at, &mut buffer)?;
        at += record.record_len();
    }
    Ok(())
}

/// A record of so many bytes whose content is raw.
fn shape_of(record_len: u64) -> Option<Shape> {
    CHUNK_SHIFTS.into_iter().find_map(|chunk_shift| {
        let of = |content_len| Shape {
            chunk_shift,
            content_len,
            stored_len: content_len,
        };
        let most = record_len.checked_sub(of(0).record_len())?;
        let chunks = most.div_ceil((1 << chunk_shift) + CHUNK_ENTRY_LEN);
        let lens = (chunks.saturating_sub(1)..=chunks + 1).filter_map(|chunks| {
            let overhead = Shape::table_len(chunks);
            if chunks == 0 {
                Some(0)
            } else {
                most.checked_sub(overhead)
            }
        });
        lens.map(of).find(|shape| shape.record_len() == record_len)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_every_length_is_that_of_a_record() {
        assert_eq!(shape_of(84).map(|shape| shape.content_len), Some(0));
        assert_eq!(shape_of(97).map(|shape| shape.content_len), Some(1));
        for len in (0..84).chain(85..97) {
            assert_eq!(shape_of(len), None, "{len}");
        }
        let around = [12, 13, 16, 20, 21].map(|shift| 1u64 << shift);
        let lens = around.into_iter().flat_map(|middle| middle - 100..middle + 300);
        for len in lens.chain(97..5000).chain(4 * FILLER - 1000..=4 * FILLER) {
            let shape = shape_of(len).unwrap_or_else(|| panic!("{len}"));
            assert_eq!(shape.record_len(), len);
            assert!(shape.groups() <= 1, "{shape:?}");
        }
    }
}
