//! Looking after large values: which keys refer to an object, and whether all objects are whole.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::db::Db;
use crate::cursor::Cursor;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::merge::Direction;
use crate::engine::objects::{DIRECTORY, Place};
use crate::engine::run::Run;
use crate::memtable::SortedTable;
use crate::pack::ObjectId;
use crate::sst::CursorOptions;
use crate::types::{EntryKind, ObjectRef};
use crate::{Error, Result, Slice, names};

/// What [`Db::verify_objects`] has found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ObjectVerification {
    /// Objects that are whole.
    pub objects: u64,
    /// Bytes of their contents.
    pub content_bytes: u64,
    /// Objects that are not.
    pub damage: Vec<DamagedValue>,
}

/// A large value that can't be read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DamagedValue {
    /// The object's id: what its content hashes to.
    pub id: ObjectId,
    /// The pack that it lies in, and its offset there; `None`: nobody knows.
    pub place: Option<(PathBuf, u64)>,
    /// All keys whose value it is: the keyspace's name, and the key.
    pub keys: Vec<(String, Slice)>,
    /// What is wrong, with file and offset.
    pub error: Error,
}

impl Db {
    /// The keys whose value is this object now, each with its keyspace's name: what an error that names a damaged object concerns. Reads the lists of
    /// references of all SSTs, and the entries of those that have it; memtables whole.
    ///
    /// # Errors
    /// A file can't be read or is damaged; [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// use packstone::pack::ObjectId;
    /// let images = db.keyspace("images")?;
    /// let image = vec![7; 100_000];
    /// images.put("a", &image)?;
    /// images.put("b", &image)?;
    /// let keys = db.keys_of(&ObjectId::of(&image))?;
    /// assert_eq!(keys.len(), 2);
    /// assert_eq!((&keys[0].0[..], &keys[0].1[..]), ("images", &b"a"[..]));
    /// # db.close()
    /// # }
    /// ```
    pub fn keys_of(&self, id: &ObjectId) -> Result<Vec<(String, Slice)>> {
        self.core().check_open()?;
        let mut keys = Vec::new();
        let mut keyspaces = self.core().keyspace_cores();
        keyspaces.sort_by(|a, b| a.name.cmp(&b.name));
        for keyspace in keyspaces {
            for key in candidates(&keyspace, id)? {
                // An older version, or one that has been overwritten.
                let now = self.core().find_reference(&keyspace, &key, None);
                let now = match now {
                    Err(Error::KeyspaceDropped { .. }) => break,
                    now => now?,
                };
                if now.is_some_and(|object| object.id == id.0) {
                    keys.push((keyspace.name.to_string(), key));
                }
            }
        }
        Ok(keys)
    }

    /// Reads every large value and compares its content with its id, and looks whether every key with a large value leads to one. Takes as long as
    /// reading all packs, once; reads and writes go on meanwhile. [`Db::verify`] is for the rest.
    ///
    /// # Errors
    /// An SST can't be read or is damaged; [`Error::Closed`]. Damaged and missing values are no error but part of the answer.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// db.keyspace("images")?.put("a", vec![7; 100_000])?;
    /// let found = db.verify_objects()?;
    /// assert_eq!((found.objects, found.content_bytes, found.damage.len()), (1, 100_000, 0));
    /// # db.close()
    /// # }
    /// ```
    pub fn verify_objects(&self) -> Result<ObjectVerification> {
        let core = self.core();
        let mut found = ObjectVerification::default();
        let snapshot = core.snapshots.register();
        if let Some(directory) = core.find_keyspace(DIRECTORY) {
            let mut run = Run::new(&directory, snapshot.seq(), false, Direction::Forward, None)?;
            while run.step(Direction::Forward)? {
                core.check_open()?;
                let Ok(id) = <[u8; 16]>::try_from(directory.order().key_of(run.key())).map(ObjectId) else {
                    continue;
                };
                self.verify_object(&id, &mut found)?;
            }
        }
        for keyspace in core.keyspace_cores() {
            let tree = keyspace.view().tree.clone();
            for table in tree.tables() {
                core.check_open()?;
                for id in table.sst.references(None) {
                    let id = ObjectId(id?);
                    let known = found.damage.iter().any(|damaged| damaged.id == id);
                    if !known && core.find_object(&id)?.is_none() {
                        let what = format!("object {id}, which a key refers to, is in no pack");
                        let error = Error::corruption(&core.dir, 0, what);
                        self.note_damaged(&id, None, error, &mut found)?;
                    }
                }
            }
        }
        Ok(found)
    }

