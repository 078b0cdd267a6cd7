//! Background work that fails: who learns of it, who waits for it, and who must not.

use std::io;
use std::time::Duration;

use packstone::env::sim::{CrashStyle, Effect, Op, SimEnv};
use packstone::{Error, Options, RecoveryMode, Result};

fn tiny(sim: &SimEnv) -> Options {
    Options::new()
        .write_buffer_size(32 << 10)
        .max_file_size(16 << 10)
        .max_log_size(64 << 10)
        .env(sim.env())
}

/// All such calls on such files fail, until faults are cleared.
fn fail_always(sim: &SimEnv, op: Op, path: &str) {
    sim.fail_matching(Some(op), path, u64::MAX, io::ErrorKind::Other, Effect::Nothing);
}

#[test]
fn logs_that_cannot_be_deleted_stop_no_writer() -> Result<()> {
    let sim = SimEnv::new(1);
    let db = tiny(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    fail_always(&sim, Op::Remove, ".log");
    // Sixty write buffers: writers that wait for pressure to fall would be reported as a deadlock.
    for i in 0..2000u32 {
        keyspace.put(i.to_be_bytes(), [7; 1000])?;
    }
    db.wait_for_background()?;
    assert!(db.metrics().flushes > 10);
    db.close()
}

#[test]
fn waiting_for_the_background_waits_for_the_retry_of_a_compaction() -> Result<()> {
    let sim = SimEnv::new(2);
    let db = tiny(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    for _ in 0..4 {
        keyspace.put("k", [7; 1000])?;
        db.flush()?;
    }
    // The oldest of four is moved to the last level, where nothing is yet.
    db.wait_for_background()?;
    assert_eq!((db.metrics().moved_files, db.metrics().compactions), (1, 0));
    // The fifth flush makes a compaction due, whose first output can't be created.
    keyspace.put("k", [8; 1000])?;
    db.flush()?;
    sim.fail_matching(Some(Op::Create), ".sst", 1, io::ErrorKind::Other, Effect::Nothing);
    while db.metrics().background_failures == 0 && sim.run_one() {}
    assert_eq!(
        db.metrics().background_failures,
        1,
        "the compaction has failed once"
    );
    assert_eq!(db.metrics().compactions, 0);
    db.wait_for_background()?;
    assert_eq!(db.metrics().compactions, 1, "it was waited for");
    db.close()
}

#[test]
fn outputs_of_failed_commits_are_deleted_once_that_is_safe() -> Result<()> {
    let sim = SimEnv::new(3);
    let db = tiny(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let ssts = || {
        sim.list()
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "sst"))
            .count()
    };
    for i in 0..3u8 {
        keyspace.put([i], [7; 1000])?;
        sim.fail_matching(
            Some(Op::Write),
            "MANIFEST",
            1,
            io::ErrorKind::Other,
            Effect::Nothing,
        );
        assert!(db.flush().is_err(), "the edit could not be written");
    }
    assert!(ssts() >= 1, "a crash could find the edit done, so its file stays");
    db.flush()?;
    db.wait_for_background()?;
    sim.run_until_idle();
    let live: u64 = db.metrics().keyspaces[0]
        .levels
        .iter()
        .map(|level| level.files)
        .sum();
    assert_eq!(
        ssts() as u64,
        live,
        "after the next edit only live files are left"
    );
    db.close()
}

#[test]
fn a_damaged_manifest_is_an_error_in_every_recovery_mode_and_costs_no_file() -> Result<()> {
    let sim = SimEnv::new(4);
    let db = tiny(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    for i in 0..200u32 {
        keyspace.put(i.to_be_bytes(), [7; 1000])?;
    }
    db.flush()?;
    drop(keyspace);
    db.close()?;
    let files = sim.list();
    let manifest = files
        .iter()
        .find(|path| path.to_string_lossy().contains("MANIFEST"))
        .unwrap()
        .clone();
    let middle = sim.read_file(&manifest).unwrap().len() as u64 / 2;
    sim.flip_bit(&manifest, middle, 3).unwrap();
    for mode in [
        RecoveryMode::TornTail,
        RecoveryMode::Absolute,
        RecoveryMode::PointInTime,
    ] {
        let outcome = tiny(&sim).recovery_mode(mode).open("/db");
        match outcome.err() {
            Some(Error::Corruption { path, .. }) => assert_eq!(path, manifest, "{mode:?}"),
            other => panic!("{mode:?}: {other:?}"),
        }
        assert_eq!(sim.list(), files, "{mode:?}");
    }
    Ok(())
}

#[test]
fn going_on_after_damage_says_what_was_left_behind() -> Result<()> {
    let sim = SimEnv::new(5);
    let db = tiny(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    for i in 0..10u8 {
        keyspace.put([i], [7; 100])?;
        db.sync()?;
    }
    sim.power_off();
    drop((keyspace, db));
    sim.crash(CrashStyle::KeepAll);
    let log = sim
        .list()
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "log"))
        .unwrap();
    sim.flip_bit(&log, 400, 0).unwrap();
    assert!(matches!(tiny(&sim).open("/db"), Err(Error::Corruption { .. })));
    let db = tiny(&sim).recovery_mode(RecoveryMode::PointInTime).open("/db")?;
    let damage = db.metrics().recovery_damage;
    assert!(
        damage.iter().any(|what| what.contains(&*log.to_string_lossy())),
        "{damage:?}"
    );
    assert!(db.keyspace("a")?.contains_key([0])?);
    db.close()
}

#[test]
fn a_range_that_outlives_the_database_ends_with_an_error_and_deletes_nothing() -> Result<()> {
    let sim = SimEnv::new(6);
    let db = tiny(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    for i in 0..100u32 {
        keyspace.put(i.to_be_bytes(), [7; 1000])?;
    }
    db.flush()?;
    let mut range = keyspace.iter();
    assert!(range.next().is_some());
    keyspace.compact_range::<&[u8], _>(..)?;
    db.close()?;
    let files = sim.list();
    assert!(matches!(range.next(), Some(Err(Error::Closed))));
    assert!(range.next().is_none());
    drop((range, keyspace));
    sim.run_until_idle();
    assert_eq!(sim.list(), files, "the directory may be somebody else's by now");
    Ok(())
}

#[test]
fn the_highest_numbers_that_are_found_leave_room_for_more() -> Result<()> {
    let sim = SimEnv::new(7);
    tiny(&sim).open("/db")?.close()?;
    for stranger in [
        "/db/1000000000000000.sst",
        "/db/1000000000000000.log",
        "/db/MANIFEST-1000000000000000",
        "/db/999995705032704.sst",
    ] {
        sim.write_file(stranger, b"not ours at all, and long enough to be looked at")
            .unwrap();
    }
    for round in 0..3u8 {
        let db = tiny(&sim).open("/db")?;
        db.keyspace("a")?.put([round], "v")?;
        db.flush()?;
        db.close()?;
    }
    let db = tiny(&sim).open("/db")?;
    assert_eq!(db.keyspace("a")?.iter().count(), 3);
    db.close()
}

#[test]
fn a_flush_that_fails_again_is_an_error_again() -> Result<()> {
    let sim = SimEnv::new(8);
    let db = tiny(&sim).open("/db")?;
    let (a, b) = (db.keyspace("a")?, db.keyspace("b")?);
    a.put("k", "v")?;
    fail_always(&sim, Op::Create, ".sst");
    assert!(a.compact_range::<&[u8], _>(..).is_err());
    // What is frozen since is older than the newest number now.
    b.put("k", "v")?;
    assert!(a.compact_range::<&[u8], _>(..).is_err());
    sim.clear_faults();
    a.compact_range::<&[u8], _>(..)?;
    db.close()
}

#[test]
fn a_new_manifest_whose_sync_fails_costs_nothing_and_a_failed_sync_of_the_directory_is_final() -> Result<()> {
    let sim = SimEnv::new(9);
    let db = tiny(&sim).open("/db")?;
    let a = db.keyspace("a")?;
    let fail = |op, path| sim.fail_matching(Some(op), path, 1, io::ErrorKind::Other, Effect::Nothing);
    // After a failed write the next edit goes into a new manifest.
    fail(Op::Write, "MANIFEST");
    assert!(db.keyspace("b").is_err());
    fail(Op::Sync, "MANIFEST");
    assert!(matches!(db.keyspace("b"), Err(Error::Io { .. })));
    a.put("k", "v")?;
    fail(Op::SyncDir, "/db");
    assert!(matches!(db.keyspace("b"), Err(Error::Poisoned { .. })));
    assert!(matches!(a.put("k", "v"), Err(Error::Poisoned { .. })));
    Ok(())
}

#[test]
fn a_failed_flush_is_tried_again_after_a_tenth_of_a_second_and_then_after_twice_as_long_each_time()
-> Result<()> {
    let sim = SimEnv::new(10);
    let db = tiny(&sim).open("/db")?;
    let a = db.keyspace("a")?;
    a.put("k", "v")?;
    fail_always(&sim, Op::Create, ".sst");
    assert!(db.flush().is_err());
    let (mut failures, mut times) = (sim.failures(), Vec::new());
    for now in (10..40_000).step_by(10) {
        sim.advance(Duration::from_millis(10));
        sim.run_until_idle();
        if sim.failures() > failures {
            (failures, _) = (sim.failures(), times.push(now));
        }
    }
    let doubled = [100, 300, 700, 1500, 3100, 6300, 12_700, 22_700, 32_700];
    assert_eq!(times, doubled, "milliseconds; ten seconds are the longest pause");
    // Who asks for a flush does not wait for the next attempt.
    sim.clear_faults();
    let before = sim.env().clock.now();
    db.flush()?;
    assert_eq!(sim.env().clock.now(), before);
    db.close()
}

#[test]
fn the_time_that_a_flush_takes_is_measured() -> Result<()> {
    let sim = SimEnv::new(11);
    let db = tiny(&sim).open("/db")?;
    db.keyspace("a")?.put("k", "v")?;
    sim.set_slow(Duration::from_millis(1));
    db.flush()?;
    assert!(db.metrics().keyspaces[0].levels[0].nanos > 0);
    db.close()
}

#[test]
fn a_flush_that_was_due_when_the_process_died_is_done_after_the_opening() -> Result<()> {
    let sim = SimEnv::new(12);
    let db = tiny(&sim).write_buffer_size(1 << 20).open("/db")?;
    let a = db.keyspace("a")?;
    // One memtable and a bit: with more frozen ones the replay itself flushes.
    for i in 0..20u32 {
        a.put(i.to_be_bytes(), [7; 1000])?;
    }
    sim.crash(CrashStyle::KeepAll);
    drop((a, db));
    let db = tiny(&sim).open("/db")?;
    assert!(db.metrics().keyspaces[0].frozen_memtables > 0);
    db.wait_for_background()?;
    assert_eq!(db.metrics().keyspaces[0].frozen_memtables, 0);
    db.close()
}
