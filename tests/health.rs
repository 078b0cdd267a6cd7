//! The state machine of failures: each transition, on the simulated machine, and that what calls return agrees with it.

use std::io::ErrorKind;
use std::time::Duration;

use packstone::env::sim::{CrashStyle, Effect, Op, SimEnv};
use packstone::{
    Activity, Compression, Db, Durability, Error, Health, Keyspace, KeyspaceOptions, LogMedium, Options,
    Result,
};

const MEDIA: [LogMedium; 2] = [LogMedium::Auto, LogMedium::Plain];

fn options(sim: &SimEnv) -> Options {
    Options::new()
        .write_buffer_size(24 << 10)
        .max_file_size(16 << 10)
        .max_log_size(64 << 10)
        .env(sim.env())
}

fn open(seed: u64) -> (SimEnv, Db, Keyspace) {
    open_with(seed, LogMedium::Auto)
}

fn open_with(seed: u64, medium: LogMedium) -> (SimEnv, Db, Keyspace) {
    let sim = SimEnv::new(seed);
    let db = options(&sim).log_medium(medium).open("/db").unwrap();
    let keyspace = db.keyspace("a").unwrap();
    (sim, db, keyspace)
}

/// Lets the disk be full but for so many bytes, and writes until the log has no room any more: a plain one at once, a mapped one
/// when the room that it has reserved is used up. Returns the keys that were accepted, and what refused the next.
fn fill_up(sim: &SimEnv, keyspace: &Keyspace, free: u64) -> (Vec<String>, Error) {
    sim.set_capacity(Some(sim.used() + free));
    let mut accepted = Vec::new();
    loop {
        let key = format!("k{:03}", accepted.len());
        let (calls, before) = (sim.io_count(), sim.env().clock.now());
        match keyspace.put(&key, [1; 500]) {
            Ok(()) => accepted.push(key),
            Err(error) => {
                let same_moment = sim.env().clock.now() == before;
                assert!(same_moment && sim.io_count() < calls + 20, "not at once");
                assert!(
                    matches!(&error, Error::Io { .. }) && error.is_out_of_space(),
                    "{error}"
                );
                return (accepted, error);
            }
        }
    }
}

fn flush_of_a() -> Activity {
    Activity::Flush {
        keyspace: "a".to_owned(),
    }
}

fn assert_good(db: &Db) {
    let health = db.health();
    assert!(matches!(health, Health::Good), "{health}");
}

/// Writes whose SSTs have to be merged with each other, and of which each holds something that is nowhere else.
fn overlapping(keyspace: &Keyspace, round: u8) -> Result<()> {
    keyspace.put([0], [round; 1000])?;
    keyspace.put([1 + round], [round; 1000])?;
    keyspace.put([255], [round; 1000])
}

/// What fails, and how long until the next attempt.
fn retrying(db: &Db) -> (Activity, Duration) {
    match db.health() {
        Health::Retrying { what, next, .. } => (what, next),
        health => panic!("{health}"),
    }
}

fn assert_poisoned(db: &Db) {
    let health = db.health();
    assert!(
        matches!(
            &health,
            Health::Poisoned {
                why: Error::Poisoned { .. }
            }
        ),
        "{health}"
    );
}

#[test]
fn a_flush_that_fails_is_tried_again_later_and_later_until_it_succeeds() -> Result<()> {
    let (sim, db, keyspace) = open(1);
    assert_good(&db);
    keyspace.put("k", "v")?;
    sim.fail_matching(
        Some(Op::Create),
        ".sst",
        10,
        ErrorKind::StorageFull,
        Effect::Nothing,
    );
    assert!(db.flush().unwrap_err().is_out_of_space());
    // Writes go on.
    keyspace.put("k", "w")?;
    let mut expected = Duration::from_millis(100);
    for attempt in 1..=10 {
        let (what, next) = retrying(&db);
        assert_eq!((what, next), (flush_of_a(), expected), "attempt {attempt}");
        sim.advance(next - Duration::from_nanos(1));
        sim.run_until_idle();
        assert_eq!(db.metrics().background_failures, attempt, "not before its time");
        sim.advance(Duration::from_nanos(1));
        sim.run_until_idle();
        expected = (expected * 2).min(Duration::from_secs(10));
    }
    assert_good(&db);
    assert_eq!(keyspace.files().len(), 1);
    // The next failure begins with a short delay again.
    sim.fail_matching(Some(Op::Sync), ".sst", 1, ErrorKind::Other, Effect::Nothing);
    assert!(db.flush().is_err());
    assert_eq!(retrying(&db).1, Duration::from_millis(100));
    db.flush()?;
    assert_good(&db);
    db.close()
}

