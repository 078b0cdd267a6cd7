//! [`Db`]: an open database.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::handle::Handle;
use super::keyspace::Keyspace;
use super::metrics::{self, Metrics};
use super::snapshot::Snapshot;
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::objects::collect::CollectionReport;
use crate::engine::recovery;
use crate::options::{KeyspaceOptions, Options};
use crate::types::SeqNo;
use crate::{Error, Result};

/// The longest name of a keyspace, in bytes.
const MAX_NAME_LEN: usize = 255;

/// Names of the engine's own keyspaces begin so.
fn is_internal(name: &str) -> bool {
    name.starts_with('\0')
}

/// An open database: a set of named, ordered maps (keyspaces) in one directory, with one log.
///
/// A handle is cheap to clone, `Send` and `Sync`. The database closes when [`Db::close`] is called, or when the last
/// handle to it (keyspaces, batches, snapshots and ranges count) is dropped; dropping can't report errors.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let db = packstone::Db::open(dir.path())?;
/// let users = db.keyspace("users")?;
/// users.put("alice", "1")?;
/// assert_eq!(users.get("alice")?.unwrap(), b"1");
/// db.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Db {
    pub(super) handle: Arc<Handle>,
}

/// A moment of a database, see [`Db::as_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AsOf {
    /// The sequence number of the last write that is seen. All writes up to it are.
    pub seq: SeqNo,
    /// How long ago everything that had been acknowledged until then was certain to be seen: when the last attempt to read the
    /// state began. Zero for the writer.
    pub age: Duration,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("dir", &self.handle.core.dir)
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the database in `dir` with the default [`Options`]; creates it if there is none.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Db> {
        Options::new().open(dir)
    }

    pub(crate) fn open_with(options: Options, dir: &Path, read_only: bool) -> Result<Db> {
        let (core, report) = recovery::open(dir, options, read_only)?;
        Ok(Db {
            handle: Arc::new(Handle { core, report }),
        })
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }

    /// The keyspace of that name, created with default options if there is none. A name has 1 to 255 bytes.
    ///
    /// # Errors
    /// [`Error::InvalidKeyspaceName`]; [`Error::KeyspaceNotFound`] when the database is open read-only.
    pub fn keyspace(&self, name: &str) -> Result<Keyspace> {
        self.open_or_create(name, None)
    }

    /// The keyspace of that name, created with these options if there is none. An existing one keeps the options that it
    /// was created with ([`Keyspace::options`] tells).
    pub fn keyspace_with(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        self.open_or_create(name, Some(options))
    }

    /// The keyspace of that name, if there is one.
    ///
    /// # Errors
    /// [`Error::KeyspaceNotFound`]; nothing is created.
    pub fn open_keyspace(&self, name: &str) -> Result<Keyspace> {
        self.core().check_open()?;
        let found = self.core().find_keyspace(name).filter(|_| !is_internal(name));
        let core = found.ok_or_else(|| Error::KeyspaceNotFound {
            name: name.to_owned(),
        })?;
        Ok(Keyspace {
            handle: self.handle.clone(),
            core,
        })
    }

    fn open_or_create(&self, name: &str, options: Option<KeyspaceOptions>) -> Result<Keyspace> {
        if name.is_empty() || name.len() > MAX_NAME_LEN {
            let what = format!("{} bytes given; 1 to {MAX_NAME_LEN} allowed", name.len());
            return Err(Error::InvalidKeyspaceName { what });
        }
        if is_internal(name) {
            let what = "it begins with a NUL, as names of the engine's own do".to_owned();
            return Err(Error::InvalidKeyspaceName { what });
        }
        let core = self.core().open_or_create(name, options)?;
        Ok(Keyspace {
            handle: self.handle.clone(),
            core,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.core().dir
    }

    /// The names of all keyspaces, sorted.
    pub fn keyspaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .core()
            .keyspace_cores()
            .iter()
            .filter(|keyspace| !is_internal(&keyspace.name))
            .map(|keyspace| keyspace.name.to_string())
            .collect();
        names.sort();
        names
    }

    /// Drops a keyspace with all that is in it. Handles to it refuse reads and writes from then on, but snapshots taken
    /// before and ranges begun before go on seeing what they saw; its files go when the last of them does.
    ///
    /// # Errors
    /// [`Error::KeyspaceNotFound`]; an I/O error. The keyspace is still there after an error, but as long as a crash might find
    /// it dropped, writes to it fail with the I/O error that keeps this from being settled.
    pub fn drop_keyspace(&self, name: &str) -> Result<()> {
        if is_internal(name) {
            return Err(Error::KeyspaceNotFound {
                name: name.to_owned(),
            });
        }
        self.core().drop_keyspace(name)
    }

    /// An empty batch: writes to any keyspaces that become visible, and durable, together or not at all.
    pub fn batch(&self) -> Batch {
        Batch::new(self.handle.clone())
    }

    /// A view of all keyspaces as they are at this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.handle.clone())
    }

    /// Writes all memtables to SSTs, and waits for it. Not needed for durability (see [`Db::sync`]); it shortens the log.
    pub fn flush(&self) -> Result<()> {
        let keyspaces: Vec<Arc<KeyspaceCore>> = self.core().keyspace_cores();
        self.core().flush_keyspaces(&keyspaces)
    }

    /// Makes all writes so far survive the loss of power.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when a sync has failed, now or before: what is on disk is unknown until the database is
    /// opened again.
    pub fn sync(&self) -> Result<()> {
        self.core().check_open()?;
        self.core().sync_log()
    }

    /// Removes all large values that nobody refers to any more, and writes packs anew that hold some of them: flushes, compacts what refers to objects,
    /// and looks at every pack. Most of that happens by itself in the background, when packs have become half empty or three tenths of all is
    /// dead; asked for, it leaves at most a twentieth of each pack. Reads and writes go on; open snapshots, ranges and readers keep what they see.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// let photos = db.keyspace("photos")?;
    /// photos.put("1", vec![1; 100_000])?;
    /// photos.delete("1")?;
    /// let report = db.collect_garbage()?;
    /// assert_eq!(report.objects_removed, 1);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Closed`], an I/O error. Nothing is lost then, and what has been done stays done.
    pub fn collect_garbage(&self) -> Result<CollectionReport> {
        self.core().collect_all()
    }

    /// Waits until no flush or compaction is due any more.
    ///
    /// # Errors
    /// The error of background work that fails meanwhile.
    pub fn wait_for_background(&self) -> Result<()> {
        self.core().wait_until_settled()
    }

    /// Which moment reads show: the present, unless the database is open read-only.
    pub fn as_of(&self) -> AsOf {
        let core = self.core();
        let age = core.read_at.map(|then| core.env.clock.now().saturating_sub(then));
        AsOf {
            seq: core.snapshots.published(),
            age: age.unwrap_or_default(),
        }
    }

    /// What the database is made of and what it has done since it was opened.
    pub fn metrics(&self) -> Metrics {
        metrics::collect(self.core(), &self.handle.report)
    }

    /// Begins to time what the database does, or ends it: [`Options::latencies`] while the database is open. Begun, also when it was on
    /// before, it counts from zero.
    pub fn set_latencies(&self, yes: bool) {
        self.core().latencies.set(yes);
    }

    /// Syncs the log and closes the database, also for all other handles, which get [`Error::Closed`] from then on.
    /// Memtables are not flushed: the next open replays them from the log.
    ///
    /// # Errors
    /// What kept the last writes from being made durable.
    pub fn close(self) -> Result<()> {
        self.core().close()
    }
}

