//! The memory limit: what the engine counts stays within it, and what the system measures from outside does too.
#![allow(
    clippy::disallowed_methods,
    reason = "memory is measured by a thread of its own, in a process of its own"
)]

mod support;

use std::env;
use std::path::Path;

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::{Access, Db, Keyspace, MemoryMetrics, Options, Range, Result};

use support::outside;
use support::rng::Rng;

const MIB: u64 = 1 << 20;

fn keyspaces(db: &Db, count: u64) -> Result<Vec<Keyspace>> {
    (0..count).map(|i| db.keyspace(&format!("k{i}"))).collect()
}

/// Writes `bytes` of random keys and values, spread over the keyspaces; calls `look` now and then.
fn write(
    keyspaces: &[Keyspace],
    bytes: u64,
    value_len: usize,
    mut look: impl FnMut(u64, &Keyspace) -> Result<()>,
) -> Result<()> {
    let mut rng = Rng::new(9);
    for i in 0..bytes / (value_len as u64 + 16) {
        let keyspace = rng.pick(&keyspaces.iter().collect::<Vec<_>>()[..]);
        let key = u128::from(rng.next()).to_be_bytes();
        keyspace.put(key, rng.fill(value_len))?;
        look(i, keyspace)?;
    }
    Ok(())
}

fn within_its_limit(memory: &MemoryMetrics) {
    // An eighth is slack; memtables overshoot by their last chunk.
    let room = memory.limit / 8 * 7 + MIB;
    assert!(memory.total() <= room, "{memory:?}");
    // One flush and one compaction always may, whatever they need.
    assert!(memory.jobs <= memory.limit / 8 + MIB, "{memory:?}");
}

#[test]
fn what_is_counted_stays_within_the_limit() -> Result<()> {
    for (count, access) in [(1, Access::Mapped), (1, Access::Pread), (100, Access::Pread)] {
        let sim = SimEnv::new(count);
        let db = Options::new()
            .env(sim.env())
            .access(access)
            .memory_limit(16 * MIB)
            .open("/db")?;
        let all = keyspaces(&db, count)?;
        let mut held: Vec<Range> = Vec::new();
        let mut most = MemoryMetrics::default();
        write(&all, 48 * MIB, 200, |i, keyspace| {
            if i % 500 == 0 {
                let memory = db.metrics().memory;
                within_its_limit(&memory);
                assert_eq!(memory.limit, 16 * MIB);
                most.frozen_memtables = most.frozen_memtables.max(memory.frozen_memtables);
                most.pinned = most.pinned.max(memory.pinned);
            }
            if i % 20_000 == 0 {
                let mut range = keyspace.iter();
                range.next().transpose()?;
                held.push(range);
            }
            Ok(())
        })?;
        assert!(most.frozen_memtables > 0, "memtables were frozen");
        assert!(
            most.pinned > 0,
            "ranges that rest pin memtables, and that is said"
        );
        held.clear();
        db.flush()?;
        let memory = db.metrics().memory;
        assert_eq!((memory.pinned, memory.frozen_memtables), (0, 0));
        db.close()?;
    }
    Ok(())
}

#[test]
fn sizes_above_the_limit_are_cut_down_to_it() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = Options::new()
        .env(sim.env())
        .memory_limit(16 * MIB)
        .write_buffer_size(1 << 30)
        .cache_size(1 << 30)
        .open("/db")?;
    let all = keyspaces(&db, 1)?;
    write(&all, 20 * MIB, 1000, |_, _| {
        let memory = db.metrics().memory;
        assert!(memory.active_memtables <= 3 * MIB, "{memory:?}");
        Ok(())
    })?;
    assert!(db.metrics().flushes >= 2, "{}", db.metrics());
    let refused = Options::new().env(sim.env()).memory_limit(MIB).open("/other");
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("memory_limit"), "{message}");
    Ok(())
}

