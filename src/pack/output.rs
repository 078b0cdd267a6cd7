//! [`Output`]: the growing end of a pack.
//!
//! Bytes are gathered to [`GATHERED`] and written once, at increasing offsets, with two exceptions: a record that turns out not
//! to be wanted is taken back, and the header of a streamed record gets its length when that is known. Both concern the last
//! record only, before anything refers to it.
//!
//! Callers: `segment`, `section`, `sort`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::File;
use crate::{Error, Result};

/// Writes are gathered up to this many bytes.
pub(super) const GATHERED: usize = 1 << 20;

/// A file that is being written.
pub(super) struct Output {
    file: Arc<dyn File>,
    path: PathBuf,
    /// Bytes that are not yet written, and where they go.
    pending: Vec<u8>,
    at: u64,
    /// A write has failed: what the file holds is unknown.
    failed: bool,
}

impl Output {
    /// Goes on at the end of a file, which is `len` bytes long.
    pub(super) fn new(file: Arc<dyn File>, path: &Path, len: u64) -> Self {
        Output {
            file,
            path: path.to_owned(),
            pending: Vec::new(),
            at: len,
            failed: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.at + self.pending.len() as u64
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.pending.len() + bytes.len() > GATHERED {
            self.write_out()?;
        }
        if bytes.len() >= GATHERED {
            return self.write(bytes);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Replaces bytes that have been pushed. REQUIRES: they lie wholly before or wholly behind what has been written out.
    pub(super) fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check()?;
        match offset.checked_sub(self.at) {
            None => self.call("write", |file| file.write_all_at(offset, bytes)),
            Some(from) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                match self.pending.get_mut(from..from.saturating_add(bytes.len())) {
                    Some(place) => place.copy_from_slice(bytes),
                    None => return Err(self.misuse("a patch behind the end")),
                }
                Ok(())
            }
        }
    }

    /// Takes back everything from `offset` on, and gives its room back.
    pub(super) fn rewind(&mut self, offset: u64) -> Result<()> {
        match offset.checked_sub(self.at) {
            Some(kept) => {
                self.pending.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                Ok(())
            }
            None => {
                self.pending.clear();
                self.at = offset;
                // Also after a failed write: it may have written a part. What has been cut off is known again.
                let cut = self.file.set_len(offset);
                self.failed = cut.is_err();
                cut.map_err(|e| Error::io("cut", &self.path, e))
            }
        }
    }

    /// Cuts off everything from `offset` on, durably. REQUIRES: the caller takes it back to before `offset` next, or gives up.
    pub(super) fn withdraw(&mut self, offset: u64) -> Result<()> {
        self.pending.clear();
        self.at = offset;
        self.call("cut", |file| file.set_len(offset))?;
        self.failed = false;
        self.call("sync", |file| file.sync())
    }

    /// Writes what has been gathered.
    pub(super) fn write_out(&mut self) -> Result<()> {
        self.check()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        let written = self.write(&pending);
        pending.clear();
        self.pending = pending; // the buffer is used again
        written
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.check()?;
        let at = self.at;
        self.call("write", |file| file.write_all_at(at, bytes))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Steps over bytes that somebody else has written behind the end. REQUIRES: nothing is gathered.
    pub(super) fn step_over(&mut self, len: u64) {
        debug_assert!(self.pending.is_empty());
        self.at += len;
    }

    /// Writes what has been gathered, and makes all of it durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.write_out()?;
        self.call("sync", |file| file.sync())
    }

    fn call(
        &mut self,
        operation: &'static str,
        call: impl FnOnce(&dyn File) -> io::Result<()>,
    ) -> Result<()> {
        let result = call(&*self.file);
        self.failed |= result.is_err();
        result.map_err(|e| Error::io(operation, &self.path, e))
    }

    fn check(&self) -> Result<()> {
        match self.failed {
            false => Ok(()),
            true => Err(self.misuse("an earlier write of this file has failed")),
        }
    }

    fn misuse(&self, what: &'static str) -> Error {
        Error::io("write", &self.path, io::Error::other(what))
    }
}
