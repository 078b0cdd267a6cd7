//! The health of an open database: what becomes of failures that no caller waits for, or that concern everybody.
//!
//! ```text
//!            a failure that time may heal, of a flush, a compaction, a write to the log
//!   ┌──────┐ ────────────────────────────────────────────> ┌──────────┐ ─┐ fails again: the next attempt comes after
//!   │ Good │                                               │ Retrying │  │ 100 ms, 200 ms, ... 10 s
//!   └──────┘ <──────────────────────────────────────────── └──────────┘ <┘
//!    │    ^     the same work succeeds; its keyspace is      │      │
//!    │    │     dropped                                      │      │
//!    │    └─ the keyspace is dropped ───┐                    │      │
//!    │                              ┌──────────┐             │      │
//!    └── damage in the way of a ──> │ ReadOnly │ <───────────┘      │
//!        flush or compaction        └──────────┘  the same          │
//!                                      │                            │
//!   from anywhere: a failed sync       v                            v
//!   that something relies on; ───> ┌────────────────────────────────────┐
//!   a panic of the engine          │ Poisoned, until the database is    │
//!                                  │ opened again                       │
//!                                  └────────────────────────────────────┘
//! ```
//!
//! | failure | state | who hears of it | how it ends |
//! | --- | --- | --- | --- |
//! | flush or compaction: a full disk, a failed call, too many open files | `Retrying` | `flush`, `wait_for_background`; writers only when memory is full | an attempt succeeds, of itself |
//! | writing the log, or beginning a log file | `Retrying` | each write that meets it, at once | a later write succeeds, or the engine's own attempt to begin a file |
//! | flush or compaction: damage, a newer format, a limit | `ReadOnly` | as above, and every write ([`Error::Background`]) | the keyspace is dropped, or the database is repaired; there are no attempts, for they would find the same |
//! | sync of the log, of the manifest, of the directory, out of space included | `Poisoned` | every write and sync from then on ([`Error::Poisoned`]) | opening again, which relies on nothing that was not proven to be synced |
//! | sync of an SST | `Retrying` | as other failures of a flush | nothing refers to the file: another one is written |
//! | writing the manifest | as the flush or compaction, or an error of the call (`keyspace`, `drop_keyspace`) | | the next edit goes into a new manifest |
//! | deleting a file | none | `metrics().undeleted_files` | the next opening |
//!
//! A write is never refused because an earlier one has failed: each one tries, so none fails once there is room. It never waits for room
//! on the disk either: an error at once says more than a write that hangs.
//!
//! The log keeps its own poison (`Wal`), because appends and syncs are refused under its lock; here is the only other place that
//! remembers failures, and the only one that decides about attempts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::keyspace::{KeyspaceCore, Work};
use crate::env::Priority;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::types::KeyspaceId;
use crate::wal::Wal;
use crate::{Error, Result};

/// The first retry after a failure comes after this long, each further one after twice as long: soon enough for a hiccup, and no storm of
/// attempts where the disk stays full.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest time between retries.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Whether a database can do what it should, see [`Db::health`](crate::Db::health).
#[derive(Clone, Debug)]
#[allow(unreachable_pub, reason = "part of the API")]
pub enum Health {
    /// Everything works.
    Good,
    /// Some work has failed and is tried again by itself. Writes go on as long as they find room.
    Retrying {
        /// Which work; where several fail, the one that has been failing for longest.
        what: Activity,
        /// How long ago it failed first.
        since: Duration,
        /// Why it failed last.
        error: Error,
        /// How long until the next attempt; zero while it is under way.
        next: Duration,
    },
    /// Nothing can be written, and trying again would not help: damage is in the way of a flush or compaction (drop the keyspace, or
    /// repair the database), the database was opened read-only, or it has been closed. Reads go on, but for the last case.
    ReadOnly {
        /// Why.
        why: Error,
    },
    /// A sync has failed: what is on disk is unknown, and nothing is written until the database is opened again. Reads go on.
    Poisoned {
        /// The failure.
        why: Error,
    },
}

/// Work that is tried again when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "part of the API")]
pub enum Activity {
    /// Writing memtables to SSTs.
    Flush {
        /// The keyspace.
        keyspace: String,
    },
    /// Merging SSTs.
    Compaction {
        /// The keyspace.
        keyspace: String,
    },
    /// Writing the log.
    Log,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activity::Flush { keyspace } => write!(f, "a flush of keyspace {keyspace:?}"),
            Activity::Compaction { keyspace } => write!(f, "a compaction of keyspace {keyspace:?}"),
            Activity::Log => f.write_str("writing the log"),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Good => f.write_str("good"),
            Health::Retrying {
                what,
                since,
                error,
                next,
            } => write!(
                f,
                "{what} has been failing for {:.1} s and is tried again in {:.1} s: {error}",
                since.as_secs_f64(),
                next.as_secs_f64()
            ),
            Health::ReadOnly { why } => write!(f, "nothing can be written: {why}"),
            // The error itself says what it means.
            Health::Poisoned { why } => why.fmt(f),
        }
    }
}

