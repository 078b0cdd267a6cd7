//! What is damaged is stored anew when it is put again: a put whose content the directory knows would otherwise be taken for a duplicate of something that nobody can read.
//!
//! Damage is noticed by reads: a pack of which one has failed is *doubted* from then on, until the database is closed. An object that lies in such a pack is read before a
//! put builds on it. The directory is told of the new place by the put's batch, as of any.

use super::place::Place;
use crate::Result;
use crate::engine::core::Core;
use crate::pack::ObjectId;

impl Core {
    /// Whether the object is there, so that a put of it need not store it. REQUIRES: a lease on it.
    pub(super) fn has_object(&self, id: &ObjectId) -> Result<bool> {
        let mut before: Option<Place> = None;
        while let Some(place) = self.find_object(id)? {
            let Some(pack) = self.objects.pack(place.pack) else {
                if before == Some(place) {
                    return Ok(false); // reads say that there is no such pack
                }
                before = Some(place); // it has been moved since the look-up
                continue;
            };
            if !pack.is_doubted() || pack.file.verify_object(place.record, id).is_ok() {
                return Ok(true);
            }
            // Without this one a collection may be able to move the rest.
            pack.note_replaced();
            self.objects.note_dead(&place);
            return Ok(false);
        }
        Ok(false)
    }
}
