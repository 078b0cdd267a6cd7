//! Latency histograms and what is counted with them: every operation once under its kind, nothing while they are off, and the
//! same in every run of the simulator.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use packstone::env::sim::SimEnv;
use packstone::env::{Clock, Env};
use packstone::{Access, Db, Durability, Keyspace, Latency, LatencyMetrics, Options, Result};
use support::rng::Rng;

fn key(i: u32) -> String {
    format!("{i:012}")
}

/// A clock that counts how often it is read.
struct CountingClock {
    inner: Arc<dyn Clock>,
    readings: AtomicU64,
}

impl Clock for CountingClock {
    fn now(&self) -> Duration {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.inner.now()
    }
    fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration);
    }
}

fn counted(sim: &SimEnv) -> (Env, Arc<CountingClock>) {
    let mut env = sim.env();
    let clock = Arc::new(CountingClock {
        inner: env.clock.clone(),
        readings: AtomicU64::new(0),
    });
    env.clock = clock.clone();
    (env, clock)
}

fn counts(latencies: &LatencyMetrics) -> Vec<(&'static str, u64)> {
    let named = latencies.named().into_iter();
    named
        .map(|(name, latency)| (name, latency.count))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// One of each of the operations that callers wait for.
fn operations(db: &Db, keyspace: &Keyspace) -> Result<()> {
    let mut buffer = Vec::new();
    keyspace.put("a", "1")?;
    keyspace.delete("b")?;
    let mut batch = db.batch();
    batch.put(keyspace, "c", "3");
    batch.put(keyspace, "d", "4");
    batch.commit(Durability::Buffered)?;
    keyspace.put_with("e", "5", Durability::Sync)?;
    db.sync()?;
    keyspace.get("a")?;
    keyspace.get_into("absent", &mut buffer)?;
    keyspace.contains_key("c")?;
    db.snapshot().get(keyspace, "c")?;
    keyspace.multi_get(&["a", "c", "e"])?;
    let mut cursor = keyspace.cursor()?;
    cursor.seek_to_first()?;
    cursor.next()?;
    cursor.next()?;
    cursor.prev()?;
    // Four entries, and the step that finds the end.
    assert_eq!(keyspace.iter().count(), 4);
    Ok(())
}

#[test]
fn every_operation_is_counted_once_under_its_kind() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = Options::new().latencies(true).env(sim.env()).open("/db")?;
    let keyspace = db.keyspace("a")?;
    operations(&db, &keyspace)?;
    assert_eq!(
        counts(&db.metrics().latencies),
        [
            ("get", 4),
            ("multi_get", 1),
            ("write_buffered", 3),
            ("write_sync", 1),
            ("seek", 2),
            ("next", 3 + 4),
            ("log_sync", 2),
            ("log_append", 4),
        ]
    );
    db.set_latencies(true);
    assert_eq!(db.metrics().latencies, LatencyMetrics::default());
    db.flush()?;
    keyspace.compact_range::<&[u8], _>(..)?;
    let background = counts(&db.metrics().latencies);
    assert_eq!(background, [("flush", 1), ("compaction", 1)]);
    // Off, they stay as they were.
    db.set_latencies(false);
    operations(&db, &keyspace)?;
    assert_eq!(counts(&db.metrics().latencies), background);
    Ok(())
}

#[test]
fn off_no_operation_reads_the_clock_and_on_each_reads_it_twice_and_a_write_four_times() -> Result<()> {
    let sim = SimEnv::new(2);
    let (env, clock) = counted(&sim);
    let db = Options::new().env(env).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let readings = |work: &dyn Fn() -> Result<()>| {
        let before = clock.readings.load(Ordering::Relaxed);
        work().unwrap();
        clock.readings.load(Ordering::Relaxed) - before
    };
    assert_eq!(readings(&|| operations(&db, &keyspace)), 0);
    db.set_latencies(true);
    assert_eq!(readings(&|| keyspace.get("a").map(drop)), 2);
    assert_eq!(readings(&|| keyspace.contains_key("x").map(drop)), 2);
    assert_eq!(readings(&|| keyspace.multi_get(&["a", "b"]).map(drop)), 2);
    // The call, and the log below it.
    assert_eq!(readings(&|| keyspace.put("a", "1")), 4);
    db.set_latencies(false);
    assert_eq!(readings(&|| operations(&db, &keyspace)), 0);
    Ok(())
}

const ENTRIES: u64 = 2_500;