/// What can fail by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Log,
    Keyspace(KeyspaceId, Work),
}

/// Work that has failed and not succeeded since.
#[derive(Clone, Debug)]
struct Failing {
    error: Error,
    /// When it failed first.
    since: Duration,
    /// Before the next attempt.
    delay: Duration,
    /// When that is.
    next: Duration,
}

impl Failing {
    /// Whether another attempt would find the same.
    fn is_hopeless(&self) -> bool {
        let error = &self.error;
        matches!(
            error,
            Error::Corruption { .. } | Error::NewerFormat { .. } | Error::LimitExceeded { .. }
        )
    }
}

/// The failures of an open database.
#[derive(Debug, Default)]
pub(super) struct Failures {
    failing: Mutex<BTreeMap<Subject, Failing>>,
    /// Something in `failing` is hopeless, the log is in it: looked at by every write.
    hopeless: AtomicBool,
    log: AtomicBool,
    /// Failures of background work so far.
    count: AtomicU64,
}

impl Failures {
    /// Takes note of a failure; returns the delay before the next attempt, if one makes sense.
    fn note(&self, subject: Subject, error: Error, now: Duration) -> Option<Duration> {
        let mut failing = self.failing.lock();
        let entry = failing.entry(subject).or_insert(Failing {
            error: error.clone(),
            since: now,
            delay: Duration::ZERO,
            next: now,
        });
        entry.error = error;
        entry.delay = (entry.delay * 2).clamp(FIRST_RETRY, LAST_RETRY);
        entry.next = now.saturating_add(entry.delay);
        let delay = (!entry.is_hopeless()).then_some(entry.delay);
        self.note_kinds(&failing);
        delay
    }

    fn forget(&self, which: impl Fn(&Subject) -> bool) {
        let mut failing = self.failing.lock();
        failing.retain(|subject, _| !which(subject));
        self.note_kinds(&failing);
    }

    fn note_kinds(&self, failing: &BTreeMap<Subject, Failing>) {
        let hopeless = failing.values().any(Failing::is_hopeless);
        self.hopeless.store(hopeless, Ordering::Release);
        self.log
            .store(failing.contains_key(&Subject::Log), Ordering::Release);
    }

    /// The first failure of background work of this kind.
    fn find(&self, wanted: impl Fn(&Subject, &Failing) -> bool) -> Option<Error> {
        let failing = self.failing.lock();
        let found = failing.iter().find(|(subject, failing)| wanted(subject, failing));
        found.map(|(_, failing)| failing.error.clone())
    }
}

/// Background work.
impl Core {
    /// Remembers a failure of background work, for those who wait for it.
    pub(crate) fn background_failed(&self, keyspace: KeyspaceId, work: Work, error: Error) {
        let subject = Subject::Keyspace(keyspace, work);
        self.note_full_disk(&error);
        self.health.note(subject, error, self.env.clock.now());
        self.health.count.fetch_add(1, Ordering::SeqCst);
        self.progress.notify();
    }

    /// Where the disk is full, the room that the log keeps for its next file goes back: the next attempt may need no more than that.
    pub(super) fn note_full_disk(&self, error: &Error) {
        if let Some(wal) = &self.wal
            && error.is_out_of_space()
        {
            wal.give_back_spare();
        }
    }

    /// Background work has succeeded: its earlier failures are history.
    pub(crate) fn background_succeeded(&self, keyspace: &KeyspaceCore, work: Work) {
        let done = Subject::Keyspace(keyspace.id, work);
        self.health.forget(|subject| *subject == done);
    }

    /// Tries background work that has failed again later, if that makes sense.
    pub(crate) fn retry(
        self: &Arc<Self>,
        keyspace: &Arc<KeyspaceCore>,
        work: Work,
        again: fn(&Arc<Core>, &Arc<KeyspaceCore>),
    ) {
        if self.is_closed() || self.poisoned().is_some() {
            return;
        }
        if keyspace.is_dropped() {
            return self.forget_failures_of(keyspace.id);
        }
        let subject = Subject::Keyspace(keyspace.id, work);
        let delay = {
            let failing = self.health.failing.lock();
            let failing = failing.get(&subject).filter(|failing| !failing.is_hopeless());
            failing.map(|failing| failing.delay)
        };
        let Some(delay) = delay else { return };
        self.spawn_after(delay, Priority::High, keyspace, move |core, keyspace| {
            again(core, keyspace);
            if work == Work::Compaction {
                core.forget_compaction_if_idle(keyspace);
            }
        });
    }

    /// Where no compaction is due any more, none could succeed: what failed is history.
    pub(crate) fn forget_compaction_if_idle(&self, keyspace: &KeyspaceCore) {
        let idle = {
            let jobs = keyspace.jobs.lock();
            !jobs.paused && jobs.queued == 0 && jobs.claims.is_empty()
        };
        if idle {
            self.background_succeeded(keyspace, Work::Compaction);
        }
    }

