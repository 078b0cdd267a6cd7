//! Bugs that other engines had, and edges that anybody gets wrong: one promise each.
#![allow(
    clippy::disallowed_methods,
    reason = "looks at, and damages, files behind the engine's back; races are made with threads"
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use packstone::env::Clock;
use packstone::env::sim::{CrashStyle, Effect, Op, SimEnv};
use packstone::{
    Access, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, MAX_KEY_LEN, MAX_VALUE_LEN,
    Options, RecoveryMode, Result,
};

use support::rng::Rng;

/// Limits so small that a few hundred writes reach everything.
fn tiny() -> Options {
    Options::new()
        .write_buffer_size(32 << 10)
        .max_file_size(16 << 10)
        .max_log_size(64 << 10)
        .manifest_roll_size(4 << 10)
}

fn on(sim: &SimEnv) -> Options {
    tiny().env(sim.env())
}

fn key(i: u32) -> [u8; 4] {
    i.to_be_bytes()
}

fn fill(keyspace: &Keyspace, numbers: std::ops::Range<u32>, len: usize) -> Result<()> {
    let mut rng = Rng::new(7);
    for i in numbers {
        keyspace.put(key(i), rng.fill(len))?;
    }
    Ok(())
}

fn tombstones(db: &Db) -> u64 {
    let metrics = db.metrics();
    let levels = metrics.keyspaces.iter().flat_map(|keyspace| &keyspace.levels);
    levels.map(|level| level.tombstones).sum()
}

// ---- dropping and clearing ----

#[test]
fn a_keyspace_dropped_during_a_compaction_does_not_come_back() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let db = tiny().open(dir.path())?;
        let keyspace = db.keyspace("a")?;
        assert_eq!(keyspace.iter().count(), 0, "round {round}");
        thread::scope(|scope| {
            let busy = keyspace.clone();
            scope.spawn(move || {
                // Ends when the keyspace is dropped under it.
                while fill(&busy, 0..300, 100).is_ok() && busy.compact_range::<&[u8], _>(..).is_ok() {}
            });
            thread::sleep(Duration::from_millis(5 * round));
            db.drop_keyspace("a")
        })?;
        let again = db.keyspace("a")?;
        db.wait_for_background()?;
        assert_eq!(again.iter().count(), 0, "round {round}");
        drop((keyspace, again));
        db.close()?;
    }
    Ok(())
}

#[test]
fn deletes_during_a_compaction_are_not_undone() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = tiny().open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    for _ in 0..10 {
        fill(&keyspace, 0..600, 100)?;
        thread::scope(|scope| {
            scope.spawn(|| keyspace.compact_range::<&[u8], _>(..));
            (0..600).try_for_each(|i| keyspace.delete(key(i)))
        })?;
        assert_eq!(keyspace.iter().count(), 0);
        db.wait_for_background()?;
        assert_eq!(keyspace.iter().count(), 0);
    }
    Ok(())
}

#[test]
fn a_dropped_keyspace_refuses_reads_and_writes_and_its_name_is_free() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = on(&sim).open("/db")?;
    let old = db.keyspace("a")?;
    old.put("k", "old")?;
    let before = db.snapshot();
    let mut batch = db.batch();
    batch.put(&old, "k", "batched");
    db.drop_keyspace("a")?;
    let dropped = |result: Result<()>| assert!(matches!(result, Err(Error::KeyspaceDropped { .. })));
    dropped(old.put("k", "v"));
    dropped(old.delete("k"));
    dropped(batch.commit(Durability::Buffered));
    dropped(old.get("k").map(drop));
    dropped(old.contains_key("k").map(drop));
    dropped(old.first().map(drop));
    dropped(old.compact_range::<&[u8], _>(..));
    assert!(matches!(
        db.drop_keyspace("a"),
        Err(Error::KeyspaceNotFound { .. })
    ));
    let new = db.keyspace("a")?;
    assert!(new.get("k")?.is_none());
    assert_eq!(before.get(&old, "k")?.unwrap(), b"old");
    assert!(before.get(&new, "k")?.is_none(), "it did not exist then");
    new.put("k", "new")?;
    sim.crash(CrashStyle::KeepAll);
    drop((old, new, before, db));
    let db = on(&sim).open("/db")?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"new");
    Ok(())
}

// ---- the log ----

