//! [`ThreadPool`]: the real scheduler, a few threads that run background jobs.
//!
//! Invariants:
//! 1. A job that has been taken from the queue runs with no lock of the pool held. Jobs may spawn and wait.
//! 2. High before Low, and first in, first out inside a priority. A delayed job queues up when it becomes due.
//! 3. With two or more threads, one never runs Low jobs: a flush never waits behind compactions. A single thread runs High jobs where
//!    its Low job breathes.
//! 4. Idle threads sleep on the condition variable, until a job comes or the earliest delayed one becomes due. Whoever
//!    takes a job while there is more to do or to wait for wakes another, so no wake-up is lost.
//! 5. A job that panics ends alone; its thread goes on with the next job.
//!
//! Dropping the pool drops the jobs that have not started and waits for the running ones, unless the drop itself runs
//! inside of a job. A delayed job that keeps the pool alive (through an `Env`) keeps it alive until it has run: jobs that
//! re-arm themselves hold a weak reference.
//!
//! A job that waits for another job keeps its thread: when all threads do that, nobody is left to run the others. Jobs
//! that need parts of their work done elsewhere do what is left themselves instead of waiting for a part that has not
//! started.
//!
//! Callers: [`super::Env::real`].
#![allow(clippy::disallowed_methods)] // the one place where threads are started and the time of delays is read

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
#[cfg(not(packstone_shuttle))]
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[cfg(packstone_shuttle)]
use shuttle::thread::{self, JoinHandle};

use super::{Event, Job, Priority, Scheduler};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};

/// A pool of threads; see the module.
pub(super) struct ThreadPool {
    shared: Arc<Shared>,
}

struct Shared {
    /// How many threads there may be.
    threads: usize,
    /// A job runs where another one breathes.
    breathing: AtomicBool,
    /// Moment zero of the due times.
    start: Instant,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    high: VecDeque<Job>,
    low: VecDeque<Job>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    /// Number of delayed jobs so far: keeps those with equal due times in order.
    delayed_count: u64,
    workers: Vec<JoinHandle<()>>,
    /// Threads that run a job, and those of them that run a Low one.
    busy: usize,
    busy_low: usize,
    stopping: bool,
}

/// A job that waits for its time.
struct Delayed {
    due: Duration,
    number: u64,
    priority: Priority,
    job: Job,
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Delayed {}

impl State {
    fn push(&mut self, priority: Priority, job: Job) {
        match priority {
            Priority::High => self.high.push_back(job),
            Priority::Low => self.low.push_back(job),
        }
    }

    /// Queues up the delayed jobs whose time has come.
    fn queue_due(&mut self, now: Duration) {
        while self.delayed.peek().is_some_and(|Reverse(first)| first.due <= now) {
            if let Some(Reverse(delayed)) = self.delayed.pop() {
                self.push(delayed.priority, delayed.job);
            }
        }
    }

    /// Takes the job that may start next.
    fn take(&mut self, threads: usize) -> Option<(Priority, Job)> {
        if let Some(job) = self.high.pop_front() {
            return Some((Priority::High, job));
        }
        if self.busy_low >= threads.saturating_sub(1).max(1) {
            return None;
        }
        Some((Priority::Low, self.low.pop_front()?))
    }

    fn has_queued(&self) -> bool {
        !self.high.is_empty() || !self.low.is_empty()
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self) {
        let mut state = self.state.lock();
        while !state.stopping {
            let now = self.start.elapsed();
            state.queue_due(now);
            let Some((priority, job)) = state.take(self.threads) else {
                match state.delayed.peek().map(|Reverse(first)| first.due) {
                    Some(due) => drop(self.wake.wait_for(&mut state, due.saturating_sub(now))),
                    None => self.wake.wait(&mut state),
                }
                continue;
            };
            let low = usize::from(priority == Priority::Low);
            state.busy += 1;
            state.busy_low += low;
            if state.has_queued() || !state.delayed.is_empty() {
                self.wake.notify_one();
            }
            drop(state);
            run(job);
            state = self.state.lock();
            state.busy -= 1;
            state.busy_low -= low;
        }
    }

