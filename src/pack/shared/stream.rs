//! [`StreamPack`]: a pack of one object that comes as a stream of any length, or is moved from another pack. Its memory is a chunk and a mebibyte of
//! output; 8 bytes for each 64 MiB.
//!
//! The file has its name from the begin: the number in it is used once, and the file counts when the manifest names it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::builder::sync_dir_of;
use super::super::format::{FILE_HEADER_LEN, FileHeader, Seed};
use super::super::id::ObjectId;
use super::super::object::{RecordPlace, as_io};
use super::super::output::Output;
use super::super::record::{Buffers, RecordOptions, RecordWriter};
use super::super::section::Located;
use super::super::segment::note_sealed_len;
use super::seal::{Contents, write_footers};
use super::{PackFile, SealedPack};
use crate::Result;
use crate::env::{Env, FileSystem};

/// A pack that is being written. Dropping it removes the file.
pub(crate) struct StreamPack {
    // Dropped before the file is removed: it has it open.
    writer: Option<RecordWriter<Output, Buffers>>,
    header: FileHeader,
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    id: Option<ObjectId>,
    done: bool,
}

impl std::fmt::Debug for StreamPack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamPack")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// An object that has been written as a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Streamed {
    pub(crate) id: ObjectId,
    /// The length of the object, in bytes.
    pub(crate) len: u64,
    pub(crate) place: RecordPlace,
    pub(crate) pack: SealedPack,
}

impl StreamPack {
    /// Creates the file, which must not exist yet.
    pub(crate) fn create(
        env: &Env,
        path: &Path,
        identity: [u8; 16],
        number: u64,
        options: &RecordOptions,
    ) -> Result<StreamPack> {
        let header = FileHeader { identity, number };
        let file = super::create(&*env.fs, path, &header)?;
        let mut pack = StreamPack {
            writer: None,
            header,
            fs: Arc::clone(&env.fs),
            path: path.to_owned(),
            id: None,
            done: false,
        };
        let output = Output::new(file, path, FILE_HEADER_LEN);
        let writer = RecordWriter::begin(output, Buffers::default(), *options, Seed::new(&identity))?;
        pack.writer = Some(writer);
        Ok(pack)
    }

    fn writer(&mut self) -> Result<&mut RecordWriter<Output, Buffers>> {
        let path = &self.path;
        let done = || crate::Error::io("write", path, io::Error::other("the pack is finished"));
        self.writer.as_mut().ok_or_else(done)
    }

    /// The identity in its header.
    pub(crate) fn identity(&self) -> [u8; 16] {
        self.header.identity
    }

    /// Adds to the content.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer()?.write(bytes)
    }

    /// The content is complete; what its id is. To be called once; [`Self::finish`] comes next, or the pack is dropped.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn end(&mut self) -> Result<ObjectId> {
        let id = self.writer()?.end_content()?;
        self.id = Some(id);
        Ok(id)
    }

    /// The content is complete. When this returns the pack is sealed, and it and its name are durable.
    ///
    /// # Errors
    /// The file can't be written or synced; it is removed.
    pub(crate) fn finish(mut self) -> Result<Streamed> {
        let id = match self.id {
            Some(id) => id,
            None => self.end()?,
        };
        self.commit(id)
    }

    /// Makes it the record at this place of another pack, as it is stored there: each chunk is checked, none decompressed. Otherwise as
    /// [`Self::finish`]. REQUIRES: nothing has been written to it.
    ///
    /// # Errors
    /// The record can't be read, is damaged or another one. As [`Self::finish`].
    pub(crate) fn copy(
        mut self,
        from: &PackFile,
        place: RecordPlace,
        id: &ObjectId,
        len: u64,
    ) -> Result<Streamed> {
        let mut object = from.open_object(place, id, len)?;
        let info = *object.info();
        let writer = self.writer()?;
        writer.copy_of(info.shape.chunk_shift, info.salt);
        for number in 0..info.shape.chunks() {
            let chunk = object.stored(number)?;
            writer.copy_chunk(chunk.raw, chunk.bytes, chunk.content_len)?;
        }
        self.commit(info.id)
    }

    fn commit(mut self, id: ObjectId) -> Result<Streamed> {
        let header = self.header;
        let writer = self.writer()?;
        let written = writer.commit(id)?;
        let located = Located {
            place: written.place,
            content_len: written.content_len,
        };
        let mut contents = Contents::default();
        contents.add(id, located, written.stored_len, written.trailer_hash);
        let output = writer.output();
        let pack = write_footers(output, &header, &contents)?;
        note_sealed_len(output, Seed::new(&header.identity))?;
        sync_dir_of(&*self.fs, &self.path)?;
        self.done = true;
        Ok(Streamed {
            id,
            len: written.content_len,
            place: written.place,
            pack,
        })
    }
}

impl Write for StreamPack {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let writer = self.writer().map_err(as_io)?;
        writer.write(bytes).map_err(as_io)?;
        Ok(bytes.len())
    }

    /// Does nothing: [`StreamPack::finish`] makes it durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StreamPack {
    fn drop(&mut self) {
        self.writer = None;
        if !self.done {
            // If it fails, nothing names the file, and the next opening of the database removes it.
            let _ = self.fs.remove(&self.path);
        }
    }
}
