//! Record logs: the common form of the write-ahead log's files and of the manifest.
//!
//! A record log is a header and then frames, back to back, never changed once written. Integers are little endian.
//!
//! ```text
//! file   := header frame* rest       rest: nothing; with reserved room nine zeros (fewer at the file's end), then anything
//!
//! header (96 bytes)                                  frame
//!   0  magic "PKSTWAL\0" or "PKSTMAN\0"  8             0  length of the payload   u32
//!   8  format version                    u32           4  checksum                u32
//!  12  feature bits: 1 reserved room    u32           8  kind: 1 data, 2 marker, 3 seal  u8
//!  16  number of the file                u64           9  payload
//!  24  identity, random                  16
//!  40  predecessor's number              u64         payload of a marker or seal (16 bytes)
//!  48  predecessor's identity            16            0  number of a log         u64
//!  64  predecessor's end, a file offset  u64           8  offset in that log      u64
//!  72  predecessor's last number         u64
//!  80  1 if there is a predecessor       u32
//!  84  zero                              8
//!  92  CRC-32 of bytes 0 to 91           u32
//! ```
//!
//! A frame's checksum is the CRC-32 of: the file's identity, the frame's own offset (u64), length, kind, payload.
//!
//! A file with reserved room is longer than its log, until it is closed. Behind the last frame stand nine zeros, written by the
//! same store: no frame begins like that, so the end is told from a torn frame. Behind them lies what was there before: zeros in a
//! new file, remains of another log in one that is used again.
//!
//! Invariants:
//! 1. The header and the file's name are durable before the first frame is written, and before anything refers to
//!    the file. A file whose header is not whole therefore holds nothing, or is damaged.
//! 2. Remains of another file, a frame at another offset, and zeros never validate: identity and offset are part of the
//!    checksum, and no kind is zero.
//! 3. A marker (n, o) was written after everything in log n below offset o, and all older logs, had been synced. So a bad
//!    frame below a marker's offset is damage to synced data; behind the last marker it looks like a torn tail, and a
//!    flipped bit there cannot be told apart from one.
//! 4. A seal is a marker at the very end, synced itself. A sealed file has no torn tail; what follows the seal in reserved
//!    room means nothing.
//! 5. After a failed write a file is never appended to again. Where its good part ends is said by its successor's header.
//!
//! Callers: `wal` and the manifest. This module knows nothing of what payloads mean.

#![deny(clippy::indexing_slicing)]

use std::path::Path;

use crate::env::FileSystem;
use crate::{Error, Result, SeqNo};

mod format;
mod mapped;
mod medium;
mod reader;
mod resync;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test")]
mod tests;
mod window;
mod writer;

pub(crate) use format::{FRAME_HEADER_LEN, HEADER_LEN, MARKER_LEN, SYNC, is_sync_failure, magic};
pub(crate) use mapped::{Layout, Spare};
pub(crate) use medium::Medium;
pub(crate) use reader::{has_frame_at, has_frames, read, read_header, walk};
pub(crate) use writer::LogWriter;

/// What a record log is for: it decides the magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKind {
    /// A file of the write-ahead log.
    Wal,
    /// A manifest.
    Manifest,
}

/// Where a log ends: what its successor's header, and the manifest, say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// The log's number.
    pub(crate) number: u64,
    /// Its identity.
    pub(crate) identity: [u8; 16],
    /// The offset behind its last good frame.
    pub(crate) offset: u64,
    /// The last sequence number in it, or before it if it holds none.
    pub(crate) last_seq: SeqNo,
}

/// What a log says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// What the log is for.
    pub(crate) kind: LogKind,
    /// Its number, which its name repeats.
    pub(crate) number: u64,
    /// Random bytes, drawn afresh for every file.
    pub(crate) identity: [u8; 16],
    /// The log that this one continues, and where that one ends.
    pub(crate) predecessor: Option<LogEnd>,
    /// Whether the file has reserved room behind its end. The writer decides.
    pub(crate) reserved: bool,
}

/// What the first bytes of a file turned out to be.
#[derive(Clone, Debug)]
pub(crate) enum HeaderOutcome {
    /// A good header.
    Whole(Header),
    /// Empty, or no good header and nothing but zeros behind it: a crash while the file was being created. By
    /// invariant 1 it holds nothing.
    Unborn,
    /// Not a record log of this kind: another program's file, or a first sector that is gone altogether. The error
    /// says so, for the caller that needs the file.
    Foreign(Error),
    /// A record log whose header is damaged although frames follow it, so it had been synced. The error says so.
    Damaged(Error),
}

