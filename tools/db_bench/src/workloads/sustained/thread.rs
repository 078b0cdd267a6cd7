//! [`Thread`]: what became of a long wait of one thread: time on a processor, time ready and without one, and the rest.
//!
//! Linux counts the first two for each thread (`/proc/thread-self/schedstat`, Documentation/scheduler/sched-stats.rst); the third is what is left.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

/// How old a look may be when a write begins: what the thread did in between is counted with it.
const FRESH: Duration = Duration::from_millis(1);

/// One look at the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    running: Duration,
    waiting: Duration,
}

/// Parts of a wait, to about `FRESH`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    /// On a processor, as the guest sees it.
    pub(super) running: Duration,
    /// Ready to run, and without a processor.
    pub(super) waiting: Duration,
    /// Neither: it waited for a lock, for a page, or for the disk; or the host had taken the processor away.
    pub(super) rest: Duration,
}

/// The calling thread's counters.
pub(super) struct Thread {
    /// Held open: it is read every millisecond.
    counters: Option<File>,
    looked: Instant,
    look: Option<Look>,
}

impl Thread {
    pub(super) fn new() -> Self {
        let mut thread = Thread {
            counters: File::open("/proc/thread-self/schedstat").ok(),
            looked: Instant::now(),
            look: None,
        };
        thread.look = thread.look();
        thread
    }

    /// Says that a write begins.
    pub(super) fn begins(&mut self, now: Instant) {
        if self.look.is_some() && now - self.looked > FRESH {
            self.looked = now;
            self.look = self.look();
        }
    }

    /// What became of the time of a write of that length that has just ended; `None` where the system doesn't say.
    pub(super) fn ended(&mut self, length: Duration) -> Option<Spent> {
        let before = self.look?;
        let after = self.look()?;
        (self.looked, self.look) = (Instant::now(), Some(after));
        Some(between(before, after, length))
    }

    fn look(&mut self) -> Option<Look> {
        let (counters, mut text) = (self.counters.as_mut()?, String::new());
        counters.rewind().ok()?;
        counters.read_to_string(&mut text).ok()?;
        parse(&text)
    }
}

fn between(before: Look, after: Look, length: Duration) -> Spent {
    let waiting = after.waiting.saturating_sub(before.waiting).min(length);
    let running = after.running.saturating_sub(before.running).min(length - waiting);
    Spent {
        running,
        waiting,
        rest: length - waiting - running,
    }
}

/// Nanoseconds on a processor, nanoseconds waiting for one, and how often it got one.
fn parse(text: &str) -> Option<Look> {
    let mut nanos = text
        .split_ascii_whitespace()
        .map(|word| word.parse().ok().map(Duration::from_nanos));
    let look = Look {
        running: nanos.next()??,
        waiting: nanos.next()??,
    };
    // Both stay zero where the kernel is built without these counters.
    (look != Look::default()).then_some(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_wait_add_up_to_it() {
        let millis = Duration::from_millis;
        let before = parse("1000000 2000000 7\n").unwrap();
        assert_eq!((before.running, before.waiting), (millis(1), millis(2)));
        let after = parse("4000000 12000000 9").unwrap();
        let spent = between(before, after, millis(20));
        let parts = (spent.running, spent.waiting, spent.rest);
        assert_eq!(parts, (millis(3), millis(10), millis(7)));
        // The look before may be older than the write.
        let spent = between(before, after, millis(11));
        let parts = (spent.running, spent.waiting, spent.rest);
        assert_eq!(parts, (millis(1), millis(10), millis(0)));
    }

    #[test]
    fn what_the_system_does_not_count_is_not_told() {
        assert_eq!((parse("0 0 0\n"), parse(""), parse("1 x 3")), (None, None, None));
    }
}
