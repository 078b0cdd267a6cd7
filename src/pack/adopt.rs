//! [`Adoptable`]: a sealed pack or archive of a program's, from which a database takes objects, or which it takes over as a file.
//!
//! A pack that is taken over keeps its number, 0: the manifest knows it by its identity. What the header says besides is that a database has taken it, beside
//! the sealed length, where a write that a crash tears does no harm. From then on nobody appends to it, by whatever name it is found
//! ([`ArchiveWriter::append`](super::ArchiveWriter::append) refuses it).
//!
//! Callers: the engine.

use std::io;
use std::path::Path;

use super::archive::{Archive, Entries};
use super::builder::sync_dir_of;
use super::format::{SEALED_LEN_AT, encode_owned_len};
use super::id::ObjectId;
use super::layout::PackEntry;
use super::reader::Pack;
use super::shared::PackFile;
use crate::env::{FileSystem, Lock};
use crate::{Error, Result};

/// Bytes of index blocks that are kept in memory: 4 MiB.
const CACHE: u64 = 4 << 20;

/// A sealed pack, open for adoption.
pub(crate) struct Adoptable {
    archive: Archive,
    /// Of one that is to be moved: nobody appends to it.
    _lock: Option<Box<dyn Lock>>,
}

impl Adoptable {
    /// Opens a sealed pack. `alone`: no writer may have it open meanwhile; otherwise it is read as of its last seal.
    ///
    /// # Errors
    /// As [`Pack::open`]; [`Error::Locked`].
    pub(crate) fn open(fs: &dyn FileSystem, path: &Path, alone: bool) -> Result<Adoptable> {
        let open = || Pack::open_in(fs, path, CACHE);
        let mut pack = open()?; // taking the lock of a file that is not there would create it
        let mut lock = None;
        if alone {
            let taken = fs.lock(path).map_err(|e| match e.kind() {
                io::ErrorKind::WouldBlock => Error::Locked {
                    path: path.to_owned(),
                },
                _ => Error::io("lock", path, e),
            });
            lock = Some(taken?);
            pack = open()?; // as it is now that it stays so
        }
        Ok(Adoptable {
            archive: Archive::of(pack),
            _lock: lock,
        })
    }

    pub(crate) fn pack(&self) -> &Pack {
        self.archive.pack()
    }

    /// Reads records at their places.
    pub(crate) fn file(&self) -> PackFile {
        PackFile::of(self.pack().file.clone())
    }

    /// Its number in the database that it belongs to; 0: in none, or it was taken over.
    pub(crate) fn number(&self) -> u64 {
        self.pack().header.number
    }

    /// Whether a database has taken it over, or was about to.
    pub(crate) fn is_taken(&self) -> bool {
        self.pack().taken == Some(true)
    }

    /// Its names, in order.
    pub(crate) fn names(&self) -> Entries<'_> {
        self.archive.entries()
    }

    /// What the index says of an object.
    pub(crate) fn find(&self, id: &ObjectId) -> Result<Option<PackEntry>> {
        let located = self.pack().locate(id)?;
        Ok(located.map(|located| PackEntry::new(*id, &located)))
    }

    /// Follows each row of the index of ids to both ends of its record.
    ///
    /// # Errors
    /// One of them can't be read, is damaged or another one.
    pub(crate) fn check_index(&self) -> Result<()> {
        let mut rows = self.pack().ids();
        while let Some(row) = rows.next_or_end() {
            let (id, located) = row?;
            self.pack().open_at(&id, &located)?;
        }
        Ok(())
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// The first thing that is wrong. What the header says of length and owner is not: a crash in the middle of an adoption may have torn it, nothing
    /// is read by it, and who takes the file over writes it anew.
    pub(crate) fn verify(&self) -> Result<()> {
        let of_owner = |error: &Error| {
            matches!(
                error,
                Error::Corruption {
                    offset: SEALED_LEN_AT,
                    ..
                }
            )
        };
        let damage = self.pack().verify().damage.into_iter();
        let mut damage = damage.filter(|error| self.pack().taken.is_some() || !of_owner(error));
        damage.next().map_or(Ok(()), Err)
    }

    /// Whether nothing lies behind its last seal, which is whole.
    pub(crate) fn ends_with_its_seal(&self) -> bool {
        self.pack().file_bytes() == self.pack().sealed_len()
    }

    /// Says in the header that a database has taken it over, or that none has. When this returns everything of it is durable, whoever has made the file.
    ///
    /// # Errors
    /// It can't be written or synced.
    pub(crate) fn mark(&self, fs: &dyn FileSystem, taken: bool) -> Result<()> {
        let pack = self.pack();
        let path = pack.path();
        let file = fs.open_writable(path).map_err(|e| Error::io("open", path, e))?;
        let bytes = encode_owned_len(pack.sealed_len(), taken, pack.file.seed);
        let written = file.write_all_at(SEALED_LEN_AT, &bytes);
        written.map_err(|e| Error::io("write", path, e))?;
        file.sync().map_err(|e| Error::io("sync", path, e))
    }

    /// Removes its name, durably. REQUIRES: it was opened to be alone.
    ///
    /// # Errors
    /// It can't be removed, or that can't be made durable.
    pub(crate) fn remove(&self, fs: &dyn FileSystem) -> Result<()> {
        let path = self.pack().path();
        fs.remove(path).map_err(|e| Error::io("remove", path, e))?;
        sync_dir_of(fs, path)
    }
}
