//! [`SimFile`] and [`SimLock`]: an open file and a held lock of the simulated disk, as one boot of the machine knows them.
//!
//! Callers: the disk, which makes them; programs through the traits.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::disk::{Disk, State, call};
use super::fault::{Call, Effect, Op};
use super::names::FileNode;
use super::room::SimRoom;
use crate::env::{File, Lock, Mapping, WritableMapping};

/// The largest file, in bytes: keeps a wild offset from taking all memory.
pub(super) const MAX_FILE: u64 = 1 << 32;

/// An open file.
pub(super) struct SimFile {
    pub(super) disk: Arc<Disk>,
    pub(super) boot: u64,
    /// The name under which it was opened.
    pub(super) path: PathBuf,
    pub(super) node: Arc<FileNode>,
    pub(super) writable: bool,
}

impl SimFile {
    fn may_write(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// Does a write of which the first `n` bytes go through.
    fn put(&self, state: &mut State, offset: u64, data: &[u8], n: usize) -> usize {
        let len = self.node.inode.lock().len();
        let room = state
            .room(len, offset.saturating_add(n as u64))
            .saturating_sub(offset);
        let n = n.min(usize::try_from(room).unwrap_or(usize::MAX));
        self.node.inode.lock().write(offset, &data[..n]);
        state.faults.stats.note_written(&self.path, n);
        n
    }
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read_vectored_at(offset, &mut [io::IoSliceMut::new(buf)])
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let asked: usize = bufs.iter().map(|buf| buf.len()).sum();
        let mut guard = self.disk.lock();
        let state = &mut *guard;
        state
            .admit(self.boot, Op::Read, &self.path, offset, asked as u64)
            .map_err(|refusal| refusal.error)?;
        if state.forgets_removed && self.node.removed_in.load(Ordering::Relaxed) == self.boot + 1 {
            return Err(io::Error::other("stale handle: the file has been removed"));
        }
        let granted = state.faults.transfer(asked, &mut state.rng);
        let (inode, mut n) = (self.node.inode.lock(), 0);
        for buf in bufs {
            let room = buf.len().min(granted - n);
            n += inode.read(offset.saturating_add(n as u64), &mut buf[..room]);
        }
        drop(inode);
        state.faults.stats.note_read(&self.path, n);
        Ok(n)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let mut guard = self.disk.lock();
        let state = &mut *guard;
        let verdict = state.admit(self.boot, Op::Write, &self.path, offset, data.len() as u64);
        self.may_write()?;
        if offset.saturating_add(data.len() as u64) > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match verdict {
            Ok(()) => {
                let wanted = state.faults.transfer(data.len(), &mut state.rng);
                match self.put(state, offset, data, wanted) {
                    0 if wanted > 0 => Err(io::ErrorKind::StorageFull.into()),
                    n => Ok(n),
                }
            }
            Err(refusal) => {
                if refusal.effect == Effect::Partial {
                    let prefix = state.rng.below(data.len() as u64) as usize;
                    self.put(state, offset, data, prefix);
                }
                Err(refusal.error)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut guard = self.disk.lock();
        let state = &mut *guard;
        let verdict = state.admit(self.boot, Op::Sync, &self.path, 0, 0);
        let mut inode = self.node.inode.lock();
        match verdict {
            Ok(()) => {
                inode.sync();
                Ok(())
            }
            Err(refusal) => {
                if !refusal.power_off {
                    inode.fail_sync((refusal.effect == Effect::Partial).then_some(&mut state.rng));
                }
                Err(refusal.error)
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        let _state = self.disk.call(self.boot, Op::Len, &self.path)?;
        Ok(self.node.inode.lock().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let report = state.admit_whole(
            self.boot,
            Call {
                len,
                ..call(Op::SetLen, &self.path)
            },
        )?;
        self.may_write()?;
        let now = self.node.inode.lock().len();
        if len > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if state.room(now, len) < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.node.inode.lock().set_len(len);
        report
    }

    fn map(&self) -> io::Result<Mapping> {
        let _state = self.disk.call(self.boot, Op::Map, &self.path)?;
        Ok(Mapping::from(self.node.inode.lock().data().to_vec()))
    }

    fn map_writable(&self, most: u64) -> io::Result<Arc<dyn WritableMapping>> {
        let state = self.disk.call(self.boot, Op::Map, &self.path)?;
        self.may_write()?;
        if !state.keeps_room {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let node = Arc::clone(&self.node);
        Ok(Arc::new(SimRoom::new(
            &self.disk, self.boot, &self.path, node, most,
        )))
    }
}

/// A held lock.
pub(super) struct SimLock {
    pub(super) disk: Arc<Disk>,
    pub(super) boot: u64,
    pub(super) node: Arc<FileNode>,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.is_boot(self.boot) {
            state.unlock(self.node.id);
        }
    }
}
