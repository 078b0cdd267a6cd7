//! What can be made to go wrong on the simulated disk, and the account of what happened on it.
//!
//! Every call that reaches the disk has a number, counted from 0 over the whole life of a
//! [`SimEnv`](super::SimEnv), crashes included. Faults name calls by number, or by what they do.
//!
//! Callers: tests say what shall fail; the disk asks [`Faults::verdict`] before each call.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::rng::Rng;

/// What a call to the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Op {
    /// Create a file.
    Create,
    /// Open a file.
    Open,
    /// Remove a file's name.
    Remove,
    /// Rename a file.
    Rename,
    /// Give a file another name.
    Link,
    /// Create one directory.
    CreateDir,
    /// List a directory.
    List,
    /// Sync a directory.
    SyncDir,
    /// Take a lock.
    Lock,
    /// Read from a file.
    Read,
    /// Write to a file.
    Write,
    /// Sync a file.
    Sync,
    /// Ask for a file's length.
    Len,
    /// Cut or grow a file.
    SetLen,
    /// Map a file, for reading or for stores.
    Map,
    /// Reserve room in a file that is mapped for stores.
    Reserve,
    /// Store into such room. Never fails: no fault and no chance strikes it, only the power.
    Store,
}

/// One call to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub index: u64,
    /// What it does.
    pub op: Op,
    /// The file or directory, by the name under which it was opened.
    pub path: PathBuf,
    /// The new name in a rename or link.
    pub to: Option<PathBuf>,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes are read, written or stored, as asked for; the new length in `SetLen` and `Reserve`.
    pub len: u64,
    /// Whether it was made to fail, or the power was off.
    pub failed: bool,
}

impl Call {
    /// Whether a path of the call contains `part`.
    pub fn mentions(&self, part: &str) -> bool {
        let contains = |path: &Path| path.to_str().is_some_and(|path| path.contains(part));
        contains(&self.path) || self.to.as_deref().is_some_and(contains)
    }
}

/// `EIO`: the medium fails. These numbers are the same on every Unix.
pub const EIO: i32 = 5;
/// `EMFILE`: the process has as many files open as it may.
pub const EMFILE: i32 = 24;
/// `ENOSPC`: the disk is full.
pub const ENOSPC: i32 = 28;

/// Calls that fail by chance, again and again, crashes or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// The kind of call; `None` stands for all. No chance strikes [`Op::Store`].
    pub op: Option<Op>,
    /// One in so many of them fails; 0 means none.
    pub one_in: u64,
    /// The operating system's number of the error: [`EIO`], [`EMFILE`], [`ENOSPC`].
    pub errno: i32,
    /// What the call does before; drawn if `None`.
    pub effect: Option<Effect>,
}

/// What a call that fails does before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// A write writes a prefix, a sync makes some of the sectors (or names) durable; every other call does all that it was
    /// asked for, and reports failure all the same.
    Partial,
}

/// Something that goes wrong at the call of a certain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// That call fails, once.
    FailCall {
        /// The call's number.
        index: u64,
        /// How it fails.
        kind: io::ErrorKind,
        /// What it does before.
        effect: Effect,
    },
    /// The same with an error of the operating system's, by its number.
    FailCallWith {
        /// The call's number.
        index: u64,
        /// [`EIO`], [`EMFILE`], [`ENOSPC`].
        errno: i32,
        /// What it does before.
        effect: Effect,
    },
    /// That call and all later ones fail until [`SimEnv::crash`](super::SimEnv::crash). If the call is a write or a store,
    /// some prefix of it is written.
    PowerOffAt {
        /// The call's number.
        index: u64,
    },
}

