//! [`Machine`]: what the machine itself makes everybody wait, seen by threads that do nothing but sleep a millisecond at a time, one on each
//! processor.
//!
//! A virtual machine's processor stands still while its host gives the real one to others. That shows on that processor only, hence one
//! thread for each. Where such a thread was ready and had to wait for its processor, somebody here used it: that is not the machine's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::thread::Thread;

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
    /// Those of at least `NOTED`, in order, none over another.
    pub(super) waits: Vec<Wait>,
}

impl Machine {
    /// Sleeps until `over`, on each processor.
    pub(super) fn watch(over: &AtomicBool) -> Machine {
        std::thread::scope(|scope| {
            let watchers: Vec<_> = (0..processors())
                .map(|processor| scope.spawn(move || Machine::watch_one(processor, over)))
                .collect();
            let watched = watchers.into_iter().filter_map(|watcher| watcher.join().ok());
            watched.reduce(Machine::and).unwrap_or_default()
        })
    }

    fn watch_one(processor: usize, over: &AtomicBool) -> Machine {
        stay_on(processor);
        let mut machine = Machine::default();
        let mut thread = Thread::new();
        let mut due = Instant::now() + NAP;
        while !over.load(Ordering::Relaxed) {
            thread.begins(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            let mut wait = Wait {
                from: due.min(now),
                to: now,
            };
            if wait.length() >= NOTED
                && let Some(spent) = thread.ended(wait.length())
            {
                wait.to -= spent.waiting;
            }
            machine.note(wait);
            due = Instant::now() + NAP;
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

    /// What both have seen.
    fn and(self, other: Machine) -> Machine {
        let mut waits = [self.waits, other.waits].concat();
        waits.sort_by_key(|wait| wait.from);
        waits.dedup_by(|later, earlier| {
            let joined = later.from <= earlier.to;
            if joined {
                earlier.to = earlier.to.max(later.to);
            }
            joined
        });
        Machine {
            naps: self.naps + other.naps,
            longest: self.longest.max(other.longest),
            waits,
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

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Binds the calling thread to the so-manieth processor that it may use. Where that is impossible it runs where it likes.
#[cfg(target_os = "linux")]
fn stay_on(processor: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    if let Ok(allowed) = sched_getaffinity(None)
        && let Some(at) = (0..CpuSet::MAX_CPU)
            .filter(|at| allowed.is_set(*at))
            .nth(processor)
    {
        let mut one = CpuSet::new();
        one.set(at);
        let _ = sched_setaffinity(None, &one);
    }
}

#[cfg(not(target_os = "linux"))]
fn stay_on(_processor: usize) {}

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
    fn what_two_processors_show_at_once_counts_once() {
        let start = Instant::now();
        let seen = |waits: &[(u64, u64)]| {
            let mut machine = Machine::default();
            for (from, to) in waits {
                machine.note(Wait {
                    from: start + Duration::from_millis(*from),
                    to: start + Duration::from_millis(*to),
                });
            }
            machine
        };
        let both = seen(&[(0, 10), (30, 50)]).and(seen(&[(5, 20), (35, 40), (60, 70)]));
        let waits = both
            .waits
            .iter()
            .map(|wait| ((wait.from - start).as_millis(), (wait.to - start).as_millis()));
        assert_eq!(waits.collect::<Vec<_>>(), [(0, 20), (30, 50), (60, 70)]);
        assert_eq!((both.naps, both.longest.as_millis()), (5, 20));
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