    /// The keyspace has been dropped, and what failed in it with it.
    pub(crate) fn forget_failures_of(&self, keyspace: KeyspaceId) {
        let is_its = |subject: &Subject| matches!(subject, Subject::Keyspace(id, _) if *id == keyspace);
        self.health.forget(is_its);
    }

    /// A failure of background work that no success of the same work has followed.
    pub(crate) fn background_error(&self) -> Option<Error> {
        self.health.find(|subject, _| *subject != Subject::Log)
    }

    /// How often background work has failed.
    pub(crate) fn failures(&self) -> u64 {
        self.health.count.load(Ordering::SeqCst)
    }

    /// An error when the database is closed or poisoned, or background work has failed since there were `failures`.
    pub(crate) fn background_outcome(&self, failures: u64) -> Result<()> {
        if let Some(error) = self.poisoned() {
            return Err(error);
        }
        self.check_open()?;
        match self.background_error() {
            Some(error) if self.failures() > failures => Err(error),
            _ => Ok(()),
        }
    }

    /// The damage that background work has found, if it has.
    pub(crate) fn hopeless(&self) -> Option<Error> {
        if !self.health.hopeless.load(Ordering::Acquire) {
            return None;
        }
        self.health.find(|_, failing| failing.is_hopeless())
    }
}

/// Writers.
impl Core {
    /// An error where nothing is to be written any more.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.hopeless() {
            Some(cause) => Err(self.poisoned().unwrap_or(Error::Background {
                cause: Arc::new(cause),
            })),
            None => Ok(()),
        }
    }

    /// Takes note of how a write to the log went. After a failure the engine sees to it that the log goes on, without waiting for the
    /// next write.
    pub(crate) fn note_log<T>(self: &Arc<Self>, written: &Result<T>) {
        match written {
            Ok(_) if self.health.log.load(Ordering::Acquire) => self.log_works(),
            Err(error @ Error::Io { .. }) => {
                self.note_full_disk(error);
                // One series of attempts is enough.
                let is_new = !self.health.log.load(Ordering::Acquire);
                let delay = self
                    .health
                    .note(Subject::Log, error.clone(), self.env.clock.now());
                if let Some(delay) = delay.filter(|_| is_new) {
                    self.retry_log(delay);
                }
            }
            _ => {}
        }
    }

    fn log_works(&self) {
        self.health.forget(|subject| *subject == Subject::Log);
    }

    fn retry_log(self: &Arc<Self>, delay: Duration) {
        self.spawn_for_all_after(delay, Priority::High, |core| {
            if !core.health.log.load(Ordering::Acquire) {
                return;
            }
            match core.wal().and_then(Wal::revive) {
                Ok(()) => core.log_works(),
                Err(error) => {
                    core.note_full_disk(&error);
                    let delay = core.health.note(Subject::Log, error, core.env.clock.now());
                    if let Some(delay) = delay.filter(|_| core.poisoned().is_none()) {
                        core.retry_log(delay);
                    }
                }
            }
        });
    }

    /// Stops all writing for good: what the disk holds is unknown.
    pub(crate) fn poison(&self, cause: Error) -> Error {
        if let Some(wal) = &self.wal {
            wal.poison(cause.clone());
        }
        self.progress.notify();
        self.poisoned().unwrap_or(Error::Poisoned {
            cause: Arc::new(cause),
        })
    }

    /// The error that stops all writing, if there is one.
    pub(crate) fn poisoned(&self) -> Option<Error> {
        self.wal.as_ref().and_then(Wal::poisoned)
    }
}

impl Core {
    /// The state, worst first.
    pub(crate) fn health(&self) -> Health {
        if let Some(why) = self.poisoned() {
            return Health::Poisoned { why };
        }
        if let Some(why) = self
            .check_open()
            .and(self.wal().map(drop))
            .err()
            .or_else(|| self.hopeless())
        {
            return Health::ReadOnly { why };
        }
        let failing = self.health.failing.lock();
        let Some((subject, failing)) = failing.iter().min_by_key(|(_, failing)| failing.since) else {
            return Health::Good;
        };
        let (subject, failing) = (*subject, failing.clone());
        let now = self.env.clock.now();
        Health::Retrying {
            what: self.activity(subject),
            since: now.saturating_sub(failing.since),
            error: failing.error,
            next: failing.next.saturating_sub(now),
        }
    }

    fn activity(&self, subject: Subject) -> Activity {
        let Subject::Keyspace(id, work) = subject else {
            return Activity::Log;
        };
        let found = self
            .keyspaces
            .read()
            .get(&id)
            .map(|keyspace| keyspace.name.to_string());
        let keyspace = found.unwrap_or_default();
        match work {
            Work::Flush => Activity::Flush { keyspace },
            Work::Compaction => Activity::Compaction { keyspace },
        }
    }
}