/// What has been done on the disk so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IoStats {
    /// Calls by kind, failed ones included.
    pub calls: BTreeMap<Op, u64>,
    /// Bytes read through `read_at`, by the file's suffix: "sst" of "000001.sst", the whole name where there is no dot.
    pub read: BTreeMap<String, u64>,
    /// Bytes written or stored, by the file's suffix.
    pub written: BTreeMap<String, u64>,
    /// Calls that were made to fail, by kind. Those for which the power was off, or that were interrupted or short, are
    /// not in it.
    pub failed: BTreeMap<Op, u64>,
    /// Calls that were interrupted or short.
    pub hiccups: u64,
}

impl IoStats {
    /// Calls of one kind.
    pub fn count(&self, op: Op) -> u64 {
        self.calls.get(&op).copied().unwrap_or_default()
    }

    /// Calls that were made to fail, of any kind.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    pub(super) fn note_failed(&mut self, op: Op) {
        *self.failed.entry(op).or_default() += 1;
    }

    pub(super) fn note_read(&mut self, path: &Path, bytes: usize) {
        *self.read.entry(suffix(path)).or_default() += bytes as u64;
    }

    pub(super) fn note_written(&mut self, path: &Path, bytes: usize) {
        *self.written.entry(suffix(path)).or_default() += bytes as u64;
    }
}

fn suffix(path: &Path) -> String {
    let part = path.extension().or(path.file_name()).unwrap_or_default();
    part.to_string_lossy().into_owned()
}

/// Why a call does not go through.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: io::Error,
    pub(super) effect: Effect,
    /// Whether the power is off, so that the call never reached the disk.
    pub(super) power_off: bool,
}

/// Says whether a call shall fail. Called under the disk's lock: it must not use the simulator.
pub(super) type Filter = Box<dyn FnMut(&Call) -> bool + Send>;

/// The next `left` calls that the filter picks fail.
struct Picked {
    filter: Filter,
    left: u64,
    kind: io::ErrorKind,
    effect: Effect,
}

/// The faults to come, and the account.
#[derive(Default)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    picked: Vec<Picked>,
    pub(super) powered_off: bool,
    pub(super) next_index: u64,
    pub(super) stats: IoStats,
    pub(super) trace: Option<Vec<Call>>,
    /// One in how many reads and writes is interrupted, and one in how many is short; 0 means none.
    pub(super) flaky_one_in: u64,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn pick(&mut self, filter: Filter, count: u64, kind: io::ErrorKind, effect: Effect) {
        self.picked.push(Picked {
            filter,
            left: count,
            kind,
            effect,
        });
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
        self.picked.clear();
        self.powered_off = false;
    }

    /// Counts the call and says whether it goes through.
    pub(super) fn verdict(&mut self, mut call: Call, rng: &mut Rng) -> Result<(), Refusal> {
        call.index = self.next_index;
        self.next_index += 1;
        *self.stats.calls.entry(call.op).or_default() += 1;
        let verdict = self.judge(&call, rng);
        call.failed = verdict.is_err();
        match &verdict {
            Err(refusal) if refusal.error.kind() == io::ErrorKind::Interrupted => self.stats.hiccups += 1,
            Err(refusal) if !refusal.power_off => self.stats.note_failed(call.op),
            _ => {}
        }
        if let Some(trace) = &mut self.trace {
            trace.push(call);
        }
        verdict
    }

    fn judge(&mut self, call: &Call, rng: &mut Rng) -> Result<(), Refusal> {
        if self.powered_off {
            return Err(power_off(Effect::Nothing));
        }
        if call.op == Op::Store {
            return self.judge_store(call);
        }
        for i in 0..self.faults.len() {
            match self.faults[i] {
                Fault::FailCall { index, kind, effect } if index == call.index => {
                    self.faults.remove(i);
                    return Err(injected(kind, effect));
                }
                Fault::FailCallWith { index, errno, effect } if index == call.index => {
                    self.faults.remove(i);
                    return Err(refused(errno, effect));
                }
                Fault::PowerOffAt { index } if index <= call.index => {
                    self.powered_off = true;
                    return Err(power_off(Effect::Partial));
                }
                _ => {}
            }
        }
        for i in 0..self.picked.len() {
            let picked = &mut self.picked[i];
            if (picked.filter)(call) {
                let refusal = injected(picked.kind, picked.effect);
                picked.left = picked.left.saturating_sub(1);
                if picked.left == 0 {
                    self.picked.remove(i);
                }
                return Err(refusal);
            }
        }
        if matches!(call.op, Op::Read | Op::Write) && self.is_flaky(rng) {
            return Err(injected(io::ErrorKind::Interrupted, Effect::Nothing));
        }
        Ok(())
    }

    fn judge_store(&mut self, store: &Call) -> Result<(), Refusal> {
        let goes_off = |fault: &Fault| matches!(fault, Fault::PowerOffAt { index } if *index <= store.index);
        self.powered_off = self.faults.iter().any(goes_off);
        if self.powered_off {
            return Err(power_off(Effect::Partial));
        }
        Ok(())
    }

    fn is_flaky(&self, rng: &mut Rng) -> bool {
        self.flaky_one_in > 0 && rng.chance(1, self.flaky_one_in)
    }

    /// The call that went through last fails after all.
    pub(super) fn fails_after_all(&mut self, op: Op) {
        self.stats.note_failed(op);
        if let Some(call) = self.trace.as_mut().and_then(|trace| trace.last_mut()) {
            call.failed = true;
        }
    }

    /// How many of `len` bytes a read or write moves: all, or on a flaky disk at times fewer, but at least one.
    pub(super) fn transfer(&mut self, len: usize, rng: &mut Rng) -> usize {
        if len > 1 && self.is_flaky(rng) {
            self.stats.hiccups += 1;
            1 + rng.below(len as u64 - 1) as usize
        } else {
            len
        }
    }
}

