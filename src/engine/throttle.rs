//! Where writers meet the debt (see `pressure`): they pay one atomic load, sleep, or wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::Core;
use super::keyspace::KeyspaceCore;
use super::pressure::{LEAST_SLEEP_NANOS, STOP, debt, delay};
use crate::{Error, Result};

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
