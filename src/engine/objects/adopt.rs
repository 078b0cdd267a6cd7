//! Adoption: objects of a sealed pack or archive that a program has built become values of keys.
//!
//! ```text
//! copy     each record, as it is stored, to the packs of the database; then as any put: place and reference in one batch
//! move     1  the header says, durably, that it has been taken        nobody appends to it from here on
//!          2  and a second name, in the database's directory, durably
//!          3  an edit names it; all of it counts as dead              <- it belongs to the database
//!          4  batches: place and reference                            what has a key is not dead any more
//!          5  the log is synced
//!          6  its first name is removed, durably
//! ```
//!
//! A crash in either leaves the source, and keys up to some batch; repeated, it finds the objects that are there. A crash after 1 leaves a source that is read as ever,
//! and that a repetition copies, since some database may have it. After 3 collections find what has got no key. The pack is held by a lease from before 3
//! until the end, so that no collection looks at it meanwhile.
//!
//! A pack is moved as it is if nothing speaks against it; otherwise it is copied, and then removed: other file systems, a database that has a pack with this identity (a crash
//! after 3), bytes behind its last seal, more objects than a collection looks at in one go.

use std::path::Path;
use std::sync::Arc;

use super::pack::Pack;
use super::place::Place;
use super::store::Stored;
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::queue::Request;
use crate::env::is_unlinkable;
use crate::manifest::{PackMeta, Record};
use crate::names;
use crate::options::Durability;
use crate::pack::shared::PackFile;
use crate::pack::{Adoptable, ObjectId, PackEntry, RecordPlace, Salt};
use crate::planted::{self, Bug};
use crate::sync::atomic::Ordering;
use crate::types::MAX_VALUE_LEN;
use crate::wal::PayloadBuilder;
use crate::{Error, Result};

/// A batch has so many keys at most, and so many bytes before it is written.
const BATCH_KEYS: u64 = 1000;
const BATCH_BYTES: usize = 1 << 20;
/// A pack with more objects is not moved as it is, but copied: collections look at this many in one go.
const MOST_MOVED: u64 = 1 << 18;

/// What an adoption has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdoptReport {
    /// Keys that were given values.
    pub keys: u64,
    /// Values that are too short to be objects in this keyspace: they lie in the tree.
    pub short_values: u64,
    /// Objects whose records were copied.
    pub objects_copied: u64,
    /// Bytes of packs that this took.
    pub bytes_copied: u64,
    /// Objects that stay in the file, which has become one of the database's.
    pub objects_moved: u64,
    /// Objects that the database, or another key of the pack, had already.
    pub duplicates: u64,
}

/// How a pack is adopted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdoptHow {
    /// The source goes.
    pub(crate) moves: bool,
    /// All of it is read before.
    pub(crate) verifies: bool,
}

/// An adoption that is under way. Dropped early it has done what it has done.
pub(crate) struct Adoption {
    core: Arc<Core>,
    keyspace: Arc<KeyspaceCore>,
    source: Arc<Adoptable>,
    file: PackFile,
    moves: bool,
    /// The pack of the database that the source has become.
    taken: Option<Taken>,
    report: AdoptReport,
}

struct Taken {
    pack: Arc<Pack>,
    /// Keeps collections away from the pack: a lease on an object that is none, its identity.
    _held: Stored,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.pack.end_adoption();
    }
}

/// What the next batch writes.
#[derive(Default)]
struct Pending {
    payload: PayloadBuilder,
    objects: Vec<Stored>,
    keys: u64,
    /// Objects, and bytes of their records, that stay where they are in the pack that was taken over.
    claimed: (u64, u64),
}

impl Core {
    /// Opens a pack to adopt objects from it. Nothing is changed.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        keyspace: &Arc<KeyspaceCore>,
        path: &Path,
        how: AdoptHow,
    ) -> Result<Adoption> {
        self.check_storable()?;
        keyspace.check_alive()?;
        if !keyspace.options.get_deduplicate() {
            let what = format!(
                "the keyspace {:?} stores every value by itself, and the objects of a pack are shared by what they are: adopt it into another keyspace",
                keyspace.name
            );
            return Err(Error::InvalidOption {
                name: "deduplicate",
                what,
            });
        }
        let source = Adoptable::open(&*self.env.fs, path, how.moves)?;
        let name = path.file_name().and_then(|name| name.to_str());
        let is_named = matches!(name.and_then(names::parse), Some(names::FileKind::Pack(_)));
        if how.moves && (source.number() != 0 || source.is_taken()) && is_named {
            let what = format!(
                "{} is a pack of a database, which needs it: copy it",
                path.display()
            );
            return Err(Error::InvalidOption { name: "mode", what });
        }
        if how.verifies {
            source.verify()?;
        }
        Ok(Adoption {
            core: self.clone(),
            keyspace: keyspace.clone(),
            file: source.file(),
            source: Arc::new(source),
            moves: how.moves,
            taken: None,
            report: AdoptReport::default(),
        })
    }
}

