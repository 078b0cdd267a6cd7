//! Where writers meet the debt (see `pressure`): they pay one atomic load, sleep, or wait.

use std::sync::Arc;
use std::time::Duration;

use super::compaction::picker::pending_bytes;
use super::core::Core;
use super::keyspace::KeyspaceCore;
use super::pressure::{LEAST_SLEEP_NANOS, LONGEST_SLEEP_NANOS, STOP, debt, delay};
use crate::sync::atomic::Ordering;
use crate::{Error, Result};

impl Core {
    /// Takes note of a keyspace's debt.
    pub(crate) fn update_pressure_of(&self, keyspace: &Arc<KeyspaceCore>) {
        let _looking = self.pressure.looking.lock();
        let view = keyspace.view();
        let limits = self.compaction_limits();
        let owed = pending_bytes(&view.tree, limits) as f64 / limits.handed_down().max(1) as f64;
        let debt = debt(view.tree.level(0).len(), view.frozen.len(), owed);
        keyspace.nanos_per_kib.store(delay(debt), Ordering::Relaxed);
        keyspace.holdings.note(&view);
        self.pass_on_pressure();
    }

    /// Takes note that a keyspace is gone, or that memtables have grown.
    pub(crate) fn update_pressure(&self) {
        let _looking = self.pressure.looking.lock();
        self.pass_on_pressure();
        self.progress.notify();
    }

    /// The slowest keyspace decides, or the memory: they share the log, the background threads, and the limit.
    fn pass_on_pressure(&self) {
        let keyspaces = self.keyspaces.read();
        let most = keyspaces
            .values()
            .map(|keyspace| keyspace.nanos_per_kib.load(Ordering::Relaxed))
            .max();
        self.memory
            .note(keyspaces.values().map(|keyspace| &keyspace.holdings));
        let asked = most.unwrap_or(0).max(delay(self.memory.debt()));
        self.pressure.nanos_per_kib.store(asked, Ordering::Relaxed);
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
            self.sleep(total);
        }
    }

    /// Sleeps in slices, and stops when there is no debt any more or the database is closed.
    fn sleep(&self, mut nanos: u64) {
        while nanos > 0 && !self.is_closed() && self.pressure.nanos_per_kib.load(Ordering::Relaxed) > 0 {
            let slice = nanos.min(LONGEST_SLEEP_NANOS);
            self.env.clock.sleep(Duration::from_nanos(slice));
            self.counters.stall_nanos.fetch_add(slice, Ordering::Relaxed);
            nanos -= slice;
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
