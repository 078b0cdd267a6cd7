//! [`read_whole`]: a whole object into a buffer of the caller's, by as few calls and copies as its record allows.
//!
//! | record | calls | copies behind the kernel's |
//! | --- | --- | --- |
//! | raw, of 16 KiB to 1 MiB, and its length is known | one for header, content, tables and trailer | none: the content is read to where it is wanted |
//! | others of up to 1 MiB | one for the record | decompression, or moving it to the front |
//! | longer | one for each chunk or window | decompression |
//!
//! Callers: `reader`, `shared`.

use std::io::IoSliceMut;

use super::format::{RECORD_HEADER_LEN, Shape, TRAILER_LEN, decode_table};
use super::object::{Chunk, DIRECT, ObjectReader, RecordFile, RecordInfo, RecordPlace, WHOLE};
use crate::Result;

/// The longest table and trailer of a record that is read in place, which has chunks of 4 KiB at least.
const MOST_TAIL: usize = (Shape::table_len(WHOLE >> 12) + TRAILER_LEN) as usize;

/// Reads the object of a record, which somebody says to be `len` bytes long, in place of what `out` holds. `expected` looks at what the
/// record says.
pub(crate) fn read_whole(
    file: &RecordFile,
    place: RecordPlace,
    len: u64,
    out: &mut Vec<u8>,
    expected: impl FnOnce(&ObjectReader) -> Result<()>,
) -> Result<()> {
    if place.record_len > WHOLE {
        let mut reader = ObjectReader::open(file, place)?;
        expected(&reader)?;
        return reader.read_all(out);
    }
    match tail_of_raw(place, len) {
        Some(tail) => read_in_place(file, place, (len as usize, tail), out, expected),
        None => read_record(file, place, out, expected),
    }
}

/// How long table and trailer are if the record is raw, and long enough to be read in place.
fn tail_of_raw(place: RecordPlace, len: u64) -> Option<usize> {
    let tail = place
        .record_len
        .checked_sub(RECORD_HEADER_LEN)?
        .checked_sub(len)?;
    let possible = len >= DIRECT && tail >= Shape::table_len(1) + TRAILER_LEN && tail <= MOST_TAIL as u64;
    possible.then_some(tail as usize)
}

fn read_in_place(
    file: &RecordFile,
    place: RecordPlace,
    (len, tail): (usize, usize),
    out: &mut Vec<u8>,
    expected: impl FnOnce(&ObjectReader) -> Result<()>,
) -> Result<()> {
    let mut header = [0; RECORD_HEADER_LEN as usize];
    let mut ends = [0; MOST_TAIL];
    let ends = ends.get_mut(..tail).unwrap_or_default();
    out.resize(len, 0); // zeros only what is new
    let mut parts = [&mut header[..], &mut out[..], &mut ends[..]].map(IoSliceMut::new);
    file.read_parts(place.offset, &mut parts)?;
    let (table, trailer) = ends.split_at(tail.saturating_sub(TRAILER_LEN as usize));
    let info = RecordInfo::decode(file, place, &header, trailer)?;
    let mut reader = ObjectReader::of(file.clone(), info);
    expected(&reader)?;
    let shape = info.shape;
    if shape.stored_len != shape.content_len || shape.content_len != len as u64 || shape.groups() > 1 {
        return reader.read_all(out); // it only was as long as a raw one
    }
    let mut offset = place.offset + RECORD_HEADER_LEN;
    let table_at = offset + len as u64;
    let entries = decode_table(table, file.seed, table_at)
        .filter(|entries| entries.len() as u64 == shape.chunks())
        .ok_or_else(|| file.damaged(table_at, "expected an object's table of chunks"))?;
    for (content, entry) in out.chunks(1 << shape.chunk_shift).zip(entries) {
        let content_len = content.len();
        if !entry.raw || entry.stored_len as usize != content_len {
            return Err(file.damaged(table_at, "expected chunks as long as their content"));
        }
        let chunk = Chunk {
            offset,
            entry,
            content_len,
        };
        reader.check(chunk, content)?;
        offset += content_len as u64;
    }
    Ok(())
}

fn read_record(
    file: &RecordFile,
    place: RecordPlace,
    out: &mut Vec<u8>,
    expected: impl FnOnce(&ObjectReader) -> Result<()>,
) -> Result<()> {
    let mut record = std::mem::take(out);
    record.resize(place.record_len as usize, 0); // zeros only what is new
    file.read_into(place.offset, &mut record)?;
    let header = record.get(..RECORD_HEADER_LEN as usize).unwrap_or_default();
    let trailer = record.len().saturating_sub(TRAILER_LEN as usize);
    let info = RecordInfo::decode(file, place, header, record.get(trailer..).unwrap_or_default())?;
    let mut reader = ObjectReader::of(file.clone(), info).with_record(record);
    expected(&reader)?;
    // Nothing compressed: the content is there already, and only has to be checked.
    if info.shape.groups() <= 1 && info.shape.stored_len == info.shape.content_len {
        for number in 0..info.shape.chunks() {
            let chunk = reader.chunk(number)?;
            reader.check(chunk, reader.windowed(chunk).unwrap_or_default())?;
        }
        let mut record = reader.into_buffer();
        let content = RECORD_HEADER_LEN as usize;
        let len = info.shape.content_len as usize;
        record.truncate(content + len);
        record.copy_within(content.., 0);
        record.truncate(len);
        *out = record;
        return Ok(());
    }
    reader.read_all(out)
}
