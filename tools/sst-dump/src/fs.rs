//! The file system as this tool sees it: the machine's, without any way to change it, and with a count of what has been
//! read, which moves the progress bar.

use std::io;
use std::path::Path;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use packstone::env::{DirEntry, File, FileSystem, Lock, Mapping};

/// Below this many bytes there is nothing to wait for: 32 MiB.
const WORTH_A_BAR: u64 = 32 << 20;

/// What a path leads to.
pub(crate) enum Look {
    Directory,
    /// A file of so many bytes.
    File(u64),
    /// A pipe, a socket, a device.
    Other,
}

/// A file system that can only be read. The bar on the standard error is hidden when that is no terminal.
#[derive(Clone)]
pub(crate) struct Watched {
    inner: Arc<dyn FileSystem>,
    bar: ProgressBar,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn FileSystem>) -> Self {
        Watched {
            inner,
            bar: ProgressBar::hidden(),
        }
    }

    /// What kind of name a path is.
    pub(crate) fn look(&self, path: &Path) -> io::Result<Look> {
        match self.inner.list(path) {
            Ok(_) => return Ok(Look::Directory),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(error),
        }
        match self.inner.open(path) {
            Ok(file) => file.len().map(Look::File),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Look::Other),
            Err(error) => Err(error),
        }
    }

    /// Announces work: about so many bytes will be read.
    pub(crate) fn expect(&mut self, bytes: u64) {
        if bytes < WORTH_A_BAR {
            return;
        }
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        self.bar = ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    }

    /// The work is done, or has been given up.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

struct WatchedFile {
    inner: Arc<dyn File>,
    bar: ProgressBar,
}

fn forbidden<T>() -> io::Result<T> {
    let what = "sst-dump changes nothing";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

impl FileSystem for Watched {
    fn create(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        forbidden()
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path)?;
        let bar = self.bar.clone();
        Ok(Arc::new(WatchedFile { inner, bar }))
    }
    fn open_writable(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        forbidden()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        forbidden()
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        forbidden()
    }
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        forbidden()
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        forbidden()
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Lock>> {
        forbidden()
    }
}

impl File for WatchedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(offset, buf)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<usize> {
        forbidden()
    }
    fn sync(&self) -> io::Result<()> {
        forbidden()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        forbidden()
    }
    fn map(&self) -> io::Result<Mapping> {
        forbidden()
    }
}
