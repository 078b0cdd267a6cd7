//! What compaction costs and what it leaves, as counts of bytes, files and entries.

mod support;

use std::time::Duration;

use packstone::env::sim::SimEnv;
use packstone::{Db, Keyspace, Metrics, Options, Result};
use support::rng::Rng;

/// Files of 64 KiB; level 0 hands down 256 KiB, so that a megabyte makes a second level.
fn small(sim: &SimEnv) -> Options {
    Options::new()
        .write_buffer_size(64 << 10)
        .max_file_size(64 << 10)
        .env(sim.env())
}

fn open(sim: &SimEnv) -> Result<(Db, Keyspace)> {
    let db = small(sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    Ok((db, keyspace))
}

fn key(i: u64) -> String {
    format!("{i:012}")
}

/// A database with so many keys, written in ascending order, each with 100 random bytes; some of it in memory.
fn filled(sim: &SimEnv, keys: u64) -> Result<(Db, Keyspace, Rng)> {
    let (db, keyspace) = open(sim)?;
    let mut rng = Rng::new(1);
    for i in 0..keys {
        keyspace.put(key(i), rng.fill(100))?;
    }
    Ok((db, keyspace, rng))
}

/// The last keyspace's entries in all levels.
fn entries(metrics: &Metrics) -> u64 {
    metrics.keyspaces[0]
        .levels
        .iter()
        .map(|level| level.entries)
        .sum()
}

#[test]
fn an_ascending_load_writes_each_byte_once() -> Result<()> {
    let sim = SimEnv::new(1);
    let (db, keyspace, _) = filled(&sim, 60_000)?;
    db.flush()?;
    db.wait_for_background()?;
    let metrics = db.metrics();
    println!("{metrics}");
    assert_eq!(metrics.compaction_bytes_written, 0);
    assert_eq!(metrics.compaction_bytes_read, 0);
    assert!(metrics.moved_files > 50);
    assert_eq!(
        sim.stats().written["sst"],
        metrics.sst_bytes(),
        "all that was written is there"
    );
    assert!(metrics.keyspaces[0].levels[0].files < 4);
    // And what was moved is read as ever.
    assert_eq!(keyspace.iter().count(), 60_000);
    Ok(())
}

#[test]
fn loads_of_ascending_ranges_in_turns_are_moved_too() -> Result<()> {
    let sim = SimEnv::new(2);
    let (db, keyspace) = open(&sim)?;
    let mut rng = Rng::new(1);
    for range in [5, 1, 4, 2, 3] {
        for i in 0..10_000 {
            keyspace.put(key(range * 1_000_000 + i), rng.fill(100))?;
        }
        db.flush()?;
    }
    db.wait_for_background()?;
    assert_eq!(db.metrics().compaction_bytes_written, 0, "{}", db.metrics());
    Ok(())
}

#[test]
fn an_overwritten_database_takes_little_more_room_than_what_lives() -> Result<()> {
    let sim = SimEnv::new(3);
    const KEYS: u64 = 60_000;
    let (db, keyspace, mut rng) = filled(&sim, KEYS)?;
    for _ in 0..KEYS * 3 {
        keyspace.put(key(rng.below(KEYS)), rng.fill(100))?;
    }
    db.flush()?;
    db.wait_for_background()?;
    let settled = db.metrics();
    let level_0 = settled.keyspaces[0].levels[0].bytes;
    keyspace.compact_range::<&[u8], _>(..)?;
    let live = db.metrics().sst_bytes();
    let amplification = (settled.sst_bytes() - level_0) as f64 / live as f64;
    let written =
        (settled.flush_bytes + settled.compaction_bytes_written) as f64 / settled.flush_bytes as f64;
    println!("space {amplification:.3} times what lives, beside level 0; bytes written {written:.2} times");
    assert!(
        settled.keyspaces[0].levels[5].bytes > 0,
        "two levels are in use: {settled}"
    );
    // A ninth by the shape; a level overshoots its target by a file or two.
    assert!(amplification <= 1.2, "{amplification}");
    assert!(written <= 9.0, "{written}");
    Ok(())
}

#[test]
fn outputs_are_cut_where_they_would_overlap_too_much_of_the_next_level() -> Result<()> {
    let sim = SimEnv::new(4);
    const KEYS: u64 = 60_000;
    let (db, keyspace, mut rng) = filled(&sim, KEYS)?;
    db.flush()?;
    keyspace.compact_range::<&[u8], _>(..)?;
    let last = db.metrics().keyspaces[0].levels[6].bytes;
    // A few entries over all of it, which fit one file.
    for round in 0..4 {
        for i in 0..200 {
            keyspace.put(key(i * KEYS / 200 + round), rng.fill(10))?;
        }
        db.flush()?;
    }
    db.wait_for_background()?;
    let base = db.metrics().keyspaces[0].levels[5];
    assert!(base.bytes < 64 << 10, "{}", db.metrics());
    // Ten full files of the next level and the one in which the limit is passed.
    assert!(base.files >= last / (12 * (64 << 10)), "{}", db.metrics());
    Ok(())
}

#[test]
fn versions_that_only_a_closed_snapshot_needed_go_unasked() -> Result<()> {
    let sim = SimEnv::new(5);
    let (db, keyspace) = open(&sim)?;
    let mut rng = Rng::new(1);
    const KEYS: u64 = 2_000;
    let mut write = || -> Result<()> {
        for i in 0..KEYS {
            keyspace.put(key(i), rng.fill(100))?;
        }
        Ok(())
    };
    write()?;
    let snapshot = db.snapshot();
    write()?;
    db.flush()?;
    keyspace.compact_range::<&[u8], _>(..)?;
    db.wait_for_background()?;
    assert_eq!(entries(&db.metrics()), 2 * KEYS, "the snapshot holds them");
    // Nothing is written any more; that it closes is enough.
    drop(snapshot);
    sim.run_until_idle();
    assert_eq!(entries(&db.metrics()), KEYS, "{}", db.metrics());
    Ok(())
}

#[test]
fn tombstones_that_only_a_closed_snapshot_needed_go_unasked() -> Result<()> {
    let sim = SimEnv::new(6);
    let (db, keyspace) = open(&sim)?;
    for i in 0..2_000 {
        keyspace.put(key(i), [7; 100])?;
    }
    let snapshot = db.snapshot();
    for i in 0..1_000 {
        keyspace.delete(key(i * 2))?;
    }
    db.flush()?;
    keyspace.compact_range::<&[u8], _>(..)?;
    db.wait_for_background()?;
    assert_eq!(entries(&db.metrics()), 3_000);
    drop(snapshot);
    sim.run_until_idle();
    assert_eq!(entries(&db.metrics()), 1_000, "{}", db.metrics());
    Ok(())
}

#[test]
fn a_file_of_tombstones_that_hide_nothing_is_deleted_unread() -> Result<()> {
    let sim = SimEnv::new(7);
    let (db, keyspace) = open(&sim)?;
    for i in 0..2_000 {
        keyspace.put(key(i), [7; 100])?;
    }
    db.flush()?;
    keyspace.compact_range::<&[u8], _>(..)?;
    let before = db.metrics();
    for i in 5_000..6_000 {
        keyspace.delete(key(i))?;
    }
    db.flush()?;
    sim.run_until_idle();
    let after = db.metrics();
    assert_eq!(entries(&after), 2_000, "{after}");
    assert_eq!(after.compaction_bytes_read, before.compaction_bytes_read);
    assert!(after.deleted_files >= 1);
    assert_eq!(keyspace.iter().count(), 2_000);
    Ok(())
}

#[test]
fn compactions_keep_to_their_rate_and_flushes_do_not_wait_for_it() -> Result<()> {
    const LIMIT: u64 = 64 << 10;
    let sim = SimEnv::new(8);
    let db = small(&sim).compaction_rate_limit(Some(LIMIT)).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let mut rng = Rng::new(1);
    let clock = sim.env().clock;
    let start = clock.now();
    for i in 0..3_000 {
        keyspace.put(key(i), rng.fill(100))?;
    }
    db.flush()?;
    let metrics = db.metrics();
    assert_eq!(metrics.compaction_bytes_written, 0);
    // At the limit it would take five seconds; writers have been slowed by level-0 files, no more.
    assert!(metrics.flush_bytes > 4 * LIMIT);
    assert!(clock.now() - start < Duration::from_millis(200));
    let start = clock.now();
    keyspace.compact_range::<&[u8], _>(..)?;
    let written = db.metrics().compaction_bytes_written;
    let seconds = (clock.now() - start).as_secs_f64();
    let rate = written as f64 / seconds;
    println!("{written} bytes in {seconds:.3} s of the simulator's time");
    assert!(written > 3 * LIMIT);
    assert!(rate <= LIMIT as f64 && rate > LIMIT as f64 * 0.6, "{rate}");
    Ok(())
}

#[test]
fn a_levels_metrics_say_what_was_read_and_written_for_it() -> Result<()> {
    let sim = SimEnv::new(9);
    // Each call takes some of the simulator's time.
    sim.set_slow(Duration::from_millis(1));
    let db = small(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let mut rng = Rng::new(1);
    let mut round = |keys: u64| -> Result<_> {
        for i in 0..keys {
            keyspace.put(key(i), rng.fill(100))?;
        }
        db.flush()?;
        let above = db.metrics().keyspaces[0].levels[0].bytes;
        keyspace.compact_range::<&[u8], _>(..)?;
        Ok((above, db.metrics().keyspaces[0].levels[6]))
    };
    let (flushed, first) = round(400)?;
    assert_eq!((first.jobs, first.files), (1, 1));
    assert_eq!(
        (first.bytes_read, first.bytes_read_from_above),
        (flushed, flushed)
    );
    assert_eq!((first.entries_in, first.entries_out), (400, 400));
    assert_eq!(first.bytes_written, first.bytes);
    assert!(first.nanos > 0);
    let (more, second) = round(200)?;
    assert_eq!(second.jobs, 2);
    assert_eq!(second.bytes_read_from_above, flushed + more);
    assert_eq!(second.bytes_read, flushed + more + first.bytes);
    assert_eq!((second.entries_in, second.entries_out), (1000, 800));
    assert_eq!(second.bytes_written, first.bytes + second.bytes);
    Ok(())
}
