//! [`Task`]: a benchmark's parameters, from the flags and the benchmark's own; [`Group`]: what its threads share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use packstone::Durability;
use parking_lot::Mutex;

use crate::data::ValueSizes;
use crate::flags::Config;
use crate::measure::Pacer;

/// What one benchmark does, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Keys lie below this.
    pub(crate) num: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Operations where each may be either.
    pub(crate) reads_writes: u64,
    pub(crate) deletes: u64,
    pub(crate) duration: Option<Duration>,
    pub(crate) sizes: ValueSizes,
    pub(crate) batch_size: usize,
    pub(crate) durability: Durability,
    /// Somebody puts meanwhile: an absent key may appear.
    pub(crate) puts: bool,
    /// Whether `num` is not that of the flags, which the report then says.
    pub(crate) scaled: bool,
}

impl Task {
    pub(crate) fn new(config: &Config) -> Self {
        Task {
            num: config.num,
            reads: config.reads,
            writes: config.writes,
            reads_writes: config.reads_writes,
            deletes: config.deletes,
            duration: config.duration,
            sizes: ValueSizes::new(config),
            batch_size: config.batch_size,
            durability: config.durability,
            puts: false,
            scaled: false,
        }
    }

    /// A `share`-th of the keys, and of the writes unless their number was given; at least one.
    pub(crate) fn scale(&mut self, share: u64) {
        if self.writes == self.num {
            self.writes = (self.writes / share).max(1);
        }
        self.num = (self.num / share).max(1);
        self.scaled = true;
    }
}

/// How many operations a thread may still do.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    deadline: Option<Instant>,
    asked: u32,
}

impl Budget {
    /// A duration goes before the number of operations.
    pub(crate) fn new(ops: u64, duration: Option<Duration>) -> Self {
        let deadline = duration.map(|duration| Instant::now() + duration);
        let left = if deadline.is_some() { u64::MAX } else { ops };
        Budget {
            left,
            deadline,
            asked: 0,
        }
    }

    /// Takes up to `n` operations; 0 at the end. The clock is looked at every 16 calls.
    pub(crate) fn take(&mut self, n: u64) -> u64 {
        if let Some(deadline) = self.deadline {
            self.asked = self.asked.wrapping_add(1);
            if self.asked % 16 == 1 && Instant::now() >= deadline {
                self.left = 0;
            }
        }
        let taken = n.min(self.left);
        self.left -= taken;
        taken
    }

    /// These were taken and not done.
    pub(crate) fn give_back(&mut self, n: u64) {
        self.left = self.left.saturating_add(n);
    }
}

/// What the threads of a benchmark share.
#[derive(Debug)]
pub(crate) struct Group {
    /// Threads that are measured and not done yet.
    pub(crate) running: AtomicUsize,
    /// One has failed: the others need not go on.
    pub(crate) failed: AtomicBool,
    pub(crate) write_pacer: Pacer,
    pub(crate) read_pacer: Pacer,
    /// Operations of mixgraph, by its sine.
    pub(crate) mix_pacer: Pacer,
    pub(crate) inserts: Inserts,
}

impl Group {
    pub(crate) fn new(config: &Config, threads: usize) -> Self {
        Group {
            running: AtomicUsize::new(threads),
            failed: AtomicBool::new(false),
            write_pacer: Pacer::new(config.write_rate),
            read_pacer: Pacer::new(config.read_rate),
            mix_pacer: Pacer::new(0),
            inserts: Inserts::new(config.num),
        }
    }

    /// Whether background threads should end.
    pub(crate) fn is_over(&self) -> bool {
        self.running.load(Ordering::Acquire) == 0 || self.failed.load(Ordering::Relaxed)
    }
}

/// Numbers of new records, YCSB's way: given out in order, and visible to readers up to the first that is still being
/// written.
#[derive(Debug)]
pub(crate) struct Inserts {
    next: AtomicU64,
    /// All below are written.
    written: AtomicU64,
    early: Mutex<BTreeSet<u64>>,
}

impl Inserts {
    fn new(first: u64) -> Self {
        Inserts {
            next: AtomicU64::new(first),
            written: AtomicU64::new(first),
            early: Mutex::default(),
        }
    }

    pub(crate) fn begin(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn end(&self, number: u64) {
        let mut early = self.early.lock();
        early.insert(number);
        let mut written = self.written.load(Ordering::Relaxed);
        while early.remove(&written) {
            written += 1;
        }
        self.written.store(written, Ordering::Release);
    }

    /// How many records there are.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_visible_when_all_before_it_are() {
        let inserts = Inserts::new(10);
        let (a, b, c) = (inserts.begin(), inserts.begin(), inserts.begin());
        inserts.end(b);
        assert_eq!(inserts.written(), 10);
        inserts.end(a);
        assert_eq!(inserts.written(), 12);
        inserts.end(c);
        assert_eq!(inserts.written(), 13);
    }

    #[test]
    fn a_budget_ends_with_its_operations_or_its_time() {
        let mut budget = Budget::new(10, None);
        assert_eq!(
            [budget.take(4), budget.take(4), budget.take(4), budget.take(4)],
            [4, 4, 2, 0]
        );
        let mut budget = Budget::new(1, Some(Duration::from_millis(20)));
        let mut ops = 0;
        while budget.take(1) > 0 {
            ops += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(ops > 1, "the duration goes first");
    }
}
