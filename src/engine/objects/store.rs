//! Values in memory become objects.

use std::sync::Arc;

use super::pack::Pack;
use super::place::Place;
use super::{DIRECTORY, Objects};
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::manifest::{Edit, Record};
use crate::options::{KeyspaceOptions, Order};
use crate::pack::shared::Prepared;
use crate::pack::{ObjectId, RecordOptions, Salt};
use crate::planted::{self, Bug};
use crate::record_log::is_sync_failure;
use crate::sst::Compression;
use crate::types::{KeyspaceId, ObjectRef};
use crate::wal::PayloadBuilder;
use crate::{Error, Result};

/// Bytes of content that are compressed and checked together.
const CHUNK_SIZE: u32 = 64 << 10;

/// An object on which a write builds. Keeps a lease on it; to be dropped when the write has been published, or has failed.
pub(crate) struct Stored {
    objects: Arc<Objects>,
    object: ObjectRef,
    /// Where it lies, if the directory may not know that yet.
    place: Option<Place>,
    /// It was written for this write, which has not succeeded yet.
    orphan: bool,
}

impl Stored {
    /// Takes a lease on an object.
    pub(super) fn lease(objects: &Arc<Objects>, id: ObjectId, len: u64) -> Stored {
        Stored {
            place: objects.leases.take(&objects.env, id),
            objects: objects.clone(),
            object: ObjectRef { id: id.0, len },
            orphan: false,
        }
    }

    /// Whether it has been written under a lease that is still held.
    pub(crate) fn is_placed(&self) -> bool {
        self.place.is_some()
    }

    pub(super) fn id(&self) -> ObjectId {
        ObjectId(self.object.id)
    }

    /// Whether another write has written it since this lease was taken.
    pub(super) fn find_again(&mut self) -> bool {
        self.place = self.objects.leases.place_of(&ObjectId(self.object.id));
        self.place.is_some()
    }

    /// It has been written there, for this lease.
    pub(super) fn wrote(&mut self, place: Place) {
        self.place = Some(place);
        self.orphan = true;
        self.objects.leases.wrote(ObjectId(self.object.id), place);
        self.objects
            .count_stored(self.object.len, place.record.record_len);
    }

    /// It lies there, in a pack that collections leave alone until this lease has been given back.
    pub(super) fn lies_at(&mut self, place: Place) {
        self.place = Some(place);
        self.objects.leases.wrote(ObjectId(self.object.id), place);
    }

    /// Adds what says that the value of `key` is this object.
    pub(crate) fn add_to(
        &self,
        payload: &mut PayloadBuilder,
        directory: KeyspaceId,
        keyspace: KeyspaceId,
        key: &[u8],
    ) {
        if let Some(place) = &self.place {
            payload.put(directory, &self.object.id, &place.encode());
        }
        payload.put_object(keyspace, key, &self.object);
    }

    /// Whether it was written for this write.
    pub(crate) fn is_new(&self) -> bool {
        self.orphan
    }

    /// The write has succeeded.
    pub(crate) fn keep(&mut self) {
        self.orphan = false;
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if let Some(place) = self.place.filter(|_| self.orphan) {
            self.objects.note_dead(&place);
        }
        self.objects.leases.give_back(ObjectId(self.object.id));
    }
}

/// How objects of a database are stored.
pub(super) fn record_options(salt: Salt) -> Result<RecordOptions> {
    Ok(RecordOptions::new(CHUNK_SIZE, Compression::Lz4)?.salted(salt))
}

impl Core {
    /// The keyspace that knows where objects lie; created when the first one is stored.
    pub(crate) fn object_directory(&self) -> Result<Arc<KeyspaceCore>> {
        if let Some(directory) = self.known_directory() {
            return Ok(directory);
        }
        let options = KeyspaceOptions::new().order(Order::Hash).object_threshold(None);
        let directory = self.open_or_create(DIRECTORY, Some(options))?;
        *self.objects.directory.write() = Some(directory.clone());
        Ok(directory)
    }

    /// Random bytes that make an object one of its own; none where equal ones are to be the same.
    pub(super) fn salt(&self, deduplicate: bool) -> Result<Salt> {
        match deduplicate {
            true => Ok(Salt::default()),
            false => {
                let random = self.env.entropy.identity();
                random.map_err(|e| Error::io("draw a salt for an object of", &self.dir, e))
            }
        }
    }

    /// Whether anything that is stored now can be referred to.
    pub(super) fn check_storable(&self) -> Result<()> {
        self.check_open()?;
        self.wal()?;
        self.check_writable()?;
        self.poisoned().map_or(Ok(()), Err)
    }

    /// Stores a value. When this returns it is with the kernel, and on the medium after the next sync of the log.
    pub(crate) fn store_object(self: &Arc<Self>, content: &[u8], deduplicate: bool) -> Result<Stored> {
        self.check_storable()?;
        self.object_directory()?;
        self.throttle_object(content.len() as u64);
        let salt = self.salt(deduplicate)?;
        let id = ObjectId::salted(content, &salt);
        let mut stored = Stored::lease(&self.objects, id, content.len() as u64);
        if stored.is_placed() || (deduplicate && self.has_object(&id)?) {
            self.objects.count_duplicate(content.len() as u64);
            return Ok(stored);
        }
        let mut buffers = self.objects.take_buffers();
        let prepared = buffers.prepare(content, id, &record_options(salt)?);
        let placed = self.place_new(&prepared, &mut stored);
        self.objects.give_buffers(buffers);
        placed.inspect_err(|error| self.note_full_disk(error))?;
        Ok(stored)
    }

    /// Writes the record of a new object, unless another write has done that since the look-up: so each is stored once, whoever begins at once.
    pub(super) fn place_new(self: &Arc<Self>, prepared: &Prepared<'_>, stored: &mut Stored) -> Result<()> {
        let mut active = self.objects.active.lock();
        if stored.find_again() {
            self.objects.count_duplicate(stored.object.len);
            return Ok(());
        }
        let place = self.append(&mut active, prepared)?;
        // Before the pack can become a sealed one, which collections look at.
        stored.wrote(place);
        Ok(())
    }

    /// Writes the copy of a record.
    pub(super) fn place(self: &Arc<Self>, prepared: &Prepared<'_>) -> Result<Place> {
        self.append(&mut self.objects.active.lock(), prepared)
    }

    /// Makes it durable and true that there is this pack. If that fails, its file stays: a crash may find the edit done.
    pub(super) fn add_pack(&self, record: Record, pack: Arc<Pack>) -> Result<()> {
        let mut state = self.manifest.lock();
        let edit = Edit {
            records: vec![record],
        };
        self.commit_edit(&mut state, edit, &[], |_| self.objects.add(pack))
            .map(|_| ())
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync_names(&self) -> Result<()> {
        let synced = self.env.fs.sync_dir(&self.dir);
        synced.map_err(|e| self.poison(Error::io("sync", &self.dir, e)))
    }

    /// Makes all objects durable that have been written so far: before an edit that depends on them.
    pub(crate) fn sync_objects(&self) -> Result<()> {
        if planted::is(Bug::ReferenceBeforeObject) {
            return Ok(());
        }
        self.objects.sync().map_err(|e| self.poison_if_sync(e))
    }

    /// A failed sync of a pack is final, as one of the log is.
    pub(super) fn poison_if_sync(&self, error: Error) -> Error {
        match is_sync_failure(&error) {
            true => self.poison(error),
            false => error,
        }
    }
}
