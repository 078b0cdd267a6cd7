//! [`Keyspace`]: one ordered map.

use std::fmt;
use std::io::Read;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use super::bounds::{self, Bounds};
use super::cursor::Cursor;
use super::handle::Handle;
use super::limits::{check_key, check_value};
use super::range::Range;
use super::value::{ValueReader, ValueWriter};
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::objects::Stored;
use crate::engine::queue::Request;
use crate::options::{Durability, KeyspaceOptions};
use crate::wal::PayloadBuilder;
use crate::{Error, Result, Slice};

/// Bytes that are read from a `Read` at once.
const READ_AT_ONCE: usize = 256 << 10;

/// One ordered map of a database: from keys of 0 to 65,535 bytes to values of any length.
///
/// A handle is cheap to clone, `Send` and `Sync`.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = packstone::Db::open(dir.path())?;
/// let users = db.keyspace("users")?;
/// users.put("alice", "1")?;
/// users.put("albert", "2")?;
/// for entry in users.prefix("al").rev() {
///     let (key, value) = entry?;
///     println!("{key:?} = {value:?}");
/// }
/// users.delete("alice")?;
/// assert!(!users.contains_key("alice")?);
/// # db.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Keyspace {
    pub(super) handle: Arc<Handle>,
    pub(super) core: Arc<KeyspaceCore>,
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace")
            .field("name", &self.core.name)
            .finish_non_exhaustive()
    }
}

