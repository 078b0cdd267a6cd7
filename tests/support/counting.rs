//! [`CountingFs`]: the machine's file system, with every call counted by the kind of file it goes to.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use packstone::env::{DirEntry, Env, File, FileSystem, Lock, Mapping, WritableMapping};

/// Calls, and the bytes they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
}

/// By operation ("read", "write", "sync") and kind of file ("sst", "log", "MANIFEST").
#[derive(Debug, Default)]
pub(crate) struct Counts {
    counts: Mutex<BTreeMap<(&'static str, &'static str), Count>>,
    slow_syncs: AtomicBool,
}

impl Counts {
    fn note(&self, operation: &'static str, kind: &'static str, bytes: u64) {
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry((operation, kind)).or_default();
        count.calls += 1;
        count.bytes += bytes;
    }

    pub(crate) fn of(&self, operation: &'static str, kind: &'static str) -> Count {
        let counts = self.counts.lock().unwrap();
        counts.get(&(operation, kind)).copied().unwrap_or_default()
    }

    /// From now on a sync takes a millisecond, as on a disk: in memory it takes no time.
    pub(crate) fn slow_syncs(&self) {
        self.slow_syncs.store(true, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.counts.lock().unwrap().clear();
    }
}

fn kind_of(path: &Path) -> &'static str {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    match name.as_str() {
        name if name.ends_with(".sst") => "sst",
        name if name.ends_with(".log") => "log",
        name if name.starts_with("MANIFEST-") => "MANIFEST",
        _ => "other",
    }
}

/// An environment whose files are counted.
pub(crate) fn counted(threads: usize) -> (Env, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let mut env = Env::real(threads);
    env.fs = Arc::new(CountingFs {
        inner: env.fs,
        counts: counts.clone(),
    });
    (env, counts)
}

struct CountingFs {
    inner: Arc<dyn FileSystem>,
    counts: Arc<Counts>,
}

impl CountingFs {
    fn wrap(&self, path: &Path, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(CountingFile {
            inner,
            kind: kind_of(path),
            counts: self.counts.clone(),
        })
    }
}

impl FileSystem for CountingFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.create(path).map(|file| self.wrap(path, file))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.open(path).map(|file| self.wrap(path, file))
    }
    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.open_writable(path).map(|file| self.wrap(path, file))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(from, to)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.counts.note("sync", "directory", 0);
        self.inner.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
}

struct CountingFile {
    inner: Arc<dyn File>,
    kind: &'static str,
    counts: Arc<Counts>,
}

impl File for CountingFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(offset, buf)?;
        self.counts.note("read", self.kind, read as u64);
        Ok(read)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write_at(offset, data)?;
        self.counts.note("write", self.kind, written as u64);
        Ok(written)
    }
    fn sync(&self) -> io::Result<()> {
        self.counts.note("sync", self.kind, 0);
        if self.counts.slow_syncs.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.inner.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn map(&self) -> io::Result<Mapping> {
        self.inner.map()
    }
    fn map_writable(&self, most: u64) -> io::Result<Arc<dyn WritableMapping>> {
        Ok(Arc::new(CountingRoom {
            inner: self.inner.map_writable(most)?,
            kind: self.kind,
            counts: self.counts.clone(),
        }))
    }
}

struct CountingRoom {
    inner: Arc<dyn WritableMapping>,
    kind: &'static str,
    counts: Arc<Counts>,
}

impl WritableMapping for CountingRoom {
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.counts.note("reserve", self.kind, len);
        self.inner.reserve(len)
    }
    fn reserved(&self) -> u64 {
        self.inner.reserved()
    }
    fn populate(&self, from: u64, to: u64) {
        self.counts.note("populate", self.kind, to - from);
        self.inner.populate(from, to);
    }
    fn store(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        self.counts.note("store", self.kind, bytes);
        self.inner.store(offset, parts)
    }
}
