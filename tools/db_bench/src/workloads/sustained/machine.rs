//! [`Machine`]: what the machine itself makes everybody wait, seen by a thread that does nothing but sleep a millisecond at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(1);
/// Waits that are kept one by one; shorter ones only count for the longest.
pub(super) const NOTED: Duration = Duration::from_millis(5);

/// A wait, from when it should have ended, or began, to when it did end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) from: Instant,
    pub(super) to: Instant,
}

impl Wait {
    pub(super) fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// How much longer than asked the sleeps took.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub(super) naps: u64,
    pub(super) longest: Duration,
    /// Those of at least `NOTED`, in order.
    pub(super) waits: Vec<Wait>,
}

impl Machine {
    /// Sleeps until `over`.
    pub(super) fn watch(over: &AtomicBool) -> Machine {
        let mut machine = Machine::default();
        let mut due = Instant::now() + NAP;
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            machine.note(Wait {
                from: due.min(now),
                to: now,
            });
            due = now + NAP;
        }
        machine
    }

    fn note(&mut self, wait: Wait) {
        self.naps += 1;
        self.longest = self.longest.max(wait.length());
        if wait.length() >= NOTED {
            self.waits.push(wait);
        }
    }

    /// How much of a wait is the machine's own: the time in which the idle thread was kept waiting as well.
    pub(super) fn part_of(&self, wait: &Wait) -> Duration {
        let shared = self.waits.iter().map(|own| {
            let (from, to) = (own.from.max(wait.from), own.to.min(wait.to));
            to.saturating_duration_since(from)
        });
        shared.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_part_is_what_overlaps() {
        let start = Instant::now();
        let wait = |from, to| Wait {
            from: start + Duration::from_millis(from),
            to: start + Duration::from_millis(to),
        };
        let mut machine = Machine::default();
        for own in [wait(0, 1), wait(10, 30), wait(50, 60)] {
            machine.note(own);
        }
        assert_eq!(
            (machine.naps, machine.longest.as_millis(), machine.waits.len()),
            (3, 20, 2)
        );
        for (from, to, part) in [(0, 5, 0), (20, 55, 15), (12, 14, 2), (0, 100, 30)] {
            assert_eq!(
                machine.part_of(&wait(from, to)).as_millis(),
                part,
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn a_thread_that_only_sleeps_sees_the_sleeps_it_made() {
        let over = AtomicBool::new(false);
        let machine = std::thread::scope(|scope| {
            let watching = scope.spawn(|| Machine::watch(&over));
            std::thread::sleep(Duration::from_millis(50));
            over.store(true, Ordering::Relaxed);
            watching.join().unwrap()
        });
        assert!(machine.naps > 0);
        assert!(machine.waits.iter().all(|wait| wait.length() <= machine.longest));
    }
}
