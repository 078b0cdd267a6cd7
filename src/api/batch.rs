//! [`Batch`]: several writes that happen together.

use std::fmt;
use std::sync::Arc;

use super::handle::Handle;
use super::keyspace::Keyspace;
use super::limits::{check_key, check_value};
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::objects::Stored;
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
    objects: Vec<Stored>,
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
            objects: Vec::new(),
            error: None,
        }
    }

    /// Sets the value of a key. What is wrong with it, if anything, is reported by `commit`, which then writes nothing.
    pub fn put(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        if keyspace.core.options.is_object(value.len()) {
            return self.put_object(keyspace, key, value);
        }
        let checked = check_key(key, keyspace.core.order()).and_then(|()| check_value(value));
        if self.accepts(keyspace, checked, key.len() + value.len()) {
            self.payload.put(keyspace.core.id, key, value);
        }
    }

    /// The value is stored at once, and nobody refers to it before the batch is committed. One that is dropped leaves room to be collected.
    #[cold]
    fn put_object(&mut self, keyspace: &Keyspace, key: &[u8], value: &[u8]) {
        // A reference, and a place in the directory.
        let bytes = key.len() + 100;
        if !self.accepts(keyspace, check_key(key, keyspace.core.order()), bytes) {
            return;
        }
        let core = &self.handle.core;
        let stored = core.object_directory().and_then(|directory| {
            Ok((
                directory,
                core.store_object(value, keyspace.core.options.get_deduplicate())?,
            ))
        });
        match stored {
            Ok((directory, stored)) => {
                stored.add_to(&mut self.payload, directory.id, keyspace.core.id, key);
                self.objects.push(stored);
                self.note_keyspace(&directory);
            }
            Err(error) => {
                self.error.get_or_insert(error);
            }
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
                self.note_keyspace(&keyspace.core);
                self.error.is_none()
            }
            Err(error) => {
                self.error.get_or_insert(error);
                false
            }
        }
    }

    fn note_keyspace(&mut self, keyspace: &Arc<KeyspaceCore>) {
        if !self.keyspaces.iter().any(|known| known.id == keyspace.id) {
            self.keyspaces.push(keyspace.clone());
        }
    }

    /// How many writes it holds.
    pub fn len(&self) -> usize {
        // Where objects lie is the engine's business.
        let own = self.objects.iter().filter(|object| object.is_placed()).count();
        (self.payload.count() as usize).saturating_sub(own)
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
        self.handle.core.commit(
            Request::new(self.payload, self.keyspaces).with_objects(self.objects),
            durability,
        )
    }
}
