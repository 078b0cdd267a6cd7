//! [`Pacer`]: holds threads to a rate that they share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many units a second from the first one on, for all who ask together. After a pause at most one second is caught up.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// When the first unit was asked for.
    start: OnceLock<Instant>,
    /// Units a second; 0 is no limit.
    rate: AtomicU64,
    /// When the next unit is due, in nanoseconds after the start.
    due: AtomicU64,
}

impl Pacer {
    pub(crate) fn new(rate: u64) -> Self {
        Pacer {
            start: OnceLock::new(),
            rate: AtomicU64::new(rate),
            due: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Waits until `units` more may be done. Returns whether it has waited.
    pub(crate) fn take(&self, units: u64) -> bool {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == 0 {
            return false;
        }
        let cost = (units as f64 * 1e9 / rate as f64) as u64;
        let now = self.start.get_or_init(Instant::now).elapsed().as_nanos() as u64;
        let oldest = now.saturating_sub(1_000_000_000);
        let taken = self
            .due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                Some(due.max(oldest).saturating_add(cost))
            });
        let due = taken.unwrap_or_default().max(oldest);
        if due <= now {
            return false;
        }
        std::thread::sleep(Duration::from_nanos(due - now));
        true
    }
}
