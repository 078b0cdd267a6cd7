//! [`SimScheduler`]: background jobs without threads, in an order drawn from the seed.
//!
//! Invariants:
//! 1. Jobs run only inside of [`Scheduler::wait`] and of the test's own calls, one at a time on a thread, with no lock of
//!    the simulator held. A job may spawn and wait; jobs that run in that wait are nested in it.
//! 2. Any job that is due may be next, whatever its priority: the order is adversarial on purpose, because no thread
//!    pool promises more.
//!    Where a job breathes, another one may run, too.
//! 3. Time moves on by itself only when nothing that is due is left, and then just far enough.
//!
//! Each boot of the machine has a scheduler of its own; a crash drops its queue.
//!
//! Callers: the engine through the trait; tests through [`super::SimEnv`].

use std::sync::Arc;
use std::time::Duration;

use super::rng::Rng;
use crate::env::{Clock, Event, Job, Priority, Scheduler};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Time that moves only when somebody moves it.
#[derive(Default)]
pub(super) struct SimClock(Mutex<Duration>);

impl SimClock {
    fn move_to(&self, time: Duration) {
        let mut now = self.0.lock();
        *now = time.max(*now);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        *self.0.lock()
    }

    fn sleep(&self, duration: Duration) {
        let mut now = self.0.lock();
        *now = now.saturating_add(duration);
    }
}

/// With several real threads, how long a wait with nothing to run sleeps before it looks again, and how often in a
/// row it looks before it calls the silence a deadlock: half a minute, longer than any stall of a loaded machine.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LOOKS: u32 = 3000;

/// Where a job breathes, another one runs one time in so many, and no more than so many inside of each other.
const BREATHES: u64 = 3;
const NESTED: u32 = 3;

/// How often waits on a crashed machine return unfinished before the loop around them is called endless.
const FUTILE_WAITS: u32 = 1000;

struct Queued {
    due: Duration,
    job: Job,
}

struct Queue {
    jobs: Vec<Queued>,
    rng: Rng,
    crashed: bool,
    futile_waits: u32,
    /// How many jobs are being run in places where others breathe.
    nested: u32,
}

pub(super) struct SimScheduler {
    queue: Mutex<Queue>,
    clock: Arc<SimClock>,
    /// Whether other threads may be about to do what a wait is for; shared by all boots.
    threads: Arc<AtomicBool>,
}

impl SimScheduler {
    pub(super) fn new(rng: Rng, clock: Arc<SimClock>, threads: Arc<AtomicBool>) -> Self {
        let queue = Queue {
            jobs: Vec::new(),
            rng,
            crashed: false,
            futile_waits: 0,
            nested: 0,
        };
        SimScheduler {
            queue: Mutex::new(queue),
            clock,
            threads,
        }
    }

    /// Runs one job that is due, if there is one.
    pub(super) fn run_one(&self) -> bool {
        let job = self.take_due();
        let found = job.is_some();
        if let Some(job) = job {
            job();
        }
        found
    }

