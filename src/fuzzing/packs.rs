//! A database's packs: the unsealed one that many append to, and objects at places that somebody names.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::env::FileSystem;
use crate::pack::format::{Seed, Trailer, next_digest};
use crate::pack::shared::{PackFile, RecordBuffers, Reopened, SealedPack, SharedPack, survey};
use crate::pack::{ObjectId, RecordOptions, RecordPlace};
use crate::sst::Compression;
use crate::{Error, Result};

/// The checksum of what lies at `offset` of the pack that has this identity.
pub fn pack_sum(identity: &[u8; 16], offset: u64, bytes: &[u8]) -> u32 {
    Seed::new(identity).sum(offset, bytes)
}

/// The digest of a segment behind one more record, which has this trailer.
pub fn pack_digest(digest: u64, trailer: &[u8]) -> u64 {
    next_digest(digest, Trailer::hash_of(trailer))
}

/// An object, and where its record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub id: ObjectId,
    pub len: u64,
    pub offset: u64,
    pub record_len: u64,
}

impl Placed {
    fn of(id: ObjectId, len: u64, place: RecordPlace) -> Placed {
        Placed {
            id,
            len,
            offset: place.offset,
            record_len: place.record_len,
        }
    }

    fn place(&self) -> RecordPlace {
        RecordPlace {
            offset: self.offset,
            record_len: self.record_len,
        }
    }
}

/// What a seal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub file_bytes: u64,
    pub records_end: u64,
    pub objects: u64,
    pub content_bytes: u64,
}

impl From<SealedPack> for Sealed {
    fn from(sealed: SealedPack) -> Sealed {
        Sealed {
            file_bytes: sealed.file_bytes,
            records_end: sealed.records_end,
            objects: sealed.objects,
            content_bytes: sealed.content_bytes,
        }
    }
}

/// What a pack of an earlier process is.
pub enum ReopenedPack {
    Sealed(Sealed),
    Unsealed {
        pack: UnsealedPack,
        cut_bytes: u64,
        verified_bytes: u64,
        objects: u64,
    },
}

/// A pack that is open for appending.
pub struct UnsealedPack(Arc<SharedPack>);

impl UnsealedPack {
    pub fn create(fs: &dyn FileSystem, path: &Path, identity: [u8; 16], number: u64) -> Result<UnsealedPack> {
        SharedPack::create(fs, path, identity, number).map(|pack| UnsealedPack(Arc::new(pack)))
    }

    pub fn reopen(
        fs: &dyn FileSystem,
        path: &Path,
        identity: &[u8; 16],
        number: u64,
        known: u64,
    ) -> Result<ReopenedPack> {
        Ok(match SharedPack::reopen(fs, path, identity, number, known)? {
            Reopened::Sealed(sealed) => ReopenedPack::Sealed(sealed.into()),
            Reopened::Unsealed(pack, found) => ReopenedPack::Unsealed {
                pack: UnsealedPack(pack),
                cut_bytes: found.cut_bytes,
                verified_bytes: found.verified_bytes,
                objects: found.objects,
            },
        })
    }

    pub fn append(&self, content: &[u8], chunk_size: u32, compression: Compression) -> Result<Placed> {
        let options = RecordOptions::new(chunk_size, compression)?;
        let (id, mut buffers) = (ObjectId::of(content), RecordBuffers::default());
        let place = self.0.append(&buffers.prepare(content, id, &options))?;
        Ok(Placed::of(id, content.len() as u64, place))
    }

    /// Appends the record of another pack as it is stored.
    pub fn append_copy(&self, from: &PlacedReader, object: &Placed) -> Result<Placed> {
        let mut buffers = RecordBuffers::default();
        let record = from
            .0
            .load_record(object.place(), &object.id, object.len, &mut buffers)?;
        let place = self.0.append(&record)?;
        Ok(Placed::of(object.id, object.len, place))
    }

    pub fn sync(&self) -> Result<u64> {
        self.0.sync()
    }

    pub fn seal(&self) -> Result<Sealed> {
        self.0.seal().map(Sealed::from)
    }

    pub fn reader(&self) -> PlacedReader {
        PlacedReader(self.0.reader())
    }

    pub fn len(&self) -> u64 {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.objects() == 0
    }

    pub fn synced_len(&self) -> u64 {
        self.0.synced_len()
    }

    pub fn objects(&self) -> u64 {
        self.0.objects()
    }
}

/// Where the last whole record ends, for somebody who only reads.
pub fn survey_pack(
    fs: &dyn FileSystem,
    path: &Path,
    identity: &[u8; 16],
    number: u64,
    known: u64,
) -> Result<u64> {
    survey(fs, path, identity, number, known)
}

/// Reads objects at places, whatever is there.
pub struct PlacedReader(PackFile);

impl PlacedReader {
    pub fn open(fs: &dyn FileSystem, path: &Path, identity: &[u8; 16], number: u64) -> Result<PlacedReader> {
        PackFile::open(fs, path, identity, number).map(PlacedReader)
    }

    /// By as few calls as the record allows.
    pub fn read(&self, object: &Placed) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.0.read_into(
            object.place(),
            &object.id,
            object.len,
            &mut out,
            &mut RecordBuffers::default(),
        )?;
        Ok(out)
    }

    /// As a stream.
    pub fn stream(&self, object: &Placed) -> Result<Vec<u8>> {
        let mut reader = self.0.open_object(object.place(), &object.id, object.len)?;
        let mut out = Vec::new();
        let read = reader.read_to_end(&mut out);
        read.map_err(|e| Error::io("read", self.0.path(), e))?;
        Ok(out)
    }

    /// Compares the content with the id; its length.
    pub fn verify(&self, object: &Placed) -> Result<u64> {
        self.0.verify_object(object.place(), &object.id)
    }
}
