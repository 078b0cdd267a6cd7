//! Back-pressure: writers are slowed by what flush and compaction still owe.
//!
//! ```text
//!  delay per KiB (nanoseconds, and the rate that it leaves one writer)
//!    2 ms │                                           *│   500 KB/s     d = 0.95
//!         │                                          * │
//!    1 ms │                                        *   │     1 MB/s     d = 0.91
//!         │                                     *      │
//!  100 us │                         *                  │    10 MB/s     d = 0.62
//!   13 us │             *                              │    80 MB/s     d = 0.30
//!    1 us │    *                                       │     1 GB/s     d = 0.10
//!       0 *────────────────────────────────────────────┴────────────
//!         0                 debt d                     1  stop: wait for progress
//!
//!  delay(d) = d^2 / (1 - d) * 100 us
//! ```
//!
//! Debt is the greatest of three fractions, each 0 where a busy database normally is:
//!
//! | of | from | to |
//! | --- | --- | --- |
//! | level-0 SSTs, each of which every read asks | `SLOW_L0` | `STOP_L0` |
//! | frozen memtables, which are memory | 1 | `STOP_FROZEN` |
//! | bytes that compaction has still to write until the tree has its shape (`Shape::owed`: level 0 times what the base makes of it, what is over a target times the overlap), in full levels 0 | `SLOW_OWED` | `FULL_OWED`, but at most `MOST_OWED` of the debt |
//!
//! Writers of objects are slowed for two more: the part of all packs that is dead and can be collected, from `SLOW_GARBAGE` to `FULL_GARBAGE`, and full packs that are
//! not sealed, from 1 to `FULL_UNSEALED`; at most `MOST_OWED` of the debt.
//!
//! The curve leaves zero flat, so that a normal backlog costs nothing, and has no step; bytes owed slow writers down to a trickle
//! but never stop them: space is all that they cost. The stop is for what would break a bound: memory, and the files that a read asks.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Level-0 SSTs up to which writers run free: twice the number that starts a compaction.
pub(super) const SLOW_L0: usize = 8;
/// Level-0 SSTs at which writers wait. Every read asks each of them, and so many still merge in one compaction.
const STOP_L0: usize = 20;
/// Frozen memtables at which writers wait: it bounds the memory.
const STOP_FROZEN: usize = 4;
/// Bytes owed, in what level 0 hands down at once, up to which writers run free: four times what a full level 0 over a base about to be
/// split owes. 16 GiB with the default write buffer.
const SLOW_OWED: f64 = 64.0;
/// Bytes owed at which writers are slowed the most: 64 GiB with the default write buffer.
const FULL_OWED: f64 = 256.0;
/// The debt that bytes owed make at most: they never stop writers.
const MOST_OWED: f64 = 0.95;
/// Full packs that are not sealed at which writers of objects are slowed the most: the medium is slower than they are.
const FULL_UNSEALED: usize = 6;
/// The part of all packs that is known to be dead up to which writers run free: a collection is at work by then.
const SLOW_GARBAGE: f64 = 0.30;
/// The part at which writers of objects are slowed the most: with what has not been noticed yet packs take 1.8 times what lives then.
const FULL_GARBAGE: f64 = 0.36;
/// Nanoseconds for each KiB at the point of the curve where d²/(1-d) is one (d = 0.62): 10 MB/s.
const SCALE_NANOS: f64 = 100_000.0;
/// Delays are paid in sleeps of at least this long: shorter ones oversleep by their own length.
pub(super) const LEAST_SLEEP_NANOS: u64 = 1_000_000;
/// The longest sleep before a writer looks again whether the debt is still there: a large value owes minutes.
pub(super) const LONGEST_SLEEP_NANOS: u64 = 10_000_000;
/// The nanoseconds for each KiB that mean "wait".
pub(super) const STOP: u64 = u64::MAX;

/// What holds writers back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Memtables that wait for their flush.
    Memtables,
    /// SSTs of level 0.
    Level0,
    /// Bytes that compaction owes.
    Debt,
    /// The memtables' share of the memory limit.
    Memory,
    /// Objects in packs that nobody needs any more.
    Garbage,
}

impl Cause {
    pub(crate) const ALL: [Cause; 5] = [
        Cause::Memtables,
        Cause::Level0,
        Cause::Debt,
        Cause::Memory,
        Cause::Garbage,
    ];

    /// The one of that number in `ALL`.
    fn of(number: usize) -> Cause {
        Cause::ALL.get(number).copied().unwrap_or(Cause::Memory)
    }
}

/// A delay that is asked of writers, and why.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    nanos_per_kib: AtomicU64,
    /// A number in `Cause::ALL`. Read a moment after the delay it may be that of another: nothing but metrics follow from it.
    cause: AtomicUsize,
}

impl Asked {
    pub(super) fn set(&self, nanos_per_kib: u64, cause: Cause) {
        self.cause.store(cause as usize, Ordering::Relaxed);
        self.nanos_per_kib.store(nanos_per_kib, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn nanos_per_kib(&self) -> u64 {
        self.nanos_per_kib.load(Ordering::Relaxed)
    }

    pub(super) fn cause(&self) -> Cause {
        Cause::of(self.cause.load(Ordering::Relaxed))
    }
}

/// How much writers are slowed at present.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    /// Held from the look at a keyspace to the note of what it asks: an older look must not overwrite a newer one.
    pub(super) looking: Mutex<()>,
    pub(super) asked: Asked,
    /// Of the contents of objects.
    pub(super) asked_of_objects: AtomicU64,
    /// Delay that writers have earned and not yet slept.
    pub(super) owed_nanos: AtomicU64,
    pub(crate) stalls: [Stalls; Cause::ALL.len()],
}

/// How often writers were held back for one cause, and how long, since the opening.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    pub(crate) count: AtomicU64,
    pub(crate) nanos: AtomicU64,
}