    fn take_due(&self) -> Option<Job> {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        let due = queue.jobs.iter().filter(|queued| queued.due <= now).count() as u64;
        let pick = queue.rng.below(due) as usize;
        let (at, _) = queue
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, queued)| queued.due <= now)
            .nth(pick)?;
        Some(queue.jobs.remove(at).job)
    }

    /// Moves time on to the next delayed job; false when there is none.
    fn advance_to_next(&self) -> bool {
        let next = self.queue.lock().jobs.iter().map(|queued| queued.due).min();
        if let Some(due) = next {
            self.clock.move_to(due);
        }
        next.is_some()
    }

    pub(super) fn pending(&self) -> usize {
        self.queue.lock().jobs.len()
    }

    /// Ends this boot: what is queued and what is spawned from here on never runs. Returns the seed of the next boot's
    /// order.
    pub(super) fn crash(&self) -> Rng {
        let mut queue = self.queue.lock();
        queue.crashed = true;
        let rng = queue.rng.clone();
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        drop(jobs); // without the lock: what a job holds may do anything when dropped
        rng
    }

    fn push(&self, delay: Duration, job: Job) {
        let due = self.clock.now().saturating_add(delay);
        let mut queue = self.queue.lock();
        if queue.crashed {
            drop(queue);
            drop(job);
        } else {
            queue.jobs.push(Queued { due, job });
        }
    }

    /// Nothing here can go on. Says whether the wait shall end unfinished, after a crash; else somebody else's
    /// thread must act, or nobody can.
    fn is_futile(&self, event: &Event, generation: u64, looks: &mut u32) -> bool {
        let mut queue = self.queue.lock();
        if queue.crashed {
            queue.futile_waits += 1;
            let endless = queue.futile_waits > FUTILE_WAITS;
            drop(queue);
            if endless {
                fault("endless loop: a wait on a machine that has crashed is repeated without end");
            }
            return true;
        }
        drop(queue);
        if !self.threads.load(Ordering::Relaxed) || *looks >= LOOKS {
            fault(
                "deadlock: nothing can make this wait ready (if several threads share this SimEnv, call allow_threads)",
            );
        }
        let mut happened = event.generation.lock();
        if *happened <= generation {
            let timed_out = event.changed.wait_for(&mut happened, LOOK_AGAIN).timed_out();
            *looks = if timed_out { *looks + 1 } else { 0 };
        }
        false
    }
}

impl Scheduler for SimScheduler {
    fn spawn(&self, _priority: Priority, job: Job) {
        self.push(Duration::ZERO, job);
    }

    fn spawn_after(&self, delay: Duration, _priority: Priority, job: Job) {
        self.push(delay, job);
    }

    fn breathe(&self) {
        {
            let mut queue = self.queue.lock();
            if queue.jobs.is_empty() || queue.nested >= NESTED || queue.rng.below(BREATHES) > 0 {
                return;
            }
            queue.nested += 1;
        }
        self.run_one();
        self.queue.lock().nested -= 1;
    }

    fn go_on(&self, _priority: Priority, rest: Job) {
        let at_once = self.queue.lock().rng.below(4) == 0;
        if at_once {
            rest();
        } else {
            self.push(Duration::ZERO, rest);
        }
    }

    fn wait(&self, event: &Event, ready: &mut dyn FnMut() -> bool) {
        let mut looks = 0;
        loop {
            let generation = event.generation();
            if ready() {
                return;
            }
            if self.run_one() || self.advance_to_next() {
                looks = 0;
            } else if self.is_futile(event, generation, &mut looks) {
                return;
            }
        }
    }
}

