//! Promises of syncs that something happens during: a file system that calls back.

use std::io;
use std::sync::{Arc, Barrier};

use parking_lot::Mutex;

use super::*;
use crate::env::{DirEntry, File, FileSystem, Lock, Mapping, Priority};
use crate::record_log::{ReadOptions, read};

type Hook = Box<dyn FnMut() + Send>;

/// Passes everything on, and calls a hook inside of the next sync or removal of a file.
struct HookedFs {
    inner: Arc<dyn FileSystem>,
    hook: Arc<Mutex<Option<Hook>>>,
}

struct HookedFile {
    inner: Arc<dyn File>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl FileSystem for HookedFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(HookedFile {
            inner: self.inner.create(path)?,
            hook: self.hook.clone(),
        }))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.open(path)
    }
    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.open_writable(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let hook = self.hook.lock().take();
        if let Some(mut hook) = hook {
            hook();
        }
        self.inner.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
}

impl File for HookedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.inner.write_at(offset, data)
    }
    fn sync(&self) -> io::Result<()> {
        let hook = self.hook.lock().take();
        if let Some(mut hook) = hook {
            hook();
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
}

fn hooked(env: &Env) -> (Env, Arc<Mutex<Option<Hook>>>) {
    let hook = Arc::new(Mutex::new(None));
    let fs = Arc::new(HookedFs {
        inner: env.fs.clone(),
        hook: hook.clone(),
    });
    (Env { fs, ..env.clone() }, hook)
}

#[test]
fn a_marker_never_covers_what_was_appended_during_the_sync() {
    for options in [OPTIONS, TINY] {
        let (_sim, env) = machine();
        let (env, hook) = hooked(&env);
        let wal = Arc::new(new_wal(&env, options));
        let before = append(&wal, 1).unwrap();
        let during = wal.clone();
        *hook.lock() = Some(Box::new(move || {
            append(&during, 2).unwrap();
        }));
        wal.sync(before).unwrap();
        let path = log_path(wal.current_number());
        let found = read(
            &*env.fs,
            &path,
            LogKind::Wal,
            &ReadOptions::default(),
            &mut |_, _| Ok(()),
        )
        .unwrap();
        assert_eq!(found.markers, Some((before.number, before.offset)));
        assert_eq!(recover(&env).unwrap().0, [1, 2]);
        wal.sync(wal.end()).unwrap();
        assert_eq!(recover(&env).unwrap().0, [1, 2]);
    }
}

#[test]
fn threads_that_wait_together_share_a_sync() {
    const THREADS: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    let (env, hook) = hooked(&Env::real(THREADS as usize));
    let wal = Arc::new(Wal::create(&env, dir.path(), 1, None, Vec::new(), OPTIONS).unwrap());
    let (next, syncs) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    count_syncs(&hook, &syncs);
    let all = Arc::new(Barrier::new(THREADS as usize));
    let (sender, done) = std::sync::mpsc::channel();
    for _ in 0..THREADS {
        let (wal, next, all, sender) = (wal.clone(), next.clone(), all.clone(), sender.clone());
        let job = move || {
            for _ in 0..20 {
                let upto = {
                    let mut next = next.lock();
                    *next += 1;
                    append(&wal, *next).unwrap()
                };
                all.wait(); // all have appended before anyone syncs
                wal.sync(upto).unwrap();
                all.wait();
            }
            sender.send(()).unwrap();
        };
        env.scheduler.spawn(Priority::High, Box::new(job));
    }
    (0..THREADS).for_each(|_| done.recv().unwrap());
    assert_eq!(*syncs.lock(), 20, "one sync covers eight writers");
    wal.close().unwrap();
    let mut count = 0;
    let options = ReplayOptions {
        floor: 1,
        ..ReplayOptions::default()
    };
    let replayed = replay(&*env.fs, dir.path(), &options, &mut |_, _| {
        count += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((count, replayed.sealed), (20 * THREADS, true));
    hook.lock().take(); // it holds itself
}

/// Arms the hook again and again.
fn count_syncs(hook: &Arc<Mutex<Option<Hook>>>, syncs: &Arc<Mutex<u64>>) {
    let (again, count) = (hook.clone(), syncs.clone());
    *hook.lock() = Some(Box::new(move || {
        *count.lock() += 1;
        count_syncs(&again, &count);
    }));
}

/// A file system may take long to free a file's blocks.
#[test]
fn writers_do_not_wait_while_old_files_are_removed() {
    let (sim, env) = machine();
    let (env, hook) = hooked(&env);
    let wal = Arc::new(new_wal(&env, TINY));
    for seq in 1..=6 {
        append(&wal, seq).unwrap();
    }
    let current = wal.current_number();
    assert!(current > 3);
    let (sender, appended) = std::sync::mpsc::channel();
    let (during, threads) = (wal.clone(), Env::real(1).scheduler);
    *hook.lock() = Some(Box::new(move || {
        let (during, sender) = (during.clone(), sender.clone());
        let job = move || sender.send(append(&during, 7).is_ok()).unwrap();
        threads.spawn(Priority::High, Box::new(job));
        assert_eq!(
            appended.recv_timeout(std::time::Duration::from_secs(60)),
            Ok(true)
        );
    }));
    wal.remove_below(current).unwrap();
    assert!(hook.lock().is_none());
    assert!(!sim.list().contains(&log_path(1)));
    assert_eq!(wal.end().number.max(current), wal.end().number);
}