#[test]
fn a_compaction_that_fails_is_tried_again_and_says_since_when() -> Result<()> {
    let (sim, db, keyspace) = open(2);
    for round in 0..4u8 {
        overlapping(&keyspace, round)?;
        db.flush()?;
    }
    // The oldest file is moved; with the next one there is something to merge.
    db.wait_for_background()?;
    overlapping(&keyspace, 4)?;
    db.flush()?;
    sim.fail_matching(Some(Op::Create), ".sst", 3, ErrorKind::Other, Effect::Nothing);
    assert!(db.wait_for_background().is_err());
    sim.advance(Duration::from_millis(60));
    let Health::Retrying {
        what, since, error, ..
    } = db.health()
    else {
        panic!("{}", db.health());
    };
    let keyspace_a = "a".to_owned();
    assert_eq!(what, Activity::Compaction { keyspace: keyspace_a });
    assert_eq!(since, Duration::from_millis(60));
    assert!(
        matches!(
            error,
            Error::Io {
                operation: "create",
                ..
            }
        ),
        "{error}"
    );
    for _ in 0..3 {
        sim.advance(Duration::from_millis(400));
        sim.run_until_idle();
    }
    assert_good(&db);
    db.wait_for_background()?;
    db.close()
}

#[test]
fn a_full_disk_fails_writes_at_once_and_is_over_by_itself_when_there_is_room() -> Result<()> {
    for (medium, free) in MEDIA.into_iter().flat_map(|medium| [(medium, 0), (medium, 20)]) {
        let (sim, db, keyspace) = open_with(3, medium);
        keyspace.put("before", "1")?;
        let (accepted, _) = fill_up(&sim, &keyspace, free);
        // Reserved room is room.
        assert_eq!(accepted.is_empty(), medium == LogMedium::Plain, "{accepted:?}");
        assert_eq!(retrying(&db).0, Activity::Log);
        // Each write tries, and fails; there is one series of attempts besides.
        for _ in 0..5 {
            assert!(keyspace.put("k", [1; 500]).unwrap_err().is_out_of_space());
        }
        sim.run_until_idle();
        assert_eq!(sim.pending(), 1);
        sim.advance(Duration::from_secs(30));
        sim.run_until_idle();
        assert_eq!((retrying(&db).0, sim.pending()), (Activity::Log, 1));
        // Room: without any call everything is good after one more delay.
        sim.set_capacity(None);
        sim.advance(Duration::from_secs(10));
        sim.run_until_idle();
        assert_good(&db);
        assert_eq!(sim.pending(), 0);
        keyspace.put_with("after", "1", Durability::Sync)?;
        sim.crash(CrashStyle::KeepNothing);
        drop((keyspace, db));
        let db = options(&sim).open("/db")?;
        let mut wanted = vec!["after".to_owned(), "before".to_owned()];
        wanted.extend(accepted);
        let keys = db.keyspace("a")?.iter().keys();
        let keys: Vec<_> = keys
            .map(|key| String::from_utf8(key.unwrap().to_vec()).unwrap())
            .collect();
        assert_eq!(keys, wanted, "{medium:?}");
    }
    Ok(())
}

#[test]
fn a_write_that_finds_room_ends_the_state_before_the_next_attempt() -> Result<()> {
    for medium in MEDIA {
        let (sim, db, keyspace) = open_with(4, medium);
        fill_up(&sim, &keyspace, 20);
        assert_eq!(retrying(&db).0, Activity::Log);
        sim.set_capacity(None);
        keyspace.put("k", "w")?;
        assert_good(&db);
        sim.run_until_idle();
        // The attempt that is still queued changes nothing.
        let calls = sim.io_count();
        sim.advance(Duration::from_secs(1));
        sim.run_until_idle();
        assert_eq!(sim.io_count(), calls);
        db.close()?;
    }
    Ok(())
}

const SPARE: &str = "/db/packstone-unfinished.log";

fn keeps_spare(sim: &SimEnv) -> bool {
    sim.list().iter().any(|path| path.to_str() == Some(SPARE))
}

