//! The packs of a database, as files: [`SharedPack`], which many writers append to; [`StreamPack`], which one stream writes; [`PackFile`],
//! which reads either, sealed or not. The engine decides when; this module owns the file.
//!
//! ```text
//! unsealed   header | record, record, ... | anything            bytes behind the last whole record are of no account
//! sealed     header | records | ids | section table | footer, twice: an ordinary pack, byte for byte
//! ```
//!
//! | part | what |
//! | --- | --- |
//! | `prepare` | what of a record does not depend on its place, made without a lock |
//! | `seal` | the index and the footers behind the records |
//! | `reopen` | an unsealed pack of an earlier process: which records are whole |
//! | `mend` | damage in the middle of an unsealed pack, for who goes on without what is damaged |
//! | `stream` | a pack of one object that comes as a stream, or is moved |
//! | `file` | reading |
//!
//! Invariants:
//! 1. Records are whole in order: the next one is placed behind the last whole one, over what a failed write has left there.
//! 2. What lies before a length that [`SharedPack::sync`] has returned is on the medium. After a sync that failed the page cache lies (the kernel
//!    calls pages clean that it could not write), so the next sync first verifies and writes again what is not known to be durable. Syncs
//!    take turns, because the kernel tells a failure once.
//! 3. Nothing is appended once a seal has begun. The footers are written when everything before them is durable, the sealed length in the header
//!    when they are. So a header that says sealed is right; otherwise what lies behind the records is cut off.
//! 4. Readers need no lock: a place is given out when the whole record is with the kernel, and the bytes of a whole record never
//!    change (they may be written again as they are).
//!
//! Locks: `syncing` before `appends`.
//!
//! Callers: the engine. This module knows nothing of it.

mod file;
mod mend;
mod prepare;
mod reopen;
mod seal;
mod stream;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub(crate) use file::PackFile;
pub(crate) use mend::{look, mend};
pub(crate) use prepare::{Prepared, RecordBuffers};
pub(crate) use reopen::{Recovered, Reopened, survey};
pub(crate) use seal::SealedPack;
pub(crate) use stream::{StreamPack, Streamed};

use self::seal::Contents;
use super::format::{FILE_HEADER_LEN, FileHeader, Seed};
use super::object::{RecordFile, RecordPlace, shared_path};
use super::output::Output;
use super::section::Located;
use super::segment::note_sealed_len;
use crate::env::{File, FileSystem};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Error, Result};

/// An unsealed pack that any number of threads append to.
pub(crate) struct SharedPack {
    file: RecordFile,
    header: FileHeader,
    /// The end of the last whole record; changes under `appends`.
    end: AtomicU64,
    /// What is known to be durable; changes under `syncing`.
    synced: AtomicU64,
    /// Changes under `appends`.
    objects: AtomicU64,
    appends: Mutex<Appends>,
    syncing: Mutex<Syncing>,
}

struct Appends {
    contents: Contents,
    /// A seal has begun.
    closed: bool,
    gather: Vec<u8>,
}

struct Syncing {
    /// A sync has failed since the last one that has not.
    failed: bool,
    /// How far a seal has come: the footers are durable; then the header says so, too.
    footed: Option<SealedPack>,
    sealed: bool,
}

impl std::fmt::Debug for SharedPack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedPack")
            .field("path", &self.file.path)
            .field("len", &self.len())
            .field("synced_len", &self.synced_len())
            .finish_non_exhaustive()
    }
}

/// What a pack begins with as long as it is not sealed: for a copy of one.
pub(crate) fn unsealed_header(identity: [u8; 16], number: u64) -> Vec<u8> {
    FileHeader { identity, number }.encode().to_vec()
}

/// Creates a database's pack file: its header is with the kernel, not synced.
fn create(fs: &dyn FileSystem, path: &Path, header: &FileHeader) -> Result<Arc<dyn File>> {
    let file = fs.create(path).map_err(|e| Error::io("create", path, e))?;
    if let Err(e) = file.write_all_at(0, &header.encode()) {
        let _ = fs.remove(path); // the first error is the one to report
        return Err(Error::io("write", path, e));
    }
    Ok(file)
}

impl SharedPack {
    /// Creates the file, which must not exist yet. The caller calls [`Self::sync`] and syncs the directory before anything durable names it.
    pub(crate) fn create(
        fs: &dyn FileSystem,
        path: &Path,
        identity: [u8; 16],
        number: u64,
    ) -> Result<SharedPack> {
        let header = FileHeader { identity, number };
        let file = create(fs, path, &header)?;
        let file = RecordFile {
            file,
            path: shared_path(path),
            seed: Seed::new(&identity),
        };
        Ok(Self::of(file, header, Contents::default(), FILE_HEADER_LEN, 0))
    }

    fn of(file: RecordFile, header: FileHeader, contents: Contents, end: u64, synced: u64) -> SharedPack {
        SharedPack {
            file,
            header,
            end: AtomicU64::new(end),
            synced: AtomicU64::new(synced),
            objects: AtomicU64::new(contents.objects()),
            appends: Mutex::new(Appends {
                contents,
                closed: false,
                gather: Vec::new(),
            }),
            syncing: Mutex::new(Syncing {
                failed: false,
                footed: None,
                sealed: false,
            }),
        }
    }

    /// Its number, as it stands in its header.
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    pub(crate) fn identity(&self) -> [u8; 16] {
        self.header.identity
    }

