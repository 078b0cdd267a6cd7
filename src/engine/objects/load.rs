//! From a reference to bytes.

use std::sync::Arc;

use super::DIRECTORY;
use super::pack::Pack;
use super::place::Place;
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::pack::{Content, ObjectId, ObjectReader};
use crate::planted::{self, Bug};
use crate::types::ObjectRef;
use crate::{Error, Result, Slice};

impl Core {
    /// The keyspace that knows where objects lie, if there is one.
    pub(super) fn known_directory(&self) -> Option<Arc<KeyspaceCore>> {
        if let Some(directory) = &*self.objects.directory.read() {
            return Some(directory.clone());
        }
        let directory = self.find_keyspace(DIRECTORY)?;
        *self.objects.directory.write() = Some(directory.clone());
        Some(directory)
    }

    /// Where an object lies now.
    pub(crate) fn find_object(&self, id: &ObjectId) -> Result<Option<Place>> {
        let Some(directory) = self.known_directory() else {
            return Ok(None);
        };
        // The newest state, whatever is being read: places change, and the old ones go.
        let view = directory.pin();
        let seq = self.snapshots.published();
        let Some(found) = view.find(&id.0, directory.order(), seq, None)? else {
            return Ok(None);
        };
        let bytes = found.load()?;
        let what =
            || format!("expected the place of object {id} in the directory of objects, found {bytes:?}");
        let place = Place::decode(&bytes).ok_or_else(|| Error::corruption(&self.dir, 0, what()))?;
        Ok(Some(place))
    }

    /// Takes note of references that are gone. Others to the same objects may be there: what this adds up to is an estimate, until a collection
    /// has looked.
    pub(crate) fn note_dropped(&self, objects: &[ObjectId]) {
        if planted::is(Bug::GarbageUnnoticed) {
            return;
        }
        for id in objects {
            // What can't be found is not counted.
            if let Ok(Some(place)) = self.find_object(id) {
                self.objects.note_dead(&place);
            }
        }
    }

    /// The pack that an object lies in, and where.
    pub(super) fn locate_object(&self, id: &ObjectId) -> Result<Option<(Arc<Pack>, Place)>> {
        let mut before = None;
        loop {
            let Some(place) = self.find_object(id)? else {
                return Ok(None);
            };
            if let Some(pack) = self.objects.pack(place.pack) {
                return Ok(Some((pack, place)));
            }
            // It has been moved, and its old pack removed, since the place was looked up.
            if before == Some(place) {
                let what = format!(
                    "object {id} lies in pack {}, which the manifest does not name; packstone-repair saves what there is",
                    place.pack
                );
                return Err(Error::corruption(&self.dir, 0, what));
            }
            before = Some(place);
        }
    }

    /// Reads an object into the caller's buffer, whose contents are replaced; false if it is not there.
    pub(crate) fn read_object(&self, object: &ObjectRef, out: &mut impl Content) -> Result<bool> {
        let id = ObjectId(object.id);
        let Some((pack, place)) = self.locate_object(&id)? else {
            return Ok(false);
        };
        let mut buffers = self.objects.take_buffers();
        let read = pack
            .file
            .read_into(place.record, &id, object.len, out, &mut buffers);
        self.objects.give_buffers(buffers);
        read.inspect_err(|_| pack.note_doubted())?;
        Ok(true)
    }

    /// The object of a reference that a registered snapshot sees: it is there.
    pub(crate) fn load_object(&self, object: &ObjectRef) -> Result<Slice> {
        let mut value: Arc<[u8]> = Arc::default();
        self.load_object_into(object, &mut value)?;
        Ok(Slice::from(value))
    }

    /// The same into the caller's buffer.
    pub(crate) fn load_object_into(&self, object: &ObjectRef, out: &mut impl Content) -> Result<()> {
        match self.read_object(object, out)? {
            true => Ok(()),
            false => Err(self.missing(object)),
        }
    }

    /// The object as a stream; `None` if it is not there.
    pub(crate) fn open_object(&self, object: &ObjectRef) -> Result<Option<(Arc<Pack>, ObjectReader)>> {
        let id = ObjectId(object.id);
        let Some((pack, place)) = self.locate_object(&id)? else {
            return Ok(None);
        };
        let reader = pack.file.open_object(place.record, &id, object.len);
        let reader = reader.inspect_err(|_| pack.note_doubted())?;
        Ok(Some((pack, reader)))
    }

    /// The error for a reference that leads nowhere.
    pub(crate) fn missing(&self, object: &ObjectRef) -> Error {
        let what = format!(
            "object {} of {} bytes, which is the value of a key, is in no pack; packstone-repair saves what there is",
            ObjectId(object.id),
            object.len
        );
        Error::corruption(&self.dir, 0, what)
    }
}
