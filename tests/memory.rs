//! The memory limit: what the engine counts stays within it, and what the system measures from outside does too.
#![allow(
    clippy::disallowed_methods,
    reason = "memory is measured by a thread of its own, in a process of its own"
)]

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

use packstone::env::sim::SimEnv;
use packstone::{Access, Db, Keyspace, MemoryMetrics, Options, Range, Result};

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
    // An eighth is for jobs, an eighth is slack; memtables overshoot by their last chunk.
    let room = memory.limit / 4 * 3 + MIB;
    assert!(memory.total() <= room, "{memory:?}");
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

const LIMIT: &str = "PACKSTONE_MEMORY_LIMIT_MIB";
const CHILD: &str = "PACKSTONE_MEMORY_CHILD";

/// Bytes of this process's anonymous memory, as the system counts them.
fn anonymous() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Runs in a process of its own: writes ten times the limit and says how much memory that took.
fn measure(limit: u64, count: u64, access: Access) -> Result<(u64, u64)> {
    let before = anonymous();
    let (most, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let dir = tempfile::tempdir().unwrap();
    let (mut pinned, mut held) = (0, Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(anonymous(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut work = || -> Result<()> {
            let db = Options::new()
                .memory_limit(limit)
                .write_buffer_size(1 << 30)
                .cache_size(1 << 30)
                .access(access)
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
            db.close()
        };
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })?;
    Ok((most.into_inner().saturating_sub(before), pinned))
}

#[test]
fn what_the_system_measures_stays_within_the_limit() {
    if anonymous() == 0 {
        println!("this system does not say how much memory a process has");
        return;
    }
    if let Ok(plan) = env::var(CHILD) {
        let mut words = plan.split(' ');
        let limit = words.next().unwrap().parse::<u64>().unwrap() * MIB;
        let count = words.next().unwrap().parse().unwrap();
        let access = match words.next() {
            Some("pread") => Access::Pread,
            _ => Access::Mapped,
        };
        let (most, pinned) = measure(limit, count, access).unwrap();
        println!("most {most} pinned {pinned}");
        return;
    }
    let limit: u64 = env::var(LIMIT).map_or(64, |mib| mib.parse().unwrap());
    for plan in ["1 mapped", "100 mapped", "1 pread"] {
        let plan = format!("{limit} {plan}");
        let output = Command::new(env::current_exe().unwrap())
            .args(["what_the_system_measures", "--nocapture", "--test-threads=1"])
            .env(CHILD, &plan)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{plan}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let number = |name: &str| -> u64 {
            let at = said.find(name).unwrap() + name.len();
            said[at..].split_whitespace().next().unwrap().parse().unwrap()
        };
        let (most, pinned) = (number("most "), number("pinned "));
        println!(
            "limit and plan {plan}: {:.1} MiB anonymous, {:.1} MiB pinned",
            most as f64 / MIB as f64,
            pinned as f64 / MIB as f64
        );
        assert!(
            most <= limit * MIB + pinned,
            "{plan}: {most} bytes, {pinned} of them pinned"
        );
    }
}