#[test]
fn a_snapshot_from_after_a_drop_does_not_see_the_keyspace() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("k", "v")?;
    let before = db.snapshot();
    db.drop_keyspace("a")?;
    let after = db.snapshot();
    assert_eq!(before.get(&keyspace, "k")?.unwrap(), b"v");
    assert_eq!(before.iter(&keyspace).count(), 1);
    let is_dropped = |error: Option<Error>| matches!(error, Some(Error::KeyspaceDropped { .. }));
    assert!(is_dropped(after.get(&keyspace, "k").err()));
    assert!(is_dropped(after.contains_key(&keyspace, "k").err()));
    assert!(is_dropped(after.iter(&keyspace).next().and_then(Result::err)));
    // The number that the drop took is nobody's write, and is missing nowhere.
    let again = db.keyspace("a")?;
    again.put("k", "w")?;
    assert!(before.get(&again, "k")?.is_none());
    drop((before, after, keyspace, again));
    db.close()?;
    let db = on(&sim).open("/db")?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"w");
    Ok(())
}

/// A clock that says when the environment is freed.
struct Owned(
    Arc<dyn Clock>,
    #[allow(dead_code, reason = "it is counted")] Arc<()>,
);

impl Clock for Owned {
    fn now(&self) -> Duration {
        self.0.now()
    }
    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }
}

#[test]
fn a_database_that_is_dropped_with_jobs_queued_is_freed() -> Result<()> {
    let sim = SimEnv::new(1);
    let owner = Arc::new(());
    let mut env = sim.env();
    env.clock = Arc::new(Owned(env.clock, owner.clone()));
    let db = tiny().env(env).open("/db")?;
    let (a, b) = (db.keyspace("a")?, db.keyspace("b")?);
    fill(&a, 0..100, 1_000)?;
    b.put("k", "v")?;
    db.flush()?;
    db.drop_keyspace("b")?; // whose file is thrown away in the background
    fill(&a, 0..30, 1_000)?;
    sim.fail_matching(Some(Op::Create), ".sst", 1, io::ErrorKind::Other, Effect::Nothing);
    assert!(db.flush().is_err()); // and is to be tried again
    assert!(sim.pending() > 0, "nothing is queued");
    drop((a, b, db));
    assert_eq!(Arc::strong_count(&owner), 1, "a queued job keeps the database");
    Ok(())
}

fn logs(sim: &SimEnv) -> Vec<PathBuf> {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    sim.list().into_iter().filter(is_log).collect()
}

#[test]
fn damage_in_the_synced_part_of_the_log_is_an_error_and_not_a_shorter_log() -> Result<()> {
    let sim = SimEnv::new(2);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    for i in 0..50 {
        keyspace.put_with(key(i), "value", Durability::Sync)?;
    }
    drop(keyspace);
    db.close()?;
    let log = logs(&sim).pop().unwrap();
    let middle = sim.read_file(&log).unwrap().len() as u64 / 2;
    sim.flip_bit(&log, middle, 3).unwrap();
    let before = sim.read_file(&log).unwrap();
    for _ in 0..2 {
        match on(&sim).open("/db") {
            Err(Error::Corruption { path, offset, .. }) => {
                assert_eq!(path, log);
                assert!(offset <= middle);
            }
            other => panic!("opened in spite of the damage: {other:?}"),
        }
        assert_eq!(sim.read_file(&log).unwrap(), before, "refusing changes nothing");
    }
    // Going on is a decision of the user, and keeps what lies before.
    let db = on(&sim).recovery_mode(RecoveryMode::PointInTime).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let kept = keyspace.iter().count() as u32;
    assert!((1..50).contains(&kept), "{kept}");
    assert!((0..kept).all(|i| keyspace.contains_key(key(i)).unwrap()));
    Ok(())
}

#[test]
fn logs_without_anything_unflushed_go_at_the_next_open_and_after_a_drop() -> Result<()> {
    let sim = SimEnv::new(11);
    for _ in 0..5 {
        on(&sim).open("/db")?.close()?;
    }
    assert_eq!(logs(&sim).len(), 1, "an empty database needs only its newest log");
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("k", "v")?;
    drop(keyspace);
    db.close()?;
    for _ in 0..3 {
        on(&sim).open("/db")?.close()?;
    }
    assert!(logs(&sim).len() >= 2, "the log of the unflushed write stays");
    let db = on(&sim).open("/db")?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"v");
    db.drop_keyspace("a")?;
    assert_eq!(logs(&sim).len(), 1, "nobody needs the dropped keyspace's log");
    db.close()
}