impl Adoption {
    /// Makes the names of an archive keys, and their objects the values.
    pub(crate) fn by_names(mut self, check_key: impl Fn(&[u8]) -> Result<()>) -> Result<AdoptReport> {
        let source = self.source.clone();
        if !source.pack().has_names() {
            let what = format!(
                "{} has no names, which could be keys: say with adopt_pack which keys get its objects",
                source.pack().path().display()
            );
            return Err(Error::InvalidOption { name: "path", what });
        }
        for entry in source.names() {
            check_key(&entry?.name)?;
        }
        self.begin()?;
        let mut pending = Pending::default();
        for entry in source.names() {
            let entry = entry?;
            self.add(&mut pending, &entry.name, &entry.object())?;
        }
        self.write(&mut pending)?;
        self.end()
    }

    /// Gives the objects to these keys.
    pub(crate) fn by_keys<K: AsRef<[u8]>>(
        mut self,
        keys: impl Iterator<Item = (K, ObjectId)>,
        check_key: impl Fn(&[u8]) -> Result<()>,
    ) -> Result<AdoptReport> {
        let source = self.source.clone();
        let mut keys = keys.peekable();
        if keys.peek().is_none() && self.moves {
            let what = format!(
                "no key is to get an object of {}, all of which would be lost: nothing has been moved",
                source.pack().path().display()
            );
            return Err(Error::InvalidOption { name: "keys", what });
        }
        self.begin()?;
        let mut pending = Pending::default();
        for (key, id) in keys {
            check_key(key.as_ref())?;
            let entry = source.find(&id)?.ok_or_else(|| {
                let path = source.pack().path().display();
                let what = format!(
                    "object {id}, which a key is to get, is not in {path}: the keys before it have theirs"
                );
                Error::InvalidOption { name: "keys", what }
            })?;
            self.add(&mut pending, key.as_ref(), &entry)?;
        }
        self.write(&mut pending)?;
        self.end()
    }

    /// Takes the file over, if it is to be moved and can be as it is.
    fn begin(&mut self) -> Result<()> {
        self.core.object_directory()?;
        let identity = self.source.pack().identity();
        let is_there = || {
            self.core
                .objects
                .packs()
                .iter()
                .any(|pack| pack.identity == identity)
        };
        let as_it_is = self.moves
            && self.source.number() == 0
            && !self.source.is_taken()
            && self.source.ends_with_its_seal()
            && self.source.pack().objects() <= MOST_MOVED
            && !is_there();
        if as_it_is {
            self.taken = self.take_over()?;
        }
        Ok(())
    }

    /// Makes the file one of the database's; `None` if it can't have a name there.
    fn take_over(&self) -> Result<Option<Taken>> {
        let (core, source) = (&self.core, &self.source);
        let fs = &*core.env.fs;
        // What the manifest names is read without another look.
        source.check_index()?;
        let number = core.factory().new_file_number()?;
        let (from, path) = (source.pack().path(), names::pack(&core.dir, number));
        match fs.hard_link(from, &path) {
            Ok(()) => {}
            Err(e) if is_unlinkable(&e) => return Ok(None),
            Err(e) => return Err(Error::io("create", &path, e)),
        }
        let marked = source.mark(fs, true).and_then(|()| core.sync_names());
        if let Err(error) = marked {
            // The first error is the one to report; what stays is removed by the next opening.
            let _ = source.mark(fs, false);
            let _ = fs.remove(&path);
            return Err(error);
        }
        let identity = source.pack().identity();
        let meta = PackMeta {
            number,
            identity,
            sealed: true,
            len: source.pack().file_bytes(),
            dead: source.pack().record_bytes(),
        };
        let file = PackFile::open(fs, &path, &identity, number)?;
        let pack = Pack::new(&meta, file, None, path, &core.trash);
        pack.begin_adoption();
        // Before collections can see the pack.
        let mut held = Stored::lease(&core.objects, ObjectId(identity), 0);
        held.lies_at(Place {
            pack: number,
            record: RecordPlace {
                offset: 0,
                record_len: 0,
            },
        });
        core.add_pack(Record::Pack(meta), pack.clone())?;
        Ok(Some(Taken { pack, _held: held }))
    }

