//! One history of operations under many sets of options, on the simulated machine and on a real directory: all answers
//! are the same, byte for byte. No oracle is needed for that, so none can be wrong in the way in which the engine is.
//!
//! `PACKSTONE_METAMORPHIC_SECONDS=n` runs fresh seeds for `n` seconds, `PACKSTONE_METAMORPHIC_SEED=s` one seed.
#![allow(
    clippy::disallowed_methods,
    reason = "a longer run draws fresh seeds and looks at the clock"
)]

mod metamorphic_support;
mod stress_support;
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metamorphic_support::{Answers, Disk, OptionSet, answers};
use packstone::{Access, Compression, Durability, KeyspaceOptions, Options};
use stress_support::generate;
use stress_support::shrink::shorten_history;
use stress_support::{History, Plan};
use support::rng::Rng;

/// Seeds of an ordinary run.
const FIXED_SEEDS: u64 = 4;
/// Drawn sets of options beside the ones that are given.
const DRAWN: u64 = 20;

/// The defaults, extremes that go well together, and some drawn ones.
fn option_sets(seed: u64) -> Vec<OptionSet> {
    let tiny = Options::new()
        .write_buffer_size(4 << 10)
        .max_log_size(4 << 10)
        .max_file_size(4 << 10)
        .manifest_roll_size(1 << 10)
        .cache_size(0)
        .pack_size(4 << 10);
    let tiny_blocks = KeyspaceOptions::new()
        .key_block_size(64)
        .value_block_size(64)
        .partition_size(64)
        .object_threshold(Some(32));
    let set = |name: &str| OptionSet {
        name: name.to_owned(),
        ..OptionSet::defaults()
    };
    let mut sets = vec![
        OptionSet::defaults(),
        OptionSet {
            options: tiny.clone().access(Access::Pread),
            keyspaces: tiny_blocks.clone().filter(false).compression(Compression::None),
            ..set("everything tiny, read calls, no filter, no compression")
        },
        OptionSet {
            options: tiny.clone().access(Access::Mapped),
            keyspaces: tiny_blocks.clone(),
            durability: Some(Durability::Sync),
            ..set("everything tiny, mapped, every write synced")
        },
        OptionSet {
            options: Options::new().cache_size(1 << 30),
            keyspaces: KeyspaceOptions::new()
                .key_block_size(1 << 20)
                .value_block_size(1 << 20)
                .partition_size(1 << 20),
            ..set("everything huge")
        },
        OptionSet {
            disk: Disk::Real,
            ..set("defaults, a real directory")
        },
        OptionSet {
            disk: Disk::Real,
            options: tiny.clone(),
            threads: 4,
            keyspaces: tiny_blocks,
            durability: Some(Durability::Buffered),
            ..set("everything tiny, a real directory, four threads")
        },
        OptionSet {
            options: tiny,
            changing: Some(seed),
            ..set("other options at each opening")
        },
    ];
    let mut rng = Rng::new(seed);
    sets.extend((0..DRAWN).map(|number| OptionSet::draw(&mut rng, number)));
    if !seed.is_multiple_of(4) {
        // A real disk takes a hundred times as long; there are as many sets all the same.
        sets.iter_mut().for_each(|set| set.disk = Disk::Simulated);
    }
    sets
}

fn history(seed: u64) -> History {
    let plan = Plan {
        steps: 900,
        crashes: false,
        faults: false,
        flips: false,
        shortenings: 0,
    };
    generate::history(seed, &plan)
}

/// The first step whose answers differ.
fn first_difference(a: &Answers, b: &Answers) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}

fn check(seed: u64) -> usize {
    let history = history(seed);
    let sets = option_sets(seed);
    let expected = answers(&history, &sets[0]);
    let said: usize = expected.iter().map(Vec::len).sum();
    for set in &sets[1..] {
        let Some(at) = first_difference(&expected, &answers(&history, set)) else {
            continue;
        };
        let differs = |history: &History| {
            first_difference(&answers(history, &sets[0]), &answers(history, set)).is_some()
        };
        let step = history
            .steps
            .get(at)
            .map_or("the end".to_owned(), ToString::to_string);
        let short = shorten_history(&history, 500, differs);
        panic!(
            "seed {seed}: with {}: {set:?}\nstep {at} ({step}) is answered in another way than with the defaults\n\
             again: PACKSTONE_METAMORPHIC_SEED={seed} cargo test --test metamorphic\nshortened:\n{short}",
            set.name
        );
    }
    said
}

#[test]
fn all_options_give_the_same_answers() {
    let variable = |name: &str| {
        let value = std::env::var(format!("PACKSTONE_METAMORPHIC_{name}")).ok();
        value.map(|value| value.parse::<u64>().expect("a number"))
    };
    if let Some(seed) = variable("SEED") {
        check(seed);
        return;
    }
    let start = Instant::now();
    if let Some(seconds) = variable("SECONDS") {
        let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        println!("fresh seeds from PACKSTONE_METAMORPHIC_SEED={first} on");
        let mut count = 0;
        while start.elapsed() < Duration::from_secs(seconds) {
            check(first.wrapping_add(count));
            count += 1;
        }
        println!(
            "{count} histories, each under {} sets of options",
            option_sets(0).len()
        );
        return;
    }
    let said: usize = (0..FIXED_SEEDS).map(check).sum();
    println!(
        "{FIXED_SEEDS} histories, each under {} sets of options, {said} bytes of answers each time; {:.1} s",
        option_sets(0).len(),
        start.elapsed().as_secs_f64()
    );
    assert!(said > 100_000 && option_sets(0).len() >= 24);
}