#[test]
fn compactions_and_flushes_side_by_side_stay_within_the_limit() -> Result<()> {
    for threads in [1, 2, 4, 8] {
        let dir = tempfile::tempdir().unwrap();
        let db = Options::new()
            .memory_limit(64 * MIB)
            .write_buffer_size(MIB / 4)
            .max_file_size(MIB)
            .background_threads(threads)
            .open(dir.path())?;
        let all = keyspaces(&db, 8)?;
        let mut most = 0;
        write(&all, 32 * MIB, 1000, |i, _| {
            if i % 50 == 0 {
                let memory = db.metrics().memory;
                within_its_limit(&memory);
                most = most.max(memory.jobs);
            }
            Ok(())
        })?;
        db.wait_for_background()?;
        let metrics = db.metrics();
        assert!(most > 0 && metrics.compactions > 0, "{metrics}");
        assert_eq!(metrics.memory.jobs, 0, "all is given back");
        println!("{threads} threads: {} of jobs", most);
        db.close()?;
    }
    Ok(())
}

/// Options under which nothing is flushed.
fn roomy() -> Options {
    Options::new()
        .memory_limit(1 << 30)
        .write_buffer_size(1 << 30)
        .max_log_size(256 * MIB)
}

fn numbered(i: u64) -> [u8; 8] {
    i.to_be_bytes()
}

fn value_of(i: u64, round: u8) -> [u8; 1000] {
    [(i as u8).wrapping_add(round); 1000]
}

/// Writes numbered entries, each of them twice, into two keyspaces in turn.
fn write_numbered(db: &Db, count: u64) -> Result<()> {
    let all = keyspaces(db, 2)?;
    for round in 0..2 {
        for i in 0..count {
            all[(i % 2) as usize].put(numbered(i), value_of(i, round))?;
        }
    }
    Ok(())
}

fn check_numbered(db: &Db, count: u64) -> Result<()> {
    let all = keyspaces(db, 2)?;
    for i in 0..count {
        let value = all[(i % 2) as usize].get(numbered(i))?;
        assert_eq!(value.as_deref(), Some(&value_of(i, 1)[..]), "{i}");
    }
    assert_eq!(
        all.iter()
            .map(|keyspace| keyspace.iter().count() as u64)
            .sum::<u64>(),
        count
    );
    Ok(())
}

#[test]
fn a_log_larger_than_the_limit_is_replayed_within_it() -> Result<()> {
    let sim = SimEnv::new(1);
    let count = 30_000;
    let db = roomy().env(sim.env()).open("/db")?;
    write_numbered(&db, count)?;
    assert_eq!(db.metrics().flushes, 0);
    drop(db);
    sim.crash(CrashStyle::KeepAll);
    for _ in 0..2 {
        let db = Options::new().env(sim.env()).memory_limit(16 * MIB).open("/db")?;
        within_its_limit(&db.metrics().memory);
        let metrics = db.metrics();
        assert!(
            metrics.replay_flushes > 0 || metrics.replayed_entries < count,
            "{metrics}"
        );
        check_numbered(&db, count)?;
        drop(db);
        sim.crash(CrashStyle::KeepNothing);
    }
    Ok(())
}

#[test]
fn a_replay_that_fails_leaves_nothing_behind() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = roomy().env(sim.env()).open("/db")?;
    write_numbered(&db, 20_000)?;
    drop(db);
    sim.crash(CrashStyle::KeepAll);
    let before = sim.list();
    let used = sim.used();
    // No room for what does not fit into memory.
    sim.set_capacity(Some(used + (16 << 10)));
    let small = || Options::new().env(sim.env()).memory_limit(16 * MIB).open("/db");
    for _ in 0..3 {
        assert!(small().is_err());
        assert_eq!((sim.list(), sim.used()), (before.clone(), used));
    }
    sim.set_capacity(None);
    check_numbered(&small()?, 20_000)
}

/// Limits in MiB, with commas between.
const LIMITS: &str = "PACKSTONE_MEMORY_LIMITS";
const CHILD: &str = "PACKSTONE_MEMORY_CHILD";

