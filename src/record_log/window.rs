//! [`Window`]: a sliding buffer over a log file. It holds [`CHUNK`] bytes, or one frame where that is longer.
//!
//! Callers: `reader`, `resync`.

use std::path::Path;
use std::sync::Arc;

use crate::env::{File, FileSystem};
use crate::{Error, Result};

use super::format::{Decoded, decode_header};
use super::{HEADER_LEN, HeaderOutcome, LogKind};

/// Bytes read by one call. Large enough that the call costs little beside the checksums of what it brings.
const CHUNK: usize = 256 << 10;

/// Bytes that are given up together where the medium can't deliver them: a sector of today's disks.
const UNREADABLE: usize = 4 << 10;

/// A sliding buffer over a file.
pub(super) struct Window<'p> {
    pub(super) file: Arc<dyn File>,
    pub(super) path: &'p Path,
    pub(super) len: u64,
    /// Zeros, which never validate, stand for what can't be read.
    pub(super) tolerant: bool,
    start: u64,
    bytes: Vec<u8>,
}

impl<'p> Window<'p> {
    pub(super) fn open(fs: &dyn FileSystem, path: &'p Path) -> Result<Window<'p>> {
        let file = fs.open(path).map_err(|error| Error::io("open", path, error))?;
        let len = file
            .len()
            .map_err(|error| Error::io("read the length of", path, error))?;
        Ok(Window {
            file,
            path,
            len,
            tolerant: false,
            start: 0,
            bytes: Vec::new(),
        })
    }

    /// At least `need` bytes from `at` on, more if they are there at no cost. REQUIRES: `at + need <= limit <= len`.
    pub(super) fn chunk(&mut self, at: u64, need: usize, limit: u64) -> Result<&[u8]> {
        let held_to = self.start + self.bytes.len() as u64;
        if at < self.start || at + need as u64 > held_to {
            let size = (need.max(CHUNK) as u64).min(limit.saturating_sub(at)) as usize;
            self.bytes.clear();
            self.bytes.shrink_to(CHUNK);
            self.bytes.resize(size, 0);
            self.start = at;
            match self.file.read_exact_at(at, &mut self.bytes) {
                Ok(()) => {}
                Err(_) if self.tolerant => self.read_what_can_be_read(),
                Err(error) => {
                    self.bytes.clear();
                    return Err(Error::io("read", self.path, error));
                }
            }
        }
        let from = (at - self.start) as usize;
        let to = self.bytes.len().min(limit.saturating_sub(self.start) as usize);
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    /// The next chunk is read anew.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
    }

    fn read_what_can_be_read(&mut self) {
        let mut at = self.start;
        for part in self.bytes.chunks_mut(UNREADABLE) {
            if self.file.read_exact_at(at, part).is_err() {
                part.fill(0);
            }
            at += part.len() as u64;
        }
    }

    pub(super) fn header(&mut self, kind: LogKind) -> Result<HeaderOutcome> {
        let (path, len) = (self.path, self.len);
        let size = len.min(HEADER_LEN);
        let front = self.chunk(0, size as usize, size)?;
        let what = match decode_header(path, kind, front)? {
            Decoded::Header(header) => return Ok(HeaderOutcome::Whole(header)),
            Decoded::Damaged(what) => what,
            Decoded::Foreign => {
                let what = format!("expected a {kind:?} log's header, found something else");
                return Ok(HeaderOutcome::Foreign(Error::corruption(path, 0, what)));
            }
        };
        let mut at = size;
        while at < len {
            let chunk = self.chunk(at, 1, len)?;
            if chunk.iter().any(|byte| *byte != 0) {
                let what = format!("{what}, and frames follow it");
                return Ok(HeaderOutcome::Damaged(Error::corruption(path, 0, what)));
            }
            at += chunk.len() as u64;
        }
        Ok(HeaderOutcome::Unborn)
    }
}
