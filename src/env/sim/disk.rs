//! [`Disk`]: the simulated disk's state behind one lock, and the file system, files and locks that programs get.
//!
//! Invariants:
//! 1. Every call of the [`FileSystem`] and [`File`] traits is counted and judged ([`Faults::verdict`]) before it does
//!    anything. What tests do through [`super::SimEnv`] is not.
//! 2. Each handle belongs to the boot in which it was made. A crash starts the next one; older handles fail from then on
//!    (uncounted), so that a forgotten engine can't touch the disk of its successor.
//! 3. Whatever random choice there is comes from one generator in the order of the calls: on one thread, the same seed and
//!    the same calls give the same results.
//!
//! Callers: [`super::SimEnv`]; the engine through the traits.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::CrashStyle;
use super::fault::{Call, Effect, Faults, Nature, Op, Refusal};
use super::file::{SimFile, SimLock};
use super::inode::Loss;
use super::names::{FileNode, Names, Node, Place};
use super::rng::Rng;
use super::scheduler::SimClock;
use crate::env::{Clock, DirEntry, File, FileSystem, Lock};
use crate::sync::{Mutex, MutexGuard};

/// In how many of 16 cases an unsynced thing survives a random crash; drawn once a crash, so that crashes in which
/// almost all or almost nothing survives are as common as even ones.
const KEPT: [u64; 5] = [1, 4, 8, 12, 15];

pub(super) struct Disk {
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) names: Names,
    pub(super) faults: Faults,
    pub(super) nature: Nature,
    clock: Arc<SimClock>,
    pub(super) rng: Rng,
    /// How often the machine has been started.
    boot: u64,
    pub(super) capacity: Option<u64>,
    /// Whether reading a removed file through an open handle fails.
    pub(super) forgets_removed: bool,
    /// Whether the file system is one on which a store into reserved room can't fail.
    pub(super) keeps_room: bool,
    /// Numbers of the files that are locked.
    locks: BTreeSet<u64>,
}

impl Disk {
    pub(super) fn new(rng: Rng, nature: Nature, clock: Arc<SimClock>) -> Self {
        let state = State {
            names: Names::new(),
            faults: Faults::default(),
            nature,
            clock,
            rng,
            boot: 0,
            capacity: None,
            forgets_removed: false,
            keeps_room: true,
            locks: BTreeSet::new(),
        };
        Disk {
            state: Mutex::new(state),
        }
    }

    /// The disk, for what tests do to it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The disk, for a call that a program makes, once it is clear that the call goes through.
    pub(super) fn call(&self, boot: u64, op: Op, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        match state.admit(boot, op, path, 0, 0) {
            Ok(()) => Ok(state),
            Err(refusal) => Err(refusal.error),
        }
    }
}

impl State {
    pub(super) fn crash(&mut self, style: CrashStyle) -> Faults {
        self.boot += 1;
        self.locks.clear();
        // What the disk is stays; what was going to happen to it does not.
        let mut faults = std::mem::take(&mut self.faults);
        self.faults.next_index = faults.next_index;
        self.faults.stats = std::mem::take(&mut faults.stats);
        self.faults.trace = faults.trace.take();
        self.faults.flaky_one_in = faults.flaky_one_in;
        match style {
            CrashStyle::KeepAll => {}
            CrashStyle::KeepNothing => {
                self.names.crash(None, 0);
                for file in self.names.distinct_files() {
                    file.inode.lock().crash(Loss::All);
                }
            }
            CrashStyle::Random | CrashStyle::Blocks => {
                let kept = KEPT[self.rng.below(KEPT.len() as u64) as usize];
                self.names.crash(Some(&mut self.rng), kept);
                for file in self.names.distinct_files() {
                    let rng = &mut self.rng;
                    file.inode.lock().crash(match style {
                        CrashStyle::Blocks => Loss::Blocks { rng, kept },
                        _ => Loss::Random { rng, kept },
                    });
                }
            }
        }
        faults // holds closures of the test, to be dropped without the lock
    }

