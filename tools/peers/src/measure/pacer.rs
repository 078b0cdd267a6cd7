//! [`Pacer`]: holds one writer to a fixed rate.

use std::time::{Duration, Instant};

/// The longest time that is caught up after a pause: a writer that is held back longer than this falls short of its
/// rate, and the report shows it.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Sleeps shorter than this are not worth the call: the writer goes on in small bursts.
const LEAST_SLEEP: Duration = Duration::from_micros(500);

pub(crate) struct Pacer {
    /// Nanoseconds between two operations.
    interval: f64,
    start: Instant,
    /// When the next operation is due, in nanoseconds after the start.
    due: f64,
}

impl Pacer {
    /// So many operations a second. REQUIRES: at least one.
    pub(crate) fn new(rate: u64) -> Self {
        Pacer {
            interval: 1e9 / rate as f64,
            start: Instant::now(),
            due: 0.0,
        }
    }

    /// Waits until the next operation is due.
    pub(crate) fn wait(&mut self) {
        let now = self.start.elapsed().as_nanos() as f64;
        let ahead = self.due - now;
        if ahead > LEAST_SLEEP.as_nanos() as f64 {
            std::thread::sleep(Duration::from_nanos(ahead as u64));
        }
        self.due = (self.due + self.interval).max(now - CATCH_UP.as_nanos() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_operations_are_let_through_than_the_rate_allows() {
        let mut pacer = Pacer::new(10_000);
        let start = Instant::now();
        (0..500).for_each(|_| pacer.wait());
        assert!(start.elapsed() >= Duration::from_millis(48));
    }
}
