//! Random histories with random crashes, failures and flaky I/O. In the ordinary run the seeds are fixed; with
//! `PACKSTONE_CRASH_SECONDS=n` fresh ones are drawn for `n` seconds, and the seed of a failure is printed;
//! `PACKSTONE_CRASH_SEED=s` runs that one again.
#![allow(
    clippy::disallowed_methods,
    reason = "a soak draws fresh seeds and looks at the clock"
)]

mod crash_support;
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crash_support::soak::{random_crashes, random_decay, random_faults};
use crash_support::world::Context;

/// Seeds of an ordinary run.
const FIXED_SEEDS: u64 = 4000;

fn seconds() -> Option<u64> {
    std::env::var("PACKSTONE_CRASH_SECONDS").ok()?.parse().ok()
}

/// Runs `one` for the seed asked for, for fresh seeds, or for the fixed ones.
fn soak(what: &str, fixed: u64, one: impl Fn(u64)) {
    let run = |seed: u64| {
        let _context = Context(format!("{what}: run it again with PACKSTONE_CRASH_SEED={seed}"));
        one(seed);
    };
    if let Some(seed) = std::env::var("PACKSTONE_CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        return run(seed);
    }
    let Some(seconds) = seconds() else {
        return (1..=fixed).for_each(run);
    };
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (start, mut count) = (Instant::now(), 0);
    println!("{what}: seeds from {fresh} on");
    while start.elapsed() < Duration::from_secs(seconds) {
        run(fresh.wrapping_add(count));
        count += 1;
    }
    println!("{what}: {count} histories in {seconds} s");
}

#[test]
fn random_histories_survive_random_crashes() {
    soak("crashes", FIXED_SEEDS, random_crashes);
}

#[test]
fn random_histories_survive_random_faults() {
    soak("faults", FIXED_SEEDS, random_faults);
}

#[test]
fn of_a_flipped_bit_comes_an_error_or_what_was_written() {
    soak("decay", FIXED_SEEDS / 16, random_decay);
}
