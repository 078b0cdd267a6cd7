//! The seam between a log and the way its bytes reach the file.
//!
//! Writing is three steps, so that one trait fits both a buffer that is written by one call (here) and a mapped file that
//! several writers fill at once (`mapped`):
//! 1. `reserve` hands out the next run of bytes. One caller at a time.
//! 2. `copy` fills a reserved run, or a part of it. Several callers may copy at once, into runs of their own.
//! 3. `publish(upto)` makes everything below `upto` survive the death of the process. In order, one caller at a time, and
//!    only when all of it has been copied.
//!
//! After a failed `publish` the bytes between the last published offset and the end of the file are unknown; the medium
//! is not used for writing again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::File;
use crate::planted::{self, Bug};
use crate::sync::Mutex;
use crate::{Error, Result};

use super::{SYNC, Spare};

/// How the bytes of one log file reach it.
pub(crate) trait Medium: Send + Sync {
    /// Whether frames up to `upto` fit. If not, nothing has changed, and the file takes no more of them.
    fn has_room(&self, upto: u64) -> bool {
        let _ = upto;
        true
    }
    /// Hands out the next `len` bytes of the file and returns their offset.
    fn reserve(&self, len: u64) -> Result<u64>;
    /// Puts `front` and behind it `body` at `offset` within a reserved run.
    fn copy(&self, offset: u64, front: &[u8], body: &[u8]);
    /// Makes everything below `upto` survive the death of the process.
    fn publish(&self, upto: u64) -> Result<()>;
    /// Makes everything that was published before the call survive the loss of power.
    fn sync(&self) -> Result<()>;
    /// The log goes on in another file: no more room is needed in this one.
    fn retire(&self) {}
    /// The log ends at `end`, sealed: room behind it may be given back.
    fn finish(&self, end: u64) {
        let _ = end;
    }
    /// Bytes of room that are reserved in the file, used or not; 0 where none is.
    fn room(&self) -> u64 {
        0
    }
    /// The file with its room, if that can be `most` bytes, for another log. REQUIRES: this one is not needed any more. It may
    /// still be synced.
    fn spare(&self, most: u64) -> Option<Spare> {
        let _ = most;
        None
    }
}

/// A buffer keeps no more than this many bytes between groups: one huge batch should not stay allocated. Far above
/// an ordinary group of writes, which is some kilobytes.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// Plain writes: copies gather in a buffer, publication is one `write_at`.
pub(super) struct PlainMedium {
    file: Arc<dyn File>,
    path: PathBuf,
    pending: Mutex<Pending>,
}

struct Pending {
    /// Offset of the first byte that is not published: that of `bytes[0]`.
    start: u64,
    /// Offset behind the last reserved byte.
    reserved: u64,
    bytes: Vec<u8>,
}

impl PlainMedium {
    /// Writes to `file` from `end` on.
    pub(super) fn new(file: Arc<dyn File>, path: &Path, end: u64) -> Self {
        let pending = Mutex::new(Pending {
            start: end,
            reserved: end,
            bytes: Vec::new(),
        });
        PlainMedium {
            file,
            path: path.to_owned(),
            pending,
        }
    }
}

impl Pending {
    fn index(&self, offset: u64) -> usize {
        offset.saturating_sub(self.start) as usize
    }
}

impl Medium for PlainMedium {
    fn reserve(&self, len: u64) -> Result<u64> {
        let mut pending = self.pending.lock();
        let offset = pending.reserved;
        pending.reserved = offset.saturating_add(len);
        Ok(offset)
    }

    fn copy(&self, offset: u64, front: &[u8], body: &[u8]) {
        let mut pending = self.pending.lock();
        let mut at = pending.index(offset);
        for part in [front, body] {
            if at == pending.bytes.len() {
                pending.bytes.extend_from_slice(part); // the ordinary case: in order
            } else {
                let end = at.saturating_add(part.len());
                if pending.bytes.len() < end {
                    pending.bytes.resize(end, 0);
                }
                if let Some(room) = pending.bytes.get_mut(at..end) {
                    room.copy_from_slice(part);
                }
            }
            at = at.saturating_add(part.len());
        }
    }

    fn publish(&self, upto: u64) -> Result<()> {
        let mut pending = self.pending.lock();
        let len = pending.index(upto).min(pending.bytes.len());
        if planted::is(Bug::AcknowledgedTooEarly) && len < 64 {
            return Ok(());
        }
        let written = self
            .file
            .write_all_at(pending.start, pending.bytes.get(..len).unwrap_or_default());
        if let Err(error) = written {
            // Whole frames of a failed group must not come back if the process dies before a successor's header
            // bounds this file. Only an attempt: nothing relies on it.
            let _ = self.file.set_len(pending.start);
            pending.bytes = Vec::new();
            return Err(Error::io("write", &self.path, error));
        }
        pending.bytes.drain(..len);
        pending.bytes.shrink_to(KEPT_BUFFER_BYTES);
        pending.start = upto;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.file
            .sync()
            .map_err(|error| Error::io(SYNC, &self.path, error))
    }
}