/// Nanoseconds for each KiB at a debt.
pub(super) fn delay(debt: f64) -> u64 {
    if debt >= 1.0 {
        return STOP;
    }
    let debt = debt.max(0.0);
    (SCALE_NANOS * debt * debt / (1.0 - debt)) as u64
}

/// The debt that packs make: garbage in them, and full ones that are not sealed.
pub(super) fn object_debt(dead: u64, all: u64, full: usize) -> f64 {
    let part = dead as f64 / all.max(1) as f64;
    let by_garbage = (part - SLOW_GARBAGE) / (FULL_GARBAGE - SLOW_GARBAGE);
    let by_unsealed = full.saturating_sub(1) as f64 / (FULL_UNSEALED - 1) as f64;
    by_garbage.max(by_unsealed).min(MOST_OWED)
}

/// The debt of a keyspace: 0 is none, 1 stops; and what makes it. `owed`: bytes owed for each byte that level 0 hands down at
/// once.
pub(super) fn debt(level_0: usize, frozen: usize, owed: f64) -> (f64, Cause) {
    let by_level_0 = level_0.saturating_sub(SLOW_L0) as f64 / (STOP_L0 - SLOW_L0) as f64;
    // One frozen memtable is the normal state of a busy writer.
    let by_frozen = frozen.saturating_sub(1) as f64 / (STOP_FROZEN - 1) as f64;
    let by_owed = ((owed - SLOW_OWED) / (FULL_OWED - SLOW_OWED)).min(MOST_OWED);
    let (mut most, mut cause) = (by_frozen, Cause::Memtables);
    for (debt, by) in [(by_level_0, Cause::Level0), (by_owed, Cause::Debt)] {
        if debt > most {
            (most, cause) = (debt, by);
        }
    }
    (most, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_grows_smoothly_from_nothing_to_a_stop() {
        assert_eq!(
            delay(debt(4, 1, 4.0).0),
            0,
            "a compaction about to start and one flush running cost nothing"
        );
        let delays: Vec<u64> = (SLOW_L0..=STOP_L0)
            .map(|files| delay(debt(files, 0, 0.0).0))
            .collect();
        assert!(delays.is_sorted());
        assert_eq!(delays[0], 0);
        assert_eq!(delays[delays.len() - 1], STOP);
        // No step is larger than eightfold once the curve has left zero: no cliff before the stop itself.
        for pair in delays[1..delays.len() - 1].windows(2) {
            assert!(pair[1] <= pair[0] * 8, "{pair:?}");
        }
        assert_eq!(delay(debt(0, STOP_FROZEN, 0.0).0), STOP);
    }

    #[test]
    fn bytes_owed_slow_writers_smoothly_and_never_stop_them() {
        let delays: Vec<u64> = (0..1000)
            .map(|owed| delay(debt(0, 0, f64::from(owed)).0))
            .collect();
        assert!(delays.is_sorted());
        assert_eq!(delays[64], 0);
        assert!(delays[70] > 0 && delays[999] < STOP);
        // One more unit owed, half a hundredth of the debt, costs at most an eighth more (and some nanoseconds where it begins).
        for pair in delays[64..].windows(2) {
            assert!(pair[1] <= pair[0] + pair[0] / 8 + 28, "{pair:?}");
        }
        // Sums and products of floats are the same on every machine.
        assert_eq!(delays[999], 1_804_999);
    }

    #[test]
    fn the_greatest_fraction_is_the_cause() {
        assert_eq!(debt(STOP_L0, 2, 0.0), (1.0, Cause::Level0));
        assert_eq!(debt(SLOW_L0, STOP_FROZEN, 100.0), (1.0, Cause::Memtables));
        assert_eq!(debt(SLOW_L0, 2, 1e9), (MOST_OWED, Cause::Debt));
        for cause in Cause::ALL {
            let asked = Asked::default();
            asked.set(7, cause);
            assert_eq!((asked.nanos_per_kib(), asked.cause()), (7, cause));
        }
    }

    #[test]
    fn garbage_slows_writers_of_objects_and_never_stops_them() {
        let delays: Vec<u64> = (0..=1000).map(|dead| delay(object_debt(dead, 1000, 0))).collect();
        assert!(delays.is_sorted());
        assert_eq!((delays[300], delay(object_debt(0, 0, 0))), (0, 0));
        assert!(delays[310] > 0);
        assert_eq!(delays[360], delay(MOST_OWED));
        assert_eq!(delays[1000], delays[360]);
        assert!(delays[1000] < STOP);
    }

    #[test]
    fn full_packs_that_wait_for_their_seal_slow_writers_of_objects() {
        let delays: Vec<u64> = (0..10).map(|full| delay(object_debt(0, 1000, full))).collect();
        assert!(delays.is_sorted());
        assert_eq!(delays[1], 0, "one is being sealed");
        assert!(delays[2] > 0 && delays[2] < delays[3]);
        assert_eq!(delays[FULL_UNSEALED], delay(MOST_OWED));
        assert_eq!(delays[9], delays[FULL_UNSEALED]);
        // The greater of the two.
        assert_eq!(delay(object_debt(340, 1000, 9)), delays[9]);
    }

    #[test]
    fn the_curve_is_as_drawn() {
        let micros = [0.1, 0.3, 0.62, 0.91, 0.95].map(|debt| (delay(debt) + 500) / 1000);
        assert_eq!(micros, [1, 13, 101, 920, 1805]);
    }
}
