//! [`Adoptable`]: a sealed pack or archive of a program's, from which a database takes objects, or which it takes over as a file.
//!
//! Sums depend on a file's identity and not on its number, so a pack becomes one of a database by 64 bytes: the header, with a number. From then on nobody
//! appends to it, by whatever name it is found ([`ArchiveWriter::append`](super::ArchiveWriter::append) refuses numbered packs).
//!
//! Callers: the engine.

use std::io;
use std::path::Path;

use super::archive::{Archive, Entries};
use super::builder::sync_dir_of;
use super::format::{FileHeader, SEALED_LEN_AT};
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
        PackFile::assume(self.pack().file.clone(), self.pack().header)
    }

    /// Its number in the database that it belongs to; 0: in none.
    pub(crate) fn number(&self) -> u64 {
        self.pack().header.number
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

    /// Follows each row of the index of ids to both ends of its record, and returns what the records take that the index finds.
    ///
    /// # Errors
    /// One of them can't be read, is damaged or another one.
    pub(crate) fn check_index(&self) -> Result<u64> {
        let mut bytes = 0;
        let mut rows = self.pack().ids();
        while let Some(row) = rows.next_or_end() {
            let (id, located) = row?;
            self.pack().open_at(&id, &located)?;
            bytes += located.place.record_len;
        }
        Ok(bytes)
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn verify(&self) -> Result<()> {
        let damage = self.pack().verify().damage;
        damage.into_iter().next().map_or(Ok(()), Err)
    }

    /// Whether nothing lies behind its last seal, which is whole.
    pub(crate) fn ends_with_its_seal(&self) -> bool {
        self.pack().file_bytes() == self.pack().sealed_len()
    }

    /// Gives it a number, durably, with everything else of it: it is durable then whoever has made the file. REQUIRES: it has none.
    ///
    /// # Errors
    /// It can't be written or synced; the header is what it was, as far as that can be told.
    pub(crate) fn number_it(&self, fs: &dyn FileSystem, number: u64) -> Result<()> {
        let (path, header) = (self.pack().path(), self.pack().header);
        let file = fs.open_writable(path).map_err(|e| Error::io("open", path, e))?;
        let write = |number| {
            let bytes = FileHeader { number, ..header }.encode();
            // The length behind it stays.
            let bytes = bytes.get(..SEALED_LEN_AT as usize).unwrap_or_default();
            file.write_all_at(0, bytes)
        };
        let written = write(number).map_err(|e| Error::io("write", path, e));
        let synced = written.and_then(|()| file.sync().map_err(|e| Error::io("sync", path, e)));
        synced.inspect_err(|_| {
            let _ = write(0); // the first error is the one to report
        })
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
