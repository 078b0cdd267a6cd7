//! The numbers that somebody still reads at.
//!
//! Taking a snapshot reads the newest published number and registers it under one lock, the same that a job takes to
//! sample what must be kept: so either the job sees the snapshot, or the snapshot's number is at or above everything
//! that the job's inputs hold, and it will read the job's outputs unharmed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::planted::{self, Bug, Moment};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::types::SeqNo;

/// All open snapshots of a database, and the newest published number.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    open: Mutex<BTreeMap<SeqNo, usize>>,
    published: Apart<AtomicU64>,
    watch: Watch,
}

/// Who wants to know that old snapshots have gone.
struct Watch {
    /// What the oldest number has to reach; the greatest of all: nobody waits.
    seq: AtomicU64,
    then: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch {
            seq: AtomicU64::new(SeqNo::MAX),
            then: Mutex::new(None),
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// On a cache line of its own (two, as processors fetch them in pairs): every point read looks at the number, and must not
/// wait for those who register snapshots.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl Snapshots {
    /// Every write at or below this number is in its memtable.
    pub(crate) fn published(&self) -> SeqNo {
        self.published.0.load(Ordering::Acquire)
    }

    /// Declares all writes up to `seq` readable. REQUIRES: they are in their memtables, and no earlier write is missing.
    pub(crate) fn publish(&self, seq: SeqNo) {
        self.published.0.store(seq, Ordering::Release);
    }

    /// Opens a snapshot at the newest published number.
    pub(crate) fn register(self: &Arc<Self>) -> SnapshotGuard {
        let early = planted::is(Bug::SnapshotRegisteredLate).then(|| self.published());
        planted::pause(Moment::Registration);
        let mut open = self.open.lock();
        let seq = early.unwrap_or_else(|| self.published());
        *open.entry(seq).or_insert(0) += 1;
        SnapshotGuard {
            snapshots: self.clone(),
            seq,
        }
    }

    /// The numbers of the open snapshots, ascending. A job takes this once, after everything that it will write has been
    /// published, and shares it with its parts.
    pub(crate) fn sample(&self) -> Vec<SeqNo> {
        self.open.lock().keys().copied().collect()
    }

    /// The oldest number that somebody reads at; the greatest of all when nobody does.
    pub(crate) fn oldest(&self) -> SeqNo {
        self.open.lock().keys().next().copied().unwrap_or(SeqNo::MAX)
    }

    /// Has `then` called, once, when the oldest number that somebody reads at reaches `seq`, which may be at once.
    pub(crate) fn watch(&self, seq: SeqNo, then: impl Fn() + Send + Sync + 'static) {
        let mut watch = self.watch.then.lock();
        *watch = Some(Box::new(then));
        self.watch.seq.fetch_min(seq, Ordering::SeqCst);
        drop(watch);
        self.look();
    }

    /// Calls whoever waits for what has been reached.
    fn look(&self) {
        if self.oldest() < self.watch.seq.load(Ordering::SeqCst) {
            return;
        }
        let then = {
            let mut watch = self.watch.then.lock();
            self.watch.seq.store(SeqNo::MAX, Ordering::SeqCst);
            watch.take()
        };
        if let Some(then) = then {
            then();
        }
    }

    /// How many snapshots are open, iterators counted.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().values().sum()
    }
}

/// An open snapshot: closed when dropped.
#[derive(Debug)]
pub(crate) struct SnapshotGuard {
    snapshots: Arc<Snapshots>,
    seq: SeqNo,
}

impl SnapshotGuard {
    pub(crate) fn seq(&self) -> SeqNo {
        self.seq
    }
}

impl Clone for SnapshotGuard {
    fn clone(&self) -> Self {
        *self.snapshots.open.lock().entry(self.seq).or_insert(0) += 1;
        SnapshotGuard {
            snapshots: self.snapshots.clone(),
            seq: self.seq,
        }
    }
}

impl Drop for SnapshotGuard {
    fn drop(&mut self) {
        let mut open = self.snapshots.open.lock();
        let Some(count) = open.get_mut(&self.seq) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        open.remove(&self.seq);
        drop(open);
        // One load where nobody waits, which is the rule.
        if self.snapshots.watch.seq.load(Ordering::SeqCst) != SeqNo::MAX {
            self.snapshots.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_old_snapshots_is_called_when_the_last_of_them_goes() {
        let snapshots = Arc::new(Snapshots::default());
        let called = Arc::new(AtomicU64::new(0));
        let watch = |seq| {
            let called = called.clone();
            snapshots.watch(seq, move || _ = called.fetch_add(1, Ordering::SeqCst));
        };
        watch(3);
        assert_eq!(called.load(Ordering::SeqCst), 1, "nobody reads: at once");
        snapshots.publish(5);
        let old = snapshots.register();
        let older = old.clone();
        snapshots.publish(9);
        let new = snapshots.register();
        watch(9);
        drop(old);
        assert_eq!(called.load(Ordering::SeqCst), 1, "its clone is there");
        drop(older);
        assert_eq!(called.load(Ordering::SeqCst), 2, "the new one reads at 9");
        drop(new);
        assert_eq!(called.load(Ordering::SeqCst), 2, "once");
    }

    #[test]
    fn a_number_stays_registered_until_its_last_reader_goes() {
        let snapshots = Arc::new(Snapshots::default());
        snapshots.publish(5);
        let first = snapshots.register();
        let second = first.clone();
        snapshots.publish(9);
        let third = snapshots.register();
        assert_eq!(snapshots.sample(), [5, 9]);
        drop(first);
        assert_eq!(snapshots.sample(), [5, 9]);
        drop(second);
        assert_eq!(snapshots.sample(), [9]);
        drop(third);
        assert_eq!(snapshots.count(), 0);
    }
}