/// A full disk, on which the log keeps room for its next file, and something that is in no SST yet.
fn full_with_spare(seed: u64) -> Result<(SimEnv, Db, Keyspace)> {
    let (sim, db, keyspace) = open(seed);
    for n in 0..200u32 {
        keyspace.put(n.to_be_bytes(), [1; 1000])?;
        sim.run_until_idle();
        if keeps_spare(&sim) {
            break;
        }
    }
    assert!(keeps_spare(&sim), "no log file is used again");
    keyspace.put("k", "v")?;
    sim.run_until_idle();
    sim.set_capacity(Some(sim.used()));
    Ok((sim, db, keyspace))
}

#[test]
fn a_full_disk_gets_back_the_room_that_the_log_keeps_for_its_next_file() -> Result<()> {
    // A flush fails for want of space, and its next attempt finds what the log has kept.
    let (sim, db, keyspace) = full_with_spare(12)?;
    assert!(db.flush().unwrap_err().is_out_of_space());
    assert!(!keeps_spare(&sim));
    sim.advance(Duration::from_millis(100));
    sim.run_until_idle();
    assert_good(&db);
    assert!(
        !keeps_spare(&sim),
        "nothing is kept again before there is something to write"
    );
    assert_eq!(keyspace.get("k")?.unwrap(), b"v");
    db.close()?;
    // So does an edit of the manifest.
    let (sim, db, _) = full_with_spare(13)?;
    assert!(db.keyspace("b").unwrap_err().is_out_of_space());
    assert!(!keeps_spare(&sim));
    db.keyspace("b")?;
    db.close()?;
    // And a checkpoint.
    let (sim, db, _) = full_with_spare(14)?;
    assert!(db.checkpoint("/copy").unwrap_err().is_out_of_space());
    assert!(!keeps_spare(&sim));
    db.close()
}

#[test]
fn memory_full_behind_a_full_disk_stops_writers_with_an_error_and_lets_them_go_on_later() -> Result<()> {
    let (sim, db, keyspace) = open(5);
    // The log finds room, SSTs don't.
    sim.fail_matching(
        Some(Op::Create),
        ".sst",
        u64::MAX,
        ErrorKind::StorageFull,
        Effect::Nothing,
    );
    let mut refused = None;
    for n in 0..200u32 {
        if let Err(error) = keyspace.put(n.to_be_bytes(), [1; 4000]) {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("memory is not endless");
    assert!(
        matches!(&refused, Error::Background { .. }) && refused.is_out_of_space(),
        "{refused}"
    );
    assert_eq!(retrying(&db).0, flush_of_a());
    sim.clear_faults();
    for _ in 0..3 {
        sim.advance(Duration::from_secs(10));
        sim.run_until_idle();
    }
    assert_good(&db);
    keyspace.put("k", "v")?;
    db.close()
}

#[test]
fn damage_in_the_way_of_a_compaction_makes_the_database_read_only_until_the_keyspace_goes() -> Result<()> {
    let (sim, db, _) = open(6);
    db.drop_keyspace("a")?;
    let plain = KeyspaceOptions::new().compression(Compression::None);
    let (keyspace, other) = (db.keyspace_with("a", plain)?, db.keyspace("b")?);
    other.put("k", "v")?;
    for round in 0..4u8 {
        overlapping(&keyspace, round)?;
        db.flush()?;
    }
    // The oldest file is moved; with the next one there is something to merge.
    db.wait_for_background()?;
    // In the first block, which holds the value.
    for file in keyspace.files() {
        sim.flip_bit(&file.path, 600, 3).unwrap();
    }
    overlapping(&keyspace, 9)?;
    db.flush()?;
    let error = db.wait_for_background().unwrap_err();
    assert!(matches!(error, Error::Corruption { .. }), "{error}");
    let Health::ReadOnly { why } = db.health() else {
        panic!("{}", db.health());
    };
    assert!(matches!(why, Error::Corruption { .. }), "{why}");
    // Writes are refused, and reads go on.
    for keyspace in [&keyspace, &other] {
        let refused = keyspace.put("k", "w").unwrap_err();
        assert!(
            matches!(&refused, Error::Background { cause } if matches!(**cause, Error::Corruption { .. })),
            "{refused}"
        );
    }
    assert_eq!(other.get("k")?.unwrap(), b"v");
    assert_eq!(keyspace.get([0])?.unwrap(), [9; 1000]);
    // Nobody tries again. (What had been begun has been thrown away.)
    sim.run_until_idle();
    let calls = sim.io_count();
    sim.advance(Duration::from_secs(100));
    sim.run_until_idle();
    assert_eq!(sim.io_count(), calls);
    assert!(db.wait_for_background().is_err());
    db.drop_keyspace("a")?;
    assert_good(&db);
    other.put("k", "w")?;
    db.wait_for_background()?;
    db.close()
}

#[test]
fn every_failed_sync_that_something_relies_on_is_final_until_the_database_is_opened_again() -> Result<()> {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for (op, path) in [(Op::Sync, ".log"), (Op::Sync, "MANIFEST"), (Op::SyncDir, "/db")] {
            let (sim, db, keyspace) = open(7);
            keyspace.put("k", "v")?;
            // With something of its own in the log: a flush of the other one depends on that.
            db.keyspace("b")?.put("k", "v")?;
            sim.fail_matching(Some(op), path, 1, kind, Effect::Nothing);
            let error = db.flush().unwrap_err();
            assert!(matches!(error, Error::Poisoned { .. }), "{op:?} {path}: {error}");
            assert_poisoned(&db);
            // Time heals nothing.
            sim.advance(Duration::from_secs(100));
            sim.run_until_idle();
            assert_poisoned(&db);
            assert!(matches!(keyspace.put("k", "w"), Err(Error::Poisoned { .. })));
            assert_eq!(keyspace.get("k")?.unwrap(), b"v");
            let report = db.checkpoint("/checkpoint").unwrap_err();
            assert!(matches!(report, Error::Poisoned { .. }), "{report}");
            drop((keyspace, db));
            let db = options(&sim).open("/db")?;
            assert_good(&db);
            assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"v");
        }
    }
    Ok(())
}

