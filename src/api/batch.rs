//! [`Batch`]: several writes that happen together.

use std::fmt;
use std::sync::Arc;

use super::handle::Handle;
use super::keyspace::Keyspace;
use super::limits::{check_key, check_value};
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::queue::Request;
use crate::options::Durability;
use crate::types::MAX_BATCH_LEN;
use crate::wal::PayloadBuilder;
use crate::{Error, Result};

/// Writes to one or several keyspaces that become visible, and survive a crash, all or none. The last write to a key
/// wins. Dropping a batch writes nothing. It takes up to [`MAX_BATCH_LEN`] bytes.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = packstone::Db::open(dir.path())?;
/// use packstone::Durability;
/// let (accounts, log) = (db.keyspace("accounts")?, db.keyspace("log")?);
/// let mut batch = db.batch();
/// batch.put(&accounts, "alice", "90");
/// batch.put(&accounts, "bob", "110");
/// batch.put(&log, "1", "alice -> bob: 10");
/// batch.commit(Durability::Sync)?;
/// # db.close()
/// # }
/// ```
pub struct Batch {
    handle: Arc<Handle>,
    payload: PayloadBuilder,
    keyspaces: Vec<Arc<KeyspaceCore>>,
    /// The first thing that was wrong; `commit` reports it.
    error: Option<Error>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("len", &self.payload.count())
            .finish_non_exhaustive()
    }
}

impl Batch {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Batch {
            handle,
            payload: PayloadBuilder::new(),
            keyspaces: Vec::new(),
            error: None,
        }
    }

    /// Sets the value of a key. What is wrong with it, if anything, is reported by `commit`, which then writes nothing.
    pub fn put(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        let checked = check_key(key, keyspace.core.order()).and_then(|()| check_value(value));
        if self.accepts(keyspace, checked, key.len() + value.len()) {
            self.payload.put(keyspace.core.id, key, value);
        }
    }

    /// Removes a key.
    pub fn delete(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        if self.accepts(keyspace, check_key(key, keyspace.core.order()), key.len()) {
            self.payload.delete(keyspace.core.id, key);
        }
    }

    fn accepts(&mut self, keyspace: &Keyspace, checked: Result<()>, bytes: usize) -> bool {
        let size = self.payload.byte_size().saturating_add(bytes);
        let result = checked.and_then(|()| {
            if !Arc::ptr_eq(&keyspace.handle, &self.handle) {
                return Err(Error::WrongDatabase);
            }
            if size > MAX_BATCH_LEN {
                let (size, limit) = (size as u64, MAX_BATCH_LEN as u64);
                return Err(Error::LimitExceeded {
                    what: "batch",
                    size,
                    limit,
                });
            }
            Ok(())
        });
        match result {
            Ok(()) => {
                if !self.keyspaces.iter().any(|known| known.id == keyspace.core.id) {
                    self.keyspaces.push(keyspace.core.clone());
                }
                self.error.is_none()
            }
            Err(error) => {
                self.error.get_or_insert(error);
                false
            }
        }
    }

    /// How many writes it holds.
    pub fn len(&self) -> usize {
        self.payload.count() as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Bytes that it will take in the log.
    pub fn byte_size(&self) -> usize {
        self.payload.byte_size()
    }

    /// Writes it, whole.
    ///
    /// # Errors
    /// What was wrong with one of the writes ([`Error::LimitExceeded`], [`Error::WrongDatabase`],
    /// [`Error::KeyspaceDropped`]), or why the log could not be written. Nothing of the batch has happened then.
    pub fn commit(self, durability: Durability) -> Result<()> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.handle
            .core
            .commit(Request::new(self.payload, self.keyspaces), durability)
    }
}
