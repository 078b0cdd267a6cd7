//! `sustained`: which rate of random writes the engine sustains with flat compaction debt, and whether it makes a writer wait for
//! more than 50 ms at 70 % of that.
//!
//! ```text
//!  phase 1: --sustained_seconds of writes as fast as back-pressure allows      -> the rate with flat debt
//!  wait until nothing is due
//!  phase 2: as long again, paced at --sustained_percent of it                  -> stalls, the longest write
//! ```
//!
//! Where the debt still grows in the second half of phase 1, the rate is lowered to the one that the same work in the background would keep
//! up with. A write counts as held back by the engine for its time less what idle threads beside it, one on each processor, which sleep a
//! millisecond at a time, were kept waiting meanwhile: that is the machine's.

mod debt;
mod machine;
mod phase;
mod thread;

use std::fmt::Write;
use std::time::{Duration, Instant};

use packstone::{Latency, Stalls};

use self::phase::Phase;
use crate::database::Database;
use crate::failure::Outcome;
use crate::flags::Config;

/// The longest that the engine may hold a writer back.
const LIMIT: Duration = Duration::from_millis(50);
/// The part of the pace that has to be reached, or else the verdict is about nothing.
const REACHED: f64 = 0.95;

/// What is printed, and whether the promise held.
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) held: bool,
}

pub(crate) fn run(config: &Config, database: &Database, seed: u64) -> Outcome<Report> {
    let time = config.sustained_time;
    let mut text = format!(
        "sustained    : {} threads, {} s and {} s, writes of {} entries\n",
        config.threads,
        time.as_secs_f64(),
        time.as_secs_f64(),
        config.batch_size
    );
    let first = Phase::run(config, database, time, 0, seed)?;
    text.push_str("phase 1, as fast as back-pressure allows\n");
    describe(&mut text, &first);
    let sustained = first.debt.sustained() * first.net();
    let how = if first.debt.is_flat() {
        "the debt is flat"
    } else {
        "the debt grew: what the background would have kept up with"
    };
    let _ = writeln!(text, "sustained rate: {:.2} MB/s ({how})", sustained / 1e6);
    let settling = Instant::now();
    database.db.wait_for_background()?;
    let _ = writeln!(text, "settled after {:.1} s", settling.elapsed().as_secs_f64());

    let pace = (sustained * config.sustained_percent as f64 / 100.0).max(1.0);
    let seed = seed.wrapping_add(config.threads as u64);
    let second = Phase::run(config, database, time, pace as u64, seed)?;
    let _ = writeln!(
        text,
        "phase 2, at {} % of it, {:.2} MB/s",
        config.sustained_percent,
        pace / 1e6
    );
    describe(&mut text, &second);
    let reached = second.rate() / pace;
    let (held_back, counted) = (second.longest.without_machine, longest_stall(&second));
    let held = held_back <= LIMIT && reached >= REACHED;
    let _ = writeln!(
        text,
        "verdict: {}: a write took {:.1} ms at most without the machine's part ({} ms allowed), the longest stall that the engine counted was \
         {:.1} ms; {:.1} % of the pace",
        if held { "held" } else { "missed" },
        millis(held_back),
        LIMIT.as_millis(),
        millis(counted),
        100.0 * reached
    );
    Ok(Report { text, held })
}

/// The longest of what the engine knows that it makes writers wait for. Each is part of a write; a write that is longer waited for
/// a lock, for the disk, or for a processor.
fn longest_stall(phase: &Phase) -> Duration {
    let latencies = &phase.latencies;
    let causes = [
        latencies.stall_memtables,
        latencies.stall_level_0,
        latencies.stall_debt,
        latencies.stall_memory,
        latencies.stall_garbage,
        latencies.log_file,
        latencies.log_append,
    ];
    let longest = causes.iter().map(|latency| latency.max).max();
    Duration::from_nanos(longest.unwrap_or(0))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn describe(text: &mut String, phase: &Phase) {
    let debt = &phase.debt;
    let _ = writeln!(
        text,
        "  accepted     {:.2} MB/s, {:.0} entries/s, {:.1} s; {:.2} MB/s in the second half",
        phase.rate() / 1e6,
        phase.entries as f64 / phase.seconds.max(1e-9),
        phase.seconds,
        debt.rate * phase.net() / 1e6,
    );
    let _ = writeln!(
        text,
        "  debt         {:.1} MiB in the third quarter, {:.1} in the last: {:+.3} bytes for each byte accepted, {}; at most {} files in \
         level 0",
        debt.owed[0] / MIB,
        debt.owed[1] / MIB,
        debt.growth,
        if debt.is_flat() { "flat" } else { "not flat" },
        debt.level_0
    );
    let _ = writeln!(
        text,
        "  background   {:.2} bytes written for each byte accepted",
        debt.written
    );
    let (latencies, stalls) = (&phase.latencies, &phase.stalls);
    let _ = writeln!(
        text,
        "  {:<17} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9}",
        "engine (ms)", "count", "total", "p50", "p99", "p99.9", "max"
    );
    for (name, latency, stalls) in [
        ("write_buffered", latencies.write_buffered, None),
        ("write_sync", latencies.write_sync, None),
        (
            "stall: memtables",
            latencies.stall_memtables,
            Some(stalls.memtables),
        ),
        ("stall: level 0", latencies.stall_level_0, Some(stalls.level_0)),
        ("stall: debt", latencies.stall_debt, Some(stalls.debt)),
        ("stall: memory", latencies.stall_memory, Some(stalls.memory)),
        ("stall: garbage", latencies.stall_garbage, Some(stalls.garbage)),
        ("new log file", latencies.log_file, None),
        ("log append", latencies.log_append, None),
        ("log sync", latencies.log_sync, None),
    ] {
        row(text, name, &latency, stalls);
    }
    let machine = &phase.machine;
    let _ = writeln!(
        text,
        "  longest write {:.1} ms, {:.1} ms without the machine's part",
        millis(phase.longest.write),
        millis(phase.longest.without_machine)
    );
    for (wait, spent) in &phase.long {
        let parts = spent.map_or(String::new(), |spent| {
            let [running, waiting, rest] = [spent.running, spent.waiting, spent.rest].map(millis);
            format!(": {running:.1} on a processor, {waiting:.1} ready and without one, {rest:.1} neither")
        });
        let (length, at) = (
            millis(wait.length()),
            wait.from.saturating_duration_since(phase.begun).as_secs_f64(),
        );
        let shared = millis(machine.part_of(wait));
        let _ = writeln!(
            text,
            "    at {at:.1} s {length:.1} ms, {shared:.1} of them the machine's{parts}"
        );
    }
    let _ = writeln!(
        text,
        "  machine: of {} idle sleeps of 1 ms the longest overran by {:.1} ms, {} by 5 ms or more",
        machine.naps,
        millis(machine.longest),
        machine.waits.len()
    );
}

const MIB: f64 = (1 << 20) as f64;

fn row(text: &mut String, name: &str, latency: &Latency, stalls: Option<Stalls>) {
    let total = stalls.map_or(latency.mean.saturating_mul(latency.count), |stalls| stalls.nanos);
    let _ = write!(
        text,
        "  {name:<17} {:>10} {:>10.1}",
        latency.count,
        total as f64 / 1e6
    );
    for nanos in [latency.p50, latency.p99, latency.p999, latency.max] {
        let _ = write!(text, " {:>9.3}", nanos as f64 / 1e6);
    }
    text.push('\n');
}