    fn add(&mut self, pending: &mut Pending, key: &[u8], entry: &PackEntry) -> Result<()> {
        let is_object = usize::try_from(entry.len).map_or(true, |len| self.keyspace.options.is_object(len));
        if is_object {
            let stored = self.object(pending, entry)?;
            let directory = self.core.object_directory()?;
            stored.add_to(&mut pending.payload, directory.id, self.keyspace.id, key);
            pending.objects.push(stored);
        } else {
            let limit = MAX_VALUE_LEN as u64;
            if entry.len > limit {
                let (what, size) = ("value", entry.len);
                return Err(Error::LimitExceeded { what, size, limit });
            }
            let mut value = Vec::new();
            let mut buffers = self.core.objects.take_buffers();
            let place = place_of(entry);
            let read = self
                .file
                .read_into(place, &entry.id, entry.len, &mut value, &mut buffers);
            self.core.objects.give_buffers(buffers);
            read?;
            pending.payload.put(self.keyspace.id, key, &value);
            self.report.short_values += 1;
        }
        pending.keys += 1;
        match pending.keys >= BATCH_KEYS || pending.payload.byte_size() >= BATCH_BYTES {
            true => self.write(pending),
            false => Ok(()),
        }
    }

    /// The object, under a lease.
    fn object(&mut self, pending: &mut Pending, entry: &PackEntry) -> Result<Stored> {
        let core = &self.core;
        core.check_storable()?;
        let mut stored = Stored::lease(&core.objects, entry.id, entry.len);
        if stored.is_placed() || core.has_object(&entry.id)? {
            core.objects.count_duplicate(entry.len);
            self.report.duplicates += 1;
            return Ok(stored);
        }
        if let Some(Taken { pack, .. }) = &self.taken {
            stored.lies_at(Place {
                pack: pack.number,
                record: place_of(entry),
            });
            pending.claimed.0 += 1;
            pending.claimed.1 = pending.claimed.1.saturating_add(entry.stored);
            return Ok(stored);
        }
        core.throttle_object(entry.len);
        let copied = match core.objects.is_long(entry.stored) {
            true => self.copy_long(entry, &mut stored),
            false => self.copy_short(entry, &mut stored),
        };
        copied.inspect_err(|error| core.note_full_disk(error))?;
        match stored.is_new() {
            true => {
                self.report.objects_copied += 1;
                let bytes = &mut self.report.bytes_copied;
                *bytes = bytes.saturating_add(entry.stored);
            }
            // Somebody else has stored it meanwhile.
            false => self.report.duplicates += 1,
        }
        Ok(stored)
    }

    fn copy_short(&self, entry: &PackEntry, stored: &mut Stored) -> Result<()> {
        let mut buffers = self.core.objects.take_buffers();
        let placed = self
            .file
            .load_record(place_of(entry), &entry.id, entry.len, &mut buffers)
            .and_then(|record| self.core.place_new(&record, stored));
        self.core.objects.give_buffers(buffers);
        placed
    }

    /// A long object gets a pack of its own.
    fn copy_long(&self, entry: &PackEntry, stored: &mut Stored) -> Result<()> {
        let core = &self.core;
        let copy = core.begin_lone_pack(Salt::default())?; // that of the record is taken over
        let object = core.copy_lone(copy, &self.file, place_of(entry), &entry.id, entry.len)?;
        core.place_lone(object, stored)
    }

    /// Writes what is pending as one batch.
    fn write(&mut self, pending: &mut Pending) -> Result<()> {
        let pending = std::mem::take(pending);
        let mut keyspaces = vec![self.keyspace.clone()];
        if !pending.objects.is_empty() {
            keyspaces.push(self.core.object_directory()?);
        }
        let request = Request::new(pending.payload, keyspaces).with_objects(pending.objects);
        self.core.commit(request, Durability::Buffered)?;
        let (objects, bytes) = pending.claimed;
        if let Some(Taken { pack, .. }) = &self.taken {
            pack.claim(bytes);
        }
        let counters = &self.core.objects.counters;
        counters.adopted.fetch_add(objects, Ordering::Relaxed);
        counters.adopted_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.report.objects_moved += objects;
        self.report.keys += pending.keys;
        self.core.env.scheduler.breathe();
        Ok(())
    }

    /// All keys have their values: makes them durable, and removes the source if that is wanted.
    fn end(mut self) -> Result<AdoptReport> {
        let removes = |adoption: &Adoption| match adoption.moves {
            true => adoption.source.remove(&*adoption.core.env.fs),
            false => Ok(()),
        };
        if planted::is(Bug::AdoptedSourceRemovedEarly) {
            removes(&self)?;
        } else {
            self.core.sync_log()?;
            removes(&self)?;
        }
        if self.taken.take().is_some() {
            self.core.schedule_collection();
        }
        Ok(self.report)
    }
}

fn place_of(entry: &PackEntry) -> RecordPlace {
    RecordPlace {
        offset: entry.offset,
        record_len: entry.stored,
    }
}
