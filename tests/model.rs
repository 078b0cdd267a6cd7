//! Random histories against a model: whatever is done to a database, in whatever order, with limits so tiny that every
//! kind of block, level and roll-over is reached, it answers as a sorted map of versions would.
//!
//! A failure prints its seed. `PACKSTONE_MODEL_SEED=<seed> cargo test --test model` runs that history again and prints
//! what it does; `PACKSTONE_MODEL_SECONDS=<n>` runs new seeds for so long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the histories are spread over threads, and may be told to run for a time"
)]

#[path = "support/coverage.rs"]
mod coverage;
#[path = "support/history.rs"]
mod history;
#[path = "support/oracle.rs"]
mod oracle;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coverage::Coverage;
use history::World;
use packstone::env::sim::SimEnv;

/// Histories on the simulator in an ordinary run.
const SIM_HISTORIES: u64 = 2500;
/// Histories on a real directory in an ordinary run.
const REAL_HISTORIES: u64 = 12;
/// Seeds of the two kinds, and fresh ones, begin here.
const REAL_SEEDS: u64 = 1 << 32;
const FRESH_SEEDS: u64 = 1 << 40;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().expect("a number"))
}

fn history(seed: u64, trace: bool) -> Coverage {
    let run = || {
        if (REAL_SEEDS..FRESH_SEEDS).contains(&seed) {
            let world = World::Real(tempfile::tempdir().unwrap());
            return history::run(seed, world, 3000, trace);
        }
        // Many short ones, and some long ones, which grow deep.
        let operations = if seed.is_multiple_of(16) { 4000 } else { 400 };
        history::run(seed, World::Sim(SimEnv::new(seed)), operations, trace)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        eprintln!("a history failed; again: PACKSTONE_MODEL_SEED={seed} cargo test --test model");
        resume_unwind(panic)
    })
}

/// Runs the histories of the seeds that `next` gives, on all processors.
fn histories(next: impl Fn() -> Option<u64> + Sync) -> Coverage {
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    let work = || {
        let mut coverage = Coverage::default();
        while let Some(seed) = next() {
            coverage += history(seed, false);
        }
        coverage
    };
    let mut coverage = Coverage::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            coverage += thread.join().unwrap();
        }
    });
    println!("{coverage}; {:.1} s", start.elapsed().as_secs_f64());
    coverage
}

/// The seeds `first..first + count`, or those that the environment asks for.
fn run(first: u64, count: u64) -> Option<Coverage> {
    if let Some(seed) = variable("PACKSTONE_MODEL_SEED") {
        println!("{}", history(seed, true));
        return None;
    }
    let counter = AtomicU64::new(0);
    let next = || counter.fetch_add(1, Ordering::Relaxed);
    if let Some(seconds) = variable("PACKSTONE_MODEL_SECONDS") {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let fresh = FRESH_SEEDS + now.unwrap().as_nanos() as u64 % FRESH_SEEDS * 1000;
        let end = Instant::now() + Duration::from_secs(seconds);
        histories(|| (Instant::now() < end).then(|| fresh + next()));
        return None;
    }
    Some(histories(|| {
        Some(next()).filter(|n| *n < count).map(|n| first + n)
    }))
}

#[test]
fn a_database_answers_as_a_sorted_map_of_versions_would() {
    let Some(coverage) = run(0, SIM_HISTORIES) else {
        return;
    };
    assert_eq!(coverage.missing(), [""; 0], "the histories do not reach these");
    assert!(coverage.deepest_level >= 3, "{coverage}");
}

#[test]
fn the_same_on_a_real_directory_with_real_threads() {
    if variable("PACKSTONE_MODEL_SEED").is_some() || variable("PACKSTONE_MODEL_SECONDS").is_some() {
        return;
    }
    let coverage = histories_on_disk();
    assert!(coverage.flushes > 0 && coverage.compactions > 0, "{coverage}");
}

fn histories_on_disk() -> Coverage {
    let counter = AtomicU64::new(0);
    histories(|| {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        (n < REAL_HISTORIES).then(|| REAL_SEEDS + n)
    })
}
