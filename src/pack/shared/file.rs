//! [`PackFile`]: reads objects of a database's pack at places that somebody knows, whether the pack is sealed or not.

use std::path::Path;
use std::sync::Arc;

use super::super::format::{FILE_HEADER_LEN, FileHeader, Seed, TRAILER_LEN};
use super::super::id::ObjectId;
use super::super::object::{ObjectReader, RecordFile, RecordPlace, shared_path};
use super::super::opening::read_header;
use super::super::reader::Pack;
use super::super::whole::{Content, read_whole};
use super::{Prepared, RecordBuffers};
use crate::env::{File, FileSystem};
use crate::{Error, Result};

/// A database's pack, open for reading. Clones share the open file, and so do the objects that are read from it.
#[derive(Clone)]
pub(crate) struct PackFile {
    pub(super) file: RecordFile,
}

impl std::fmt::Debug for PackFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackFile")
            .field("path", &self.file.path)
            .finish_non_exhaustive()
    }
}

/// Reads the header, which must be that of this pack. The file is as long as the header at least.
pub(super) fn expect_pack(
    file: Arc<dyn File>,
    path: &Path,
    identity: &[u8; 16],
    number: u64,
) -> Result<(RecordFile, FileHeader)> {
    let file = RecordFile {
        file,
        path: shared_path(path),
        seed: Seed::new(identity),
    };
    let len = file.file.len().map_err(|e| Error::io("measure", path, e))?;
    let found = read_header(&file, len)?;
    // One that was taken over has kept the number that programs give.
    let is_it = found.identity == *identity && (found.number == number || found.number == 0);
    match is_it {
        true => Ok((file, found)),
        false => Err(another_file(&file, identity, number, &found)),
    }
}

/// The error for the header of another pack than the one that is expected.
pub(super) fn another_file(file: &RecordFile, identity: &[u8; 16], number: u64, found: &FileHeader) -> Error {
    let what = format!(
        "expected pack {number} with the identity {}, found pack {} with {}: this is another file",
        ObjectId(*identity),
        found.number,
        ObjectId(found.identity)
    );
    file.damaged(0, what)
}

impl PackFile {
    /// Opens a pack, and looks at its header only.
    ///
    /// # Errors
    /// The file can't be read, is no pack, or is another one.
    pub(crate) fn open(
        fs: &dyn FileSystem,
        path: &Path,
        identity: &[u8; 16],
        number: u64,
    ) -> Result<PackFile> {
        let file = fs.open(path).map_err(|e| Error::io("open", path, e))?;
        let (file, _) = expect_pack(file, path, identity, number)?;
        Ok(PackFile { file })
    }

    /// The pack, whatever stands in the file in place of its header.
    pub(in crate::pack) fn of(file: RecordFile) -> PackFile {
        PackFile { file }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// What somebody says to be a place may be anything.
    fn check(&self, place: RecordPlace) -> Result<()> {
        let end = place.offset.checked_add(place.record_len);
        let possible = place.offset >= FILE_HEADER_LEN
            && place.record_len >= TRAILER_LEN
            && end.is_some_and(|end| end <= i64::MAX as u64);
        match possible {
            true => Ok(()),
            false => Err(self.file.damaged(place.offset, "expected the place of a record")),
        }
    }

    /// The whole object at this place, which must be `id` of `len` bytes, in place of what `out` holds, whose memory is used again.
    ///
    /// # Errors
    /// The record can't be read, is damaged or another one; `out` holds nothing of use then.
    pub(crate) fn read_into(
        &self,
        place: RecordPlace,
        id: &ObjectId,
        len: u64,
        out: &mut impl Content,
        buffers: &mut RecordBuffers,
    ) -> Result<()> {
        self.check(place)?;
        read_whole(&self.file, place, len, out, buffers.window(), |object| {
            self.file.expect(id, len, object)
        })
    }

    /// The same as a stream.
    ///
    /// # Errors
    /// The ends of the record can't be read, are damaged or those of another object.
    pub(crate) fn open_object(&self, place: RecordPlace, id: &ObjectId, len: u64) -> Result<ObjectReader> {
        self.check(place)?;
        let object = ObjectReader::open(&self.file, place)?;
        self.file.expect(id, len, &object).map(|()| object)
    }

    /// Reads the object at this place, which must be `id`, and compares its content with that; its length.
    ///
    /// # Errors
    /// The record can't be read, is damaged or another one.
    pub(crate) fn verify_object(&self, place: RecordPlace, id: &ObjectId) -> Result<u64> {
        self.check(place)?;
        let mut object = ObjectReader::open(&self.file, place)?;
        let len = object.len();
        self.file.expect(id, len, &object)?;
        object.verify().map(|()| len)
    }

    /// The record as it is stored, to be appended to another pack; all of it comes into memory, so it is for short ones
    /// ([`StreamPack::copy`](super::StreamPack::copy) moves the others). Each chunk is checked, none decompressed.
    ///
    /// # Errors
    /// The record can't be read, is damaged or another one.
    pub(crate) fn load_record<'a>(
        &self,
        place: RecordPlace,
        id: &ObjectId,
        len: u64,
        buffers: &'a mut RecordBuffers,
    ) -> Result<Prepared<'a>> {
        buffers.copy(self.open_object(place, id, len)?)
    }

    /// A sealed pack with its index ([`Pack::entries`]: ids ascending, with places and stored lengths). Reads what opening a pack reads.
    ///
    /// # Errors
    /// As [`Pack::open`].
    pub(crate) fn index(&self, cache_size: u64) -> Result<Pack> {
        Pack::of_file(Arc::clone(&self.file.file), &self.file.path, cache_size, false)
    }
}