    /// Bytes in files that have a name.
    pub(super) fn used(&self) -> u64 {
        let files = self.names.distinct_files();
        files.iter().map(|file| file.inode.lock().len()).sum()
    }

    pub(super) fn admit(
        &mut self,
        boot: u64,
        op: Op,
        path: &Path,
        offset: u64,
        len: u64,
    ) -> Result<(), Refusal> {
        self.admit_call(
            boot,
            Call {
                index: 0,
                op,
                path: path.to_owned(),
                to: None,
                offset,
                len,
                failed: false,
            },
        )
    }

    pub(super) fn admit_call(&mut self, boot: u64, call: Call) -> Result<(), Refusal> {
        if boot != self.boot {
            let error = io::Error::other("handle from before the crash: get a new Env from SimEnv::env");
            return Err(Refusal {
                error,
                effect: Effect::Nothing,
                power_off: true,
            });
        }
        let op = call.op;
        if op != Op::Store
            && let Some(duration) = self.nature.duration()
        {
            self.clock.sleep(duration);
        }
        self.faults.verdict(call, &mut self.rng)?;
        self.nature
            .strike(op)
            .inspect_err(|_| self.faults.fails_after_all(op))
    }

    /// Flips a bit of some file whose path contains `part`, drawn from all their bytes; says which.
    pub(super) fn flip_some_bit(&mut self, part: &str) -> Option<(PathBuf, u64, u8)> {
        let mut files = self.names.files();
        files.retain(|(path, _)| path.to_str().is_some_and(|path| path.contains(part)));
        let total: u64 = files.iter().map(|(_, file)| file.inode.lock().len()).sum();
        let mut at = self.nature.rng.below(total);
        let bit = self.nature.rng.below(8) as u8;
        for (path, file) in files {
            let mut inode = file.inode.lock();
            if at < inode.len() {
                return inode.flip_bit(at, bit).then_some((path, at, bit));
            }
            at -= inode.len();
        }
        None
    }

    /// Like `admit`, for calls that do all of their work or none: says whether to do it, and what to report.
    pub(super) fn admit_whole(&mut self, boot: u64, call: Call) -> io::Result<io::Result<()>> {
        match self.admit_call(boot, call) {
            Ok(()) => Ok(Ok(())),
            Err(refusal) if refusal.effect == Effect::Partial && !refusal.power_off => Ok(Err(refusal.error)),
            Err(refusal) => Err(refusal.error),
        }
    }

    /// Whether this is the present boot.
    pub(super) fn is_boot(&self, boot: u64) -> bool {
        self.boot == boot
    }

    pub(super) fn unlock(&mut self, id: u64) {
        self.locks.remove(&id);
    }

    /// How far a file may grow from `len` towards `wanted`.
    pub(super) fn room(&self, len: u64, wanted: u64) -> u64 {
        match self.capacity {
            Some(capacity) if wanted > len => wanted.min(len + capacity.saturating_sub(self.used())),
            _ => wanted,
        }
    }
}

/// The file system, as one boot of the machine sees it.
pub(super) struct SimFs {
    disk: Arc<Disk>,
    boot: u64,
}

impl SimFs {
    /// The present boot's.
    pub(super) fn new(disk: &Arc<Disk>) -> Self {
        let boot = disk.lock().boot;
        SimFs {
            disk: Arc::clone(disk),
            boot,
        }
    }

    fn call(&self, op: Op, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        self.disk.call(self.boot, op, path)
    }

    /// For `create`, `remove` and `rename`: does `change`, or reports a failure, or both.
    fn change<T>(&self, call: Call, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock();
        let report = state.admit_whole(self.boot, call)?;
        let done = change(&mut state)?;
        report.map(|()| done)
    }

    fn handle(&self, path: &Path, node: Arc<FileNode>, writable: bool) -> Arc<dyn File> {
        Arc::new(SimFile {
            disk: Arc::clone(&self.disk),
            boot: self.boot,
            path: path.to_owned(),
            node,
            writable,
        })
    }
}