/// Ends a test that can't go on: there is nobody to report an error to.
#[allow(clippy::panic)] // the simulator's way to fail a test; the engine proper never runs into it
fn fault(message: &str) -> ! {
    panic!("{message}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicUsize;

    use super::super::{CrashStyle, SimEnv};
    use super::*;

    /// Runs 20 jobs and returns their order.
    fn job_order(seed: u64) -> Vec<usize> {
        let env = SimEnv::new(seed).env();
        let order = Arc::new(Mutex::new(Vec::new()));
        for i in 0..20 {
            let order = Arc::clone(&order);
            let priority = if i % 2 == 0 { Priority::High } else { Priority::Low };
            env.scheduler
                .spawn(priority, Box::new(move || order.lock().push(i)));
        }
        env.scheduler
            .wait(&Event::default(), &mut || order.lock().len() == 20);
        order.lock().clone()
    }

    #[test]
    fn the_order_of_jobs_depends_on_the_seed_alone() {
        assert_eq!(job_order(1), job_order(1));
        let orders: BTreeSet<_> = (0..10).map(job_order).collect();
        assert_eq!(orders.len(), 10);
    }

    #[test]
    fn a_wait_runs_no_more_jobs_than_it_needs() {
        let sim = SimEnv::new(1);
        let env = sim.env();
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..5 {
            let ran = Arc::clone(&ran);
            env.scheduler.spawn(
                Priority::Low,
                Box::new(move || _ = ran.fetch_add(1, Ordering::Relaxed)),
            );
        }
        env.scheduler
            .wait(&Event::default(), &mut || ran.load(Ordering::Relaxed) == 2);
        assert_eq!(sim.pending(), 3);
        assert!(sim.run_one());
        sim.run_until_idle();
        assert_eq!((sim.pending(), ran.load(Ordering::Relaxed)), (0, 5));
        assert!(!sim.run_one());
    }

    #[test]
    fn time_moves_on_to_the_next_delayed_job_when_nothing_else_is_left() {
        let sim = SimEnv::new(1);
        let env = sim.env();
        let ran = Arc::new(Mutex::new(Vec::new()));
        for secs in [30, 10, 20] {
            let ran = Arc::clone(&ran);
            let job = Box::new(move || ran.lock().push(secs));
            env.scheduler
                .spawn_after(Duration::from_secs(secs), Priority::Low, job);
        }
        sim.run_until_idle();
        assert_eq!(sim.pending(), 3);
        env.scheduler
            .wait(&Event::default(), &mut || ran.lock().len() == 2);
        assert_eq!(*ran.lock(), [10, 20]);
        assert_eq!(env.clock.now(), Duration::from_secs(20));
        sim.advance(Duration::from_secs(15));
        sim.run_until_idle();
        assert_eq!(*ran.lock(), [10, 20, 30]);
        env.clock.sleep(Duration::from_secs(5));
        assert_eq!(env.clock.now(), Duration::from_secs(40));
    }

    #[test]
    fn a_job_may_wait_for_another() {
        let env = SimEnv::new(3).env();
        let done = Arc::new(AtomicUsize::new(0));
        let (inner, first, second) = (env.clone(), Arc::clone(&done), Arc::clone(&done));
        env.scheduler.spawn(
            Priority::High,
            Box::new(move || {
                let job = Box::new(move || _ = second.fetch_add(1, Ordering::Relaxed));
                inner.scheduler.spawn(Priority::Low, job);
                inner
                    .scheduler
                    .wait(&Event::default(), &mut || first.load(Ordering::Relaxed) == 1);
                first.fetch_add(1, Ordering::Relaxed);
            }),
        );
        env.scheduler
            .wait(&Event::default(), &mut || done.load(Ordering::Relaxed) == 2);
    }

    #[test]
    fn where_a_job_breathes_others_run_now_and_then() {
        let count = |seed| {
            let sim = SimEnv::new(seed);
            let env = sim.env();
            let inside = Arc::new(AtomicUsize::new(0));
            for _ in 0..10 {
                let inside = Arc::clone(&inside);
                env.scheduler.spawn(
                    Priority::Low,
                    Box::new(move || _ = inside.fetch_add(1, Ordering::Relaxed)),
                );
            }
            (0..10).for_each(|_| env.scheduler.breathe());
            inside.load(Ordering::Relaxed)
        };
        assert_eq!(count(1), count(1));
        assert!((0..10).map(count).all(|inside| inside < 10));
        assert!((0..10).map(count).sum::<usize>() > 10);
    }

    #[test]
    #[should_panic(expected = "deadlock: nothing can make this wait ready")]
    fn a_wait_that_nothing_can_end_is_reported() {
        SimEnv::new(1)
            .env()
            .scheduler
            .wait(&Event::default(), &mut || false);
    }

    #[test]
    fn a_wait_on_a_crashed_machine_returns() {
        let sim = SimEnv::new(1);
        let env = sim.env();
        sim.crash(CrashStyle::KeepAll);
        env.scheduler.wait(&Event::default(), &mut || false);
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // the promise is about real threads
    fn with_threads_allowed_a_wait_sleeps_until_another_thread_acts() {
        let sim = SimEnv::new(1);
        sim.allow_threads();
        let env = sim.env();
        let event = Arc::new(Event::default());
        let flag = Arc::new(AtomicBool::new(false));
        let (their_event, their_flag) = (Arc::clone(&event), Arc::clone(&flag));
        let other = std::thread::spawn(move || {
            their_flag.store(true, Ordering::SeqCst);
            their_event.notify();
        });
        env.scheduler.wait(&event, &mut || flag.load(Ordering::SeqCst));
        other.join().unwrap();
    }
}