#[test]
fn an_idle_keyspace_does_not_pin_the_log() -> Result<()> {
    let sim = SimEnv::new(3);
    const MAX_LOG: u64 = 64 << 10;
    let db = on(&sim).max_log_size(MAX_LOG).open("/db")?;
    let (idle, busy) = (db.keyspace("idle")?, db.keyspace("busy")?);
    idle.put("only", "one")?;
    let mut most = 0;
    for i in 0..10_000 {
        busy.put(key(i % 500), [1; 200])?;
        most = most.max(db.metrics().log_bytes_live);
    }
    db.wait_for_background()?;
    let metrics = db.metrics();
    assert!(metrics.log_bytes_written > 20 * MAX_LOG);
    // Files of a quarter each; background jobs run only when writers wait for them, so some more pile up meanwhile.
    assert!(most <= 4 * MAX_LOG, "{most} bytes of log at the worst");
    assert!(metrics.log_bytes_live <= MAX_LOG + MAX_LOG / 4, "{metrics}");
    assert_eq!(idle.get("only")?.unwrap(), b"one");
    sim.crash(CrashStyle::KeepAll);
    drop((idle, busy, db));
    assert_eq!(
        on(&sim).open("/db")?.keyspace("idle")?.get("only")?.unwrap(),
        b"one"
    );
    Ok(())
}

// ---- keys, values, batches ----

#[test]
fn keys_and_values_exactly_at_the_limit_are_kept_and_one_byte_more_is_refused() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    let mut rng = Rng::new(1);
    let (long_key, large_value) = (vec![0xff; MAX_KEY_LEN], rng.fill(MAX_VALUE_LEN));
    keyspace.put(&long_key, "long key")?;
    keyspace.put("large", &large_value)?;
    let too_large = |what: &str, result: Result<()>| match result {
        Err(Error::LimitExceeded {
            what: named,
            size,
            limit,
        }) => {
            assert_eq!((named, size), (what, limit + 1));
        }
        other => panic!("{other:?}"),
    };
    let longer_key = vec![0xff; MAX_KEY_LEN + 1];
    let larger_value = vec![0; MAX_VALUE_LEN + 1];
    too_large("key", keyspace.put(&longer_key, "v"));
    too_large("key", keyspace.delete(&longer_key));
    too_large("value", keyspace.put("k", &larger_value));
    let mut batch = db.batch();
    batch.put(&keyspace, "in the same batch", "v");
    batch.put(&keyspace, &longer_key, "v");
    too_large("key", batch.commit(Durability::Buffered));
    assert!(keyspace.get(&longer_key)?.is_none());
    for _ in 0..3 {
        assert_eq!(keyspace.get(&long_key)?.unwrap(), b"long key");
        assert!(keyspace.get("large")?.unwrap() == large_value);
        assert_eq!(keyspace.prefix(&long_key).count(), 1);
        assert_eq!(keyspace.iter().keys().rev().count(), 2);
        keyspace.compact_range::<&[u8], _>(..)?;
    }
    drop(keyspace);
    db.close()?;
    let keyspace = Db::open(dir.path())?.keyspace("a")?;
    assert_eq!(keyspace.get(&long_key)?.unwrap(), b"long key");
    assert!(keyspace.get("large")?.unwrap() == large_value);
    Ok(())
}

#[test]
fn the_empty_key_and_the_empty_value_are_ordinary() -> Result<()> {
    let sim = SimEnv::new(4);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("", "of the empty key")?;
    keyspace.put("empty", "")?;
    keyspace.put("\0", "")?;
    for _ in 0..3 {
        assert_eq!(keyspace.get("")?.unwrap(), b"of the empty key");
        assert_eq!(keyspace.get("empty")?.unwrap(), b"");
        let keys: Vec<_> = keyspace.iter().keys().map(|key| key.unwrap().to_vec()).collect();
        assert_eq!(keys, [&b""[..], b"\0", b"empty"]);
        assert_eq!(keyspace.range(..="").count(), 1);
        assert_eq!(keyspace.range(.."").count(), 0);
        assert_eq!(keyspace.prefix("").count(), 3);
        assert_eq!(keyspace.first()?.unwrap().0, b"");
        keyspace.compact_range::<&[u8], _>(..)?;
    }
    keyspace.delete("")?;
    assert!(keyspace.get("")?.is_none());
    assert_eq!(keyspace.first()?.unwrap().0, b"\0");
    Ok(())
}

#[test]
fn of_one_key_twice_in_a_batch_the_last_write_wins() -> Result<()> {
    let sim = SimEnv::new(5);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let mut batch = db.batch();
    batch.put(&keyspace, "put put", "1");
    batch.put(&keyspace, "put put", "2");
    batch.put(&keyspace, "put delete", "1");
    batch.delete(&keyspace, "put delete");
    batch.delete(&keyspace, "delete put");
    batch.put(&keyspace, "delete put", "2");
    assert_eq!(batch.len(), 6);
    batch.commit(Durability::Buffered)?;
    let check = |keyspace: &Keyspace| {
        assert_eq!(keyspace.get("put put").unwrap().unwrap(), b"2");
        assert!(keyspace.get("put delete").unwrap().is_none());
        assert_eq!(keyspace.get("delete put").unwrap().unwrap(), b"2");
        assert_eq!((keyspace.iter().count(), keyspace.iter().rev().count()), (2, 2));
    };
    check(&keyspace);
    sim.crash(CrashStyle::KeepAll);
    drop((keyspace, db));
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    check(&keyspace); // from the log
    db.flush()?;
    check(&keyspace); // from an SST
    keyspace.compact_range::<&[u8], _>(..)?;
    check(&keyspace);
    Ok(())
}

