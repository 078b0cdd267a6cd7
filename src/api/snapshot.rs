//! [`Snapshot`]: the database at one moment.

use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use super::bounds::{self, Bounds};
use super::cursor::Cursor;
use super::handle::Handle;
use super::keyspace::Keyspace;
use super::range::Range;
use super::value::ValueReader;
use crate::engine::snapshots::SnapshotGuard;
use crate::types::SeqNo;
use crate::{Error, Result, Slice};

/// All keyspaces as they were at one moment, however long ago: it never changes. While it is open, the versions that it
/// sees are kept on disk, so drop it when it is no longer needed.
///
/// A keyspace that is dropped later can still be read through it, with a handle from before; one that was dropped earlier
/// cannot.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = packstone::Db::open(dir.path())?;
/// let users = db.keyspace("users")?;
/// users.put("alice", "1")?;
/// let before = db.snapshot();
/// users.put("alice", "2")?;
/// assert_eq!(before.get(&users, "alice")?.unwrap(), b"1");
/// assert_eq!(users.get("alice")?.unwrap(), b"2");
/// # db.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Snapshot {
    // Before the handle: the number is given back while the database is still there.
    guard: SnapshotGuard,
    handle: Arc<Handle>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("seq", &self.seq())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Snapshot {
            guard: handle.core.snapshots.register(),
            handle,
        }
    }

    /// The sequence number of the last write that it sees.
    pub fn seq(&self) -> SeqNo {
        self.guard.seq()
    }

    /// The value that a key had.
    pub fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.check(keyspace)?;
        self.handle
            .core
            .get(&keyspace.core, key.as_ref(), Some(self.seq()))
    }

    /// Reads the value that a key had into a buffer of the caller's, as [`Keyspace::get_into`].
    pub fn get_into(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: &mut Vec<u8>) -> Result<bool> {
        self.check(keyspace)?;
        let core = &self.handle.core;
        core.get_into(&keyspace.core, key.as_ref(), Some(self.seq()), value)
    }

    /// The values that several keys had, in the order of the keys, as [`Keyspace::multi_get`].
    pub fn multi_get<K: AsRef<[u8]>>(&self, keyspace: &Keyspace, keys: &[K]) -> Result<Vec<Option<Slice>>> {
        self.check(keyspace)?;
        self.handle.core.multi_get(&keyspace.core, keys, self.seq())
    }

    /// The value that a key had, to be read piece by piece, as [`Keyspace::open`].
    pub fn open(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        self.check(keyspace)?;
        ValueReader::open(&self.handle, &keyspace.core, key.as_ref(), Some(self.seq()))
    }

    /// A cursor over the entries of that moment. It stands nowhere until it is moved.
    pub fn cursor(&self, keyspace: &Keyspace) -> Result<Cursor> {
        self.check(keyspace)?;
        keyspace.core.check_iterable()?;
        Ok(Cursor::new(
            self.handle.clone(),
            &keyspace.core,
            self.guard.clone(),
        ))
    }

    /// Whether a key had a value.
    pub fn contains_key(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<bool> {
        self.check(keyspace)?;
        self.handle
            .core
            .contains_key(&keyspace.core, key.as_ref(), Some(self.seq()))
    }

    /// The entry of the least key.
    pub fn first(&self, keyspace: &Keyspace) -> Result<Option<(Slice, Slice)>> {
        self.iter(keyspace).next().transpose()
    }

    /// The entry of the greatest key.
    pub fn last(&self, keyspace: &Keyspace) -> Result<Option<(Slice, Slice)>> {
        self.iter(keyspace).next_back().transpose()
    }

    /// All entries in key order; in hash order [`Error::HashOrder`], as for all of the following.
    pub fn iter(&self, keyspace: &Keyspace) -> Range {
        self.range::<&[u8], _>(keyspace, ..)
    }

    /// The entries of a range of keys.
    pub fn range<K: AsRef<[u8]>, R: RangeBounds<K>>(&self, keyspace: &Keyspace, bounds: R) -> Range {
        self.bounded(keyspace, bounds::of_range(&bounds))
    }

    /// The entries whose keys begin with `prefix`.
    pub fn prefix(&self, keyspace: &Keyspace, prefix: impl AsRef<[u8]>) -> Range {
        self.bounded(keyspace, bounds::of_prefix(prefix.as_ref()))
    }

    fn bounded(&self, keyspace: &Keyspace, bounds: Bounds) -> Range {
        let checked = self.check(keyspace).and_then(|()| keyspace.core.check_iterable());
        Range::new(
            self.handle.clone(),
            &keyspace.core,
            self.guard.clone(),
            bounds,
            checked,
        )
    }

    fn check(&self, keyspace: &Keyspace) -> Result<()> {
        self.handle.core.check_open()?;
        if !Arc::ptr_eq(&keyspace.handle, &self.handle) {
            return Err(Error::WrongDatabase);
        }
        keyspace.core.check_alive_at(self.seq())
    }
}
