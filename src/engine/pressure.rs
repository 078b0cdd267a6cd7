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

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::core::Core;
use super::keyspace::KeyspaceCore;
use crate::{Error, Result};

/// Level-0 SSTs up to which writers run free: twice the number that starts a compaction.
const SLOW_L0: usize = 8;
/// Level-0 SSTs at which writers wait. Every read asks each of them, and so many still merge in one compaction.
const STOP_L0: usize = 20;
/// Frozen memtables at which writers wait: it bounds the memory.
const STOP_FROZEN: usize = 4;
/// Nanoseconds for each KiB at the point of the curve where d²/(1-d) is one (d = 0.62): 10 MB/s.
const SCALE_NANOS: f64 = 100_000.0;
/// Delays are paid in sleeps of at least this long: shorter ones oversleep by their own length.
const LEAST_SLEEP_NANOS: u64 = 1_000_000;
/// The value of `nanos_per_kib` that means "wait".
const STOP: u64 = u64::MAX;

/// How much writers are slowed at present.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    nanos_per_kib: AtomicU64,
    /// Delay that writers have earned and not yet slept.
    owed_nanos: AtomicU64,
}

fn delay(debt: f64) -> u64 {
    if debt >= 1.0 {
        return STOP;
    }
    let debt = debt.max(0.0);
    (SCALE_NANOS * debt * debt / (1.0 - debt)) as u64
}

fn debt(level_0: usize, frozen: usize) -> f64 {
    let by_level_0 = level_0.saturating_sub(SLOW_L0) as f64 / (STOP_L0 - SLOW_L0) as f64;
    // One frozen memtable is the normal state of a busy writer.
    let by_frozen = frozen.saturating_sub(1) as f64 / (STOP_FROZEN - 1) as f64;
    by_level_0.max(by_frozen)
}

impl Core {
    /// Takes note of a keyspace's debt.
    pub(crate) fn update_pressure_of(&self, keyspace: &Arc<KeyspaceCore>) {
        let view = keyspace.view();
        let debt = debt(view.tree.level(0).len(), view.frozen.len());
        keyspace.debt.store(delay(debt), Ordering::Relaxed);
        self.update_pressure();
    }

    /// The slowest keyspace decides: they share the log and the background threads.
    pub(crate) fn update_pressure(&self) {
        let keyspaces = self.keyspaces.read();
        let most = keyspaces
            .values()
            .map(|keyspace| keyspace.debt.load(Ordering::Relaxed))
            .max();
        self.pressure
            .nanos_per_kib
            .store(most.unwrap_or(0), Ordering::Relaxed);
    }

    /// Delays a writer of `bytes` as the present debt asks.
    pub(crate) fn throttle(&self, bytes: u64) -> Result<()> {
        match self.pressure.nanos_per_kib.load(Ordering::Relaxed) {
            0 => Ok(()),
            STOP => self.wait_for_room(),
            nanos => {
                self.delay(bytes.saturating_mul(nanos) / 1024);
                Ok(())
            }
        }
    }

    fn delay(&self, nanos: u64) {
        let owed = &self.pressure.owed_nanos;
        let total = owed.fetch_add(nanos, Ordering::Relaxed).saturating_add(nanos);
        if total < LEAST_SLEEP_NANOS {
            return;
        }
        // Whoever takes the debt over sleeps for all.
        if owed
            .compare_exchange(total, 0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            self.counters.stall_nanos.fetch_add(total, Ordering::Relaxed);
            self.env.clock.sleep(Duration::from_nanos(total));
        }
    }

    fn wait_for_room(&self) -> Result<()> {
        let start = self.env.clock.now();
        let mut outcome = Ok(());
        self.wait(&mut || {
            outcome = self
                .check_open()
                .and_then(|()| match (self.poisoned(), self.background_error()) {
                    (Some(error), _) => Err(error),
                    (None, Some(cause)) => Err(Error::Background {
                        cause: Arc::new(cause),
                    }),
                    (None, None) => Ok(()),
                });
            outcome.is_err() || self.pressure.nanos_per_kib.load(Ordering::Relaxed) != STOP
        });
        let waited = self.env.clock.now().saturating_sub(start);
        self.counters
            .stall_nanos
            .fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
        outcome
    }
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