#[test]
fn an_empty_batch_is_no_write() -> Result<()> {
    let sim = SimEnv::new(6);
    let db = on(&sim).open("/db")?;
    let seq = db.snapshot().seq();
    db.batch().commit(Durability::Buffered)?;
    db.batch().commit(Durability::Sync)?;
    assert_eq!(db.snapshot().seq(), seq);
    Ok(())
}

// ---- memory ----

#[test]
fn the_cache_keeps_to_its_size() -> Result<()> {
    for size in [0, 64 << 10, 1 << 20] {
        let sim = SimEnv::new(7);
        let db = Options::new().cache_size(size).env(sim.env()).open("/db")?;
        let keyspace = db.keyspace("a")?;
        let mut rng = Rng::new(1);
        for i in 0..20_000 {
            keyspace.put(key(i), support::data::compressible(&mut rng, 150))?;
        }
        db.flush()?;
        for i in 0..20_000 {
            keyspace.get(key(i))?;
            assert!(db.metrics().cache_bytes <= size);
        }
        assert!(size == 0 || db.metrics().cache_bytes > size / 2, "it is used");
    }
    Ok(())
}

#[test]
fn the_write_buffer_keeps_to_its_size() -> Result<()> {
    const SIZE: u64 = 256 << 10;
    let sim = SimEnv::new(8);
    let db = on(&sim).write_buffer_size(SIZE).open("/db")?;
    let keyspace = db.keyspace("a")?;
    for i in 0..30_000 {
        keyspace.put(key(i), [1; 100])?;
        // One active memtable and at most four frozen ones, each over its limit by an arena's chunk at most.
        let bytes = db.metrics().keyspaces[0].memtable_bytes;
        assert!(bytes <= 10 * SIZE, "{bytes}");
    }
    Ok(())
}

// ---- snapshots ----

#[test]
fn a_snapshot_is_unharmed_by_flushes_and_compactions_and_keeps_the_database_open() -> Result<()> {
    let sim = SimEnv::new(9);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..500, 50)?;
    let snapshot = db.snapshot();
    let seen: Vec<_> = snapshot.iter(&keyspace).map(Result::unwrap).collect();
    let mut range = snapshot.iter(&keyspace);
    let first = range.next().unwrap()?;
    for round in 0..5 {
        for i in 0..500 {
            keyspace.put(key(i), format!("round {round}"))?;
        }
        (0..250).try_for_each(|i| keyspace.delete(key(2 * i)))?;
        db.flush()?;
        keyspace.compact_range::<&[u8], _>(..)?;
        assert!(
            snapshot
                .iter(&keyspace)
                .map(Result::unwrap)
                .eq(seen.iter().cloned())
        );
        assert!(
            snapshot
                .iter(&keyspace)
                .rev()
                .map(Result::unwrap)
                .eq(seen.iter().rev().cloned())
        );
    }
    assert_eq!(first, seen[0]);
    assert!(range.map(Result::unwrap).eq(seen[1..].iter().cloned()));
    drop(db);
    // The keyspace and the snapshot are handles, too.
    assert!(matches!(on(&sim).open("/db"), Err(Error::Locked { .. })));
    assert_eq!(snapshot.iter(&keyspace).count(), 500);
    drop((keyspace, snapshot));
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    assert_eq!(keyspace.iter().count(), 250);
    // Nobody needs the old versions any more.
    keyspace.compact_range::<&[u8], _>(..)?;
    let entries: u64 = db.metrics().keyspaces[0].levels.iter().map(|l| l.entries).sum();
    assert_eq!((entries, tombstones(&db)), (250, 0));
    Ok(())
}

#[test]
fn many_versions_of_one_key_span_files_and_stay_in_order() -> Result<()> {
    let sim = SimEnv::new(10);
    let db = on(&sim).write_buffer_size(1 << 20).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let mut rng = Rng::new(1);
    let mut snapshots = Vec::new();
    keyspace.put("a", "smaller")?;
    // The last file gets few of them, so that it would have room for the next key.
    for version in 0..21u8 {
        let mut value = rng.fill(10_000);
        value[0] = version;
        keyspace.put("k", value)?;
        snapshots.push(db.snapshot());
    }
    keyspace.put("z", "written last, so of the greatest number")?;
    let check = || {
        for (version, snapshot) in snapshots.iter().enumerate() {
            assert_eq!(snapshot.get(&keyspace, "k").unwrap().unwrap()[0], version as u8);
            let (_, last) = snapshot.range(&keyspace, "k".."l").next_back().unwrap().unwrap();
            assert_eq!(last[0], version as u8);
            // A backward range that ends before the key does not give it.
            assert_eq!(
                snapshot.range(&keyspace, .."k").next_back().unwrap().unwrap().0,
                b"a"
            );
        }
        assert_eq!(keyspace.get("k").unwrap().unwrap()[0], 20);
    };
    check();
    db.flush()?;
    assert!(db.metrics().keyspaces[0].levels[0].files > 2, "{}", db.metrics());
    check();
    keyspace.compact_range::<&[u8], _>(..)?;
    assert!(db.metrics().keyspaces[0].levels[1].files > 2, "{}", db.metrics());
    check();
    Ok(())
}

