//! The write-ahead log: one for all keyspaces, a series of files `000007.log`, each a record log.
//!
//! ```text
//! 000007.log                 000008.log                        000010.log  (000009 failed to be created)
//! [header|data|data|marker]  [header: 7 ends at o|data|...]    [header: 8 ends at p|data ...
//!                        ^o
//! ```
//!
//! Invariants:
//! 1. Files form a chain: each header names its predecessor's number, identity, end and last sequence number. Numbers grow;
//!    a number whose file could not be created stays unused.
//! 2. Frames carry growing, disjoint runs of sequence numbers; gaps are allowed.
//! 3. `append` returning means: this group and all earlier ones are whole in the log, and survive the process.
//! 4. A sync covers all older files before the current one, and everything that was appended before it began; the
//!    marker that it appends names exactly that and no byte more. What the frames refer to (objects in packs) is made durable before.
//! 5. A file is never written again after a failed write to it, after a failed attempt to create its successor, or after
//!    recovery. The next frame goes into a new file whose header says where the good part of the old one ends.
//! 6. A failed sync is final: every later append and sync is refused with [`Error::Poisoned`](crate::Error::Poisoned).
//!
//! 7. Recovery relies on nothing behind the last place that is proven to have been synced: it writes those frames anew (`resume`).
//!
//! Callers: the engine's write path (`Wal`), and its open (`replay`, then `resume`).

#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use crate::SeqNo;
use crate::record_log::LogEnd;

mod chain;
mod ends;
mod log;
mod options;
mod payload;
mod pin;
mod replay;
mod resume;
mod spare;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test")]
mod tests;

pub(crate) use log::{BeforeSync, Frame, Wal};
pub(crate) use options::WalOptions;
pub(crate) use payload::{Op, Ops, Payload, PayloadBuilder};
pub(crate) use pin::{PinnedFile, PinnedLog};
pub(crate) use replay::{Hole, ReplayOptions, Replayed, replay, replay_checked, still_counts};
pub(crate) use resume::resume;

/// How writes reach the log's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "part of the public options")]
pub enum LogMedium {
    /// Files are reserved in advance, mapped and used again where the file system is known to keep its promise of space (Linux:
    /// ext4, XFS without reflink, tmpfs), so that a buffered write is a copy and no call to the system; [`LogMedium::Plain`]
    /// elsewhere, and while the disk is too full to reserve room.
    #[default]
    Auto,
    /// A write call for each group of writes; files are as long as what is in them. Choose it where a bad sector of the log must
    /// be an error and not kill the process, or where a few MiB of reserved room are too much.
    Plain,
}

/// A file with a greater number is a stranger's: one with an absurd number must not use up all that follow. The same as
/// for all files (`names`), with four billion numbers to spare.
const MAX_FOUND: u64 = crate::names::MAX_NUMBER - (1 << 32);

/// A place in the series of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPosition {
    /// The file's number.
    pub(crate) number: u64,
    /// The offset in it, in bytes.
    pub(crate) offset: u64,
}

/// A log file that is not written any more and may still be needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveLog {
    /// Its number, identity, good end and last sequence number.
    pub(crate) end: LogEnd,
    /// The last sequence number before it.
    pub(crate) before_seq: SeqNo,
    /// Its size on disk, bytes and reserved room behind the good end included.
    pub(crate) bytes: u64,
    /// Its path.
    pub(crate) path: PathBuf,
}

/// The name of the log file of that number: at least six digits.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:06}.log")
}

fn file_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(file_name(number))
}

/// The number in a log file's name; `None` for every other name, other spellings of a number included.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    (number <= MAX_FOUND && file_name(number) == name).then_some(number)
}
