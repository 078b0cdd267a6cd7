//! An environment that lets a test step in before calls to the file system: what else happens on the machine in the middle of an
//! operation. What it does is its thread's own affair.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packstone::env::{DirEntry, Env, File, FileSystem, Lock, Mapping, WritableMapping};

type Hook = Box<dyn FnMut(u64)>;

thread_local! {
    /// Where calls count, how many there have been, and what happens before each.
    static HOOK: RefCell<Option<(PathBuf, u64, Hook)>> = const { RefCell::new(None) };
    static NO_LINKS: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`; before each of its calls on a path that begins with `under`, `hook` is called with the number of such calls so far.
/// What the hook itself calls does not count.
pub(crate) fn during<T>(under: &Path, hook: impl FnMut(u64) + 'static, work: impl FnOnce() -> T) -> T {
    HOOK.set(Some((under.to_owned(), 0, Box::new(hook))));
    let result = work();
    HOOK.set(None);
    result
}

/// Does `work` on file systems that have no hard links.
pub(crate) fn without_links<T>(yes: bool, work: impl FnOnce() -> T) -> T {
    NO_LINKS.set(yes);
    let result = work();
    NO_LINKS.set(false);
    result
}

fn step_in(path: &Path) {
    let Some((under, count, mut hook)) = HOOK.take() else {
        return;
    };
    if !path.starts_with(&under) {
        HOOK.set(Some((under, count, hook)));
        return;
    }
    hook(count);
    HOOK.set(Some((under, count + 1, hook)));
}

/// The environment, with hooks.
pub(crate) fn hooked(env: Env) -> Env {
    Env {
        fs: Arc::new(HookedFs(env.fs.clone())),
        ..env
    }
}

struct HookedFs(Arc<dyn FileSystem>);

struct HookedFile {
    path: PathBuf,
    inner: Arc<dyn File>,
}

fn wrap(path: &Path, inner: Arc<dyn File>) -> Arc<dyn File> {
    let path = path.to_owned();
    Arc::new(HookedFile { path, inner })
}

impl FileSystem for HookedFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        step_in(path);
        self.0.create(path).map(|file| wrap(path, file))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        step_in(path);
        self.0.open(path).map(|file| wrap(path, file))
    }
    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        step_in(path);
        self.0.open_writable(path).map(|file| wrap(path, file))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        step_in(path);
        self.0.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        step_in(to);
        self.0.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        step_in(to);
        if NO_LINKS.get() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        self.0.hard_link(from, to)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        step_in(path);
        self.0.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        step_in(path);
        self.0.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        step_in(path);
        self.0.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        step_in(path);
        self.0.lock(path)
    }
}

impl File for HookedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        step_in(&self.path);
        self.inner.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        step_in(&self.path);
        self.inner.write_at(offset, data)
    }
    fn sync(&self) -> io::Result<()> {
        step_in(&self.path);
        self.inner.sync()
    }
    fn len(&self) -> io::Result<u64> {
        step_in(&self.path);
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        step_in(&self.path);
        self.inner.set_len(len)
    }
    fn map(&self) -> io::Result<Mapping> {
        step_in(&self.path);
        self.inner.map()
    }
    fn map_writable(&self, most: u64) -> io::Result<Arc<dyn WritableMapping>> {
        step_in(&self.path);
        self.inner.map_writable(most)
    }
}
