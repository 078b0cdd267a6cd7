//! [`Phase`]: threads that write for a time, as fast as they may or at a pace, with the engine's histograms on, somebody who looks at
//! the debt, and idle threads beside them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use packstone::{LatencyMetrics, StallMetrics};

use super::debt::{Debt, Sample};
use super::machine::{Machine, NOTED, Wait};
use super::thread::{Spent, Thread};
use crate::database::Database;
use crate::failure::{Failure, Outcome};
use crate::flags::Config;
use crate::measure::{Shared, Stats};
use crate::workloads::fill::write_random;
use crate::workloads::{Group, Task, Worker};

/// Looks at the engine in a phase.
const LOOKS: u32 = 200;
/// Long writes that are told one by one.
const TOLD: usize = 5;

/// How a phase went.
pub(super) struct Phase {
    pub(super) begun: Instant,
    pub(super) seconds: f64,
    pub(super) entries: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
    /// The same as the engine counts them, with their framing.
    accepted: u64,
    pub(super) debt: Debt,
    /// The engine's own.
    pub(super) latencies: LatencyMetrics,
    pub(super) stalls: StallMetrics,
    /// The longest write, and what the machine had to do with it.
    pub(super) longest: Longest,
    /// The longest of all that took at least `NOTED`, longest first.
    pub(super) long: Vec<(Wait, Option<Spent>)>,
    pub(super) machine: Machine,
}

/// The longest waits of writers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Longest {
    /// Of all writes.
    pub(super) write: Duration,
    /// Of all writes, without the time in which an idle thread had to wait as well.
    pub(super) without_machine: Duration,
}

impl Longest {
    fn of(writes: &[(Wait, Option<Spent>)], longest: Duration, machine: &Machine) -> Longest {
        let own = writes
            .iter()
            .map(|(wait, _)| wait.length().saturating_sub(machine.part_of(wait)));
        // Where none was long enough to be noted, the longest is its own.
        let without_machine = own.max().unwrap_or(longest.min(NOTED));
        Longest {
            write: longest,
            without_machine,
        }
    }
}

/// What one writer saw.
struct Written {
    stats: Stats,
    bytes: u64,
    /// The longest write, and all of at least `NOTED`.
    longest: Duration,
    long: Vec<(Wait, Option<Spent>)>,
}

impl Phase {
    /// Writes for `time`; `pace`: bytes of keys and values a second, all threads together, 0 for no limit.
    pub(super) fn run(
        config: &Config,
        database: &Database,
        time: Duration,
        pace: u64,
        seed: u64,
    ) -> Outcome<Phase> {
        let task = Task {
            puts: true,
            duration: Some(time),
            ..Task::new(config)
        };
        let (group, shared) = (Group::new(config, config.threads), Shared::default());
        group.write_pacer.set_rate(pace);
        let (over, barrier) = (AtomicBool::new(false), Barrier::new(config.threads + 1));
        database.db.set_latencies(true);
        let before = database.db.metrics();
        let write = |id: usize| {
            let stats = Stats::new(id, config, true);
            let seed = seed.wrapping_add(id as u64);
            let worker = Worker::new(config, &task, database, &group, &shared, seed, stats);
            barrier.wait();
            let written = write_until_over(worker);
            if written.is_err() {
                group.failed.store(true, Ordering::Relaxed);
            }
            written
        };
        let over = &over;
        let (written, samples, machine, begun, seconds) = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..config.threads)
                .map(|id| scope.spawn(move || write(id)))
                .collect();
            let machine = scope.spawn(|| Machine::watch(over));
            barrier.wait();
            let start = Instant::now();
            let looking = scope.spawn(move || look(database, start, time / LOOKS, over));
            let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            let seconds = start.elapsed().as_secs_f64();
            over.store(true, Ordering::Relaxed);
            (written, looking.join(), machine.join(), start, seconds)
        });
        let panicked = |_| Failure("a thread panicked".into());
        let (samples, machine) = (samples.map_err(panicked)?, machine.map_err(panicked)?);
        let metrics = database.db.metrics();
        let mut phase = Phase {
            begun,
            seconds,
            entries: 0,
            bytes: 0,
            accepted: metrics.log_bytes_written - before.log_bytes_written,
            debt: Debt::of(&samples),
            latencies: metrics.latencies,
            stalls: since(&metrics.stalls, &before.stalls),
            longest: Longest::default(),
            long: Vec::new(),
            machine,
        };
        let (mut longest, mut long) = (Duration::ZERO, Vec::new());
        for written in written {
            let written = written.unwrap_or_else(|_| Err(Failure("a thread panicked".into())))?;
            phase.entries += written.stats.entries_written;
            phase.bytes += written.bytes;
            longest = longest.max(written.longest);
            long.extend(written.long);
        }
        let counted = metrics.entries_written - before.entries_written;
        if counted != phase.entries {
            let entries = phase.entries;
            return Err(Failure(format!(
                "{entries} entries were written, and the database counted {counted}"
            )));
        }
        phase.longest = Longest::of(&long, longest, &phase.machine);
        long.sort_by_key(|(wait, _)| std::cmp::Reverse(wait.length()));
        long.truncate(TOLD);
        phase.long = long;
        Ok(phase)
    }

    /// Bytes of keys and values a second.
    pub(super) fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9)
    }

    /// Bytes of keys and values for each byte that the engine counts, which has its framing among them.
    pub(super) fn net(&self) -> f64 {
        if self.accepted == 0 {
            return 1.0;
        }
        self.bytes as f64 / self.accepted as f64
    }
}

fn write_until_over(mut worker: Worker<'_>) -> Outcome<Written> {
    let mut budget = worker.budget(u64::MAX);
    let (mut bytes, mut longest, mut long) = (0, Duration::ZERO, Vec::new());
    let mut thread = Thread::new();
    while !worker.is_cancelled() {
        let entries = budget.take(worker.task.batch_size as u64);
        if entries == 0 {
            break;
        }
        let from = Instant::now();
        thread.begins(from);
        let written = write_random(&mut worker, entries)?;
        let wait = Wait {
            from,
            to: Instant::now(),
        };
        longest = longest.max(wait.length());
        if wait.length() >= NOTED {
            long.push((wait, thread.ended(wait.length())));
        }
        bytes += written;
        worker.pace_write(written);
    }
    Ok(Written {
        stats: worker.stats,
        bytes,
        longest,
        long,
    })
}

fn look(database: &Database, start: Instant, every: Duration, over: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let seconds = start.elapsed().as_secs_f64();
        samples.push(Sample::of(&database.db.metrics(), seconds));
        std::thread::sleep(every);
    }
    samples
}

fn since(now: &StallMetrics, before: &StallMetrics) -> StallMetrics {
    let mut since = *now;
    for (stalls, before) in [
        (&mut since.memtables, &before.memtables),
        (&mut since.level_0, &before.level_0),
        (&mut since.debt, &before.debt),
        (&mut since.memory, &before.memory),
    ] {
        stalls.count -= before.count;
        stalls.nanos -= before.nanos;
    }
    since
}