// ---- compaction ----

#[test]
fn a_range_of_tombstones_is_gone_after_compact_range() -> Result<()> {
    let sim = SimEnv::new(11);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..5_000, 50)?;
    db.wait_for_background()?;
    (1_000..4_000).try_for_each(|i| keyspace.delete(key(i)))?;
    db.flush()?;
    let before = sim.used();
    keyspace.compact_range(key(1_000)..key(4_000))?;
    assert_eq!(tombstones(&db), 0);
    db.wait_for_background()?;
    sim.run_until_idle(); // deletes what was replaced
    assert!(
        sim.used() < before / 2,
        "{} of {before} bytes are left",
        sim.used()
    );
    assert_eq!(keyspace.iter().count(), 2_000);
    keyspace.compact_range::<&[u8], _>(..)?;
    let entries: u64 = db.metrics().keyspaces[0].levels.iter().map(|l| l.entries).sum();
    assert_eq!(entries, 2_000);
    Ok(())
}

#[test]
fn a_range_of_tombstones_is_compacted_away_without_being_asked() -> Result<()> {
    for held in [false, true] {
        let sim = SimEnv::new(13);
        let db = on(&sim).open("/db")?;
        let keyspace = db.keyspace("a")?;
        fill(&keyspace, 0..2_000, 50)?;
        db.flush()?;
        db.wait_for_background()?;
        let snapshot = held.then(|| db.snapshot());
        (0..2_000).try_for_each(|i| keyspace.delete(key(i)))?;
        db.flush()?;
        // Ends, also when a snapshot keeps the tombstones alive.
        db.wait_for_background()?;
        assert_eq!(keyspace.iter().count(), 0);
        match snapshot {
            Some(snapshot) => assert_eq!(snapshot.iter(&keyspace).count(), 2_000),
            None => {
                let levels = &db.metrics().keyspaces[0].levels;
                assert_eq!(
                    levels.iter().map(|level| level.entries).sum::<u64>(),
                    0,
                    "{}",
                    db.metrics()
                );
            }
        }
        db.close()?;
    }
    Ok(())
}

// ---- failures ----

#[test]
fn a_failed_log_write_fails_one_write_and_leaves_nothing_half_done() -> Result<()> {
    for effect in [Effect::Nothing, Effect::Partial] {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let sim = SimEnv::new(12);
            let db = on(&sim).open("/db")?;
            let (a, b) = (db.keyspace("a")?, db.keyspace("b")?);
            a.put("before", "1")?;
            sim.fail_matching(Some(Op::Write), ".log", 1, kind, effect);
            let mut batch = db.batch();
            batch.put(&a, "failed", "1");
            batch.put(&b, "failed", "1");
            let error = batch.commit(Durability::Buffered).unwrap_err();
            assert_eq!(error.is_out_of_space(), kind == io::ErrorKind::StorageFull);
            // The next writes go through: into a new file.
            a.put("after", "1")?;
            b.put_with("after", "1", Durability::Sync)?;
            let check = |a: &Keyspace, b: &Keyspace| {
                let keys =
                    |keyspace: &Keyspace| keyspace.iter().keys().map(|key| key.unwrap().to_vec()).collect();
                let (of_a, of_b): (Vec<_>, Vec<_>) = (keys(a), keys(b));
                assert_eq!(of_a, [&b"after"[..], b"before"]);
                assert_eq!(of_b, [b"after"]);
            };
            check(&a, &b);
            sim.crash(CrashStyle::KeepAll);
            drop((a, b, db));
            let db = on(&sim).open("/db")?;
            check(&db.keyspace("a")?, &db.keyspace("b")?);
        }
    }
    Ok(())
}