#[test]
fn a_failed_sync_of_an_sst_costs_only_that_file() -> Result<()> {
    let (sim, db, keyspace) = open(8);
    keyspace.put("k", "v")?;
    sim.fail_matching(Some(Op::Sync), ".sst", 1, ErrorKind::Other, Effect::Nothing);
    assert!(matches!(db.flush(), Err(Error::Io { .. })));
    assert_eq!(retrying(&db).0, flush_of_a());
    sim.advance(Duration::from_millis(100));
    sim.run_until_idle();
    assert_good(&db);
    sim.crash(CrashStyle::KeepNothing);
    drop((keyspace, db));
    let db = options(&sim).open("/db")?;
    assert_eq!(db.keyspace("a")?.get("k")?.unwrap(), b"v");
    Ok(())
}

#[test]
fn the_worst_state_shows_and_a_dropped_keyspace_takes_its_failures_along() -> Result<()> {
    let (sim, db, keyspace) = open(9);
    keyspace.put("k", "v")?;
    sim.fail_matching(
        Some(Op::Create),
        ".sst",
        u64::MAX,
        ErrorKind::Other,
        Effect::Nothing,
    );
    assert!(db.flush().is_err());
    sim.advance(Duration::from_millis(5));
    fill_up(&sim, &keyspace, 0);
    sim.set_capacity(None);
    assert_eq!(retrying(&db).0, flush_of_a(), "what has been failing for longest");
    db.drop_keyspace("a")?;
    assert_eq!(retrying(&db).0, Activity::Log);
    sim.fail_matching(Some(Op::Sync), ".log", 1, ErrorKind::Other, Effect::Nothing);
    assert!(db.sync().is_err() || db.keyspace("b")?.put_with("k", "v", Durability::Sync).is_err());
    assert_poisoned(&db);
    Ok(())
}

#[test]
fn a_database_that_is_not_open_for_writing_says_so() -> Result<()> {
    let (sim, db, keyspace) = open(10);
    keyspace.put("k", "v")?;
    let reader = options(&sim).open_read_only("/db")?;
    assert!(matches!(
        reader.health(),
        Health::ReadOnly { why: Error::ReadOnly }
    ));
    let again = db.clone();
    db.close()?;
    assert!(matches!(again.health(), Health::ReadOnly { why: Error::Closed }));
    Ok(())
}

#[test]
fn the_text_says_what_fails_why_and_when_it_is_tried_again() -> Result<()> {
    let (sim, db, keyspace) = open(11);
    assert_eq!(db.health().to_string(), "good");
    fill_up(&sim, &keyspace, 0);
    sim.set_capacity(None);
    let text = db.health().to_string();
    for part in [
        "writing the log",
        "failing for 0.0 s",
        "again in 0.1 s",
        ".log",
        "make room",
    ] {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    Ok(())
}
