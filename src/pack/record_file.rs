//! [`RecordFile`]: a pack's file as far as records need it; [`RecordInfo`]: what the two ends of a record say.
//!
//! Callers: `object`, which passes it on to the rest of this module.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{RECORD_HEADER_LEN, RecordHeader, Seed, Shape, TRAILER_LEN, Trailer};
use super::id::{ObjectId, Salt};
use super::object::ObjectReader;
use crate::env::File;
use crate::{Error, Result};

/// Where a record lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordPlace {
    pub(crate) offset: u64,
    pub(crate) record_len: u64,
}

/// A pack's file, as far as reading records needs it.
#[derive(Clone)]
pub(crate) struct RecordFile {
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: Arc<Path>,
    pub(crate) seed: Seed,
}

impl RecordFile {
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        self.read_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(offset, bytes)
            .map_err(|e| self.unread(offset, e))
    }

    /// Reads these buffers, one behind the other, by one call where the file can.
    pub(super) fn read_parts(&self, offset: u64, parts: &mut [io::IoSliceMut<'_>]) -> Result<()> {
        self.file
            .read_exact_vectored_at(offset, parts)
            .map_err(|e| self.unread(offset, e))
    }

    fn unread(&self, offset: u64, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.damaged(offset, "expected more bytes, and the file ends before")
            }
            _ => self.failed("read", offset, error),
        }
    }

    /// A call that failed, with its place.
    pub(crate) fn failed(&self, operation: &'static str, offset: u64, error: io::Error) -> Error {
        let error = io::Error::new(error.kind(), format!("{error} (at offset {offset})"));
        Error::io(operation, &self.path, error)
    }

    /// Checks that it is the object that somebody's index says.
    pub(crate) fn expect(&self, id: &ObjectId, len: u64, object: &ObjectReader) -> Result<()> {
        if object.id() == *id && object.len() == len {
            return Ok(());
        }
        let what = format!("expected object {id}, and there is {}", object.id());
        Err(self.damaged(object.info().place.offset, what))
    }

    pub(crate) fn damaged(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::corruption(&self.path, offset, what)
    }
}

/// What a record says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordInfo {
    pub(crate) place: RecordPlace,
    pub(crate) id: ObjectId,
    pub(crate) salt: Salt,
    pub(crate) shape: Shape,
    /// What the digest needs of the trailer.
    pub(crate) trailer_hash: u64,
}

impl RecordInfo {
    /// Reads both ends of the record at `place`. REQUIRES: the place lies in the file, or reading fails.
    pub(crate) fn read(file: &RecordFile, place: RecordPlace) -> Result<RecordInfo> {
        let header = file.read(place.offset, RECORD_HEADER_LEN)?;
        let trailer_at = place.record_len.checked_sub(TRAILER_LEN);
        let trailer_at = trailer_at.and_then(|within| place.offset.checked_add(within));
        let trailer_at = trailer_at
            .ok_or_else(|| file.damaged(place.offset, "expected a record, the place is too short for one"))?;
        let trailer = file.read(trailer_at, TRAILER_LEN)?;
        Self::decode(file, place, &header, &trailer)
    }

    pub(super) fn decode(
        file: &RecordFile,
        place: RecordPlace,
        header: &[u8],
        trailer: &[u8],
    ) -> Result<RecordInfo> {
        let trailer_at = (place.offset + place.record_len).saturating_sub(TRAILER_LEN);
        let begin = RecordHeader::decode(header, file.seed, place.offset)
            .filter(|begin| begin.record_len == place.record_len)
            .ok_or_else(|| file.damaged(place.offset, "expected the header of a record"))?;
        let end = Trailer::decode(trailer, file.seed, trailer_at)
            .ok_or_else(|| file.damaged(trailer_at, "expected the trailer of a record"))?;
        let shape = Shape::of(&begin, &end)
            .ok_or_else(|| file.damaged(trailer_at, "expected a trailer that fits its record's header"))?;
        Ok(RecordInfo {
            place,
            id: end.id,
            salt: end.salt,
            shape,
            trailer_hash: Trailer::hash_of(trailer),
        })
    }

    pub(super) fn trailer_at(&self) -> u64 {
        self.place.offset + self.place.record_len - TRAILER_LEN
    }
}

/// The path in the form that [`RecordFile`] shares.
pub(crate) fn shared_path(path: &Path) -> Arc<Path> {
    Arc::from(PathBuf::from(path))
}