/// What a process of its own does: `write LIMIT KEYSPACES ACCESS THREADS`, or `replay DIRECTORY`.
fn child(plan: &str) -> Result<u64> {
    let words: Vec<&str> = plan.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    if words[0] == "replay" {
        let db = Options::new().memory_limit(16 * MIB).open(Path::new(words[1]))?;
        check_numbered(&db, REPLAYED)?;
        return Ok(0);
    }
    let access = match words[3] {
        "pread" => Access::Pread,
        _ => Access::Mapped,
    };
    write_ten_times(number(1) * MIB, number(2), access, number(4) as usize)
}

/// Entries that the child replays, of a kilobyte each and twice: six times its limit.
const REPLAYED: u64 = 48 << 10;

/// Writes ten times the limit; says how much was pinned at the most.
fn write_ten_times(limit: u64, count: u64, access: Access, threads: usize) -> Result<u64> {
    let dir = tempfile::tempdir().unwrap();
    let (mut pinned, mut held) = (0, Vec::new());
    let db = Options::new()
        .memory_limit(limit)
        .write_buffer_size(1 << 30)
        .cache_size(1 << 30)
        .access(access)
        .background_threads(threads)
        .open(dir.path())?;
    let all = keyspaces(&db, count)?;
    write(&all, 10 * limit, 1000, |i, keyspace| {
        if i % 100 == 0 {
            keyspace.get(i.to_be_bytes())?;
        }
        if i % 1000 == 0 {
            pinned = pinned.max(db.metrics().memory.pinned);
            within_its_limit(&db.metrics().memory);
        }
        // Two old views at a time, held by ranges and snapshots.
        if i % 50_000 == 0 {
            let mut range = keyspace.iter();
            range.next().transpose()?;
            held.push((range, db.snapshot()));
            if held.len() > 2 {
                held.remove(0);
            }
        }
        Ok(())
    })?;
    all[0]
        .iter()
        .take(100_000)
        .try_for_each(|entry| entry.map(drop))?;
    held.clear();
    db.close()?;
    Ok(pinned)
}

/// Runs a plan in a process of its own, and watches it. Says how much anonymous memory it had at the most, and how much was pinned.
fn watch(plan: &str) -> (u64, u64) {
    let (most, said) = outside::watch(CHILD, plan);
    let pinned = said.split("pinned ").nth(1).unwrap();
    let pinned = pinned.split_whitespace().next().unwrap().parse().unwrap();
    println!("{plan}: {:.1} MiB pinned at the most", pinned as f64 / MIB as f64);
    (most, pinned)
}

/// The child of the two tests below; on its own it does nothing.
#[test]
fn works_in_a_process_of_its_own() {
    if let Ok(plan) = env::var(CHILD) {
        println!("pinned {}", child(&plan).unwrap());
    }
}

#[test]
fn what_the_system_measures_stays_within_the_limit() {
    let limits = env::var(LIMITS).unwrap_or_else(|_| "64".to_owned());
    for limit in limits.split(',').filter(|_| outside::can_be_measured()) {
        for plan in ["1 mapped 2", "100 mapped 2", "1 pread 2", "1 mapped 8"] {
            let (most, pinned) = watch(&format!("write {limit} {plan}"));
            let limit = limit.parse::<u64>().unwrap() * MIB;
            assert!(
                most <= limit + pinned,
                "{plan}: {most} bytes, {pinned} of them pinned"
            );
        }
    }
}

#[test]
fn what_the_system_measures_of_a_replay_stays_within_the_limit() -> Result<()> {
    if !outside::can_be_measured() {
        return Ok(());
    }
    let dir = tempfile::tempdir().unwrap();
    let db = roomy().open(dir.path())?;
    write_numbered(&db, REPLAYED)?;
    assert_eq!(db.metrics().flushes, 0);
    db.close()?;
    let (most, _) = watch(&format!("replay {}", dir.path().display()));
    assert!(most <= 16 * MIB, "{most} bytes");
    Ok(())
}