#[test]
fn a_failed_log_sync_stops_all_writing_until_reopened_but_no_reading() -> Result<()> {
    let sim = SimEnv::new(13);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put_with("synced", "1", Durability::Sync)?;
    sim.fail_matching(Some(Op::Sync), ".log", 1, io::ErrorKind::Other, Effect::Nothing);
    let poisoned = |result: Result<()>| assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
    poisoned(keyspace.put_with("k", "v", Durability::Sync));
    poisoned(keyspace.put("k", "v"));
    poisoned(keyspace.put_with("k", "v", Durability::Sync));
    poisoned(db.sync());
    poisoned(db.flush());
    poisoned(db.drop_keyspace("a"));
    assert_eq!(keyspace.get("synced")?.unwrap(), b"1");
    assert!(keyspace.iter().count() >= 1);
    assert!(db.keyspace("new").is_err());
    drop(keyspace);
    poisoned(db.close());
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    assert_eq!(keyspace.get("synced")?.unwrap(), b"1");
    keyspace.put_with("k", "v", Durability::Sync)
}

#[test]
fn a_flush_that_fails_is_tried_again_and_loses_nothing() -> Result<()> {
    let sim = SimEnv::new(14);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..100, 50)?;
    sim.fail_matching(
        Some(Op::Create),
        ".sst",
        1,
        io::ErrorKind::StorageFull,
        Effect::Nothing,
    );
    assert!(db.flush().unwrap_err().is_out_of_space());
    assert_eq!(db.metrics().background_failures, 1);
    keyspace.put("still", "writable")?;
    db.flush()?;
    assert_eq!(keyspace.iter().count(), 101);
    db.wait_for_background()?;
    assert_eq!(db.metrics().keyspaces[0].frozen_memtables, 0);
    Ok(())
}

// ---- read-only ----

/// Every file below a directory: contents, and when it was last changed.
fn image(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut image = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let modified = entry.metadata().unwrap().modified().unwrap();
        let contents = fs::read(entry.path()).unwrap_or_default();
        image.insert(entry.path(), (contents, modified));
    }
    image
}

#[test]
fn a_read_only_opening_changes_nothing_on_disk() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = tiny().open(dir.path())?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..3_000, 50)?;
    drop(keyspace);
    db.close()?;
    // Leftovers that an opening for writing would remove.
    fs::write(dir.path().join("999999.sst"), b"").unwrap();
    fs::write(dir.path().join("CURRENT.tmp"), b"").unwrap();
    let (before, directory) = (image(dir.path()), fs::metadata(dir.path()).unwrap().modified());
    for access in [Access::Mapped, Access::Pread] {
        let db = tiny().access(access).open_read_only(dir.path())?;
        let keyspace = db.keyspace("a")?;
        assert_eq!(keyspace.iter().count(), 3_000);
        assert_eq!(db.snapshot().iter(&keyspace).rev().count(), 3_000);
        drop(keyspace);
        db.close()?;
        assert!(image(dir.path()) == before);
        assert_eq!(
            fs::metadata(dir.path()).unwrap().modified().unwrap(),
            *directory.as_ref().unwrap()
        );
    }
    Ok(())
}

#[test]
fn a_read_only_opening_makes_no_call_that_changes_anything() -> Result<()> {
    let sim = SimEnv::new(15);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..3_000, 50)?;
    sim.crash(CrashStyle::KeepAll); // so that there is something to replay, and leftovers
    drop((keyspace, db));
    sim.set_trace(true);
    let db = on(&sim).open_read_only("/db")?;
    let keyspace = db.keyspace("a")?;
    assert_eq!(keyspace.iter().count(), 3_000);
    assert_eq!(keyspace.get(key(1))?.unwrap().len(), 50);
    let refused = |result: Result<()>| assert!(matches!(result, Err(Error::ReadOnly)), "{result:?}");
    refused(keyspace.put("k", "v"));
    refused(keyspace.delete("k"));
    refused(keyspace.compact_range::<&[u8], _>(..));
    let mut batch = db.batch();
    batch.put(&keyspace, "k", "v");
    refused(batch.commit(Durability::Sync));
    refused(db.flush());
    refused(db.sync());
    refused(db.drop_keyspace("a"));
    assert!(matches!(db.keyspace("new"), Err(Error::KeyspaceNotFound { .. })));
    db.metrics();
    drop(keyspace);
    db.close()?;
    sim.run_until_idle();
    for call in sim.take_trace() {
        let reads = matches!(call.op, Op::Open | Op::List | Op::Read | Op::Len | Op::Map);
        assert!(reads, "{call:?}");
    }
    Ok(())
}

#[test]
fn waiting_for_a_read_only_database_ends_at_once() -> Result<()> {
    let sim = SimEnv::new(16);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..1_000, 50)?;
    sim.crash(CrashStyle::KeepAll); // more than a write buffer is left in the log
    drop((keyspace, db));
    // With a smaller buffer what is replayed does not fit into one memtable.
    let db = on(&sim).write_buffer_size(4 << 10).open_read_only("/db")?;
    db.wait_for_background()
}

