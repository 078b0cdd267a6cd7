//! [`ValueWriter`] and [`ValueReader`]: values of any length, piece by piece.

use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::handle::Handle;
use super::keyspace::Keyspace;
use super::limits::check_value;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::objects::Pack;
use crate::engine::objects::stream::{ObjectStream, Streamed};
use crate::options::Durability;
use crate::pack::ObjectReader;
use crate::types::SeqNo;
use crate::{Error, Result, Slice};

/// A value that is being written. Nobody sees any of it before [`ValueWriter::commit`]; dropped without that, it has never been.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = packstone::Db::open(dir.path())?;
/// # let logs = db.keyspace("logs")?;
/// use std::io::Write;
/// let mut writer = logs.writer("monday")?;
/// for hour in 0..24 {
///     writeln!(writer, "{hour}: all is well")?;
/// }
/// writer.commit(packstone::Durability::Sync)?;
/// assert!(logs.get("monday")?.is_some());
/// # db.close()?;
/// # Ok(())
/// # }
/// ```
pub struct ValueWriter {
    keyspace: Keyspace,
    key: Vec<u8>,
    stream: ObjectStream,
}

impl fmt::Debug for ValueWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueWriter")
            .field("keyspace", &self.keyspace)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl ValueWriter {
    pub(super) fn new(keyspace: Keyspace, key: &[u8]) -> ValueWriter {
        let options = &keyspace.core.options;
        let (threshold, deduplicate) = (options.get_object_threshold(), options.get_deduplicate());
        ValueWriter {
            stream: ObjectStream::new(&keyspace.handle.core, threshold, deduplicate),
            key: key.to_vec(),
            keyspace,
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.stream.len()
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes; as `write_all`, with the engine's errors.
    ///
    /// # Errors
    /// The disk is full, or fails. The value can't be committed then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let keyspace = &self.keyspace.core.options;
        if keyspace.get_object_threshold().is_none() {
            // It will have to fit the tree.
            let size = self.len().saturating_add(bytes.len() as u64);
            let limit = crate::types::MAX_VALUE_LEN as u64;
            if size > limit {
                return Err(Error::LimitExceeded {
                    what: "value",
                    size,
                    limit,
                });
            }
        }
        self.stream.write(bytes)
    }

    /// Makes it the value of the key.
    ///
    /// # Errors
    /// As [`Keyspace::put`]; an error of an earlier write. Nothing has changed then.
    pub fn commit(self, durability: Durability) -> Result<()> {
        let ValueWriter {
            keyspace,
            key,
            stream,
        } = self;
        match stream.finish()? {
            Streamed::Stored(stored) => keyspace.commit_object(&key, stored, durability),
            Streamed::Short(value) => {
                if !keyspace.core.options.is_object(value.len()) {
                    check_value(&value)?;
                }
                keyspace.put_with(&key, &value, durability)
            }
        }
    }

    /// Gives it up; as dropping it.
    pub fn abort(self) {}
}

impl Write for ValueWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(to_io)?;
        Ok(bytes.len())
    }

    /// Does nothing: bytes count when the value is committed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => io::Error::new(source.kind(), source),
        error => io::Error::other(error),
    }
}

/// A value that is read piece by piece: `Read` and `Seek` in `std`'s sense. Errors of damaged files are of kind `InvalidData` and carry an
/// [`Error`], which names file and offset. See [`Keyspace::open`].
pub struct ValueReader {
    content: Content,
    len: u64,
    _handle: Arc<Handle>,
}

enum Content {
    Short(Cursor<Slice>),
    /// The pack's file stays while it is being read.
    Object {
        reader: Box<ObjectReader>,
        pack: Arc<Pack>,
    },
}

impl fmt::Debug for ValueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueReader")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl ValueReader {
    pub(super) fn open(
        handle: &Arc<Handle>,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
    ) -> Result<Option<ValueReader>> {
        let core = &handle.core;
        let mut before = None;
        loop {
            let Some(object) = core.find_reference(keyspace, key, snapshot)? else {
                let value = core.get(keyspace, key, snapshot)?;
                return Ok(value.map(|value| ValueReader {
                    len: value.len() as u64,
                    content: Content::Short(Cursor::new(value)),
                    _handle: handle.clone(),
                }));
            };
            if let Some((pack, reader)) = core.open_object(&object)? {
                return Ok(Some(ValueReader {
                    len: object.len,
                    content: Content::Object {
                        reader: Box::new(reader),
                        pack,
                    },
                    _handle: handle.clone(),
                }));
            }
            // The key may have been written again, and the object collected, since it was found.
            if before == Some(object) {
                return Err(core.missing(&object));
            }
            before = Some(object);
        }
    }

    /// The value's length, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the value is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Read for ValueReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::Short(value) => value.read(buffer),
            Content::Object { reader, pack } => reader.read(buffer).inspect_err(|_| pack.note_doubted()),
        }
    }
}

impl Seek for ValueReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.content {
            Content::Short(value) => value.seek(to),
            Content::Object { reader, .. } => reader.seek(to),
        }
    }
}
