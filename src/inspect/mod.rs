//! Looking into the files of a database without opening it: what a file is, what a log or a manifest says frame by frame,
//! what an SST or a pack holds. For tools, tests and post-mortems; [`Db`](crate::Db) never uses it.
//!
//! * It reads, by read calls, and changes nothing: no lock, no mapping, no repair. It works on a database that another
//!   process writes to (what it sees is then a moment of each file, not one moment of all), and on a damaged one.
//! * Memory is bounded by one frame of a log or one block of an SST, whatever the files hold or claim. Results that list
//!   files or records are as long as what the manifest says.
//! * Damage is an [`Error`] that names file and offset, or a [`Tail`], never a panic.
//!
//! The data here is plain: it describes files, and nothing in the engine depends on it. The file system is a parameter, so
//! that a tool can wrap it (to count bytes, to forbid writing) and a test can take the simulator's.
//!
//! ```
//! # fn main() -> packstone::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let db = packstone::Db::open(dir.path())?;
//! # db.keyspace("users")?.put("alice", "1")?;
//! # db.close()?;
//! use packstone::env::Env;
//! use packstone::inspect::{self, FrameContent};
//! use std::ops::ControlFlow;
//!
//! let fs = Env::real(1).fs;
//! let manifest = inspect::read_current(&*fs, dir.path())?.expect("a database");
//! let state = inspect::load_state(&*fs, &manifest)?.state.expect("a whole manifest");
//! assert_eq!(state.keyspaces[0].name, "users");
//!
//! let log = dir.path().join("000002.log");
//! assert_eq!(inspect::identify(&*fs, &log)?, inspect::FileKind::Log);
//! let mut operations = 0;
//! let report = inspect::walk_log(&*fs, &log, &Default::default(), &mut |frame| {
//!     if let FrameContent::Batch(batch) = frame.content {
//!         operations += batch.count;
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(operations, 1);
//! assert!(report.sealed);
//! # Ok(())
//! # }
//! ```
//!
//! Callers: programs. This layer stands beside `api`, above the formats, and imports nothing of the engine but what the directory of objects
//! looks like.

#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::FileSystem;
use crate::names;
use crate::pack::{self, Pack};
use crate::record_log::{self, HeaderOutcome, LogKind};
use crate::sst::{self, Access, BlockCache, Sst, SstReadOptions};
use crate::{Error, Result};

mod log;
mod manifest;
mod objects;
mod resolve;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test")]
mod tests;

pub use crate::sst::describe::{EntrySink, FilterPiece, FilterTable, KeyLayout, SstBlock};
pub use log::{
    Batch, Frame, FrameContent, LogEnd, LogHeader, LogLimits, LogReport, LogSummary, Operation, Operations,
    Tail, read_logs, walk_log,
};
pub use manifest::{
    Change, KeyspaceSettings, KeyspaceState, ManifestFrame, ManifestReport, PackInfo, SstInfo, State,
    load_state, read_current, walk_manifest,
};

pub use objects::{DamagedObject, ObjectsReport, PackCheck, check_objects, check_pack};
pub use resolve::ObjectDirectory;

/// What a file is, by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileKind {
    /// An SST.
    Sst,
    /// A file of the write-ahead log.
    Log,
    /// A manifest.
    Manifest,
    /// `CURRENT`, which names the manifest in force.
    Current,
    /// A pack, or an archive: which of them it is [`open_pack`] tells.
    Pack,
    /// Nothing, or nothing but zeros: a file whose creation a crash interrupted, or `LOCK`.
    Empty,
    /// None of ours.
    Unknown,
}

/// What a name in a database's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileName {
    /// An SST and its number.
    Sst(u64),
    /// A log and its number.
    Log(u64),
    /// A manifest and its number.
    Manifest(u64),
    /// A pack and its number.
    Pack(u64),
    /// `CURRENT`.
    Current,
    /// `LOCK`.
    Lock,
}

impl FileName {
    /// Reads a name (without directories). Only the one spelling that the engine writes is accepted.
    ///
    /// ```
    /// use packstone::inspect::FileName;
    /// assert_eq!(FileName::parse("000012.sst"), Some(FileName::Sst(12)));
    /// assert_eq!(FileName::parse("12.sst"), None);
    /// ```
    pub fn parse(name: &str) -> Option<FileName> {
        match name {
            names::CURRENT => Some(FileName::Current),
            names::LOCK => Some(FileName::Lock),
            _ => names::parse(name).map(|kind| match kind {
                names::FileKind::Sst(number) => FileName::Sst(number),
                names::FileKind::Log(number) => FileName::Log(number),
                names::FileKind::Manifest(number) => FileName::Manifest(number),
                names::FileKind::Pack(number) => FileName::Pack(number),
            }),
        }
    }