impl HeaderOutcome {
    /// The header, or the error that says why there is none.
    pub(crate) fn into_header(self, path: &Path) -> Result<Header> {
        match self {
            HeaderOutcome::Whole(header) => Ok(header),
            HeaderOutcome::Unborn => Err(Error::corruption(path, 0, "expected a log header, found none")),
            HeaderOutcome::Foreign(error) | HeaderOutcome::Damaged(error) => Err(error),
        }
    }
}

/// What recovery does with bytes at the end of a log that are not whole frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "part of the public options")]
pub enum RecoveryMode {
    /// A torn tail, which a crash leaves in the ordinary course of things, is cut and reported. Damage in data that is
    /// known to have been synced is an error. The default.
    #[default]
    TornTail,
    /// A torn tail is an error too. For data that was closed in order, or always synced.
    Absolute,
    /// Recovery stops at the first damage, drops everything behind it, and reports what it dropped. For when the
    /// alternative is a backup.
    PointInTime,
    /// Damaged parts and missing files of the log are skipped, each is reported, and what follows them is replayed. A batch is
    /// still found whole or not at all; what is lost is the order: a later write may be there and an earlier one not, so a key
    /// can show an older value, or one that had been deleted, and batches that belong together may be there in part. What was
    /// found is written to a new log, and the damaged files are deleted: copy the directory first. In packs that were not
    /// sealed, whole values behind damage are kept, and what is damaged is overwritten. The last resort; the
    /// tool `packstone-repair` does the same into a new directory.
    Salvage,
}

/// How far to read, and what to make of a bad place.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOptions {
    /// A recorded end: never read past it. It was recorded after a sync, so falling short of it is damage.
    pub(crate) stop_at: Option<u64>,
    /// The end that the successor's header names: never read past it. Beginning a new log does not sync the old
    /// one, so falling short of it is judged like a torn tail.
    pub(crate) successor_end: Option<u64>,
    /// Everything below this offset is known to have been synced (from a later log): a bad place there is damage.
    pub(crate) synced_to: u64,
    /// What to do at a bad place.
    pub(crate) mode: RecoveryMode,
    /// The header, where the file's own is damaged and others say what stood in it.
    pub(crate) header: Option<Header>,
}

/// A part of a file that [`RecoveryMode::Salvage`] stepped over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Its first byte.
    pub(crate) from: u64,
    /// The byte behind its last.
    pub(crate) to: u64,
    /// What was wrong at `from`.
    pub(crate) what: String,
}

/// What a walk through a log comes upon, in the order of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// The header.
    Header(&'a Header),
    /// A data frame.
    Data {
        /// Where the frame begins.
        offset: u64,
        /// What it carries.
        payload: &'a [u8],
    },
    /// A marker or seal.
    Marker {
        /// Where the frame begins.
        offset: u64,
        /// The log's number and the offset that it names.
        place: (u64, u64),
        /// Whether it is a seal.
        seal: bool,
    },
    /// Bytes that were stepped over ([`RecoveryMode::Salvage`] only).
    Skipped(&'a Skipped),
}

/// What reading a log gave, apart from its payloads.
#[derive(Clone, Debug)]
pub(crate) struct ReadOutcome {
    /// The header.
    pub(crate) header: Header,
    /// The offset behind the last good frame.
    pub(crate) end: u64,
    /// Whether the last good frame is a seal.
    pub(crate) sealed: bool,
    /// How many bytes behind `end` are not whole frames (up to the file's end, or to where reading had to stop; in reserved
    /// room up to the last byte that is not zero, remains of an older log included).
    pub(crate) torn_bytes: u64,
    /// What is wrong with the bytes at `end`, where something is.
    pub(crate) torn: Option<String>,
    /// The highest (number, offset) that a marker or seal names, those behind a bad place included.
    pub(crate) markers: Option<(u64, u64)>,
    /// The damage at `end` that [`RecoveryMode::PointInTime`] and [`RecoveryMode::Salvage`] report instead of failing.
    pub(crate) damage: Option<Error>,
}

/// Removes a file that was made just now and is not referred to; what can't be removed is an unborn leftover.
fn discard(fs: &dyn FileSystem, path: &Path) {
    let _ = fs.remove(path);
}
