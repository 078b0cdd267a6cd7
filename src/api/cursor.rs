//! [`Cursor`]: a position in a keyspace that can be moved.

use std::fmt;
use std::sync::Arc;

use super::bounds::successor;
use super::handle::Handle;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::latency::Timed;
use crate::engine::merge::Direction;
use crate::engine::run::Run;
use crate::engine::snapshots::SnapshotGuard;
use crate::{Result, Slice};

/// A position in a keyspace as it was at one moment, which can be moved to any key and stepped both ways.
///
/// It keeps its place in every file, so that to seek with one cursor again and again costs less than to make a
/// [`Range`](crate::Range) each time. Values are read only when asked for. A new cursor stands nowhere; so does one that
/// has gone past either end, or met an error, until the next seek.
///
/// While it lives, the versions that it sees are kept, so don't keep one for long that is not needed;
/// [`Cursor::refresh`] lets it see what has been written since.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = packstone::Db::open(dir.path())?;
/// let users = db.keyspace("users")?;
/// users.put("alice", "1")?;
/// users.put("bob", "2")?;
/// let mut cursor = users.cursor()?;
/// assert!(cursor.seek("b")?);
/// assert_eq!(cursor.key(), Some(&b"bob"[..]));
/// assert!(cursor.prev()?);
/// assert_eq!(cursor.value()?.unwrap(), b"1");
/// assert!(!cursor.prev()?);
/// assert_eq!(cursor.key(), None);
/// # db.close()
/// # }
/// ```
pub struct Cursor {
    // In this order: what reads the files goes before what keeps the database open.
    run: Option<Run>,
    snapshot: SnapshotGuard,
    keyspace: Arc<KeyspaceCore>,
    handle: Arc<Handle>,
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("key", &self.key().map(Slice::from))
            .field("snapshot", &self.snapshot.seq())
            .finish_non_exhaustive()
    }
}

impl Cursor {
    pub(super) fn new(handle: Arc<Handle>, keyspace: &Arc<KeyspaceCore>, snapshot: SnapshotGuard) -> Self {
        Cursor {
            run: None,
            snapshot,
            keyspace: keyspace.clone(),
            handle,
        }
    }

    /// Goes to the entry of the least key; false if there is none.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed); an error that names the file when what it reads is damaged or can't be read. The
    /// cursor stands nowhere then. This holds for everything that moves it.
    pub fn seek_to_first(&mut self) -> Result<bool> {
        self.position(Direction::Forward, None)
    }

    /// Goes to the entry of the greatest key; false if there is none.
    pub fn seek_to_last(&mut self) -> Result<bool> {
        self.position(Direction::Backward, None)
    }

    /// Goes to the first entry whose key is `key` or greater; false if there is none.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.position(Direction::Forward, Some(key.as_ref()))
    }

    /// Goes to the last entry whose key is `key` or less; false if there is none.
    pub fn seek_for_prev(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.position(Direction::Backward, Some(&successor(key.as_ref())))
    }

    /// Goes to the entry of the next greater key; false at the end, and for a cursor that stands nowhere.
    #[allow(
        clippy::should_implement_trait,
        reason = "LevelDB's name; entries are not handed out"
    )]
    pub fn next(&mut self) -> Result<bool> {
        self.step(Direction::Forward)
    }

    /// Goes to the entry of the next lesser key; false at the end, and for a cursor that stands nowhere.
    pub fn prev(&mut self) -> Result<bool> {
        self.step(Direction::Backward)
    }

    /// The current key; `None` if the cursor stands nowhere.
    pub fn key(&self) -> Option<&[u8]> {
        let run = self.run.as_ref().filter(|run| run.valid())?;
        Some(run.key())
    }

    /// Reads the current value; `None` if the cursor stands nowhere.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) or an I/O error of the file that holds the value. The cursor stays.
    pub fn value(&self) -> Result<Option<Slice>> {
        self.handle.core.check_open()?;
        let run = self.run.as_ref().filter(|run| run.valid());
        run.map(|run| run.load(&self.handle.core)).transpose()
    }

    /// Reads the current value into a buffer of the caller's, whose contents are replaced; false, and the buffer untouched, if
    /// the cursor stands nowhere. Allocates nothing where the buffer is large enough and the block in memory.
    ///
    /// # Errors
    /// As [`Cursor::value`]; the buffer's contents mean nothing then.
    pub fn value_into(&self, value: &mut Vec<u8>) -> Result<bool> {
        self.handle.core.check_open()?;
        match self.run.as_ref().filter(|run| run.valid()) {
            Some(run) => run.load_into(&self.handle.core, value).map(|()| true),
            None => Ok(false),
        }
    }

    /// Lets the cursor see all writes that have been acknowledged by now. It stands nowhere then.
    ///
    /// # Errors
    /// [`Error::KeyspaceDropped`](crate::Error::KeyspaceDropped), [`Error::Closed`](crate::Error::Closed); the cursor sees what it saw then.
    pub fn refresh(&mut self) -> Result<()> {
        self.handle.core.check_open()?;
        self.keyspace.check_alive()?;
        self.run = None;
        self.snapshot = self.handle.core.snapshots.register();
        Ok(())
    }

    fn position(&mut self, direction: Direction, bound: Option<&[u8]>) -> Result<bool> {
        let begun = self.handle.core.begin_timing();
        let positioned = self.go_to(direction, bound);
        self.handle.core.note_time(Timed::Seek, begun);
        positioned
    }

    fn go_to(&mut self, direction: Direction, bound: Option<&[u8]>) -> Result<bool> {
        self.handle.core.check_open()?;
        let sought = match &mut self.run {
            Some(run) => run.seek(direction, bound),
            None => {
                let run = Run::new(&self.keyspace, self.snapshot.seq(), true, direction, bound);
                run.map(|run| self.run = Some(run))
            }
        };
        self.settle(sought)?;
        let run = self.run.as_mut();
        let stepped = run.map_or(Ok(false), |run| run.step(direction));
        self.settle(stepped)
    }

    #[inline]
    fn step(&mut self, direction: Direction) -> Result<bool> {
        let begun = self.handle.core.begin_timing();
        let stepped = self.go_on(direction);
        self.handle.core.note_time(Timed::Next, begun);
        stepped
    }

    #[inline]
    fn go_on(&mut self, direction: Direction) -> Result<bool> {
        self.handle.core.check_open()?;
        match self.run.as_mut().filter(|run| run.valid()) {
            Some(run) => {
                let stepped = run.step(direction);
                self.settle(stepped)
            }
            None => Ok(false),
        }
    }

    /// After an error nothing is known of the run's place.
    fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.run = None;
        }
        result
    }
}
