//! The outside world, as four small traits: files, background jobs, time and randomness.
//!
//! The engine touches nothing else (clippy's `disallowed-methods` enforces it; only the real implementations in this
//! directory are exempt). [`Env::real`] is the machine; [`sim::SimEnv`] is a deterministic machine in memory, with a
//! disk that loses what was not synced, fails on demand and runs background jobs in an order drawn from a seed.
//!
//! Callers: every layer. This module imports nothing of the engine.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

mod mapping;
mod memory;
mod real;
mod room;
pub mod sim;
mod threads;

pub use mapping::Mapping;

/// The four parts of the outside world that an engine is built on.
#[derive(Clone)]
pub struct Env {
    /// Files and directories.
    pub fs: Arc<dyn FileSystem>,
    /// Background work, and waiting for it.
    pub scheduler: Arc<dyn Scheduler>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness: identities of files.
    pub entropy: Arc<dyn Entropy>,
    /// Bytes of memory that the machine has, or the container that the process runs in allows: the default of
    /// [`Options::memory_limit`](crate::Options::memory_limit) follows from it.
    pub memory: u64,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

/// A file system, as far as the engine needs one.
///
/// Names that `create`, `rename`, `hard_link` and `remove` make or unmake are durable only after [`FileSystem::sync_dir`] of the
/// directory; contents only after [`File::sync`]. Neither implies the other.
pub trait FileSystem: Send + Sync {
    /// Creates a file that must not exist yet, and opens it for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file that exists for reading and writing: packs go on where they ended.
    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Removes a file. Handles and mappings that are open stay good.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing the target: after a crash a reader finds the old or the new one, never neither.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, which must not exist yet: a hard link. Each name is removed, and durable, on its own. Where
    /// that is impossible it fails with one of the kinds that [`is_unlinkable`] knows, and nothing has been done.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Creates a directory and its parents; existing ones are fine. All new names are durable when it returns. One that
    /// can't be made durable is removed again.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The entries of a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the directory's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock that `path` stands for (the file is created if needed), held until the value is
    /// dropped or the process dies; `WouldBlock` when somebody else has it, in this process or another.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

/// Whether a failed [`FileSystem::hard_link`] says that the file can't have that other name at all, so that it has to be copied:
/// the name lies in another file system, this one has no links, the file has as many as it may have, or the kernel lets only
/// its owner make them.
pub fn is_unlinkable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::Unsupported
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied
    )
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without the directory. Names that are not UTF-8 are left out of listings: they can't be ours.
    pub name: String,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// A held lock: dropping it lets go.
pub trait Lock: Send + Sync {}

/// An open file. All methods take `&self` and may be called from several threads.
#[allow(clippy::len_without_is_empty)] // a call that may fail, not a container's length
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; 0 means the end of the file. May read less than asked.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Reads into these buffers, one behind the other, as [`Self::read_at`] reads into one. The default reads into the first that has
    /// room.
    fn read_vectored_at(&self, offset: u64, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        match bufs.iter_mut().find(|buf| !buf.is_empty()) {
            Some(buf) => self.read_at(offset, buf),
            None => Ok(0),
        }
    }
    /// Writes up to `data.len()` bytes at `offset`, growing the file where needed. May write less than asked.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize>;
    /// Writes these buffers, one behind the other, as [`Self::write_at`] writes one. The default writes the first that is not empty.
    fn write_vectored_at(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match bufs.iter().find(|buf| !buf.is_empty()) {
            Some(buf) => self.write_at(offset, buf),
            None => Ok(0),
        }
    }
    /// Makes contents and length durable (fdatasync; F_FULLFSYNC on macOS).
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts the file to `len` bytes, or grows it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Maps the file, which must not change from here on, for reading.
    fn map(&self) -> io::Result<Mapping>;
    /// Maps the first `most` bytes of a file that [`FileSystem::create`] gave, however long it is yet, for stores into room
    /// that is reserved in it; none is at first. `Unsupported` where a store could fail for want of room: on file systems that
    /// are not known to keep the promise, and on other platforms. The default.
    fn map_writable(&self, most: u64) -> io::Result<Arc<dyn WritableMapping>> {
        let _ = most;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Room at the front of a file, and stores into it: writes without a call to the system. What was stored is read by
/// [`File::read_at`] at once, survives the death of the process, and is made durable by [`File::sync`] of the file.
///
/// The room is there for sure: a store neither fails nor waits for want of it. The file must not be cut below what is stored
/// afterwards. A page that the medium can't deliver kills the process; whoever can't live with that writes.
pub trait WritableMapping: Send + Sync {
    /// Makes room for the first `len` bytes of the file, which grows where it is shorter. What is new reads as zeros. May be
    /// called beside stores. After an error the room is what it was, and the file may be longer.
    fn reserve(&self, len: u64) -> io::Result<()>;
    /// How many bytes from the front there is room for.
    fn reserved(&self) -> u64;
    /// Brings the pages of these bytes into memory, ready to be stored to. Only advice: without it the first store to each
    /// page takes longer. May be called beside stores.
    fn populate(&self, from: u64, to: u64);
    /// Puts `parts`, one behind the other, at `offset`. REQUIRES: all of it lies in the reserved room. Fails on a simulated
    /// machine whose power is off, and where the requirement is not kept; never otherwise.
    fn store(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()>;
}

impl dyn File + '_ {
    /// Reads exactly `buf.len()` bytes; `UnexpectedEof` when the file ends before.
    pub fn read_exact_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(offset, buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = buf.get_mut(n..).unwrap_or_default();
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Fills all of these buffers, one behind the other; `UnexpectedEof` when the file ends before.
    pub fn read_exact_vectored_at(
        &self,
        mut offset: u64,
        mut bufs: &mut [io::IoSliceMut<'_>],
    ) -> io::Result<()> {
        let mut left: usize = bufs.iter().map(|buf| buf.len()).sum();
        while left > 0 {
            match self.read_vectored_at(offset, bufs) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    let n = n.min(left);
                    io::IoSliceMut::advance_slices(&mut bufs, n);
                    offset += n as u64;
                    left -= n;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of these buffers, one behind the other.
    pub fn write_all_vectored_at(&self, mut offset: u64, mut bufs: &mut [io::IoSlice<'_>]) -> io::Result<()> {
        let mut left: usize = bufs.iter().map(|buf| buf.len()).sum();
        while left > 0 {
            match self.write_vectored_at(offset, bufs) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    let n = n.min(left);
                    io::IoSlice::advance_slices(&mut bufs, n);
                    offset += n as u64;
                    left -= n;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of `data`.
    pub fn write_all_at(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            match self.write_at(offset, data) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    data = data.get(n..).unwrap_or_default();
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// How urgent a background job is. More urgent jobs start first; running ones are not interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Writers may be waiting for it: flushes, log syncs.
    High,
    /// Compactions and removal of files.
    Low,
}

/// A piece of background work. It runs once, on any thread, with no lock held.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs background jobs and lets callers wait for what they do.
pub trait Scheduler: Send + Sync {
    /// Queues a job.
    fn spawn(&self, priority: Priority, job: Job);
    /// Queues a job that becomes due after `delay`.
    fn spawn_after(&self, delay: Duration, priority: Priority, job: Job);
    /// Returns once `ready` says true. `event` is notified whenever the answer may have changed. The caller holds no
    /// lock that a job or `ready` may want. In the simulator this is where background jobs run.
    fn wait(&self, event: &Event, ready: &mut dyn FnMut() -> bool);
    /// A place in a long job where others may run, called with no lock held. Threads run side by side anyhow, so there it does
    /// nothing, but that a single thread runs what is urgent; the simulator runs another job here now and then, so that jobs interleave.
    fn breathe(&self) {}
    /// Goes on with the rest of a job: at once on a thread pool. The simulator may queue it, so that whatever may happen beside the job
    /// does, calls of the program included.
    fn go_on(&self, _priority: Priority, rest: Job) {
        rest();
    }
}

/// Something that happens again and again, and that can be waited for through [`Scheduler::wait`].
#[derive(Debug, Default)]
pub struct Event {
    generation: Mutex<u64>,
    changed: Condvar,
}

impl Event {
    /// Tells all waiters to look again.
    pub fn notify(&self) {
        *self.generation.lock() += 1;
        self.changed.notify_all();
    }

    /// How often it has happened.
    pub fn generation(&self) -> u64 {
        *self.generation.lock()
    }

    /// Blocks the thread until it has happened more often than `generation`.
    pub fn wait_past(&self, generation: u64) {
        let mut guard = self.generation.lock();
        while *guard <= generation {
            self.changed.wait(&mut guard);
        }
    }
}

/// Time that only moves forward.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
    /// Blocks the thread (or, in the simulator, moves time on).
    fn sleep(&self, duration: Duration);
}

/// Random bytes.
pub trait Entropy: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buf: &mut [u8]) -> io::Result<()>;
}

impl dyn Entropy + '_ {
    /// A random identity for a file.
    pub fn identity(&self) -> io::Result<[u8; 16]> {
        let mut identity = [0; 16];
        self.fill(&mut identity)?;
        Ok(identity)
    }
}

impl Deref for Mapping {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

#[cfg(all(test, packstone_shuttle))]
impl Env {
    /// The simulated disk, clock and randomness, and the real thread pool on a model checker's threads.
    pub(crate) fn modelled(sim: &sim::SimEnv, threads: usize) -> Env {
        Env {
            scheduler: Arc::new(threads::ThreadPool::new(threads)),
            ..sim.env()
        }
    }
}
