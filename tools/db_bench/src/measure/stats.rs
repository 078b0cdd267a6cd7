//! [`Stats`]: what one thread has done in a benchmark, and the sum over threads; [`Shared`]: what others may see of it
//! while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::histogram::Latencies;
use super::process;
use crate::flags::Config;

/// Kinds of operations, named as in RocksDB's histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Read,
    Write,
    Delete,
    Seek,
    Update,
    Compress,
    Uncompress,
    Crc,
    Hash,
    Other,
}

impl Op {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Read => "read",
            Op::Write => "write",
            Op::Delete => "delete",
            Op::Seek => "seek",
            Op::Update => "update",
            Op::Compress => "compress",
            Op::Uncompress => "uncompress",
            Op::Crc => "crc",
            Op::Hash => "hash",
            Op::Other => "op",
        }
    }
}

/// Progress of all threads of a benchmark, for who watches.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Whether anybody watches: counting in one place costs threads that run side by side.
    pub(crate) watched: bool,
    pub(crate) ops: AtomicU64,
    /// Latencies since somebody last took them; only with a plot.
    pub(crate) recent: Option<Mutex<Option<Latencies>>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Stats {
    id: usize,
    start: Instant,
    finish: Instant,
    /// The sum of the threads' times.
    pub(crate) busy: Duration,
    pub(crate) ops: u64,
    /// Bytes that the MB/s count: of keys and values.
    pub(crate) bytes: u64,
    pub(crate) latencies: BTreeMap<Op, Latencies>,
    /// Reads, and how many of them found something; `None` where nothing is looked for.
    pub(crate) found: Option<(u64, u64)>,
    /// Puts and deletes done.
    pub(crate) entries_written: u64,
    /// Bytes of keys and values in them.
    pub(crate) user_bytes: u64,
    /// Counts that the message names, by name, summed over threads.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// A remark about the run as a whole.
    pub(crate) note: String,
    timed: bool,
    last_op: Instant,
    interval: Interval,
}

/// When the thread next tells how far it is.
#[derive(Clone, Copy, Debug)]
struct Interval {
    progress: bool,
    every: u64,
    seconds: Option<Duration>,
    next: u64,
    last_ops: u64,
    last_time: Instant,
}

impl Stats {
    /// `quiet` where a live progress line is drawn by somebody else.
    pub(crate) fn new(id: usize, config: &Config, quiet: bool) -> Self {
        let now = Instant::now();
        // As in RocksDB: seconds without a number of operations are looked at every so many operations.
        let every = match (config.stats_interval, config.stats_interval_seconds) {
            (0, Some(_)) => 1000,
            (every, _) => every,
        };
        Stats {
            id,
            start: now,
            finish: now,
            busy: Duration::ZERO,
            ops: 0,
            bytes: 0,
            latencies: BTreeMap::new(),
            found: None,
            entries_written: 0,
            user_bytes: 0,
            counts: BTreeMap::new(),
            note: String::new(),
            timed: config.timed(),
            last_op: now,
            interval: Interval {
                progress: config.progress && (every > 0 || !quiet),
                every,
                seconds: config.stats_interval_seconds,
                next: if every > 0 { every } else { 100 },
                last_ops: 0,
                last_time: now,
            },
        }
    }

    pub(crate) fn start(&mut self) {
        let now = Instant::now();
        (self.start, self.finish, self.last_op, self.interval.last_time) = (now, now, now, now);
    }

    pub(crate) fn stop(&mut self) {
        self.finish = Instant::now();
        self.busy = self.finish - self.start;
    }

    /// Wall time, from the first start to the last finish.
    pub(crate) fn elapsed(&self) -> Duration {
        (self.finish - self.start).max(Duration::from_nanos(1))
    }

    /// Leaves a wait out of the latency of the next operation.
    pub(crate) fn forget_wait(&mut self) {
        if self.timed {
            self.last_op = Instant::now();
        }
    }

    /// Operations are done, `ops` of one kind in one step. Returns whether the state of the tree should be printed.
    pub(crate) fn finished(&mut self, shared: &Shared, op: Op, ops: u64) -> bool {
        self.ops += ops;
        if shared.watched {
            shared.ops.fetch_add(ops, Ordering::Relaxed);
        }
        if self.timed {
            let now = Instant::now();
            let nanos = (now - self.last_op).as_nanos() as u64;
            self.last_op = now;
            self.latencies
                .entry(op)
                .or_insert_with(Latencies::new)
                .record(nanos);
            if let Some(recent) = &shared.recent {
                recent.lock().get_or_insert_with(Latencies::new).record(nanos);
            }
        }
        self.interval.progress && self.ops >= self.interval.next && self.tell()
    }

    fn tell(&mut self) -> bool {
        let interval = &mut self.interval;
        if interval.every == 0 {
            interval.next += match interval.next {
                0..1000 => 100,
                1000..5000 => 500,
                5000..10_000 => 1000,
                10_000..50_000 => 5000,
                50_000..100_000 => 10_000,
                100_000..500_000 => 50_000,
                _ => 100_000,
            };
            eprint!("... finished {} ops{:30}\r", self.ops, "");
            return false;
        }
        interval.next = self.ops + interval.every;
        let now = Instant::now();
        let passed = now - interval.last_time;
        if interval.seconds.is_some_and(|seconds| passed < seconds) {
            return false;
        }
        let (passed, all) = (
            passed.as_secs_f64().max(1e-9),
            (now - self.start).as_secs_f64().max(1e-9),
        );
        let new = self.ops - interval.last_ops;
        eprintln!(
            "{} ... thread {}: ({new},{}) ops and ({:.1},{:.1}) ops/second in ({passed:.6},{all:.6}) seconds",
            process::timestamp(),
            self.id,
            self.ops,
            new as f64 / passed,
            self.ops as f64 / all,
        );
        (interval.last_time, interval.last_ops) = (now, self.ops);
        self.id == 0
    }

    /// A read has found something, or not.
    pub(crate) fn looked(&mut self, found: bool) {
        let (reads, hits) = self.found.unwrap_or_default();
        self.found = Some((reads + 1, hits + u64::from(found)));
    }

    pub(crate) fn count(&mut self, name: &'static str, n: u64) {
        *self.counts.entry(name).or_default() += n;
    }

    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// Adds another thread's.
    pub(crate) fn add(&mut self, other: &Stats) {
        self.start = self.start.min(other.start);
        self.finish = self.finish.max(other.finish);
        self.busy += other.busy;
        self.ops += other.ops;
        self.bytes += other.bytes;
        for (op, latencies) in &other.latencies {
            self.latencies
                .entry(*op)
                .or_insert_with(Latencies::new)
                .add(latencies);
        }
        if let Some((reads, hits)) = other.found {
            let (all_reads, all_hits) = self.found.unwrap_or_default();
            self.found = Some((all_reads + reads, all_hits + hits));
        }
        self.entries_written += other.entries_written;
        self.user_bytes += other.user_bytes;
        for (name, n) in &other.counts {
            self.count(name, *n);
        }
        if self.note.is_empty() {
            self.note = other.note.clone();
        }
    }

    pub(crate) fn ops_per_second(&self) -> f64 {
        self.ops.max(1) as f64 / self.elapsed().as_secs_f64()
    }

    /// Mebibytes a second, if bytes were counted.
    pub(crate) fn mib_per_second(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.bytes as f64 / (1 << 20) as f64 / self.elapsed().as_secs_f64())
    }

    /// Mean microseconds of an operation: of the threads' time, not the wall's.
    pub(crate) fn micros_per_op(&self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / self.ops.max(1) as f64
    }
}