#[test]
fn a_read_only_opening_of_nothing_is_an_error_and_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for path in [dir.path(), &missing] {
        let error = Options::new().open_read_only(path).unwrap_err();
        assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    }
    let error = Options::new()
        .create_if_missing(false)
        .open(&missing)
        .unwrap_err();
    assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

// ---- handles ----

#[test]
fn a_batch_for_another_database_is_refused_whole() -> Result<()> {
    let sim = SimEnv::new(17);
    let (one, other) = (on(&sim).open("/one")?, on(&sim).open("/other")?);
    let (ours, theirs) = (one.keyspace("a")?, other.keyspace("a")?);
    let mut batch = one.batch();
    batch.put(&ours, "k", "v");
    batch.put(&theirs, "k", "v");
    assert!(matches!(
        batch.commit(Durability::Buffered),
        Err(Error::WrongDatabase)
    ));
    assert!(ours.get("k")?.is_none() && theirs.get("k")?.is_none());
    let snapshot = one.snapshot();
    assert!(matches!(snapshot.get(&theirs, "k"), Err(Error::WrongDatabase)));
    assert!(matches!(
        snapshot.iter(&theirs).next(),
        Some(Err(Error::WrongDatabase))
    ));
    Ok(())
}

#[test]
fn a_closed_database_refuses_everything() -> Result<()> {
    let sim = SimEnv::new(18);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("k", "v")?;
    let (snapshot, mut batch, other) = (db.snapshot(), db.batch(), db.clone());
    batch.put(&keyspace, "k", "w");
    db.close()?;
    let closed = |result: Result<()>| assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    closed(keyspace.put("k", "v"));
    closed(keyspace.put_with("k", "v", Durability::Sync));
    closed(keyspace.delete("k"));
    closed(keyspace.get("k").map(drop));
    closed(keyspace.contains_key("k").map(drop));
    closed(keyspace.first().map(drop));
    closed(keyspace.last().map(drop));
    closed(keyspace.iter().next().unwrap().map(drop));
    closed(keyspace.compact_range::<&[u8], _>(..));
    closed(snapshot.get(&keyspace, "k").map(drop));
    closed(snapshot.iter(&keyspace).next().unwrap().map(drop));
    closed(batch.commit(Durability::Buffered));
    closed(other.flush());
    closed(other.sync());
    closed(other.wait_for_background());
    closed(other.keyspace("a").map(drop));
    closed(other.keyspace("b").map(drop));
    closed(other.drop_keyspace("a"));
    other.metrics();
    other.clone().close()?; // again: no harm
    let again = on(&sim).open("/db")?; // the old handles do not hold the lock
    assert_eq!(again.keyspace("a")?.get("k")?.unwrap(), b"v");
    Ok(())
}

#[test]
fn a_second_writer_is_refused() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path())?;
    match Db::open(dir.path()) {
        Err(Error::Locked { path }) => assert_eq!(path, dir.path()),
        other => panic!("{other:?}"),
    }
    db.keyspace("a")?.put("k", "v")?;
    db.close()?;
    let db = Db::open(dir.path())?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"v");
    Ok(())
}

// ---- what lies in the directory ----

#[test]
fn a_keyspace_can_be_opened_without_creating_it() -> Result<()> {
    let sim = SimEnv::new(14);
    let db = on(&sim).open("/db")?;
    assert_eq!(db.path(), Path::new("/db"));
    assert!(matches!(db.open_keyspace("users"), Err(Error::KeyspaceNotFound { name }) if name == "users"));
    assert!(db.keyspaces().is_empty());
    assert!(db.keyspace("users")?.is_empty()?);
    let users = db.open_keyspace("users")?;
    users.put("a", "1")?;
    let before = db.snapshot();
    users.put("b", "2")?;
    assert!(!users.is_empty()?);
    assert_eq!(before.first(&users)?, before.last(&users)?);
    assert_eq!(users.last()?.unwrap().0, b"b");
    Ok(())
}

#[test]
fn every_option_of_a_keyspace_can_be_read_back() -> Result<()> {
    let sim = SimEnv::new(15);
    let options = KeyspaceOptions::new()
        .compression(Compression::None)
        .value_block_size(9_999)
        .key_block_size(7_777)
        .filter(false);
    let db = on(&sim).open("/db")?;
    db.keyspace_with("a", options)?;
    db.close()?;
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let stored = keyspace.options();
    assert_eq!(stored.get_compression(), Compression::None);
    assert_eq!(
        (stored.get_value_block_size(), stored.get_key_block_size()),
        (9_999, 7_777)
    );
    assert!(!stored.get_filter());
    Ok(())
}