impl Options {
    /// Opens the database in `dir`, alone: a second writer, in this process or another, gets [`Error::Locked`].
    ///
    /// Every file's existence, size and footer are checked, and the log is replayed; leftovers of a crash are removed.
    ///
    /// # Errors
    /// [`Error::NotADatabase`], [`Error::Locked`], [`Error::Corruption`], [`Error::NewerFormat`],
    /// [`Error::InvalidOption`], [`Error::Io`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Db> {
        self.validate()?;
        Db::open_with(self, dir.as_ref(), false)
    }

    /// Opens the database in `dir` for reading, and changes nothing on disk, ever. It needs no lock: a writer, in this process or
    /// another, may go on meanwhile.
    ///
    /// What it sees is the database at one moment, and stays so: everything that had been acknowledged when this call began, buffered
    /// writes included, and of what was written during the call a prefix in the order of commits; batches whole. [`Db::as_of`] says
    /// which moment. Open it again to see more. The files of that moment are held open, and their room is given back when the last
    /// handle goes.
    ///
    /// A write that fails in the writer (a full disk) may be seen by a reader that opens the database in that instant, as it may be found
    /// after a crash. On file systems where a removed file is gone for those who have it open (some network file systems),
    /// reads may fail when the writer has compacted.
    ///
    /// # Errors
    /// As [`Options::open`], but for [`Error::Locked`]; [`Error::Changing`] when the writer has been faster again and again.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// use packstone::{Db, Options};
    ///
    /// let writer = Db::open(path)?;
    /// let users = writer.keyspace("users")?;
    /// users.put("alice", "1")?;
    /// let reader = Options::new().open_read_only(path)?;
    /// users.put("bob", "2")?;
    /// assert_eq!(reader.open_keyspace("users")?.iter().count(), 1);
    /// println!("as of write {}, {:?} ago", reader.as_of().seq, reader.as_of().age);
    /// # writer.close()
    /// # }
    /// ```
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<Db> {
        self.validate()?;
        Db::open_with(self, dir.as_ref(), true)
    }
}