/// A call on names, to be judged.
pub(super) fn call(op: Op, path: &Path) -> Call {
    Call {
        index: 0,
        op,
        path: path.to_owned(),
        to: None,
        offset: 0,
        len: 0,
        failed: false,
    }
}

impl FileSystem for SimFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let node = self.change(call(Op::Create, path), |state| {
            let at = state.names.place(path)?;
            match state.names.get(&at) {
                Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
                None => Ok(state.names.create_file(at)),
            }
        })?;
        Ok(self.handle(path, node, true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let node = self.call(Op::Open, path)?.names.file(path)?;
        Ok(self.handle(path, node, false))
    }

    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let node = self.call(Op::Open, path)?.names.file(path)?;
        Ok(self.handle(path, node, true))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(call(Op::Remove, path), |state| {
            let at = state.names.place(path)?;
            let node = state.names.file_at(&at)?;
            let id = node.id;
            state.names.remove(at, id);
            if !state.names.is_named(id) {
                node.removed_in.store(self.boot + 1, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let call = Call {
            to: Some(to.to_owned()),
            ..call(Op::Link, from)
        };
        self.change(call, |state| {
            let file = state.names.file(from)?;
            let at = state.names.place(to)?;
            match state.names.get(&at) {
                Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    state.names.link(at, file);
                    Ok(())
                }
            }
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(
            Call {
                to: Some(to.to_owned()),
                ..call(Op::Rename, from)
            },
            |state| {
                let (from, to) = (state.names.place(from)?, state.names.place(to)?);
                let file = state.names.file_at(&from)?;
                if let Some(Node::Dir(_)) = state.names.get(&to) {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                state.names.rename(from, to, file);
                Ok(())
            },
        )
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut on_the_way: Vec<&Path> = path.ancestors().filter(|dir| dir.file_name().is_some()).collect();
        on_the_way.reverse();
        let mut existing = Path::new("/");
        let mut missing = Vec::new();
        for dir in on_the_way {
            if missing.is_empty() && self.is_dir(dir)? {
                existing = dir;
            } else {
                missing.push(dir);
            }
        }
        self.sync_dir(parent_of(existing))?; // as the real one does, for attempts that died half-way
        for dir in missing {
            self.change(call(Op::CreateDir, dir), |state| {
                let at = state.names.place(dir)?;
                state.names.create_dir(at);
                Ok(())
            })?;
            if let Err(e) = self.sync_dir(parent_of(dir)) {
                // As the real one: the next attempt has to make the name anew.
                let mut state = self.disk.lock();
                if let (true, Ok(at)) = (state.boot == self.boot, state.names.place(dir)) {
                    state.names.remove_dir(at);
                }
                return Err(e);
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.call(Op::List, path)?;
        let entries = state.names.list(state.names.dir(path)?);
        Ok(entries
            .into_iter()
            .map(|(name, is_file)| DirEntry { name, is_file })
            .collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut guard = self.disk.lock();
        let state = &mut *guard;
        let verdict = state.admit(self.boot, Op::SyncDir, path, 0, 0);
        match verdict {
            Ok(()) => {
                let dir = state.names.dir(path)?;
                state.names.sync_dir(dir);
                Ok(())
            }
            Err(refusal) => {
                if let (false, Ok(dir)) = (refusal.power_off, state.names.dir(path)) {
                    let rng = (refusal.effect == Effect::Partial).then_some(&mut state.rng);
                    state.names.fail_sync_dir(dir, rng);
                }
                Err(refusal.error)
            }
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.call(Op::Lock, path)?;
        let at: Place = state.names.place(path)?;
        let node = match state.names.file_at(&at) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => state.names.create_file(at),
            found => found?,
        };
        if !state.locks.insert(node.id) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            disk: Arc::clone(&self.disk),
            boot: self.boot,
            node,
        }))
    }
}

impl SimFs {
    /// Whether there is a directory; uncounted, because it is not a call of its own.
    fn is_dir(&self, path: &Path) -> io::Result<bool> {
        match self.disk.lock().names.dir(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// The directory that holds `path`'s name; the root holds itself.
fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
