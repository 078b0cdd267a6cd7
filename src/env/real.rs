//! The machine: files through the operating system, a monotonic clock, the system's random numbers.
//!
//! Every handle is independent and nothing is buffered, so all methods may be called from any thread. Errors are the
//! operating system's own, but for names that lead to something that is no file: that is refused here, at once, because
//! opening a pipe would wait for somebody at its other end.
//!
//! Callers: [`Env::real`] only; everybody else sees the traits.
#![allow(clippy::disallowed_methods)] // this file is what the methods are disallowed in favour of

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

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
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            // Means nothing for files; a pipe opens at once instead of waiting for a writer, and is refused below.
            options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
        }
        let file = options.open(path)?;
        refuse_what_is_no_file(&file)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
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

/// A locked file; closing it lets go of the lock.
struct RealLock(#[allow(dead_code)] fs::File);

impl Lock for RealLock {}

/// An open file.
struct RealFile(fs::File);

impl File for RealFile {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buf, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.0, data, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.0, data, offset)
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
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Hands on at most three bytes at a time and is interrupted every other time.
    struct Stingy(Arc<dyn File>, AtomicUsize);

    impl Stingy {
        fn interrupted(&self) -> io::Result<()> {
            if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            Ok(())
        }
    }

    impl File for Stingy {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            self.interrupted()?;
            let n = buf.len().min(3);
            self.0.read_at(offset, &mut buf[..n])
        }
        fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
            self.interrupted()?;
            self.0.write_at(offset, &data[..data.len().min(3)])
        }
        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn map(&self) -> io::Result<Mapping> {
            self.0.map()
        }
    }

    #[test]
    fn what_was_written_is_read_back_through_short_and_interrupted_calls() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let stingy: Arc<dyn File> = Arc::new(Stingy(
            RealFs::default().create(&path).unwrap(),
            AtomicUsize::new(0),
        ));
        stingy.write_all_at(5, b"hello world").unwrap();
        stingy.sync().unwrap();
        assert_eq!(stingy.len().unwrap(), 16);
        let mut buf = [1; 16];
        stingy.read_exact_at(0, &mut buf).unwrap();
        assert_eq!(&buf, b"\0\0\0\0\0hello world");
        let past_end = stingy.read_exact_at(1, &mut buf).unwrap_err();
        assert_eq!(past_end.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            RealFs::default().open(&path).unwrap().map().unwrap().as_bytes(),
            b"\0\0\0\0\0hello world"
        );
    }

    #[test]
    fn set_len_cuts_and_grows_with_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs::default().create(&dir.path().join("f")).unwrap();
        file.write_all_at(0, b"abcdef").unwrap();
        file.set_len(2).unwrap();
        file.set_len(4).unwrap();
        assert_eq!(file.map().unwrap().as_bytes(), b"ab\0\0");
    }

    #[test]
    fn create_refuses_an_existing_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        RealFs::default().create(&path).unwrap();
        assert_eq!(
            RealFs::default().create(&path).err().unwrap().kind(),
            io::ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn a_file_opened_for_reading_refuses_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        RealFs::default().create(&path).unwrap();
        assert!(RealFs::default().open(&path).unwrap().write_at(0, b"x").is_err());
    }

    #[test]
    fn locks_conflict_within_a_process_and_end_with_the_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let held = RealFs::default().lock(&path).unwrap();
        assert_eq!(
            RealFs::default().lock(&path).err().unwrap().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(held);
        RealFs::default().lock(&path).unwrap();
    }

    #[test]
    fn listing_is_sorted_and_tells_files_from_directories() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["c", "a"] {
            RealFs::default().create(&dir.path().join(name)).unwrap();
        }
        RealFs::default()
            .create_dir_all(&dir.path().join("b/deep/er"))
            .unwrap();
        RealFs::default()
            .create_dir_all(&dir.path().join("b/deep/er"))
            .unwrap();
        let entries = RealFs::default().list(dir.path()).unwrap();
        let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.is_file)).collect();
        assert_eq!(found, [("a", true), ("b", false), ("c", true)]);
        RealFs::default().sync_dir(dir.path()).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_or_a_directory_in_a_files_place_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, below) = (dir.path().join("pipe"), dir.path().join("below"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        std::fs::create_dir(&below).unwrap();
        let fs = RealFs::default();
        assert_eq!(fs.open(&pipe).err().unwrap().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(fs.open(&below).err().unwrap().kind(), io::ErrorKind::IsADirectory);
        assert!(fs.lock(&pipe).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_directory_that_took_anothers_place_is_the_one_that_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let fs = RealFs::default();
        fs.create_dir_all(&one).unwrap();
        fs.sync_dir(&one).unwrap();
        let first = fs.last_dir.lock().clone().unwrap().1;
        fs.sync_dir(&one).unwrap();
        assert!(Arc::ptr_eq(&first, &fs.last_dir.lock().clone().unwrap().1));
        fs.rename(&one, &two).unwrap();
        assert_eq!(fs.sync_dir(&one).err().unwrap().kind(), io::ErrorKind::NotFound);
        fs.create_dir_all(&one).unwrap();
        fs.sync_dir(&one).unwrap();
        assert!(!Arc::ptr_eq(&first, &fs.last_dir.lock().clone().unwrap().1));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn listing_leaves_out_names_that_are_not_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        RealFs::default()
            .create(&dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")))
            .unwrap();
        RealFs::default().create(&dir.path().join("good")).unwrap();
        let entries = RealFs::default().list(dir.path()).unwrap();
        assert_eq!(
            entries,
            [DirEntry {
                name: "good".into(),
                is_file: true
            }]
        );
    }

    #[test]
    fn a_directory_below_a_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        RealFs::default().create(&dir.path().join("f")).unwrap();
        assert!(
            RealFs::default()
                .create_dir_all(&dir.path().join("f/sub"))
                .is_err()
        );
        assert!(RealFs::default().create_dir_all(&dir.path().join("f")).is_err());
    }

    #[test]
    fn a_directory_without_a_name_is_an_error() {
        assert!(RealFs::default().create_dir_all(Path::new("")).is_err());
    }

    #[test]
    fn rename_replaces_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        RealFs::default()
            .create(&a)
            .unwrap()
            .write_all_at(0, b"new")
            .unwrap();
        RealFs::default()
            .create(&b)
            .unwrap()
            .write_all_at(0, b"old")
            .unwrap();
        RealFs::default().rename(&a, &b).unwrap();
        assert_eq!(
            RealFs::default().open(&b).unwrap().map().unwrap().as_bytes(),
            b"new"
        );
        assert_eq!(
            RealFs::default().open(&a).err().unwrap().kind(),
            io::ErrorKind::NotFound
        );
        RealFs::default().remove(&b).unwrap();
        assert!(RealFs::default().list(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn identities_differ_and_time_does_not_go_back() {
        let env = Env::real(1);
        assert_ne!(env.entropy.identity().unwrap(), env.entropy.identity().unwrap());
        let before = env.clock.now();
        env.clock.sleep(Duration::from_millis(1));
        assert!(env.clock.now() >= before + Duration::from_millis(1));
    }
}
