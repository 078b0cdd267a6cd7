//! [`read_whole`]: a whole object into a buffer of the caller's, by as few calls and copies as its record allows.
//!
//! | record | calls | copies behind the kernel's |
//! | --- | --- | --- |
//! | raw, of 16 KiB to 1 MiB, and its length is known | one for header, content, tables and trailer | none: the content is read to where it is wanted |
//! | others of up to 1 MiB | one for the record | decompression, or moving it |
//! | longer | one for each chunk or window | decompression |
//!
//! Callers: `reader`, `shared`.

use std::io::IoSliceMut;
use std::sync::Arc;

use super::format::{RECORD_HEADER_LEN, Shape, TRAILER_LEN, decode_table};
use super::object::{Chunk, DIRECT, ObjectReader, RecordFile, RecordInfo, RecordPlace, WHOLE};
use crate::Result;

/// The longest table and trailer of a record that is read in place, which has chunks of 4 KiB at least.
const MOST_TAIL: usize = (Shape::table_len(WHOLE >> 12) + TRAILER_LEN) as usize;

/// What a whole object is read into: the caller's memory, or that of the answer.
pub(crate) trait Content {
    /// Memory of just this length, to be written over.
    fn room(&mut self, len: usize) -> &mut [u8];
    /// The same for a content that is as long as what `read` has gathered.
    fn gather(&mut self, read: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()>;
}

impl Content for Vec<u8> {
    fn room(&mut self, len: usize) -> &mut [u8] {
        self.resize(len, 0); // zeros only what is new
        self
    }

    fn gather(&mut self, read: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        read(self)
    }
}

impl Content for Arc<[u8]> {
    fn room(&mut self, len: usize) -> &mut [u8] {
        *self = std::iter::repeat_n(0, len).collect();
        Arc::get_mut(self).unwrap_or_default() // nobody else has it
    }

    fn gather(&mut self, read: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let mut content = Vec::new();
        read(&mut content)?;
        *self = content.into();
        Ok(())
    }
}

/// Reads the object of a record, which somebody says to be `len` bytes long, in place of what `out` holds. `expected` looks at what the
/// record says. `scratch` is memory that one read after the other uses.
pub(crate) fn read_whole(
    file: &RecordFile,
    place: RecordPlace,
    len: u64,
    out: &mut impl Content,
    scratch: &mut Vec<u8>,
    expected: impl FnOnce(&ObjectReader) -> Result<()>,
) -> Result<()> {
    if place.record_len > WHOLE {
        let mut reader = ObjectReader::open(file, place)?;
        expected(&reader)?;
        return read_all(&mut reader, out);
    }
    match tail_of_raw(place, len) {
        Some(tail) => read_in_place(file, place, (len as usize, tail), out, expected),
        None => read_record(file, place, out, scratch, expected),
    }
}

/// Everything from an open object.
fn read_all(reader: &mut ObjectReader, out: &mut impl Content) -> Result<()> {
    match reader.modest_len() {
        Some(len) => reader.fill(out.room(len)),
        None => out.gather(|out| reader.read_all(out)),
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
    out: &mut impl Content,
    expected: impl FnOnce(&ObjectReader) -> Result<()>,
) -> Result<()> {
    let mut header = [0; RECORD_HEADER_LEN as usize];
    let mut ends = [0; MOST_TAIL];
    let ends = ends.get_mut(..tail).unwrap_or_default();
    let content = out.room(len);
    let mut parts = [&mut header[..], &mut *content, &mut ends[..]].map(IoSliceMut::new);
    file.read_parts(place.offset, &mut parts)?;
    let (table, trailer) = ends.split_at(tail.saturating_sub(TRAILER_LEN as usize));
    let info = RecordInfo::decode(file, place, &header, trailer)?;
    let mut reader = ObjectReader::of(file.clone(), info);
    expected(&reader)?;
    let shape = info.shape;
    if shape.stored_len != shape.content_len || shape.content_len != len as u64 || shape.groups() > 1 {
        return read_all(&mut reader, out); // it only was as long as a raw one
    }
    let mut offset = place.offset + RECORD_HEADER_LEN;
    let table_at = offset + len as u64;
    let entries = decode_table(table, file.seed, table_at)
        .filter(|entries| entries.len() as u64 == shape.chunks())
        .ok_or_else(|| file.damaged(table_at, "expected an object's table of chunks"))?;
    for (content, entry) in content.chunks(1 << shape.chunk_shift).zip(entries) {
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
    out: &mut impl Content,
    scratch: &mut Vec<u8>,
    expected: impl FnOnce(&ObjectReader) -> Result<()>,
) -> Result<()> {
    let mut record = std::mem::take(scratch);
    record.resize(place.record_len as usize, 0); // zeros only what is new
    file.read_into(place.offset, &mut record)?;
    let header = record.get(..RECORD_HEADER_LEN as usize).unwrap_or_default();
    let trailer = record.len().saturating_sub(TRAILER_LEN as usize);
    let info = RecordInfo::decode(file, place, header, record.get(trailer..).unwrap_or_default())?;
    let mut reader = ObjectReader::of(file.clone(), info).with_record(record);
    let read = expected(&reader).and_then(|()| read_all(&mut reader, out));
    *scratch = reader.into_buffer();
    read
}
