//! [`SimRoom`]: reserved room of a simulated file. A store is like a write whose bytes take no new room and that nothing but the
//! power can keep from succeeding: every sector that it touches may hold any of its states after a crash. A store where
//! there is no room kills the process, as SIGBUS does: it panics.
//!
//! Callers: the disk makes them; the engine stores through the trait.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::{Disk, call};
use super::fault::{Call, Effect, Op, Refusal};
use super::file::MAX_FILE;
use super::names::FileNode;
use crate::env::WritableMapping;

/// Reserved room of a file, for stores.
pub(super) struct SimRoom {
    disk: Arc<Disk>,
    boot: u64,
    path: PathBuf,
    node: Arc<FileNode>,
    most: u64,
    reserved: AtomicU64,
}

impl SimRoom {
    /// None yet, in the first `most` bytes of the file.
    pub(super) fn new(disk: &Arc<Disk>, boot: u64, path: &Path, node: Arc<FileNode>, most: u64) -> Self {
        SimRoom {
            disk: Arc::clone(disk),
            boot,
            path: path.to_owned(),
            node,
            most,
            reserved: AtomicU64::new(0),
        }
    }
}

impl WritableMapping for SimRoom {
    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let wanted = Call {
            len,
            ..call(Op::Reserve, &self.path)
        };
        let report = state.admit_whole(self.boot, wanted)?;
        if len > self.most || len > MAX_FILE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let now = self.node.inode.lock().len();
        if now < len {
            if state.room(now, len) < len {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.node.inode.lock().set_len(len);
        }
        report?;
        self.reserved.fetch_max(len, Ordering::Relaxed);
        Ok(())
    }

    fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    fn populate(&self, _from: u64, _to: u64) {}

    #[allow(clippy::panic, reason = "the machine would kill the process")]
    fn store(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        let mut state = self.disk.lock();
        let stored = Call {
            offset,
            len: bytes.len() as u64,
            ..call(Op::Store, &self.path)
        };
        let verdict = state.admit_call(self.boot, stored);
        let (n, result) = match verdict {
            Ok(()) => (bytes.len(), Ok(())),
            Err(Refusal {
                error,
                effect: Effect::Partial,
                ..
            }) => (state.rng.below(bytes.len() as u64) as usize, Err(error)),
            Err(refusal) => return Err(refusal.error),
        };
        let mut inode = self.node.inode.lock();
        if offset.saturating_add(bytes.len() as u64) > self.reserved().min(inode.len()) {
            panic!("SIGBUS: a store beyond the room of {}", self.path.display());
        }
        inode.write(offset, bytes.get(..n).unwrap_or_default());
        state.faults.stats.note_written(&self.path, n);
        result
    }
}