impl Keyspace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// The options that it was created with.
    pub fn options(&self) -> &KeyspaceOptions {
        &self.core.options
    }

    /// Sets the value of a key, with [`Durability::Buffered`].
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] for a key above 65,535 bytes (65,527 in hash order) or a value above 64 MiB where large values are not objects ([`KeyspaceOptions::object_threshold`]); [`Error::KeyspaceDropped`];
    /// [`Error::ReadOnly`]; an I/O error, after which the write has not happened (a failed write to the log may
    /// nevertheless be found there after a crash that follows at once).
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, value, Durability::Buffered)
    }

    /// Sets the value of a key.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        durability: Durability,
    ) -> Result<()> {
        let (key, value) = (key.as_ref(), value.as_ref());
        check_key(key, self.core.order())?;
        if self.core.options.is_object(value.len()) {
            return self.put_object(key, value, durability);
        }
        check_value(value)?;
        let mut payload = PayloadBuilder::new();
        payload.put(self.core.id, key, value);
        self.commit(payload, durability)
    }

    #[cold]
    fn put_object(&self, key: &[u8], value: &[u8], durability: Durability) -> Result<()> {
        let core = &self.handle.core;
        self.core.check_alive()?;
        let stored = core.store_object(value, self.core.options.get_deduplicate())?;
        self.commit_object(key, stored, durability)
    }

    /// Makes a stored object the value of a key.
    pub(super) fn commit_object(&self, key: &[u8], stored: Stored, durability: Durability) -> Result<()> {
        let core = &self.handle.core;
        let directory = core.object_directory()?;
        let mut payload = PayloadBuilder::new();
        stored.add_to(&mut payload, directory.id, self.core.id, key);
        let request = Request::new(payload, vec![self.core.clone(), directory]).with_objects(vec![stored]);
        core.commit(request, durability)
    }

    /// Sets the value of a key to all that `value` gives until its end, of any length, in some mebibytes of memory. A value that is longer than one becomes a
    /// file of its own, which is synced. With [`Durability::Buffered`].
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// # let videos = db.keyspace("videos")?;
    /// use std::io::Read;
    /// let film = std::io::repeat(7).take(5_000_000);
    /// assert_eq!(videos.put_reader("film", film)?, 5_000_000);
    /// assert_eq!(videos.open("film")?.unwrap().len(), 5_000_000);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// An error of the reader (as [`Error::Io`]), and as [`Keyspace::put`]. Nothing has changed then, and what had been written is given back.
    pub fn put_reader(&self, key: impl AsRef<[u8]>, mut value: impl Read) -> Result<u64> {
        let mut writer = self.writer(key)?;
        let mut buffer = vec![0; READ_AT_ONCE];
        loop {
            match value.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => writer.push(buffer.get(..n).unwrap_or_default())?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", Path::new("the value"), e)),
            }
        }
        let len = writer.len();
        writer.commit(Durability::Buffered)?;
        Ok(len)
    }

    /// A writer for a value of any length, which becomes visible with [`ValueWriter::commit`].
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] for the key; [`Error::KeyspaceDropped`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn writer(&self, key: impl AsRef<[u8]>) -> Result<ValueWriter> {
        let key = key.as_ref();
        check_key(key, self.core.order())?;
        self.handle.core.check_open()?;
        self.handle.core.wal()?;
        self.core.check_alive()?;
        Ok(ValueWriter::new(self.clone(), key))
    }

    /// The value of a key, to be read piece by piece, from anywhere in it, as it is at this moment; `None` if there is none. Of a large value only the
    /// pieces are read that are asked for. It stays readable whatever becomes of the key.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = packstone::Db::open(dir.path())?;
    /// # let texts = db.keyspace("texts")?;
    /// use std::io::{Read, Seek, SeekFrom};
    /// texts.put("poem", "a rose ".repeat(100_000))?;
    /// let mut poem = texts.open("poem")?.ok_or("there is one")?;
    /// poem.seek(SeekFrom::End(-5))?;
    /// let mut end = String::new();
    /// poem.read_to_string(&mut end)?;
    /// assert_eq!(end, "rose ");
    /// # db.close()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn open(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        ValueReader::open(&self.handle, &self.core, key.as_ref(), None)
    }

    /// Removes a key; no error if there is none. With [`Durability::Buffered`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.delete_with(key, Durability::Buffered)
    }

    /// Removes a key; no error if there is none.
    pub fn delete_with(&self, key: impl AsRef<[u8]>, durability: Durability) -> Result<()> {
        let key = key.as_ref();
        check_key(key, self.core.order())?;
        let mut payload = PayloadBuilder::new();
        payload.delete(self.core.id, key);
        self.commit(payload, durability)
    }

    fn commit(&self, payload: PayloadBuilder, durability: Durability) -> Result<()> {
        self.handle
            .core
            .commit(Request::new(payload, vec![self.core.clone()]), durability)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Corruption`] when the bytes that the answer depends on are damaged; never a wrong value.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.handle.core.get(&self.core, key.as_ref(), None)
    }

    /// Reads the value of a key into a buffer of the caller's, whose contents are replaced; whether there is a value. If there
    /// is none the buffer stays as it is. With a buffer that is large enough, and the blocks in memory, nothing is allocated.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// # let users = db.keyspace("users")?;
    /// users.put("alice", "1")?;
    /// let mut value = Vec::with_capacity(4096);
    /// assert!(users.get_into("alice", &mut value)?);
    /// assert_eq!(value, b"1");
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Keyspace::get`]; the buffer's contents mean nothing then.
    pub fn get_into(&self, key: impl AsRef<[u8]>, value: &mut Vec<u8>) -> Result<bool> {
        self.handle.core.get_into(&self.core, key.as_ref(), None, value)
    }

    /// The values of several keys as they are at one moment, in the order of the keys: no batch is seen half. A key may be
    /// given twice.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// # let users = db.keyspace("users")?;
    /// users.put("alice", "1")?;
    /// let values = users.multi_get(&["bob", "alice"])?;
    /// assert_eq!(values[0], None);
    /// assert_eq!(values[1].as_deref(), Some(&b"1"[..]));
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Keyspace::get`], for any of the keys.
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Slice>>> {
        let core = &self.handle.core;
        core.check_open()?;
        self.core.check_alive()?;
        let snapshot = core.snapshots.register();
        core.multi_get(&self.core, keys, snapshot.seq())
    }

    /// A cursor over the entries as they are at this moment. It stands nowhere until it is moved.
    ///
    /// # Errors
    /// [`Error::KeyspaceDropped`], [`Error::Closed`].
    pub fn cursor(&self) -> Result<Cursor> {
        self.handle.core.check_open()?;
        self.core.check_alive()?;
        self.core.check_iterable()?;
        let snapshot = self.handle.core.snapshots.register();
        Ok(Cursor::new(self.handle.clone(), &self.core, snapshot))
    }

    /// Whether the key has a value.
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.handle.core.contains_key(&self.core, key.as_ref(), None)
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> Result<bool> {
        let all = bounds::of_range::<&[u8]>(&..);
        Ok(self.run(all, Ok(())).keys().next().transpose()?.is_none())
    }

    /// The entry of the least key.
    pub fn first(&self) -> Result<Option<(Slice, Slice)>> {
        self.iter().next().transpose()
    }

    /// The entry of the greatest key.
    pub fn last(&self) -> Result<Option<(Slice, Slice)>> {
        self.iter().next_back().transpose()
    }

    /// All entries in key order, as they are at this moment. In hash order the first item, and of `range` and `prefix` as well, is
    /// [`Error::HashOrder`].
    pub fn iter(&self) -> Range {
        self.range::<&[u8], _>(..)
    }

    /// The entries of a range of keys, as they are at this moment. An empty or inverted range has none.
    pub fn range<K: AsRef<[u8]>, R: RangeBounds<K>>(&self, bounds: R) -> Range {
        self.bounded(bounds::of_range(&bounds))
    }

    /// The entries whose keys begin with `prefix`, as they are at this moment.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        self.bounded(bounds::of_prefix(prefix.as_ref()))
    }

    fn bounded(&self, bounds: Bounds) -> Range {
        self.run(bounds, self.core.check_iterable())
    }

    fn run(&self, bounds: Bounds, allowed: Result<()>) -> Range {
        let alive = self
            .handle
            .core
            .check_open()
            .and_then(|()| self.core.check_alive())
            .and(allowed);
        let snapshot = self.handle.core.snapshots.register();
        Range::new(self.handle.clone(), &self.core, snapshot, bounds, alive)
    }

    /// Merges all SSTs that hold keys of a range, tombstones and old versions dropped as far as no snapshot needs them.
    /// Flushes first. For after mass deletes; ordinary work needs no such call. In hash order any range stands for all keys.
    ///
    /// It is one job: it needs room on the disk for as many bytes as it merges, and other compactions of this keyspace wait
    /// for it.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Closed`], [`Error::KeyspaceDropped`], and what kept the flush or the merge from being
    /// done; nothing is lost then.
    pub fn compact_range<K: AsRef<[u8]>, R: RangeBounds<K>>(&self, bounds: R) -> Result<()> {
        let mut bounds = bounds::of_range(&bounds);
        if self.core.order().is_hash() {
            // The keys of a range lie everywhere.
            bounds = bounds::of_range::<&[u8]>(&..);
        }
        self.handle
            .core
            .compact_range(&self.core, &bounds.lower, bounds.upper.as_deref())
    }
}

impl IntoIterator for &Keyspace {
    type Item = Result<(Slice, Slice), Error>;
    type IntoIter = Range;
    fn into_iter(self) -> Range {
        self.iter()
    }
}
