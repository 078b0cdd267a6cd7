//! Packs of one object: of a value that came as a long stream, or of a long record that is moved.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::Objects;
use super::pack::Pack;
use super::place::Place;
use super::store::{Stored, record_options};
use crate::engine::core::Core;
use crate::manifest::{PackMeta, Record};
use crate::pack::shared::{PackFile, StreamPack, Streamed};
use crate::pack::{ObjectId, RecordPlace, Salt};
use crate::{Error, Result, names};

/// Records longer than a 64th of a pack are not copied through memory; in bytes, the least and the most that this may be.
const LONG_RECORD: RangeInclusive<u64> = 64 << 10..=4 << 20;

/// A pack that is being written. Dropped early, it leaves nothing.
pub(super) struct LonePack {
    number: u64,
    path: PathBuf,
    writer: StreamPack,
}

/// One that is complete, sealed and durable, and that no manifest names.
pub(super) struct LoneObject {
    number: u64,
    path: PathBuf,
    identity: [u8; 16],
    written: Streamed,
}

impl LonePack {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.push(bytes)
    }

    /// The content is complete; what its id is.
    pub(super) fn end(&mut self) -> Result<ObjectId> {
        self.writer.end()
    }
}

impl Objects {
    /// Whether a record of that length gets a pack of its own when it is copied.
    pub(super) fn is_long(&self, record_len: u64) -> bool {
        record_len > (self.pack_size / 64).clamp(*LONG_RECORD.start(), *LONG_RECORD.end())
    }
}

impl Core {
    pub(super) fn begin_lone_pack(&self, salt: Salt) -> Result<LonePack> {
        let (number, path, identity) = self.name_pack()?;
        let writer = StreamPack::create(&self.env, &path, identity, number, &record_options(salt)?)?;
        Ok(LonePack { number, path, writer })
    }

    /// Seals what has been pushed.
    pub(super) fn finish_lone(&self, pack: LonePack) -> Result<LoneObject> {
        let LonePack { number, path, writer } = pack;
        let identity = writer.identity();
        let written = writer.finish().map_err(|e| self.poison_if_sync(e))?;
        Ok(LoneObject {
            number,
            path,
            identity,
            written,
        })
    }

    /// Seals the copy of a record.
    pub(super) fn copy_lone(
        &self,
        pack: LonePack,
        from: &PackFile,
        place: RecordPlace,
        id: &ObjectId,
        len: u64,
    ) -> Result<LoneObject> {
        let LonePack { number, path, writer } = pack;
        let identity = writer.identity();
        let written = writer.copy(from, place, id, len);
        let written = written.map_err(|e| self.poison_if_sync(e))?;
        Ok(LoneObject {
            number,
            path,
            identity,
            written,
        })
    }

    /// Makes it the new object of a write, unless another write has stored that since the look-up.
    pub(super) fn place_lone(&self, object: LoneObject, stored: &mut Stored) -> Result<()> {
        // Held until the lease knows the place: collections look at no pack before (see `Core::victim`), and no
        // write of the same content builds on a pack that can't be added.
        let _active = self.objects.active.lock();
        if stored.find_again() {
            self.objects.count_duplicate(object.written.len);
            self.discard_lone(object);
            return Ok(());
        }
        stored.wrote(self.add_lone(object)?);
        Ok(())
    }

    /// From now on the database has it.
    pub(super) fn add_lone(&self, object: LoneObject) -> Result<Place> {
        let meta = PackMeta {
            number: object.number,
            identity: object.identity,
            sealed: true,
            len: object.written.pack.file_bytes,
            dead: 0,
        };
        let fs = &*self.env.fs;
        let opened = PackFile::open(fs, &object.path, &object.identity, object.number);
        let place = Place {
            pack: object.number,
            record: object.written.place,
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                self.discard_lone(object);
                return Err(error);
            }
        };
        let pack = Pack::new(&meta, file, None, object.path, &self.trash);
        self.add_pack(Record::Pack(meta), pack)?;
        Ok(place)
    }

    /// Nobody wants it. A file that can't be removed goes when the database is opened next.
    pub(super) fn discard_lone(&self, object: LoneObject) {
        let _ = self.env.fs.remove(&object.path);
    }

    /// A number, a path and an identity for a new pack.
    pub(super) fn name_pack(&self) -> Result<(u64, PathBuf, [u8; 16])> {
        let number = self.factory().new_file_number()?;
        let path = names::pack(&self.dir, number);
        let identity = self.env.entropy.identity();
        let identity = identity.map_err(|e| Error::io("create", &path, e))?;
        Ok((number, path, identity))
    }
}
