//! [`Latencies`]: how long operations take, counted while somebody has switched it on.
//!
//! * Off, an operation pays one relaxed load, and no clock is read. On, it pays two readings of the environment's clock (a write four) and three
//!   additions, and allocates nothing.
//! * What many threads do at once is counted in parts, one for a thread (threads beyond `PARTS` share them). They are put together when
//!   somebody looks, so which thread has which part shows nowhere.
//! * The counts are made when it is switched on for the first time and kept: half a MiB, from the slack of the memory limit.
//!
//! Callers: the API and the write path around their operations, `flush`, `compaction`, `throttle`, metrics.

mod histogram;

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

pub use self::histogram::Latency;
use self::histogram::{Histogram, read};
use super::core::Core;
use super::pressure::Cause;

/// Parts that threads spread over: a power of two, about as many as threads that read at once on most machines.
const PARTS: usize = 8;

/// What is timed. Those that threads do at once come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timed {
    Get,
    MultiGet,
    WriteBuffered,
    WriteSync,
    Seek,
    Next,
    Flush,
    Compaction,
    LogSync,
    LogFile,
    LogAppend,
    Stall(Cause),
}

/// How many kinds are counted in parts, and how many are not.
const SHARED: usize = 6;
const SINGLE: usize = 5 + Cause::ALL.len();

impl Timed {
    /// Its number.
    fn index(self) -> usize {
        match self {
            Timed::Get => 0,
            Timed::MultiGet => 1,
            Timed::WriteBuffered => 2,
            Timed::WriteSync => 3,
            Timed::Seek => 4,
            Timed::Next => 5,
            Timed::Flush => 6,
            Timed::Compaction => 7,
            Timed::LogSync => 8,
            Timed::LogFile => 9,
            Timed::LogAppend => 10,
            Timed::Stall(cause) => 11 + cause as usize,
        }
    }

    /// Where its histograms are.
    fn places(self) -> std::ops::Range<usize> {
        let index = self.index();
        if index < SHARED {
            index * PARTS..(index + 1) * PARTS
        } else {
            let place = SHARED * PARTS + index - SHARED;
            place..place + 1
        }
    }
}

/// How long operations took since the switch was last thrown, see [`Options::latencies`](crate::Options::latencies): all 0
/// if it never was. Those that failed are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencyMetrics {
    /// Look-ups of one key: `get`, `get_into`, `contains_key`.
    pub get: Latency,
    /// Calls of `multi_get`.
    pub multi_get: Latency,
    /// Puts, deletes and batches with [`Durability::Buffered`](crate::Durability::Buffered), from the call to its return, stalls
    /// included.
    pub write_buffered: Latency,
    /// The same with [`Durability::Sync`](crate::Durability::Sync).
    pub write_sync: Latency,
    /// What positions a cursor, and the first step at either end of a range.
    pub seek: Latency,
    /// Steps of cursors and ranges, the reading of the value included in those of ranges.
    pub next: Latency,
    /// Flushes of one keyspace.
    pub flush: Latency,
    /// Compactions, but for those that only move or delete files.
    pub compaction: Latency,
    /// Waits until the log is durable: of synced writes, `sync`, and flushes. Several may share one sync.
    pub log_sync: Latency,
    /// Groups of writes that had to begin a new log file, from the first byte to the last.
    pub log_file: Latency,
    /// All other groups of writes, from the first byte to the last: without a call to the system where the log is mapped.
    pub log_append: Latency,
    /// Waits of writers for flushes, because too many memtables wait for theirs.
    pub stall_memtables: Latency,
    /// Waits of writers for compactions of level 0.
    pub stall_level_0: Latency,
    /// Waits of writers because of the bytes that compaction owes.
    pub stall_debt: Latency,
    /// Waits of writers because memtables have reached their share of the memory limit.
    pub stall_memory: Latency,
    /// Waits of writers of objects because of garbage in packs.
    pub stall_garbage: Latency,
}

impl LatencyMetrics {
    /// All of them, with their names.
    pub fn named(&self) -> [(&'static str, Latency); 16] {
        [
            ("get", self.get),
            ("multi_get", self.multi_get),
            ("write_buffered", self.write_buffered),
            ("write_sync", self.write_sync),
            ("seek", self.seek),
            ("next", self.next),
            ("flush", self.flush),
            ("compaction", self.compaction),
            ("log_sync", self.log_sync),
            ("log_file", self.log_file),
            ("log_append", self.log_append),
            ("stall_memtables", self.stall_memtables),
            ("stall_level_0", self.stall_level_0),
            ("stall_debt", self.stall_debt),
            ("stall_memory", self.stall_memory),
            ("stall_garbage", self.stall_garbage),
        ]
    }
}

/// What filters said to point look-ups, counted together with the latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterMetrics {
    /// Bytes of filters in all SSTs.
    pub bytes: u64,
    /// SSTs that their filters kept look-ups from.
    pub kept_away: u64,
    /// SSTs that held the key that was looked up.
    pub found: u64,
    /// SSTs that were searched in vain: the filter erred, there is none, or the version is newer than the snapshot.
    pub in_vain: u64,
}