    /// Starts one more thread if there is more to do than threads to do it. A failure is not one yet: the threads that
    /// there are do the work, and `wait` does it when there are none.
    fn start_worker(self: &Arc<Self>, state: &mut State) {
        let wanted = state.busy + state.high.len() + state.low.len() + usize::from(!state.delayed.is_empty());
        if state.workers.len() >= wanted.min(self.threads) || state.stopping {
            return;
        }
        let shared = Arc::clone(self);
        let name = format!("packstone-{}", state.workers.len());
        if let Ok(worker) = thread::Builder::new().name(name).spawn(move || shared.work()) {
            state.workers.push(worker);
        }
    }

    /// Adds work and sees to it that somebody does it.
    fn add(self: &Arc<Self>, add: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        add(&mut state);
        self.start_worker(&mut state);
        drop(state);
        self.wake.notify_one();
    }

    /// When the system refuses to start even one thread: takes a job for the caller to run.
    fn take_if_no_workers(self: &Arc<Self>) -> Option<Job> {
        let mut state = self.state.lock();
        if !state.workers.is_empty() || !state.has_queued() {
            return None;
        }
        self.start_worker(&mut state);
        if !state.workers.is_empty() {
            return None;
        }
        state.take(self.threads).map(|(_, job)| job)
    }
}

/// Runs a job. A panic has been reported by the panic hook when it arrives here; it is the job's alone.
fn run(job: Job) {
    let _ = catch_unwind(AssertUnwindSafe(job));
}

impl ThreadPool {
    /// A pool of up to `threads` threads, at least one. They are started as jobs come.
    pub(super) fn new(threads: usize) -> Self {
        let shared = Shared {
            threads: threads.max(1),
            breathing: AtomicBool::new(false),
            start: Instant::now(),
            state: Mutex::default(),
            wake: Condvar::new(),
        };
        ThreadPool {
            shared: Arc::new(shared),
        }
    }
}

impl Scheduler for ThreadPool {
    fn spawn(&self, priority: Priority, job: Job) {
        self.shared.add(|state| state.push(priority, job));
    }

    fn spawn_after(&self, delay: Duration, priority: Priority, job: Job) {
        let due = self.shared.start.elapsed().saturating_add(delay);
        self.shared.add(|state| {
            let number = state.delayed_count;
            state.delayed_count += 1;
            state.delayed.push(Reverse(Delayed {
                due,
                number,
                priority,
                job,
            }));
        });
    }

    fn breathe(&self) {
        // One at a time, or they would pile up on the stack.
        if self.shared.threads > 1 || self.shared.breathing.swap(true, Ordering::Acquire) {
            return;
        }
        let next = || self.shared.state.lock().high.pop_front();
        while let Some(job) = next() {
            run(job);
        }
        self.shared.breathing.store(false, Ordering::Release);
    }