/// A store that is filled until it has compacted several times, at a pace that takes time.
fn filled(seed: u64) -> Result<(SimEnv, Db, Keyspace)> {
    let sim = SimEnv::new(seed);
    let db = Options::new()
        .write_buffer_size(16 << 10)
        .max_file_size(16 << 10)
        .compaction_rate_limit(Some(1 << 20))
        .latencies(true)
        .env(sim.env())
        .open("/db")?;
    let keyspace = db.keyspace("a")?;
    let mut rng = Rng::new(seed);
    for _ in 0..ENTRIES {
        keyspace.put(key(rng.below(5_000) as u32), rng.fill(100))?;
    }
    db.wait_for_background()?;
    Ok((sim, db, keyspace))
}

#[test]
fn one_seed_gives_the_same_latencies_again() -> Result<()> {
    let run = |seed| filled(seed).map(|(_sim, db, _)| db.metrics());
    let (metrics, again) = (run(3)?, run(3)?);
    assert_eq!(metrics.latencies, again.latencies);
    let latencies = &metrics.latencies;
    assert_eq!(latencies.write_buffered.count, ENTRIES);
    assert_eq!(latencies.flush.count, metrics.flushes);
    assert_eq!(latencies.compaction.count, metrics.compactions);
    // The rate limit makes compactions take the simulated machine's time: as long as their bytes are worth.
    assert!(metrics.compactions > 3, "{metrics}");
    let Latency {
        mean,
        p50,
        p90,
        p99,
        p999,
        max,
        ..
    } = latencies.compaction;
    assert!(mean > 1_000_000 && mean <= max, "{metrics}");
    assert!(p50 <= p90 && p90 <= p99 && p99 <= p999 && p999 <= max && p50 > 0);
    Ok(())
}

#[test]
fn what_holds_writers_back_is_counted_by_cause() -> Result<()> {
    let (_sim, db, _keyspace) = filled(4)?;
    let metrics = db.metrics();
    let (stalls, latencies) = (&metrics.stalls, &metrics.latencies);
    let causes = [
        (stalls.memtables, latencies.stall_memtables),
        (stalls.level_0, latencies.stall_level_0),
        (stalls.debt, latencies.stall_debt),
        (stalls.memory, latencies.stall_memory),
    ];
    let mut nanos = 0;
    for (stalls, latency) in causes {
        assert_eq!(stalls.count, latency.count, "{metrics}");
        assert!(latency.max <= stalls.nanos, "{metrics}");
        nanos += stalls.nanos;
    }
    assert_eq!(nanos, metrics.stall_nanos);
    // Nobody runs flushes and compactions but who waits for them: writers come to that.
    assert!(stalls.memtables.count + stalls.level_0.count > 0, "{metrics}");
    assert!(latencies.write_buffered.max >= latencies.stall_level_0.max);
    Ok(())
}

#[test]
fn filters_are_counted_where_they_spare_files_and_where_not() -> Result<()> {
    const KEYS: u32 = 5_000;
    let sim = SimEnv::new(5);
    let db = Options::new()
        .access(Access::Pread)
        .latencies(true)
        .env(sim.env())
        .open("/db")?;
    let keyspace = db.keyspace("a")?;
    (0..KEYS).try_for_each(|i| keyspace.put(key(2 * i), "value"))?;
    db.flush()?;
    for i in 0..KEYS {
        assert!(keyspace.contains_key(key(2 * i))?);
        assert!(keyspace.get(key(2 * i + 1))?.is_none());
    }
    let filters = db.metrics().filters;
    assert!(filters.bytes >= u64::from(KEYS), "{filters:?}");
    assert_eq!(filters.found, u64::from(KEYS));
    // The last absent key lies behind the file.
    assert_eq!(filters.kept_away + filters.in_vain, u64::from(KEYS) - 1);
    assert!(filters.in_vain < u64::from(KEYS / 50), "{filters:?}");
    Ok(())
}

#[test]
fn the_table_shows_all_that_tells_how_a_database_is() -> Result<()> {
    let (_sim, db, keyspace) = filled(6)?;
    keyspace.get(key(1))?;
    let table = db.metrics().to_string();
    for line in [
        "written  ",
        "amplification  ",
        "log  ",
        "background  ",
        "stalls  ",
        "memory  ",
        "cache  ",
        "filters  ",
        "keyspace  ",
        "a  ",
        "latency (us)  ",
        "get  ",
        "write_buffered  ",
        "compaction  ",
    ] {
        assert!(
            table.lines().any(|found| found.starts_with(line)),
            "{line}\n{table}"
        );
    }
    for part in [
        "to compact",
        "space ",
        "level 0",
        "open SSTs",
        "in vain",
        "tombstones",
        "target",
    ] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    assert!(!table.contains("multi_get"), "there was none\n{table}");
    println!("{table}");
    let metrics = db.metrics();
    assert!(metrics.write_amplification() > 2.0);
    let space = metrics.space_amplification();
    assert!((1.0..3.0).contains(&space), "{space}");
    Ok(())
}
