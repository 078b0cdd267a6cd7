//! Where writers meet the debt (see `pressure`): they pay one atomic load, sleep, or wait.

use std::sync::Arc;
use std::time::Duration;

use super::compaction::picker::pending_bytes;
use super::core::Core;
use super::keyspace::KeyspaceCore;
use super::latency::Timed;
use super::pressure::{Cause, LEAST_SLEEP_NANOS, LONGEST_SLEEP_NANOS, STOP, debt, delay, object_debt};
use crate::sync::atomic::Ordering;
use crate::{Error, Result};

/// An object waits for a second at the most.
const LONGEST_OF_OBJECT: u128 = 1_000_000_000;

impl Core {
    /// Takes note of a keyspace's debt.
    pub(crate) fn update_pressure_of(&self, keyspace: &Arc<KeyspaceCore>) {
        let _looking = self.pressure.looking.lock();
        let view = keyspace.view();
        let limits = self.compaction_limits();
        let owed = pending_bytes(&view.tree, limits) as f64 / limits.handed_down().max(1) as f64;
        let (debt, cause) = debt(view.tree.level(0).len(), view.frozen.len(), owed);
        keyspace.asked.set(delay(debt), cause);
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
            .map(|keyspace| &keyspace.asked)
            .max_by_key(|asked| asked.nanos_per_kib());
        self.memory
            .note(keyspaces.values().map(|keyspace| &keyspace.holdings));
        let (dead, all) = self.objects.garbage();
        let debt = object_debt(dead, all, self.objects.count_full());
        self.pressure
            .asked_of_objects
            .store(delay(debt), Ordering::Relaxed);
        let by_memory = delay(self.memory.debt());
        match most.filter(|most| most.nanos_per_kib() >= by_memory) {
            Some(most) => self.pressure.asked.set(most.nanos_per_kib(), most.cause()),
            None => self.pressure.asked.set(by_memory, Cause::Memory),
        }
    }

    /// Delays a writer of `bytes` as the present debt asks.
    pub(crate) fn throttle(&self, bytes: u64) -> Result<()> {
        match self.pressure.asked.nanos_per_kib() {
            0 => Ok(()),
            STOP => self.wait_for_room(),
            nanos => {
                self.delay(bytes.saturating_mul(nanos) / 1024);
                Ok(())
            }
        }
    }

    /// Delays who stores an object of `bytes` as the garbage in packs asks.
    pub(crate) fn throttle_object(&self, bytes: u64) {
        let nanos = self.pressure.asked_of_objects.load(Ordering::Relaxed);
        let nanos = (u128::from(bytes) * u128::from(nanos) / 1024).min(LONGEST_OF_OBJECT) as u64;
        let (begun, mut left) = (self.begin_timing(), nanos);
        while left > 0 && !self.is_closed() && self.pressure.asked_of_objects.load(Ordering::Relaxed) > 0 {
            let slice = left.min(LONGEST_SLEEP_NANOS);
            self.env.clock.sleep(Duration::from_nanos(slice));
            left -= slice;
        }
        if left < nanos {
            self.note_stall(Cause::Garbage, nanos - left, begun);
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
    fn sleep(&self, nanos: u64) {
        let (begun, cause) = (self.begin_timing(), self.pressure.asked.cause());
        let mut left = nanos;
        while left > 0 && !self.is_closed() && self.pressure.asked.nanos_per_kib() > 0 {
            let slice = left.min(LONGEST_SLEEP_NANOS);
            self.env.clock.sleep(Duration::from_nanos(slice));
            left -= slice;
        }
        if left < nanos {
            self.note_stall(cause, nanos - left, begun);
        }
    }

    fn note_stall(&self, cause: Cause, nanos: u64, begun: Option<Duration>) {
        self.counters.stall_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some(stalls) = self.pressure.stalls.get(cause as usize) {
            stalls.count.fetch_add(1, Ordering::Relaxed);
            stalls.nanos.fetch_add(nanos, Ordering::Relaxed);
        }
        self.note_time(Timed::Stall(cause), begun);
    }

    fn wait_for_room(&self) -> Result<()> {
        let cause = self.pressure.asked.cause();
        let (start, timed) = (self.env.clock.now(), self.begin_timing());
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
            outcome.is_err() || self.pressure.asked.nanos_per_kib() != STOP
        });
        let waited = self.env.clock.now().saturating_sub(start);
        self.note_stall(cause, waited.as_nanos() as u64, timed);
        outcome
    }
}
