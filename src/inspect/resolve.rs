//! [`ObjectDirectory`]: from references to values, without opening the database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::State;
use super::objects::places;
use crate::engine::objects::Place;
use crate::env::FileSystem;
use crate::pack::shared::PackFile;
use crate::pack::{ObjectId, ObjectReader};
use crate::types::ObjectRef;
use crate::{Error, Result, names};

/// Where the objects of a database lie, as of the moment when this was made. Some 80 bytes for each.
pub struct ObjectDirectory {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    places: BTreeMap<ObjectId, Place>,
    identities: BTreeMap<u64, [u8; 16]>,
    /// SSTs and logs of the directory that could not be read.
    pub unread: Vec<Error>,
}

impl std::fmt::Debug for ObjectDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectDirectory")
            .field("dir", &self.dir)
            .field("objects", &self.places.len())
            .finish_non_exhaustive()
    }
}

impl ObjectDirectory {
    /// Reads the directory of objects of the database in `dir`.
    pub fn read(fs: &Arc<dyn FileSystem>, dir: &Path, state: &State) -> ObjectDirectory {
        let mut unread = Vec::new();
        let packs = state.packs.iter().map(|pack| (pack.number, pack.identity));
        ObjectDirectory {
            places: places(&**fs, dir, state, &mut unread),
            fs: fs.clone(),
            dir: dir.to_owned(),
            identities: packs.collect(),
            unread,
        }
    }

    /// The object of a reference; `None`: the directory does not know it.
    ///
    /// # Errors
    /// Its pack can't be read or is missing, or the ends of its record are damaged.
    pub fn open(&self, object: &ObjectRef) -> Result<Option<ObjectReader>> {
        let id = ObjectId(object.id);
        let Some(place) = self.places.get(&id) else {
            return Ok(None);
        };
        let path = names::pack(&self.dir, place.pack);
        let identity = self.identities.get(&place.pack).ok_or_else(|| {
            let what = format!("expected a pack that the manifest names, because object {id} lies in it");
            Error::corruption(&path, place.record.offset, what)
        })?;
        let pack = PackFile::open(&*self.fs, &path, identity, place.pack)?;
        pack.open_object(place.record, &id, object.len).map(Some)
    }
}
