//! What an opening makes of a log that does not fit into memory: how often it flushes, whose memtables, and what stays.

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::{Db, Options, Result};

const MIB: u64 = 1 << 20;
/// Of the smallest limit there is, a quarter.
const MOST_MEMTABLES: u64 = 4 * MIB;

/// Nothing is flushed before the process dies.
fn roomy(sim: &SimEnv) -> Options {
    Options::new()
        .memory_limit(1 << 30)
        .write_buffer_size(512 << 20)
        .max_log_size(4 << 30)
        .env(sim.env())
}

fn small(sim: &SimEnv) -> Options {
    Options::new().memory_limit(16 * MIB).env(sim.env())
}

/// For each of `count` numbers an entry of about a KiB in the first keyspace, and for each sixteenth one in the second.
fn written(sim: &SimEnv, count: u32) -> Result<()> {
    let db = roomy(sim).open("/db")?;
    let (large, little) = (db.keyspace("large")?, db.keyspace("little")?);
    for i in 0..count {
        large.put(i.to_be_bytes(), [i as u8; 1000])?;
        if i % 16 == 0 {
            little.put(i.to_be_bytes(), i.to_be_bytes())?;
        }
    }
    assert_eq!(db.metrics().flushes, 0);
    drop((large, little, db));
    sim.crash(CrashStyle::KeepAll);
    Ok(())
}

fn check(db: &Db, count: u32) -> Result<()> {
    let (large, little) = (db.keyspace("large")?, db.keyspace("little")?);
    for i in 0..count {
        assert_eq!(
            large.get(i.to_be_bytes())?.as_deref(),
            Some(&[i as u8; 1000][..]),
            "{i}"
        );
    }
    assert_eq!(large.iter().count() as u32, count);
    assert_eq!(little.iter().count() as u32, count.div_ceil(16));
    Ok(())
}

#[test]
fn the_largest_keyspace_is_flushed_when_memtables_are_full_and_the_others_stay() -> Result<()> {
    const COUNT: u32 = 12_000;
    let sim = SimEnv::new(1);
    written(&sim, COUNT)?;
    let db = small(&sim).open("/db")?;
    let metrics = db.metrics();
    // 12 MB, and a flush for each 4 MiB.
    assert!(
        (2..=3).contains(&metrics.replay_flushes),
        "{}",
        metrics.replay_flushes
    );
    let held = metrics.memory.active_memtables + metrics.memory.frozen_memtables;
    assert!(held <= MOST_MEMTABLES, "{held}");
    assert_eq!(metrics.replayed_entries, u64::from(COUNT + COUNT.div_ceil(16)));
    assert!(!db.keyspace("large")?.files().is_empty());
    assert!(
        db.keyspace("little")?.files().is_empty(),
        "it was never the largest"
    );
    check(&db, COUNT)?;
    // What was flushed is not replayed again, and the numbers go on.
    db.keyspace("large")?.put(0u32.to_be_bytes(), [0; 1000])?;
    drop(db);
    sim.crash(CrashStyle::KeepAll);
    let db = small(&sim).open("/db")?;
    assert_eq!(db.metrics().replay_flushes, 0);
    assert!(db.metrics().replayed_entries < u64::from(COUNT) / 2);
    check(&db, COUNT)
}

#[test]
fn what_fits_is_not_flushed() -> Result<()> {
    let sim = SimEnv::new(2);
    written(&sim, 3_000)?;
    let db = small(&sim).open("/db")?;
    assert_eq!(db.metrics().replay_flushes, 0);
    check(&db, 3_000)
}

#[test]
fn many_frozen_memtables_are_flushed_though_they_fit() -> Result<()> {
    let sim = SimEnv::new(3);
    written(&sim, 3_000)?;
    let db = small(&sim).write_buffer_size(256 << 10).open("/db")?;
    let flushes = db.metrics().replay_flushes;
    // Eleven or twelve are frozen, and three go at a time.
    assert!((3..=4).contains(&flushes), "{flushes}");
    check(&db, 3_000)
}

#[test]
fn a_reader_holds_all_of_it_and_writes_nothing() -> Result<()> {
    let sim = SimEnv::new(4);
    written(&sim, 6_000)?;
    let before = sim.list();
    let db = small(&sim).open_read_only("/db")?;
    assert_eq!(db.metrics().replay_flushes, 0);
    check(&db, 6_000)?;
    drop(db);
    assert_eq!(sim.list(), before);
    Ok(())
}

#[test]
fn many_small_keyspaces_are_flushed_though_no_memtable_is_full() -> Result<()> {
    const KEYSPACES: u32 = 8;
    let sim = SimEnv::new(5);
    let db = roomy(&sim).open("/db")?;
    let names: Vec<_> = (0..KEYSPACES).map(|i| format!("k{i}")).collect();
    for i in 0..KEYSPACES * 1000 {
        let keyspace = db.keyspace(&names[(i % KEYSPACES) as usize])?;
        keyspace.put(i.to_be_bytes(), [i as u8; 1000])?;
    }
    drop(db);
    sim.crash(CrashStyle::KeepAll);
    let db = small(&sim).open("/db")?;
    let metrics = db.metrics();
    let held = metrics.memory.active_memtables + metrics.memory.frozen_memtables;
    assert!(held <= MOST_MEMTABLES, "{held}");
    assert!(metrics.replay_flushes >= 4, "{}", metrics.replay_flushes);
    let counts = names.iter().map(|name| Ok(db.keyspace(name)?.iter().count()));
    assert_eq!(
        counts.collect::<Result<Vec<_>>>()?,
        vec![1000; KEYSPACES as usize]
    );
    Ok(())
}