    /// Reads an object where it lies now; one that has been collected is nobody's loss.
    fn verify_object(&self, id: &ObjectId, found: &mut ObjectVerification) -> Result<()> {
        let core = self.core();
        let mut before = None;
        while let Some(place) = core.find_object(id)? {
            let read = match core.objects.pack(place.pack) {
                Some(pack) => {
                    let read = pack.file.verify_object(place.record, id);
                    read.inspect_err(|_| pack.note_doubted())
                }
                // Moved since, unless it still says so.
                None if before != Some(place) => {
                    before = Some(place);
                    continue;
                }
                None => {
                    let what = format!(
                        "object {id} lies in pack {}, which the manifest does not name",
                        place.pack
                    );
                    Err(Error::corruption(&core.dir, 0, what))
                }
            };
            return match read {
                Ok(len) => {
                    found.objects += 1;
                    found.content_bytes += len;
                    Ok(())
                }
                Err(error) => self.note_damaged(id, Some(place), error, found),
            };
        }
        Ok(())
    }

    fn note_damaged(
        &self,
        id: &ObjectId,
        place: Option<Place>,
        error: Error,
        found: &mut ObjectVerification,
    ) -> Result<()> {
        let keys = self.keys_of(id)?;
        // Otherwise only an older version refers to it, or it has been written again since.
        let is_missing = || Ok(!keys.is_empty() && self.core().find_object(id)?.is_none());
        if place.is_none() && !is_missing()? {
            return Ok(());
        }
        let dir = &self.core().dir;
        found.damage.push(DamagedValue {
            id: *id,
            place: place.map(|place| (names::pack(dir, place.pack), place.record.offset)),
            keys,
            error,
        });
        Ok(())
    }
}

/// Keys some version of which refers to the object.
fn candidates(keyspace: &Arc<KeyspaceCore>, id: &ObjectId) -> Result<BTreeSet<Slice>> {
    let (view, order) = (keyspace.view(), keyspace.order());
    let mut keys = BTreeSet::new();
    let frozen = view.frozen.iter().map(|frozen| &frozen.table);
    for table in std::iter::once(&view.active).chain(frozen) {
        let mut cursor = table.cursor();
        cursor.seek_to_first()?;
        while cursor.valid() {
            let value = cursor.value();
            if value.kind() == EntryKind::Object
                && ObjectRef::from_bytes(&cursor.load(value)?).is_some_and(|object| object.id == id.0)
            {
                keys.insert(Slice::from(order.key_of(cursor.key())));
            }
            cursor.next()?;
        }
    }
    for table in view.tree.tables() {
        let mut refers = false;
        for listed in table.sst.references(None) {
            refers |= listed? == id.0;
        }
        if !refers {
            continue;
        }
        let mut cursor = table.sst.cursor(CursorOptions {
            access: None,
            fill_cache: false,
            read_ahead: true,
        });
        cursor.seek_to_first()?;
        while cursor.valid() {
            let value = cursor.value();
            if value.kind() == EntryKind::Object && table.sst.object(value.place)?.id == id.0 {
                keys.insert(Slice::from(order.key_of(cursor.key())));
            }
            cursor.next()?;
        }
    }
    Ok(keys)
}
