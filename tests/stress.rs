//! Random histories on the simulated machine with everything going wrong that can: power loss, calls that fail, a full
//! disk, a slow one, flipped bits. `stress_support` says how; an ordinary run takes fixed seeds.
//!
//! | variable | what it does |
//! | --- | --- |
//! | `PACKSTONE_STRESS_SECONDS=n` | runs fresh seeds, which it prints, for `n` seconds |
//! | `PACKSTONE_STRESS_OPERATIONS=n` | runs fresh seeds until `n` operations have been done |
//! | `PACKSTONE_STRESS_FIRST=s` | the first of the fresh seeds; the clock's if not set |
//! | `PACKSTONE_STRESS_SEED=s` | runs one seed, telling its steps |
//! | `PACKSTONE_STRESS_HISTORY=file` | runs a history that was printed |
//! | `PACKSTONE_STRESS_THREADS=n` | how many histories run at the same time; all processors' number if not set |
#![allow(
    clippy::disallowed_methods,
    reason = "a campaign draws fresh seeds and looks at the clock"
)]

mod stress_support;
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use packstone::env::sim::CrashStyle;
use stress_support::shrink::{shorten, shorten_history};
use stress_support::{History, Plan, Report, Step, Tell, campaign, generate, run_history, run_traced};
use support::rng::Rng;

/// Seeds of an ordinary run.
const FIXED_SEEDS: u64 = 300;

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("PACKSTONE_STRESS_{name}")).ok()
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|value| value.parse().expect("a number"))
}

fn threads() -> usize {
    let all = std::thread::available_parallelism().map_or(2, |n| n.get());
    number("THREADS").map_or(all, |n| n as usize)
}

/// Runs what the environment asks for; false when it asks for nothing.
fn asked() -> bool {
    let plan = Plan::default();
    if let Some(seed) = number("SEED") {
        let history = generate::history(seed, &plan);
        if run_history(&history, Tell::Steps).is_err() {
            let failure = stress_support::run(seed, &plan).expect_err("it fails each time");
            panic!("{failure}");
        }
        return true;
    }
    if let Some(file) = variable("HISTORY") {
        let text = std::fs::read_to_string(&file).expect("the file can be read");
        let history: History = text.parse().expect("it is a history");
        let report = run_history(&history, Tell::Steps).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{report}");
        return true;
    }
    let (seconds, operations) = (number("SECONDS"), number("OPERATIONS"));
    if seconds.is_none() && operations.is_none() {
        return false;
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let first = number("FIRST").unwrap_or_else(now);
    println!("fresh seeds from PACKSTONE_STRESS_SEED={first} on");
    let (counter, done, start) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let next = || {
        let time_is_over = seconds.is_some_and(|seconds| start.elapsed() >= Duration::from_secs(seconds));
        let enough = operations.is_some_and(|wanted| done.load(Ordering::Relaxed) >= wanted);
        (!time_is_over && !enough).then(|| first.wrapping_add(counter.fetch_add(1, Ordering::Relaxed)))
    };
    let told_at = AtomicU64::new(0);
    let told = |report: &Report| {
        done.store(report.operations, Ordering::Relaxed);
        let elapsed = start.elapsed().as_secs();
        if elapsed >= told_at.load(Ordering::Relaxed) + 30 {
            told_at.store(elapsed, Ordering::Relaxed);
            println!("{elapsed} s: {report}");
        }
    };
    let report = campaign(threads(), &plan, next, told).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{:.1} s: {report}", start.elapsed().as_secs_f64());
    true
}

#[test]
fn random_histories_survive_everything_that_goes_wrong() {
    if asked() {
        return;
    }
    let counter = AtomicU64::new(0);
    let next = || Some(counter.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < FIXED_SEEDS);
    let start = Instant::now();
    let report =
        campaign(threads(), &Plan::default(), next, |_| {}).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{:.1} s: {report}", start.elapsed().as_secs_f64());
    assert_eq!(report.missing(), [""; 0], "the histories do not reach these");
}

#[test]
fn a_seed_gives_the_same_calls_each_time() {
    for seed in 0..20 {
        let history = generate::history(seed, &Plan::default());
        let (first, second) = (run_traced(&history).unwrap(), run_traced(&history).unwrap());
        assert!(first.1.len() > 100);
        assert!(first == second, "seed {seed}");
    }
}

#[test]
fn a_history_as_text_is_the_same_history() {
    for seed in 0..200 {
        let history = generate::history(seed, &Plan::default());
        let text = history.to_string();
        assert_eq!(text.parse(), Ok(history));
    }
    assert!("world 1 1\nnonsense".parse::<History>().is_err());
    assert!("world 1 1\nget 1".parse::<History>().is_err());
}

#[test]
fn histories_that_have_found_a_bug_pass() {
    for text in [
        include_str!("stress_support/histories/a_removed_log_that_comes_back.txt"),
        include_str!("stress_support/histories/a_sealed_pack_with_a_tail.txt"),
        include_str!("stress_support/histories/a_damaged_pack_that_is_named.txt"),
    ] {
        let history: History = text.parse().expect("it is a history");
        run_history(&history, Tell::Nothing).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn what_fails_is_shortened_to_what_makes_it_fail() {
    // Three numbers must be there, and the first of them before the last.
    let items: Vec<u64> = (0..1000).collect();
    let fails = |items: &[u64]| [17, 400, 999].iter().all(|wanted| items.contains(wanted));
    assert_eq!(shorten(&items, 2000, fails), [17, 400, 999]);
    // With a small budget it stops early, with something that still fails.
    let some = shorten(&items, 10, fails);
    assert!(fails(&some) && some.len() < items.len());

    let plan = Plan {
        steps: 2000,
        ..Plan::default()
    };
    let mut history = generate::history(4, &plan);
    let culprit = Rng::new(1).below(1000) as usize;
    history.steps[culprit] = "write synced 0:1:10:1 1:5:- 0:77:3:2 2:4:9:9".parse().unwrap();
    history.steps[culprit + 500] = Step::Crash(CrashStyle::Blocks);
    let is_write = |step: &Step| matches!(step, Step::Write(true, items) if items.iter().any(|item| item.key == 77 && item.value == Some((3, 2))));
    let fails = |history: &History| {
        let write = history.steps.iter().position(is_write);
        let crash = history
            .steps
            .iter()
            .rposition(|step| *step == Step::Crash(CrashStyle::Blocks));
        write.is_some() && write < crash
    };
    let short = shorten_history(&history, 3000, fails);
    let lines: Vec<String> = short.steps.iter().map(Step::to_string).collect();
    assert_eq!(lines, ["write synced 0:77:3:2", "crash blocks"]);
}