#[test]
fn options_of_a_keyspace_are_stored_with_it() -> Result<()> {
    let sim = SimEnv::new(19);
    let options = KeyspaceOptions::new()
        .compression(Compression::None)
        .filter(false)
        .key_block_size(1 << 20)
        .value_block_size(64);
    let db = on(&sim).open("/db")?;
    assert_eq!(*db.keyspace_with("a", options.clone())?.options(), options);
    db.keyspace("b")?;
    assert_eq!(*db.keyspace("a")?.options(), options);
    db.close()?;
    for _ in 0..2 {
        let db = on(&sim).open("/db")?;
        // What is asked for later does not count.
        let other = KeyspaceOptions::new().value_block_size(128);
        assert_eq!(*db.keyspace_with("a", other)?.options(), options);
        assert_eq!(*db.keyspace("b")?.options(), KeyspaceOptions::new());
        assert_eq!(db.keyspaces(), ["a", "b"]);
        db.close()?;
    }
    let db = on(&sim).open("/db")?;
    let bad = KeyspaceOptions::new().key_block_size(63);
    assert!(matches!(
        db.keyspace_with("c", bad),
        Err(Error::InvalidOption {
            name: "key_block_size",
            ..
        })
    ));
    assert_eq!(db.keyspaces(), ["a", "b"]);
    for name in ["", &"x".repeat(256)] {
        assert!(matches!(
            db.keyspace(name),
            Err(Error::InvalidKeyspaceName { .. })
        ));
    }
    Ok(())
}

#[test]
fn foreign_files_in_the_directory_are_harmless_and_left_alone() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let foreign: [(&str, &[u8]); 7] = [
        ("notes.txt", b"buy milk"),
        ("12.sst", b"an odd name"),
        ("000099.sst", b"not an SST at all"),
        ("MANIFEST-abc", b"somebody's"),
        ("MANIFEST-000777", b"not a manifest at all"),
        ("000001.sst.bak", b""),
        ("LOCK.old", b""),
    ];
    let plant = || {
        for (name, contents) in foreign {
            fs::write(dir.path().join(name), contents).unwrap();
        }
        fs::create_dir(dir.path().join("000005.log")).unwrap();
        fs::create_dir(dir.path().join("000006.sst")).unwrap();
    };
    let check = || {
        for (name, contents) in foreign {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), contents, "{name}");
        }
        assert!(dir.path().join("000005.log").is_dir() && dir.path().join("000006.sst").is_dir());
    };
    let db = tiny().open(dir.path())?;
    db.keyspace("a")?.put("k", "v")?;
    db.close()?;
    plant();
    for round in 0..4 {
        let db = tiny().open(dir.path())?;
        let keyspace = db.keyspace("a")?;
        fill(&keyspace, 0..2_000, 50)?; // file numbers and log numbers pass the foreign ones
        keyspace.compact_range::<&[u8], _>(..)?;
        db.wait_for_background()?;
        check();
        assert_eq!(keyspace.iter().count(), 2_001, "round {round}");
        drop(keyspace);
        db.close()?;
        check();
        tiny().open_read_only(dir.path())?.close()?;
    }
    Ok(())
}

#[test]
fn a_file_with_the_name_of_a_later_log_that_is_no_log_is_an_error_and_stays() -> Result<()> {
    // It could be a log whose header was damaged: going on as if it were not there could lose writes.
    let sim = SimEnv::new(21);
    on(&sim).open("/db")?.close()?;
    let names = support::file_names(&*sim.env().fs, Path::new("/db"));
    let number = support::highest_number(&names, "", ".log") + 1;
    let foreign = PathBuf::from(format!("/db/{number:06}.log"));
    sim.write_file(&foreign, &b"not a log at all, ".repeat(20))
        .unwrap();
    match on(&sim).open("/db") {
        Err(Error::Corruption { path, .. }) => assert_eq!(path, foreign),
        other => panic!("{other:?}"),
    }
    assert!(sim.read_file(&foreign).unwrap().starts_with(b"not a log"));
    sim.remove_file(&foreign).unwrap();
    on(&sim).open("/db")?.close()
}

#[test]
fn a_database_without_current_is_not_overwritten() -> Result<()> {
    let sim = SimEnv::new(20);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fill(&keyspace, 0..1_000, 50)?;
    drop(keyspace);
    db.close()?;
    let current = sim.read_file("/db/CURRENT").unwrap();
    sim.remove_file("/db/CURRENT").unwrap();
    let before = sim.list();
    assert!(matches!(on(&sim).open("/db"), Err(Error::NotADatabase { .. })));
    assert_eq!(sim.list(), before);
    sim.write_file("/db/CURRENT", &current).unwrap();
    assert_eq!(on(&sim).open("/db")?.keyspace("a")?.iter().count(), 1_000);
    Ok(())
}