    fn wait(&self, event: &Event, ready: &mut dyn FnMut() -> bool) {
        loop {
            // Read before asking: a notification that comes after the answer makes `wait_past` return at once.
            let generation = event.generation();
            if ready() {
                return;
            }
            match self.shared.take_if_no_workers() {
                Some(job) => run(job),
                None => event.wait_past(generation),
            }
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stopping = true;
        let workers = std::mem::take(&mut state.workers);
        let not_started = (
            std::mem::take(&mut state.high),
            std::mem::take(&mut state.low),
            std::mem::take(&mut state.delayed),
        );
        drop(state);
        self.shared.wake.notify_all();
        drop(not_started); // without the lock: what a job holds may do anything when dropped
        let this = thread::current().id();
        if workers.iter().all(|worker| worker.thread().id() != this) {
            for worker in workers {
                let _ = worker.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    /// Occupies a worker until the sender that is returned is dropped.
    fn occupy(pool: &ThreadPool, priority: Priority) -> mpsc::Sender<()> {
        let (started, is_started) = mpsc::channel();
        let (open, is_open) = mpsc::channel::<()>();
        let job = move || {
            started.send(()).unwrap();
            let _ = is_open.recv();
        };
        pool.spawn(priority, Box::new(job));
        is_started.recv().unwrap();
        open
    }

    fn send(pool: &ThreadPool, priority: Priority, to: &mpsc::Sender<u32>, number: u32) {
        let to = to.clone();
        pool.spawn(priority, Box::new(move || to.send(number).unwrap()));
    }

    #[test]
    fn no_thread_starts_before_the_first_job() {
        let pool = ThreadPool::new(4);
        assert!(pool.shared.state.lock().workers.is_empty());
        drop(occupy(&pool, Priority::Low));
        assert_eq!(pool.shared.state.lock().workers.len(), 1);
    }

    #[test]
    fn high_runs_before_low_and_in_order() {
        let pool = ThreadPool::new(1);
        let open = occupy(&pool, Priority::Low);
        let (to, from) = mpsc::channel();
        for (priority, number) in [
            (Priority::Low, 3),
            (Priority::High, 1),
            (Priority::Low, 4),
            (Priority::High, 2),
        ] {
            send(&pool, priority, &to, number);
        }
        drop(open);
        assert_eq!(from.iter().take(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn on_a_single_thread_a_low_job_that_breathes_lets_high_ones_run() {
        let pool = Arc::new(ThreadPool::new(1));
        let (to, from) = mpsc::channel();
        let (breathes, say) = (Arc::downgrade(&pool), to.clone());
        let low = move || {
            let pool = breathes.upgrade().unwrap();
            for number in [1, 2] {
                let say = say.clone();
                pool.spawn(Priority::High, Box::new(move || say.send(number).unwrap()));
            }
            pool.breathe();
            say.send(3).unwrap();
        };
        pool.spawn(Priority::Low, Box::new(low));
        assert_eq!(from.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_high_job_does_not_wait_behind_running_low_ones() {
        let pool = ThreadPool::new(3);
        let held = [occupy(&pool, Priority::Low), occupy(&pool, Priority::Low)];
        let (to, from) = mpsc::channel();
        send(&pool, Priority::Low, &to, 2); // a third low one must not take the last thread
        for _ in 0..100 {
            send(&pool, Priority::High, &to, 1);
            assert_eq!(from.recv().unwrap(), 1);
        }
        drop(held);
        assert_eq!(from.recv().unwrap(), 2);
    }

    #[test]
    fn many_jobs_all_run_once() {
        let pool = ThreadPool::new(4);
        let (count, event) = (Arc::new(AtomicUsize::new(0)), Arc::new(Event::default()));
        for i in 0..2000 {
            let (count, event) = (Arc::clone(&count), Arc::clone(&event));
            let job: Job = Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
                event.notify();
            });
            match i % 3 {
                0 => pool.spawn(Priority::High, job),
                1 => pool.spawn(Priority::Low, job),
                _ => pool.spawn_after(Duration::from_micros(i), Priority::Low, job),
            }
        }
        pool.wait(&event, &mut || count.load(Ordering::SeqCst) == 2000);
    }

    #[test]
    fn delayed_jobs_queue_up_in_the_order_of_their_times() {
        let (to, from) = mpsc::channel();
        let mut state = State::default();
        for (number, secs) in (0..).zip([60, 20, 40, 20]) {
            let to = to.clone();
            let job: Job = Box::new(move || to.send((secs, number)).unwrap());
            let due = Duration::from_secs(secs);
            state.delayed.push(Reverse(Delayed {
                due,
                number,
                priority: Priority::Low,
                job,
            }));
        }
        state.queue_due(Duration::from_secs(40));
        assert_eq!(state.delayed.len(), 1);
        while let Some((_, job)) = state.take(1) {
            job();
        }
        assert_eq!(from.try_iter().collect::<Vec<_>>(), [(20, 1), (20, 3), (40, 2)]);
    }

    #[test]
    fn a_delayed_job_runs_when_its_time_has_come_and_not_before() {
        let pool = ThreadPool::new(1);
        let (to, from) = mpsc::channel();
        let start = Instant::now();
        let delay = Duration::from_millis(20);
        pool.spawn_after(
            delay,
            Priority::Low,
            Box::new(move || to.send(start.elapsed()).unwrap()),
        );
        assert!(from.recv().unwrap() >= delay);
    }

    #[test]
    fn an_endless_delay_is_no_error() {
        let pool = ThreadPool::new(1);
        pool.spawn_after(Duration::MAX, Priority::Low, Box::new(|| panic!("must not run")));
        let (to, from) = mpsc::channel();
        send(&pool, Priority::Low, &to, 1);
        assert_eq!(from.recv().unwrap(), 1);
    }

    #[test]
    fn a_panicking_job_does_not_take_its_thread_along() {
        let pool = ThreadPool::new(1);
        pool.spawn(
            Priority::High,
            Box::new(|| panic!("a test's own panic, to be seen in its output")),
        );
        let (to, from) = mpsc::channel();
        send(&pool, Priority::Low, &to, 1);
        assert_eq!(from.recv().unwrap(), 1);
        assert_eq!(pool.shared.state.lock().workers.len(), 1);
    }

    #[test]
    fn dropping_the_pool_drops_waiting_jobs_and_finishes_running_ones() {
        let pool = ThreadPool::new(1);
        let finished = Arc::new(AtomicUsize::new(0));
        let (started, is_started) = mpsc::channel();
        let (open, is_open) = mpsc::channel::<()>();
        let at_end = Arc::clone(&finished);
        let job = move || {
            started.send(()).unwrap();
            let _ = is_open.recv();
            at_end.store(1, Ordering::SeqCst);
        };
        pool.spawn(Priority::High, Box::new(job));
        is_started.recv().unwrap();
        // When this job is dropped without having run, it lets the running one end.
        let not_run = move || {
            drop(open);
            panic!("must not run");
        };
        pool.spawn(Priority::High, Box::new(not_run));
        pool.spawn_after(
            Duration::from_secs(3600),
            Priority::Low,
            Box::new(|| panic!("must not run")),
        );
        drop(pool);
        assert_eq!(finished.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_pool_may_be_dropped_by_one_of_its_jobs() {
        let pool = Arc::new(ThreadPool::new(2));
        let (to, from) = mpsc::channel();
        let (give, take) = mpsc::channel::<Arc<ThreadPool>>();
        let job = move || {
            drop(take.recv().unwrap());
            to.send(()).unwrap();
        };
        pool.spawn(Priority::High, Box::new(job));
        give.send(pool).unwrap();
        from.recv().unwrap();
    }

    #[test]
    fn a_job_may_spawn_and_wait() {
        let pool = Arc::new(ThreadPool::new(2));
        let (count, event) = (Arc::new(AtomicUsize::new(0)), Arc::new(Event::default()));
        let step = |by: usize| {
            let (count, event) = (Arc::clone(&count), Arc::clone(&event));
            move || {
                count.fetch_add(by, Ordering::SeqCst);
                event.notify();
            }
        };
        let (inner, first, second) = (Arc::clone(&pool), step(1), step(10));
        let (seen, their_event) = (Arc::clone(&count), Arc::clone(&event));
        let job = move || {
            inner.spawn(Priority::High, Box::new(first));
            inner.wait(&their_event, &mut || seen.load(Ordering::SeqCst) == 1);
            drop(inner);
            second();
        };
        pool.spawn(Priority::High, Box::new(job));
        pool.wait(&event, &mut || count.load(Ordering::SeqCst) == 11);
    }
}