/// What the disk is like for as long as the test says so: how often calls fail, and how long they take. It draws from a
/// generator of its own, so that it changes nothing else that is drawn.
pub(super) struct Nature {
    pub(super) chances: Vec<Chance>,
    /// A call takes up to this long; 0 means no time at all.
    pub(super) slowest_nanos: u64,
    pub(super) rng: Rng,
}

impl Nature {
    pub(super) fn new(rng: Rng) -> Self {
        Nature {
            chances: Vec::new(),
            slowest_nanos: 0,
            rng,
        }
    }

    /// How long a call takes. Most are fast; one in 64 takes up to a thousand times as long, as on a disk that is busy.
    pub(super) fn duration(&mut self) -> Option<Duration> {
        if self.slowest_nanos == 0 {
            return None;
        }
        let most = if self.rng.chance(1, 64) {
            self.slowest_nanos
        } else {
            self.slowest_nanos / 1000
        };
        Some(Duration::from_nanos(self.rng.below(most + 1)))
    }

    /// Whether a call that nothing else keeps from succeeding fails by chance.
    pub(super) fn strike(&mut self, op: Op) -> Result<(), Refusal> {
        if op == Op::Store {
            return Ok(());
        }
        for chance in &self.chances {
            let meant = chance.one_in > 0 && chance.op.is_none_or(|wanted| wanted == op);
            if meant && self.rng.chance(1, chance.one_in) {
                let drawn = if self.rng.chance(1, 2) {
                    Effect::Partial
                } else {
                    Effect::Nothing
                };
                return Err(refused(chance.errno, chance.effect.unwrap_or(drawn)));
            }
        }
        Ok(())
    }
}

fn refused(errno: i32, effect: Effect) -> Refusal {
    Refusal {
        error: io::Error::from_raw_os_error(errno),
        effect,
        power_off: false,
    }
}

fn injected(kind: io::ErrorKind, effect: Effect) -> Refusal {
    let error = match kind {
        io::ErrorKind::Other => io::Error::other("injected input/output error"),
        kind => kind.into(),
    };
    Refusal {
        error,
        effect,
        power_off: false,
    }
}

fn power_off(effect: Effect) -> Refusal {
    Refusal {
        error: io::Error::other("the simulated machine's power is off"),
        effect,
        power_off: true,
    }
}