    /// The end of the last whole record.
    pub(crate) fn len(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// How much of it is known to be durable.
    pub(crate) fn synced_len(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// How many objects it holds, each time one was appended.
    pub(crate) fn objects(&self) -> u64 {
        self.objects.load(Ordering::Acquire)
    }

    /// Reads it through the same open file, which stays open as long as the reader lives.
    pub(crate) fn reader(&self) -> PackFile {
        PackFile::of(self.file.clone(), self.header)
    }

    /// Writes a record behind the last one. When this returns the bytes are with the kernel, and can be read at the place.
    ///
    /// # Errors
    /// The file can't be written: it is as before. A seal has begun.
    pub(crate) fn append(&self, record: &Prepared<'_>) -> Result<RecordPlace> {
        let mut guard = self.appends.lock();
        let appends = &mut *guard;
        if appends.closed {
            let sealed = io::Error::other("a seal of this pack has begun");
            return Err(self.file.failed("write", self.len(), sealed));
        }
        let offset = self.len();
        let placed = match record.write(&self.file, offset, &mut appends.gather) {
            Ok(placed) => placed,
            Err(e) => {
                // What was written of it is of no account; on a full disk the room is.
                let _ = self.file.file.set_len(offset);
                return Err(e);
            }
        };
        let located = Located {
            place: placed.place,
            content_len: record.content_len(),
        };
        appends
            .contents
            .add(record.id(), located, record.stored_len(), placed.trailer_hash);
        self.objects.store(appends.contents.objects(), Ordering::Release);
        self.end
            .store(offset + placed.place.record_len, Ordering::Release);
        Ok(placed.place)
    }

    /// Makes durable what is whole now, and returns how long that is. After a sync that failed this one verifies and writes again what is not known to
    /// be durable.
    ///
    /// # Errors
    /// The file can't be synced. Whether the caller goes on is its decision: nothing is lost as long as the process lives.
    pub(crate) fn sync(&self) -> Result<u64> {
        let mut syncing = self.syncing.lock();
        if syncing.failed {
            // The sync that failed may have hit a record that is not whole yet: it is to be among those that are written again.
            drop(self.appends.lock());
        }
        let end = self.len();
        if end == self.synced_len() {
            return Ok(end);
        }
        if syncing.failed {
            self.write_again(end)?;
        }
        if let Err(e) = self.file.file.sync() {
            syncing.failed = true;
            return Err(self.file.failed("sync", end, e));
        }
        syncing.failed = false;
        self.synced.store(end, Ordering::Release);
        Ok(end)
    }

    /// Verifies the records behind what is durable, up to `end`, and writes them again.
    fn write_again(&self, end: u64) -> Result<()> {
        let from = self.synced_len();
        if from < FILE_HEADER_LEN {
            // Never synced: the header as well.
            let written = self.file.file.write_all_at(0, &self.header.encode());
            written.map_err(|e| self.file.failed("write", 0, e))?;
        }
        reopen::verify_all(&self.file, from.max(FILE_HEADER_LEN), end)?;
        reopen::write_again(&self.file, from.max(FILE_HEADER_LEN), end)?;
        // The length may be one of the things that the kernel has given up.
        let _appends = self.appends.lock();
        reopen::touch_length(&self.file)
    }

    /// Writes index and footers behind the records, all of it durable when this returns. Nothing can be appended from the first call on; readers
    /// are not disturbed. A pack that is sealed already only says so.
    ///
    /// # Errors
    /// The file can't be written or synced: the pack is unsealed, and can be sealed again.
    pub(crate) fn seal(&self) -> Result<SealedPack> {
        let mut syncing = self.syncing.lock();
        self.appends.lock().closed = true; // a writer that was at work is done
        if let Some(sealed) = syncing.footed {
            if !syncing.sealed {
                // Only the header is missing, and the footers must stay.
                let output = self.output(sealed.file_bytes);
                note_sealed_len(&output, self.file.seed)?;
                syncing.sealed = true;
            }
            return Ok(sealed);
        }
        let end = self.len();
        if syncing.failed {
            self.write_again(end)?;
        }
        self.cut_behind(end)?;
        let mut output = self.output(end);
        let contents = std::mem::take(&mut self.appends.lock().contents);
        let footed = seal::write_footers(&mut output, &self.header, &contents);
        self.appends.lock().contents = contents;
        let sealed = match footed {
            Ok(sealed) => sealed,
            Err(e) => {
                syncing.failed = true;
                return Err(e);
            }
        };
        syncing.footed = Some(sealed);
        syncing.failed = false;
        self.synced.store(end, Ordering::Release);
        note_sealed_len(&output, self.file.seed)?;
        syncing.sealed = true;
        self.appends.lock().contents = Contents::default(); // its memory
        Ok(sealed)
    }

    /// What a failed append has left, and could not take back, may reach further than index and footers will.
    fn cut_behind(&self, end: u64) -> Result<()> {
        let file = &self.file.file;
        let len = file.len().map_err(|e| self.file.failed("measure", end, e))?;
        match len > end {
            true => file.set_len(end).map_err(|e| self.file.failed("cut", end, e)),
            false => Ok(()),
        }
    }

    fn output(&self, at: u64) -> Output {
        Output::new(Arc::clone(&self.file.file), &self.file.path, at)
    }
}
