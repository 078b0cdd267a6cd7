//! The machine: files through the operating system, a monotonic clock, the system's random numbers.
//!
//! Every handle is independent and nothing is buffered, so all methods may be called from any thread. Errors are the
//! operating system's own, but for names that lead to something that is no file: that is refused here, at once, because
//! opening a pipe would wait for somebody at its other end.
//!
//! Callers: [`Env::real`] only; everybody else sees the traits.
#![allow(clippy::disallowed_methods)] // this module is what the methods are disallowed in favour of

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[cfg(target_os = "linux")]
use super::WritableMapping;
use super::threads::ThreadPool;
use super::{Clock, DirEntry, Entropy, Env, File, FileSystem, Lock, Mapping};

impl Env {
    /// The machine that the program runs on, with up to `background_threads` threads (at least one) for background
    /// work. They start when the first job comes, and stop when the last clone of this value is dropped.
    pub fn real(background_threads: usize) -> Env {
        Env {
            fs: Arc::new(RealFs::default()),
            scheduler: Arc::new(ThreadPool::new(background_threads)),
            clock: Arc::new(RealClock {
                start: Instant::now(),
            }),
            entropy: Arc::new(RealEntropy),
            memory: super::memory::available(),
        }
    }
}

/// The operating system's file system.
#[derive(Default)]
struct RealFs {
    /// The directory that was synced last, open. A sync of a directory that fails is final for the database, so it must not
    /// fail for want of a file descriptor at that moment, when nothing has been lost yet.
    last_dir: Mutex<Option<(PathBuf, Arc<fs::File>)>>,
}

impl FileSystem for RealFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(Arc::new(RealFile(Arc::new(file))))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        open_existing(path, fs::OpenOptions::new().read(true))
    }

    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        open_existing(path, fs::OpenOptions::new().read(true).write(true))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut existing = path;
        while !is_dir(existing)? {
            missing.push(existing);
            let parent = parent_of(existing);
            if parent == existing {
                return Err(io::ErrorKind::NotFound.into()); // an empty path, a drive that is not there
            }
            existing = parent;
        }
        // An earlier attempt may have died between making the last directory that exists and syncing its parent; those
        // above were synced before something was made in them. A parent that we may not read was not made by us.
        match sync_parent(existing) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
        for dir in missing.into_iter().rev() {
            let ours = match fs::create_dir(dir) {
                // Somebody else was faster; the name must be durable all the same.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_dir(dir)? => false,
                result => result.map(|()| true)?,
            };
            if let Err(e) = sync_parent(dir) {
                if ours {
                    // A later sync would report success for this name and do nothing for it: the next attempt has to
                    // make it anew.
                    let _ = fs::remove_dir(dir);
                }
                return Err(e);
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match entry.file_type() {
                Ok(kind) => entries.push(DirEntry {
                    name,
                    is_file: kind.is_file(),
                }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {} // removed while we were listing
                Err(e) => return Err(e),
            }
        }
        entries.sort();
        Ok(entries)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let dir = {
            let mut last = self.last_dir.lock();
            match &*last {
                Some((known, dir)) if known == path && is_at(dir, path)? => dir.clone(),
                _ => {
                    let dir = Arc::new(open_dir(path)?);
                    *last = Some((path.to_owned(), dir.clone()));
                    dir
                }
            }
        };
        dir.sync_all()
    }

    /// Windows has no call that syncs a directory; NTFS journals changes of names in order.
    #[cfg(not(unix))]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if is_dir(path)? {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        Ok(Box::new(RealLock(open_locked(path)?)))
    }
}

fn open_existing(path: &Path, options: &mut fs::OpenOptions) -> io::Result<Arc<dyn File>> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Means nothing for files; a pipe opens at once instead of waiting for a writer, and is refused below.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    }
    let file = options.open(path)?;
    refuse_what_is_no_file(&file)?;
    Ok(Arc::new(RealFile(Arc::new(file))))
}

/// Opens a directory for syncing it.
#[cfg(unix)]
fn open_dir(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::DIRECTORY.bits() as i32;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Whether the open directory is the one at `path` now: somebody may have put another one in its place.
#[cfg(unix)]
fn is_at(dir: &fs::File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (open, there) = (dir.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}

/// Syncs the directory that holds `path`'s name.
#[cfg(unix)]
fn sync_parent(path: &Path) -> io::Result<()> {
    open_dir(parent_of(path))?.sync_all()
}

/// Windows has no such call; see `sync_dir`.
#[cfg(not(unix))]
fn sync_parent(path: &Path) -> io::Result<()> {
    is_dir(parent_of(path)).map(drop)
}

/// Pipes, sockets, devices and directories are none of ours, whatever their names.
fn refuse_what_is_no_file(file: &fs::File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let what = "it is a pipe, a socket or a device, and not a file; put it back, from a backup if need be";
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// Whether `path` is a directory (through symbolic links); false when there is nothing, an error when there is
/// something else.
fn is_dir(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// The directory that holds `path`'s name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path, // the root holds itself
    }
}

/// The lock is on the open file description, not on the process: a second open in this process conflicts as well.
#[cfg(unix)]
fn open_locked(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    refuse_what_is_no_file(&file)?;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A file that is open without sharing can't be opened a second time, by whomever.
#[cfg(windows)]
fn open_locked(path: &Path) -> io::Result<fs::File> {
    use std::os::windows::fs::OpenOptionsExt;
    const ERROR_SHARING_VIOLATION: i32 = 32;
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .share_mode(0);
    options.open(path).map_err(|e| match e.raw_os_error() {
        Some(ERROR_SHARING_VIOLATION) => io::ErrorKind::WouldBlock.into(),
        _ => e,
    })
}

/// A locked file; dropping it lets go of the lock.
struct RealLock(#[cfg_attr(windows, allow(dead_code))] fs::File);

impl Lock for RealLock {}

#[cfg(unix)]
impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing alone would not do: a child process that another thread is starting has the description open too until it calls
        // exec, and the lock would stay held for as long. If this fails, closing does what it can.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

/// An open file.
struct RealFile(Arc<fs::File>);

impl File for RealFile {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&*self.0, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&*self.0, buf, offset)
    }

    #[cfg(target_os = "linux")]
    fn read_vectored_at(&self, offset: u64, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(rustix::io::preadv(&*self.0, bufs, offset)?)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&*self.0, data, offset)
    }

    #[cfg(target_os = "linux")]
    fn write_vectored_at(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&*self.0, bufs, offset)?)
    }

    #[cfg(windows)]
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&*self.0, data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data() // fdatasync, which covers the length; F_FULLFSYNC on macOS
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn map(&self) -> io::Result<Mapping> {
        Mapping::of_file(&self.0)
    }

    #[cfg(target_os = "linux")]
    fn map_writable(&self, most: u64) -> io::Result<Arc<dyn WritableMapping>> {
        if !super::room::is_kept(&self.0)? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Arc::new(super::room::Room::new(&self.0, most)?))
    }
}

/// The monotonic clock, counted from when the [`Env`] was made.
struct RealClock {
    start: Instant,
}

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// The operating system's random numbers.
struct RealEntropy;

impl Entropy for RealEntropy {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        getrandom::fill(buf).map_err(|e| io::Error::other(e.to_string()))
    }
}

#[cfg(test)]
mod tests;