    /// What a file of this name holds when it is whole.
    pub fn expected(self) -> FileKind {
        match self {
            FileName::Sst(_) => FileKind::Sst,
            FileName::Log(_) => FileKind::Log,
            FileName::Manifest(_) => FileKind::Manifest,
            FileName::Pack(_) => FileKind::Pack,
            FileName::Current => FileKind::Current,
            FileName::Lock => FileKind::Empty,
        }
    }
}

/// What the file at `path` is, by its first and last bytes; its name plays no part. A file whose first or last bytes are
/// damaged is recognised by what is left, where that is enough.
///
/// # Errors
/// The file can't be read.
pub fn identify(fs: &dyn FileSystem, path: &Path) -> Result<FileKind> {
    let file = fs.open(path).map_err(|e| Error::io("open", path, e))?;
    let len = file.len().map_err(|e| Error::io("read the length of", path, e))?;
    if len == 0 {
        return Ok(FileKind::Empty);
    }
    let read = |at: u64, most: u64| {
        let mut bytes = vec![0; most.min(len - at) as usize];
        file.read_exact_at(at, &mut bytes)
            .map(|()| bytes)
            .map_err(|e| Error::io("read", path, e))
    };
    let front = read(0, 16)?;
    let magics: [(&[u8], FileKind); 5] = [
        (sst::HEADER_MAGIC, FileKind::Sst),
        (pack::format::FILE_MAGIC, FileKind::Pack),
        (record_log::magic(LogKind::Wal), FileKind::Log),
        (record_log::magic(LogKind::Manifest), FileKind::Manifest),
        (b"packstone ", FileKind::Current),
    ];
    if let Some((_, kind)) = magics.iter().find(|(magic, _)| front.starts_with(magic)) {
        return Ok(*kind);
    }
    let footer_at = len.saturating_sub(sst::FOOTER_LEN as u64);
    if read(footer_at, sst::FOOTER_LEN as u64)?.starts_with(sst::FOOTER_MAGIC) {
        return Ok(FileKind::Sst);
    }
    let seal_at = len.saturating_sub(pack::format::FOOTER_LEN);
    if read(seal_at, pack::format::FOOTER_LEN)?.starts_with(pack::format::SEAL_MAGIC) {
        return Ok(FileKind::Pack);
    }
    for (log_kind, kind) in [
        (LogKind::Wal, FileKind::Log),
        (LogKind::Manifest, FileKind::Manifest),
    ] {
        match record_log::read_header(fs, path, log_kind) {
            Ok(HeaderOutcome::Unborn) if front.iter().all(|byte| *byte == 0) => return Ok(FileKind::Empty),
            // A damaged magic under a checksum that knows the right one. Zeros in its place could be anybody's.
            Ok(HeaderOutcome::Damaged(_)) if front.iter().take(8).any(|byte| *byte != 0) => return Ok(kind),
            Err(error @ Error::Io { .. }) => return Err(error),
            _ => {}
        }
    }
    Ok(FileKind::Unknown)
}

/// Opens an SST for looking into it: by read calls, without a cache.
///
/// # Errors
/// As [`Sst::open`]: header, footer and all sections are checked.
pub fn open_sst(fs: &dyn FileSystem, path: &Path) -> Result<Arc<Sst>> {
    let options = SstReadOptions {
        access: Access::Pread,
        cache: Arc::new(BlockCache::new(0)),
    };
    let file = fs.open(path).map_err(|e| Error::io("open", path, e))?;
    Sst::open(file, path, &options).map(Arc::new)
}

/// Opens a pack or an archive for looking into it, without a cache. [`Archive::from`](pack::Archive) shows it by its names.
///
/// # Errors
/// As [`Pack::open`].
pub fn open_pack(fs: &dyn FileSystem, path: &Path) -> Result<Pack> {
    Pack::open_in(fs, path, 0)
}

/// The path of the pack of that number in `dir`.
pub fn pack_path(dir: &Path, number: u64) -> PathBuf {
    names::pack(dir, number)
}

/// The path of the SST of that number in `dir`.
pub fn sst_path(dir: &Path, number: u64) -> PathBuf {
    names::sst(dir, number)
}