/// See the module's comment.
pub(crate) struct Latencies {
    on: AtomicBool,
    counts: OnceLock<Counts>,
}

struct Counts {
    histograms: Vec<Histogram>,
    filters: [FilterCounts; PARTS],
}

/// Of one part.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct FilterCounts {
    kept_away: AtomicU64,
    found: AtomicU64,
    in_vain: AtomicU64,
}

impl FilterCounts {
    pub(crate) fn kept_away(&self) {
        self.kept_away.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn searched(&self, found: bool) {
        let counter = if found { &self.found } else { &self.in_vain };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The calling thread's part: threads get them in turns.
fn part() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PART: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let mine = PART.try_with(|part| match part.get() {
        Some(mine) => mine,
        None => {
            let mine = NEXT.fetch_add(1, Ordering::Relaxed) % PARTS;
            part.set(Some(mine));
            mine
        }
    });
    // A thread that is ending has none any more.
    mine.unwrap_or(0)
}

impl Latencies {
    pub(crate) fn new(on: bool) -> Self {
        let latencies = Latencies {
            on: AtomicBool::new(false),
            counts: OnceLock::new(),
        };
        latencies.set(on);
        latencies
    }

    /// Throws the switch. Switched on, it begins at zero, also when it was on before.
    pub(crate) fn set(&self, on: bool) {
        if on {
            let counts = self.counts.get_or_init(|| Counts {
                histograms: std::iter::repeat_with(Histogram::new)
                    .take(SHARED * PARTS + SINGLE)
                    .collect(),
                filters: Default::default(),
            });
            counts.histograms.iter().for_each(Histogram::clear);
            for part in &counts.filters {
                for counter in [&part.kept_away, &part.found, &part.in_vain] {
                    counter.store(0, Ordering::Relaxed);
                }
            }
        }
        self.on.store(on, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn record(&self, kind: Timed, time: Duration) {
        let places = kind.places();
        let place = if places.len() > 1 {
            places.start + part()
        } else {
            places.start
        };
        let histogram = self.counts.get().and_then(|counts| counts.histograms.get(place));
        if let Some(histogram) = histogram {
            histogram.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Where look-ups count what filters said, while it is on.
    #[inline]
    pub(crate) fn filters(&self) -> Option<&FilterCounts> {
        if !self.is_on() {
            return None;
        }
        self.counts.get()?.filters.get(part())
    }

    pub(crate) fn metrics(&self) -> LatencyMetrics {
        let Some(counts) = self.counts.get() else {
            return LatencyMetrics::default();
        };
        let of = |kind: Timed| read(counts.histograms.get(kind.places()).into_iter().flatten());
        LatencyMetrics {
            get: of(Timed::Get),
            multi_get: of(Timed::MultiGet),
            write_buffered: of(Timed::WriteBuffered),
            write_sync: of(Timed::WriteSync),
            seek: of(Timed::Seek),
            next: of(Timed::Next),
            flush: of(Timed::Flush),
            compaction: of(Timed::Compaction),
            log_sync: of(Timed::LogSync),
            log_file: of(Timed::LogFile),
            log_append: of(Timed::LogAppend),
            stall_memtables: of(Timed::Stall(Cause::Memtables)),
            stall_level_0: of(Timed::Stall(Cause::Level0)),
            stall_debt: of(Timed::Stall(Cause::Debt)),
            stall_memory: of(Timed::Stall(Cause::Memory)),
            stall_garbage: of(Timed::Stall(Cause::Garbage)),
        }
    }

    /// `bytes`: of filters in all SSTs.
    pub(crate) fn filter_metrics(&self, bytes: u64) -> FilterMetrics {
        let parts = || self.counts.get().into_iter().flat_map(|counts| &counts.filters);
        let sum = |counter: fn(&FilterCounts) -> &AtomicU64| {
            parts().map(|part| counter(part).load(Ordering::Relaxed)).sum()
        };
        FilterMetrics {
            bytes,
            kept_away: sum(|part| &part.kept_away),
            found: sum(|part| &part.found),
            in_vain: sum(|part| &part.in_vain),
        }
    }
}

impl Core {
    /// The beginning of something timed, for `note_time`; `None` while nothing is.
    #[inline]
    pub(crate) fn begin_timing(&self) -> Option<Duration> {
        self.latencies.is_on().then(|| self.env.clock.now())
    }

    /// The end of something timed.
    #[inline]
    pub(crate) fn note_time(&self, kind: Timed, begun: Option<Duration>) {
        if let Some(begun) = begun {
            self.note_time_since(kind, begun);
        }
    }

    #[cold]
    fn note_time_since(&self, kind: Timed, begun: Duration) {
        let time = self.env.clock.now().saturating_sub(begun);
        self.latencies.record(kind, time);
    }
}

#[cfg(test)]
mod tests;
