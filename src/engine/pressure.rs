//! Back-pressure: writers are slowed by what flush and compaction still owe.
//!
//! ```text
//!  delay
//!  per KiB │                                 ·  stop: wait for progress
//!          │                              ·
//!          │                          ··
//!          │                   ···
//!          │ ············
//!          └────────────────────────────────────  debt d
//!            0        (d²/(1-d) · 100 µs)     1
//! ```
//!
//! Debt is the greater of two fractions: level-0 SSTs between `SLOW_L0` and `STOP_L0`, and frozen memtables up to
//! `STOP_FROZEN`. The curve starts flat, so that a normal backlog costs nothing, and has no step.

use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;

/// Level-0 SSTs up to which writers run free: twice the number that starts a compaction.
pub(super) const SLOW_L0: usize = 8;
/// Level-0 SSTs at which writers wait. Every read asks each of them, and so many still merge in one compaction.
const STOP_L0: usize = 20;
/// Frozen memtables at which writers wait: it bounds the memory.
const STOP_FROZEN: usize = 4;
/// Nanoseconds for each KiB at the point of the curve where d²/(1-d) is one (d = 0.62): 10 MB/s.
const SCALE_NANOS: f64 = 100_000.0;
/// Delays are paid in sleeps of at least this long: shorter ones oversleep by their own length.
pub(super) const LEAST_SLEEP_NANOS: u64 = 1_000_000;
/// The longest sleep before a writer looks again whether the debt is still there: a large value owes minutes.
pub(super) const LONGEST_SLEEP_NANOS: u64 = 10_000_000;
/// The value of `nanos_per_kib` that means "wait".
pub(super) const STOP: u64 = u64::MAX;

/// How much writers are slowed at present.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    /// Held from the look at a keyspace to the note of what it asks: an older look must not overwrite a newer one.
    pub(super) looking: Mutex<()>,
    pub(super) nanos_per_kib: AtomicU64,
    /// Delay that writers have earned and not yet slept.
    pub(super) owed_nanos: AtomicU64,
}

/// Nanoseconds for each KiB at a debt.
pub(super) fn delay(debt: f64) -> u64 {
    if debt >= 1.0 {
        return STOP;
    }
    let debt = debt.max(0.0);
    (SCALE_NANOS * debt * debt / (1.0 - debt)) as u64
}

/// The debt of a keyspace: 0 is none, 1 stops.
pub(super) fn debt(level_0: usize, frozen: usize) -> f64 {
    let by_level_0 = level_0.saturating_sub(SLOW_L0) as f64 / (STOP_L0 - SLOW_L0) as f64;
    // One frozen memtable is the normal state of a busy writer.
    let by_frozen = frozen.saturating_sub(1) as f64 / (STOP_FROZEN - 1) as f64;
    by_level_0.max(by_frozen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_grows_smoothly_from_nothing_to_a_stop() {
        assert_eq!(
            delay(debt(4, 1)),
            0,
            "a compaction about to start and one flush running cost nothing"
        );
        let delays: Vec<u64> = (SLOW_L0..=STOP_L0).map(|files| delay(debt(files, 0))).collect();
        assert!(delays.is_sorted());
        assert_eq!(delays[0], 0);
        assert_eq!(delays[delays.len() - 1], STOP);
        // No step is larger than eightfold once the curve has left zero: no cliff before the stop itself.
        for pair in delays[1..delays.len() - 1].windows(2) {
            assert!(pair[1] <= pair[0] * 8, "{pair:?}");
        }
        assert_eq!(delay(debt(0, STOP_FROZEN)), STOP);
    }
}
