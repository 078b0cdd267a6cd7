//! [`Db::checkpoint`].

use std::path::Path;

use super::db::Db;
use crate::Result;
use crate::engine::checkpoint::CheckpointReport;

impl Db {
    /// Makes a checkpoint: a database of its own in `dir`, which does not exist or is an empty directory, with all that is in this
    /// one at a single moment. All writes that were acknowledged when the call began are in it, and batches are in it whole or not at
    /// all. Writes go on meanwhile. When the call returns, the checkpoint survives the loss of power, buffered writes included.
    ///
    /// SSTs are hard-linked: they take no time and no further room, until compaction has replaced them here. Where the target lies in
    /// another file system, or has no links, they are copied, and the report says so. The log is copied: up to `max_log_size` bytes, or
    /// next to nothing after [`Db::flush`].
    ///
    /// A process or machine that stops in the middle leaves a directory that is refused as an unfinished checkpoint: delete it and make
    /// another one. At the very beginning it leaves an empty directory, in which [`Db::open`] makes a new database, as in any:
    /// [`Options::create_if_missing`](crate::Options::create_if_missing) set to false, or a read-only opening, refuses it. A call that
    /// fails removes what it has made where it can; the directory stays.
    ///
    /// A checkpoint on the same disk is no safeguard against the loss of that disk, and linked files share their damage: as a backup, copy
    /// the checkpoint elsewhere, at leisure, for it does not change.
    ///
    /// # Errors
    /// [`Error::NotEmpty`](crate::Error::NotEmpty), an I/O error, [`Error::Poisoned`](crate::Error::Poisoned). The database itself is
    /// never harmed.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (path, backup) = (dir.path().join("db"), dir.path().join("backup"));
    /// use packstone::{Db, Options};
    ///
    /// let db = Db::open(&path)?;
    /// let users = db.keyspace("users")?;
    /// users.put("alice", "1")?;
    /// let report = db.checkpoint(&backup)?;
    /// users.put("bob", "2")?;
    /// println!("{} bytes linked, {} copied", report.linked_bytes, report.copied_bytes);
    ///
    /// // The backup is a database; reading it only leaves it as it is.
    /// let copy = Options::new().open_read_only(&backup)?;
    /// assert_eq!(copy.open_keyspace("users")?.iter().count(), 1);
    /// # db.close()
    /// # }
    /// ```
    pub fn checkpoint(&self, dir: impl AsRef<Path>) -> Result<CheckpointReport> {
        self.core().checkpoint(dir.as_ref())
    }
}
